//! `docker/apple/libraries.toml`: what a person knows of macOS' libraries and no crate says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::Version;

/// Every library that there is a stub for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Libraries {
    /// In the order of the file.
    #[serde(rename = "library")]
    pub all: Vec<Library>,
}

/// One library.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Library {
    /// As `#[link(name = …)]`, `-framework` and `-l` have it.
    pub link: String,
    /// Where the loader finds it; a framework's own place unless given.
    install_name: Option<String>,
    /// The oldest version of its interface that the loader accepts, by the rules of `otool -L`. With 0,
    /// any.
    #[serde(default)]
    compatibility: Option<String>,
    /// The macOS that it came with, where that is later than the oldest that plugins are built for.
    #[serde(default, deserialize_with = "version")]
    pub since: Option<Version>,
    /// Whose declarations without a library of their own it has.
    #[serde(default)]
    pub crates: Vec<String>,
    /// Symbols that no crate declares, as C spells them.
    #[serde(default)]
    pub symbols: Vec<String>,
    /// Classes that no crate declares.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Classes that can be thrown.
    #[serde(default)]
    pub thrown: Vec<String>,
    /// Other libraries here, by `link`, whose symbols it passes on as its own.
    #[serde(default)]
    pub reexports: Vec<String>,
    /// Symbols that came with a later macOS than the oldest, and with which.
    #[serde(default, deserialize_with = "versions")]
    pub newer: BTreeMap<String, Version>,
}

impl Library {
    /// Where the loader finds it.
    pub fn install_name(&self) -> String {
        let link = &self.link;
        let usual = || format!("/System/Library/Frameworks/{link}.framework/Versions/A/{link}");
        self.install_name.clone().unwrap_or_else(usual)
    }

    /// The version that the loader compares.
    pub fn compatibility(&self) -> &str {
        self.compatibility.as_deref().unwrap_or("0")
    }

    /// Where a linker looks for its stub, from the root of the SDK.
    pub fn stub(&self) -> PathBuf {
        let link = &self.link;
        if self.install_name().starts_with("/usr/lib/") {
            format!("usr/lib/lib{link}.tbd").into()
        } else {
            format!("System/Library/Frameworks/{link}.framework/{link}.tbd").into()
        }
    }
}

/// Why the file is not understood.
#[derive(Debug, Error)]
pub enum LibrariesError {
    /// It can't be read.
    #[error("could not read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not of the form.
    #[error("`{path}` is not of the form")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<toml::de::Error>,
    },
    /// It passes on a library that it does not have.
    #[error("`{library}` in `{path}` passes on `{other}`, which is not there")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The library.
        library: String,
        /// The other.
        other: String,
    },
}

impl Libraries {
    /// Reads the file.
    ///
    /// # Errors
    /// If it is not there or not of the form.
    pub fn read(path: &Path) -> Result<Self, LibrariesError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| LibrariesError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads its text.
    ///
    /// # Errors
    /// If it is not of the form.
    pub fn parse(text: &str, path: &Path) -> Result<Self, LibrariesError> {
        let libraries: Self = toml::from_str(text).map_err(|source| LibrariesError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        for library in &libraries.all {
            if let Some(other) = library.reexports.iter().find(|of| libraries.find(of).is_none()) {
                let (path, library) = (path.to_owned(), library.link.clone());
                return Err(LibrariesError::Unknown { path, library, other: other.clone() });
            }
        }
        Ok(libraries)
    }

    /// The library that is linked by a name.
    pub fn find(&self, link: &str) -> Option<&Library> {
        self.all.iter().find(|library| library.link == link)
    }
}

fn version<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Version>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

fn versions<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Version>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(from)?;
    let parsed = texts.into_iter().map(|(symbol, text)| Ok((symbol, text.parse()?)));
    parsed.collect::<Result<_, std::num::ParseIntError>>().map_err(serde::de::Error::custom)
}
