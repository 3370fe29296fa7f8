//! Where state lives outside the workspace: `$KEYWAY_CACHE`, else the platform's cache folder.
//!
//! Content-addressed, shared by all workspaces of a user, safe under several processes: files are
//! written under a temporary name, synced and renamed, and a [`Lock`] guards what two runs must not
//! do at once. Deleting the whole folder loses time, never work.

pub mod garbage;

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

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
    #[error("could not {action} `{path}`")]
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
        match self {
            Self::NoPlace => Some("set `KEYWAY_CACHE` to a folder with some gigabytes free".into()),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => Some(
                    "free some space, or set `KEYWAY_CACHE` to a folder on a larger disk".into(),
                ),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some("set `KEYWAY_CACHE` to a folder that you may write".into())
                }
                _ => None,
            },
        }
    }
}

impl Cache {
    /// The cache that the environment names; the folder is created.
    ///
    /// # Errors
    /// If no variable names a place, or the folder can't be created.
    pub fn open() -> Result<Self, CacheError> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let root = variable("KEYWAY_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("keyway")))
            .or_else(|| variable("LOCALAPPDATA").map(|dir| dir.join("keyway").join("cache")))
            .or_else(|| variable("HOME").map(|dir| dir.join(".cache").join("keyway")))
            .ok_or(CacheError::NoPlace)?;
        let root = std::path::absolute(&root).map_err(CacheError::io("resolve", &root))?;
        Self::at(root)
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
}

/// An exclusive lock between processes; released when dropped or when the process ends.
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
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(CacheError::io("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                shell.status(
                    "Waiting",
                    format_args!("for another run that holds `{}`", path.display()),
                );
                file.lock().map_err(CacheError::io("lock", path))?;
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
