//! A plugin that is replaced by other editions of itself, and goes wrong where it is told to.
//!
//! Editions differ in one byte, which tests change in the library, and which says what is wrong with them.

use std::thread;
use std::time::{Duration, Instant};

use keyway_sdk::{
    Context, Host, Method, OwnedBuffer, Plugin, PluginError, SavedState, SharedMethod,
    export_plugin,
};

pub mod interface;

use interface::Phoenix;

/// Its last byte is the edition: a digit, or a letter below.
static EDITION: [u8; 24] = *b"keyway phoenix edition 1";

fn edition() -> u8 {
    // Read from memory, so that it is what stands in the library.
    std::hint::black_box(&EDITION)[23]
}

struct Bird {
    config: Vec<u8>,
    total: u64,
}

impl Bird {
    fn is_told(&self, what: &[u8]) -> bool {
        self.config == what
    }
}

/// Heeds nobody.
fn hang(milliseconds: u64) {
    let end = Instant::now() + Duration::from_millis(milliseconds);
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
}

fn number(input: &[u8]) -> Result<u64, PluginError> {
    let text = str::from_utf8(input).ok().and_then(|text| text.parse().ok());
    text.ok_or_else(|| PluginError::invalid_argument("the input is no number"))
}

impl Plugin for Bird {
    const METHODS: &'static [Method<Self>] = &[
        ("add", |bird, input, _| Ok(bird.add(number(input)?).to_string().into_bytes())),
        ("burn", |_, _, _| panic!("it is on fire")),
        ("fail", |_, _, _| Err(PluginError::new(4, "not today"))),
        ("hang", |_, input, _| {
            hang(number(input)?);
            Ok(b"too late".to_vec())
        }),
        ("obey", |_, _, context| {
            while !context.is_cancelled() {
                thread::sleep(Duration::from_millis(1));
            }
            Err(PluginError::cancelled())
        }),
        ("deadline", |_, _, context| {
            let trace = context.trace_id().map_or(0, |id| id[0]);
            Ok(format!("{trace} {}", context.deadline_ns().is_some()).into_bytes())
        }),
    ];

    const SHARED_METHODS: &'static [SharedMethod<Self>] = &[
        SharedMethod::new("edition", |_, _, _| Ok(vec![edition()])),
        SharedMethod::new("hang shared", |_, input, _| {
            hang(number(input)?);
            Ok(vec![edition()])
        }),
    ];

    fn init(_: Host, _: Context<'_>) -> Result<(), PluginError> {
        match edition() {
            // init fails
            b'F' => Err(PluginError::new(3, "no ashes")),
            // init hangs
            b'H' => {
                hang(60_000);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn create(config: &[u8], _: Host) -> Result<Self, PluginError> {
        match edition() {
            // create fails
            b'C' => return Err(PluginError::new(5, "no egg")),
            // create panics
            b'P' => panic!("a broken egg"),
            _ => {}
        }
        if config == b"hang in create" {
            hang(60_000);
        }
        Ok(Self { config: config.to_vec(), total: 0 })
    }

    fn pause(&mut self, _: Context<'_>) -> Result<(), PluginError> {
        if self.is_told(b"hang in pause") {
            hang(60_000);
        }
        match self.is_told(b"fail in pause") {
            true => Err(PluginError::new(6, "no rest")),
            false => Ok(()),
        }
    }

    fn save_state(&mut self, _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        match edition() {
            // saves and restores nothing
            b'S' => Err(PluginError::unsupported("this plugin saves no state")),
            // saving fails
            b'V' => Err(PluginError::new(8, "nothing to hand on")),
            _ => Ok(self.total.to_le_bytes().to_vec()),
        }
    }

    fn restore_state(&mut self, state: &SavedState<'_>, _: Context<'_>) -> Result<(), PluginError> {
        match edition() {
            b'S' => return Err(PluginError::unsupported("this plugin restores no state")),
            // restoring fails
            b'X' => return Err(PluginError::new(7, "another bird's ashes")),
            _ => {}
        }
        let bytes = state.bytes.try_into();
        let bytes = bytes.map_err(|_| PluginError::invalid_argument("it is no total"))?;
        self.total = u64::from_le_bytes(bytes);
        Ok(())
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        if self.is_told(b"hang at the end") {
            hang(60_000);
        }
    }
}

impl Phoenix for Bird {
    fn edition(&self) -> u32 {
        edition().into()
    }

    fn total(&self) -> u64 {
        self.total
    }

    fn name(&self) -> OwnedBuffer {
        vec![edition()].into()
    }

    fn add(&mut self, number: u64) -> u64 {
        self.total += number;
        self.total
    }

    fn burn(&self) {
        panic!("it is on fire");
    }
}

// It has no threads, and registers nothing with anybody.
export_plugin!(Bird: dyn Phoenix, unsafe(unloadable));
