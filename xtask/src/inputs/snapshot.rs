//! What was in the files of a workspace at one moment, and what changed between two.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use keyway_manifest::{Digest, Hasher};

use super::stat::Stat;
use super::{InputError, StatCache, Tree, slashed};
use crate::cache::CacheError;

/// Files that count for every plugin, beside those of its packages.
const ALWAYS: [&str; 3] = [".cargo/config", ".cargo/config.toml", "Cargo.toml"];

/// Looks at the files of a workspace, as often as it is asked to.
#[derive(Debug)]
pub struct Watch {
    root: PathBuf,
    outside: Vec<PathBuf>,
    outputs: Vec<PathBuf>,
    stat: Mutex<StatCache>,
}

/// What was in the files of a workspace at one moment.
#[derive(Debug)]
pub struct Snapshot {
    tree: Tree,
    begun: SystemTime,
    seen: BTreeMap<PathBuf, Seen>,
}

/// What is known of one file. One that is not there is not in the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    stat: Stat,
    /// None if nobody needed it, and a later change would show in `stat`.
    digest: Option<Digest>,
}

/// How closely a look is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// At what was asked for.
    Asked,
    /// At that, and so at everything else that a later look can tell whether it changed.
    Everything,
}

impl Watch {
    /// Looks at the workspace at `root` and at folders `outside` of it; builds write to `outputs`.
    pub fn new(
        root: PathBuf,
        outside: Vec<PathBuf>,
        outputs: Vec<PathBuf>,
        stat: StatCache,
    ) -> Self {
        Self { root, outside, outputs, stat: Mutex::new(stat) }
    }

    /// Lists all files and reads those in or at `paths`, which are relative to the root, and those that
    /// count always.
    ///
    /// # Errors
    /// If a folder can't be listed or a file can't be read.
    pub fn look<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p Path>,
        look: Look,
    ) -> Result<Snapshot, InputError> {
        let mut tree = Tree::walk(&self.root, &self.outputs)?;
        self.outside.iter().try_for_each(|folder| tree.add(folder))?;
        self.read(tree, paths, look)
    }

    /// As [`Watch::look`], with files that were listed just now.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn read<'p>(
        &self,
        tree: Tree,
        paths: impl IntoIterator<Item = &'p Path>,
        look: Look,
    ) -> Result<Snapshot, InputError> {
        let begun = SystemTime::now();
        let mut cache = self.stat.lock().unwrap_or_else(PoisonError::into_inner);
        let mut asked: BTreeSet<&Path> = ALWAYS.map(Path::new).into();
        for path in paths {
            asked.extend(tree.below(path).map(PathBuf::as_path));
            // In what is not listed, such as `dist/`, a single file may be named all the same.
            asked.insert(path);
        }
        let all = match look {
            Look::Asked => None,
            Look::Everything => Some(tree.files.iter().map(PathBuf::as_path)),
        };
        let mut seen = BTreeMap::new();
        for path in all.into_iter().flatten().chain(asked.iter().copied()) {
            let absolute = self.root.join(path);
            let Some(metadata) = fs::metadata(&absolute).ok().filter(fs::Metadata::is_file) else {
                continue;
            };
            let stat = Stat::of(&metadata);
            let digest = if asked.contains(path) || !stat.is_settled(begun) {
                match cache.digest_as(&absolute, stat) {
                    Ok(digest) => Some(digest),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    // Closed to this user, and so to a build.
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        Some(Digest::of("closed"))
                    }
                    Err(source) => return Err(InputError::Read { path: absolute, source }),
                }
            } else {
                None
            };
            seen.insert(path.to_owned(), Seen { stat, digest });
        }
        drop(cache);
        Ok(Snapshot { tree, begun, seen })
    }

    /// The digest of a file's content, which need not be the workspace's; none if it is not there.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn digest(&self, path: &Path) -> Result<Option<Digest>, InputError> {
        let mut cache = self.stat.lock().unwrap_or_else(PoisonError::into_inner);
        if path.is_file() { cache.digest(path).map(Some) } else { Ok(None) }
    }

    /// Keeps what was hashed for the next run.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn save(&self) -> Result<(), CacheError> {
        self.stat.lock().unwrap_or_else(PoisonError::into_inner).save()
    }
}

impl Snapshot {
    /// The files that it lists.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The digest of every file in or at `paths`, by path and content, and of what counts always.
    pub fn sources<'p>(&self, paths: impl IntoIterator<Item = &'p Path>) -> Digest {
        let always = ALWAYS.map(Path::new);
        let always = always.into_iter().filter(|path| self.seen.contains_key(*path));
        self.digest(paths.into_iter().flat_map(|path| self.at(path)).chain(always))
    }

    /// The digest of every file in or at `path`.
    pub fn content(&self, path: &Path) -> Digest {
        self.digest(self.at(path).into_iter())
    }

    /// The files in or at `paths`.
    pub fn files<'s>(&'s self, paths: impl IntoIterator<Item = &'s Path>) -> BTreeSet<&'s Path> {
        let files = paths.into_iter().flat_map(|path| self.at(path));
        files.filter(|path| self.seen.contains_key(*path)).collect()
    }

    fn digest<'p>(&self, paths: impl Iterator<Item = &'p Path>) -> Digest {
        let mut hasher = Hasher::new();
        for path in paths.collect::<BTreeSet<_>>() {
            // A file that is gone is a content of its own.
            let digest = self.seen.get(path).map(|seen| seen.digest);
            let digest = digest.map_or_else(
                || Digest::of("missing"),
                |digest| digest.expect("what is asked for was read"),
            );
            hasher.update(format!("{digest} {}\n", slashed(path)).as_bytes());
        }
        hasher.finish()
    }

    /// The files below `path`, or itself.
    fn at<'s>(&'s self, path: &'s Path) -> Vec<&'s Path> {
        let below: Vec<_> = self.tree.below(path).map(PathBuf::as_path).collect();
        if below.is_empty() && !path.as_os_str().is_empty() { vec![path] } else { below }
    }

    /// The files in or at `paths` that are others in a `later` look; `self` has looked at everything.
    pub fn moved<'p>(
        &self,
        later: &Self,
        paths: impl IntoIterator<Item = &'p Path>,
    ) -> BTreeSet<PathBuf> {
        let mut moved = BTreeSet::new();
        for path in paths {
            let both = self.at(path).into_iter().chain(later.at(path));
            let others = both.filter(|file| self.has_moved(later, file));
            moved.extend(others.map(Path::to_owned));
        }
        moved
    }

    fn has_moved(&self, later: &Self, file: &Path) -> bool {
        match (self.seen.get(file), later.seen.get(file)) {
            (None, None) => false,
            (Some(Seen { digest: Some(before), .. }), Some(Seen { digest: Some(after), .. })) => {
                before != after
            }
            (Some(before), Some(after)) => before.stat != after.stat,
            // Of what is not listed, only what was asked for was looked at.
            (None, Some(after)) if !later.tree.files.contains(file) => {
                !after.stat.is_settled(self.begun)
            }
            (None, Some(_)) | (Some(_), None) => true,
        }
    }
}
