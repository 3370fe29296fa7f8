//! Files and folders of a delivery: written durably, and put in each other's place.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::DistError;

/// What is added to the name of a folder that waits for another to take its place.
pub(super) const ASIDE: &str = ".old";

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), DistError> {
    let mut file = File::create(path).map_err(DistError::io("create", path))?;
    file.write_all(bytes).map_err(DistError::io("write", path))?;
    file.sync_all().map_err(DistError::io("sync", path))?;
    set_mode(path, 0o644)
}

/// Creates a folder that only this user can write to, whatever the umask: the gate refuses what others
/// may write.
pub(super) fn create_folder(path: &Path) -> Result<(), DistError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => {
            created.map_err(DistError::io("create", path))?;
            set_mode(path, 0o755)
        }
    }
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> Result<(), DistError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(DistError::io("set the mode of", path))
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> Result<(), DistError> {
    Ok(())
}

/// Names are durable once their folder is synced; only Unix can open a folder.
pub(super) fn sync_folder(folder: &Path) -> Result<(), DistError> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|file| file.sync_all())
            .map_err(DistError::io("sync", folder))?;
    }
    Ok(())
}

/// Puts `new` where `old` is; what was there is then at `new`, or gone if there was nothing.
pub(super) fn change_places(new: &Path, old: &Path) -> io::Result<()> {
    if fs::symlink_metadata(old).is_err() {
        return fs::rename(new, old);
    }
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
            // A file system that can't exchange is treated as below.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            other => return other.map_err(Into::into),
        }
    }
    // Not one step: for a moment there is no such folder, never a torn one.
    let mut aside = new.as_os_str().to_owned();
    aside.push(ASIDE);
    fs::rename(old, &aside)?;
    fs::rename(new, old)?;
    fs::rename(&aside, new)
}

/// Moves a file or folder to a name that nothing has.
pub(super) fn put_back(from: &Path, to: &Path) -> io::Result<()> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}
