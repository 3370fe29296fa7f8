//! The pure half: what is started for a command.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use keyway_xtask::container::{Access, Command};
use keyway_xtask::engine::{Daemon, Docker, Engine, EngineError, Owner, Prepared};
use keyway_xtask::failure::{Diagnose, Exit};
use keyway_xtask::shell::Shell;
use snapbox::{assert_data_eq, str};

use crate::fixture::{Fixture, mount};

fn command() -> Command {
    Command {
        argv: ["cargo", "build", "--target", "x86_64-pc-windows-gnu"].map(OsString::from).into(),
        env: BTreeMap::from([("CARGO_TERM_COLOR".into(), "always".into())]),
        workdir: "/work".into(),
        mounts: vec![
            mount("/cache/target".as_ref(), "/work/target", Access::ReadWrite),
            mount("/home/me/a, b".as_ref(), "/work", Access::ReadOnly),
        ],
    }
}

fn prepared(location: &str) -> Prepared {
    Prepared {
        image: "mingw".into(),
        location: location.into(),
        env: BTreeMap::from([("PATH".into(), "/usr/bin".into())]),
    }
}

/// One option with its value a line.
fn text(engine: &dyn Engine, location: &str) -> String {
    let invocation = engine.invocation(&prepared(location), &command()).unwrap();
    let args: Vec<_> = invocation.args.iter().map(|arg| arg.to_str().unwrap()).collect();
    let args = args.join(" ").replace(" --", "\n--");
    format!("{args}\nstop {:?}\ncommand {}\n", invocation.stop, invocation.command)
}

fn docker(user: Option<(u32, u32)>, shell: &Shell) -> Docker<'_> {
    let daemon = Daemon { version: "20.10.24".into(), user };
    Docker::new(daemon, Owner { scope: "here".into(), pid: 71, start: 4242 }, shell)
}

#[test]
fn docker_of_a_plain_user() {
    let shell = Shell::silent();
    assert_data_eq!(
        text(&docker(Some((1000, 100)), &shell), "sha256:0123"),
        str![[r#"
run
--rm
--init
--pull never
--network none
--hostname keyway
--read-only
--tmpfs /tmp:exec,mode=1777
--cap-drop ALL
--security-opt no-new-privileges
--security-opt label=disable
--user 1000:100
--name keyway-428ff457f449-[..]
--label keyway.owner=here/71/4242
--workdir /work
--mount type=bind,source=/cache/target,target=/work/target
--mount type=bind,"source=/home/me/a, b",target=/work,readonly
--env ALL_PROXY
--env FTP_PROXY
--env HTTPS_PROXY
--env HTTP_PROXY
--env NO_PROXY
--env all_proxy
--env ftp_proxy
--env http_proxy
--env https_proxy
--env no_proxy
--env CARGO_TERM_COLOR=always
--env HOME=/tmp
--env HOSTNAME=keyway
--env LC_ALL=C.UTF-8
--env PATH=/usr/bin
--env TZ=UTC sha256:0123 cargo build
--target x86_64-pc-windows-gnu
stop Run(["docker", "rm", "--force", "keyway-428ff457f449-[..]"])
command cargo build --target x86_64-pc-windows-gnu

"#]]
    );
}

#[test]
fn docker_of_root_reads_any_file() {
    let shell = Shell::silent();
    let text = text(&docker(Some((0, 0)), &shell), "sha256:0123");
    assert!(text.contains("--user 0:0\n--cap-add DAC_OVERRIDE\n"), "{text}");
}

#[test]
fn docker_in_a_virtual_machine_maps_users_itself() {
    let shell = Shell::silent();
    assert!(!text(&docker(None, &shell), "sha256:0123").contains("--user"));
}

#[test]
fn containers_of_one_process_differ_in_name() {
    let shell = Shell::silent();
    let engine = docker(None, &shell);
    assert_ne!(text(&engine, "sha256:0123"), text(&engine, "sha256:0123"));
}

#[test]
fn sandbox() {
    let fixture = Fixture::new();
    assert_data_eq!(
        text(&fixture.sandbox(), "/cache/roots/0123"),
        str![[r#"
sandbox
--watch-stdin
--root /cache/roots/0123
--workdir /work
--mount ro /home/me/a, b /work
--mount rw /cache/target /work/target
--env CARGO_TERM_COLOR=always
--env HOME=/tmp
--env HOSTNAME=keyway
--env LC_ALL=C.UTF-8
--env PATH=/usr/bin
--env TZ=UTC
-- cargo build
--target x86_64-pc-windows-gnu
stop CloseStdin
command cargo build --target x86_64-pc-windows-gnu

"#]]
    );
}

#[test]
fn what_an_engine_can_not_express_is_refused() {
    let fixture = Fixture::new();
    let shell = Shell::silent();
    let docker = docker(None, &shell);
    let sandbox = fixture.sandbox();
    let refused = |engine: &dyn Engine, command: &Command| {
        let error = engine.invocation(&prepared("x"), command).unwrap_err();
        assert!(matches!(error, EngineError::Unsupported { .. }), "{error:?}");
        assert_eq!(error.exit(), Exit::Usage);
        error.to_string()
    };
    let mut not_unicode = command();
    not_unicode.mounts[0].host = OsString::from_vec(b"/a\xff".to_vec()).into();
    assert_data_eq!(
        refused(&docker, &not_unicode),
        str!["docker: can't pass `/a�`: Docker takes UTF-8 only"]
    );
    sandbox.invocation(&prepared("x"), &not_unicode).unwrap();
    for path in ["target", "/work/../etc"] {
        let mut inside = command();
        inside.mounts[0].guest = path.into();
        let mut workdir = command();
        workdir.workdir = path.into();
        for engine in [&docker as &dyn Engine, &sandbox] {
            refused(engine, &inside);
            refused(engine, &workdir);
        }
    }
}
