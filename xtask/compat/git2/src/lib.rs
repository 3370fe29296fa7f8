//! libgit2 from source.

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
        let oid = git2::Oid::hash_object(git2::ObjectType::Blob, b"keyway");
        let oid = oid.map_err(|error| PluginError::new(1, error.to_string()))?;
        Ok(oid.to_string().into_bytes())
    }
}

export_plugin!(Case);
