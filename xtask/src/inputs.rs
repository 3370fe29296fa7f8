//! What a build reads: the workspace's files, and what was in them at one moment.
//!
//! Every file counts that a build could read, whatever git thinks of it: a source that git ignores is
//! compiled all the same. Left out is what a build makes: the target folder, `dist/`, and any folder
//! whose `CACHEDIR.TAG` says that it can be made again. `.git` is never shown to a build.
//!
//! Contents decide, never times. [`StatCache`] saves hashing again what did not change.

mod snapshot;
mod stat;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirEntry, File};
use std::io::{self, Read};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Hasher};
use thiserror::Error;

use crate::failure::{Diagnose, Exit};
use crate::paths::{is_in, relative};

pub use snapshot::{Look, Snapshot, Watch};
pub use stat::StatCache;

/// The first bytes of the file that marks a cache, see <https://bford.info/cachedir/>.
const CACHE_MARK: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// The files of a workspace and of what it needs outside, relative to the workspace's root.
#[derive(Debug, Default)]
pub struct Tree {
    root: PathBuf,
    /// Folders that builds write to.
    outputs: Vec<PathBuf>,
    files: BTreeSet<PathBuf>,
    /// Each `.git`, a folder or a file, that lies in what is shown to a build.
    repositories: BTreeSet<PathBuf>,
}

/// A file of the workspace could not be read.
#[derive(Debug, Error)]
pub enum InputError {
    /// The walk over the workspace failed.
    #[error("could not list the files of `{root}`", root = .root.shown())]
    Walk {
        /// The folder that can't be listed.
        root: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("could not read `{path}`", path = .path.shown())]
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
    /// Lists the workspace at `root`: everything but `outputs`, folders that are caches, and `.git`.
    ///
    /// # Errors
    /// If a folder can't be listed.
    pub fn walk(root: &Path, outputs: &[PathBuf]) -> Result<Self, InputError> {
        let mut tree = Self { root: root.to_owned(), outputs: outputs.to_vec(), ..Self::default() };
        tree.add(root)?;
        Ok(tree)
    }

    /// Lists another folder, which may hold the workspace; its files' paths begin with `..`.
    ///
    /// # Errors
    /// If a folder can't be listed.
    pub fn add(&mut self, folder: &Path) -> Result<(), InputError> {
        let way = relative(&self.root, folder);
        self.list(folder, &way, &mut Vec::new())
    }

    /// `linked` are the folders that links on the way here led to.
    fn list(
        &mut self,
        folder: &Path,
        way: &Path,
        linked: &mut Vec<PathBuf>,
    ) -> Result<(), InputError> {
        let Some(entries) = entries(folder)? else { return Ok(()) };
        if is_cache(folder, &entries) {
            return Ok(());
        }
        for entry in entries {
            let (name, path) = (entry.file_name(), entry.path());
            let way = way.join(&name);
            let Ok(kind) = entry.file_type() else { continue };
            if name == ".git" {
                self.repositories.insert(path);
            } else if kind.is_dir() {
                let is_listed_already = path == self.root;
                if !is_listed_already && !self.outputs.contains(&path) {
                    self.list(&path, &way, linked)?;
                }
            } else if kind.is_file() {
                self.files.insert(way);
            } else if kind.is_symlink() {
                self.follow(&path, way, linked)?;
            }
        }
        Ok(())
    }

    /// What a build reads is what is behind a link. One that leads nowhere is no input.
    fn follow(
        &mut self,
        link: &Path,
        way: PathBuf,
        linked: &mut Vec<PathBuf>,
    ) -> Result<(), InputError> {
        let Ok(metadata) = fs::metadata(link) else { return Ok(()) };
        if metadata.is_file() {
            self.files.insert(way);
        } else if metadata.is_dir() {
            let Ok(folder) = link.canonicalize() else { return Ok(()) };
            // One that leads to a folder above it, or to where another link on the way led, has no end.
            if link.starts_with(&folder) || linked.iter().any(|on| on.starts_with(&folder)) {
                return Ok(());
            }
            linked.push(folder);
            self.list(link, &way, linked)?;
            linked.pop();
        }
        Ok(())
    }

    /// The files at or below `path`, which is relative to the root.
    fn below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a PathBuf> {
        let from = self.files.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        from.take_while(move |file| file.starts_with(path)).filter(move |file| is_in(file, path))
    }

    /// Each `.git` in what is shown to a build.
    pub fn repositories(&self) -> &BTreeSet<PathBuf> {
        &self.repositories
    }

    /// The digest of all that cargo's view of the workspace depends on: every Cargo.toml and cargo
    /// configuration, wherever it lies, and the lock file.
    ///
    /// # Errors
    /// If one of them can't be read.
    pub fn manifests(&self, cache: &mut StatCache) -> Result<Digest, InputError> {
        let mut hasher = Hasher::new();
        for path in self.files.iter().filter(|path| is_manifest(path)) {
            let digest = cache.digest(&self.root.join(path))?;
            hasher.update(format!("{digest} {}\n", slashed(path)).as_bytes());
        }
        Ok(hasher.finish())
    }
}

fn is_manifest(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let is_configuration = || {
        ["config", "config.toml"].contains(&name)
            && path.parent().is_some_and(|folder| folder.ends_with(".cargo"))
    };
    ["Cargo.toml", "Cargo.lock"].contains(&name) || is_configuration()
}

/// What is in a folder, sorted by nothing; none if it went away, or is closed to this user and so to a
/// build too.
fn entries(folder: &Path) -> Result<Option<Vec<DirEntry>>, InputError> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let list = || fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>();
    match list() {
        Ok(entries) => Ok(Some(entries)),
        Err(error) if matches!(error.kind(), NotADirectory | NotFound | PermissionDenied) => {
            Ok(None)
        }
        Err(source) => Err(InputError::Walk { root: folder.to_owned(), source }),
    }
}

/// Whether a folder with these entries says that all of it can be made again.
pub fn is_cache(folder: &Path, entries: &[DirEntry]) -> bool {
    let is_marked = || {
        let mut start = [0; CACHE_MARK.len()];
        let mark = File::open(folder.join(CACHE_TAG));
        mark.and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *CACHE_MARK
    };
    entries.iter().any(|entry| entry.file_name() == CACHE_TAG) && is_marked()
}

/// A relative path with `/` on every system, so that digests agree between them.
fn slashed(path: &Path) -> String {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests;
