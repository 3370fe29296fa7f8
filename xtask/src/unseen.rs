//! Paths that a failed build looked for in vain, although they are there: outside of what it was shown.
//!
//! A compiler names the file that it can't read; a build script may say no more than "No such file", and
//! then what it says of its inputs, or its own text, has the path. So a path is only taken for the reason
//! if it lies on this machine and is not shown: words that look like paths do no harm.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use keyway_manifest::text::Show as _;

use crate::paths::{relative, shared};
use crate::placement::Placement;
use crate::workspace::Why;

/// What something that failed inside an image said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Its words.
    pub text: String,
    /// The crate that did not compile; empty for a build script.
    pub library: String,
    /// The folders inside that its relative paths may begin from, likeliest first.
    pub bases: Vec<PathBuf>,
    /// The text of the build script that failed, as a path inside; none for a compiler.
    pub script: Option<PathBuf>,
}

/// How a program says that something is not there.
const SIGNS: [&str; 6] =
    ["couldn't read", "No such file", "NotFound", "does not exist", "not found", "os error 2"];

/// The folders to show, relative to the workspace's root, so that what was looked for is there.
pub fn folders(complaints: &[Complaint], placement: &Placement) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for complaint in complaints {
        if !SIGNS.iter().any(|sign| complaint.text.contains(sign)) {
            continue;
        }
        let mut missing = missing(&complaint.text, &complaint.bases, placement);
        let script = complaint.script.as_deref().and_then(|script| placement.on_host(script));
        if let (true, Some(script)) = (missing.is_empty(), script) {
            let text = fs::read_to_string(script).unwrap_or_default();
            missing = self::missing(&text, &complaint.bases, placement);
        }
        // A path that leads above the workspace, as `../..` before a name that is joined to it, is the
        // reason only where nothing better is known.
        let is_above = |path: &PathBuf| placement.root.starts_with(path);
        if missing.iter().any(|path| !is_above(path)) {
            missing.retain(|path| !is_above(path));
        }
        folders.extend(missing.iter().map(|path| folder(path, &placement.root)));
    }
    folders
}

/// What to say where a build looked for a repository.
pub const NO_REPOSITORY: &str = "the build looked for `.git`, which no build is shown, or the same sources \
     would give another library with each commit; give its build script what it needs in `[env]` of \
     `.cargo/config.toml`, see `.git` in README.md";

/// Whether something that failed looked for a repository.
pub fn is_repository(complaints: &[Complaint]) -> bool {
    let looked_for = |text: &str| {
        let mut words = text.split(|c: char| c.is_whitespace() || "\"'`/".contains(c));
        words.any(|word| word == ".git") && SIGNS.iter().any(|sign| text.contains(sign))
    };
    let is_told = |text: &str| text.contains("not a git repository");
    complaints.iter().any(|complaint| looked_for(&complaint.text) || is_told(&complaint.text))
}

/// The lines that show `folders` to a build, beside what `shows` lists already.
pub fn advice(folders: &BTreeSet<PathBuf>, placement: &Placement) -> String {
    let listed = placement.shown.iter().filter(|shown| shown.why == Why::Listed);
    let listed = listed.map(|shown| relative(&placement.root, &shown.host));
    let all: BTreeSet<PathBuf> = listed.chain(folders.iter().cloned()).collect();
    let quoted = |path: &PathBuf| format!("{:?}", path.to_string_lossy().into_owned());
    let all: Vec<String> = all.iter().map(quoted).collect();
    let names = folders.iter().map(|folder| format!("`{}`", folder.shown()));
    format!(
        "the build looked for files in {}, outside of what it is shown; if it needs them, add to `{}`:\n\n\
         [workspace.metadata.keyway]\nshows = [{}]\n",
        names.collect::<Vec<_>>().join(", "),
        placement.root.join("Cargo.toml").shown(),
        all.join(", ")
    )
}

/// The paths in `text` that are there on this machine and are not shown.
fn missing(text: &str, bases: &[PathBuf], placement: &Placement) -> BTreeSet<PathBuf> {
    let mut missing = BTreeSet::new();
    for word in words(text) {
        let word = Path::new(word);
        let places = if word.is_absolute() {
            vec![word.to_owned()]
        } else {
            // A base that is relative begins where cargo was started.
            bases.iter().map(|base| placement.work.join(base).join(word)).collect()
        };
        let hosts = places.iter().filter_map(|guest| placement.on_host(guest));
        // The first that is there is the one that was meant.
        let found = hosts.into_iter().find(|host| host.parent().is_some() && host.exists());
        missing.extend(found.filter(|host| !placement.shows(host)));
    }
    missing
}

/// What in a text may be a path that leads somewhere else: between quotes, or between blanks.
fn words(text: &str) -> BTreeSet<&str> {
    let ends: &[char] = &['"', '\'', '`', '\n', '\u{2018}', '\u{2019}'];
    let is_end = |c: char| c.is_whitespace() || ",;()[]{}<>=".contains(c);
    let quoted = text.split(ends);
    let all = quoted.flat_map(|part| std::iter::once(part).chain(part.split(is_end)));
    // A build script may join a path to its folder's name: `concat!(env!(…), "/../../schemas")`.
    let all = all.flat_map(|word| [Some(word), word.strip_prefix('/')]).flatten();
    let all = all.map(|word| word.trim_end_matches([':', '.', ',', ';']).trim());
    let all = all.flat_map(|word| match word.rsplit_once('=').or_else(|| word.split_once(": ")) {
        Some((head, tail)) => vec![head, tail],
        None => vec![word],
    });
    all.filter(|word| {
        let path = Path::new(word);
        path.is_absolute() || path.components().any(|part| part == Component::ParentDir)
    })
    .collect()
}

