//! Editions of the phoenix, and a host that loads them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use keyway_abi::stamp::Stamp;
use keyway_host::{Expectation, Host, ImportPolicy, Services, ToolchainPolicy};

use super::canary;

/// The first edition, built once.
static LIBRARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--package", "keyway-host", "--example", "phoenix"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.expect("cargo runs").success(), "the plugin was not built");
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = target.parent().expect("the target folder").join("debug/examples");
    fs::read(path.join(libloading::library_filename("phoenix"))).expect("the library")
});

/// The library of an edition. One that is a digit has it in its version too.
pub(crate) fn bytes(edition: u8) -> Vec<u8> {
    let mut bytes = LIBRARY.clone();
    let text = b"keyway phoenix edition 1";
    let at: Vec<_> =
        (0..bytes.len() - text.len()).filter(|at| bytes[*at..].starts_with(text)).collect();
    for at in at {
        bytes[at + text.len() - 1] = edition;
    }
    if edition.is_ascii_digit() {
        let section = keyway_inspect::inspect(&bytes).expect("it").facts.stamp.expect("a stamp");
        let stamp = Stamp::parse(&bytes[section]).expect("a stamp");
        let at = stamp.version.as_ptr().addr() - bytes.as_ptr().addr();
        bytes[at] = edition;
    }
    bytes
}

/// Writes an edition as `file`, with its manifest; as an installer would, each in one move, the manifest last.
pub(crate) fn write(folder: &Path, file: &str, edition: u8) -> PathBuf {
    let bytes = bytes(edition);
    let manifest = canary::manifest(&bytes, file);
    let put = |name: &str, bytes: &[u8]| {
        let temporary = folder.join(format!(".{name}.new"));
        fs::write(&temporary, bytes).expect("it is written");
        fs::rename(temporary, folder.join(name)).expect("it is moved");
    };
    put(file, &bytes);
    put(&manifest.file_name(), manifest.to_json().as_bytes());
    folder.join(file)
}

pub(crate) fn host() -> Host {
    let expectation = Expectation {
        toolchains: ToolchainPolicy::AnyWithMatchingAbi,
        imports: ImportPolicy::Any,
        ..Expectation::this_process()
    };
    Host::new(expectation, Services::new(|_, _| ())).expect("a host")
}
