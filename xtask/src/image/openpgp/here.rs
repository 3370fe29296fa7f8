//! Signatures read by this program.

use std::io::{self, Cursor, Read, Write};

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey};
use pgp::types::KeyDetails as _;

use super::{Answer, Keyring, OpenPgpError, Question};

/// The most that a question may have: a release file of a few hundred kilobytes, as numbers.
const QUESTION_LIMIT: u64 = 64 << 20;

pub(super) fn verify(keyring: &Keyring, message: &[u8]) -> Result<String, OpenPgpError> {
    let keys = keys(keyring)?;
    let (message, _) = CleartextSignedMessage::from_armor(Cursor::new(message))
        .map_err(|source| OpenPgpError::Unsigned { source: source.into() })?;
    let is_by = |key: &SignedPublicKey| {
        message.verify(key).is_ok()
            || key.public_subkeys.iter().any(|subkey| message.verify(subkey).is_ok())
    };
    if keys.iter().any(is_by) {
        return Ok(message.signed_text());
    }
    let mut signers: Vec<String> = message
        .signatures()
        .iter()
        .flat_map(|signature| signature.issuer_fingerprint())
        .map(|fingerprint| format!("`{fingerprint}`"))
        .collect();
    signers.dedup();
    if signers.is_empty() {
        signers.push("nobody".into());
    }
    Err(OpenPgpError::Untrusted { signers: signers.join(", ") })
}

/// Fingerprints of the primary keys, in the order of the files.
///
/// # Errors
/// If a file holds no public key, or a key whose own signatures do not hold.
pub fn fingerprints(keyring: &Keyring) -> Result<Vec<String>, OpenPgpError> {
    Ok(keys(keyring)?.iter().map(|key| key.primary_key.fingerprint().to_string()).collect())
}

/// Answers one question of a program without the feature: from stdin, to stdout.
///
/// # Errors
/// If there is no question that can be read, or nobody reads the answer.
pub fn answer() -> io::Result<()> {
    let mut question = Vec::new();
    io::stdin().take(QUESTION_LIMIT).read_to_end(&mut question)?;
    let Question { keyring, message } = serde_json::from_slice(&question)?;
    let answer = match verify(&keyring, &message) {
        Ok(text) => Answer::Text(text),
        Err(OpenPgpError::Key { name, source }) => {
            Answer::Key { name, problem: source.to_string() }
        }
        Err(OpenPgpError::Unsigned { source }) => Answer::Unsigned { problem: source.to_string() },
        Err(OpenPgpError::Untrusted { signers }) => Answer::Untrusted { signers },
        Err(error @ OpenPgpError::Elsewhere { .. }) => return Err(io::Error::other(error)),
    };
    io::stdout().write_all(&serde_json::to_vec(&answer)?)
}

fn keys(keyring: &Keyring) -> Result<Vec<SignedPublicKey>, OpenPgpError> {
    let mut keys = Vec::new();
    for (name, bytes) in &keyring.0 {
        let error = |source: pgp::errors::Error| OpenPgpError::Key {
            name: name.clone(),
            source: source.into(),
        };
        let (read, _) = SignedPublicKey::from_reader_many(Cursor::new(bytes)).map_err(error)?;
        for key in read {
            let key = key.map_err(error)?;
            // That a primary key lies in the keyring is what makes it trusted; who vouches for its
            // owner's name does not matter. A subkey must be bound to it.
            for subkey in &key.public_subkeys {
                subkey.verify_bindings(&key.primary_key).map_err(error)?;
            }
            keys.push(key);
        }
    }
    Ok(keys)
}
