//! What holds for every file of the repository, and what no compiler checks.
//!
//! Each rule is a function from files to its violations, all of them at once. Beside the test that
//! the repository has none stands one that a bad sample has some, since a rule that can't fail
//! proves nothing.

mod readme;
mod shown;
mod stages;
mod tree;

use tree::{File, File as Sample};

/// Lines after which a source file says in its opening comment why it is so long.
const LONG: usize = 500;
/// How it says so.
const REASON: &str = "Over 500 lines, since";

/// Where `unsafe` may stand: what crosses the boundary, loads a library, or makes namespaces, and
/// the macros, which write it into plugins.
const UNSAFE: &[&str] = &[
    "crates/abi/",
    "crates/host/",
    "crates/macros/",
    "crates/sdk/",
    // Calls the plugin as a host does.
    "plugins/zstd-codec/tests/",
    // Plugins that call C.
    "xtask/compat/",
    "xtask/src/engine/",
    // In the texts of plugins that these tests build, many of which call C.
    "xtask/tests/end_to_end/",
];

/// Crates whose roots can't forbid it: those with such code, and plugins, into which the export
/// macro writes some.
const UNFORBIDDEN: &[&str] = &["crates/abi/", "crates/host/", "crates/sdk/", "plugins/", "xtask/"];

/// Hosts that serve packages, in parts, so that this file does not name them itself. Where packages
/// come from is the machine's business; content is trusted by sha256.
const HOSTS: &[&[&str]] = &[
    &["deb", "debian", "org"],
    &["security", "debian", "org"],
    &["ftp", "debian", "org"],
    &["archive", "ubuntu", "com"],
    &["pypi", "org"],
    &["files", concat!("python", "hosted"), "org"],
    &["index", "crates", "io"],
    &["static", "crates", "io"],
    &["docker", "io"],
    &["ghcr", "io"],
    &["quay", "io"],
];

/// A file without a newline at its end or with one too many, white space at a line's end, or a tab
/// where Rust, TOML and Markdown have none.
fn white_space(file: &File) -> Vec<String> {
    let mut found = vec![];
    // The snapshot library writes JSON without a newline at its end.
    let snapshot = file.path.contains("/tests/") && file.has_extension(&["json"]);
    if !snapshot
        && !file.text.is_empty()
        && (!file.text.ends_with('\n') || file.text.ends_with("\n\n"))
    {
        found.push(file.at("does not end with one newline"));
    }
    for (number, line) in file.lines() {
        if line.ends_with([' ', '\t', '\r']) {
            found.push(file.at_line(number, "ends with white space"));
        }
        if file.has_extension(&["rs", "toml", "md"]) && line.contains('\t') {
            found.push(file.at_line(number, "contains a tab"));
        }
    }
    found
}

/// A source file that does not open by saying what it owns.
fn opening(file: &File) -> Vec<String> {
    if file.has_extension(&["rs"]) && !file.text.starts_with("//!") {
        return vec![file.at("does not open with `//!`")];
    }
    vec![]
}

/// A source file over [`LONG`] lines whose opening does not say why.
fn length(file: &File) -> Vec<String> {
    let n_lines = file.lines().count();
    let opening: Vec<_> = file.text.lines().take_while(|line| line.starts_with("//!")).collect();
    if file.has_extension(&["rs"]) && n_lines > LONG && !opening.join(" ").contains(REASON) {
        return vec![
            file.at(&format!("has {n_lines} lines; split it, or say in its opening: `{REASON} …`")),
        ];
    }
    vec![]
}

/// Tests that do not run and code that is not there.
fn unfinished(file: &File) -> Vec<String> {
    // In parts, since this file is checked as well.
    let words = [["#[", "ignore"], ["todo", "!"], ["unimplemented", "!"], ["dbg", "!"]];
    let words = words.map(|parts| parts.concat());
    let code = file.lines().filter(|_| file.has_extension(&["rs"]));
    code.filter(|(_, line)| words.iter().any(|word| line.contains(word)))
        .map(|(number, _)| file.at_line(number, "is unfinished or ignored"))
        .collect()
}

/// Names of registries and mirrors. Cargo's lock is cargo's.
fn hosts(file: &File) -> Vec<String> {
    if file.path == "Cargo.lock" {
        return vec![];
    }
    let hosts: Vec<_> = HOSTS.iter().map(|parts| parts.join(".")).collect();
    file.lines()
        .filter(|(_, line)| hosts.iter().any(|host| mentions(line, host)))
        .map(|(number, _)| file.at_line(number, "names a package host"))
        .collect()
}

/// Whether `line` names `host` itself or one below it, not another that ends alike.
fn mentions(line: &str, host: &str) -> bool {
    line.match_indices(host).any(|(at, _)| {
        let boundary = |c: char| !c.is_ascii_alphanumeric() && c != '-';
        let after = line[at + host.len()..].chars().next();
        line[..at].chars().next_back().is_none_or(boundary)
            && after.is_none_or(|c| boundary(c) && c != '_')
    })
}

