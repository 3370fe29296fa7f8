//! Cargo's configuration, as far as a build in an image has to know it.
//!
//! Cargo inside reads the workspace's own `.cargo/config.toml` itself. This module finds what would be
//! lost there: `build.rustflags`, which cargo ignores beside the flags that a target gets from us, and
//! the target folder. And it says what is left out on purpose, and why: settings of this machine, which
//! would make a build differ from the next machine's, and programs that an image does not have.

mod variables;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use keyway_manifest::Triple;
use keyway_manifest::text::Show as _;
use serde::Serialize;
use toml::{Table, Value};

pub use self::variables::Variables;
use crate::paths::normal;

/// What a workspace's configuration says that a build has to be told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Configuration {
    /// `build.rustflags`.
    build_rustflags: Vec<String>,
    /// The keys of `[target]` that have `rustflags`: triples and `cfg(…)`.
    targets_with_rustflags: Vec<String>,
    /// Variables that take back what an image can't do.
    pub overridden: BTreeMap<String, String>,
    /// `[env]`.
    pub variables: Variables,
    /// `[source]` of the files that cargo reads inside too.
    pub sources: Table,
    /// Of the registries that only this machine's files name, the indexes.
    pub registries: BTreeMap<String, String>,
    /// Each `[env]`, as text: what it sets, cargo does not compare with what it was before.
    pub env: Vec<String>,
    /// What is not honoured.
    pub notes: Vec<Note>,
}

/// A setting that a build in an image does not honour, or that makes it another one elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The setting, as its file names it, or an environment variable.
    pub setting: String,
    /// The file that it is in; none for the environment.
    pub file: Option<PathBuf>,
    /// Whether it is honoured all the same.
    pub honoured: bool,
    /// Why not, and what to do instead; of one that is honoured, what comes of it.
    pub why: String,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.setting)?;
        if let Some(file) = &self.file {
            write!(f, " in `{}`", file.shown())?;
        }
        let (is, but) =
            if self.honoured { ("is honoured", ", but ") } else { ("is not honoured", ": ") };
        write!(f, " {is}{but}{}", self.why)
    }
}

/// Variables by which a caller changes what plain cargo builds.
const VARIABLES: [&str; 7] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

/// Keys of `[build]` that name a compiler, and a variable with a value that takes each back.
const COMPILERS: [(&str, &str, &str); 3] = [
    ("rustc", "RUSTC", "rustc"),
    ("rustc-wrapper", "RUSTC_WRAPPER", ""),
    ("rustc-workspace-wrapper", "RUSTC_WORKSPACE_WRAPPER", ""),
];

/// What has rustc compile for the processor that it runs on.
const NATIVE: &str = "target-cpu=native";

/// Where cargo keeps what it makes on the way, inside an image: in its target folder.
const BUILD_DIR: &str = "/target";

/// Tables whose content decides what is built. What decides where crates come from is honoured when
/// they are fetched.
const BUILDING: [&str; 7] = ["build", "env", "host", "patch", "paths", "profile", "target"];

impl Configuration {
    /// Reads the configuration of the workspace at `root`; `is_seen` says whether a file is there
    /// inside the image too, where cargo then reads it itself.
    ///
    /// A file that cargo could not read is left for cargo to complain about.
    pub fn read(root: &Path, is_seen: impl Fn(&Path) -> bool) -> Self {
        let mut configuration = Self::default();
        for (file, table) in files(root) {
            if is_seen(&file) {
                configuration.own(&file, &table);
            } else {
                configuration.foreign(&file, &table);
            }
        }
        for (name, index) in env::vars() {
            // As cargo reads it: it counts for more than a file.
            let name =
                name.strip_prefix("CARGO_REGISTRIES_").and_then(|n| n.strip_suffix("_INDEX"));
            if let Some(name) = name.map(str::to_lowercase) {
                // Which of the two the name has, the variable does not say.
                configuration.registries.insert(name.replace('_', "-"), index.clone());
                configuration.registries.insert(name, index);
            }
        }
        for name in VARIABLES {
            if env::var_os(name).is_some_and(|value| !value.is_empty()) {
                configuration.notes.push(Note {
                    setting: name.to_owned(),
                    file: None,
                    honoured: false,
                    why: "the environment of one machine must not change what is built; flags belong in \
                          `.cargo/config.toml` or `targets.toml`"
                        .to_owned(),
                });
            }
        }
        configuration
    }

