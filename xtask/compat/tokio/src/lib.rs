//! tokio with all of its features.

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
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| PluginError::new(1, error.to_string()))?;
        let sum = runtime.block_on(async {
            let sum = tokio::spawn(async { 3 + 4 });
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            sum.await
        });
        assert_eq!(sum.ok(), Some(7));
        Ok(b"7".to_vec())
    }
}

export_plugin!(Case);
