//! A workspace that is one folder of a larger repository, and reads files beside itself.

use std::fs;

use duct::cmd;
use serde_json::Value;

use crate::any_workspace::{CDYLIB, Ground, answer, built};
use crate::workspace::json;

const LINUX: &str = "x86_64-unknown-linux-gnu";

/// Three plugins in `native/`: a build script and an `include_str!` read `schemas/`, and a package in
/// `shared/lib` reads a file beside its own folder. The library of one has a name of its own.
fn repository() -> Ground {
    let ground = Ground::new();
    ground.write("schemas/number.txt", "7");
    ground.write("shared/number.txt", "5");
    let number = "pub const NUMBER: &str = include_str!(\"../../number.txt\");\n";
    ground.package("shared/lib", "lib", "2021", "", number);
    ground.write("native/Cargo.toml", "[workspace]\nmembers = [\"plugins/*\"]\nresolver = \"2\"\n");
    let plugin = |name: &str, more: &str, code: &str| {
        let code = format!("{code}{}", answer("NUMBER.as_bytes()[0].into()"));
        let path = format!("native/plugins/{name}");
        ground.package(&path, name, "2021", &format!("{CDYLIB}{more}"), &code);
    };
    plugin(
        "included",
        "name = \"other_name\"\n",
        "const NUMBER: &str = include_str!(\"../../../../schemas/number.txt\");\n",
    );
    let dependency = "[dependencies]\nlib = { path = \"../../../shared/lib\" }\n";
    plugin("depends", dependency, "use lib::NUMBER;\n");
    plugin("scripted", "", "const NUMBER: &str = env!(\"NUMBER\");\n");
    ground.write(
        "native/plugins/scripted/build.rs",
        "fn main() {\n    let number = std::fs::read_to_string(\"../../../schemas/number.txt\").unwrap();\n    \
         println!(\"cargo:rustc-env=NUMBER={number}\");\n}\n",
    );
    ground.run("native", "cargo", &["generate-lockfile"]);
    ground
}

fn xtask(ground: &Ground, arguments: &[&str]) -> duct::Expression {
    let head = ["--json", "build-plugins", "--engine", "sandbox", "--target", LINUX];
    let arguments = head.into_iter().chain(arguments.iter().copied());
    let run = cmd(env!("CARGO_BIN_EXE_xtask"), arguments).dir(ground.path.join("native"));
    run.stdin_null().stdout_capture().stderr_capture().unchecked()
}

fn build(ground: &Ground, arguments: &[&str]) -> (Option<i32>, String, Vec<Value>) {
    let run = xtask(ground, arguments).run().expect("it starts");
    (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned(), json(&run.stdout))
}

fn fresh(events: &[Value]) -> Vec<(&str, bool)> {
    let artifacts = events.iter().filter(|event| event["event"] == "artifact");
    let fresh = |event: &Value| event["fresh"] == true;
    artifacts.map(|event| (event["plugin"].as_str().expect("a name"), fresh(event))).collect()
}

#[test]
fn what_lies_beside_the_workspace_is_shown_where_it_is_listed() {
    let ground = repository();
    let (status, said, events) = build(&ground, &[]);
    assert_eq!(status, Some(1), "{said}");
    assert_eq!(built(&events), ["depends"], "a package is shown with its neighbours: {said}");
    let lines = "\n[workspace.metadata.keyway]\nshows = [\"../schemas\"]\n";
    assert_eq!(said.matches(lines).count(), 1, "the lines to add, once: {said}");
    assert!(said.contains("failed to run custom build command for `scripted"), "{said}");

    let manifest = ground.path.join("native/Cargo.toml");
    let text = fs::read_to_string(&manifest).expect("read");
    fs::write(&manifest, format!("{text}{lines}")).expect("write");
    let (status, said, events) = build(&ground, &[]);
    assert_eq!((status, built(&events).len()), (Some(0), 3), "{said}");
    let (_, _, plan) = build(&ground, &["--dry-run"]);
    let shown = plan.iter().filter(|event| event["event"] == "shown");
    let shown: Vec<_> = shown.map(|event| [&event["guest"], &event["why"]]).collect();
    let expected = [
        ["/work/native", "workspace"],
        ["/work/schemas", "listed"],
        ["/work/shared", "surroundings"],
    ];
    assert_eq!(shown, expected);

    // All of what is listed counts, since a build script need not say what it reads; of what a package
    // lies among, that which was read.
    ground.write("schemas/number.txt", "8");
    ground.write("shared/unrelated.txt", "");
    let (_, said, events) = build(&ground, &[]);
    let expected = [("depends", false), ("included", false), ("scripted", false)];
    assert_eq!(fresh(&events), expected, "{said}");
    ground.write("shared/number.txt", "6");
    let (_, said, events) = build(&ground, &[]);
    let expected = [("included", true), ("scripted", true), ("depends", false)];
    assert_eq!(fresh(&events), expected, "{said}");
}
