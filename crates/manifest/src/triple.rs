//! A target triple, checked for shape and taken apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::text::Show as _;

/// A target triple such as `x86_64-pc-windows-gnu`.
///
/// Two to five parts, each of lowercase letters, digits, `_` and `.`, joined by `-`; so it is
/// always safe as a folder name and in a command line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Triple(String);

impl Triple {
    /// The whole triple.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first part: `x86_64`, `aarch64`, `armv7`, …
    pub fn arch(&self) -> &str {
        self.0.split('-').next().unwrap_or_default()
    }

    /// The triple as environment variables spell it: `x86_64_pc_windows_gnu`.
    pub fn underscored(&self) -> String {
        self.0.replace(['-', '.'], "_")
    }

    /// Whether it names a Windows target.
    pub fn is_windows(&self) -> bool {
        self.0.contains("-windows")
    }

    /// Whether it names an Apple target.
    pub fn is_apple(&self) -> bool {
        self.0.contains("-apple-")
    }
}

impl fmt::Display for Triple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Triple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Triple({})", self.0)
    }
}

/// Why a string is no target triple.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected a target triple such as `x86_64-unknown-linux-gnu`, found `{found}`", found = .found.shown())]
pub struct ParseTripleError {
    /// The string, cut at 80 characters.
    pub found: String,
}

impl FromStr for Triple {
    type Err = ParseTripleError;

    fn from_str(text: &str) -> Result<Self, ParseTripleError> {
        let part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.'))
        };
        let parts = text.split('-').count();
        if text.len() <= 64 && (2..=5).contains(&parts) && text.split('-').all(part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseTripleError { found: text.chars().take(80).collect() })
        }
    }
}

impl Serialize for Triple {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Triple {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_triples_apart() {
        let triple: Triple = "x86_64-pc-windows-gnu".parse().expect("a triple");
        assert_eq!(triple.arch(), "x86_64");
        assert_eq!(triple.underscored(), "x86_64_pc_windows_gnu");
        assert!(triple.is_windows());
    }

    #[test]
    fn refuses_what_is_no_triple() {
        for bad in ["", "x86_64", "../../etc", "a-../b", "a--b", "A-b", "a-b-c-d-e-f", "a-b/c"] {
            assert!(bad.parse::<Triple>().is_err(), "{bad}");
        }
    }
}
