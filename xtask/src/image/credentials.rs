//! Who a user is to a registry: what `docker login` left behind, and nothing of our own.
//!
//! `config.json` in `$DOCKER_CONFIG`, else `~/.docker`: a helper for the registry, the helper for all,
//! or the entry below `auths`. Nothing of it is written, shown or kept.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use keyway_manifest::text::Show as _;
use serde_json::Value;

/// The value of a header `Authorization: Basic …` for a registry, if the user is logged in there.
///
/// # Errors
/// If the file is not of the form, or a helper can't be run.
pub(super) fn basic(registry: &str) -> Result<Option<String>, String> {
    let Some(path) = config_file() else { return Ok(None) };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("could not read `{}`: {error}", path.shown())),
    };
    let config: Value = serde_json::from_str(&text)
        .map_err(|error| format!("`{}` is not of the form: {error}", path.shown()))?;
    let helper = config["credHelpers"][registry].as_str().or(config["credsStore"].as_str());
    if let Some(helper) = helper {
        return ask(helper, registry);
    }
    let keys = [registry.to_owned(), format!("https://{registry}"), format!("http://{registry}")];
    let auth = keys.iter().find_map(|key| config["auths"][key]["auth"].as_str());
    let auth = auth.filter(|auth| !auth.is_empty());
    if auth
        .is_some_and(|auth| !auth.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)))
    {
        return Err(format!("`auth` of `{registry}` in `{}` is no base64", path.shown()));
    }
    Ok(auth.map(|auth| format!("Basic {auth}")))
}

fn config_file() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let docker = folder("DOCKER_CONFIG").or_else(|| Some(folder("HOME")?.join(".docker")));
    Some(docker?.join("config.json"))
}

/// Asks a helper as Docker does: the registry on its standard input, JSON back.
fn ask(helper: &str, registry: &str) -> Result<Option<String>, String> {
    let program = format!("docker-credential-{helper}");
    let failed = |error: io::Error| format!("could not run `{program} get`: {error}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    // A helper that answers without reading is no failure.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(registry.as_bytes()));
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        // That is how helpers say that they know nobody there.
        return Ok(None);
    }
    let answer: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("`{program} get` answers no JSON: {error}"))?;
    let (Some(user), Some(secret)) = (answer["Username"].as_str(), answer["Secret"].as_str())
    else {
        return Err(format!("`{program} get` names no `Username` and `Secret`"));
    };
    Ok(Some(format!("Basic {}", base64(format!("{user}:{secret}").as_bytes()))))
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = (group >> (18 - 6 * at)) & 63;
            let letter = if at <= chunk.len() { ALPHABET[digit as usize] } else { b'=' };
            text.push(char::from(letter));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn encodes() {
        let check = |text: &str, expected| assert_eq!(base64(text.as_bytes()), expected);
        check("", "");
        check("f", "Zg==");
        check("fo", "Zm8=");
        check("foo", "Zm9v");
        check("user:p\u{fc}\u{ff}", "dXNlcjpww7zDvw==");
    }
}
