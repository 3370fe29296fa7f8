//! The functions of Windows, by the crate windows.

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
        // SAFETY: it takes nothing and returns a number.
        let id = unsafe { windows::Win32::System::Threading::GetCurrentProcessId() };
        Ok(id.to_string().into_bytes())
    }
}

export_plugin!(Case);
