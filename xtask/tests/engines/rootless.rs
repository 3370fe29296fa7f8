//! Podman as a plain user, who is made for the test and has ids of their own to give to containers.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command as Process;
use std::thread;
use std::time::{Duration, Instant};

use keyway_xtask::container::Access;
use keyway_xtask::engine::{Client, Engine, Kind, Privilege};

use crate::fixture::{Fixture, PROGRAM, mount, probe, run};

const ROLE: &str = "KEYWAY_TEST_ROOTLESS";
const CHILD: &str = "rootless::as_a_plain_user";

/// The plain user's process. As a test, it does nothing.
#[test]
fn as_a_plain_user() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let fixture = Fixture::new();
    let image = fixture.probe();
    let engine = fixture.containers(Client::of(Kind::Podman)).expect("podman answers");
    assert_eq!(engine.capabilities().privilege, Privilege::Rootless);
    let out = fixture.path().join("out");
    fs::create_dir(&out).unwrap();
    let mut command = probe(&["look", "/", "/out", "/tmp"]);
    command.mounts = vec![mount(&out, "/out", Access::ReadWrite)];
    let (stdout, stderr, result) = run(&engine, &image, &command);
    result.unwrap_or_else(|error| panic!("{error}\n{stderr}"));
    let own = rustix::process::geteuid().as_raw();
    for line in [
        "host keyway",
        "Umask 0022",
        &format!("Uid {own}"),
        "CapEff 0000000000000000",
        "NoNewPrivs 1",
        "write /: ReadOnlyFilesystem",
        "write /out: done",
        "write /tmp: done",
        "network: NetworkUnreachable",
    ] {
        assert!(stdout.lines().any(|said| said == line), "no `{line}` in\n{stdout}");
    }
    assert_eq!(fs::metadata(out.join("tried")).unwrap().uid(), own);
    // Podman can't clear a container away whose folders are deleted before.
    drop(engine);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !duct::cmd!("podman", "ps", "--all", "--quiet").read().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "a container is left");
        thread::sleep(Duration::from_millis(50));
    }
    println!("rootless podman works");
}

/// A user who exists as long as this value.
struct User(&'static str);

impl User {
    fn create(name: &'static str) -> Option<Self> {
        let made = Process::new("useradd").args(["--no-create-home", name]).output().ok()?;
        made.status.success().then_some(Self(name))
    }

    fn id(&self) -> u32 {
        duct::cmd!("id", "-u", self.0).read().unwrap().trim().parse().unwrap()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = Process::new("userdel").args(["--force", self.0]).output();
    }
}

#[test]
fn rootless_podman() {
    let fixture = Fixture::new();
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make a plain user");
        return;
    }
    if fixture.containers(Client::of(Kind::Podman)).is_none() {
        return;
    }
    if Process::new("newuidmap").output().is_err() {
        eprintln!("skipped: rootless podman needs `newuidmap`, which is in Debian's uidmap");
        return;
    }
    let Some(user) = User::create("keyway-rootless") else {
        eprintln!("skipped: no user could be made here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(path("probe"), fixture.program()).unwrap();
    fs::copy(std::env::current_exe().unwrap(), path("test")).unwrap();
    fs::set_permissions(path("test"), PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["home", "run", "tmp"] {
        fs::create_dir(path(name)).unwrap();
        fs::set_permissions(path(name), PermissionsExt::from_mode(0o700)).unwrap();
        chown(path(name), Some(user.id()), Some(user.id())).unwrap();
    }
    let ended = Process::new("setpriv")
        .args(["--reuid", user.0, "--regid", user.0, "--init-groups"])
        .arg(path("test"))
        .args(["--exact", CHILD, "--nocapture"])
        .current_dir(path("home"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", path("home"))
        .env("XDG_RUNTIME_DIR", path("run"))
        .env("TMPDIR", path("tmp"))
        .env(PROGRAM, path("probe"))
        .env(ROLE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let error = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("rootless podman works"), "{said}\n{error}");
}
