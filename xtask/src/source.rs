//! What git says of the workspace: the commit, and whether the sources differ from it.

use std::ffi::OsStr;
use std::path::Path;

/// The commit that is checked out; none outside of a repository or where git is not installed.
pub fn commit(root: &Path) -> Option<String> {
    let commit = git(root, &["rev-parse", "--verify", "--quiet", "HEAD"])?;
    let commit = commit.trim();
    let is_hash = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| commit.to_owned())
}

/// Whether files in `folders`, or the workspace's own manifests, differ from the commit.
pub fn is_dirty<'a>(root: &Path, folders: impl Iterator<Item = &'a Path>) -> bool {
    let mut arguments: Vec<_> = ["status", "--porcelain", "--untracked-files=all", "--"]
        .map(|word| Path::new(word).as_os_str())
        .into();
    let always = ["Cargo.toml", "Cargo.lock", ".cargo"].map(Path::new);
    let always = always.into_iter().filter(|path| root.join(path).exists());
    // The workspace's own folder has an empty name.
    let (outside, inside): (Vec<&Path>, Vec<&Path>) =
        folders.partition(|path| path.starts_with(".."));
    let inside = inside
        .into_iter()
        .map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    let status = arguments.clone();
    arguments.extend(always.chain(inside).map(Path::as_os_str));
    let differs = |folder: &Path, arguments: &[&OsStr]| {
        git(folder, arguments).is_some_and(|status| !status.trim().is_empty())
    };
    // What lies outside may belong to another repository.
    let differs_outside = |path: &Path| {
        let path = root.join(path);
        let folder = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(root) };
        let name = if path.is_dir() { Some(OsStr::new(".")) } else { path.file_name() };
        let arguments = [status.as_slice(), name.as_slice()].concat();
        differs(folder, &arguments)
    };
    differs(root, &arguments) || outside.into_iter().any(differs_outside)
}

fn git(root: &Path, arguments: &[impl AsRef<std::ffi::OsStr>]) -> Option<String> {
    let arguments = arguments.iter().map(AsRef::as_ref);
    duct::cmd("git", arguments)
        .dir(root)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stderr_null()
        .stdin_null()
        .read()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn tells_commit_and_difference() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path();
        let run = |arguments: &[&str]| {
            duct::cmd("git", arguments).dir(root).stdout_null().stderr_null().run().expect("git");
        };
        run(&["init"]);
        assert_eq!(commit(root), None, "no commit yet");
        for path in ["a/lib.rs", "b/lib.rs", "Cargo.toml"] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("has one")).expect("create");
            fs::write(path, "").expect("write");
        }
        run(&["add", "."]);
        run(&["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-m", "first"]);
        assert_eq!(commit(root).map(|commit| commit.len()), Some(40));
        let dirty = |folder: &str| is_dirty(root, [Path::new(folder)].into_iter());
        assert!(!dirty("a"));
        fs::write(root.join("b/new.rs"), "").expect("write");
        assert!(!dirty("a"), "only the folders that were asked about");
        assert!(dirty("b"));
        assert!(dirty(""), "the workspace's own folder");
    }
}
