//! Data flows one way: a stage of the tool never imports a later one.

use std::collections::BTreeMap;

use crate::tree::{self, File};

/// Modules of `xtask/src`, earliest first; a module may use those in its own row and above. Whoever
/// adds a module says here where it stands.
const ORDER: &[&[&str]] = &[
    // What every stage may use.
    &["failure", "shell", "cache", "container", "interrupt", "package_id", "paths", "time"],
    &["targets"],
    &["inputs"],
    &["configuration"],
    &["workspace"],
    &["placement"],
    &["unseen"],
    &["source"],
    &["vendor"],
    &["plan"],
    &["records"],
    &["recompile"],
    &["image"],
    &["engine"],
    &["jobs"],
    &["run"],
    &["rivals"],
    &["artifact"],
    &["describe"],
    &["origin"],
    &["stubs"],
    &["verdict"],
    &["dist"],
    // Runs what was built or delivered.
    &["runner"],
    // Looks at all of the above to say what a plan must do; carries it out, from images to `dist/`.
    &["survey"],
    &["build"],
    // Looks at what was delivered.
    &["standing"],
    // Commands join the stages; the command line joins the commands.
    &["commands"],
    &["cli"],
];

/// Modules of `xtask/src` that are left out of [`ORDER`], and imports that go against it.
fn violations(files: &[File]) -> Vec<String> {
    let ranks: BTreeMap<_, _> = ORDER
        .iter()
        .enumerate()
        .flat_map(|(rank, row)| row.iter().map(move |module| (*module, rank)))
        .collect();
    let mut found = vec![];
    for file in files {
        let Some(module) = module_of(&file.path) else {
            continue;
        };
        let Some(rank) = ranks.get(module) else {
            found.push(file.at("is in no row of `ORDER`"));
            continue;
        };
        for (number, used) in file.lines().flat_map(|(n, line)| used(line).map(move |m| (n, m))) {
            match ranks.get(used) {
                Some(later) if later > rank => {
                    found.push(file.at_line(number, &format!("`{module}` uses later `{used}`")));
                }
                _ => {}
            }
        }
    }
    found
}

/// `plan` for `xtask/src/plan.rs` and `xtask/src/plan/key.rs`; none for the crate's roots.
fn module_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("xtask/src/")?;
    let module = inside.split('/').next()?;
    let module = module.strip_suffix(".rs").unwrap_or(module);
    (!["lib", "main"].contains(&module)).then_some(module)
}

/// The modules that a line names as `crate::module`; doc comments may link anywhere.
fn used(line: &str) -> impl Iterator<Item = &str> {
    let code = if line.trim_start().starts_with("//") { "" } else { line };
    code.match_indices("crate::").filter_map(|(at, path)| {
        let rest = &code[at + path.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    })
}

#[test]
fn no_stage_uses_a_later_one() {
    let found = violations(&tree::files());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_stage_that_uses_a_later_one_is_found() {
    let check = |path: &str, line: &str| violations(&[File::new(path, line)]).len();
    assert_eq!(check("xtask/src/run.rs", "use crate::plan::Step;\n"), 0);
    assert_eq!(check("xtask/src/plan.rs", "use crate::run::Library;\n"), 1);
    assert_eq!(check("xtask/src/plan/key.rs", "    let x = crate::dist::deliver();\n"), 1);
    assert_eq!(check("xtask/src/plan.rs", "//! See [`crate::run`].\n"), 0);
    assert_eq!(check("xtask/src/cli.rs", "use crate::commands::ci;\n"), 0);
    assert_eq!(check("xtask/src/surprise.rs", "//! New.\n"), 1);
    assert_eq!(check("crates/host/src/lib.rs", "use crate::dist;\n"), 0);
}

#[test]
fn imports_are_written_so_that_the_rule_sees_them() {
    // `use crate::{a, b}` and paths from the root through `super` would slip by.
    let sneaky = |file: &File| {
        let module = module_of(&file.path);
        let top = file.path.matches('/').count() == 2;
        module.is_some()
            && (file.text.contains("use crate::{")
                || top && file.lines().any(|(_, line)| line.starts_with("use super::")))
    };
    let found: Vec<_> = tree::files().into_iter().filter(sneaky).map(|file| file.path).collect();
    assert_eq!(found, Vec::<String>::new());
    assert!(sneaky(&File::new("xtask/src/plan.rs", "use crate::{run, dist};\n")));
    assert!(sneaky(&File::new("xtask/src/plan.rs", "use super::run::Library;\n")));
    assert!(!sneaky(&File::new("xtask/src/image/lock.rs", "use super::recipe::Recipe;\n")));
}
