//! `doctor` on machines that lack something: each engine that does not work is told why, and what
//! would change that.
#![cfg(target_os = "linux")]

use std::process::{Command, Output};

use serde_json::Value;

fn doctor(args: &[&str], change: impl FnOnce(&mut Command)) -> Output {
    let cache = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("doctor").args(args).env("KEYWAY_CACHE", cache.path()).env_remove("KEYWAY_ENGINE");
    change(&mut command);
    command.output().unwrap()
}

/// The check of that name.
fn check(output: &Output, name: &str) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let mut events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.find(|event| event["name"] == name).unwrap()
}

#[test]
fn a_daemon_that_is_not_there() {
    let no_daemon = |command: &mut Command| {
        command.env("DOCKER_HOST", "unix:///no/such/socket");
    };
    let output = doctor(&["--json", "--engine", "docker"], no_daemon);
    assert_eq!(output.status.code(), Some(4));
    let docker = check(&output, "docker");
    assert_eq!(docker["state"], "missing");
    assert!(docker["found"].as_str().unwrap().contains("/no/such/socket"), "{docker}");
    assert!(docker["hint"].as_str().unwrap().contains("start its daemon"), "{docker}");

    // With another engine at hand, it is only absent.
    let output = doctor(&["--json"], no_daemon);
    assert!(output.status.success());
    assert_eq!(check(&output, "docker")["state"], "absent");
    assert_eq!(check(&output, "sandbox")["state"], "works");
}

#[test]
fn a_daemon_that_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _silent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let output = doctor(&["--json"], |command| {
        command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    });
    assert_eq!(check(&output, "docker")["found"], "its daemon did not answer in 10 s");
}

#[test]
fn no_docker_cargo_or_git() {
    let output = doctor(&["--json"], |command| {
        command.env("PATH", "/nowhere");
    });
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(check(&output, "docker")["found"], "there is no `docker` program");
    assert_eq!(check(&output, "cargo")["state"], "missing");
    assert_eq!(check(&output, "git")["state"], "absent");
}

#[test]
fn no_place_for_the_cache() {
    let output = doctor(&["--json"], |command| {
        command.env("KEYWAY_CACHE", "/proc/no/such");
    });
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(check(&output, "cache")["state"], "missing");
}

#[test]
fn text_is_for_people() {
    let output = doctor(&[], |command| {
        command.env("DOCKER_HOST", "unix:///no/such/socket");
    });
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).is_some();
    assert!(
        line("absent   docker") && line("works    sandbox") && line("works    cache"),
        "{text}"
    );
    assert!(text.contains("hint: "), "{text}");
}