    /// The flags of `build.rustflags`, if cargo uses them for `target` whatever else is the case: it does
    /// not if the target has flags of its own. The processor of the machine that builds is none for
    /// another kind of processor.
    pub fn rustflags(&self, target: &Triple) -> Vec<String> {
        if self.has_own(target) || self.expressions().next().is_some() {
            return Vec::new();
        }
        self.for_target(target)
    }

    fn for_target(&self, target: &Triple) -> Vec<String> {
        let is_x86 =
            ["x86_64-", "i686-", "i586-"].iter().any(|x86| target.as_str().starts_with(x86));
        if is_x86 { self.build_rustflags.clone() } else { without_native(&self.build_rustflags) }
    }

    /// The argument for cargo by which it uses the flags of `build.rustflags` for `target` unless one of
    /// the `cfg(…)` that have flags of their own holds there. That, only the image's rustc can tell.
    pub fn conditional_rustflags(&self, target: &Triple) -> Option<String> {
        let expressions: Vec<&str> = self.expressions().collect();
        if self.build_rustflags.is_empty() || self.has_own(target) || expressions.is_empty() {
            return None;
        }
        let flags = serde_json::to_string(&self.for_target(target)).expect("strings are JSON");
        Some(format!("target.'cfg(not(any({})))'.rustflags={flags}", expressions.join(", ")))
    }

    fn has_own(&self, target: &Triple) -> bool {
        self.targets_with_rustflags.iter().any(|key| key == target.as_str())
    }

    /// What stands between the parentheses of each `cfg(…)` that has flags.
    fn expressions(&self) -> impl Iterator<Item = &str> {
        let keys = self.targets_with_rustflags.iter();
        keys.filter_map(|key| key.trim().strip_prefix("cfg(")?.strip_suffix(')'))
    }

    /// A file that cargo reads inside too.
    fn own(&mut self, file: &Path, table: &Table) {
        self.env.extend(table.get("env").map(ToString::to_string));
        for (setting, why) in self.variables.read(file, table) {
            self.note(setting, file, why);
        }
        for (name, source) in table.get("source").and_then(Value::as_table).into_iter().flatten() {
            self.sources.entry(name).or_insert_with(|| source.clone());
        }
        if let Some(build) = table.get("build").and_then(Value::as_table) {
            if self.build_rustflags.is_empty() {
                let flags = build.get("rustflags").map(words).unwrap_or_default();
                let why = "only for targets of an x86 processor, and what is built for them depends on \
                           the machine that builds";
                self.note_native("build.rustflags", &flags, file, why);
                self.build_rustflags = flags;
            }
            for (key, variable, value) in COMPILERS {
                if build.contains_key(key) {
                    self.overridden.insert(variable.to_owned(), value.to_owned());
                    self.note(format!("build.{key}"), file, "the compiler is the image's own");
                }
            }
            if build.contains_key("build-dir") {
                self.overridden.insert("CARGO_BUILD_BUILD_DIR".to_owned(), BUILD_DIR.to_owned());
            }
            if build.contains_key("target") {
                self.note(
                    "build.target".into(),
                    file,
                    "targets are chosen by `targets.toml` and `--target`",
                );
            }
        }
        for (key, target) in table.get("target").and_then(Value::as_table).into_iter().flatten() {
            let Some(target) = target.as_table() else { continue };
            if let Some(flags) = target.get("rustflags") {
                let why = "what is built depends on the machine that builds, which is of an x86 processor";
                self.note_native(&format!("target.{key}.rustflags"), &words(flags), file, why);
                self.targets_with_rustflags.push(key.clone());
            }
            if target.contains_key("linker") {
                self.note(format!("target.{key}.linker"), file, "the linker is the image's own");
            }
        }
    }

    /// Says of flags that ask for this machine's processor what comes of it.
    fn note_native(&mut self, setting: &str, flags: &[String], file: &Path, why: &str) {
        for flag in flags.iter().filter(|flag| flag.contains(NATIVE)) {
            self.notes.push(Note {
                setting: format!("{setting} {flag}"),
                file: Some(file.to_owned()),
                honoured: true,
                why: why.to_owned(),
            });
        }
    }

