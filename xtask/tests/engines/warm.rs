//! A container serves many commands, and none sees what another left.

use std::fs;
use std::process::{Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use keyway_xtask::container::{Access, Command};
use keyway_xtask::engine::{Client, Containers, Engine, EngineError, Kind, Owner, Service};
use keyway_xtask::failure::{Diagnose, Exit};
use keyway_xtask::shell::Shell;

use crate::fixture::{Fixture, mount, probe, run};

fn sh(script: &str) -> Command {
    let argv = ["/bin/sh", "-c", script].map(Into::into).into();
    Command { argv, workdir: "/tmp".into(), ..Command::default() }
}

/// Engines of containers that work here, with a label that no other test has.
fn engines<'a>(
    fixture: &Fixture,
    test: &str,
    shell: &'a Shell,
) -> Vec<(&'static str, String, Containers<'a>)> {
    let mut engines = Vec::new();
    for kind in [Kind::Docker, Kind::Podman] {
        match Service::find(Client::of(kind)) {
            Ok(service) => {
                let scope = format!("{test}-{}", std::process::id());
                let owner = Owner { scope: scope.clone(), pid: 1, start: 1 };
                let engine = Containers::new(service, owner, fixture.cache(), shell);
                engines.push((kind.name(), format!("label=keyway.owner={scope}/1/1"), engine));
            }
            Err(error) => eprintln!("skipped: {error}"),
        }
    }
    engines
}

fn containers(program: &str, filter: &str) -> Vec<String> {
    let list = duct::cmd!(program, "ps", "--all", "--quiet", "--filter", filter).read().unwrap();
    list.lines().map(str::to_owned).collect()
}

#[test]
fn commands_share_a_container() {
    let fixture = Fixture::new();
    let (image, shell) = (fixture.probe(), Shell::silent());
    for (program, filter, engine) in engines(&fixture, "share", &shell) {
        run(&engine, &image, &probe(&["look"])).2.unwrap();
        let first = containers(program, &filter);
        assert_eq!(first.len(), 1, "{program}");
        run(&engine, &image, &probe(&["status", "3"])).2.unwrap_err();
        run(&engine, &image, &probe(&["look"])).2.unwrap();
        assert_eq!(containers(program, &filter), first, "{program}");
        // Two at once need two; other folders need another.
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let sleeping = sh("read x < /dev/zero & cat /dev/null; true");
                    run(&engine, &image, &sleeping).2.unwrap();
                });
            }
        });
        let mut elsewhere = probe(&["look"]);
        elsewhere.mounts = vec![mount(fixture.path(), "/work", Access::ReadOnly)];
        run(&engine, &image, &elsewhere).2.unwrap();
        let n = containers(program, &filter).len();
        assert!((2..=3).contains(&n), "{program}: {n}");
        drop(engine);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !containers(program, &filter).is_empty() {
            assert!(Instant::now() < deadline, "{program}: containers are left");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_command_leaves_nothing_to_the_next() {
    let fixture = Fixture::new();
    let (image, shell) = (fixture.probe(), Shell::silent());
    for (program, filter, engine) in engines(&fixture, "leave", &shell) {
        let leave = "umask 0; export LEFT=1; mkdir -p /tmp/a /dev/shm/b; echo x > /tmp/.hidden; \
                     echo x > /tmp/..two; (while :; do :; done) & exit 0";
        run(&engine, &image, &sh(leave)).2.unwrap();
        let look = "echo /tmp/* /tmp/.[!.]* /tmp/..?* /dev/shm/*; umask; echo \"left $LEFT\"; \
                    for p in /proc/[0-9]*; do read line < $p/stat; echo $line; done | cat";
        // A killed process takes a moment to end.
        thread::sleep(Duration::from_millis(200));
        let (stdout, stderr, result) = run(&engine, &image, &sh(look));
        result.unwrap();
        let lines: Vec<&str> = stdout.lines().collect();
        assert_eq!(lines[0], "/tmp/* /tmp/.[!.]* /tmp/..?* /dev/shm/*", "{program} {stderr}");
        assert_eq!(lines[1..3], ["0022", "left "], "{program}");
        // The loop spun for a fifth of a second; nothing else here computes. `utime`, in ticks of 10 ms,
        // is the twelfth field after the name.
        let spun = |line: &&&str| {
            let fields = line.rsplit(')').next().unwrap_or_default().split_whitespace();
            let fields: Vec<&str> = fields.collect();
            fields[0] != "Z" && fields[11].parse::<u64>().unwrap() >= 10
        };
        assert_eq!(lines[3..].iter().find(spun), None, "{program}: {lines:?}");
        assert_eq!(containers(program, &filter).len(), 1, "{program}");
    }
}

#[test]
fn text_of_any_kind_reaches_a_command() {
    let fixture = Fixture::new();
    let (image, shell) = (fixture.probe(), Shell::silent());
    for (program, _, engine) in engines(&fixture, "text", &shell) {
        let odd = "a 'b' \"c\" $d `e` \\f\n\nkeyway / true &\ng=ü*?";
        let argv = ["/bin/sh", "-c", "printf '[%s]' \"$@\" \"$ODD\"", "sh", odd, ""];
        let mut command = sh("");
        command.argv = argv.map(Into::into).into();
        command.env.insert("ODD".into(), odd.into());
        let (stdout, _, result) = run(&engine, &image, &command);
        result.unwrap();
        assert_eq!(stdout, format!("[{odd}][][{odd}]\n"), "{program}");
    }
}

/// What lies below `/tmp` may be this machine's.
#[test]
fn a_folder_below_tmp_is_not_emptied() {
    let fixture = Fixture::new();
    let (image, shell) = (fixture.probe(), Shell::silent());
    let kept = fixture.path().join("kept");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("file"), "precious").unwrap();
    for (program, filter, engine) in engines(&fixture, "tmp", &shell) {
        let mut command = probe(&["read", "/tmp/kept/file"]);
        command.mounts = vec![mount(&kept, "/tmp/kept", Access::ReadWrite)];
        assert_eq!(run(&engine, &image, &command).0, "precious\n", "{program}");
        assert_eq!(run(&engine, &image, &command).0, "precious\n", "{program}");
        assert_eq!(fs::read_to_string(kept.join("file")).unwrap(), "precious");
        drop((filter, engine));
    }
}

