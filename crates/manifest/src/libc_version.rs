//! The version of a C library, as symbol versions and the library itself spell it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::text::Show as _;

/// `2.17` or `2.2.5`: two or three numbers, ordered as numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LibcVersion {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
    /// The third number, 0 when it is not written.
    pub patch: u16,
}

impl LibcVersion {
    /// `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor, patch: 0 }
    }
}

/// Why a string is no version of a C library.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected a version such as `2.17`, found `{found}`", found = .found.shown())]
pub struct ParseLibcVersionError {
    /// The string, cut at 80 characters.
    pub found: String,
}

impl fmt::Display for LibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch != 0 {
            write!(f, ".{}", self.patch)?;
        }
        Ok(())
    }
}

impl fmt::Debug for LibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LibcVersion({self})")
    }
}

impl FromStr for LibcVersion {
    type Err = ParseLibcVersionError;

    fn from_str(text: &str) -> Result<Self, ParseLibcVersionError> {
        let error = || ParseLibcVersionError { found: text.chars().take(80).collect() };
        let number = |part: &str| match part.as_bytes() {
            [b'0'] => Some(0),
            [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => part.parse().ok(),
            _ => None,
        };
        let mut parts = text.split('.').map(number);
        let mut next = || parts.next().map(|part| part.ok_or_else(error)).transpose();
        let (Some(major), Some(minor)) = (next()?, next()?) else {
            return Err(error());
        };
        let patch = next()?.unwrap_or(0);
        if next()?.is_some() {
            return Err(error());
        }
        Ok(Self { major, minor, patch })
    }
}

impl Serialize for LibcVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LibcVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_numbers() {
        let version = |text: &str| text.parse::<LibcVersion>().expect(text);
        assert!(version("2.2.5") < version("2.17"));
        assert!(version("2.4") < version("2.17"));
        assert_eq!(version("2.17"), LibcVersion::new(2, 17));
        assert_eq!(version("2.2.5").to_string(), "2.2.5");
    }

    #[test]
    fn refuses_what_is_no_version() {
        for bad in ["", "2", "2.", ".2", "2.x", "2.+1", "2.017", "2.1.2.3", "2.99999", "PRIVATE"] {
            assert!(bad.parse::<LibcVersion>().is_err(), "{bad}");
        }
    }
}
