//! The toolchain record of a target: what the programs in the image say of themselves.

use std::fs;
use std::path::Path;

use keyway_manifest::{Digest, Linker, PanicStrategy, Rustc, ToolchainRecord, Triple};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::recipe::Toolchain;
use super::run::{self, RunError, Scratch};
use crate::cache::CacheError;
use crate::container::{Image, Runner};

/// A toolchain record with its hash, as a lock carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedToolchain {
    /// SHA-256 of the record's canonical JSON; stamped into plugins.
    pub hash: Digest,
    /// The record.
    pub record: ToolchainRecord,
}

/// Why a toolchain can't be recorded.
#[derive(Debug, Error)]
pub enum ToolchainError {
    /// A program can't be asked.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The cache can't be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A program does not say what it should.
    #[error("`{command}` in image `{image}` does not say its {field}; it says `{found}`")]
    Silent {
        /// The image.
        image: String,
        /// The command.
        command: String,
        /// What was looked for.
        field: &'static str,
        /// Its output, cut.
        found: String,
    },
}

/// Asks the compiler and the linker for their versions.
const SCRIPT: &str = r#"set -eu
rustc -vV > /out/rustc
"$@" > /out/linker
"#;

/// Asks the programs in `image` for the record of `toolchain`, whose standard library is `std`.
///
/// # Errors
/// If one can't be run, or does not say its version.
pub fn record(
    image: &Image,
    toolchain: &Toolchain,
    std: Digest,
    runner: &dyn Runner,
    scratch: &Path,
) -> Result<LockedToolchain, ToolchainError> {
    let out = Scratch::create(scratch)?;
    let arguments: Vec<&str> = toolchain.linker.command.iter().map(String::as_str).collect();
    run::script(runner, image, SCRIPT, &arguments, &out)?;
    let read = |name: &str| fs::read_to_string(out.path().join(name)).unwrap_or_default();
    let silent = |command: &str, field, found: &str| ToolchainError::Silent {
        image: image.name.clone(),
        command: command.to_owned(),
        field,
        found: found.chars().take(200).collect(),
    };
    let compiler = read("rustc");
    let field = |name: &'static str| {
        let value = compiler.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.map(str::to_owned).ok_or_else(|| silent("rustc -vV", name, &compiler))
    };
    let rustc = Rustc {
        release: field("release")?,
        commit: field("commit-hash")?,
        llvm: field("LLVM version")?,
    };
    let output = read("linker");
    let version = output.lines().next().and_then(|line| line.split_whitespace().next_back());
    let version = version.unwrap_or_default().to_owned();
    if version.is_empty() {
        return Err(silent(&arguments.join(" "), "version", &output));
    }
    let linker = Linker { name: toolchain.linker.name.clone(), version };
    let record = ToolchainRecord {
        crt: toolchain.crt.clone(),
        linker,
        panic: PanicStrategy::Unwind,
        rustc,
        std,
        target: toolchain.target.clone(),
    };
    Ok(LockedToolchain { hash: record.hash(), record })
}

/// The trusted set that a host compiles in: a line `HASH TARGET` for each toolchain, sorted.
pub fn trusted_set<'a>(toolchains: impl Iterator<Item = &'a LockedToolchain>) -> String {
    let mut lines: Vec<(&Triple, Digest)> =
        toolchains.map(|toolchain| (&toolchain.record.target, toolchain.hash)).collect();
    lines.sort();
    lines.dedup();
    let lines = lines.iter().map(|(target, hash)| format!("{hash} {target}\n"));
    format!("# Written by `cargo xtask images lock`; do not edit.\n{}", lines.collect::<String>())
}
