//! The vocabulary that every part of Keyway shares: digests, target triples and the manifest
//! that lies beside each plugin.
//!
//! This crate does no I/O. It parses once, at the edge, into types that can't be wrong.
#![forbid(unsafe_code)]

pub mod canonical;
mod digest;
mod document;
mod libc_version;
mod name;
mod schema;
pub mod text;
mod toolchain;
mod triple;

pub use digest::{Digest, Hasher, ParseDigestError};
pub use document::ManifestError;
pub use libc_version::{LibcVersion, ParseLibcVersionError};
pub use name::{FileName, ParseNameError, PluginName};
pub use schema::{
    Abi, Artifact, Build, FormatVersion, Image, Import, Interface, Libc, LibcFamily, Manifest,
    ObjectFormat, Plugin, Source, StampFormat, Toolchain,
};
pub use toolchain::{Linker, PanicStrategy, Rustc, ToolchainRecord};
pub use triple::{ParseTripleError, Triple};
