//! The text under a valid signature by one of some keys.
//!
//! What reads OpenPGP is half of all that this tool is compiled from, and only writing a lock needs it. So it
//! is the feature `openpgp`; a program without it asks one with it, which cargo compiles the first time.

#[cfg(any(test, not(feature = "openpgp")))]
mod elsewhere;
#[cfg(feature = "openpgp")]
mod here;

use std::error::Error;

use serde::{Deserialize, Serialize};
use thiserror::Error;

#[cfg(feature = "openpgp")]
pub use here::{answer, fingerprints};

/// Whose signatures count: key files by name, each binary or armored. Of several keys in one, all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring(pub Vec<(String, Vec<u8>)>);

/// Why there is no text.
#[derive(Debug, Error)]
pub enum OpenPgpError {
    /// A key file can't be read as one.
    #[error("could not read the key file `{name}`")]
    Key {
        /// The file's name.
        name: String,
        /// What the parser says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The message carries no cleartext signature.
    #[error("it carries no signature that can be read")]
    Unsigned {
        /// What the parser says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No signature was made by a key of the keyring.
    #[error("no key of the keyring signed it; signed by {signers}")]
    Untrusted {
        /// Fingerprints that the signatures name.
        signers: String,
    },
    /// The program that reads signatures could not be compiled or started, or did not answer.
    #[error(
        "this program is built without the feature `openpgp`, and the one that has it {problem}"
    )]
    Elsewhere {
        /// What went wrong.
        problem: String,
    },
}

/// What one program asks of another: the text of this message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    keyring: Keyring,
    message: Vec<u8>,
}

/// [`OpenPgpError`] and the text, as they pass from one program to another.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Text(String),
    Key { name: String, problem: String },
    Unsigned { problem: String },
    Untrusted { signers: String },
}

impl Keyring {
    /// The text of a message in OpenPGP's cleartext signature framework, under a valid signature of one
    /// of the keys or their signing subkeys. What stands around the signed text is left out.
    ///
    /// # Errors
    /// If a key or the message can't be read, or none of the keys signed it.
    pub fn verify(&self, message: &[u8]) -> Result<String, OpenPgpError> {
        #[cfg(feature = "openpgp")]
        return here::verify(self, message);
        #[cfg(not(feature = "openpgp"))]
        return elsewhere::verify(self, message);
    }
}
