//! What a refused or failed build prints, pasted into a Cargo.toml, has the plugin built.

use std::fs;

use duct::cmd;
use serde_json::Value;

use crate::any_workspace::{CDYLIB, Ground, answer, built};
use crate::workspace::json;

/// A `build-plugins` in a folder: its status, what it said, and its events.
fn build(ground: &Ground, folder: &str) -> (Option<i32>, String, Vec<Value>) {
    let target = "x86_64-unknown-linux-gnu";
    let arguments = ["--json", "build-plugins", "--engine", "sandbox", "--target", target];
    let run = cmd(env!("CARGO_BIN_EXE_xtask"), arguments).dir(ground.path.join(folder));
    let run = run.stdin_null().stdout_capture().stderr_capture().unchecked().run();
    let run = run.expect("it starts");
    (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned(), json(&run.stdout))
}

/// Adds the lines of TOML in `said` to a manifest, and returns them.
fn paste(said: &str, ground: &Ground, manifest: &str) -> String {
    let from = said.find("[package.metadata.keyway]").expect("the lines");
    let lines = said[from..].lines().take_while(|line| !line.is_empty());
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    let manifest = ground.path.join(manifest);
    let text = fs::read_to_string(&manifest).expect("read");
    fs::write(&manifest, format!("{text}\n{lines}")).expect("write");
    lines
}

#[test]
fn the_lines_of_a_refusal_can_be_pasted() {
    let ground = Ground::new();
    let symbols = ["PyErr_Print", "PyList_New", "PyLong_New", "PyObject_Call", "sqlite3_open"];
    let declared = symbols.map(|symbol| format!("    pub fn {symbol}();\n")).concat();
    let addresses = symbols.map(|symbol| format!("{symbol} as *const () as usize")).join(" ^ ");
    // Inlined, it would be the plugin itself that needs them.
    let code = format!(
        "extern \"C\" {{\n{declared}}}\n#[inline(never)]\npub fn number() -> usize {{ {addresses} }}\n"
    );
    ground.package("module/api", "api", "2021", "", &code);
    let more = format!("{CDYLIB}[dependencies]\napi = {{ path = \"api\" }}\n[workspace]\n");
    ground.package("module", "module", "2021", &more, &answer("api::number() as u32"));
    ground.run("module", "cargo", &["generate-lockfile"]);
    // What others have in `dist/` is there before and after.
    let others = ground.path.join("module/dist/CHANGELOG.md");
    fs::create_dir(others.parent().expect("has one")).expect("create");
    fs::write(&others, "1.0").expect("write");
    let (status, said, _) = build(&ground, "module");
    assert_eq!(status, Some(3), "{said}");
    let place = "dist/x86_64-unknown-linux-gnu/module/libmodule.so";
    assert!(said.contains(&format!("warning: `{place}` is refused")), "{said}");
    assert!(said.contains("warning: `PyErr_Print` and 4 more are needed by crate `api`"), "{said}");
    assert_eq!(said.matches("needed by").count(), 1, "{said}");
    let lines = paste(&said, &ground, "module/Cargo.toml");
    assert!(lines.contains("\"Py*\"") && lines.contains("\"sqlite3_open\""), "{lines}");
    let (status, said, events) = build(&ground, "module");
    assert_eq!((status, built(&events)), (Some(0), vec!["module".to_owned()]), "{said}");
    assert!(ground.path.join("module").join(place).is_file());
    assert_eq!(fs::read_to_string(others).expect("still there"), "1.0");
}

/// Cargo turns the feature on for both, since it compiles them in one run.
#[test]
fn a_plugin_in_another_one_is_told_apart() {
    let ground = Ground::new();
    ground.write("Cargo.toml", "[workspace]\nmembers = [\"inner\", \"outer\"]\nresolver = \"2\"\n");
    let features = "[features]\ndefault = [\"export\"]\nexport = []\n";
    let library = "[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n";
    let code = format!(
        "#[inline(never)]\npub fn one() -> u32 {{ 1 }}\n#[cfg(feature = \"export\")]\n{}",
        answer("one()")
    );
    ground.package("inner", "inner", "2021", &format!("{library}{features}"), &code);
    let dependency = "[dependencies]\ninner = { path = \"../inner\", default-features = false }\n";
    let more = format!("{library}{features}{dependency}");
    ground.package("outer", "outer", "2021", &more, &answer("inner::one()"));
    ground.run("", "cargo", &["generate-lockfile"]);
    let (status, said, events) = build(&ground, "");
    assert_eq!((status, built(&events)), (Some(1), vec!["inner".to_owned()]), "{said}");
    assert!(said.contains("`outer` depends on plugin `inner`"), "{said}");
    paste(&said, &ground, "inner/Cargo.toml");
    let (status, said, events) = build(&ground, "");
    assert_eq!((status, built(&events)), (Some(0), vec!["outer".to_owned()]), "{said}");
}
