//! rustls with ring.

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
        let roots = rustls::RootCertStore::empty();
        let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| PluginError::new(1, error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(config.crypto_provider().cipher_suites.len().to_string().into_bytes())
    }
}

export_plugin!(Case);