    /// A file of this machine, which no other machine's build reads.
    fn foreign(&mut self, file: &Path, table: &Table) {
        let registries = table.get("registries").and_then(Value::as_table);
        for (name, registry) in registries.into_iter().flatten() {
            if let Some(index) = registry.get("index").and_then(Value::as_str) {
                self.registries.entry(name.clone()).or_insert_with(|| index.to_owned());
            }
        }
        for key in BUILDING.into_iter().filter(|key| table.contains_key(*key)) {
            // Where cargo puts things, and how fast, is no part of what it makes.
            let harmless = ["build-dir", "incremental", "jobs", "target-dir"];
            let only_harmless = key == "build"
                && table[key]
                    .as_table()
                    .is_some_and(|build| build.keys().all(|key| harmless.contains(&key.as_str())));
            if !only_harmless {
                let why = "the file lies outside of the workspace, so builds elsewhere would differ; move \
                           it to the workspace's `.cargo/config.toml` if plugins need it";
                self.note(format!("[{key}]"), file, why);
            }
        }
    }

    fn note(&mut self, setting: String, file: &Path, why: &str) {
        let (file, why) = (Some(file.to_owned()), why.to_owned());
        self.notes.push(Note { setting, file, honoured: false, why });
    }
}

/// What `rust-toolchain.toml` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    name: String,
    file: PathBuf,
}

/// The channel that the workspace at `root` names for rustup.
pub fn channel(root: &Path) -> Option<Channel> {
    let file = ["rust-toolchain", "rust-toolchain.toml"].map(|name| root.join(name));
    let file = file.into_iter().find(|file| file.is_file())?;
    let text = fs::read_to_string(&file).ok()?;
    let name = match text.parse::<Table>() {
        Ok(table) => table.get("toolchain")?.get("channel")?.as_str()?.to_owned(),
        // The older form is the bare name.
        Err(_) => text.trim().to_owned(),
    };
    Some(Channel { name, file })
}

impl Channel {
    /// A note if it is not the `release` that an image holds.
    pub fn note(&self, release: &str) -> Option<Note> {
        let is_it = release == self.name
            || release.strip_prefix(&self.name).is_some_and(|rest| rest.starts_with('.'));
        (!is_it && self.name != "stable").then(|| Note {
            setting: format!("channel = \"{}\"", self.name),
            file: Some(self.file.clone()),
            honoured: false,
            why: format!(
                "plugins are built by the image's Rust {release}; for another version give a recipe \
                 `[[rust]] version = \"…\"`, see docker/README.md"
            ),
        })
    }
}

/// Cargo's target folder for the workspace at `root`.
/// <https://doc.rust-lang.org/cargo/reference/config.html#buildtarget-dir>
pub fn target_dir(root: &Path) -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) =
        variable("CARGO_TARGET_DIR").or_else(|| variable("CARGO_BUILD_TARGET_DIR"))
    {
        // As for cargo: relative to the current folder.
        return std::path::absolute(&folder)
            .map_or_else(|_| root.join(&folder), |path| normal(&path));
    }
    for (file, table) in files(root) {
        let folder = table.get("build").and_then(|build| build.get("target-dir"));
        if let Some(folder) = folder.and_then(Value::as_str) {
            // Relative to the folder that holds `.cargo`.
            let base = file.parent().and_then(Path::parent).unwrap_or(root);
            return normal(&base.join(folder));
        }
    }
    root.join("target")
}

/// Every configuration file that cargo reads for a workspace at `root`, nearest first.
/// <https://doc.rust-lang.org/cargo/reference/config.html#hierarchical-structure>
fn files(root: &Path) -> Vec<(PathBuf, Table)> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let folders = root.ancestors().map(|folder| folder.join(".cargo"));
    let mut found: Vec<(PathBuf, Table)> = Vec::new();
    for folder in folders.chain(home) {
        // Cargo reads the one without an extension if there are both.
        let file = ["config", "config.toml"].map(|name| folder.join(name));
        let Some(file) = file.into_iter().find(|file| file.is_file()) else { continue };
        if found.iter().any(|(known, _)| *known == file) {
            continue;
        }
        if let Ok(table) = fs::read_to_string(&file).unwrap_or_default().parse() {
            found.push((file, table));
        }
    }
    found
}

/// Flags without the one that asks for this machine's processor, whichever way it is written.
fn without_native(flags: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for flag in flags {
        if !flag.contains(NATIVE) {
            kept.push(flag.clone());
        } else if flag == NATIVE && kept.last().is_some_and(|last| is_codegen(last)) {
            kept.pop();
        }
    }
    kept
}

fn is_codegen(flag: &str) -> bool {
    flag == "-C" || flag == "--codegen"
}

