//! The whole of it, on real input: this workspace's plugins, built in its images by every engine that
//! works here, compared, loaded, called, and refused. Nothing is simulated.
//!
//! Slow (it may assemble the images), so it is behind the feature `end-to-end`; `cargo xtask ci` turns
//! that on.

mod native;
mod refusals;
mod workspace;

use std::sync::LazyLock;

use serde_json::Value;
use workspace::{Copy, events, json};

/// A copy of the workspace that the sandbox has built for both targets.
static BUILT: LazyLock<Copy> = LazyLock::new(|| {
    let copy = Copy::new("first");
    let events = events(copy.xtask(&["build-plugins", "--engine", "sandbox"]));
    assert_eq!(fresh(&events), [false; 6], "{events:#?}");
    copy
});

/// Of each artifact event, whether it was fresh.
fn fresh(events: &[Value]) -> Vec<bool> {
    let artifacts = events.iter().filter(|event| event["event"] == "artifact");
    artifacts.map(|event| event["fresh"].as_bool().expect("a truth")).collect()
}

#[test]
fn the_same_bits_come_from_another_engine_and_folder() {
    let first = BUILT.digests();
    assert_eq!(first.len(), 6 * 2 + 1, "libraries, manifests and the index: {first:#?}");
    let daemon = duct::cmd!("docker", "version").stdout_null().stderr_null().unchecked().run();
    if !daemon.is_ok_and(|output| output.status.success()) {
        println!("skipped: no Docker daemon answers here, so engines can't be compared");
        return;
    }
    let copy = Copy::new("another folder");
    copy.xtask(&["build-plugins", "--engine", "docker"]);
    assert_eq!(copy.digests(), first);
}

#[test]
fn nothing_to_do_is_known_from_contents() {
    let again = || fresh(&events(BUILT.xtask(&["build-plugins"])));
    assert_eq!(again(), [true; 6]);
    // A new time stamp is no change.
    let source = BUILT.path("plugins/greet/src/lib.rs");
    let text = std::fs::read(&source).expect("read");
    std::fs::write(&source, text).expect("write");
    assert_eq!(again(), [true; 6]);
}

#[test]
fn every_plugin_runs_on_its_target() {
    let events = events(BUILT.xtask(&["test-plugins", "--engine", "sandbox"]));
    let runs: Vec<_> = events.iter().filter(|event| event["event"] == "run").collect();
    assert_eq!(runs.len(), 6, "{events:#?}");
    assert!(runs.iter().all(|run| run["passed"] == true), "{events:#?}");
    let windows = runs.iter().filter(|run| run["target"] == "x86_64-pc-windows-gnu");
    assert_eq!(windows.count(), 3, "three DLLs ran under wine");
}

#[test]
fn a_plugin_is_called_here() {
    let library = BUILT.path("dist/x86_64-unknown-linux-gnu/greet/libgreet.so");
    let library = library.to_str().expect("UTF-8");
    let output = BUILT.command(&["run-plugin", library, "greet", "World"]).read();
    assert_eq!(output.expect("admitted and called"), "Hello, World!");
}

#[test]
fn the_gate_refuses_the_other_target_by_its_header() {
    let library = BUILT.path("dist/x86_64-pc-windows-gnu/greet/greet.dll");
    let library = library.to_str().expect("UTF-8");
    let output = BUILT
        .command(&["--json", "gate", library])
        .unchecked()
        .stdout_capture()
        .stderr_null()
        .run();
    let output = output.expect("the tool starts");
    assert_eq!(output.status.code(), Some(3));
    let verdict = json(&output.stdout).into_iter().find(|event| event["event"] == "verdict");
    let codes = verdict.expect("a verdict")["refusals"].as_array().cloned().unwrap_or_default();
    assert!(codes.iter().any(|refusal| refusal["code"] == "KW303"), "{codes:#?}");
}

#[test]
fn a_crate_that_does_not_compile_does_not_hold_the_others_back() {
    let copy = Copy::new("broken");
    let broken = copy.path("plugins/greet/src/lib.rs");
    std::fs::write(&broken, "//! Broken.\nfn broken() -> u8 { \"text\" }\n").expect("write");
    let linux = "x86_64-unknown-linux-gnu";
    let arguments = ["--json", "build-plugins", "--engine", "sandbox", "--target", linux];
    let run = copy.command(&arguments).unchecked().stdout_capture().stderr_capture().run();
    let run = run.expect("the tool starts");
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("mismatched types"), "cargo's own diagnostics: {said}");
    let events = json(&run.stdout);
    assert_eq!(fresh(&events), [false; 2], "the other two are delivered: {events:#?}");
    assert!(events.iter().any(|event| event["event"] == "failed" && event["plugin"] == "greet"));
}
