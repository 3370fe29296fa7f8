//! Crates by which build scripts put what git says into a library.
//!
//! No build is shown `.git`, so these find none. Their own variables say what they are to write instead;
//! a variable of ours would make every commit another library.

use std::fs;
use std::path::Path;

/// A crate, by how its name begins, and what takes the place of what it would read.
const READERS: [(&str, &str); 4] = [
    ("built", "`BUILT_OVERRIDE_<package>_GIT_COMMIT_HASH` and its like"),
    ("git-version", "the macro's argument `fallback`"),
    ("shadow-rs", "nothing: its constants of git are then empty"),
    ("vergen", "`VERGEN_GIT_SHA` and its like, or `VERGEN_IDEMPOTENT = \"true\"`"),
];

/// What to say of the crates in a lock file that read repositories, if it has some.
pub fn note(lock: &Path) -> Option<String> {
    let lock = fs::read_to_string(lock).ok()?;
    let names = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let is = |name: &str, reader: &str| {
        let rest = name.strip_prefix(reader);
        rest.is_some_and(|rest| rest.is_empty() || reader == "vergen" && rest.starts_with('-'))
    };
    let names: Vec<&str> = names.collect();
    let found = READERS.iter().filter(|(reader, _)| names.iter().any(|name| is(name, reader)));
    let found: Vec<String> =
        found.map(|(reader, instead)| format!("for `{reader}` set {instead}")).collect();
    if found.is_empty() {
        return None;
    }
    Some(format!(
        "no build is shown a repository, or the same sources would give another library with each commit; \
         in `[env]` of `.cargo/config.toml`, {}",
        found.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_variables_of_the_crates_that_are_there() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let said = |names: &[&str]| {
            let path = dir.path().join("Cargo.lock");
            let packages = names.iter().map(|name| format!("[[package]]\nname = \"{name}\"\n"));
            fs::write(&path, packages.collect::<String>()).expect("write");
            note(&path)
        };
        assert_eq!(said(&["serde", "vergenerator", "built-up"]), None);
        let said = said(&["vergen-gitcl", "vergen-lib", "built"]).expect("two read repositories");
        assert!(said.contains("VERGEN_GIT_SHA") && said.contains("BUILT_OVERRIDE"), "{said}");
        assert!(!said.contains("shadow-rs"), "{said}");
    }
}