/// The folder that shows `path` with the least said: the one beside the workspace that it lies in.
fn folder(path: &Path, root: &Path) -> PathBuf {
    let top = shared(path, root);
    let beside = path.strip_prefix(&top).ok().and_then(|below| below.components().next());
    let beside = beside.map(|first| top.join(first)).filter(|beside| beside.is_dir());
    relative(root, &beside.unwrap_or(top))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Outside, Place};

    /// A repository with a workspace in its folder `native` and a package in `shared/lib`.
    struct Repository {
        _dir: tempfile::TempDir,
        placement: Placement,
    }

    impl Repository {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let top = dir.path().canonicalize().expect("it is there");
            for (path, text) in [
                ("README.md", ""),
                ("schemas/deep/a b.json", ""),
                ("shared/lib/src/lib.rs", ""),
                ("native/plugins/a/src/lib.rs", ""),
                ("native/plugins/a/build.rs", "read(\"../../../schemas/deep\")"),
            ] {
                let path = top.join(path);
                fs::create_dir_all(path.parent().expect("has one")).expect("create");
                fs::write(path, text).expect("write");
            }
            let folder = top.join("shared/lib");
            let (named, place, why) = (folder.clone(), Place::Relative, Why::Package);
            let outside = Outside { folder, named, place, why };
            let placement = Placement::new(&top.join("native"), &[outside]);
            Self { _dir: dir, placement }
        }

        fn said(&self, text: &str) -> Vec<PathBuf> {
            let bases = ["", "/work/native/plugins/a"].map(PathBuf::from).into();
            let complaint =
                Complaint { text: text.to_owned(), library: String::new(), bases, script: None };
            folders(&[complaint], &self.placement).into_iter().collect()
        }
    }

    #[test]
    fn a_path_outside_is_found_however_it_is_said() {
        let repository = Repository::new();
        for text in [
            "couldn't read `plugins/a/src/../../../../schemas/deep/a b.json`: No such file",
            "cargo:rerun-if-changed=../../../schemas/deep/a b.json\nNotFound",
            "cargo:rerun-if-changed=/work/native/plugins/a/../../../schemas\nos error 2",
            "protoc failed: ../../../schemas: warning: directory does not exist.",
            "folder '/work/schemas/' does not exist. cwd: '/work/native'",
            "error: \"/work/schemas/deep\" not found",
        ] {
            assert_eq!(repository.said(text), [Path::new("../schemas")], "{text}");
        }
        let beside = "couldn't read `/work/shared/lib/src/../../../README.md`: No such file";
        assert_eq!(repository.said(beside), [Path::new("..")], "a file right above the workspace");
    }

    #[test]
    fn what_is_shown_or_is_not_there_is_no_reason() {
        let repository = Repository::new();
        for text in [
            "couldn't read `plugins/a/src/../none.txt`: No such file",
            "couldn't read `/work/shared/lib/src/lib.rs`: No such file",
            "couldn't read `../nowhere/file`: No such file",
            "`/usr/bin/cmake` not found, nor /etc/passwd",
            "../../../schemas is fine",
        ] {
            assert_eq!(repository.said(text), [""; 0].map(PathBuf::from), "{text}");
        }
    }

    #[test]
    fn a_script_that_names_no_path_is_read_itself() {
        let repository = Repository::new();
        let bases = vec![PathBuf::from("/work/native/plugins/a")];
        let script = Some("/work/native/plugins/a/build.rs".into());
        let complaint =
            Complaint { text: "No such file".to_owned(), library: String::new(), bases, script };
        let found = folders(&[complaint], &repository.placement);
        let advice = advice(&found, &repository.placement);
        assert!(
            advice.ends_with("[workspace.metadata.keyway]\nshows = [\"../schemas\"]\n"),
            "{advice}"
        );
    }

    #[test]
    fn a_build_that_looks_for_a_repository_is_told_apart() {
        let said = |text: &str| {
            let complaint = Complaint {
                text: text.to_owned(),
                library: String::new(),
                bases: Vec::new(),
                script: None,
            };
            is_repository(&[complaint])
        };
        assert!(said("could not read \"../.git/HEAD\": No such file or directory"));
        assert!(said("fatal: not a git repository (or any of the parent directories)"));
        assert!(!said("could not read `x.github/y`: No such file or directory"));
        assert!(!said("compiled from .git without a word of trouble"));
    }

    #[test]
    fn what_is_listed_already_stays_in_the_list() {
        let repository = Repository::new();
        let mut placement = repository.placement.clone();
        for shown in placement.shown.iter_mut().filter(|shown| shown.why == Why::Package) {
            shown.why = Why::Listed;
        }
        let advice = advice(&["../schemas".into()].into(), &placement);
        assert!(advice.ends_with("shows = [\"../schemas\", \"../shared/lib\"]\n"), "{advice}");
    }
}
