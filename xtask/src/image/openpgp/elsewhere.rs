//! Signatures read by another build of this program, with the feature, which cargo makes and runs.

use std::env;
use std::path::Path;

use super::{Answer, Keyring, OpenPgpError, Question};

/// The package that has the feature.
const PACKAGE: &str = env!("CARGO_PKG_NAME");

pub(super) fn verify(keyring: &Keyring, message: &[u8]) -> Result<String, OpenPgpError> {
    let question = Question { keyring: keyring.clone(), message: message.to_owned() };
    match ask(&question).map_err(|problem| OpenPgpError::Elsewhere { problem })? {
        Answer::Text(text) => Ok(text),
        Answer::Key { name, problem } => Err(OpenPgpError::Key { name, source: problem.into() }),
        Answer::Unsigned { problem } => Err(OpenPgpError::Unsigned { source: problem.into() }),
        Answer::Untrusted { signers } => Err(OpenPgpError::Untrusted { signers }),
    }
}

/// Runs the same package as cargo runs this program from, and has it answer.
fn ask(question: &Question) -> Result<Answer, String> {
    // Cargo says so to what it runs.
    let told = |name| env::var_os(name).ok_or("is made by cargo, which did not start this one");
    let (cargo, folder, package) =
        (told("CARGO")?, told("CARGO_MANIFEST_DIR")?, told("CARGO_PKG_NAME")?);
    let feature = match package == *PACKAGE {
        true => "openpgp".to_owned(),
        false => format!("{PACKAGE}/openpgp"),
    };
    let manifest = Path::new(&folder).join("Cargo.toml");
    let question = serde_json::to_vec(question).map_err(|error| error.to_string())?;
    let arguments = ["run", "--quiet", "--locked", "--features", &feature, "--manifest-path"];
    let arguments = arguments.iter().map(Into::into).chain([manifest.into_os_string()]);
    let arguments = arguments.chain(["--", "read-signed"].map(Into::into));
    let output = duct::cmd(cargo, arguments)
        .stdin_bytes(question)
        .stdout_capture()
        .unchecked()
        .run()
        .map_err(|error| format!("could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("ended with {}", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("did not answer: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_build_reads_what_a_key_signed_and_refuses_what_none_did() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/keyring");
        let keyring = crate::image::archive::keyring(&folder).unwrap();
        let error = verify(&keyring, b"nobody signed this").unwrap_err();
        assert!(matches!(error, OpenPgpError::Unsigned { .. }), "{error}");
        let error = verify(&Keyring(vec![("k.asc".into(), b"no key".into())]), b"").unwrap_err();
        assert_eq!(error.to_string(), "could not read the key file `k.asc`");
    }
}
