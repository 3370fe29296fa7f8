//! Names that are safe as part of a path on every system: a plugin's and a file's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::text::Show as _;

/// A plugin's name, which is its package's: ASCII letters, digits, `-` and `_`, beginning with a
/// letter or digit, at most 64 characters, and no name that Windows keeps for a device.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginName(String);

/// The plain name of a file: visible ASCII without separators, wildcards, drive letters or a dot at
/// the end, at most 255 characters, neither `.` nor `..`, and no name that Windows keeps for a
/// device. Joined to a folder it never leaves that folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

/// Why a string is no [`PluginName`] or no [`FileName`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected {expected}, found `{found}`", found = .found.shown())]
pub struct ParseNameError {
    /// What it should have been.
    pub expected: &'static str,
    /// The string, cut at 80 characters.
    pub found: String,
}

impl PluginName {
    fn accepts(text: &str) -> bool {
        text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !is_device(text)
    }
}

impl FileName {
    fn accepts(text: &str) -> bool {
        let reserved = |b: u8| {
            matches!(b, b'<' | b'>' | b':' | b'"' | b'/' | b'\\' | b'|' | b'?' | b'*' | b'`')
        };
        (1..=255).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic() && !reserved(b))
            && !text.ends_with('.')
            && !is_device(text)
    }
}

/// Whether Windows opens a device under this name, with whatever extension and in any folder.
/// <https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file>
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    match stem.as_str() {
        "con" | "prn" | "aux" | "nul" | "conin$" | "conout$" => true,
        stem => matches!(
            stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt")).map(str::as_bytes),
            Some([b'0'..=b'9'])
        ),
    }
}

macro_rules! name {
    ($type:ident, $expected:literal) => {
        impl $type {
            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self.0)
            }
        }

        impl FromStr for $type {
            type Err = ParseNameError;

            fn from_str(text: &str) -> Result<Self, ParseNameError> {
                if Self::accepts(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    let found = text.chars().take(80).collect();
                    Err(ParseNameError { expected: $expected, found })
                }
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(PluginName, "a plugin's name such as `order-match`");
name!(FileName, "a plain file name such as `greet.dll`");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugin_names() {
        for good in ["greet", "order-match", "zstd_codec", "7z", "console", "com10", "Common"] {
            assert!(good.parse::<PluginName>().is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        for bad in ["", "-a", "a.b", "a/b", "..", "nul", "COM1", "lpt9", "ä", &long] {
            assert!(bad.parse::<PluginName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn file_names() {
        for good in ["libgreet.so", "greet.dll", "..a", "a..b", "com1x.dll", "lib.nul"] {
            assert!(good.parse::<FileName>().is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "",
            ".",
            "..",
            "../a",
            "a/b",
            "a\\b",
            "/a",
            "C:a",
            "a.",
            "a b",
            "a\0",
            "Nul.dll",
            "com0.tar.gz",
            "CONOUT$",
            "greet.dll:stream",
            "ä",
            &long,
        ] {
            assert!(bad.parse::<FileName>().is_err(), "{bad}");
        }
    }
}
