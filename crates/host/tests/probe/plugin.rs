//! A plugin that does whatever the tests ask of it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use keyway_sdk::{
    Context, Host, Log, LogLevel, Method, OwnedBuffer, Plugin, PluginError, SavedState,
    SharedMethod, export_plugin,
};

pub mod interface;

use interface::{Color, Counter, Pixel, Probe, Quotes};

struct Puppet {
    config: Vec<u8>,
    host: Host,
    paused: bool,
    state: Vec<u8>,
    flips: AtomicU64,
}

impl Plugin for Puppet {
    const METHODS: &'static [Method<Self>] = &[
        ("echo", |_, input, _| Ok(input.to_vec())),
        ("fail", |_, input, _| {
            Err(PluginError::new(42, String::from_utf8_lossy(input).into_owned()))
        }),
        ("panic", |_, _, _| panic!("the strings are cut")),
        ("panic with a number", |_, _, _| std::panic::panic_any(7)),
        ("paused", |puppet, _, _| Ok(vec![u8::from(puppet.paused)])),
        ("time", Self::time),
        ("cancelled", |_, _, context| match context.is_cancelled() {
            true => Err(PluginError::cancelled()),
            false => Ok(context.trace_state().as_bytes().to_vec()),
        }),
        ("services", Self::services),
        ("quote", Self::quote),
        ("listens", Self::listens),
        ("act", Self::act),
        ("thread", Self::thread),
        ("deadline", |_, _, context| {
            Ok(context.deadline_ns().unwrap_or_default().to_string().into_bytes())
        }),
    ];

    const SHARED_METHODS: &'static [SharedMethod<Self>] =
        &[SharedMethod::new("reverse", |_, input, _| Ok(input.iter().rev().copied().collect()))];

    const STATE_FORMAT: u32 = 2;

    fn create(config: &[u8], host: Host) -> Result<Self, PluginError> {
        match config {
            b"refuse" => Err(PluginError::new(5, "no such show")),
            b"panic" => panic!("stage fright"),
            _ => {
                host.log(LogLevel::INFO, "the curtain rises");
                let config = config.to_vec();
                Ok(Self { config, host, paused: false, state: vec![], flips: AtomicU64::new(0) })
            }
        }
    }

    fn pause(&mut self, _: Context<'_>) -> Result<(), PluginError> {
        if self.paused {
            return Err(PluginError::new(1, "paused already"));
        }
        self.paused = true;
        Ok(())
    }

    fn resume(&mut self, _: Context<'_>) -> Result<(), PluginError> {
        self.paused = false;
        Ok(())
    }

    fn save_state(&mut self, _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        Ok(self.state.clone())
    }

    fn restore_state(&mut self, state: &SavedState<'_>, _: Context<'_>) -> Result<(), PluginError> {
        let SavedState { format, bytes, plugin, version } = state;
        self.state = [bytes, format!("+{plugin} {version} {format}").as_bytes()].concat();
        Ok(())
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.host.log(LogLevel::DEBUG, "the curtain falls");
        if self.config == b"panic at the end" {
            panic!("an encore");
        }
    }
}

impl Puppet {
    fn time(&mut self, _: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        Ok(keyway_sdk::now_ns().to_le_bytes().to_vec())
    }

    fn services(&mut self, _: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        let all = self.host.services().map(|(id, version)| format!("{id} {version}"));
        Ok(all.collect::<Vec<_>>().join(", ").into_bytes())
    }

    fn quote(&mut self, input: &[u8], context: Context<'_>) -> Result<Vec<u8>, PluginError> {
        let quotes = self.host.service::<dyn Quotes>();
        let quotes = quotes.ok_or_else(|| PluginError::unsupported("the host has no quotes"))?;
        let symbol = String::from_utf8_lossy(input);
        let price = quotes.call(context).quote(&symbol);
        let price = price.map_err(|error| PluginError::new(3, error.to_string()))?;
        Ok(price.to_string().into_bytes())
    }

