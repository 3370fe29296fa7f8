//! Plugins that can't be built for every target: the plan leaves them out and says why.

use std::process::Command;

use serde_json::Value;

/// Plans a build of two plugins, of which `picky` is for no Apple system and no musl; the status, the
/// events, and what was said.
fn plan(arguments: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"easy\", \"picky\"]\n");
    let unsupported = "[package.metadata.keyway]\nunsupported = [\n\
         { target = \"*-apple-*\", reason = \"it has no driver there\" },\n\
         { target = \"x86_64-unknown-linux-musl\", reason = \"its vendor links glibc\" },\n]\n";
    for (name, more) in [("easy", ""), ("picky", unsupported)] {
        let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
        let library = "[lib]\ncrate-type = [\"cdylib\"]\n";
        write(&format!("{name}/Cargo.toml"), &format!("{package}{library}{more}"));
        write(&format!("{name}/src/lib.rs"), "//! A plugin.\n");
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["generate-lockfile", "--offline"]).current_dir(dir.path());
    assert!(cargo.output().unwrap().status.success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["build-plugins", "--dry-run", "--json"]).args(arguments).current_dir(dir.path());
    let output = command.env("KEYWAY_CACHE", dir.path().join("cache")).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let events = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code(), events, String::from_utf8(output.stderr).unwrap())
}

fn of<'a>(events: &'a [Value], event: &str, key: &str) -> Vec<&'a str> {
    let events = events.iter().filter(|e| e["event"] == event);
    events.map(|event| event.pointer(key).unwrap().as_str().unwrap()).collect()
}

#[test]
fn a_plugin_is_left_out_where_it_cant_be_built() {
    let (status, events, said) = plan(&[]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(
        of(&events, "left-out", "/target"),
        ["aarch64-apple-darwin", "x86_64-apple-darwin", "x86_64-unknown-linux-musl"]
    );
    assert_eq!(of(&events, "left-out", "/reason")[2], "its vendor links glibc");
    let step = |target: &str| {
        let is_it = |event: &&Value| event["target"]["triple"] == target;
        events.iter().filter(|event| event["event"] == "step").find(is_it).unwrap()
    };
    // It is not named to cargo either: another selection of features could give other bytes.
    let id = |name: &str| format!("path+file:///work/{name}#{name}@0.0.0");
    assert_eq!(step("x86_64-apple-darwin")["packages"], serde_json::json!([id("easy")]));
    let both = serde_json::json!([id("easy"), id("picky")]);
    assert_eq!(step("x86_64-unknown-linux-gnu")["packages"], both);
}

#[test]
fn what_is_named_and_cant_be_built_is_an_error() {
    let (status, events, _) = plan(&["--plugin", "picky"]);
    assert_eq!(status, Some(0), "it can be built for other targets");
    assert_eq!(of(&events, "left-out", "/plugin").len(), 3);

    let (status, _, said) = plan(&["--plugin", "picky", "--target", "aarch64-apple-darwin"]);
    assert_eq!(status, Some(2), "{said}");
    let what = "plugin `picky` can't be built for `aarch64-apple-darwin`: it has no driver there";
    assert!(said.contains(what) && said.contains("hint: ask for other targets"), "{said}");
}
