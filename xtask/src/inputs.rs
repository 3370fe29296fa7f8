//! What a build reads: the workspace's files and a digest of their content.
//!
//! Contents decide, never times. A stat cache, like git's index, saves hashing a file again whose
//! size, time and inode are as they were. As in git, an entry that was written within the clock's
//! resolution of its file's last change is not believed, since the file may have changed again
//! under the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ignore::WalkBuilder;
use keyway_manifest::{Digest, Hasher};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cache::{CacheError, write_atomically};
use crate::failure::{Diagnose, Exit};
use crate::paths::relative;

/// How old a file must be, in nanoseconds, before its stat is believed: more than any file
/// system's time stamp resolution (FAT: two seconds).
const SETTLED_NS: u128 = 2_500_000_000;

/// The files of a workspace that version control would keep, relative to its root.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    files: BTreeMap<PathBuf, Metadata>,
}

/// Digests of files, remembered by size, time and inode.
#[derive(Debug)]
pub struct StatCache {
    path: PathBuf,
    now_ns: u128,
    entries: BTreeMap<PathBuf, Entry>,
    used: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    size: u64,
    modified_ns: u128,
    inode: u64,
    digest: Digest,
}

/// A file of the workspace could not be read.
#[derive(Debug, Error)]
pub enum InputError {
    /// The walk over the workspace failed.
    #[error("could not list the files of `{root}`")]
    Walk {
        /// The workspace.
        root: PathBuf,
        /// Why.
        source: ignore::Error,
    },
    /// A file could not be read.
    #[error("could not read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Diagnose for InputError {
    fn exit(&self) -> Exit {
        Exit::Environment
    }
}

impl Tree {
    /// Lists the workspace at `root`: everything but `target/`, `dist/`, `.git` and what git ignores.
    ///
    /// # Errors
    /// If a folder can't be listed.
    pub fn walk(root: &Path) -> Result<Self, InputError> {
        let mut tree = Self { root: root.to_owned(), files: BTreeMap::new() };
        tree.add(root)?;
        Ok(tree)
    }

    /// Lists another folder, which may hold the workspace; its files' paths begin with `..`.
    ///
    /// # Errors
    /// If a folder can't be listed.
    pub fn add(&mut self, folder: &Path) -> Result<(), InputError> {
        let outputs = [folder.join("target"), folder.join("dist"), folder.join(".git")];
        let known = (folder != self.root).then(|| self.root.clone());
        let walk = WalkBuilder::new(folder)
            .hidden(false)
            .git_global(false)
            .git_exclude(false)
            .require_git(false)
            .parents(false)
            .filter_entry(move |entry| {
                let is_output = entry.depth() == 1 && outputs.iter().any(|o| o == entry.path());
                !is_output && known.as_deref() != Some(entry.path())
            })
            .build();
        let way = relative(&self.root, folder);
        for entry in walk {
            let entry =
                entry.map_err(|source| InputError::Walk { root: folder.to_owned(), source })?;
            let path = entry.path();
            // Follows links: what a build reads is the file behind one. A link to nowhere is no input.
            let Ok(metadata) = fs::metadata(path) else {
                continue;
            };
            if let (true, Ok(below)) = (metadata.is_file(), path.strip_prefix(folder)) {
                self.files.insert(way.join(below), metadata);
            }
        }
        Ok(())
    }

    /// The digest of all that cargo's view of the workspace depends on: every Cargo.toml and cargo
    /// configuration, wherever it lies, and the lock file.
    ///
    /// # Errors
    /// If one of them can't be read.
    pub fn manifests(&self, cache: &mut StatCache) -> Result<Digest, InputError> {
        let relevant = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| name == "Cargo.toml" || name == "Cargo.lock")
                || path.components().any(|part| part == Component::Normal(".cargo".as_ref()))
        };
        self.digest(self.files.keys().filter(relevant), cache)
    }

    /// The digest of every file below `folders`, of each of `files`, and of the workspace's own
    /// manifest, by path and content. Folders and files are relative to the root.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn sources<'a>(
        &'a self,
        folders: &BTreeSet<PathBuf>,
        files: impl IntoIterator<Item = &'a PathBuf>,
        cache: &mut StatCache,
    ) -> Result<Digest, InputError> {
        let always = [Path::new("Cargo.toml"), Path::new(".cargo/config.toml")];
        let mut paths: BTreeSet<&PathBuf> = self
            .files
            .keys()
            .filter(|path| {
                always.contains(&path.as_path()) || folders.iter().any(|dir| path.starts_with(dir))
            })
            .collect();
        paths.extend(files);
        self.digest(paths, cache)
    }

    fn digest<'a>(
        &'a self,
        paths: impl IntoIterator<Item = &'a PathBuf>,
        cache: &mut StatCache,
    ) -> Result<Digest, InputError> {
        let mut hasher = Hasher::new();
        for path in paths {
            let absolute = self.root.join(path);
            let digest = match self.files.get(path) {
                Some(metadata) => cache.digest_as(&absolute, metadata)?,
                // Ignored by git, yet read by a build; or gone, which is a content of its own.
                None if absolute.is_file() => cache.digest(&absolute)?,
                None => Digest::of(b"missing"),
            };
            hasher.update(format!("{digest} {}\n", slashed(path)).as_bytes());
        }
        Ok(hasher.finish())
    }
}

