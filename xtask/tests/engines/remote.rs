//! A daemon that does not see this machine's files: the real one, behind a TCP port.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keyway_xtask::container::{Access, Command};
use keyway_xtask::engine::{
    Client, Containers, Engine, EngineError, Folders, Kind, Owner, Service, abandoned_volumes,
};
use keyway_xtask::failure::{Diagnose, Exit};
use keyway_xtask::shell::Shell;

use crate::fixture::{Fixture, PROGRAM, collect, mount, probe, run};

/// What a line to the daemon carries before it is cut, in bytes.
type Allowance = Arc<AtomicI64>;

fn unlimited() -> Allowance {
    Arc::new(AtomicI64::new(i64::MAX))
}

/// Forwards a TCP port of this machine to the daemon's socket, until the allowance is used up; its
/// address.
fn forward(allowance: Allowance) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            if allowance.load(Ordering::Relaxed) <= 0 {
                continue;
            }
            let server = UnixStream::connect("/var/run/docker.sock").unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let allowance = allowance.clone();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = from.read(&mut buffer) {
                    let sent = i64::try_from(n).unwrap();
                    if allowance.fetch_sub(sent, Ordering::Relaxed) < sent {
                        // As if the daemon had died.
                        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                    } else if to.write_all(&buffer[..n]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Write);
            });
            let (mut from, mut to): (UnixStream, TcpStream) = (server, client);
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

/// The engine behind a port, with a label of its own; none if there is no daemon here.
fn engine<'a>(fixture: &Fixture, owner: &Owner, shell: &'a Shell) -> Option<Containers<'a>> {
    engine_at(fixture, owner, shell, &forward(unlimited()))
}

fn engine_at<'a>(
    fixture: &Fixture,
    owner: &Owner,
    shell: &'a Shell,
    address: &str,
) -> Option<Containers<'a>> {
    fixture.docker()?;
    let service = Service::find(Client::of(Kind::Docker).at(address)).unwrap();
    Some(Containers::new(service, owner.clone(), fixture.cache(), shell))
}

/// The times that the folder's files have in the container.
fn times(container: &str, folder: &str) -> BTreeMap<String, u64> {
    let place = format!("{container}:{folder}");
    let tar = duct::cmd!("docker", "cp", place, "-").stdout_capture().run().unwrap().stdout;
    let mut archive = tar::Archive::new(&tar[..]);
    let entries = archive.entries().unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            (path, entry.header().mtime().unwrap())
        })
        .collect()
}

#[test]
fn files_are_sent_and_fetched() {
    let fixture = Fixture::new();
    let shell = Shell::silent();
    let scope = format!("remote-{}", std::process::id());
    let owner = Owner { scope, pid: 1, start: 1 };
    let Some(engine) = engine(&fixture, &owner, &shell) else {
        return;
    };
    assert_eq!(engine.capabilities().folders, Folders::Copied);
    let image = fixture.probe();
    let (work, out) = (fixture.path().join("wörk, 1"), fixture.path().join("out"));
    fs::create_dir_all(work.join("deep/er")).unwrap();
    fs::create_dir_all(work.join("target")).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(work.join("deep/er/text"), "first").unwrap();
    fs::write(work.join("same"), "same").unwrap();
    std::os::unix::fs::symlink("deep/er/text", work.join("link")).unwrap();
    let mark = "Signature: 8a477f597d28d172789f06886806bc55\n";
    fs::write(work.join("target/CACHEDIR.TAG"), mark).unwrap();
    let with = |args: &[&str]| Command {
        mounts: vec![
            mount(&work, "/work", Access::ReadOnly),
            mount(&out, "/out", Access::ReadWrite),
        ],
        ..probe(args)
    };
    let read = |path: &str| run(&engine, &image, &with(&["read", path]));
    assert_eq!(read("/work/link").0, "first\n");
    assert!(read("/work/target/CACHEDIR.TAG").2.is_err(), "what can be made again is not sent");

    let filter = format!("label=keyway.owner={}/1/1", owner.scope);
    let list = duct::cmd!("docker", "ps", "--quiet", "--filter", &filter).read().unwrap();
    let containers: Vec<&str> = list.lines().collect();
    assert_eq!(containers.len(), 2, "one for commands, one for files");
    for container in &containers {
        let format = "{{range .Mounts}}{{.Type}} {{end}}{{.HostConfig.Binds}}";
        let types = duct::cmd!("docker", "inspect", "--format", format, container).read().unwrap();
        assert_eq!(types, "volume volume []");
    }

    let before = times(containers[0], "/work");
    thread::sleep(Duration::from_millis(1100));
    fs::write(work.join("deep/er/text"), "other").unwrap();
    assert_eq!(read("/work/link").0, "other\n");
    let after = times(containers[0], "/work");
    let is_new = |(path, time): &(&String, &u64)| before.get(*path) != Some(*time);
    let changed: Vec<_> = after.iter().filter(is_new).map(|(path, _)| path.as_str()).collect();
    assert!(changed.contains(&"work/deep/er/text"), "{changed:?}");
    assert!(!changed.contains(&"work/same"), "{changed:?}");

    fs::remove_file(work.join("same")).unwrap();
    assert!(read("/work/same").2.is_err(), "what is deleted here is deleted there");

    let write = with(&["write", "/out/file"]);
    run(&engine, &image, &write).2.unwrap();
    assert!(!out.join("file").exists());
    collect(&engine, &image, &write);
    assert_eq!(fs::read_to_string(out.join("file")).unwrap(), "written inside");
    assert_eq!(out.join("file").metadata().unwrap().uid(), rustix::process::geteuid().as_raw());
    // What commands made is theirs: it stays there, and is not sent back.
    fs::remove_file(out.join("file")).unwrap();
    assert_eq!(read("/out/file").0, "written inside\n");
}

