//! Libraries that the machine's own cargo builds, where cargo says that they are: an environment that
//! names a target moves them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs `cargo build`, which may have arguments already, and gives the library of the package or
/// example `name`.
pub(crate) fn library(cargo: &mut Command, name: &str) -> PathBuf {
    let output = cargo
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the library `{name}` was not built");
    let said = String::from_utf8(output.stdout).expect("text");
    let mut messages = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let library = messages.find_map(|message| {
        let is_it = message["reason"] == "compiler-artifact" && message["target"]["name"] == name;
        let files = message["filenames"].as_array().filter(|_| is_it)?;
        let is_library = |file: &&Path| {
            file.extension().is_some_and(|extension| extension == std::env::consts::DLL_EXTENSION)
        };
        files.iter().filter_map(Value::as_str).map(Path::new).find(is_library).map(Path::to_owned)
    });
    library.unwrap_or_else(|| panic!("cargo named no library `{name}`:\n{said}"))
}
