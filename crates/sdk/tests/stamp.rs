//! What `export_plugin!` links into a library, read from the file alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keyway_sdk::abi::descriptor;
use keyway_sdk::abi::stamp::{self, Stamp};

/// The sources of a plugin of this repository.
const GREET: &str = "plugins/greet/src/lib.rs";
/// One with a typed interface.
const CANARY: &str = "crates/host/tests/canary/src/lib.rs";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds a package of the test's own from one of those, with this toolchain hash, against the SDK
/// in `sdk`.
fn build(
    name: &str,
    source: &str,
    sdk: &Path,
    toolchain: Option<&str>,
    flags: Option<&str>,
) -> (Output, PathBuf) {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (package, target) = (scratch.join(name), scratch.join("nested"));
    let source = root().join(source);
    let manifest = format!(
        "[package]\nname = {name:?}\nversion = \"1.2.3-beta+4\"\nedition = \"2024\"\n\n\
         [workspace]\n\n[lib]\ncrate-type = [\"cdylib\"]\npath = {source:?}\n\n\
         [dependencies]\nkeyway-sdk.path = {sdk:?}\n"
    );
    std::fs::create_dir_all(&package).expect("a folder");
    std::fs::write(package.join("Cargo.toml"), manifest).expect("a manifest");
    std::fs::copy(root().join("Cargo.lock"), package.join("Cargo.lock")).expect("a lock");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--offline", "--color=never"])
        .current_dir(&package)
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("KEYWAY_TOOLCHAIN_HASH");
    if let Some(toolchain) = toolchain {
        cargo.env("KEYWAY_TOOLCHAIN_HASH", toolchain);
    }
    if let Some(flags) = flags {
        cargo.env("RUSTFLAGS", flags);
    }
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let library = target.join("debug").join(format!("{prefix}{name}{suffix}"));
    (cargo.output().expect("cargo runs"), library)
}

/// The one stamp among `bytes`.
fn stamp_in(bytes: &[u8]) -> Stamp<'_> {
    let mut stamps = (0..bytes.len())
        .step_by(4)
        .filter(|start| bytes[*start..].starts_with(&stamp::MAGIC))
        .filter_map(|start| Stamp::read(&bytes[start..]).ok())
        .map(|(stamp, _)| stamp);
    let stamp = stamps.next().expect("a stamp");
    assert_eq!(stamps.next(), None);
    stamp
}

fn built(name: &str, source: &str, sdk: &Path, toolchain: Option<&str>) -> Vec<u8> {
    built_with(name, source, sdk, toolchain, None)
}

fn built_with(
    name: &str,
    source: &str,
    sdk: &Path,
    toolchain: Option<&str>,
    flags: Option<&str>,
) -> Vec<u8> {
    let (output, library) = build(name, source, sdk, toolchain, flags);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(library).expect("the library")
}

#[test]
fn the_stamp_says_what_the_plugin_is() {
    let sdk = root().join("crates/sdk");
    let hash = "0123456789abcdef".repeat(4);
    // The last one again: a change of the variable alone rebuilds the plugin.
    for (variable, expected) in [(None, None), (Some(&*hash), Some(0xef)), (None, None)] {
        let bytes = built("stamped", GREET, &sdk, variable);
        let stamp = stamp_in(&bytes);
        assert_eq!(stamp.name, "stamped");
        assert_eq!(stamp.version, "1.2.3-beta+4");
        assert_eq!(stamp.target, stamp::TARGET);
        assert_eq!(stamp.interfaces.as_slice(), []);
        assert_eq!(stamp.contract, descriptor::CONTRACT);
        assert_eq!(stamp.kind, stamp::Kind::Keyway);
        assert_eq!((stamp.facts.panic, stamp.facts.sanitizer), ("unwind", ""));
        assert_eq!(stamp.toolchain.map(|hash| hash[31]), expected);
    }
    for (wrong, why) in [
        ("0123", "is not 64 hexadecimal digits"),
        (&*hash.to_uppercase(), "is not 64 lowercase hexadecimal digits"),
        (&*"0".repeat(64), "is all zero, which means unpinned: leave it unset"),
    ] {
        let (output, _) = build("stamped", GREET, &sdk, Some(wrong), None);
        assert!(!output.status.success());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(&format!("`KEYWAY_TOOLCHAIN_HASH` {why}")), "{stderr}");
    }
}

/// Copies a folder's files, but for build output.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in from.read_dir().expect("a folder").flatten() {
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).expect("a copy");
        }
    }
}

/// The text is made from what crosses: a change of a type that no author names is seen too.
#[test]
fn the_stamp_shows_the_layout_of_what_crosses() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("swapped-sdk");
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace");
    let members = workspace.find("members = ").expect("its members");
    let end = members + workspace[members..].find('\n').expect("a line");
    let workspace =
        format!("{}members = [\"crates/*\"]{}", &workspace[..members], &workspace[end..]);
    for of in ["abi", "macros", "sdk"] {
        copy(&root().join("crates").join(of), &scratch.join("crates").join(of));
    }
    std::fs::write(scratch.join("Cargo.toml"), workspace).expect("the workspace");
    let source = scratch.join("crates/abi/src/interface.rs");
    let text = std::fs::read_to_string(&source).expect("the source");
    let (status, value) = ("    pub status: CallStatus,\n", "    pub value: MaybeUninit<T>,\n");
    let swapped = text.replace(status, "\0").replace(value, status).replace('\0', value);
    assert_ne!(swapped, text, "the fields of `Reply`");
    std::fs::write(&source, swapped).expect("the source");

    let today = built("today", CANARY, &root().join("crates/sdk"), None);
    let swapped = built("swapped", CANARY, &scratch.join("crates/sdk"), None);
    let text = |bytes: &[u8]| {
        let stamp = stamp_in(bytes);
        assert_eq!(stamp.contract, descriptor::CONTRACT, "replies are a matter of interfaces");
        stamp.interfaces.as_slice()[0].descriptor.to_owned()
    };
    let (today, swapped) = (text(&today), text(&swapped));
    let differences = descriptor::differences(&today, &swapped);
    let found: Vec<_> = differences.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "keyway.Reply<u32>.status: host offset 0, plugin offset 4",
            "keyway.Reply<u32>.value: host offset 4, plugin offset 0",
            "interface Song: host id today/Song, plugin id swapped/Song",
        ]
    );
}

/// What the compiler was told is in the stamp, whoever says what else.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_stamp_says_what_the_compiler_knew() {
    let sdk = root().join("crates/sdk");
    let flags = "-Cpanic=abort -Ctarget-feature=+avx2,+avx512f";
    let bytes = built_with("facts", GREET, &sdk, None, Some(flags));
    let facts = stamp_in(&bytes).facts;
    assert_eq!(facts.panic, "abort");
    let used: Vec<_> = facts.processor.split(',').collect();
    assert!(used.contains(&"avx512f") && used.contains(&"avx2"), "{used:?}");
    let bytes = built("facts", GREET, &sdk, None);
    let facts = stamp_in(&bytes).facts;
    assert_eq!((facts.panic, facts.processor), ("unwind", ""));
}
