//! Round trips, and input that nobody should trust.

use std::sync::LazyLock;

use keyway_host::exports::Exports;
use keyway_host::instance::Instance;
use keyway_host::services::Services;
use keyway_sdk::{CallStatus, Context};
use proptest::prelude::*;
use zstd_codec::{BAD_CONFIG, CORRUPT, TOO_LARGE};

unsafe extern "C" {
    /// The plugin's own entry symbol, linked into this test.
    fn keyway_plugin_v1() -> *const keyway_sdk::abi::table::Library;
}

fn create(config: &str) -> Result<Instance, (CallStatus, u32, String)> {
    static SERVICES: LazyLock<&Services> = LazyLock::new(|| Services::new(|_, _| ()));
    // SAFETY: the symbol is that of the plugin below, which is never unloaded.
    let exports =
        unsafe { Exports::new(keyway_plugin_v1, "zstd-codec", &SERVICES, std::sync::Arc::new(())) };
    let exports = exports.expect("the plugin keeps to the contract");
    exports
        .create(config.as_bytes(), Context::NONE)
        .map_err(|error| (error.status, error.code, error.message))
}

fn call(codec: &mut Instance, method: &str, input: &[u8]) -> Result<Vec<u8>, (u32, String)> {
    match codec.invoke(method, input, Context::NONE) {
        Ok(output) => Ok(output.to_vec()),
        Err(error) if error.status == CallStatus::FAILED => Err((error.code, error.message)),
        Err(error) => panic!("{error}"),
    }
}

fn codec(config: &str) -> impl FnMut(&str, &[u8]) -> Result<Vec<u8>, (u32, String)> + use<> {
    let mut codec = create(config).expect("a codec");
    move |method, input| call(&mut codec, method, input)
}

#[test]
fn what_was_compressed_comes_back() {
    let mut codec = codec("level = 19\n");
    for input in [&b""[..], b"a", &[0; 3_000_000]] {
        let small = codec("compress", input).expect("frames");
        assert!(small.len() < 400);
        assert_eq!(codec("decompress", &small).as_deref(), Ok(input));
        let twice = [small.as_slice(), &small].concat();
        assert_eq!(codec("decompress", &twice), Ok([input, input].concat()));
    }
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let mut codec = codec("limit = 1000000");
    let fits = codec("compress", &vec![0; 1_000_000]).expect("a frame");
    assert_eq!(codec("decompress", &fits).map(|output| output.len()), Ok(1_000_000));
    let bomb = codec("compress", &vec![0; 1_000_001]).expect("a frame");
    let too_large = Err((TOO_LARGE, "more than 1000000 bytes".to_owned()));
    assert_eq!(codec("decompress", &bomb), too_large);
    // And the codec goes on.
    assert_eq!(codec("decompress", &fits).map(|output| output.len()), Ok(1_000_000));
}

#[test]
fn a_frame_that_needs_a_large_window_is_refused() {
    let mut codec = codec("limit = 1024");
    // Magic, no content size, a window descriptor of 2 GiB, an empty last block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    let (code, message) = codec("decompress", &frame).expect_err("it asks for too much");
    assert_eq!(code, CORRUPT);
    assert_eq!(message, "Frame requires too much memory for decoding");
}

#[test]
fn cut_and_broken_input_is_refused() {
    let mut codec = codec("");
    let frame = codec("compress", b"some text, some text, some text, some text").expect("a frame");
    for length in 0..frame.len() {
        let (code, message) = codec("decompress", &frame[..length]).expect_err("it is cut");
        assert_eq!((code, &*message), (CORRUPT, "the input ends within a frame"), "{length}");
    }
    for at in 0..frame.len() {
        let mut broken = frame.clone();
        broken[at] ^= 0x40;
        assert_eq!(codec("decompress", &broken).map_err(|(code, _)| code), Err(CORRUPT), "{at}");
    }
    assert!(codec("decompress", &[frame.as_slice(), b"more"].concat()).is_err());
}

#[test]
fn configurations_are_checked() {
    for (config, message) in [
        ("level = 99", "`level` is from -131072 to 22, found `99`"),
        ("limit = lots", "`limit` is a number of bytes, found `lots`"),
        ("colour = red", "expected `level = …` or `limit = …`, found `colour = red`"),
    ] {
        let error = create(config).expect_err("it is wrong");
        assert_eq!(error, (CallStatus::FAILED, BAD_CONFIG, message.to_owned()));
    }
}

proptest! {
    #[test]
    fn any_bytes_come_back(input in any::<Vec<u8>>(), level in -5..20) {
        let mut codec = codec(&format!("level = {level}"));
        let small = codec("compress", &input).expect("a frame");
        prop_assert_eq!(codec("decompress", &small), Ok(input));
    }

    #[test]
    fn any_input_is_answered(input in any::<Vec<u8>>()) {
        let framed = [&[0x28, 0xb5, 0x2f, 0xfd][..], &input].concat();
        let mut codec = codec("limit = 4096");
        for input in [&input, &framed] {
            if let Ok(output) = codec("decompress", input) {
                prop_assert!(output.len() <= 4096);
            }
        }
    }
}
