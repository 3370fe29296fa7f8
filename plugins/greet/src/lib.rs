//! The smallest plugin: one named method, bytes in, bytes out. Copy it to begin your own.

use keyway_sdk::{Context, Host, Method, Plugin, PluginError, export_plugin};

struct Greet;

impl Plugin for Greet {
    const METHODS: &'static [Method<Self>] = &[("greet", Self::greet)];

    fn create(_config: &[u8], _host: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Greet {
    fn greet(&mut self, name: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        Ok([b"Hello, ", name, b"!"].concat())
    }
}

// It has no threads, and registers nothing with anybody.
export_plugin!(Greet, unsafe(unloadable));
