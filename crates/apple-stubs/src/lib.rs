//! Text stubs of the libraries that every macOS has, so that plugins link without Apple's SDK.
//!
//! A linker wants no code of a library that is loaded at run time, only its install name and the
//! symbols that it has. Crates that bind those libraries say which library has which symbol, so that is
//! where the symbols come from: the crates that `docker/apple/Cargo.lock` pins, read as source by
//! [`declarations`]. What no crate says (install names, versions, a few symbols) a person wrote into
//! `docker/apple/libraries.toml`, which [`libraries`] reads. [`stub`] writes what a linker reads, one
//! file a library, below `docker/files/apple`.
//!
//! The C library is the exception: [`system`] takes it from what zig brings, in the wheel that the images'
//! locks pin.
//!
//! Nothing comes from an SDK of Apple's, and nothing is guessed: a symbol that no crate declares is in no
//! stub. This crate is no part of the tool: it runs where the stubs are made anew.

#![forbid(unsafe_code)]

pub mod condition;
pub mod declarations;
pub mod libraries;
pub mod made;
pub mod sources;
pub mod stub;
pub mod system;

use std::fmt;

/// A processor that macOS runs on, as cargo calls it (`target_arch`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// Intel's.
    X86_64,
    /// Apple's own.
    Aarch64,
}

impl Arch {
    /// Both.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// As `cfg(target_arch)` has it.
    pub const fn in_cfg(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As a stub has it.
    pub const fn in_stub(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-macos",
            Self::Aarch64 => "arm64-macos",
        }
    }

    /// The oldest macOS that plugins for it are built for, as `targets.toml` says too.
    pub const fn floor(self) -> Version {
        match self {
            Self::X86_64 => Version { major: 10, minor: 13 },
            Self::Aarch64 => Version { major: 11, minor: 0 },
        }
    }
}

/// A version of macOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 10 up to Catalina.
    pub major: u16,
    /// 15 of 10.15.
    pub minor: u16,
}

impl std::str::FromStr for Version {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Self { major: major.parse()?, minor: minor.parse()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
