//! zlib-ng from source, by CMake.

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
        // SAFETY: it returns a string that lives as long as the program.
        let version = unsafe { std::ffi::CStr::from_ptr(libz_ng_sys::zlibVersion()) };
        Ok(version.to_bytes().to_vec())
    }
}

export_plugin!(Case);
