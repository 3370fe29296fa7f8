//! Git repositories of every kind.

use std::fs;

use super::*;

struct Ground {
    _dir: tempfile::TempDir,
    root: PathBuf,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path().canonicalize().expect("it is there");
        Self { _dir: dir, root }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("has one")).expect("create");
        fs::write(path, text).expect("write");
    }

    fn git(&self, folder: &str, arguments: &[&str]) -> String {
        let head = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
        let head = head.iter().chain(&["-c", "protocol.file.allow=always"]);
        let all: Vec<_> = head.chain(arguments).collect();
        let git = duct::cmd("git", all).dir(self.root.join(folder)).stderr_null();
        git.read().unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    fn commit(&self, folder: &str) -> String {
        self.git(folder, &["add", "--all"]);
        self.git(folder, &["commit", "--quiet", "--message", "next"]);
        self.git(folder, &["rev-parse", "HEAD"])
    }

    /// A repository `ws` with two plugins and a library.
    fn workspace() -> (Self, String) {
        let ground = Self::new();
        for path in ["Cargo.toml", "a/lib.rs", "b/lib.rs", "shared/lib.rs"] {
            ground.write(&format!("ws/{path}"), path);
        }
        ground.git("ws", &["init", "--quiet", "--initial-branch", "main"]);
        let commit = ground.commit("ws");
        (ground, commit)
    }

    /// What git says of `paths`, and of all files in them.
    fn provenance(&self, workspace: &str, paths: &[&str]) -> Provenance {
        let root = self.root.join(workspace);
        let mut files = Vec::new();
        let mut folders: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        while let Some(path) = folders.pop() {
            let absolute = root.join(&path);
            if absolute.is_file() {
                files.push(path);
            } else if let Ok(entries) = fs::read_dir(absolute) {
                let names = entries.map(|entry| entry.expect("an entry").file_name());
                folders.extend(names.filter(|name| name != ".git").map(|name| path.join(name)));
            }
        }
        let files = files.iter().map(PathBuf::as_path).collect();
        provenance(&root, paths.iter().map(Path::new), &files)
    }
}

fn known(commit: &str, dirty: bool) -> Provenance {
    Provenance { commit: Some(commit.to_owned()), dirty: Some(dirty), doubts: BTreeSet::new() }
}

#[test]
fn outside_of_a_repository_nothing_is_known() {
    let ground = Ground::new();
    ground.write("a/lib.rs", "");
    assert_eq!(ground.provenance("", &["a"]), Provenance::default());
    assert_eq!(head(&ground.root), None);
    ground.git("", &["init", "--quiet"]);
    assert_eq!(ground.provenance("", &["a"]), Provenance::default(), "no commit yet");
}

#[test]
fn the_commit_is_the_last_one_that_changed_the_sources() {
    let (ground, first) = Ground::workspace();
    assert_eq!(ground.provenance("ws", &["a"]), known(&first, false));
    ground.write("ws/b/lib.rs", "changed");
    assert_eq!(ground.provenance("ws", &["a"]), known(&first, false));
    assert_eq!(ground.provenance("ws", &["b"]), known(&first, true));
    let second = ground.commit("ws");
    assert_eq!(head(&ground.root.join("ws")), Some(second.clone()));
    assert_eq!(ground.provenance("ws", &["a"]), known(&first, false));
    assert_eq!(ground.provenance("ws", &["b"]), known(&second, false));
    assert_eq!(ground.provenance("ws", &["a", "b/lib.rs"]), known(&second, false));
    assert_eq!(ground.provenance("ws", &[""]), known(&second, false), "the workspace's own folder");
    // The same in another working tree.
    ground.git("ws", &["worktree", "add", "--quiet", "../tree"]);
    assert_eq!(ground.provenance("tree", &["a"]), known(&first, false));
    // What all plugins share.
    ground.write("ws/Cargo.lock", "");
    let third = ground.commit("ws");
    assert_eq!(ground.provenance("ws", &["a"]), known(&third, false));
}

#[test]
fn a_file_that_no_commit_has_is_a_difference() {
    let (ground, first) = Ground::workspace();
    ground.write("ws/b/new.rs", "");
    assert_eq!(ground.provenance("ws", &["a"]), known(&first, false));
    assert_eq!(ground.provenance("ws", &["b"]), known(&first, true));
    fs::remove_file(ground.root.join("ws/b/new.rs")).expect("remove");
    ground.write("ws/.gitignore", "generated.rs\n");
    ground.write("ws/b/generated.rs", "");
    assert_eq!(ground.provenance("ws", &["b"]), known(&first, true), "git ignores it");
    ground.git("ws", &["add", "--force", "b/generated.rs"]);
    let second = ground.commit("ws");
    assert_eq!(ground.provenance("ws", &["b"]), known(&second, false));
    fs::remove_file(ground.root.join("ws/b/lib.rs")).expect("remove");
    assert_eq!(ground.provenance("ws", &["b"]), known(&second, true));
}

#[test]
fn a_shallow_clone_is_said_to_be_one() {
    let (ground, first) = Ground::workspace();
    ground.write("ws/b/lib.rs", "changed");
    let second = ground.commit("ws");
    let url = format!("file://{}", ground.root.join("ws").display());
    ground.git("", &["clone", "--quiet", "--depth", "1", &url, "shallow"]);
    let repository = ground.root.join("shallow");
    let doubts = BTreeSet::from([Doubt::Shallow { repository }]);
    let expected = Provenance { doubts, ..known(&second, false) };
    assert_eq!(ground.provenance("shallow", &["a"]), expected);
    ground.git("shallow", &["fetch", "--quiet", "--unshallow"]);
    assert_eq!(ground.provenance("shallow", &["a"]), known(&first, false));
}

