//! What of the cache is not needed any more: how large it is, and away with it. What is needed, the
//! stage that filled a folder knows.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::CacheError;

/// Something in the cache that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// The file or folder.
    pub path: PathBuf,
    /// Its bytes on disk.
    pub size: u64,
}

impl Garbage {
    /// What lies at `path`; files that were `seen` under another name do not count.
    ///
    /// # Errors
    /// If something below can't be looked at.
    pub(crate) fn of(path: PathBuf, seen: &mut BTreeSet<(u64, u64)>) -> Result<Self, CacheError> {
        Ok(Self { size: size(&path, seen)?, path })
    }
}

/// What lies in a folder, sorted; nothing does if it is not there.
///
/// # Errors
/// If it can't be read.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut entries = match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(CacheError::io("list", folder))?,
    };
    entries.sort();
    Ok(entries)
}

/// Bytes on disk below `path`, without files that were `seen` under another name.
///
/// # Errors
/// If something below can't be looked at.
pub(crate) fn size(path: &Path, seen: &mut BTreeSet<(u64, u64)>) -> Result<u64, CacheError> {
    let metadata = fs::symlink_metadata(path).map_err(CacheError::io("look at", path))?;
    if metadata.is_dir() {
        return entries(path)?.iter().map(|entry| size(entry, seen)).sum();
    }
    Ok(if first_name(&metadata, seen) { metadata.len() } else { 0 })
}

#[cfg(unix)]
fn first_name(metadata: &fs::Metadata, seen: &mut BTreeSet<(u64, u64)>) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.nlink() < 2 || seen.insert((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn first_name(_: &fs::Metadata, _: &mut BTreeSet<(u64, u64)>) -> bool {
    true
}

/// Removes a file or a folder. An unpacked image may hold folders without the write bit.
///
/// # Errors
/// If it can't be removed.
pub(crate) fn remove(path: &Path) -> Result<(), CacheError> {
    let metadata = fs::symlink_metadata(path).map_err(CacheError::io("look at", path))?;
    if !metadata.is_dir() {
        return fs::remove_file(path).map_err(CacheError::io("remove", path));
    }
    make_writable(path)?;
    fs::remove_dir_all(path).map_err(CacheError::io("remove", path))
}

#[cfg(unix)]
fn make_writable(folder: &Path) -> Result<(), CacheError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(folder, mode).map_err(CacheError::io("make writable", folder))?;
    for entry in entries(folder)? {
        let is_folder = fs::symlink_metadata(&entry).is_ok_and(|metadata| metadata.is_dir());
        if is_folder {
            make_writable(&entry)?;
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_writable(_: &Path) -> Result<(), CacheError> {
    Ok(())
}
