//! The manifest as a file: strict reading, canonical writing.
//!
//! Strict means that a manifest is refused when a field is missing, unknown, doubled or of another
//! type, when a list is not sorted, or when fields contradict each other. Unknown fields too are
//! refused within one format version: a host can't tell whether a field that it doesn't know takes
//! something back. What is added later is an annotation, or an entry of `requires`, which says just that.
//! White space alone is free, so a manifest that went through a formatter still reads.

use serde::Deserialize;
use serde_json::error::Category;
use thiserror::Error;

use crate::text::Show as _;
use crate::{FormatVersion, Manifest, StampFormat, canonical};

/// Why bytes are no manifest.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// They are more than any manifest needs.
    #[error("the manifest has {size} bytes, more than the {} allowed", Manifest::MAX_SIZE)]
    TooLarge {
        /// How many there are.
        size: u64,
    },
    /// They are not JSON.
    #[error("the manifest is not JSON")]
    Json(#[source] serde_json::Error),
    /// The schema is of a version that this crate doesn't know. Nothing else was read.
    #[error(
        "the manifest has format `{found}`, this host reads format {}",
        FormatVersion::NUMBER,
        found = .found.shown()
    )]
    UnknownFormat {
        /// The version, cut at 80 characters.
        found: String,
    },
    /// A field is missing, unknown, doubled, or of the wrong type.
    #[error(
        "the manifest does not follow its schema: `{path}`: {reason}",
        path = .path.shown(),
        reason = .reason.shown()
    )]
    Field {
        /// Where: `artifact.sha256`, or `.` for the whole.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// All fields read well, but two of them contradict each other.
    #[error("the manifest contradicts itself: {reason}", reason = .reason.shown())]
    Contradiction {
        /// Which fields, and how.
        reason: String,
    },
    /// All fields read well, but are not written as [`Manifest::to_json`] does.
    #[error(
        "the manifest is not canonical: `{key}` is spelled or sorted differently",
        key = .key.shown()
    )]
    NotCanonical {
        /// The top-level key.
        key: String,
    },
}

impl Manifest {
    /// How large a manifest may be, in bytes. A real one has a few thousand.
    pub const MAX_SIZE: u64 = 1 << 20;

    /// What a manifest's file name ends with.
    pub const FILE_SUFFIX: &str = ".manifest.json";

    /// The name of the file that it is kept in: `libgreet.so.manifest.json`.
    pub fn file_name(&self) -> String {
        Self::file_name_for(self.artifact.file.as_str())
    }

    /// The name of the manifest of a library with this file name.
    pub fn file_name_for(library: &str) -> String {
        format!("{library}{}", Self::FILE_SUFFIX)
    }

    /// Canonical JSON, with a newline at the end.
    pub fn to_json(&self) -> String {
        canonical::document(self).expect("strings, integers, digests and enums are always JSON")
    }

    /// Reads a manifest, strictly.
    ///
    /// # Errors
    ///
    /// Whatever keeps the bytes from being a manifest of the format that this crate knows.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let size = bytes.len() as u64;
        if size > Self::MAX_SIZE {
            return Err(ManifestError::TooLarge { size });
        }
        check_format(bytes)?;
        let manifest: Self = read(bytes)?;
        manifest.check_canonical(bytes)?;
        manifest.check_consistent()?;
        Ok(manifest)
    }

    /// Compares the values that were read with the values as they would be written, which finds
    /// lists out of order, digests with a prefix, and structs spelled as lists.
    fn check_canonical(&self, bytes: &[u8]) -> Result<(), ManifestError> {
        let found: serde_json::Map<_, _> = read(bytes)?;
        let written = serde_json::to_value(self).map_err(ManifestError::Json)?;
        match found.into_iter().find(|(key, value)| written.get(key) != Some(value)) {
            Some((key, _)) => Err(ManifestError::NotCanonical { key }),
            None => Ok(()),
        }
    }

    fn check_consistent(&self) -> Result<(), ManifestError> {
        let contradiction = |reason: String| Err(ManifestError::Contradiction { reason });
        match (self.stamp, &self.abi) {
            (StampFormat::None, Some(_)) => {
                return contradiction("`stamp` is `none`, but `abi` is not null".to_owned());
            }
            (StampFormat::Keyway1, None) => {
                return contradiction("`stamp` is `keyway-1`, but `abi` is null".to_owned());
            }
            _ => {}
        }
        let Some(toolchain) = &self.toolchain else {
            return Ok(());
        };
        let hash = toolchain.record.hash();
        if toolchain.hash != hash {
            let found = toolchain.hash;
            return contradiction(format!(
                "`toolchain.hash` is `{found}`, but `toolchain.record` has the hash `{hash}`"
            ));
        }
        let record_target = &toolchain.record.target;
        if *record_target != self.target {
            let target = &self.target;
            return contradiction(format!(
                "`target` is `{target}`, but `toolchain.record.target` is `{record_target}`"
            ));
        }
        Ok(())
    }
}

/// Looks at the format version alone: a manifest of another version may differ in everything else.
fn check_format(bytes: &[u8]) -> Result<(), ManifestError> {
    #[derive(Deserialize)]
    struct Peek {
        format: serde_json::Value,
    }

    let Peek { format } = read(bytes)?;
    if format.as_u64() == Some(FormatVersion::NUMBER) {
        return Ok(());
    }
    let found = format.to_string().chars().take(80).collect();
    Err(ManifestError::UnknownFormat { found })
}

fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, ManifestError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        field_error(path, error.into_inner())
    })?;
    deserializer.end().map_err(ManifestError::Json)?;
    Ok(value)
}

fn field_error(path: String, error: serde_json::Error) -> ManifestError {
    match error.classify() {
        Category::Data => ManifestError::Field { path, reason: error.to_string() },
        Category::Syntax | Category::Eof | Category::Io => ManifestError::Json(error),
    }
}
