//! Paths reach people through `keyway_manifest::text` only, which escapes what moves a cursor, forges a
//! line or turns text around. The shell escapes the most of it in any message; of line breaks only
//! whoever writes a message knows which are its own.

use super::tree::File;

/// A path that is displayed as it is: by its method, or by a message of `thiserror` that names a field.
fn displayed_paths(file: &File) -> Vec<String> {
    // The program that makes stubs anew reads nothing but this repository.
    let is_own = file.path.starts_with("crates/apple-stubs/");
    let is_test = is_own || file.path.contains("tests/") || file.path.ends_with("tests.rs");
    if !file.has_extension(&["rs"]) || is_test {
        return vec![];
    }
    // In parts, since this file is checked as well.
    let method = [".display", "()"].concat();
    let mut found: Vec<String> = file
        .lines()
        .filter(|(_, line)| line.contains(&method))
        .map(|(number, _)| file.at_line(number, "displays a path: say `.shown()`"))
        .collect();
    let attribute = ["#[", "error("].concat();
    let mut message = String::new();
    let mut is_within = false;
    for (number, line) in file.lines() {
        if line.contains(&attribute) {
            (message, is_within) = (String::new(), true);
        }
        if is_within {
            message += line;
            is_within = !line.ends_with(")]");
        }
        let field = line.trim().strip_suffix(": PathBuf,");
        let field = field.map(|field| field.trim_start_matches("pub "));
        let is_plain = |field: &str| {
            message.contains(&format!("{{{field}}}")) && !message.contains(&format!("{field} = "))
        };
        if field.is_some_and(is_plain) {
            found.push(
                file.at_line(number, "is displayed by its error: say `path = .path.shown()`"),
            );
        }
        if line == "}" {
            message.clear();
        }
    }
    found
}

#[test]
fn paths_are_shown_escaped() {
    super::check(displayed_paths);
    let broken = |path, text: &str| super::broken(displayed_paths, path, text);
    let displays = ["path.display", "();\n"].concat();
    assert_eq!(broken("xtask/src/a.rs", &displays), 1);
    assert_eq!(broken("xtask/src/a/tests.rs", &displays), 0);
    assert_eq!(broken("crates/host/tests/a.rs", &displays), 0);
    let error = |message: &str| {
        let attribute = ["#[", "error("].concat();
        format!(
            "enum E {{\n    {attribute}\n        {message})]\n    A {{\n        path: PathBuf,\n    }},\n}}\n"
        )
    };
    assert_eq!(broken("xtask/src/a.rs", &error("\"no `{path}`\"")), 1);
    assert_eq!(broken("xtask/src/a.rs", &error("\"no `{path}`\", path = .path.shown()")), 0);
    assert_eq!(broken("xtask/src/a.rs", &error("\"no file\"")), 0);
    let other =
        error("\"no `{path}`\", path = .path.shown()") + "struct S {\n    path: PathBuf,\n}\n";
    assert_eq!(broken("xtask/src/a.rs", &other), 0);
}