/// Set in the process that has files of its own.
const ROLE: &str = "KEYWAY_TEST_ELSEWHERE";
const CHILD: &str = "remote::where_the_daemon_sees_other_files";

/// The other process, in whose `/tmp` the daemon finds nothing. As a test, it does nothing.
#[test]
fn where_the_daemon_sees_other_files() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let fixture = Fixture::new();
    let mut service = Service::find(Client::of(Kind::Docker)).unwrap();
    assert_eq!(service.capabilities.folders, Folders::Mounted, "the socket is of this machine");
    service.is_guess = true;
    let shell = Shell::silent();
    let engine = Containers::new(service, Owner::this_process(), fixture.cache(), &shell);
    let work = fixture.path().join("work");
    fs::create_dir(&work).unwrap();
    fs::write(work.join("text"), "only here").unwrap();
    let said = engine.description();
    assert!(!said.contains("mounted") && !said.contains("copied"), "nobody knows yet: {said}");
    let mut command = probe(&["read", "/work/text"]);
    command.mounts = vec![mount(&work, "/work", Access::ReadOnly)];
    assert_eq!(run(&engine, &fixture.probe(), &command).0, "only here\n");
    assert_eq!(engine.capabilities().folders, Folders::Copied);
    assert!(engine.description().ends_with(", files are copied)"), "{}", engine.description());
    println!("files were sent");
}

/// As in a container that has the daemon's socket: the mount namespace has another `/tmp`.
#[test]
fn from_within_a_container_files_are_sent() {
    let fixture = Fixture::new();
    if fixture.docker().is_none() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make a mount namespace");
        return;
    }
    let program = fixture.path().join("probe");
    fs::write(&program, fixture.program()).unwrap();
    let folder = fixture.path().join("tmp");
    fs::create_dir(&folder).unwrap();
    let script = "mount -t tmpfs none \"$1\" && exec \"$2\" --exact \"$3\" --nocapture";
    let test = std::env::current_exe().unwrap();
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([&folder, &test])
        .arg(CHILD)
        .env(ROLE, "1")
        .env("TMPDIR", &folder)
        .env(PROGRAM, &program)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("files were sent"), "{said}\n{error}");
}

/// Where the workspace of a job lies that runs in a container.
const BUILDS: &str = "/builds";
const JOB: &str = "remote::where_only_temporary_files_are_shared";

/// A job's process in a container with the daemon's socket. As a test of its own, it does nothing.
#[test]
fn where_only_temporary_files_are_shared() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    // In `/tmp`, which the daemon sees too.
    let fixture = Fixture::new();
    let service = Service::find(Client::of(Kind::Docker)).unwrap();
    assert!(service.is_guess, "a socket in a container says nothing of its daemon");
    let shell = Shell::silent();
    let engine = Containers::new(service, Owner::this_process(), fixture.cache(), &shell);
    let image = fixture.probe();
    let (shared, work) = (fixture.path().join("shared"), Path::new(BUILDS).join("work"));
    for (folder, text) in [(&shared, "seen by both"), (&work, "only here")] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("text"), text).unwrap();
    }
    let of = |mounts: &[(&Path, &str)]| {
        let mut command = probe(&["read", "/work/text"]);
        let mounts = mounts.iter().map(|(host, guest)| mount(host, guest, Access::ReadOnly));
        command.mounts = mounts.collect();
        run(&engine, &image, &command)
    };
    // What is asked first has no word in what is asked next.
    assert_eq!(of(&[(&shared, "/work")]).0, "seen by both\n");
    assert_eq!(engine.capabilities().folders, Folders::Mounted);
    let (said, _, ended) = of(&[(&work, "/work"), (&shared, "/shared")]);
    assert_eq!(said, "only here\n", "{ended:?}");
    assert_eq!(engine.capabilities().folders, Folders::Copied);
    println!("files were sent");
}

