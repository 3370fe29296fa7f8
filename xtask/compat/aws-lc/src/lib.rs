//! AWS-LC from source: C and assembly.

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
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"keyway");
        assert_eq!(digest.as_ref().len(), 32);
        Ok(digest.as_ref().to_vec())
    }
}

export_plugin!(Case);
