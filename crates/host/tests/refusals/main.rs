//! Every file that must be refused, against the real program with a real plugin, whose constructor
//! leaves a file: when that file is there, code of the plugin ran before the gate had its say.

mod canary;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keyway_cases::{Case, Expected};
use keyway_host::code::Code;
use keyway_manifest::Manifest;
use serde_json::Value;
use tempfile::TempDir;

/// The canary and its manifest in a folder of their own.
fn plugin(folder: &Path) -> (PathBuf, PathBuf) {
    let file = canary::LIBRARY.file_name().and_then(|name| name.to_str()).expect("a file name");
    let bytes = std::fs::read(&*canary::LIBRARY).expect("the library");
    let manifest = canary::manifest(&bytes, file);
    let (library, beside) = (folder.join(file), folder.join(manifest.file_name()));
    std::fs::write(&library, bytes).expect("the library is written");
    std::fs::write(&beside, manifest.to_json()).expect("the manifest is written");
    (library, beside)
}

fn write_cases(folder: &TempDir) -> Vec<Case> {
    let (library, manifest) = plugin(folder.path());
    let mut other = Manifest::parse(&std::fs::read(&manifest).expect("the manifest"));
    if let Ok(other) = &mut other {
        other.plugin.name = "other".parse().expect("a name");
        other.artifact.file = "libother.so".parse().expect("a file name");
        other.artifact.sha256 = keyway_manifest::Digest::of("other");
    }
    let beside = folder.path().join("other.json");
    std::fs::write(&beside, other.expect("a manifest").to_json()).expect("it is written");
    keyway_cases::write(&library, &manifest, &beside, &folder.path().join("cases"))
        .expect("the cases are written")
}

/// Runs `keyway-host`; the canary would sing into `song`.
fn host(song: &Path, arguments: &[&str]) -> Output {
    let hash = canary::toolchain().hash().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyway-host"));
    command.args(arguments).args(["--json", "--trust", &hash]);
    // The machine's own cargo links it dynamically; images don't.
    command.args(["--allow-import", "libgcc_s.so.1"]);
    command.env("KEYWAY_CANARY", song).output().expect("the program runs")
}

fn events(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("an event a line")).collect()
}

fn codes(output: &Output) -> Vec<Code> {
    let events = events(output);
    let refusals = events[0]["refusals"].as_array().expect("a verdict").clone();
    refusals
        .iter()
        .map(|refusal| refusal["code"].as_str().expect("a code").parse().expect("a code"))
        .collect()
}

fn check(song: &Path, case: &Case) {
    let path = case.library.to_str().expect("a path that is text");
    let admitted = case.expected == Expected::Exactly(Vec::new());
    let gate = host(song, &["gate", path]);
    let codes = codes(&gate);
    let refusals = String::from_utf8_lossy(&gate.stdout);
    assert!(case.expected.accepts(&codes), "{}: {:?}, but {refusals}", case.name, case.expected);
    assert_eq!(gate.status.code(), Some(if admitted { 0 } else { 3 }), "{}", case.name);
    assert!(!song.exists(), "{}: the gate ran code", case.name);
    if admitted {
        return;
    }
    let call = host(song, &["call", path, "sing", "la"]);
    assert_eq!(call.status.code(), Some(3), "{}: {call:?}", case.name);
    assert_eq!(call.stdout, gate.stdout, "{}", case.name);
    assert!(!song.exists(), "{}: code ran before it was refused", case.name);
}

#[test]
fn every_case_is_refused_before_any_code_runs() {
    let folder = TempDir::new().expect("a folder");
    let cases = write_cases(&folder);
    let song = folder.path().join("song");
    assert!(cases.len() > 40, "{} cases", cases.len());
    for case in &cases {
        check(&song, case);
    }
    // The control: the canary does sing when it is loaded.
    let intact = &cases[0].library;
    let call = host(&song, &["call", intact.to_str().expect("text"), "sing", "la"]);
    assert_eq!(events(&call)[0]["output"], "la");
    assert!(song.exists(), "the canary did not sing: the test shows nothing");
}