/// Docker in a container whose `/tmp` is the machine's, and whose workspace is not: what many services
/// run jobs in.
#[test]
fn a_job_that_shares_nothing_but_temporary_files() {
    let fixture = Fixture::new();
    let Some(docker) = fixture.docker() else { return };
    let image = docker.prepare(&fixture.probe()).unwrap();
    let program = fixture.path().join("probe");
    fs::write(&program, fixture.program()).unwrap();
    let test = std::env::current_exe().unwrap();
    let folder = |path: &Path| path.parent().unwrap().to_str().unwrap().to_owned();
    let mut arguments: Vec<String> = ["run", "--rm"].map(str::to_owned).into();
    let read_only = ["/bin", "/etc", "/lib", "/lib64", "/usr"].map(str::to_owned);
    let read_only = read_only.into_iter().chain([folder(&program), folder(&test)]);
    arguments
        .extend(read_only.flat_map(|path| ["--volume".to_owned(), format!("{path}:{path}:ro")]));
    for shared in ["/tmp", "/var/run/docker.sock"] {
        arguments.extend(["--volume".to_owned(), format!("{shared}:{shared}")]);
    }
    arguments.extend(["--tmpfs".to_owned(), format!("{BUILDS}:exec")]);
    for variable in [format!("{ROLE}=1"), format!("{PROGRAM}={}", program.display())] {
        arguments.extend(["--env".to_owned(), variable]);
    }
    arguments.push(image.location.to_str().unwrap().to_owned());
    arguments.push(test.to_str().unwrap().to_owned());
    arguments.extend(["--exact", JOB, "--nocapture"].map(str::to_owned));
    let output = std::process::Command::new("docker").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("files were sent"), "{said}\n{error}");
}

/// The daemon does see these.
#[test]
fn a_guess_that_holds() {
    let fixture = Fixture::new();
    if fixture.docker().is_none() {
        return;
    }
    let mut service = Service::find(Client::of(Kind::Docker)).unwrap();
    service.is_guess = true;
    let shell = Shell::silent();
    let engine = Containers::new(service, Owner::this_process(), fixture.cache(), &shell);
    let image = fixture.probe();
    assert_eq!(engine.capabilities().folders, Folders::Copied, "nothing was tried yet");
    run(&engine, &image, &probe(&["look"])).2.unwrap();
    fs::write(fixture.path().join("text"), "here").unwrap();
    let mut command = probe(&["read", "/work/text"]);
    command.mounts = vec![mount(fixture.path(), "/work", Access::ReadOnly)];
    assert_eq!(run(&engine, &image, &command).0, "here\n");
    assert_eq!(engine.capabilities().folders, Folders::Mounted);
}