/// A relative path with `/` on every system, so that digests agree between them.
fn slashed(path: &Path) -> String {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

impl StatCache {
    /// Reads the cache file; a missing or damaged one is an empty cache.
    pub fn open(path: PathBuf) -> Self {
        let entries = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let now_ns = nanoseconds(SystemTime::now());
        Self { path, now_ns, entries, used: BTreeMap::new() }
    }

    /// The digest of a file's content.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn digest(&mut self, path: &Path) -> Result<Digest, InputError> {
        let metadata = fs::metadata(path)
            .map_err(|source| InputError::Read { path: path.to_owned(), source })?;
        self.digest_as(path, &metadata)
    }

    fn digest_as(&mut self, path: &Path, metadata: &Metadata) -> Result<Digest, InputError> {
        let modified_ns = metadata.modified().map_or(0, nanoseconds);
        let (size, inode) = (metadata.len(), inode(metadata));
        let known = self.used.get(path).or_else(|| self.entries.get(path));
        let same = |e: &&Entry| (e.size, e.modified_ns, e.inode) == (size, modified_ns, inode);
        if let Some(entry) = known.copied().as_ref().filter(same) {
            self.used.insert(path.to_owned(), *entry);
            return Ok(entry.digest);
        }
        let digest = digest_file(path)
            .map_err(|source| InputError::Read { path: path.to_owned(), source })?;
        // JSON has no place for a name that is not UTF-8; such a file is hashed each time.
        if modified_ns + SETTLED_NS < self.now_ns && path.to_str().is_some() {
            self.used.insert(path.to_owned(), Entry { size, modified_ns, inode, digest });
        }
        Ok(digest)
    }

    /// Writes back what was used, if that changed anything.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save(&self) -> Result<(), CacheError> {
        if self.used == self.entries {
            return Ok(());
        }
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir).map_err(CacheError::io("create", dir))?;
        }
        write_atomically(
            &self.path,
            &serde_json::to_vec(&self.used).expect("only UTF-8 names are kept"),
        )
    }
}

fn digest_file(path: &Path) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finish())
}

fn nanoseconds(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn workspace() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (path, text) in [
            ("Cargo.toml", "[workspace]"),
            (".gitignore", "*.log"),
            ("plugins/a/src/lib.rs", "one"),
            ("plugins/ab/src/lib.rs", "two"),
            ("plugins/a/debug.log", "noise"),
            ("target/x", "output"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("has one")).expect("create");
            fs::write(&path, text).expect("write");
            let old = SystemTime::now() - Duration::from_secs(60);
            File::options().write(true).open(&path).and_then(|f| f.set_modified(old)).expect("age");
        }
        dir
    }

    fn sources(dir: &Path, extra: &[PathBuf]) -> Digest {
        let mut cache = StatCache::open(dir.join("target/stat.json"));
        let folders = BTreeSet::from([PathBuf::from("plugins/a")]);
        let tree = Tree::walk(dir).expect("walk");
        let digest = tree.sources(&folders, extra, &mut cache).expect("digest");
        cache.save().expect("save");
        digest
    }

    #[test]
    fn content_decides_and_only_inside_the_folders() {
        let dir = workspace();
        let before = sources(dir.path(), &[]);
        fs::write(dir.path().join("plugins/ab/src/lib.rs"), "three").expect("write");
        fs::write(dir.path().join("plugins/a/debug.log"), "more noise").expect("write");
        assert_eq!(sources(dir.path(), &[]), before, "another plugin and an ignored file");
        fs::write(dir.path().join("plugins/a/src/lib.rs"), "ONE").expect("write");
        let changed = sources(dir.path(), &[]);
        assert_ne!(changed, before);
        fs::write(dir.path().join("plugins/a/src/lib.rs"), "one").expect("write");
        assert_eq!(sources(dir.path(), &[]), before, "the old content is the old digest");
        fs::rename(dir.path().join("plugins/a/src/lib.rs"), dir.path().join("plugins/a/src/b.rs"))
            .expect("rename");
        assert_ne!(sources(dir.path(), &[]), before, "names count");
    }

    #[test]
    fn files_outside_the_folders_count_when_named() {
        let dir = workspace();
        let extra = [PathBuf::from("plugins/a/debug.log"), PathBuf::from("gone")];
        let before = sources(dir.path(), &extra);
        assert_ne!(before, sources(dir.path(), &[]));
        fs::write(dir.path().join("plugins/a/debug.log"), "changed").expect("write");
        assert_ne!(sources(dir.path(), &extra), before);
    }

    #[test]
    fn a_fresh_file_is_never_believed() {
        let dir = workspace();
        let path = dir.path().join("plugins/a/src/lib.rs");
        fs::write(&path, "new").expect("write");
        let mut cache = StatCache::open(dir.path().join("stat.json"));
        cache.digest(&path).expect("digest");
        assert!(cache.used.is_empty(), "the file may change again under the same time stamp");
    }

    #[test]
    fn a_damaged_cache_is_an_empty_one() {
        let dir = workspace();
        let path = dir.path().join("stat.json");
        fs::write(&path, "{").expect("write");
        let digest = StatCache::open(path).digest(&dir.path().join("Cargo.toml")).expect("digest");
        assert_eq!(digest, Digest::of("[workspace]"));
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let error = StatCache::open(PathBuf::from("none")).digest(Path::new("/nowhere"));
        assert!(matches!(error, Err(InputError::Read { .. })), "{error:?}");
    }
}
