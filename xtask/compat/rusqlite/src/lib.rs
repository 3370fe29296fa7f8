//! SQLite from source.

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
        let failed = |error: rusqlite::Error| PluginError::new(1, error.to_string());
        let connection = rusqlite::Connection::open_in_memory().map_err(failed)?;
        let sum: i64 = connection.query_row("SELECT 3 + 4", [], |row| row.get(0)).map_err(failed)?;
        assert_eq!(sum, 7);
        Ok(rusqlite::version().as_bytes().to_vec())
    }
}

export_plugin!(Case);
