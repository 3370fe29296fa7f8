//! Zstandard as a plugin: named methods `compress` and `decompress`, bytes in, bytes out.
//!
//! The work is done by zstd's C code, compiled with the plugin and linked statically. Input of
//! `decompress` may come from anywhere: what it can make the plugin allocate is bounded.

mod config;

use keyway_sdk::{Context, Host, Method, Plugin, PluginError, export_plugin};
use zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, compress_bound,
    get_error_name,
};

pub use config::Config;

/// The configuration can't be read, or zstd does not take it.
pub const BAD_CONFIG: u32 = 1;
/// The input is no sequence of whole Zstandard frames.
pub const CORRUPT: u32 = 2;
/// The output would be larger than the configured limit.
pub const TOO_LARGE: u32 = 3;
/// zstd could not get the memory it needs.
pub const NO_MEMORY: u32 = 4;

/// The most that one step of decompression adds to its output before it is known to be used.
const STEP: usize = 1 << 20;

/// The plugin: a compressor and a decompressor, whose memory is kept between calls.
pub struct ZstdCodec {
    compressor: CCtx<'static>,
    decompressor: DCtx<'static>,
    limit: usize,
}

impl Plugin for ZstdCodec {
    const METHODS: &'static [Method<Self>] =
        &[("compress", Self::compress), ("decompress", Self::decompress)];

    fn create(config: &[u8], _: Host) -> Result<Self, PluginError> {
        let Config { level, limit } = Config::parse(config)?;
        let no_memory = || PluginError::new(NO_MEMORY, "zstd could not allocate its context");
        let mut compressor = CCtx::try_create().ok_or_else(no_memory)?;
        let mut decompressor = DCtx::try_create().ok_or_else(no_memory)?;
        let config = |code| PluginError::new(BAD_CONFIG, get_error_name(code));
        compressor.set_parameter(CParameter::CompressionLevel(level)).map_err(config)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true)).map_err(config)?;
        // A frame names the window that it needs, up to 2 GiB; no more than the limit is useful.
        let window = limit.next_power_of_two().ilog2().clamp(10, 27);
        decompressor.set_parameter(DParameter::WindowLogMax(window)).map_err(config)?;
        Ok(Self { compressor, decompressor, limit })
    }
}

impl ZstdCodec {
    /// One frame with a checksum.
    fn compress(&mut self, input: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        let mut output = Vec::with_capacity(compress_bound(input.len()));
        let error = |code| PluginError::new(NO_MEMORY, get_error_name(code));
        self.compressor.compress2(&mut output, input).map_err(error)?;
        output.shrink_to_fit();
        Ok(output)
    }

    /// The content of all frames, one after the other.
    fn decompress(&mut self, input: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        let corrupt = |code| PluginError::new(CORRUPT, get_error_name(code));
        // An earlier input may have been cut in the middle of a frame.
        self.decompressor.reset(ResetDirective::SessionOnly).map_err(corrupt)?;
        let mut output = Vec::new();
        let mut source = InBuffer::around(input);
        let mut in_frame = true;
        // An empty frame needs no more input but a last call: hence not only while input is left.
        while in_frame || source.pos() < input.len() {
            // What a frame says of its size is not believed: the output grows as it fills.
            if output.len() == output.capacity() {
                // One byte more than the limit, to see whether there is more.
                let room = self.limit.saturating_add(1) - output.len();
                output.reserve_exact(room.min(STEP.max(output.len())));
            }
            let before = (source.pos(), output.len());
            let filled = output.len();
            let mut target = OutBuffer::around_pos(&mut output, filled);
            let hint = self.decompressor.decompress_stream(&mut target, &mut source);
            in_frame = hint.map_err(corrupt)? != 0;
            if output.len() > self.limit {
                let limit = self.limit;
                return Err(PluginError::new(TOO_LARGE, format!("more than {limit} bytes")));
            }
            let stuck = before == (source.pos(), output.len());
            if stuck && source.pos() == input.len() {
                return Err(PluginError::new(CORRUPT, "the input ends within a frame"));
            }
        }
        Ok(output)
    }
}

// It has no threads, and registers nothing with anybody.
export_plugin!(ZstdCodec, unsafe(unloadable));

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(limit: usize) -> ZstdCodec {
        ZstdCodec { compressor: CCtx::create(), decompressor: DCtx::create(), limit }
    }

    /// One frame, written by hand after RFC 8878: magic, a single segment of five bytes, and a last,
    /// raw block. Its numbers are little-endian on every processor.
    const FRAME: &[u8] = b"\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00hello";

    #[test]
    fn frames_are_the_same_on_every_processor() {
        let mut codec = codec(100);
        assert_eq!(codec.decompress(FRAME, Context::NONE).as_deref(), Ok(&b"hello"[..]));
        let frame = codec.compress(b"hello", Context::NONE).expect("a frame");
        assert_eq!(frame, FRAME);
    }

    #[test]
    fn the_limit_is_the_last_size_that_fits() {
        assert!(codec(5).decompress(FRAME, Context::NONE).is_ok());
        let error = codec(4).decompress(FRAME, Context::NONE).expect_err("a byte too many");
        assert_eq!((error.code(), error.message()), (TOO_LARGE, "more than 4 bytes"));
    }
}
