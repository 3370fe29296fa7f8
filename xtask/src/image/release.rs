//! A suite's `InRelease` file: who signed it, when, and which index files it vouches for.
//!
//! The one place where trust enters: everything else is named by a sha256 that this file, or a
//! lock, carries. A signature that is missing or bad is an error, never a warning.

use std::error::Error;

use keyway_manifest::Digest;
use thiserror::Error;

use super::control::Paragraph;
use super::openpgp::{Keyring, OpenPgpError};
use crate::time::{parse_date, rfc3339};

/// A verified `InRelease` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Name of the suite's code, such as `trixie`.
    pub codename: String,
    /// When the suite last changed, in seconds since 1970.
    pub epoch: u64,
    /// Until when it may be believed, in seconds since 1970, if it says so.
    valid_until: Option<u64>,
    /// Index files: path below the suite, size, digest.
    files: Vec<(String, u64, Digest)>,
}

/// Why an `InRelease` file is not accepted.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// A key file of the keyring can't be read as one.
    #[error(transparent)]
    Key(OpenPgpError),
    /// The program that reads signatures can't be had.
    #[error("could not read the signature on `{from}`")]
    Unread {
        /// The file's address.
        from: String,
        /// Why.
        source: OpenPgpError,
    },
    /// The file carries no cleartext signature.
    #[error("`{from}` carries no signature that can be read")]
    Unsigned {
        /// The file's address.
        from: String,
        /// What the parser says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No signature on it was made by a key of the keyring.
    #[error("no valid signature on `{from}` by a key of the keyring; signed by {signers}")]
    Untrusted {
        /// The file's address.
        from: String,
        /// Fingerprints that the signatures name.
        signers: String,
    },
    /// A field is missing or not of its form.
    #[error("`{from}` has no usable field `{field}`")]
    Field {
        /// The file's address.
        from: String,
        /// The field's name.
        field: &'static str,
    },
    /// It is of another suite than asked for.
    #[error("`{from}` is of suite `{found}`, expected `{expected}`")]
    OtherSuite {
        /// The file's address.
        from: String,
        /// What was asked for.
        expected: String,
        /// What it says.
        found: String,
    },
    /// It is too old to be believed: what came out since may be held back.
    #[error("`{from}` was valid until {until} only: the mirror holds back what came out since")]
    Expired {
        /// The file's address.
        from: String,
        /// The time.
        until: String,
    },
    /// It does not list an index that is needed.
    #[error("`{from}` does not list `{index}`")]
    NoIndex {
        /// The file's address.
        from: String,
        /// The index.
        index: String,
    },
}

impl Release {
    /// Verifies and reads the `InRelease` file of `suite` that came from the address `from`.
    ///
    /// # Errors
    /// If no key of the keyring signed it, it is of another suite, or a field is missing.
    pub fn verify(
        keyring: &Keyring,
        from: &str,
        suite: &str,
        bytes: &[u8],
    ) -> Result<Self, ReleaseError> {
        let text = keyring.verify(bytes);
        let text = text.map_err(|error| unverified(from.to_owned(), error))?;
        let text = text.replace("\r\n", "\n");
        let missing = |field| ReleaseError::Field { from: from.to_owned(), field };
        let paragraph = Paragraph::all(&text).next().ok_or_else(|| missing("Codename"))?;
        let field = |name| paragraph.field(name).ok_or_else(|| missing(name));
        let codename = field("Codename")?;
        if codename != suite {
            return Err(ReleaseError::OtherSuite {
                from: from.to_owned(),
                expected: suite.to_owned(),
                found: codename.to_owned(),
            });
        }
        let date = |name, text| parse_date(text).ok_or_else(|| missing(name));
        let epoch = date("Date", field("Date")?)?;
        let valid_until = paragraph.field("Valid-Until");
        let valid_until = valid_until.map(|text| date("Valid-Until", text)).transpose()?;
        let files = field("SHA256")?
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| parse_file(line).ok_or_else(|| missing("SHA256")))
            .collect::<Result<_, _>>()?;
        Ok(Self { codename: codename.to_owned(), epoch, valid_until, files })
    }

    /// Whether it may be believed at a time, in seconds since 1970. Only suites that change all the
    /// time, such as those of security updates, say until when.
    ///
    /// # Errors
    /// If it may not.
    pub fn check_time(&self, from: &str, now: u64) -> Result<(), ReleaseError> {
        match self.valid_until.filter(|until| now > *until) {
            None => Ok(()),
            Some(until) => {
                Err(ReleaseError::Expired { from: from.to_owned(), until: rfc3339(until) })
            }
        }
    }

    /// Size and digest of an index, such as `main/binary-amd64/Packages.xz`.
    ///
    /// # Errors
    /// If the file does not list it.
    pub fn index(&self, from: &str, path: &str) -> Result<(u64, Digest), ReleaseError> {
        let found = self.files.iter().find(|(listed, _, _)| listed == path);
        found
            .map(|(_, size, digest)| (*size, *digest))
            .ok_or_else(|| ReleaseError::NoIndex { from: from.to_owned(), index: path.to_owned() })
    }
}

fn unverified(from: String, error: OpenPgpError) -> ReleaseError {
    match error {
        OpenPgpError::Key { .. } => ReleaseError::Key(error),
        OpenPgpError::Unsigned { source } => ReleaseError::Unsigned { from, source },
        OpenPgpError::Untrusted { signers } => ReleaseError::Untrusted { from, signers },
        source @ OpenPgpError::Elsewhere { .. } => ReleaseError::Unread { from, source },
    }
}

fn parse_file(line: &str) -> Option<(String, u64, Digest)> {
    let mut words = line.split_whitespace();
    let digest = words.next()?.parse().ok()?;
    let size = words.next()?.parse().ok()?;
    let path = words.next()?.to_owned();
    words.next().is_none().then_some((path, size, digest))
}
