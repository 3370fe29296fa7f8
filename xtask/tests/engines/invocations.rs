//! The pure half: what is started for a command.

use std::collections::BTreeMap;
use std::ffi::OsString;

use keyway_xtask::container::{Access, Command};
use keyway_xtask::engine::{Engine, EngineError, Prepared};
use keyway_xtask::failure::{Diagnose, Exit};
use snapbox::{assert_data_eq, str};

use crate::fixture::{Fixture, mount};

fn command() -> Command {
    Command {
        argv: ["cargo", "build", "--target", "x86_64-pc-windows-gnu"]
            .map(OsString::from)
            .into(),
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
    let args: Vec<_> = invocation
        .args
        .iter()
        .map(|arg| arg.to_str().unwrap())
        .collect();
    let args = args.join(" ").replace(" --", "\n--");
    format!(
        "{args}\nstop {:?}\ncommand {}\n",
        invocation.stop, invocation.command
    )
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
    let sandbox = fixture.sandbox();
    let refused = |engine: &dyn Engine, command: &Command| {
        let error = engine.invocation(&prepared("x"), command).unwrap_err();
        assert!(
            matches!(error, EngineError::Unsupported { .. }),
            "{error:?}"
        );
        assert_eq!(error.exit(), Exit::Usage);
        error.to_string()
    };
    for path in ["target", "/work/../etc"] {
        let mut inside = command();
        inside.mounts[0].guest = path.into();
        let mut workdir = command();
        workdir.workdir = path.into();
        {
            let engine: &dyn Engine = &sandbox;
            refused(engine, &inside);
            refused(engine, &workdir);
        }
    }
}
