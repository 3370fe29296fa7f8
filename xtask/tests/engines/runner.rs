//! How a target's host program is run, and what is read from its events.

use std::fs;
use std::path::Path;
use std::time::Duration;

use keyway_manifest::Digest;
use keyway_xtask::container::Command;
use keyway_xtask::dist::Entry;
use keyway_xtask::placement::Placement;
use keyway_xtask::run::Tests;
use keyway_xtask::runner::{self, Host, Outcome, Round, Subject, unit};
use keyway_xtask::shell::Shell;
use keyway_xtask::targets::{Paths, Runner, TargetSet};
use snapbox::{assert_data_eq, str};

use crate::fixture::{Fixture, probe};

fn entry(target: &str, plugin: &str, library: &str) -> Entry {
    Entry {
        target: target.parse().unwrap(),
        plugin: plugin.to_owned(),
        library: format!("{target}/{plugin}/{library}"),
        manifest: format!("{target}/{plugin}/{library}.manifest.json"),
        sha256: Digest::of(plugin),
    }
}

fn subject(entry: &Entry) -> Subject<'_> {
    Subject { entry, toolchain: Digest::of("toolchain"), plugin: None }
}

fn command(runner: Runner, program: &str, entry: &Entry, round: Round) -> String {
    let image = Fixture::new().image(Vec::new());
    let host = Host { runner, image, program: program.into(), limit: Duration::from_secs(120) };
    show(&host.command(Path::new("/work/dist"), subject(entry), round))
}

fn show(command: &Command) -> String {
    let argv: Vec<_> = command.argv.iter().map(|arg| arg.to_str().unwrap()).collect();
    let mounts = command.mounts.iter().map(|mount| {
        let (host, guest) = (mount.host.display(), mount.guest.display());
        format!("{:?} {host} -> {guest}", mount.access)
    });
    [argv.join(" ")].into_iter().chain(mounts).collect::<Vec<_>>().join("\n")
}

