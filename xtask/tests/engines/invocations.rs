//! The pure half: what is started for a command.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::LazyLock;

use keyway_xtask::cache::Cache;
use keyway_xtask::container::{Access, Command};
use keyway_xtask::engine::{
    Between, Capabilities, Client, Containers, EngineError, Folders, Invocation, Kind, Labels,
    Owner, Prepared, Privilege, Service,
};
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
        limit: None,
        hidden: Vec::new(),
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
fn text(invocation: &Invocation) -> String {
    let args: Vec<_> = invocation.args.iter().map(|arg| arg.to_str().unwrap()).collect();
    let args = args.join(" ").replace(" --", "\n--");
    format!("{args}\nforce {:?}\n", invocation.force)
}

fn engine(
    kind: Kind,
    user: Option<(u32, u32)>,
    change: impl FnOnce(&mut Service),
) -> Containers<'static> {
    static SHELL: LazyLock<Shell> = LazyLock::new(Shell::silent);
    let capabilities = Capabilities {
        folders: Folders::Mounted,
        privilege: Privilege::Rootless,
        labels: Labels::Disabled,
        between: Between::Kept,
    };
    let mut service = Service {
        client: Client::of(kind),
        version: "20.10.24".into(),
        capabilities,
        user,
        is_guess: false,
        runtime: None,
    };
    change(&mut service);
    let owner = Owner { scope: "here".into(), pid: 71, start: 4242 };
    let cache = Cache::at(std::env::temp_dir()).unwrap();
    Containers::new(service, owner, cache, &SHELL)
}

fn docker(user: Option<(u32, u32)>) -> String {
    let engine = engine(Kind::Docker, user, |_| {});
    text(&engine.invocation(&prepared("sha256:0123"), &command().mounts).unwrap())
}

/// With SELinux too: labels are left alone, and containers not confined by them.
#[test]
fn docker_of_a_plain_user() {
    assert_data_eq!(
        docker(Some((1000, 100))),
        str![[r#"
run
--interactive
--rm
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
--workdir /
--entrypoint /bin/sh
--mount type=bind,source=/cache/target,target=/work/target
--mount type=bind,"source=/home/me/a, b",target=/work,readonly sha256:0123
force ["docker", "rm", "--force", "keyway-428ff457f449-[..]"]

"#]]
    );
}

#[test]
fn docker_elsewhere() {
    let elsewhere = |service: &mut Service| {
        service.client = service.client.clone().at("tcp://192.0.2.1:2375");
    };
    let engine = engine(Kind::Docker, Some((1000, 100)), elsewhere);
    let text = text(&engine.invocation(&prepared("sha256:0123"), &[]).unwrap());
    assert!(text.starts_with("--host tcp://192.0.2.1:2375 run\n"), "{text}");
    assert!(text.contains("\"--host\", \"tcp://192.0.2.1:2375\", \"rm\""), "{text}");
}

#[test]
fn rootless_podman() {
    let engine = engine(Kind::Podman, Some((1000, 100)), |service| service.runtime = Some("runc"));
    assert_data_eq!(
        text(&engine.invocation(&prepared("sha256:0123"), &command().mounts).unwrap()),
        str![[r#"
run
--interactive
--rm
--pull never
--network none
--hostname keyway
--read-only
--tmpfs /tmp:exec,mode=1777,notmpcopyup,U
--cap-drop ALL
--security-opt no-new-privileges
--security-opt label=disable
--runtime runc
--read-only-tmpfs=false
--no-hosts
--userns keep-id
--user 1000:100
--name keyway-428ff457f449-[..]
--label keyway.owner=here/71/4242
--workdir /
--entrypoint /bin/sh
--mount type=bind,source=/cache/target,target=/work/target
--volume /home/me/a, b:/work:ro sha256:0123
force ["podman", "rm", "--force", "keyway-428ff457f449-[..]"]

"#]]
    );
}

#[test]
fn docker_of_root_reads_any_file() {
    let text = docker(Some((0, 0)));
    assert!(text.contains("--user 0:0\n--cap-add DAC_OVERRIDE\n"), "{text}");
}

#[test]
fn docker_in_a_virtual_machine_maps_users_itself() {
    assert!(!docker(None).contains("--user"));
}

#[test]
fn containers_of_one_process_differ_in_name() {
    assert_ne!(docker(None), docker(None));
}

#[test]
fn sandbox() {
    let fixture = Fixture::new();
    let invocation = fixture.sandbox().invocation(&prepared("/cache/roots/0123"), &command());
    assert_data_eq!(
        text(&invocation.unwrap()),
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
force []

"#]]
    );
}

#[test]
fn what_an_engine_can_not_express_is_refused() {
    let fixture = Fixture::new();
    let docker = engine(Kind::Docker, None, |_| {});
    let podman = engine(Kind::Podman, None, |_| {});
    let sandbox = fixture.sandbox();
    let mounted = |engine: &Containers<'_>, command: &Command| {
        engine.invocation(&prepared("x"), &command.mounts).map(drop)
    };
    let refused = |result: Result<(), EngineError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, EngineError::Unsupported { .. }), "{error:?}");
        assert_eq!(error.exit(), Exit::Usage);
        error.to_string()
    };
    let mut not_unicode = command();
    not_unicode.mounts[0].host = OsString::from_vec(b"/a\xff".to_vec()).into();
    assert_data_eq!(
        refused(mounted(&docker, &not_unicode)),
        str!["docker: can't pass `/a�`: containers take UTF-8 only"]
    );
    sandbox.invocation(&prepared("x"), &not_unicode).unwrap();
    let mut colon = command();
    colon.mounts[0].host = "/a:b,c".into();
    mounted(&docker, &colon).unwrap();
    refused(mounted(&podman, &colon));
    for path in ["target", "/work/../etc"] {
        let mut inside = command();
        inside.mounts[0].guest = path.into();
        refused(mounted(&docker, &inside));
        refused(mounted(&podman, &inside));
        refused(sandbox.invocation(&prepared("x"), &inside).map(drop));
        let mut workdir = command();
        workdir.workdir = path.into();
        refused(sandbox.invocation(&prepared("x"), &workdir).map(drop));
    }
}
