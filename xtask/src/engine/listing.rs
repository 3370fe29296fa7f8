//! What is in a folder, as far as it is sent elsewhere: every file by its content, every link by what
//! it leads to. Not `.git`, and no folder that says in `CACHEDIR.TAG` that it can be made again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use keyway_manifest::Digest;
use serde::{Deserialize, Serialize};

use crate::inputs::{StatCache, is_cache};

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Entry {
    File { digest: Digest, is_executable: bool },
    Link { to: String },
    Folder,
}

/// Everything in `folder`, by its path below the first one.
pub(super) fn walk(
    folder: &Path,
    below: &str,
    stat: &mut StatCache,
    found: &mut BTreeMap<String, Entry>,
) -> io::Result<()> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    if is_cache(folder, &entries) {
        return Ok(());
    }
    for entry in entries {
        match add(&entry, below, stat, found) {
            // Deleted or renamed since the folder was read: other runs use zig's cache too.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !entry.path().exists() => {}
            added => added?,
        }
    }
    Ok(())
}

/// Adds one entry of a folder, and everything below it.
fn add(
    entry: &fs::DirEntry,
    below: &str,
    stat: &mut StatCache,
    found: &mut BTreeMap<String, Entry>,
) -> io::Result<()> {
    let Ok(name) = entry.file_name().into_string() else {
        return Ok(());
    };
    if name == ".git" {
        return Ok(());
    }
    let path = entry.path();
    let relative = if below.is_empty() { name } else { format!("{below}/{name}") };
    let kind = entry.file_type()?;
    if kind.is_dir() {
        found.insert(relative.clone(), Entry::Folder);
        walk(&path, &relative, stat, found)?;
    } else if kind.is_symlink() {
        let to = fs::read_link(&path)?.to_string_lossy().into_owned();
        found.insert(relative, Entry::Link { to });
    } else if kind.is_file() {
        let digest = stat.digest(&path).map_err(io::Error::other)?;
        let is_executable = is_executable(&entry.metadata()?);
        found.insert(relative, Entry::File { digest, is_executable });
    }
    Ok(())
}

pub(super) fn entry_of(path: &Path) -> io::Result<Entry> {
    let digest = Digest::of(fs::read(path)?);
    Ok(Entry::File { digest, is_executable: is_executable(&fs::metadata(path)?) })
}

#[cfg(unix)]
fn is_executable(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &fs::Metadata) -> bool {
    false
}

pub(super) fn slashed(path: &Path) -> String {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}
