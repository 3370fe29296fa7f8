//! Engines as their callers see them: what a command finds inside, what comes out, how it ends.
//! Every test runs on each engine that works here; one that does not is named on stderr.
#![cfg(target_os = "linux")]

mod fixture;
mod interrupts;
mod invocations;
mod layers;
mod remote;
mod rootless;
mod runner;
mod selection;
mod warm;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use keyway_xtask::container::{Access, Command};
use keyway_xtask::engine::{EngineError, Folders, Status};
use keyway_xtask::failure::{Diagnose, Exit, Failure};

use fixture::{Fixture, collect, mount, probe, run};

/// Bash, cargo and tests leave all kinds of variables; none may get in.
#[test]
fn a_command_sees_the_same_in_every_engine() {
    let fixture = Fixture::new();
    let image = fixture.probe();
    let (work, target) = (fixture.path().join("my, \"work\" 'dir'"), fixture.path().join("target"));
    fs::create_dir(&work).unwrap();
    fs::create_dir(&target).unwrap();
    for (label, engine) in fixture.engines() {
        let mut command =
            probe(&["look", "/", "/work", "/target", "/usr/deep/file's", "/tmp", "/etc"]);
        command.workdir = "/work".into();
        command.env.insert("TEXT".into(), "a b = \"c\", 'd' ü".into());
        command.mounts = vec![
            mount(&target, "/usr/deep/file's", Access::ReadWrite),
            mount(&work, "/work", Access::ReadOnly),
            mount(&target, "/target", Access::ReadWrite),
        ];
        let (stdout, stderr, result) = run(&*engine, &image, &command);
        result.unwrap();
        let seen = stdout
            .replace(&format!("Uid {}", rustix::process::geteuid().as_raw()), "Uid [CALLER]")
            .replace(&format!("Gid {}", rustix::process::getegid().as_raw()), "Gid [CALLER]");
        let capabilities = if rustix::process::geteuid().is_root() { "2" } else { "0" };
        let seen = seen
            .replace(&format!("Prm 000000000000000{capabilities}"), "Prm [KEPT]")
            .replace(&format!("Eff 000000000000000{capabilities}"), "Eff [KEPT]")
            .replace(&format!("Bnd 000000000000000{capabilities}"), "Bnd [KEPT]");
        snapbox::assert_data_eq!(
            seen,
            snapbox::str![[r#"
cwd /work
host keyway
env HOME=/tmp
env HOSTNAME=keyway
env LC_ALL=C.UTF-8
env PATH=/bin
env TEXT=a b = "c", 'd' ü
env TZ=UTC
Umask 0022
Uid [CALLER]
Gid [CALLER]
CapInh 0000000000000000
CapPrm [KEPT]
CapEff [KEPT]
CapBnd [KEPT]
CapAmb 0000000000000000
NoNewPrivs 1
write /: ReadOnlyFilesystem
write /work: ReadOnlyFilesystem
write /target: done
write /usr/deep/file's: done
write /tmp: done
write /etc: ReadOnlyFilesystem
kernel settings: ReadOnlyFilesystem
loopback: done
network: NetworkUnreachable
stdin Ok(0)
devices 9

"#]]
        );
        assert_eq!(stderr, "", "{label}");
    }
}

#[test]
fn files_belong_to_the_caller() {
    let fixture = Fixture::new();
    let image = fixture.probe();
    for (label, engine) in fixture.engines() {
        let out = fixture.path().join(label);
        fs::create_dir(&out).unwrap();
        let mut command = probe(&["write", "/out/file"]);
        command.mounts = vec![mount(&out, "/out", Access::ReadWrite)];
        run(&*engine, &image, &command).2.unwrap();
        collect(&*engine, &image, &command);
        let meta = fs::metadata(out.join("file")).unwrap();
        assert_eq!(meta.uid(), rustix::process::geteuid().as_raw(), "{label}");
        assert_eq!(meta.gid(), rustix::process::getegid().as_raw());
        assert_eq!(meta.permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_to_string(out.join("file")).unwrap(), "written inside");
    }
}

#[test]
fn a_single_file_can_be_mounted() {
    let fixture = Fixture::new();
    let image = fixture.probe();
    let file = fixture.path().join("one");
    fs::write(&file, "one file").unwrap();
    for (label, engine) in fixture.engines() {
        for guest in ["/etc/motd", "/etc/new/name"] {
            let mut command = probe(&["read", guest]);
            command.mounts = vec![mount(&file, guest, Access::ReadOnly)];
            let (stdout, _, result) = run(&*engine, &image, &command);
            match engine.capabilities().folders {
                Folders::Mounted => {
                    result.unwrap();
                    assert_eq!(stdout, "one file\n", "{label} {guest}");
                }
                // A volume is a folder.
                Folders::Copied => {
                    let error = result.unwrap_err();
                    assert!(matches!(error, EngineError::Unsupported { .. }), "{error:?}");
                }
            }
        }
    }
}

#[test]
fn upper_layers_cover_lower_ones() {
    let fixture = Fixture::new();
    let image = fixture.probe();
    for (label, engine) in fixture.engines() {
        let (stdout, _, _) = run(&*engine, &image, &probe(&["read", "/etc/motd"]));
        assert_eq!(stdout, "from the upper layer\n", "{label}");
    }
}

#[test]
fn no_line_is_lost_or_cut() {
    const N: usize = 100_000;
    let fixture = Fixture::new();
    let image = fixture.probe();
    for (label, engine) in fixture.engines() {
        let (stdout, stderr, result) = run(&*engine, &image, &probe(&["lines", &N.to_string()]));
        result.unwrap();
        let all = |name: &str| (0..N).map(|i| format!("{name} {i}\n")).collect::<String>();
        assert!(stdout == all("stdout") && stderr == all("stderr"), "{label}");

        let n = 5 << 20;
        let (stdout, _, _) = run(&*engine, &image, &probe(&["long-line", &n.to_string()]));
        assert_eq!(stdout.len(), n + 1, "{label}");
    }
}

#[test]
fn output_that_is_no_text_is_replaced() {
    let fixture = Fixture::new();
    let image = fixture.probe();
    for (label, engine) in fixture.engines() {
        let (stdout, _, result) = run(&*engine, &image, &probe(&["bytes"]));
        result.unwrap();
        assert_eq!(stdout, "a\u{fffd}b\r\nno newline at the end\n", "{label}");
    }
}

#[test]
fn a_failed_command_keeps_status_and_output() {
    let fixture = Fixture::new();
    let image = fixture.probe();
    for (label, engine) in fixture.engines() {
        // 125 to 127 are how engines report their own failures.
        for status in [1, 101, 125, 126, 127] {
            let command = probe(&["status", &status.to_string()]);
            let error = run(&*engine, &image, &command).2.unwrap_err();
            assert_eq!(error.exit(), Exit::Failed);
            let text =
                format!("`probe status {status}` failed with status {status}\n  | to stderr");
            assert_eq!(error.to_string(), text, "{label}");
        }
        let error = run(&*engine, &image, &probe(&["abort"])).2.unwrap_err();
        let EngineError::CommandFailed { status, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*status, Status::Signal(6), "{label}");
    }
}

#[test]
fn a_command_that_can_not_start_is_told_from_one_that_failed() {
    let fixture = Fixture::new();
    let image = fixture.probe();
    for (_, engine) in fixture.engines() {
        let mut no_program = probe(&[]);
        no_program.argv = vec!["no-such-program".into()];
        let mut no_execute = probe(&[]);
        no_execute.argv = vec!["/etc/motd".into()];
        let mut no_host_path = probe(&["look"]);
        no_host_path.mounts = vec![mount(&fixture.path().join("gone"), "/x", Access::ReadOnly)];
        for command in [no_program, no_execute, no_host_path] {
            let error = run(&*engine, &image, &command).2.unwrap_err();
            assert!(matches!(error, EngineError::NotStarted { .. }), "{error:?}");
            assert_eq!(error.exit(), Exit::Environment);
            let text = Failure::from(error).to_string();
            let start = format!("{}: could not start `", engine.name());
            assert!(text.starts_with(&start) && !text.contains('\n'), "{text}");
        }
    }
}

/// A build must not differ between a clone, a working tree, and an archive of one commit.
#[test]
fn a_repository_is_not_seen_and_all_else_is() {
    let fixture = Fixture::new();
    let image = fixture.probe();
    let work = fixture.path().join("work");
    for file in [".git/HEAD", "sub/.git", "sub/deep/text", "sub/other/text", "text", "folder/text"]
    {
        let path = work.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    std::os::unix::fs::symlink("folder/text", work.join("link")).unwrap();
    for (label, engine) in fixture.engines() {
        let with = |args: &[&str]| Command {
            mounts: vec![mount(&work, "/work", Access::ReadOnly)],
            hidden: vec![work.join(".git"), work.join("sub/.git")],
            ..probe(args)
        };
        let read = |path: &str| run(&*engine, &image, &with(&["read", path]));
        for (path, text) in [
            ("text", "text"),
            ("folder/text", "folder/text"),
            ("link", "folder/text"),
            ("sub/deep/text", "sub/deep/text"),
            ("sub/other/text", "sub/other/text"),
        ] {
            assert_eq!(read(&format!("/work/{path}")).0, format!("{text}\n"), "{label}: {path}");
        }
        for path in [".git/HEAD", "sub/.git"] {
            assert!(read(&format!("/work/{path}")).2.is_err(), "{label}: {path}");
        }
        let (stdout, _, result) = run(&*engine, &image, &with(&["look", "/work", "/work/sub"]));
        result.unwrap();
        for folder in ["/work", "/work/sub"] {
            assert!(
                stdout.contains(&format!("write {folder}: ReadOnlyFilesystem")),
                "{label}: {stdout}"
            );
        }
    }
}
