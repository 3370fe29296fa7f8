//! OpenSSL from source: Perl configures it, make builds it.

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
        let digest = openssl::hash::hash(openssl::hash::MessageDigest::sha256(), b"keyway");
        let digest = digest.map_err(|error| PluginError::new(1, error.to_string()))?;
        assert_eq!(digest.len(), 32);
        Ok(openssl::version::version().as_bytes().to_vec())
    }
}

export_plugin!(Case);
