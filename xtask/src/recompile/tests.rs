//! Which packages are compiled again, and what the script does about it.

use std::collections::BTreeSet;
use std::process::Command;

use super::*;
use crate::inputs::{Look, StatCache, Watch};
use crate::workspace::{DefaultFeatures, Plugin};

/// A workspace of three packages: two plugins, one of which needs the third.
struct Ground {
    dir: tempfile::TempDir,
    set: PluginSet,
    environment: &'static str,
}

fn plugin(name: &str, folders: &[&str]) -> Plugin {
    Plugin {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        library: name.to_owned(),
        folder: PathBuf::from(folders[0]),
        folders: folders.iter().map(PathBuf::from).collect(),
        features: Vec::new(),
        default_features: DefaultFeatures::None,
        allow_imports: Vec::new(),
        allow_exports: Vec::new(),
        apple_symbols: Vec::new(),
        unsupported: Vec::new(),
    }
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let packages = [("a", "a"), ("b", "b-b"), ("shared", "shared")];
        let packages = packages.map(|(folder, name)| (PathBuf::from(folder), name.to_owned()));
        // The last folder is no package's: it is shown on request.
        let plugins = vec![plugin("a", &["a", "shared"]), plugin("b-b", &["b", "schemas"])];
        let set = PluginSet { plugins, packages: packages.into(), ..PluginSet::default() };
        let ground = Self { dir, set, environment: "environment" };
        for path in
            ["a/lib.rs", "b/lib.rs", "shared/lib.rs", "assets/one", "assets/two", "schemas/x"]
        {
            ground.write(path, path);
        }
        fs::create_dir_all(ground.target()).expect("create");
        ground
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join("ws").join(path);
        fs::create_dir_all(path.parent().expect("has one")).expect("create");
        fs::write(path, text).expect("write");
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    fn look(&self, ledger: &Ledger) -> Snapshot {
        let beyond = ledger.beyond();
        let root = self.dir.path().join("ws");
        let watch = Watch::new(root, Vec::new(), Vec::new(), StatCache::default());
        let paths = self.set.packages.keys().chain(&beyond).map(PathBuf::as_path);
        watch
            .look(paths.chain(["assets", "schemas"].map(Path::new)), Look::Everything)
            .expect("look")
    }

    fn compile(&self, beyond: &[&str], moved: &[&str]) -> BTreeSet<String> {
        self.run(true, beyond, moved)
    }

    /// A run of the script in which a cargo would have compiled what has no fingerprint, and of the
    /// tool, if it lives to see its end. Returns what was compiled.
    fn run(&self, is_seen: bool, beyond: &[&str], moved: &[&str]) -> BTreeSet<String> {
        let mut ledger = Ledger::open(&self.target());
        let before = self.look(&ledger);
        let mut run = ledger.begin(&self.set, Digest::of(self.environment), &before);
        let compiled = self.script(&ledger.variables(&self.set, &run));
        if is_seen {
            run.add("a", &beyond.iter().map(PathBuf::from).collect(), &before);
            run.forget(&self.set, &moved.iter().map(PathBuf::from).collect());
            ledger.remember(run).expect("remembered");
        }
        compiled
    }

    fn script(&self, variables: &[(String, String)]) -> BTreeSet<String> {
        let target = self.target();
        let text = SCRIPT_TEXT.replace("/target", target.to_str().expect("UTF-8"));
        let shell = ["-c", &text, "sh", "sh", "-c", "echo ran; env"];
        let output = Command::new("/bin/sh").args(shell).envs(variables.iter().cloned()).output();
        let output = output.expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.starts_with("ran\n"), "{output:?}");
        assert!(!said.contains("KEYWAY_RUN"), "cargo sees nothing of it: {said}");
        let mut compiled = BTreeSet::new();
        // Of the host's platform, of a target, and a crate that the lock file pins.
        for (folder, name) in [
            ("release", "shared"),
            ("triple/release", "a"),
            ("triple/release", "b-b"),
            ("triple/release", "shared"),
            ("triple/release", "b"),
        ] {
            let path = format!("{folder}/.fingerprint/{name}-0123456789abcdef");
            if !target.join(&path).exists() {
                fs::create_dir_all(target.join(&path)).expect("create");
                compiled.insert(format!("{folder} {name}"));
            }
        }
        compiled
    }
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(|name| name.replace("target", "triple/release").replace("host", "release")).into()
}

