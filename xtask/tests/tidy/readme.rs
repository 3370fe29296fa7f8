//! README.md is true: it names every command, option and file, and nothing that is not there.

use std::collections::BTreeSet;
use std::process::Command;

use crate::tree;

/// The README as a reader sees it: without comments.
fn readme() -> String {
    visible(&std::fs::read_to_string(tree::root().join("README.md")).unwrap())
}

fn visible(text: &str) -> String {
    let mut parts = text.split("<!--");
    let first = parts.next().unwrap_or("").to_owned();
    parts.fold(first, |all, part| all + part.split_once("-->").map_or("", |(_, rest)| rest))
}

/// What `cargo xtask ARGS --help` says.
fn help(args: &[String]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).arg("--help").output().unwrap();
    assert!(output.status.success(), "`{} --help`", args.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// The names under `Commands:`.
fn subcommands(help: &str) -> Vec<String> {
    let list = help.split_once("\nCommands:\n").map_or("", |(_, list)| list);
    list.lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// The long options that a help text lists, without the ones that every command takes.
fn options(help: &str) -> Vec<String> {
    let own = help.split("\nGlobal options:\n").next().unwrap_or("");
    own.lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'))
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")))
        .map(|word| word.trim_end_matches(['.', ',']).to_owned())
        .filter(|option| option != "--help" && option != "--version")
        .collect()
}

/// Every command of the tool with its own options: `images build` and `--mirror`.
fn commands() -> Vec<(String, Vec<String>)> {
    let mut all = vec![];
    let mut open: Vec<Vec<String>> = vec![vec![]];
    while let Some(command) = open.pop() {
        let help = help(&command);
        let below = subcommands(&help);
        if below.is_empty() {
            all.push((command.join(" "), options(&help)));
        }
        open.extend(below.into_iter().map(|name| [&command[..], &[name]].concat()));
    }
    all
}

/// Commands and options that the text does not name.
fn unexplained(text: &str, commands: &[(String, Vec<String>)]) -> Vec<String> {
    let mut found = vec![];
    for (command, options) in commands {
        if !names(text, &format!("cargo xtask {command}")) {
            found.push(format!("`cargo xtask {command}` is not named"));
        }
        let missing = options.iter().filter(|option| !names(text, option));
        found.extend(missing.map(|option| format!("`{option}` of `{command}` is not named")));
    }
    found
}

/// Commands that the text names and the tool does not have.
fn invented(text: &str, commands: &[(String, Vec<String>)]) -> Vec<String> {
    let known: BTreeSet<_> =
        commands.iter().filter_map(|(name, _)| name.split(' ').next()).collect();
    text.split("cargo xtask ")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap())
        .filter(|word| !word.is_empty() && !word.starts_with('-') && !known.contains(word))
        .map(|word| format!("`cargo xtask {word}` does not exist"))
        .collect()
}

/// Whether the text has `word` as a whole: `--skip` is not in `--skipped`.
fn names(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let next = text[at + word.len()..].chars().next();
        next.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '-')
    })
}

/// What the README has a word on: each entry of the root, of docker/ and of ci/, each crate and
/// each plugin.
fn entries(paths: &[String]) -> BTreeSet<String> {
    paths
        .iter()
        .map(|path| match path.split_once('/') {
            None => path.clone(),
            Some((top, below)) => match (top, below.split_once('/')) {
                ("docker", None) if below.matches('-').count() > 1 => {
                    // One of many alike: an image that is named after its target.
                    let (_, kind) = below.rsplit_once('.').unwrap_or((below, ""));
                    format!("docker/TRIPLE.{kind}")
                }
                ("docker" | "ci" | ".ci" | ".cargo", None) => path.clone(),
                ("docker" | "crates" | "plugins", Some((name, _))) => format!("{top}/{name}/"),
                _ => format!("{top}/"),
            },
        })
        .collect()
}

/// Entries that the text has no word on.
fn unnamed(text: &str, entries: &BTreeSet<String>) -> Vec<String> {
    entries.iter().filter(|entry| !text.contains(&format!("`{entry}`"))).cloned().collect()
}

/// Words in backticks that look like a path of the repository, and links, that lead nowhere.
fn dangling(text: &str, paths: &[String], entries: &BTreeSet<String>) -> Vec<String> {
    let tops: BTreeSet<_> = paths.iter().filter_map(|path| Some(path.split_once('/')?.0)).collect();
    let exists = |word: &str| {
        let word = word.trim_end_matches('/');
        let below = format!("{word}/");
        entries.contains(word) || paths.iter().any(|path| path == word || path.starts_with(&below))
    };
    let quoted = text.split('`').skip(1).step_by(2);
    let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(to, _)| to);
    quoted
        .filter(|word| word.split_once('/').is_some_and(|(top, _)| tops.contains(top)))
        .filter(|word| !word.contains(['<', '*', '…', ' ', '\n', ':']))
        .filter(|word| word.chars().all(|c| !c.is_ascii_uppercase()))
        .chain(links.filter(|to| !to.contains("://") && !to.starts_with('#')))
        .filter(|word| !exists(word))
        .map(|word| format!("`{word}` is not there"))
        .collect()
}

#[test]
fn every_command_and_option_is_explained() {
    let (readme, commands) = (readme(), commands());
    assert_eq!(visible("a <!-- `b` --> c"), "a  c");
    assert!(commands.iter().any(|(name, _)| name == "ci"), "{commands:?}");
    let mut found = unexplained(&readme, &commands);
    found.extend(invented(&readme, &commands));
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_command_without_a_word_is_found() {
    let commands = [("images build".to_owned(), vec!["--mirror".to_owned()])];
    assert!(unexplained("`cargo xtask images build --mirror URL`", &commands).is_empty());
    assert_eq!(unexplained("`cargo xtask images builder --mirrors`", &commands).len(), 2);
    assert!(invented("`cargo xtask images build` and cargo xtask --help", &commands).is_empty());
    assert_eq!(invented("run `cargo xtask imagine`", &commands).len(), 1);
}

#[test]
fn help_texts_are_read() {
    let text = "Usage: x\n\nCommands:\n  ci       Run\n  images   See\n           more\n  help     Print\n\n\
                Options:\n      --only <NAME>...  Run\n  -j, --jobs <N>  Jobs\n  -h, --help  Print\n\
                \nGlobal options:\n      --json\n";
    assert_eq!(subcommands(text), ["ci", "images"]);
    assert_eq!(options(text), ["--only", "--jobs"]);
}

#[test]
fn every_file_is_explained() {
    let (readme, paths) = (readme(), tree::paths());
    let entries = entries(&paths);
    assert!(entries.contains("Cargo.toml") && entries.contains("crates/abi/"), "{entries:?}");
    assert_eq!(unnamed(&readme, &entries), Vec::<String>::new());
    assert_eq!(dangling(&readme, &paths, &entries), Vec::<String>::new());
}

#[test]
fn a_file_without_a_word_is_found() {
    let paths = ["Cargo.toml", "docker/base.lock", "crates/abi/src/lib.rs"].map(str::to_owned);
    let entries = entries(&paths);
    let good = "`Cargo.toml`, `docker/base.lock`, `crates/abi/`, [lock](docker/base.lock)";
    assert!(unnamed(good, &entries).is_empty());
    assert!(dangling(good, &paths, &entries).is_empty());
    assert_eq!(unnamed("`Cargo.toml`", &entries), ["crates/abi/", "docker/base.lock"]);
    let bad = "`docker/gone.lock`, [a link](GONE.md), `docker/<name>.lock`, `dist/x`";
    assert_eq!(dangling(bad, &paths, &entries).len(), 2);
}