#[test]
fn a_sparse_checkout_and_a_promise_are_said() {
    let (ground, first) = Ground::workspace();
    ground.git("ws", &["update-index", "--assume-unchanged", "b/lib.rs"]);
    ground.write("ws/b/lib.rs", "changed behind git's back");
    let file = ground.root.join("ws/b/lib.rs");
    let doubts = BTreeSet::from([Doubt::AssumedUnchanged { file, n_files: 1 }]);
    let expected = Provenance { dirty: None, doubts, ..known(&first, false) };
    assert_eq!(ground.provenance("ws", &["b"]), expected);
    assert_eq!(ground.provenance("ws", &["a"]), known(&first, false));
    ground.git("ws", &["update-index", "--no-assume-unchanged", "b/lib.rs"]);
    ground.git("ws", &["checkout", "--quiet", "b/lib.rs"]);
    ground.git("ws", &["sparse-checkout", "set", "--no-cone", "/*", "!/a/"]);
    let file = ground.root.join("ws/a/lib.rs");
    let doubts = BTreeSet::from([Doubt::Sparse { file, n_files: 1 }]);
    let expected = Provenance { doubts, ..known(&first, true) };
    assert_eq!(ground.provenance("ws", &["a"]), expected);
    assert_eq!(ground.provenance("ws", &["b"]), known(&first, false));
}

#[test]
fn a_submodule_is_part_of_what_was_built() {
    let (ground, _) = Ground::workspace();
    ground.write("lib/lib.rs", "1");
    ground.git("lib", &["init", "--quiet", "--initial-branch", "main"]);
    ground.commit("lib");
    let url = ground.root.join("lib").display().to_string();
    ground.git("ws", &["submodule", "--quiet", "add", &url, "a/lib"]);
    let second = ground.commit("ws");
    assert_eq!(ground.provenance("ws", &["a"]), known(&second, false));
    ground.write("ws/a/lib/lib.rs", "2");
    assert_eq!(ground.provenance("ws", &["a"]), known(&second, true));
    ground.commit("ws/a/lib");
    assert_eq!(ground.provenance("ws", &["a"]), known(&second, true), "another commit of it");
    let third = ground.commit("ws");
    assert_eq!(ground.provenance("ws", &["a"]), known(&third, false));
    // A workspace within a submodule.
    ground.write("ws/a/lib/new.rs", "");
    let commit = ground.git("ws/a/lib", &["rev-parse", "HEAD"]);
    assert_eq!(ground.provenance("ws/a/lib", &["lib.rs"]), known(&commit, false));
    assert_eq!(ground.provenance("ws", &["a"]), known(&third, true));
}

#[test]
fn what_lies_outside_may_belong_to_another_repository_or_none() {
    let (ground, first) = Ground::workspace();
    ground.write("lib/lib.rs", "1");
    assert_eq!(ground.provenance("ws", &["a", "../lib"]), known(&first, true), "in no repository");
    ground.git("lib", &["init", "--quiet", "--initial-branch", "main"]);
    ground.commit("lib");
    assert_eq!(ground.provenance("ws", &["a", "../lib"]), known(&first, false));
    ground.write("lib/lib.rs", "2");
    assert_eq!(ground.provenance("ws", &["a", "../lib"]), known(&first, true));
    // A workspace in a folder of its repository, and what is beside it there.
    assert_eq!(ground.provenance("ws/a", &["lib.rs", "../shared"]), known(&first, false));
    ground.write("ws/shared/lib.rs", "changed");
    assert_eq!(ground.provenance("ws/a", &["lib.rs", "../shared"]), known(&first, true));
}

#[test]
fn a_pointer_in_the_place_of_a_file_is_said() {
    let (ground, _) = Ground::workspace();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n";
    ground.write("ws/a/model.bin", pointer);
    let second = ground.commit("ws");
    let doubts = BTreeSet::from([Doubt::LfsPointer { file: "a/model.bin".into(), n_files: 1 }]);
    assert_eq!(ground.provenance("ws", &["a"]), Provenance { doubts, ..known(&second, false) });
}

#[test]
fn a_repository_that_git_does_not_read_is_said() {
    let (ground, _) = Ground::workspace();
    fs::write(ground.root.join("ws/.git/HEAD"), "nonsense").expect("write");
    let Provenance { commit: None, dirty: None, doubts } = ground.provenance("ws", &["a"]) else {
        panic!("nothing can be known");
    };
    let said: Vec<String> = doubts.iter().map(ToString::to_string).collect();
    assert!(matches!(doubts.first(), Some(Doubt::Failed { .. })), "{said:?}");
}

/// Another user's repository, as in containers of CI services. Only root can make one.
#[cfg(target_os = "linux")]
#[test]
fn a_repository_of_another_user_is_said_with_the_remedy() {
    let (ground, _) = Ground::workspace();
    let root = ground.root.join("ws");
    if std::os::unix::fs::chown(&root, Some(12345), Some(12345)).is_err()
        || std::os::unix::fs::chown(root.join(".git"), Some(12345), Some(12345)).is_err()
    {
        println!("skipped: only root can give files away");
        return;
    }
    if head(&root).is_some() {
        println!("skipped: git is told to trust every repository here");
        return;
    }
    let Provenance { commit: None, dirty: None, doubts } = ground.provenance("ws", &["a"]) else {
        panic!("nothing can be known");
    };
    assert_eq!(doubts, BTreeSet::from([Doubt::Refused { repository: root.clone() }]));
    let remedy = format!("git config --global --add safe.directory {}", root.display());
    assert!(doubts.iter().all(|doubt| doubt.to_string().contains(&remedy)));
}
