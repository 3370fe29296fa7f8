//! What must not compile, and the first line of why.
//!
//! Each file in `refused/` says in `//~` comments which message is expected on which line. Whole
//! error outputs are not compared: most of their text is the compiler's and changes with it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn what_cannot_cross_does_not_compile() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cases = sdk.join("tests/refused");
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let package = scratch.join("refused");
    let mut manifest = format!(
        "[package]\nname = \"refused\"\nedition = \"2024\"\nautobins = false\n\n[workspace]\n\n\
         [dependencies]\nkeyway-sdk.path = {sdk:?}\n"
    );
    let mut expected = BTreeSet::new();
    for case in fs::read_dir(&cases).expect("the cases") {
        let path = case.expect("a case").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        write!(manifest, "\n[[bin]]\nname = {name:?}\npath = {path:?}\n").expect("memory");
        let source = fs::read_to_string(&path).expect("a case's source");
        for (line, text) in source.lines().enumerate() {
            if let Some((_, message)) = text.split_once("//~ ") {
                expected.insert((name.clone(), line + 1, message.to_owned()));
            }
        }
    }
    fs::create_dir_all(&package).expect("a folder");
    fs::write(package.join("Cargo.toml"), manifest).expect("a manifest");
    fs::copy(sdk.join("../../Cargo.lock"), package.join("Cargo.lock")).expect("a lock");
    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--keep-going", "--message-format=short", "--color=never"])
        .current_dir(&package)
        .env("CARGO_TARGET_DIR", scratch.join("nested"))
        .output()
        .expect("cargo runs");
    assert!(!output.status.success(), "everything compiled");
    let stderr = String::from_utf8(output.stderr).expect("cargo speaks UTF-8");
    let found: BTreeSet<_> = stderr.lines().filter_map(error).collect();
    assert!(!found.is_empty(), "{stderr}");

    let matches = |expected: &(String, usize, String), found: &(String, usize, String)| {
        // A constant that fails is told where it stands, in keyway-abi.
        let elsewhere = !cases.join(&found.0).with_extension("rs").exists();
        let here = expected.0 == found.0 && expected.1 == found.1;
        (here || elsewhere) && found.2.contains(&expected.2)
    };
    let missing = expected.iter().filter(|it| !found.iter().any(|found| matches(it, found)));
    let surplus = found.iter().filter(|found| !expected.iter().any(|it| matches(it, found)));
    let mut report = String::new();
    for (name, line, message) in missing {
        writeln!(report, "missing: {name}.rs:{line}: {message}").expect("memory");
    }
    for (name, line, message) in surplus {
        writeln!(report, "surplus: {name}.rs:{line}: {message}").expect("memory");
    }
    assert!(report.is_empty(), "{report}");
}

/// Case, line and message of `…/refused/enums.rs:6:10: error[E0277]: message`.
fn error(line: &str) -> Option<(String, usize, String)> {
    let (place, message) = line.split_once(": error")?;
    let (_, message) = message.split_once(": ")?;
    let mut place = place.rsplitn(3, ':');
    let (_column, line, path) = (place.next()?, place.next()?, place.next()?);
    let name = Path::new(path).file_stem()?.to_str()?.to_owned();
    Some((name, line.parse().ok()?, message.to_owned()))
}
