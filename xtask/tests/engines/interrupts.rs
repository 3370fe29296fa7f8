//! Ctrl-C, and `kill -9`: nothing is left running. Each runs an engine in a process of its own,
//! which is this test program again.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use keyway_xtask::engine::{Client, Containers, Engine, Kind, Owner, Service, Stream};
use keyway_xtask::failure::{Diagnose, Exit};
use keyway_xtask::shell::Shell;
use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Fixture, probe, run};

/// Names the engine that the other process runs.
const ROLE: &str = "KEYWAY_TEST_ENGINE";
/// An argument that no other process on this machine has.
const MARK: &str = "KEYWAY_TEST_MARK";

/// Another: has run something in an image, and now does something else.
#[test]
fn waits_after_a_command() {
    if std::env::var(ROLE).is_err() {
        return;
    }
    let fixture = Fixture::new();
    let image = fixture.probe();
    run(&fixture.sandbox(), &image, &probe(&["look"])).2.unwrap();
    eprintln!("ready");
    thread::sleep(Duration::from_secs(600));
}

/// The other process: waits inside the image until it is stopped. As a test, it does nothing.
#[test]
fn waits_inside_an_image() {
    let Ok(name) = std::env::var(ROLE) else {
        return;
    };
    let fixture = Fixture::new();
    let image = fixture.probe();
    let (_, engine) = fixture.engines().into_iter().find(|(label, _)| *label == name).unwrap();
    let error = engine
        .run(&image, &probe(&["wait", &std::env::var(MARK).unwrap()]), &mut |stream, line| {
            if stream == Stream::Stdout && line == "ready" {
                eprintln!("ready");
            }
        })
        .unwrap_err();
    eprintln!("{error} ({:?})", error.exit());
}

const INSIDE: &str = "interrupts::waits_inside_an_image";
const AFTER: &str = "interrupts::waits_after_a_command";

fn start(engine: &str, mark: &str) -> (Child, impl Iterator<Item = String>) {
    start_with(INSIDE, engine, mark, |_| {})
}

fn start_with(
    role: &str,
    engine: &str,
    mark: &str,
    change: impl FnOnce(&mut Command),
) -> (Child, impl Iterator<Item = String>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", role, "--nocapture"])
        .env(ROLE, engine)
        .env(MARK, mark)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    change(&mut command);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "ready"), "it never started");
    (child, lines)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Processes with the mark, wherever they run: this machine sees into every PID namespace.
fn n_left(mark: &str) -> usize {
    let is_ours = |pid: &str| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark)
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && is_ours(name))
        .count()
}

/// The command and its child.
fn wait_until_two_run(engine: &str, mark: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while n_left(mark) < 2 {
        assert!(Instant::now() < deadline, "{engine}: nothing runs");
        thread::sleep(Duration::from_millis(20));
    }
}

