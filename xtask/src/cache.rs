//! Where state lives outside the workspace: `$KEYWAY_CACHE`, else the platform's cache folder.
//!
//! Content-addressed, shared by all workspaces of a user, safe under several processes: files are
//! written under a temporary name, synced and renamed, and a [`Lock`] guards what two runs must not
//! do at once. Deleting the whole folder loses time, never work.

pub mod garbage;
mod owned;
mod turn;

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;
use thiserror::Error;

pub use self::owned::OwnedDir;
pub use self::turn::Turn;
use crate::failure::{Diagnose, Exit};
use crate::shell::Shell;

/// The cache folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

/// What went wrong with a file, on which path, while doing what.
#[derive(Debug, Error)]
pub enum CacheError {
    /// No variable names a place for the cache.
    #[error(
        "no cache folder: none of `KEYWAY_CACHE`, `XDG_CACHE_HOME`, `HOME`, `LOCALAPPDATA` is set"
    )]
    NoPlace,
    /// A file operation failed.
    #[error("could not {action} `{path}`", path = .path.shown())]
    Io {
        /// What was tried, such as `create`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl CacheError {
    /// For `map_err`: says what was tried on which path.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl Diagnose for CacheError {
    fn exit(&self) -> Exit {
        Exit::Environment
    }

    fn hint(&self) -> Option<String> {
        const MOVED: &str = "set `KEYWAY_CACHE` to";
        match self {
            Self::NoPlace => Some(format!("{MOVED} a folder with some gigabytes free")),
            Self::Io { source, path, .. } => {
                let is_cache = place().is_ok_and(|root| path.starts_with(root));
                let moved = |folder: &str| match is_cache {
                    true => format!(", or {MOVED} {folder}"),
                    false => String::new(),
                };
                let remedy = remedy(source, path)?;
                match source.kind() {
                    io::ErrorKind::StorageFull => {
                        Some(remedy + &moved("a folder on a larger disk"))
                    }
                    _ => Some(remedy + &moved("a folder that you may write")),
                }
            }
        }
    }
}

/// What to do where `source` kept a file from being written at `path`, if that is known.
pub(crate) fn remedy(source: &io::Error, path: &Path) -> Option<String> {
    let path = path.shown();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some(format!("free some space on the disk of `{path}`"))
        }
        io::ErrorKind::PermissionDenied => Some(format!("let this user write to `{path}`")),
        io::ErrorKind::ReadOnlyFilesystem => Some(format!(
            "`{path}` is on a file system that is mounted read-only: mount it otherwise"
        )),
        _ => None,
    }
}

/// The folder that the environment names for the cache.
fn place() -> Result<PathBuf, CacheError> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let root = variable("KEYWAY_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("keyway")))
        .or_else(|| variable("LOCALAPPDATA").map(|dir| dir.join("keyway").join("cache")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".cache").join("keyway")))
        .ok_or(CacheError::NoPlace)?;
    std::path::absolute(&root).map_err(CacheError::io("resolve", &root))
}

impl Cache {
    /// The cache that the environment names; the folder is created.
    ///
    /// # Errors
    /// If no variable names a place, or the folder can't be created.
    pub fn open() -> Result<Self, CacheError> {
        Self::at(place()?)
    }

    /// The cache that the environment names, to look at; nothing is created.
    ///
    /// # Errors
    /// If no variable names a place.
    pub fn look() -> Result<Self, CacheError> {
        Ok(Self { root: place()? })
    }

