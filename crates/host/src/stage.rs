//! Where checked bytes become a file that the system's loader can open.
//!
//! A loader knows libraries by their path: two files of one name, one after the other, are the same
//! library to it. So every load gets a name of its own, in a folder that only this user can enter
//! and that no one else knows. On Unix the file goes as soon as it is loaded; on Windows a loaded
//! file can't be deleted, so it goes when its library has been unloaded.
//!
//! Where the folder's file system allows no code (`noexec`), the file is one in memory on Linux
//! (`stage/memory.rs`), and the folder holds a link to it; elsewhere the error names the folder.

#[cfg(target_os = "linux")]
mod memory;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyway_manifest::FileName;
use keyway_manifest::text::Show as _;
use tempfile::TempDir;
use thiserror::Error;

/// What the names of stage folders begin with.
const PREFIX: &str = "keyway-stage-";

/// The file that a living process keeps open in its folder, so that others leave it alone.
const LOCK: &str = "lock";

/// Why bytes could not be staged.
#[derive(Debug, Error)]
pub enum StageError {
    /// The folder was not made.
    #[error("no private folder for plugins could be made in `{path}`", path = .path.shown())]
    Folder {
        /// The folder for temporary files.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder's file system allows no code, and nothing else here does.
    #[error(
        "no code can be loaded from `{path}`: the system forbids it there (`noexec`?); let `TMPDIR` or \
         `Host::staging_in` name a folder where it is allowed", path = .path.shown()
    )]
    NoCode {
        /// The folder for temporary files.
        path: PathBuf,
    },
    /// The host is one for plugins that are compiled in.
    #[error("this host was made without a folder for libraries: it loads none")]
    Nowhere,
    /// A file was not written.
    #[error("the checked bytes could not be written to `{path}`", path = .path.shown())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A private folder for libraries that are being loaded.
#[derive(Debug, Clone)]
pub(crate) struct Stage(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    /// Closed before the folder is deleted: fields are dropped in order.
    _lock: File,
    folder: TempDir,
    keeps: Keeps,
    count: AtomicU64,
}

/// What a stage's folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// The libraries.
    Files,
    /// Links to libraries that are files in memory.
    #[cfg(target_os = "linux")]
    Links,
}

/// A file in the stage; deleted when dropped, if it was not before.
#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
    /// The file in memory that the path leads to.
    #[cfg(target_os = "linux")]
    _memory: Option<File>,
    /// Keeps the folder until its last file has gone.
    _stage: Stage,
}

impl Stage {
    /// A new folder in `parent`.
    pub(crate) fn new(parent: &Path) -> Result<Self, StageError> {
        sweep(parent);
        let error = |source| StageError::Folder { path: parent.to_owned(), source };
        let folder = private_folder(parent).map_err(error)?;
        let lock = create_locked(&folder.path().join(LOCK)).map_err(error)?;
        let keeps =
            keeps(folder.path()).ok_or_else(|| StageError::NoCode { path: parent.to_owned() })?;
        Ok(Self(Arc::new(Folder { _lock: lock, folder, keeps, count: AtomicU64::new(0) })))
    }

    /// The folder that it was made in.
    pub(crate) fn parent(&self) -> &Path {
        let folder = self.0.folder.path();
        folder.parent().unwrap_or(folder)
    }

    /// Writes `bytes` to a new file whose name begins with that of this load and ends with `name`.
    pub(crate) fn write(&self, name: &FileName, bytes: &[u8]) -> Result<Staged, StageError> {
        let number = self.0.count.fetch_add(1, Ordering::Relaxed);
        let path = self.0.folder.path().join(format!("{number}-{name}"));
        let error = |source| StageError::Write { path: path.clone(), source };
        // Made first, so that a half-written file goes too.
        #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "has no file in memory"))]
        let mut staged = Staged {
            path: path.clone(),
            #[cfg(target_os = "linux")]
            _memory: None,
            _stage: self.clone(),
        };
        match self.0.keeps {
            Keeps::Files => {
                let mut file = create(&path).map_err(error)?;
                file.write_all(bytes).map_err(error)?;
            }
            #[cfg(target_os = "linux")]
            Keeps::Links => {
                staged._memory = Some(memory::write(&path, name.as_str(), bytes).map_err(error)?);
            }
        }
        Ok(staged)
    }
}

impl Staged {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What can't be deleted now goes with the folder, or when the next process sweeps.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What a folder is to hold; nothing if no code can be loaded here.
#[cfg(target_os = "linux")]
fn keeps(folder: &Path) -> Option<Keeps> {
    if memory::allows_code(folder) {
        return Some(Keeps::Files);
    }
    memory::is_there().then_some(Keeps::Links)
}

/// Other systems say so when a library is loaded.
#[cfg(not(target_os = "linux"))]
fn keeps(_: &Path) -> Option<Keeps> {
    Some(Keeps::Files)
}

#[cfg(unix)]
fn private_folder(parent: &Path) -> io::Result<TempDir> {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    let mode = Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix(PREFIX).permissions(mode).tempdir_in(parent)
}

/// A user's own folder for temporary files is private on Windows, and what is made in it likewise.
#[cfg(windows)]
fn private_folder(parent: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)
}

#[cfg(unix)]
fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    OpenOptions::new().write(true).create_new(true).mode(0o500).open(path)
}

#[cfg(windows)]
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// The lock holds as long as the process lives, however it ends.
fn create_locked(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.try_lock().map_err(|error| match error {
        std::fs::TryLockError::Error(error) => error,
        std::fs::TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
    })?;
    Ok(file)
}

/// Deletes the folders of processes that ended without doing so. A folder without a lock file is
/// being made just now, or is somebody else's; both are left alone.
fn sweep(parent: &Path) {
    let entries = parent.read_dir().into_iter().flatten().flatten();
    let folders = entries.filter(|entry| {
        entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
    });
    for folder in folders {
        let lock = OpenOptions::new().write(true).open(folder.path().join(LOCK));
        let Ok(lock) = lock else { continue };
        if lock.try_lock().is_ok() {
            drop(lock);
            // Fails for a folder of another user, and that is well.
            let _ = std::fs::remove_dir_all(folder.path());
        }
    }
}
