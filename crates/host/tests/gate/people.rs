//! What people are shown of a file and its name.

use keyway_host::{Gate, Verdict};

use super::{Plugin, expectation};

/// What people read is escaped, what programs read is what was found.
#[cfg(unix)]
#[test]
fn nothing_of_a_file_reaches_people_unescaped() {
    let mut plugin = Plugin::new();
    plugin.manifest.plugin.version = "1\u{1b}[2J\nok: admitted\u{202e}".to_owned();
    plugin.describe();
    let rejection = Gate::new(expectation()).check(&plugin.library).expect_err("another version");
    let found = "version `0.1.0` in the stamp";
    let expected = "`1\u{1b}[2J\nok: admitted\u{202e}` as its manifest";
    let [refusal] = &*rejection.refusals else { panic!("{rejection}") };
    assert_eq!((&*refusal.found, &*refusal.expected), (found, expected));
    let shown = r"expected `1\u{1b}[2J\nok: admitted\u{202e}` as its manifest";
    assert!(refusal.to_string().ends_with(shown), "{refusal}");
    let path = plugin.folder.path().join("a\nok: admitted\u{1b}]0;x\u{7}.so");
    let outcome = Gate::new(expectation()).check(&path);
    let verdict = serde_json::to_value(Verdict::new(&path, &outcome)).expect("JSON");
    assert_eq!(verdict["path"], path.to_str().expect("text"));
    let said = outcome.expect_err("no such file").to_string();
    let lines = said.lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 3, "a head, a refusal and its remedy: {said:?}");
    assert!(!said.contains(|c: char| c != '\n' && c.is_control()), "{said:?}");
    let error = "gre\u{202e}et\n".parse::<keyway_manifest::PluginName>().expect_err("no name");
    assert!(error.to_string().ends_with(r"found `gre\u{202e}et\n`"), "{error}");
}