    /// The cache at an absolute path, which is created.
    ///
    /// # Errors
    /// If the folder can't be created.
    pub fn at(root: PathBuf) -> Result<Self, CacheError> {
        fs::create_dir_all(&root).map_err(CacheError::io("create", &root))?;
        Ok(Self { root })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder below the cache, created if it is missing.
    ///
    /// # Errors
    /// If it can't be created.
    pub fn dir(&self, relative: impl AsRef<Path>) -> Result<PathBuf, CacheError> {
        let path = self.root.join(relative);
        fs::create_dir_all(&path).map_err(CacheError::io("create", &path))?;
        Ok(path)
    }

    /// Takes the lock called `name`, waiting (and saying so) while another process has it.
    ///
    /// # Errors
    /// If the lock file can't be created or locked.
    pub fn lock(&self, name: &str, shell: &Shell) -> Result<Lock, CacheError> {
        Lock::take(&self.dir("locks")?.join(format!("{name}.lock")), shell)
    }

    /// Waits for the turn called `name`, for another run that `does` it.
    ///
    /// # Errors
    /// If the lock file can't be created or locked.
    pub fn turn(
        &self,
        name: &str,
        shell: &Shell,
        does: impl std::fmt::Display,
    ) -> Result<Turn, CacheError> {
        Turn::take(&self.dir("locks")?.join(format!("{name}.lock")), shell, does)
    }

    /// The turn at making what is called `name`, unless somebody has it.
    ///
    /// # Errors
    /// If the lock file can't be created or locked.
    pub fn try_turn(&self, name: &str) -> Result<Option<Turn>, CacheError> {
        Turn::try_take(&self.dir("locks")?.join(format!("{name}.lock")))
    }

    /// Keeps the content of the cache from being removed. Any number of runs do at once.
    ///
    /// # Errors
    /// If the lock file can't be created or locked.
    pub fn keep(&self, shell: &Shell) -> Result<Lock, CacheError> {
        let whom = "for `images gc`, which removes from the cache";
        Lock::wait(&self.contents()?, shell, whom, File::try_lock_shared, File::lock_shared)
    }

    /// Waits until nobody keeps the content of the cache, and lets nobody.
    ///
    /// # Errors
    /// If the lock file can't be created or locked.
    pub fn empty(&self, shell: &Shell) -> Result<Lock, CacheError> {
        let whom = "for runs that make images";
        Lock::wait(&self.contents()?, shell, whom, File::try_lock, File::lock)
    }

    fn contents(&self) -> Result<PathBuf, CacheError> {
        Ok(self.dir("locks")?.join("contents.lock"))
    }
}

/// A lock between processes; released when dropped or when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock file at `path`, waiting (and saying so) while another process has it.
    ///
    /// # Errors
    /// If the file can't be created or locked.
    pub fn take(path: &Path, shell: &Shell) -> Result<Self, CacheError> {
        let whom = format_args!("for another run that holds `{}`", path.shown());
        Self::wait(path, shell, whom, File::try_lock, File::lock)
    }

    fn wait(
        path: &Path,
        shell: &Shell,
        whom: impl std::fmt::Display,
        now: impl FnOnce(&File) -> Result<(), TryLockError>,
        later: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<Self, CacheError> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(CacheError::io("open", path))?;
        match now(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                shell.status("Waiting", whom);
                later(&file).map_err(CacheError::io("lock", path))?;
            }
            Err(TryLockError::Error(source)) => return Err(CacheError::io("lock", path)(source)),
        }
        Ok(Self { _file: file })
    }
}

/// Writes `bytes` to `path` so that a reader sees the old file or the new one, never a part:
/// a temporary file beside it, fsync, rename.
///
/// # Errors
/// If any of those steps fails; the old file is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".keyway-")
        .tempfile_in(dir)
        .map_err(CacheError::io("create a temporary file in", dir))?;
    file.write_all(bytes).map_err(CacheError::io("write", path))?;
    file.as_file().sync_all().map_err(CacheError::io("sync", path))?;
    set_shared_mode(file.as_file()).map_err(CacheError::io("set the mode of", path))?;
    file.persist(path).map_err(|error| CacheError::io("rename into place", path)(error.error))?;
    Ok(())
}

/// Writes `bytes` to `path` as [`write_atomically`] does, unless they are there already.
///
/// # Errors
/// Those of [`write_atomically`].
pub fn write_if_other(path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        Ok(())
    } else {
        write_atomically(path, bytes)
    }
}

/// Temporary files are made 0600; what is kept is 0644, as any file that a user writes.
#[cfg(unix)]
pub(crate) fn set_shared_mode(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
pub(crate) fn set_shared_mode(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use snapbox::{assert_data_eq, str};

    use super::*;

    /// The hint of a write that failed below a folder, which is shown as `[FOLDER]`.
    fn hint(folder: &Path, kind: io::ErrorKind) -> String {
        let error = CacheError::io("write", &folder.join("file"))(kind.into());
        error.hint().unwrap_or_default().replace(&*folder.to_string_lossy(), "[FOLDER]")
    }

    #[test]
    fn a_hint_names_what_failed() {
        let cache = place().expect("the environment of tests names one");
        assert_data_eq!(
            hint(&cache, io::ErrorKind::StorageFull),
            str![
                "free some space on the disk of `[FOLDER]/file`, or set `KEYWAY_CACHE` to a folder on a larger disk"
            ]
        );
        assert_data_eq!(
            hint(&cache, io::ErrorKind::ReadOnlyFilesystem),
            str![
                "`[FOLDER]/file` is on a file system that is mounted read-only: mount it otherwise, or set `KEYWAY_CACHE` to a folder that you may write"
            ]
        );
        // Whatever else fails has nothing to do with the cache.
        let state = Path::new("/workspace/target/keyway");
        assert_data_eq!(
            hint(state, io::ErrorKind::StorageFull),
            str!["free some space on the disk of `[FOLDER]/file`"]
        );
        assert_data_eq!(
            hint(state, io::ErrorKind::PermissionDenied),
            str!["let this user write to `[FOLDER]/file`"]
        );
        assert_data_eq!(hint(state, io::ErrorKind::NotFound), str![]);
    }
}