const LOCAL: [&str; 4] = ["host shared", "target a", "target b-b", "target shared"];

#[test]
fn what_changed_is_compiled_again_whatever_its_time() {
    let ground = Ground::new();
    assert_eq!(ground.compile(&[], &[]).len(), 5, "nothing was compiled before");
    assert_eq!(ground.compile(&[], &[]), names([]));
    ground.write("b/new.txt", "embedded");
    assert_eq!(ground.compile(&[], &[]), names(["target b-b"]), "and not the crate `b`");
    ground.write("shared/lib.rs", "changed");
    assert_eq!(ground.compile(&[], &[]), names(["host shared", "target shared"]));
    assert_eq!(ground.compile(&[], &[]), names([]));
}

#[test]
fn what_lies_beyond_packages_counts_once_it_was_read() {
    let ground = Ground::new();
    ground.compile(&["assets/one"], &[]);
    ground.write("assets/two", "changed");
    assert_eq!(ground.compile(&[], &[]), names([]), "nobody reads it");
    ground.write("assets/one", "changed");
    let of_a = names(["host shared", "target a", "target shared"]);
    assert_eq!(ground.compile(&["assets/one"], &[]), of_a);
    assert_eq!(ground.compile(&["assets/one"], &[]), names([]));
}

#[test]
fn what_is_shown_on_request_counts_as_a_package() {
    let ground = Ground::new();
    ground.compile(&[], &[]);
    ground.write("schemas/y", "new");
    assert_eq!(ground.compile(&[], &[]), names(["target b-b"]));
    assert_eq!(ground.compile(&[], &[]), names([]));
}

#[test]
fn another_environment_may_change_anything() {
    let mut ground = Ground::new();
    ground.compile(&[], &[]);
    ground.environment = "another";
    assert_eq!(ground.compile(&[], &[]).len(), 5);
    assert_eq!(ground.compile(&[], &[]), names([]));
}

#[test]
fn nothing_is_known_of_a_run_that_was_killed() {
    let ground = Ground::new();
    ground.compile(&[], &[]);
    assert_eq!(ground.run(false, &[], &[]), names([]));
    assert_eq!(ground.compile(&[], &[]), names(LOCAL));
    assert_eq!(ground.compile(&[], &[]), names([]));
}

#[test]
fn what_changed_while_it_was_compiled_is_compiled_again() {
    let ground = Ground::new();
    ground.compile(&["assets/one"], &["b/lib.rs"]);
    assert_eq!(ground.compile(&[], &["assets/one"]), names(["target b-b"]));
    assert_eq!(ground.compile(&[], &[]), names(["host shared", "target a", "target shared"]));
}

#[test]
fn a_target_folder_elsewhere_has_a_last_run_of_its_own() {
    let ground = Ground::new();
    ground.compile(&[], &[]);
    let (here, aside) = (ground.target(), ground.dir.path().join("aside"));
    fs::rename(&here, &aside).expect("rename");
    fs::create_dir(&here).expect("create");
    ground.write("b/lib.rs", "changed");
    assert_eq!(ground.compile(&[], &[]).len(), 5);
    fs::remove_dir_all(&here).expect("remove");
    fs::rename(&aside, &here).expect("rename");
    assert_eq!(ground.compile(&[], &[]), names(["target b-b"]));
}

#[test]
fn a_list_that_is_too_long_becomes_everything() {
    let all: Vec<String> = (0..=N_NAMED).map(|n| format!("p{n}")).collect();
    let all: BTreeSet<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(patterns(Some(all)), "*");
    assert_eq!(patterns(Some(BTreeSet::new())), "");
}