/// `unsafe` outside [`UNSAFE`].
fn uses_unsafe(file: &File) -> Vec<String> {
    if !file.has_extension(&["rs"]) || UNSAFE.iter().any(|prefix| file.path.starts_with(prefix)) {
        return vec![];
    }
    let mut uses = vec![format!("#[{}(", "unsafe")];
    uses.extend([" {", " fn", " impl", " extern"].map(|next| format!("unsafe{next}")));
    file.lines()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter(|(_, line)| uses.iter().any(|used| line.contains(used)))
        .map(|(number, _)| file.at_line(number, "has unsafe code"))
        .collect()
}

/// Crate roots outside [`UNFORBIDDEN`] that do not forbid `unsafe`.
fn forbids_unsafe(file: &File) -> Vec<String> {
    let root = ["/src/lib.rs", "/src/main.rs"].iter().any(|end| file.path.ends_with(end));
    let may = UNFORBIDDEN.iter().any(|prefix| file.path.starts_with(prefix));
    if root && !may && !file.text.contains("\n#![forbid(unsafe_code)]\n") {
        return vec![file.at("does not say `#![forbid(unsafe_code)]`")];
    }
    vec![]
}

/// Applies a rule to the whole repository.
fn check(rule: fn(&File) -> Vec<String>) {
    let found: Vec<_> = tree::files().iter().flat_map(rule).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// How often a rule is broken by a file with this path and text.
fn broken(rule: fn(&File) -> Vec<String>, path: &str, text: &str) -> usize {
    rule(&Sample::new(path, text)).len()
}

#[test]
fn white_space_is_tidy() {
    check(white_space);
    assert_eq!(broken(white_space, "a.rs", "one\n"), 0);
    assert_eq!(broken(white_space, "a.rs", "one"), 1);
    assert_eq!(broken(white_space, "a.rs", "one\n\n"), 1);
    assert_eq!(broken(white_space, "a/tests/b.json", "{}"), 0);
    assert_eq!(broken(white_space, "a.rs", "one \ntwo\t\n"), 3);
    assert_eq!(broken(white_space, "a.md", "one\r\n"), 1);
    assert_eq!(broken(white_space, "Makefile", "\tone\n"), 0);
}

#[test]
fn every_source_file_says_what_it_owns() {
    check(opening);
    assert_eq!(broken(opening, "a.rs", "//! Owns it.\n"), 0);
    assert_eq!(broken(opening, "a.rs", "use std::fmt;\n"), 1);
    assert_eq!(broken(opening, "a.toml", "[package]\n"), 0);
}

#[test]
fn no_source_file_is_long_without_a_reason() {
    check(length);
    let lines = "fn f() {}\n".repeat(LONG);
    assert_eq!(broken(length, "a.rs", &lines), 0);
    assert_eq!(broken(length, "a.rs", &format!("//! Why.\n{lines}")), 1);
    let reason = format!("//! {REASON} it is one table.\n{lines}");
    assert_eq!(broken(length, "a.rs", &reason), 0);
}

#[test]
fn nothing_is_unfinished() {
    check(unfinished);
    assert_eq!(broken(unfinished, "a.rs", "fn f() {}\n"), 0);
    for word in [["#[", "ignore]"], ["todo", "!()"], ["unimplemented", "!()"], ["dbg", "!(1)"]] {
        assert_eq!(broken(unfinished, "a.rs", &word.concat()), 1, "{word:?}");
    }
    assert_eq!(broken(unfinished, "a.rs", &["#[", "ignore = \"slow\"]"].concat()), 1);
}

#[test]
fn no_package_host_is_named() {
    check(hosts);
    for parts in HOSTS {
        let host = parts.join(".");
        assert_eq!(broken(hosts, "a.toml", &format!("url = \"https://{host}/x\"\n")), 1);
        assert_eq!(broken(hosts, "a.toml", &format!("`{host}`\n")), 1);
        assert_eq!(broken(hosts, "a.toml", &format!("not-{host}\nx{host}\n{host}mium\n")), 0);
        assert_eq!(broken(hosts, "Cargo.lock", &host), 0);
    }
}

#[test]
fn unsafe_code_stays_where_it_may_be() {
    check(uses_unsafe);
    let block = ["let x = uns", "afe { f() };"].concat();
    assert_eq!(broken(uses_unsafe, "xtask/src/engine/process.rs", &block), 0);
    assert_eq!(broken(uses_unsafe, "xtask/src/plan.rs", &block), 1);
    assert_eq!(broken(uses_unsafe, "plugins/greet/src/lib.rs", &format!("// {block}")), 0);
    check(forbids_unsafe);
    assert_eq!(broken(forbids_unsafe, "crates/new/src/lib.rs", "//! New.\n"), 1);
    assert_eq!(broken(forbids_unsafe, "crates/host/src/lib.rs", "//! Loads.\n"), 0);
    let forbids = "//! New.\n#![forbid(unsafe_code)]\n";
    assert_eq!(broken(forbids_unsafe, "crates/new/src/lib.rs", forbids), 0);
}
