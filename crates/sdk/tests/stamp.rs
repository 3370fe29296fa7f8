//! What `export_plugin!` links into a library, read from the file alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keyway_sdk::abi::descriptor;
use keyway_sdk::abi::stamp::{self, Stamp};

/// Builds a package of the test's own from greet's source, with this toolchain hash.
fn build(toolchain: Option<&str>) -> (Output, PathBuf) {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (package, target) = (scratch.join("stamped"), scratch.join("nested"));
    let source = sdk.join("../../plugins/greet/src/lib.rs");
    let manifest = format!(
        "[package]\nname = \"stamped\"\nversion = \"1.2.3-beta+4\"\nedition = \"2024\"\n\n\
         [workspace]\n\n[lib]\ncrate-type = [\"cdylib\"]\npath = {source:?}\n\n\
         [dependencies]\nkeyway-sdk.path = {sdk:?}\n"
    );
    std::fs::create_dir_all(&package).expect("a folder");
    std::fs::write(package.join("Cargo.toml"), manifest).expect("a manifest");
    std::fs::copy(sdk.join("../../Cargo.lock"), package.join("Cargo.lock")).expect("a lock");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--offline", "--color=never"])
        .current_dir(&package)
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("KEYWAY_TOOLCHAIN_HASH");
    if let Some(toolchain) = toolchain {
        cargo.env("KEYWAY_TOOLCHAIN_HASH", toolchain);
    }
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let library = target.join("debug").join(format!("{prefix}stamped{suffix}"));
    (cargo.output().expect("cargo runs"), library)
}

#[test]
fn the_stamp_says_what_the_plugin_is() {
    let hash = "0123456789abcdef".repeat(4);
    // The last one again: a change of the variable alone rebuilds the plugin.
    for (variable, expected) in [(None, None), (Some(&*hash), Some(0xef)), (None, None)] {
        let (output, library) = build(variable);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bytes = std::fs::read(library).expect("the library");
        let starts: Vec<_> = (0..bytes.len())
            .step_by(4)
            .filter(|start| bytes[*start..].starts_with(&stamp::MAGIC))
            .filter_map(|start| Stamp::parse(&bytes[start..]).ok())
            .collect();
        let [stamp] = *starts else { panic!("{} stamps", starts.len()) };
        assert_eq!(stamp.name, "stamped");
        assert_eq!(stamp.version, "1.2.3-beta+4");
        assert_eq!(stamp.target, stamp::TARGET);
        assert_eq!(stamp.interface, "");
        assert_eq!(stamp.descriptor, descriptor::BASE);
        assert_eq!(stamp.toolchain.map(|hash| hash[31]), expected);
    }
    for (wrong, why) in [
        ("0123", "is not 64 hexadecimal digits"),
        (&*hash.to_uppercase(), "is not 64 lowercase hexadecimal digits"),
        (&*"0".repeat(64), "is all zero, which means unpinned: leave it unset"),
    ] {
        let (output, _) = build(Some(wrong));
        assert!(!output.status.success());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(&format!("`KEYWAY_TOOLCHAIN_HASH` {why}")), "{stderr}");
    }
}
