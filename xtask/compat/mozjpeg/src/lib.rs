//! mozjpeg from source, its kernels by NASM.

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
        let mut compress = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
        compress.set_size(8, 8);
        let failed = |error: std::io::Error| PluginError::new(1, error.to_string());
        let mut started = compress.start_compress(Vec::new()).map_err(failed)?;
        started.write_scanlines(&[100; 8 * 8 * 3]).map_err(failed)?;
        let image = started.finish().map_err(failed)?;
        assert_eq!(image[..2], [0xff, 0xd8]);
        Ok(image)
    }
}

export_plugin!(Case);