/// A list of flags, or a string that blanks separate.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::String(flags) => flags.split_whitespace().map(str::to_owned).collect(),
        Value::Array(flags) => flags.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(text: &str) -> Configuration {
        let mut configuration = Configuration::default();
        configuration.own(Path::new("/w/.cargo/config.toml"), &text.parse().expect("TOML"));
        configuration
    }

    fn rustflags(configuration: &Configuration, target: &str) -> Vec<String> {
        configuration.rustflags(&target.parse().expect("a triple"))
    }

    #[test]
    fn flags_of_a_target_take_the_place_of_those_of_all() {
        let linux = "x86_64-unknown-linux-gnu";
        let windows = "x86_64-pc-windows-gnu";
        let own = configuration(
            "[build]\nrustflags = \"-Ca -Cb\"\n[target.'cfg(windows)']\nrustflags = [\"-Cc\"]\n",
        );
        for target in [linux, windows] {
            assert!(rustflags(&own, target).is_empty(), "the image's rustc decides");
            let conditional = own.conditional_rustflags(&target.parse().expect("a triple"));
            let expected = "target.'cfg(not(any(windows)))'.rustflags=[\"-Ca\",\"-Cb\"]";
            assert_eq!(conditional.as_deref(), Some(expected));
        }
        let own = configuration(&format!(
            "[build]\nrustflags = [\"-Ca\"]\n[target.{linux}]\nrustflags = []\n"
        ));
        assert!(rustflags(&own, linux).is_empty());
        assert_eq!(rustflags(&own, windows), ["-Ca"]);
        assert_eq!(own.conditional_rustflags(&windows.parse().expect("a triple")), None);
    }

    #[test]
    fn the_processor_of_the_machine_is_none_for_another_kind() {
        for flags in ["-Ca -C target-cpu=native", "-Ca -Ctarget-cpu=native"] {
            let own = configuration(&format!("[build]\nrustflags = \"{flags}\"\n"));
            let all: Vec<&str> = flags.split(' ').collect();
            assert_eq!(rustflags(&own, "i686-pc-windows-gnu"), all);
            assert_eq!(rustflags(&own, "aarch64-apple-darwin"), ["-Ca"]);
        }
        let own = "[target.'cfg(unix)']\nrustflags = \"-Ca -Ctarget-cpu=native\"\n";
        let settings: Vec<_> = configuration(own).notes.into_iter().map(|n| n.setting).collect();
        assert_eq!(settings, ["target.cfg(unix).rustflags -Ctarget-cpu=native"]);
        let own = configuration("[build]\nrustflags = [\"-Ctarget-cpu=native\"]\n");
        let notes: Vec<String> = own.notes.iter().map(ToString::to_string).collect();
        snapbox::assert_data_eq!(
            notes.join("\n"),
            snapbox::str![
                "`build.rustflags -Ctarget-cpu=native` in `/w/.cargo/config.toml` is honoured, but only for targets of an x86 processor, and what is built for them depends on the machine that builds"
            ]
        );
    }

    #[test]
    fn says_what_is_left_out() {
        let own = configuration(
            "[build]\nrustc-wrapper = \"sccache\"\njobs = 2\n[target.a-b-c]\nlinker = \"mold\"\n",
        );
        let settings: Vec<_> = own.notes.iter().map(|note| note.setting.as_str()).collect();
        assert_eq!(settings, ["build.rustc-wrapper", "target.a-b-c.linker"]);
        let mut foreign = Configuration::default();
        let text = "[build]\ntarget-dir = \"/t\"\n[env]\nA = \"1\"\n[net]\noffline = true\n";
        foreign.foreign(Path::new("/home/.cargo/config.toml"), &text.parse().expect("TOML"));
        let notes: Vec<_> = foreign.notes.iter().map(|note| note.setting.as_str()).collect();
        assert_eq!(notes, ["[env]"], "a folder of its own is honoured, and so is the network");
    }

    #[test]
    fn says_that_another_version_was_asked_for() {
        let note = |name: &str| {
            let channel = Channel { name: name.to_owned(), file: "rust-toolchain.toml".into() };
            channel.note("1.96.0").is_some()
        };
        assert!(!note("1.96.0") && !note("1.96") && !note("stable"));
        assert!(note("1.9") && note("1.85.0") && note("nightly-2026-01-01"));
    }

    #[test]
    fn the_nearest_file_names_the_target_folder() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path().join("a/b");
        for (folder, text) in
            [("a/.cargo", "[build]\ntarget-dir = \"../out\"\n"), ("a/b/.cargo", "")]
        {
            fs::create_dir_all(dir.path().join(folder)).expect("create");
            fs::write(dir.path().join(folder).join("config.toml"), text).expect("write");
        }
        if env::var_os("CARGO_TARGET_DIR").is_none() {
            assert_eq!(target_dir(&root), dir.path().join("out"));
        }
    }
}
