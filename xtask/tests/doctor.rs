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
fn tools_that_the_workspace_asks_for() {
    let workspace = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = workspace.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let manifest = |tools: &str| {
        let text = format!(
            "[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\n\
             crate-type = [\"cdylib\"]\n[workspace]\n[package.metadata.keyway]\ntools = [{tools}]\n"
        );
        write("Cargo.toml", &text);
    };
    write("src/lib.rs", "");
    write("Cargo.lock", "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"0.1.0\"\n");
    let path = workspace.path().join("Cargo.toml");
    let arguments = ["--json", "--manifest-path", path.to_str().unwrap()];
    manifest("\"cmake\", \"nasm\"");
    let output = doctor(&arguments, |_| ());
    for tool in ["tool cmake", "tool nasm"] {
        let found = check(&output, tool);
        assert_eq!(found["state"], "absent", "{found}");
        let text = found["found"].as_str().unwrap();
        assert!(text.ends_with(" MB, not here yet"), "{found}");
        assert_eq!(found["hint"], "the first build fetches it");
    }
    assert!(output.status.success());

    // What no build could find is a failed check.
    manifest("\"nosuch\"");
    let output = doctor(&arguments, |_| ());
    assert_eq!(output.status.code(), Some(4));
    let found = check(&output, "tool nosuch");
    assert_eq!(found["state"], "missing", "{found}");
    assert!(found["hint"].as_str().unwrap().contains("cmake, "), "{found}");
    manifest("\"debian:zlib1g-dev\"");
    let output = doctor(&arguments, |_| ());
    assert_eq!(output.status.code(), Some(4));
    let found = check(&output, "tool debian:zlib1g-dev");
    assert_eq!(found["state"], "missing", "{found}");
    assert!(found["hint"].as_str().unwrap().contains("images lock keyway"), "{found}");
}

#[test]
fn a_workspace_that_cargo_can_not_read_is_no_reason_to_stop() {
    let workspace = tempfile::tempdir().unwrap();
    let path = workspace.path().join("Cargo.toml");
    std::fs::write(&path, "[workspace]\n").unwrap();
    let output = doctor(&["--json", "--manifest-path", path.to_str().unwrap()], |_| ());
    assert!(output.status.success());
    assert_eq!(check(&output, "tools")["state"], "absent");
    assert_eq!(check(&output, "cargo")["state"], "works");
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
