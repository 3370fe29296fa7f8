//! The tests of contract and host, compiled with a sanitizer: what it takes that a host and the plugins
//! that its tests build both run under it.
//!
//! All of it is in the environment, not in options, since tests call cargo themselves and theirs
//! inherits it. A target is named so that build scripts and macros are compiled without.

use std::path::PathBuf;

use super::checks::Cargo;

/// One run of the tests for each sanitizer. The SDK's own tests compile plugins and run none; the host's
/// run its code.
pub(super) const RUNS: &[Cargo] = &[
    Cargo {
        args: TESTS,
        env: &[
            TARGET,
            (
                "RUSTFLAGS",
                "-Zsanitizer=address -Clink-arg=-Wl,--export-dynamic-symbol=__asan_* \
                 -Clink-arg=-Wl,--export-dynamic-symbol=__sanitizer_*",
            ),
            // What a plugin may hold on to is never freed: services, and libraries that stay mapped.
            ("ASAN_OPTIONS", "detect_leaks=0"),
        ],
    },
    Cargo {
        args: TESTS,
        env: &[
            TARGET,
            (
                "RUSTFLAGS",
                "-Zsanitizer=thread -Clink-arg=-Wl,--export-dynamic-symbol=__tsan_* \
                 -Clink-arg=-Wl,--export-dynamic-symbol=__sanitizer_*",
            ),
            // The standard library's locks and atomics are what it has to see.
            ("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort"),
        ],
    },
];

/// Rust links a sanitizer's runtime into programs only, and a program shows a library no symbol unless
/// something asks for it: hence `--export-dynamic-symbol` in the flags.
const TARGET: (&str, &str) = ("CARGO_BUILD_TARGET", "x86_64-unknown-linux-gnu");

const TESTS: &[&str] = &[
    "test",
    "--locked",
    "-p",
    "keyway-abi",
    "-p",
    "keyway-host",
    "--tests",
    "--",
    // The machine's C compiler has no runtime of the same sanitizer: a plugin in C is refused
    // (`KW425`), and a host in C can't load what needs it.
    "--skip",
    "a_plugin_in_c_is_loaded_and_called",
    "--skip",
    "a_host_in_c_calls_a_plugin",
    // Covers `/proc`, where the runtimes read what is mapped.
    "--skip",
    "names_the_folder_that_allows_no_code",
];

/// Whether there is a nightly toolchain with the source of its standard library.
pub(super) fn has_toolchain() -> bool {
    let sysroot = duct::cmd!("rustup", "run", "nightly", "rustc", "--print", "sysroot");
    let sysroot = sysroot.stdin_null().stderr_null().read().map(PathBuf::from);
    sysroot.is_ok_and(|sysroot| sysroot.join("lib/rustlib/src/rust/library/std").is_dir())
}
