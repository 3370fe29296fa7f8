//! Patterns over paths in an image.

use std::str::FromStr;

use glob::{Pattern, PatternError};
use serde::{Deserialize, Deserializer};

/// A pattern over paths in an image.
#[derive(Debug, Clone)]
pub struct Glob(Pattern);

impl Glob {
    /// Whether it names a path or a folder above it.
    pub fn covers(&self, path: &str) -> bool {
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        let mut end = path.len();
        loop {
            if self.0.matches_with(&path[..end], options) {
                return true;
            }
            match path[..end].rfind('/') {
                Some(slash) => end = slash,
                None => return false,
            }
        }
    }
}

impl FromStr for Glob {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Pattern::new(text).map(Self)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
