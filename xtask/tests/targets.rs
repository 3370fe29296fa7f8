//! `targets`: the table, as text, as Markdown and as events, and that of README.md.

use std::path::Path;
use std::process::Command;

use keyway_xtask::standing;
use keyway_xtask::targets::TargetSet;
use serde_json::Value;
use snapbox::{assert_data_eq, str};

const TARGETS: &str = r#"
default = ["x86_64-unknown-linux-gnu"]

[target.x86_64-apple-darwin]
image = "mac"
linker = "cc"
cc = "cc"
ar = "ar"
imports = []

[target.x86_64-unknown-linux-gnu]
image = "base"
linker = "cc"
cc = "cc"
ar = "ar"
libc = { family = "glibc", floor = "2.17" }
imports = []
runner = { image = "loader", command = ["/usr/lib/ld.so", "--quiet"] }
"#;

/// What `targets` writes in a workspace where nothing was built yet.
fn targets(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let manifest = "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    std::fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::create_dir(dir.path().join("src")).unwrap();
    std::fs::write(dir.path().join("src/lib.rs"), "//! Small.\n").unwrap();
    std::fs::write(dir.path().join("targets.toml"), TARGETS).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("targets").args(arguments).current_dir(dir.path());
    let output = command.env("KEYWAY_CACHE", dir.path().join("cache")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_table_is_text_or_markdown() {
    assert_data_eq!(
        targets(&[]),
        str![[r#"
target                    default  image  run by        promises             from lock  built   audited  run  reproduced  size  needs
x86_64-apple-darwin                mac    checked only                                  0 of 0
x86_64-unknown-linux-gnu  yes      base   ld.so         glibc 2.17 or newer  yes        0 of 0

"#]]
    );
    assert_data_eq!(
        targets(&["--markdown"]),
        str![[r#"
| target | default | image | run by | promises | from lock | built | audited | run | reproduced | size | needs |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| x86_64-apple-darwin | | mac | checked only | | | 0 of 0 | | | | | |
| x86_64-unknown-linux-gnu | yes | base | ld.so | glibc 2.17 or newer | yes | 0 of 0 | | | | | |

"#]]
    );
}

#[test]
fn events_say_what_was_delivered() {
    let lines = targets(&["--json"]);
    let events: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [mac, linux, summary] = &events[..] else { panic!("{events:#?}") };
    assert_eq!((&mac["default"], &linux["default"]), (&false.into(), &true.into()));
    // Images are Keyway's own, of which none is called `mac`; and nothing was built.
    assert_eq!((&mac["rebuildable"], &linux["rebuildable"]), (&Value::Null, &true.into()));
    assert_eq!((&mac["delivered"]["built"], &linux["delivered"]["built"]), (&0.into(), &0.into()));
    assert_eq!(summary["targets"], 2);
}

/// The table of README.md is written from a run. What does not depend on one is compared.
#[test]
fn the_readme_has_every_target_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, table) = readme.split_once("<!-- targets: begin -->").expect("the table's begin");
    let (table, _) = table.split_once("<!-- targets: end -->").expect("the table's end");
    let rows: Vec<&str> = table.trim().lines().skip(2).collect();
    let set = TargetSet::read(&root.join("targets.toml")).unwrap();
    let expected = set.iter().map(|target| {
        let cells = standing::described(target, set.is_default(&target.triple));
        standing::row(cells.iter().map(String::as_str))
    });
    let expected: Vec<String> = expected.collect();
    assert_eq!(rows.len(), expected.len(), "{rows:#?}");
    for (row, expected) in rows.iter().zip(&expected) {
        assert!(row.starts_with(expected), "README.md: `{row}`\ntargets.toml: `{expected}`");
    }
}
