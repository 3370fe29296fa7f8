//! What zig compiles for the first link for a target: what programs start with, stubs of the libc, its
//! own runtime. It takes seconds of every core, so an image brings it along.
//!
//! Zig lists with each thing that it made the files that went in: size, inode, time of change, a hash
//! of the content and the name. Inode and time are those of one machine, so they are taken out; zig then
//! compares the hash, and notes both anew in the copy that it works with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;
use thiserror::Error;

use crate::cache::CacheError;

/// Where it lies in an image; `keyway-cc` makes the copy.
pub(super) const PLACE: &str = "usr/lib/zig-cache";

/// The folders that a link looks into. What else zig leaves is only of use to compile these anew.
const FOLDERS: [&str; 3] = ["b", "h", "o"];

/// The lists of what went in.
const LISTS: &str = "h";

/// Whether a link does not read a file: that which zig compares the machine's clock with, and what lies
/// beside a library that was made of it in one go.
fn is_left_out(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name == "timestamp" || name.ends_with(".s") || name.ends_with("_zcu.o")
}

/// Why zig's cache can't go into an image.
#[derive(Debug, Error)]
pub enum ZigCacheError {
    /// A list has another form.
    #[error("`{}` is no list of files as zig 0.17 writes it", path.shown())]
    Form {
        /// The list.
        path: PathBuf,
    },
    /// A list names a file of one build only.
    #[error("`{}` names `{file}`, which is not in every build", path.shown())]
    Foreign {
        /// The list.
        path: PathBuf,
        /// The file.
        file: String,
    },
    /// It can't be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Takes out of the cache in `folder` what belongs to this machine; returns its files, sorted by their
/// names within it. A folder that is not there is an empty cache.
///
/// # Errors
/// If a list is not what is known of zig, or a file can't be read or written.
pub(super) fn detach(folder: &Path) -> Result<Vec<(String, PathBuf)>, ZigCacheError> {
    let mut files = Vec::new();
    for top in FOLDERS {
        let top = folder.join(top);
        walk(&top, &mut files).map_err(CacheError::io("read", &top))?;
    }
    files.retain(|path| !is_left_out(path));
    files.sort();
    for list in files.iter().filter(|path| path.starts_with(folder.join(LISTS))) {
        let bytes = fs::read(list).map_err(CacheError::io("read", list))?;
        let bytes = without_machine(bytes, list)?;
        fs::write(list, bytes).map_err(CacheError::io("write", list))?;
    }
    let name = |path: &Path| {
        let name = path.strip_prefix(folder).expect("it was found below the folder");
        name.to_string_lossy().into_owned()
    };
    Ok(files.into_iter().map(|path| (name(&path), path)).collect())
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => walk(&entry.path(), files)?,
            false => files.push(entry.path()),
        }
    }
    Ok(())
}

/// A list with inodes and times of zero.
///
/// Per file: size, inode and time in nanoseconds, 8 bytes each; 16 of the hash; one that says in which
/// of zig's folders the file lies; the name and a zero. One byte ends the list.
fn without_machine(mut bytes: Vec<u8>, path: &Path) -> Result<Vec<u8>, ZigCacheError> {
    const INODE_AND_TIME: std::ops::Range<usize> = 8..24;
    const NAME: usize = 24 + 16 + 1;
    let form = || ZigCacheError::Form { path: path.to_owned() };
    let mut at = 0;
    while at + 1 < bytes.len() {
        let entry = &mut bytes[at..];
        let name = entry.get(NAME..).ok_or_else(form)?;
        let length = name.iter().position(|byte| *byte == 0).ok_or_else(form)?;
        let name = &name[..length];
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Err(form());
        }
        if name.starts_with(b"/") {
            let file = String::from_utf8_lossy(name).into_owned();
            return Err(ZigCacheError::Foreign { path: path.to_owned(), file });
        }
        entry[INODE_AND_TIME].fill(0);
        at += NAME + length + 1;
    }
    if bytes.len() == at + 1 { Ok(bytes) } else { Err(form()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list as zig writes it; each file by its name and inode.
    fn list(files: &[(&str, u64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, inode) in files {
            bytes.extend(7_u64.to_le_bytes());
            bytes.extend(inode.to_le_bytes());
            bytes.extend((1_000_000_007 * inode).to_le_bytes());
            bytes.extend([0xAB; 16]);
            bytes.push(4);
            bytes.extend(name.as_bytes());
            bytes.push(0);
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn caches_of_two_machines_become_the_same() {
        let made = [3, 999_999].map(|inode| {
            let folder = tempfile::tempdir().expect("a folder");
            for (file, bytes) in [
                (
                    "h/00ff",
                    list(&[("libc/glibc/io/stat-2.32.c", inode), ("std/std.zig", inode + 1)]),
                ),
                ("h/timestamp", Vec::new()),
                ("o/11aa/c.s", b"of which the stub was made".to_vec()),
                ("o/11aa/libc.so.6", b"stub".to_vec()),
                ("z/22bb", b"only to compile anew".to_vec()),
            ] {
                let path = folder.path().join(file);
                fs::create_dir_all(path.parent().expect("it has one")).expect("create");
                fs::write(path, bytes).expect("write");
            }
            let files = detach(folder.path()).expect("a cache that is known");
            let read = |(name, path): (String, PathBuf)| (name, fs::read(path).expect("read"));
            files.into_iter().map(read).collect::<Vec<_>>()
        });
        let [one, other] = made;
        assert_eq!(one, other);
        let names: Vec<_> = one.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["h/00ff", "o/11aa/libc.so.6"]);
        assert_eq!(one[0].1, list(&[("libc/glibc/io/stat-2.32.c", 0), ("std/std.zig", 0)]));
    }

    #[test]
    fn no_cache_is_an_empty_one() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(detach(&folder.path().join("cache")).expect("nothing there").is_empty());
    }

    #[test]
    fn a_list_of_another_form_is_refused() {
        let whole = list(&[("std/std.zig", 1)]);
        let path = Path::new("h/00ff");
        for cut in [1, 2, 12, whole.len() - 3] {
            let bytes = whole[..whole.len() - cut].to_vec();
            let error = without_machine(bytes, path).expect_err("it is cut");
            assert!(matches!(error, ZigCacheError::Form { .. }), "{error}");
        }
        let mut longer = whole;
        longer.extend([1; 7]);
        assert!(matches!(without_machine(longer, path), Err(ZigCacheError::Form { .. })));
    }

    #[test]
    fn a_file_of_one_build_only_is_refused() {
        let bytes = list(&[("/tmp/rustc1234/out.o", 1)]);
        let error = without_machine(bytes, Path::new("h/00ff")).expect_err("it is foreign");
        assert_eq!(
            error.to_string(),
            "`h/00ff` names `/tmp/rustc1234/out.o`, which is not in every build"
        );
    }
}
