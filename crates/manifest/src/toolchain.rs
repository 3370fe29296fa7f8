//! What decides whether two binaries of one ABI can share a process: the toolchain that made them.

use serde::{Deserialize, Serialize};

use crate::{Digest, Triple, canonical};

/// The toolchain behind an artifact. Its [`hash`](ToolchainRecord::hash) is stamped into the binary.
///
/// Whatever is only provenance (the image's digest, `Cargo.lock`, flags) stays out: two images with
/// the same compiler, standard library and linker are the same toolchain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolchainRecord {
    /// The C runtime that is linked against, such as `glibc-2.17`, `musl` or `msvcrt`.
    pub crt: String,
    /// The linker.
    pub linker: Linker,
    /// The panic strategy.
    pub panic: PanicStrategy,
    /// The compiler.
    pub rustc: Rustc,
    /// The compiled standard library for the target, by content.
    pub std: Digest,
    /// The target.
    pub target: Triple,
}

/// A linker, by name and version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linker {
    /// Such as `zig` or `x86_64-w64-mingw32-gcc`.
    pub name: String,
    /// The version that it reports.
    pub version: String,
}

/// A Rust compiler.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rustc {
    /// The commit that `rustc -vV` names.
    pub commit: String,
    /// The version of LLVM.
    pub llvm: String,
    /// The release, such as `1.96.0`.
    pub release: String,
}

/// What a panic does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PanicStrategy {
    /// It ends the process.
    Abort,
    /// It unwinds the stack.
    Unwind,
}

impl ToolchainRecord {
    /// SHA-256 of the record's compact canonical JSON.
    pub fn hash(&self) -> Digest {
        let text = canonical::compact(self).expect("strings, digests and enums are always JSON");
        Digest::of(text)
    }
}
