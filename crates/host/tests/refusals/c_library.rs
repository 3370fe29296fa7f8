//! Libraries of the machine's C compiler.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

/// What it makes of a source.
pub(crate) fn build(source: &str, flags: &[&str]) -> Vec<u8> {
    let folder = TempDir::new().expect("a folder");
    let (input, output) = (folder.path().join("library.c"), folder.path().join("library.so"));
    fs::write(&input, source).expect("the source is written");
    let command = Command::new("cc")
        .args(["-shared", "-o"])
        .args([&output, &input])
        .args(flags)
        .output()
        .expect("a C compiler");
    assert!(command.status.success(), "{}", String::from_utf8_lossy(&command.stderr));
    fs::read(output).expect("the library")
}