#[test]
fn a_volume_that_was_deleted_is_filled_again() {
    let fixture = Fixture::new();
    let shell = Shell::silent();
    let image = fixture.probe();
    let work = fixture.path().join("work");
    fs::create_dir(&work).unwrap();
    fs::write(work.join("text"), "here").unwrap();
    for _ in 0..2 {
        let Some(engine) = engine(&fixture, &Owner::this_process(), &shell) else {
            return;
        };
        let mut command = probe(&["read", "/work/text"]);
        command.mounts = vec![mount(&work, "/work", Access::ReadOnly)];
        assert_eq!(run(&engine, &image, &command).0, "here\n");
        drop(engine);
        let label = format!("label=keyway.folder={}", work.display());
        let volume = duct::cmd!("docker", "volume", "ls", "--quiet", "--filter", label);
        let volume = volume.read().unwrap();
        let mut tries = 0;
        while duct::cmd!("docker", "volume", "rm", &volume)
            .stdout_null()
            .stderr_null()
            .run()
            .is_err()
        {
            tries += 1;
            assert!(tries < 100, "the volume is still in use");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn what_a_single_command_made_is_all_fetched() {
    let fixture = Fixture::new();
    let shell = Shell::silent();
    let Some(engine) = engine(&fixture, &Owner::this_process(), &shell) else {
        return;
    };
    let out = fixture.path().join("out");
    fs::create_dir(&out).unwrap();
    let mut command = probe(&["write", "/out/file"]);
    command.mounts = vec![mount(&out, "/out", Access::ReadWrite)];
    engine.run_once(&fixture.probe(), &command).unwrap();
    assert_eq!(fs::read_to_string(out.join("file")).unwrap(), "written inside");
    let label = format!("label=keyway.folder={}", out.display());
    let left = duct::cmd!("docker", "volume", "ls", "--quiet", "--filter", label).read().unwrap();
    assert_eq!(left, "", "its volume is gone");
}

#[test]
fn a_daemon_that_is_gone_before_files_are_sent() {
    let fixture = Fixture::new();
    let shell = Shell::silent();
    let Some(engine) = engine(&fixture, &Owner::this_process(), &shell) else {
        return;
    };
    let image = fixture.probe();
    engine.prepare(&image).unwrap();
    // The same daemon, at a port where none listens any more.
    let mut service = Service::find(Client::of(Kind::Docker)).unwrap();
    service = service.with_folders(Folders::Copied);
    let prepared = engine.prepare(&image).unwrap();
    service.client = Client::of(Kind::Docker).at("tcp://127.0.0.1:9");
    let gone = Containers::new(service, Owner::this_process(), fixture.cache(), &shell);
    let error = gone.prepare(&image).unwrap_err();
    assert!(matches!(error, EngineError::Load { .. }), "{error:?} for {prepared:?}");
    assert_eq!(error.exit(), Exit::Environment);
}

#[test]
fn a_daemon_that_is_lost_while_files_are_sent() {
    let fixture = Fixture::new();
    let shell = Shell::silent();
    let allowance = unlimited();
    let address = forward(allowance.clone());
    let image = fixture.probe();
    let work = fixture.path().join("work");
    fs::create_dir(&work).unwrap();
    let large = "0123456789abcde\n".repeat(512 << 10);
    fs::write(work.join("large"), &large).unwrap();
    fs::write(work.join("text"), "here").unwrap();
    let mut command = probe(&["read", "/work/text"]);
    command.mounts = vec![mount(&work, "/work", Access::ReadOnly)];
    let owner = Owner::this_process();
    let Some(engine) = engine_at(&fixture, &owner, &shell, &address) else {
        return;
    };
    engine.prepare(&image).unwrap();
    allowance.store(1 << 20, Ordering::Relaxed);
    let error = run(&engine, &image, &command).2.unwrap_err();
    assert!(matches!(error, EngineError::Transfer { .. }), "{error:?}");
    assert_eq!(error.exit(), Exit::Environment);
    snapbox::assert_data_eq!(
        format!("{error}\nhint: {}\n", error.hint().unwrap()),
        snapbox::str![[r#"
docker: could not transfer files: [..]
hint: look whether the daemon still runs, then repeat the command

"#]]
    );
    drop(engine);

    // It is back: what was sent in part is sent whole.
    allowance.store(i64::MAX, Ordering::Relaxed);
    let engine = engine_at(&fixture, &owner, &shell, &address).unwrap();
    assert_eq!(run(&engine, &image, &command).0, "here\n");
    command.argv = vec!["probe".into(), "read".into(), "/work/large".into()];
    assert!(run(&engine, &image, &command).0 == large, "it is whole");
}

#[test]
fn a_volume_that_nothing_will_use_again_is_found() {
    let fixture = Fixture::new();
    let shell = Shell::silent();
    let work = fixture.path().join("work");
    fs::create_dir(&work).unwrap();
    fs::write(work.join("text"), "here").unwrap();
    let mut command = probe(&["read", "/work/text"]);
    command.mounts = vec![mount(&work, "/work", Access::ReadOnly)];
    let Some(engine) = engine(&fixture, &Owner::this_process(), &shell) else {
        return;
    };
    run(&engine, &fixture.probe(), &command).2.unwrap();
    let client = Client::of(Kind::Docker);
    let found = || abandoned_volumes(&client, &fixture.cache());
    assert_eq!(found(), Vec::<String>::new());
    fs::rename(&work, fixture.path().join("moved")).unwrap();
    let gone = found();
    assert_eq!(gone.len(), 1, "its folder is gone");
    fs::rename(fixture.path().join("moved"), &work).unwrap();
    assert_eq!(found(), Vec::<String>::new());
    fs::remove_dir_all(fixture.cache().root().join("sent")).unwrap();
    assert_eq!(found(), gone, "its index is gone");
    drop(engine);
    // The container that used it takes a moment to go.
    let deadline = Instant::now() + Duration::from_secs(20);
    let remove = duct::cmd!("docker", "volume", "rm", "--force", &gone[0]).stdout_null();
    while remove.stderr_null().unchecked().run().unwrap().status.code() != Some(0) {
        assert!(Instant::now() < deadline, "the volume is still in use");
        thread::sleep(Duration::from_millis(50));
    }
}