fn wait_until_none_is_left(engine: &str, mark: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while n_left(mark) > 0 {
        assert!(Instant::now() < deadline, "{engine}: {} processes are left", n_left(mark));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn nothing_is_left_running() {
    let names: Vec<_> = Fixture::new().engines().iter().map(|(label, _)| *label).collect();
    for engine in names {
        for number in [Signal::INT, Signal::TERM, Signal::HUP] {
            let name = engine.replace(' ', "-");
            let mark = format!("mark-{}-{name}-{}", std::process::id(), number.as_raw());
            let (mut child, mut lines) = start(engine, &mark);
            wait_until_two_run(engine, &mark);
            signal(&child, number);
            let said = lines.next().unwrap();
            assert_eq!(said, format!("interrupted while `probe wait {mark}` ran (Interrupted)"));
            assert!(child.wait().unwrap().success(), "{engine}");
            wait_until_none_is_left(engine, &mark);
        }
        let mark = format!("mark-{}-{}-kill", std::process::id(), engine.replace(' ', "-"));
        let (mut child, _lines) = start(engine, &mark);
        signal(&child, Signal::KILL);
        child.wait().unwrap();
        wait_until_none_is_left(engine, &mark);
    }
}

#[test]
fn a_command_that_takes_too_long_is_ended() {
    let fixture = Fixture::new();
    let image = fixture.probe();
    for (engine, running) in fixture.engines() {
        let mark = format!("mark-{}-{}-long", std::process::id(), engine.replace(' ', "-"));
        let mut command = probe(&["wait", &mark]);
        command.limit = Some(Duration::from_secs(1));
        let (stdout, _, ended) = run(&*running, &image, &command);
        assert_eq!(stdout, "ready\n", "{engine}");
        let error = ended.unwrap_err();
        let expected = format!("`probe wait {mark}` did not end within 1s\n  | ready");
        assert_eq!((error.to_string(), error.exit()), (expected, Exit::Failed), "{engine}");
        wait_until_none_is_left(engine, &mark);
        run(&*running, &image, &probe(&["look"])).2.unwrap();
    }
}

/// With no child to wait for, the first signal ends the process.
#[test]
fn between_commands_a_signal_ends_the_process() {
    let (mut child, _lines) = start_with(AFTER, "sandbox", "", |_| {});
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(Exit::Interrupted as i32));
}

/// What `kill -9` of the tool and of Docker's client leaves, the next run takes away; but only if
/// its owner is known to be gone.
#[test]
fn containers_of_killed_runs_are_swept() {
    let fixture = Fixture::new();
    let image = fixture.probe();
    let Some(docker) = fixture.docker() else {
        return;
    };
    let id = docker.prepare(&image).unwrap().location;
    let owner = Owner::this_process();
    let create = |label: String| {
        let label = format!("keyway.owner={label}");
        let args =
            [OsStr::new("create"), "--label".as_ref(), label.as_ref(), &id, "probe".as_ref()];
        duct::cmd("docker", args).read().unwrap()
    };
    // No process has started at tick 1 but the first.
    let gone = create(format!("{}/4000000000/1", owner.scope));
    let reused = create(format!("{}/{}/1", owner.scope, owner.pid));
    let alive = create(format!("{}/{}/{}", owner.scope, owner.pid, owner.start));
    let elsewhere = create("elsewhere/4000000000/1".to_owned());

    next_run(&fixture, owner);

    let is_there = |id: &String| {
        let found = duct::cmd!("docker", "inspect", id).stdout_null().stderr_null().unchecked();
        found.run().unwrap().status.success()
    };
    assert_eq!([&gone, &reused, &alive, &elsewhere].map(is_there), [false, false, true, true]);
    duct::cmd!("docker", "rm", alive, elsewhere).stdout_null().run().unwrap();
}

/// Another run, as far as containers of earlier ones are concerned.
fn next_run(fixture: &Fixture, owner: Owner) {
    let shell = Shell::silent();
    let service = Service::find(Client::of(Kind::Docker)).unwrap();
    Containers::new(service, owner, fixture.cache(), &shell).prepare(&fixture.probe()).unwrap();
}

/// Stands between Docker's client and its daemon, until it is dropped.
struct Proxy {
    socket: PathBuf,
    open: Arc<Mutex<Vec<UnixStream>>>,
}

impl Proxy {
    fn start(folder: &Path) -> Self {
        let host = std::env::var("DOCKER_HOST").unwrap_or("unix:///var/run/docker.sock".into());
        let daemon = host.strip_prefix("unix://").expect("a daemon on this machine").to_owned();
        let socket = folder.join("proxy.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let open = Arc::new(Mutex::new(Vec::new()));
        let known = Arc::clone(&open);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = UnixStream::connect(&daemon) else {
                    return;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let mut from = from.try_clone().unwrap();
                    let mut to = to.try_clone().unwrap();
                    known.lock().unwrap().push(from.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { socket, open }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_daemon_that_dies_under_a_command() {
    let fixture = Fixture::new();
    let image = fixture.probe();
    let Some(docker) = fixture.docker() else {
        return;
    };
    docker.prepare(&image).unwrap();
    let proxy = Proxy::start(fixture.path());
    let mark = format!("mark-{}-lost", std::process::id());
    let host = format!("unix://{}", proxy.socket.display());
    let (mut child, mut lines) = start_with(INSIDE, "docker", &mark, |command| {
        command.env("DOCKER_HOST", host);
    });
    drop(proxy);
    let said = lines.next().unwrap();
    child.wait().unwrap();
    let expected = format!(
        "docker: the engine stopped while `probe wait {mark}` ran: unexpected EOF (Environment)"
    );
    assert_eq!(said, expected);
    // The daemon is back; what it still had of the run has ended with the connection.
    wait_until_none_is_left("docker", &mark);
    run(&docker, &image, &probe(&["look"])).2.unwrap();
}
