//! DuckDB from source: a large C++ library.

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
        let failed = |error: duckdb::Error| PluginError::new(1, error.to_string());
        let connection = duckdb::Connection::open_in_memory().map_err(failed)?;
        let sum: i32 = connection.query_row("SELECT 3 + 4", [], |row| row.get(0)).map_err(failed)?;
        assert_eq!(sum, 7);
        Ok(connection.version().map_err(failed)?.into_bytes())
    }
}

export_plugin!(Case);