/// The container, or what keeps it, is killed while a command runs: an error that says so, and the
/// next command works.
#[test]
fn a_container_that_is_killed_under_a_command() {
    let fixture = Fixture::new();
    let (image, shell) = (fixture.probe(), Shell::silent());
    for (program, filter, engine) in engines(&fixture, "killed", &shell) {
        engine.prepare(&image).unwrap();
        let error = thread::scope(|scope| {
            scope.spawn(|| {
                let deadline = Instant::now() + Duration::from_secs(30);
                loop {
                    let found = containers(program, &filter);
                    let kill = Process::new(program)
                        .args(["kill", "--signal", "KILL"])
                        .args(&found)
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .status();
                    if !found.is_empty() && kill.is_ok_and(|status| status.success()) {
                        return;
                    }
                    assert!(Instant::now() < deadline, "{program}: no container to kill");
                    thread::sleep(Duration::from_millis(50));
                }
            });
            run(&engine, &image, &probe(&["wait", "killed"])).2.unwrap_err()
        });
        let lost = matches!(error, EngineError::Lost { .. } | EngineError::NotStarted { .. });
        assert!(lost, "{program}: {error:?}");
        assert_eq!(error.exit(), Exit::Environment, "{program}");
        run(&engine, &image, &probe(&["look"])).2.unwrap();
    }
}

#[test]
fn an_image_without_a_shell() {
    let fixture = Fixture::new();
    let shell = Shell::silent();
    let layer = fixture.layer("bare", |tar| {
        tar.folder("bin", 0o755);
        tar.file("bin/probe", 0o755, fixture.program());
    });
    let image = fixture.image(vec![layer]);
    for (program, _, engine) in engines(&fixture, "bare", &shell) {
        let error = run(&engine, &image, &probe(&["look"])).2.unwrap_err();
        assert!(matches!(error, EngineError::NotStarted { .. }), "{error:?}");
        assert!(error.to_string().contains("/bin/sh"), "{program}: {error}");
    }
}
