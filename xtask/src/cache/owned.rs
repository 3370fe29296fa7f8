//! Temporary folders that belong to a process, so that what a killed one left can be told from what
//! another is working in.
//!
//! Beside the folder `NAME` lies `NAME.lock`, which its owner holds locked for as long as it lives;
//! the kernel releases the lock whatever ends the process. Nothing is ever removed by its name alone.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::CacheError;
use super::garbage::{entries, remove};

/// What the name of a lock file ends with.
const SUFFIX: &str = ".lock";
/// How often a name is tried that another process clears away in the same moment.
const ATTEMPTS: usize = 16;

/// A temporary folder of this process, removed when it is dropped.
#[derive(Debug)]
pub struct OwnedDir {
    folder: PathBuf,
    lock: PathBuf,
    _held: File,
}

impl OwnedDir {
    /// Creates a folder in `parent` whose name begins with `prefix`.
    ///
    /// # Errors
    /// If it can't be created.
    pub fn create(parent: &Path, prefix: &str) -> Result<Self, CacheError> {
        let failed = || CacheError::io("create a folder in", parent);
        for _ in 0..ATTEMPTS {
            let file = tempfile::Builder::new().prefix(prefix).suffix(SUFFIX).tempfile_in(parent);
            let (held, lock) = file.map_err(failed())?.keep().map_err(|e| failed()(e.error))?;
            // Whoever clears away may have seen the file before it was locked.
            if matches!(held.try_lock(), Err(TryLockError::WouldBlock)) || !lock.exists() {
                continue;
            }
            let folder = lock.with_extension("");
            match fs::create_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let _ = fs::remove_file(&lock);
                }
                created => {
                    created.map_err(failed())?;
                    return Ok(Self { folder, lock, _held: held });
                }
            }
        }
        Err(failed()(io::ErrorKind::AlreadyExists.into()))
    }

    /// The folders in `parent` with `prefix` whose owners have ended. They belong to this process from
    /// now on: dropping them removes them.
    ///
    /// # Errors
    /// If `parent` can't be read.
    pub fn abandoned(parent: &Path, prefix: &str) -> Result<Vec<Self>, CacheError> {
        let mut found = Vec::new();
        for lock in entries(parent)? {
            let name = lock.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.starts_with(prefix) || !name.ends_with(SUFFIX) {
                continue;
            }
            let Ok(held) = File::options().write(true).open(&lock) else { continue };
            // Held by its owner, or nobody can tell on this file system.
            if held.try_lock().is_ok() && lock.exists() {
                found.push(Self { folder: lock.with_extension(""), lock, _held: held });
            }
        }
        Ok(found)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Leaves the folder where it is, for a person to look at.
    pub fn leave(self) -> PathBuf {
        let _ = fs::remove_file(&self.lock);
        let folder = self.folder.clone();
        std::mem::forget(self);
        folder
    }

    /// Ends as a kill of its owner would end it: the lock is released, nothing is removed.
    #[cfg(test)]
    pub(crate) fn abandon(self) -> PathBuf {
        let Self { _held: held, .. } = &self;
        held.unlock().expect("unlocked");
        let folder = self.folder.clone();
        std::mem::forget(self);
        folder
    }
}

impl Drop for OwnedDir {
    fn drop(&mut self) {
        // The folder first: without its lock nobody would find it again. What can't be removed now is
        // tried again by the next run.
        if !self.folder.exists() || remove(&self.folder).is_ok() {
            let _ = fs::remove_file(&self.lock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_removed_when_dropped_and_not_while_it_is_owned() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let own = OwnedDir::create(parent.path(), "run-").expect("created");
        fs::write(own.path().join("file"), "x").expect("write");
        assert!(OwnedDir::abandoned(parent.path(), "run-").expect("listed").is_empty());
        drop(own);
        assert_eq!(fs::read_dir(parent.path()).expect("list").count(), 0);
    }

    #[test]
    fn is_abandoned_when_its_owner_is_gone() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let own = OwnedDir::create(parent.path(), "run-").expect("created");
        let folder = own.abandon();
        // Another prefix, and a folder without a lock, are nobody's business.
        fs::create_dir(parent.path().join("run-of-somebody")).expect("create");
        assert!(OwnedDir::abandoned(parent.path(), "other-").expect("listed").is_empty());
        let left = OwnedDir::abandoned(parent.path(), "run-").expect("listed");
        assert_eq!(left.iter().map(OwnedDir::path).collect::<Vec<_>>(), [&*folder]);
        drop(left);
        assert!(!folder.exists());
        assert_eq!(fs::read_dir(parent.path()).expect("list").count(), 1);
    }
}
