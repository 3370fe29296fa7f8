//! The toolchain record of a target: what the programs in the image say of themselves.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use keyway_host::toolchains::{Line, Retirement, ToolchainListError};
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

/// The trusted set that a host compiles in: a line for each toolchain of the images as they are, sorted, and
/// then those of `known`, the set until now, that no image has any more. A new image takes nothing away from
/// what an earlier one has built. A line that says from when on a toolchain is retired is a person's, and stays.
///
/// # Errors
/// If `known` can't be read.
pub fn trusted_set<'a>(
    toolchains: impl Iterator<Item = &'a LockedToolchain>,
    known: &str,
) -> Result<String, ToolchainListError> {
    let mut earlier: BTreeMap<(Triple, Digest), Option<Retirement>> = BTreeMap::new();
    for Line { hash, target, retirement } in Line::read_all(known)? {
        earlier.insert((target, hash), retirement);
    }
    let mut current = BTreeMap::new();
    for LockedToolchain { hash, record } in toolchains {
        let key = (record.target.clone(), *hash);
        let retirement = earlier.remove(&key);
        current.entry(key).or_insert(retirement.flatten());
    }
    let lines = |all: BTreeMap<(Triple, Digest), Option<Retirement>>| {
        let line = |((target, hash), retirement)| Line { hash, target, retirement };
        all.into_iter().map(line).map(|line| format!("{line}\n")).collect::<String>()
    };
    let mut list = HEAD.to_owned() + &lines(current);
    if !earlier.is_empty() {
        list += EARLIER;
        list += &lines(earlier);
    }
    Ok(list)
}

/// What the list says of itself.
const HEAD: &str = "\
# The toolchains that hosts trust. `cargo xtask images lock` writes them and keeps those of earlier images. What is
# yours to write is when one is retired, and why, behind its target: `HASH TARGET retired 2027-01-31: REASON`.
";

/// What stands above those that no image has any more.
const EARLIER: &str = "# Of earlier images:\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(std: &str, target: &str) -> LockedToolchain {
        let record = ToolchainRecord {
            crt: "x".to_owned(),
            linker: Linker { name: "ld".to_owned(), version: "1".to_owned() },
            panic: PanicStrategy::Unwind,
            rustc: Rustc { release: "1".into(), commit: "c".into(), llvm: "1".into() },
            std: Digest::of(std),
            target: target.parse().expect("a triple"),
        };
        LockedToolchain { hash: record.hash(), record }
    }

    #[test]
    fn the_hashes_of_earlier_images_stay() {
        let (a, b) = (locked("a", "a-b"), locked("b", "b-c"));
        let first = trusted_set([&b, &a, &a].into_iter(), "").expect("a list");
        assert_eq!(first, format!("{HEAD}{} a-b\n{} b-c\n", a.hash, b.hash));
        // A new compiler for one target; a person retires what the old one built.
        let retired = first.replace(" b-c\n", " b-c retired 2027-01-31: it drops relocations\n");
        let new = locked("new", "b-c");
        let second = trusted_set([&a, &new].into_iter(), &retired).expect("a list");
        let expected = format!(
            "{HEAD}{} a-b\n{} b-c\n{EARLIER}{} b-c retired 2027-01-31: it drops relocations\n",
            a.hash, new.hash, b.hash
        );
        assert_eq!(second, expected);
        assert_eq!(trusted_set([&a, &new].into_iter(), &second), Ok(second.clone()), "nothing new");
        // An image that is as an earlier one was again does not lose its retirement.
        let third = trusted_set([&a, &b].into_iter(), &second).expect("a list");
        assert!(third.starts_with(&retired) && third.ends_with(&format!("{} b-c\n", new.hash)));
        assert!(trusted_set([&a].into_iter(), "<<<<<<< HEAD\n").is_err());
    }
}
