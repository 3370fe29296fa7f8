//! Ctrl-C, and `kill -9`: nothing is left running. Each runs an engine in a process of its own,
//! which is this test program again.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keyway_xtask::engine::{EngineError, Stream};
use keyway_xtask::failure::{Diagnose, Exit};
use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Fixture, probe};

/// Names the engine that the other process runs.
const ROLE: &str = "KEYWAY_TEST_ENGINE";
const MARK: &str = "probe wait";

/// The other process: waits inside the image until it is stopped. As a test, it does nothing.
#[test]
fn waits_inside_an_image() {
    let Ok(name) = std::env::var(ROLE) else {
        return;
    };
    let fixture = Fixture::new();
    let image = fixture.probe();
    let engine = fixture
        .engines()
        .into_iter()
        .find(|one| one.name() == name)
        .unwrap();
    let error = engine
        .run(&image, &probe(&["wait"]), &mut |stream, line| {
            if stream == Stream::Stdout && line == "ready" {
                eprintln!("ready");
            }
        })
        .unwrap_err();
    assert!(
        matches!(error, EngineError::Interrupted { .. }),
        "{error:?}"
    );
    assert_eq!(error.exit(), Exit::Interrupted);
    eprintln!("interrupted");
}

fn start(engine: &str) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "interrupts::waits_inside_an_image",
            "--nocapture",
        ])
        .env(ROLE, engine)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(lines.any(|line| line == "ready"), "it never started");
    (child, lines)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Processes of the test image whose tool is `tool`, found by what only they have in their
/// environment and command line.
fn n_left() -> usize {
    let is_ours = |pid: &str| {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        String::from_utf8_lossy(&read("cmdline"))
            .replace('\0', " ")
            .contains(MARK)
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && is_ours(name))
        .count()
}

fn wait_until_none_is_left(engine: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while n_left() > 0 {
        assert!(
            Instant::now() < deadline,
            "{engine}: {} processes are left",
            n_left()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One test, since the processes of two could not be told apart.
#[test]
fn nothing_is_left_running() {
    let names: Vec<_> = Fixture::new()
        .engines()
        .iter()
        .map(|engine| engine.name())
        .collect();
    for engine in names {
        for number in [Signal::INT, Signal::TERM] {
            let (mut child, mut lines) = start(engine);
            assert!(n_left() >= 2, "{engine}");
            signal(&child, number);
            assert!(lines.any(|line| line == "interrupted"), "{engine}");
            assert!(child.wait().unwrap().success(), "{engine}");
            wait_until_none_is_left(engine);
        }
        let (mut child, _lines) = start(engine);
        signal(&child, Signal::KILL);
        child.wait().unwrap();
        wait_until_none_is_left(engine);
    }
}
