//! The AV1 encoder rav1e, its kernels by NASM.

use keyway_sdk::{Context, Host, Method, Plugin, PluginError, export_plugin};

struct Case;

impl Plugin for Case {
    const METHODS: &'static [Method<Self>] = &[("check", Self::check)];

    fn create(_config: &[u8], _host: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Case {
    fn check(&mut self, _: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        let config = rav1e::Config::new();
        let context: Result<rav1e::Context<u8>, _> = config.new_context();
        context.map_err(|error| PluginError::new(1, error.to_string()))?;
        Ok(rav1e::version::short().into_bytes())
    }
}

export_plugin!(Case);
