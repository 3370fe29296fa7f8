//! Walks and snapshots, through their public face.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::snapshot::Look;
use super::*;

struct Ground(tempfile::TempDir);

impl Ground {
    fn new() -> Self {
        let ground = Self(tempfile::tempdir().expect("a temporary folder"));
        for (path, text) in [
            ("Cargo.toml", "[workspace]"),
            (".gitignore", "*.log\ngenerated.rs\n"),
            (".git/HEAD", "ref: refs/heads/main"),
            ("plugins/a/src/lib.rs", "one"),
            ("plugins/ab/src/lib.rs", "two"),
            ("target/x", "output"),
        ] {
            ground.write(path, text);
        }
        ground
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Writes a file that looks as if it was last changed a minute ago.
    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("has one")).expect("create");
        fs::write(&path, text).expect("write");
        let old = SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(&path).and_then(|f| f.set_modified(old)).expect("age");
    }

    fn look(&self, extra: &[&str]) -> Snapshot {
        let root = self.0.path().to_owned();
        let stat = StatCache::open(root.join("target/stat.json"));
        let outputs = vec![root.join("target"), root.join("dist")];
        let watch = Watch::new(root, Vec::new(), outputs, stat);
        let paths = ["plugins/a"].iter().chain(extra).map(Path::new);
        let snapshot = watch.look(paths, Look::Everything).expect("look");
        watch.save().expect("save");
        snapshot
    }

    fn sources(&self, extra: &[&str]) -> Digest {
        self.look(extra).sources(["plugins/a"].iter().chain(extra).map(Path::new))
    }
}

#[test]
fn content_decides_and_only_inside_the_folders() {
    let ground = Ground::new();
    let before = ground.sources(&[]);
    ground.write("plugins/ab/src/lib.rs", "three");
    ground.write(".git/HEAD", "another");
    assert_eq!(ground.sources(&[]), before, "another plugin, and what no build is shown");
    ground.write("plugins/a/src/lib.rs", "ONE");
    assert_ne!(ground.sources(&[]), before);
    ground.write("plugins/a/src/lib.rs", "one");
    assert_eq!(ground.sources(&[]), before, "the old content is the old digest");
    fs::rename(ground.path("plugins/a/src/lib.rs"), ground.path("plugins/a/src/b.rs"))
        .expect("rename");
    assert_ne!(ground.sources(&[]), before, "names count");
}

#[test]
fn what_git_ignores_counts_too() {
    let ground = Ground::new();
    for ignored in ["plugins/a/debug.log", "plugins/a/src/generated.rs", "plugins/a/.ignore"] {
        let before = ground.sources(&[]);
        ground.write(ignored, "*");
        assert_ne!(ground.sources(&[]), before, "{ignored}");
    }
}

#[test]
fn what_can_be_made_again_does_not_count() {
    let ground = Ground::new();
    let before = ground.sources(&[]);
    ground.write("plugins/a/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n#");
    ground.write("plugins/a/cache/x", "made");
    assert_eq!(ground.sources(&[]), before);
    ground.write("plugins/a/other/CACHEDIR.TAG", "only the name of one");
    assert_ne!(ground.sources(&[]), before);
}

#[cfg(unix)]
#[test]
fn what_is_behind_a_link_counts() {
    use std::os::unix::fs::symlink;
    let ground = Ground::new();
    ground.write("shared/text", "1");
    symlink("../../shared", ground.path("plugins/a/shared")).expect("link");
    symlink("../..", ground.path("plugins/a/up")).expect("link");
    symlink("nowhere", ground.path("plugins/a/nothing")).expect("link");
    let before = ground.sources(&[]);
    ground.write("shared/text", "2");
    assert_ne!(ground.sources(&[]), before);
}

#[test]
fn files_and_folders_elsewhere_count_when_named() {
    let ground = Ground::new();
    ground.write("assets/one", "1");
    ground.write("dist/named", "1");
    let extra = ["assets", "dist/named", "gone"];
    let before = ground.sources(&extra);
    assert_ne!(before, ground.sources(&[]));
    for (path, text) in [("assets/two", "2"), ("dist/named", "2"), ("gone", "")] {
        let before = ground.sources(&extra);
        ground.write(path, text);
        assert_ne!(ground.sources(&extra), before, "{path}");
    }
}

#[test]
fn what_changed_between_two_looks_is_named() {
    let ground = Ground::new();
    ground.write("assets/seen", "1");
    ground.write("assets/changed", "1");
    ground.write("dist/old", "1");
    let before = ground.look(&[]);
    assert!(before.moved(&ground.look(&[]), [Path::new("")]).is_empty());
    ground.write("plugins/a/src/lib.rs", "two");
    ground.write("plugins/a/src/new.rs", "");
    ground.write("assets/changed", "2");
    // That the build reads them, only its end shows.
    let named = ["assets", "plugins/a"];
    let after = ground.look(&named);
    let moved = before.moved(&after, named.map(Path::new));
    let expected = ["assets/changed", "plugins/a/src/lib.rs", "plugins/a/src/new.rs"];
    assert_eq!(moved, expected.map(PathBuf::from).into());
}

#[test]
fn a_configuration_is_one_by_its_place() {
    for (path, is_one) in [
        ("a/Cargo.toml", true),
        ("a/.cargo/config.toml", true),
        (".cargo/config", true),
        ("a/config.toml", false),
        (".cargo/registry/src/x/lib.rs", false),
    ] {
        assert_eq!(is_manifest(Path::new(path)), is_one, "{path}");
    }
}
