//! Lua from source.

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
        let sum: i64 = mlua::Lua::new()
            .load("return 3 + 4")
            .eval()
            .map_err(|error| PluginError::new(1, error.to_string()))?;
        assert_eq!(sum, 7);
        Ok(b"7".to_vec())
    }
}

export_plugin!(Case);
