//! `cargo xtask ci` as a pipeline sees it: output, events and exit status, on a small workspace.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use snapbox::{assert_data_eq, str};
use tempfile::TempDir;

/// A workspace of one crate whose only source file says `source`.
fn workspace(source: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let manifest = "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    std::fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::write(dir.path().join("targets.toml"), "").unwrap();
    std::fs::create_dir(dir.path().join("src")).unwrap();
    std::fs::write(dir.path().join("src/lib.rs"), source).unwrap();
    dir
}

const TIDY: &str = "//! Small.\npub fn one() -> u8 {\n    1\n}\n";
const UNTIDY: &str = "//! Small.\npub fn one()->u8{1}\n";

fn ci(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(["ci", "--color", "never", "--manifest-path"])
        .arg(dir.join("Cargo.toml"))
        .args(args);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The objects on stdout, without the times.
fn events(output: &Output) -> Vec<Value> {
    text(&output.stdout)
        .lines()
        .map(|line| {
            let mut event: Value = serde_json::from_str(line).unwrap();
            let seconds = event.as_object_mut().unwrap().remove("seconds");
            assert!(seconds.unwrap().as_f64().unwrap() >= 0.0);
            event
        })
        .collect()
}

#[test]
fn the_last_line_counts_what_passed() {
    let dir = workspace(TIDY);
    let output = ci(dir.path(), &["--only", "fmt"]);
    assert_eq!(output.status.code(), Some(0));
    assert_data_eq!(
        text(&output.stdout),
        str![[r#"
fmt          passed  [..] s
...
end-to-end   skipped
all-targets  skipped
compat       skipped
images       skipped
1 passed, 0 failed, 13 skipped

"#]]
    );
}

#[test]
fn a_failed_check_is_named_and_the_rest_still_runs() {
    let dir = workspace(UNTIDY);
    let output = ci(dir.path(), &["--only", "fmt", "docs"]);
    assert_eq!(output.status.code(), Some(1));
    assert_data_eq!(
        text(&output.stdout),
        str![[r#"
fmt          failed  [..] s
...
docs         failed  [..] s
...
0 passed, 2 failed, 12 skipped

"#]]
    );
    assert_data_eq!(
        text(&output.stderr),
        str![[r#"
...
error: `cargo fmt --all --check` ended with exit status: 1
...
error: failed: fmt, docs
hint: `cargo xtask ci --only fmt docs` runs them alone

"#]]
    );
}

#[test]
fn quiet_shows_the_output_of_failed_checks_only() {
    let dir = workspace(TIDY);
    let output = ci(dir.path(), &["--only", "fmt", "--quiet"]);
    assert_eq!(text(&output.stderr), "");

    let dir = workspace(UNTIDY);
    let output = ci(dir.path(), &["--only", "fmt", "--quiet"]);
    assert!(text(&output.stderr).contains("pub fn one() -> u8 {"));
}

#[test]
fn json_is_one_object_a_line_and_ends_with_the_summary() {
    let dir = workspace(UNTIDY);
    let output = ci(dir.path(), &["--json", "--only", "fmt"]);
    assert_eq!(output.status.code(), Some(1));
    let events = events(&output);
    assert_eq!(events[0], serde_json::json!({"event": "check", "name": "fmt", "passed": false}));
    let last = events.last().unwrap();
    assert_eq!(last["event"], "summary");
    assert_eq!((&last["passed"], &last["failed"]), (&0.into(), &1.into()));
    assert!(last["skipped"].as_u64() > Some(0));
}

#[test]
fn a_check_that_does_not_exist_is_a_usage_error() {
    let dir = workspace(TIDY);
    let output = ci(dir.path(), &["--skip", "nothing"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("possible values: fmt, "));
}

#[test]
fn a_machine_without_python_is_told_so_before_anything_runs() {
    let dir = workspace(TIDY);
    let output =
        command(dir.path(), &["--only", "fmt", "pipelines"]).env("PATH", "").output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(text(&output.stdout), "");
    assert_data_eq!(
        text(&output.stderr),
        str![[r#"
error: check `pipelines` needs `python3` (3.10 or newer, with `venv`) or `uv`, and neither is here
hint: install one of them (on Debian `apt install python3-venv`), or pass `--skip pipelines`

"#]]
    );
}

/// What is named has to run.
#[test]
fn a_machine_without_a_nightly_toolchain_is_told_so_if_it_is_to_run_sanitizers() {
    let dir = workspace(TIDY);
    let output = command(dir.path(), &["--only", "sanitizers"]).env("PATH", "").output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert_data_eq!(
        text(&output.stderr),
        str![[r#"
error: check `sanitizers` needs a nightly toolchain with the source of its standard library, and there is none here
hint: `rustup toolchain install nightly --component rust-src` installs it

"#]]
    );
}

#[test]
fn the_checks_are_listed() {
    let dir = workspace(TIDY);
    let output = ci(dir.path(), &["--list"]);
    assert!(text(&output.stdout).starts_with("fmt          rustfmt would change nothing\n"));
    let output = ci(dir.path(), &["--list", "--json"]);
    assert!(text(&output.stdout).starts_with(r#"{"event":"listed","name":"fmt""#));
}
