//! What is said when an engine, or every one, does not work.

use keyway_xtask::container::Layer;
use keyway_xtask::engine::{Engine, EngineError, Sandbox, Unavailable};
use keyway_xtask::failure::{Diagnose, Exit, Failure};
use keyway_xtask::shell::Shell;
use snapbox::{assert_data_eq, str};

use crate::fixture::{Fixture, probe, run};

/// As `shell.failure` prints it.
fn text(error: EngineError) -> String {
    assert_eq!(error.exit(), Exit::Environment);
    let failure = Failure::from(error);
    let hint = failure.hint.as_deref().unwrap_or("none");
    format!("{failure}\nhint: {hint}\n")
}

#[test]
fn no_engine_at_all() {
    let one = |engine, reason: &str, hint: &str| Unavailable {
        engine,
        reason: reason.to_owned(),
        hint: hint.to_owned(),
    };
    let error = EngineError::NoneAvailable(vec![
        one("docker", "there is no `docker` program", "install Docker"),
        one("sandbox", "could not make a user namespace", "allow user namespaces"),
    ]);
    assert_data_eq!(
        text(error),
        str![[r#"
no engine works on this machine
  docker: there is no `docker` program
  sandbox: could not make a user namespace
hint: install Docker; or allow user namespaces

"#]]
    );
}

#[test]
fn the_tool_itself_is_gone() {
    let fixture = Fixture::new();
    let shell = Shell::silent();
    let engine = Sandbox::new("/no/such/xtask".into(), fixture.cache(), &shell);
    let Unavailable { reason, .. } = engine.probe().unwrap_err();
    assert!(reason.starts_with("could not start `/no/such/xtask`: "), "{reason}");
    let error = run(&engine, &fixture.probe(), &probe(&["look"])).2.unwrap_err();
    assert!(matches!(error, EngineError::Spawn { .. }), "{error:?}");
    assert_data_eq!(
        text(error),
        str![[r#"
sandbox: could not start `/no/such/xtask`
  caused by: No such file or directory (os error 2)
hint: none

"#]]
    );
}

#[test]
fn an_image_that_docker_can_not_load() {
    let fixture = Fixture::new();
    let Some(docker) = fixture.docker() else {
        return;
    };
    let layer = fixture.layer("layer", |tar| tar.file("file", 0o644, b"x"));
    let gone = Layer { file: fixture.path().join("gone.tar"), ..layer };
    let error = docker.prepare(&fixture.image(vec![gone])).unwrap_err();
    assert!(matches!(error, EngineError::Load { .. }), "{error:?}");
    let text = text(error);
    assert!(text.starts_with("docker: could not load image `probe`: "), "{text}");
}
