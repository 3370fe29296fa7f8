//! Paths by their text alone: nothing here looks at a disk.

use std::path::{Component, Path, PathBuf};

/// A path without `.` and `..`, by its text alone, as cargo does it.
pub fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

/// The way from the folder `from` to `to`, both without links.
pub fn relative(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

/// The lowest folder that holds both.
pub fn shared(a: &Path, b: &Path) -> PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(part, _)| part).collect()
}

/// Whether `path` is `folder` or lies in it, both relative to one place: the empty folder is that place,
/// and nothing outside of it is in there.
pub fn is_in(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder) && (!folder.as_os_str().is_empty() || !path.starts_with(".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_between_folders() {
        let way = |from, to| relative(Path::new(from), Path::new(to));
        assert_eq!(way("/a/b", "/a/b"), Path::new(""));
        assert_eq!(way("/a/b", "/a/b/c"), Path::new("c"));
        assert_eq!(way("/a/b", "/a/c d/e"), Path::new("../c d/e"));
        assert_eq!(way("/a/b", "/"), Path::new("../.."));
    }

    #[test]
    fn what_is_in_a_folder() {
        let is_in = |path, folder| is_in(Path::new(path), Path::new(folder));
        assert!(is_in("a/b", "a") && is_in("a", "a") && is_in("a", "") && is_in("../a", ".."));
        assert!(!is_in("ab", "a") && !is_in("../a", ""));
    }

    #[test]
    fn a_normal_path_has_no_dots() {
        assert_eq!(normal(Path::new("/a/./b/../c")), Path::new("/a/c"));
    }
}
