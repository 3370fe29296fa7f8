//! jemalloc from source, by configure and make.

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
        use std::alloc::{GlobalAlloc as _, Layout};

        let layout = Layout::new::<u64>();
        // SAFETY: the layout is not empty, and what was allocated is freed with the same one.
        unsafe {
            let memory = tikv_jemallocator::Jemalloc.alloc(layout);
            assert!(!memory.is_null());
            memory.cast::<u64>().write(7);
            tikv_jemallocator::Jemalloc.dealloc(memory, layout);
        }
        Ok(b"allocated".to_vec())
    }
}

export_plugin!(Case);