    fn listens(&mut self, _: &[u8], context: Context<'_>) -> Result<Vec<u8>, PluginError> {
        let log = self.host.service::<dyn Log>();
        let log = log.ok_or_else(|| PluginError::unsupported("the host has no log"))?;
        let listens = |level| log.call(context).enabled(level, "probe").unwrap_or_default();
        let levels = [LogLevel::DEBUG, LogLevel::TRACE].map(listens);
        Ok(format!("{} {}", levels[0], levels[1]).into_bytes())
    }

    /// Logs with values, once for whom nobody listens to; says how often the values were written out.
    fn act(&mut self, input: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        struct Scene(AtomicUsize);

        impl std::fmt::Display for Scene {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}", self.0.fetch_add(1, Ordering::Relaxed) + 1)
            }
        }

        let (logger, scene) = (self.host.logger("probe"), Scene(AtomicUsize::new(0)));
        let act = String::from_utf8_lossy(input);
        for level in [LogLevel::TRACE, LogLevel::DEBUG] {
            let fields: [(&str, &dyn std::fmt::Display); 2] =
                [("scene", &scene), ("light", &"dim")];
            logger.log(level, format_args!("act {act} begins"), &fields);
        }
        Ok(format!("written out: {}", scene.0.into_inner()).into_bytes())
    }

    /// Starts a thread that counts for ever, and says where.
    fn thread(&mut self, _: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        std::thread::spawn(|| {
            loop {
                COUNT.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        Ok((&raw const COUNT).expose_provenance().to_le_bytes().to_vec())
    }
}

impl Probe for Puppet {
    fn add(&self, left: u8, right: i64) -> i64 {
        i64::from(left) + right
    }

    fn half(&self, value: f64) -> f64 {
        value / 2.0
    }

    fn not(&self, value: bool) -> bool {
        !value
    }

    fn next(&self, color: Color) -> Color {
        match color {
            Color::Red => Color::Orange,
            Color::Orange => Color::Blue,
            Color::Blue => Color::Red,
        }
    }

    fn flip(&mut self, pixel: Pixel) -> Pixel {
        self.flips.fetch_add(1, Ordering::Relaxed);
        Pixel { lit: !pixel.lit, color: self.next(pixel.color), ..pixel }
    }

    fn count_lit(&self, pixels: &[Pixel]) -> usize {
        pixels.iter().filter(|pixel| pixel.lit).count()
    }

    fn double(&self, numbers: &mut [u32]) {
        numbers.iter_mut().for_each(|number| *number = number.wrapping_mul(2));
    }

    fn upper(&self, text: &str) -> OwnedBuffer {
        text.to_uppercase().into_bytes().into()
    }

    fn sum(&self, bytes: OwnedBuffer) -> u64 {
        bytes.iter().map(|byte| u64::from(*byte)).sum()
    }

    fn divide(&self, dividend: u64, divisor: u64) -> Result<u64, PluginError> {
        dividend.checked_div(divisor).ok_or_else(|| PluginError::new(9, "a division by zero"))
    }

    fn context(&self, context: Context<'_>, salt: u64) -> u64 {
        let trace = context.trace_id().map_or(0, |id| u64::from(id[0]));
        let span = context.span_id().map_or(0, |id| u64::from(id[0]));
        trace + span + context.deadline_ns().unwrap_or_default() + salt
    }

    fn panic(&self, message: &str) {
        panic!("{message}");
    }

    fn flips(&self) -> u64 {
        self.flips.load(Ordering::Relaxed)
    }

    fn size(&self) -> u8 {
        7
    }
}

impl Counter for Puppet {
    fn count(&mut self) -> u64 {
        self.flips.fetch_add(1, Ordering::Relaxed) + 1
    }
}

export_plugin!(Puppet: dyn Probe + dyn Counter);

/// What [`Probe::add`] is without the contract: the benchmark's peer. A plugin of your own exports
/// nothing but what `export_plugin!` does.
#[unsafe(no_mangle)]
pub extern "C" fn plain_add(_: *const (), left: u8, right: i64) -> i64 {
    i64::from(left) + right
}
