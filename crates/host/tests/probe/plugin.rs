//! A plugin that does whatever the tests ask of it.

use std::sync::atomic::{AtomicU64, Ordering};

use keyway_sdk::{
    Context, Host, LogLevel, Method, OwnedBuffer, Plugin, PluginError, export_plugin,
};

pub mod interface;

use interface::{Color, Pixel, Probe};

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
        ("deadline", |_, _, context| {
            Ok(context.deadline_ns().unwrap_or_default().to_string().into_bytes())
        }),
    ];

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

    fn pause(&mut self) -> Result<(), PluginError> {
        if self.paused {
            return Err(PluginError::new(1, "paused already"));
        }
        self.paused = true;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), PluginError> {
        self.paused = false;
        Ok(())
    }

    fn save_state(&mut self) -> Result<Vec<u8>, PluginError> {
        Ok([self.state.as_slice(), b"+"].concat())
    }

    fn restore_state(&mut self, state: &[u8]) -> Result<(), PluginError> {
        state.clone_into(&mut self.state);
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
        Ok(self.host.now_ns().to_le_bytes().to_vec())
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
        numbers.iter_mut().for_each(|number| *number *= 2);
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
}

export_plugin!(Puppet: dyn Probe);

/// What [`Probe::add`] is without the contract: the benchmark's peer. A plugin of your own exports
/// nothing but what `export_plugin!` does.
#[unsafe(no_mangle)]
pub extern "C" fn plain_add(_: *const (), left: u8, right: i64) -> i64 {
    i64::from(left) + right
}
