//! WebAssembly compiled and run by wasmtime.

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
        let failed = |error: wasmtime::Error| PluginError::new(1, error.to_string());
        let engine = wasmtime::Engine::default();
        let module = r#"(module (func (export "sum") (result i32) i32.const 3 i32.const 4 i32.add))"#;
        let module = wasmtime::Module::new(&engine, module).map_err(failed)?;
        let mut store = wasmtime::Store::new(&engine, ());
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).map_err(failed)?;
        let sum = instance.get_typed_func::<(), i32>(&mut store, "sum").map_err(failed)?;
        assert_eq!(sum.call(&mut store, ()).map_err(failed)?, 7);
        Ok(b"7".to_vec())
    }
}

export_plugin!(Case);