#[test]
fn natively() {
    let entry = entry("x86_64-unknown-linux-gnu", "greet", "libgreet.so");
    assert_data_eq!(
        command(Runner::default(), "/target/debug/keyway-host", &entry, Round::Unloaded),
        str![[r#"
/host/keyway-host --json --trust [..] exercise /dist/x86_64-unknown-linux-gnu/greet/libgreet.so
ReadOnly /target/debug -> /host
ReadOnly /work/dist -> /dist
"#]]
    );
}

fn wine() -> Runner {
    Runner {
        image: Some("wine".to_owned()),
        command: vec!["keyway-wine".to_owned()],
        paths: Paths::Windows,
    }
}

#[test]
fn under_wine() {
    let entry = entry("x86_64-pc-windows-gnu", "greet", "greet.dll");
    assert_data_eq!(
        command(wine(), "/target/debug/keyway-host.exe", &entry, Round::Loaded),
        str![[r#"
keyway-wine Z:/host/keyway-host.exe --json --trust [..] exercise-again Z:/dist/x86_64-pc-windows-gnu/greet/greet.dll
ReadOnly /target/debug -> /host
ReadOnly /work/dist -> /dist
"#]]
    );
}

#[test]
fn unit_tests_see_the_sources_where_they_were_built() {
    let tests = Tests {
        program: "/target/x86_64-pc-windows-gnu/debug/deps/greet-1.exe".into(),
        package: "/work/plugins/greet".into(),
    };
    let program = Path::new("/state/debug/deps/greet-1.exe");
    let placement = Placement::new(Path::new("/home/ws"), &[]);
    let command = unit::command(&wine(), &tests, program, &placement, &[]);
    assert_eq!(command.workdir, Path::new("/work/plugins/greet"));
    assert_eq!(command.env["CARGO_MANIFEST_DIR"], r"Z:\work\plugins\greet");
    assert_data_eq!(
        show(&command),
        str![[r#"
keyway-wine Z:/tests/greet-1.exe
ReadOnly /home/ws -> /work
ReadOnly /state/debug/deps -> /tests
"#]]
    );
}

#[test]
fn unit_tests_end_as_their_program_does() {
    let fixture = Fixture::new();
    let (image, engine) = (fixture.probe(), fixture.sandbox());
    let run =
        |end: &str| unit::run(&engine, &image, &probe(&["unit", end]), &Shell::silent()).unwrap();
    assert_eq!(run("ok"), unit::Outcome::Passed { tests: 3, ignored: 1 });
    let unit::Outcome::Failed { message, output } = run("failed") else { panic!() };
    assert_eq!(message, "1 of 3 tests failed");
    assert!(output.starts_with("running 4 tests\nassertion failed: left == right\n"), "{output}");
    let unit::Outcome::Failed { message, output } = run("crash") else { panic!() };
    assert_eq!(message, "the test program was killed by signal 6");
    assert_eq!(output, "running 4 tests\n");
}

#[test]
fn what_can_not_run_here_is_said() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let set = TargetSet::read(&root.join("targets.toml")).unwrap();
    let obstacle = |triple: &str| {
        let selected = set.select(&[triple.to_owned()]).unwrap();
        runner::obstacle(selected[0])
    };
    if std::env::consts::ARCH == "x86_64" {
        for triple in ["i686-pc-windows-gnu", "x86_64-pc-windows-gnu", "x86_64-unknown-linux-gnu"] {
            assert_eq!(obstacle(triple), None, "{triple}");
        }
    }
    let none = obstacle("aarch64-apple-darwin").unwrap();
    assert_eq!(none, "no image here runs programs for it");
}

/// The host program is replaced by one that ends as no good one does; good ones are run on real
/// plugins by `test-plugins`.
#[test]
fn a_plugin_passes_only_if_its_hosts_end_well() {
    let fixture = Fixture::new();
    let program = fixture.path().join("host/keyway-host");
    fs::create_dir(program.parent().unwrap()).unwrap();
    fs::write(&program, fixture.program()).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&program, mode).unwrap();
    let (engine, image) = (fixture.sandbox(), fixture.probe());
    let limit = Duration::from_secs(1);
    let host = Host { runner: Runner::default(), image, program, limit };
    let run = |name: &str| {
        let entry = entry("x86_64-unknown-linux-gnu", name, "lib.so");
        host.try_out(&engine, fixture.path(), subject(&entry), &Shell::silent()).unwrap()
    };
    let message = |name: &str| match run(name) {
        Outcome::Failed { message } => message,
        other => panic!("{name}: {other:?}"),
    };
    // Two rounds of three calls each.
    assert_eq!(run("good"), Outcome::Passed { calls: 6, errors: 2 });
    assert_eq!(run("refused"), Outcome::Refused { codes: vec!["KW203".to_owned()] });
    let messages = [
        "failed",
        "crash",
        "second",
        "silent",
        "at-exit",
        "status",
        "hangs",
        "prints",
        "prints-a-part",
    ]
    .map(|name| format!("{name}: {}", message(name)));
    assert_data_eq!(
        messages.join("\n"),
        str![[r#"
failed: it broke
crash: its host was killed by signal 6 when it was loaded
second: its host was killed by signal 6 when it was loaded
silent: its host ended early, with status 0, when it was loaded
at-exit: its host was killed by signal 6 at its end, after the plugin was unloaded
  | in a destructor
status: its host failed with status 5 at its end, after the plugin was unloaded
hangs: its host was stopped after 1s, at its end, after the plugin was unloaded
prints: it wrote to standard output, which is its host's: `a plugin prints this`
prints-a-part: it wrote to standard output, which is its host's: `half a line, then {"path":"/dist/x86_64-unknown-linux-gnu/prints-a-part/lib.so","event":"exercise","plugin":"x","calls":3,"errors":1}`
"#]]
    );
}
