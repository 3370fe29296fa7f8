//! Files as they are laid out for a build: with the time that cargo gives the files of a package, since
//! cargo inside compares times, and what lies here under one path never changes.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The time of every file in a package that cargo makes.
const TIME_S: u64 = 1_153_704_088;

/// Writes a file, and the folders that it needs.
pub(super) fn write(to: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    fs::write(to, bytes)?;
    set_time(to)
}

/// Copies a file with its permissions, and makes the folders that it needs.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    fs::copy(from, to)?;
    set_time(to)
}

/// Gives a file the time that all have.
pub(super) fn set_time(path: &Path) -> io::Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(TIME_S);
    File::open(path)?.set_modified(time)
}

/// What [`visit`] comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    File,
    Link,
}

/// Calls `each` with the path of every file and link below `folder`, relative to it, in order. Folders
/// and files called `.git` belong to version control.
pub(super) fn visit(
    folder: &Path,
    each: &mut dyn FnMut(&Path, Found) -> io::Result<()>,
) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries.into_iter().filter(|entry| entry.file_name() != ".git") {
        let name = entry.file_name();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            visit(&entry.path(), &mut |below, found| each(&Path::new(&name).join(below), found))?;
        } else if kind.is_symlink() {
            each(Path::new(&name), Found::Link)?;
        } else if kind.is_file() {
            each(Path::new(&name), Found::File)?;
        }
    }
    Ok(())
}

/// Makes a link.
#[cfg(unix)]
pub(super) fn link(target: &Path, at: &Path) -> io::Result<()> {
    fs::create_dir_all(at.parent().unwrap_or(at))?;
    std::os::unix::fs::symlink(target, at)
}

/// Makes a link.
#[cfg(not(unix))]
pub(super) fn link(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Lets whoever may read a file also run it.
#[cfg(unix)]
pub(super) fn set_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// Lets whoever may read a file also run it.
#[cfg(not(unix))]
pub(super) fn set_executable(_: &Path) -> io::Result<()> {
    Ok(())
}
