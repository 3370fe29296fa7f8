//! Folders of this machine without what a command must not see there.
//!
//! `.git` is seen by no build: an engine that copies does not send it, and a build that reads it would
//! differ between a clone, a working tree, an archive of the same commit, and the next commit. A mount
//! that covered it would leave something in its place, so the folder that holds it is not mounted itself:
//! a skeleton of it is, with the same names and links, and each of its entries on top of that.

use std::borrow::Cow;
use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Hasher};

use super::EngineError;
use crate::cache::Cache;
use crate::container::{Access, Command, Mount};

/// `command` with mounts that leave out what it hides.
pub(super) fn of<'c>(
    engine: &'static str,
    command: &'c Command,
    cache: &Cache,
) -> Result<Cow<'c, Command>, EngineError> {
    let hides = |mount: &Mount| {
        let is_inside = |hidden: &PathBuf| hidden.starts_with(&mount.host) && hidden.exists();
        mount.access == Access::ReadOnly && command.hidden.iter().any(is_inside)
    };
    if !command.mounts.iter().any(hides) {
        return Ok(Cow::Borrowed(command));
    }
    let mut mounts = Vec::new();
    for mount in &command.mounts {
        if hides(mount) {
            let all = skeleton(mount, &command.hidden, cache);
            mounts.extend(all.map_err(|error| EngineError::NotStarted {
                engine,
                command: super::display(&command.argv),
                reason: format!("could not list `{}`: {error}", mount.host.shown()),
            })?);
        } else {
            mounts.push(mount.clone());
        }
    }
    Ok(Cow::Owned(Command { mounts, ..command.clone() }))
}

/// An entry of a folder that is shown entry by entry.
enum Entry {
    /// Shown as it is.
    Whole { is_folder: bool },
    /// A folder that holds something hidden.
    Part,
    /// A link, which can't be mounted.
    Link(PathBuf),
}

fn skeleton(mount: &Mount, hidden: &[PathBuf], cache: &Cache) -> io::Result<Vec<Mount>> {
    let mut entries = Vec::new();
    let mut hasher = Hasher::new();
    list(&mount.host, Path::new(""), hidden, &mut entries, &mut hasher)?;
    let name = hasher.finish();
    let folder = cache.dir("views").map_err(io::Error::other)?.join(name.short());
    let shown = |path: &Path, host: PathBuf| Mount {
        host,
        guest: if path.as_os_str().is_empty() {
            mount.guest.clone()
        } else {
            mount.guest.join(path)
        },
        access: Access::ReadOnly,
    };
    fs::create_dir_all(&folder)?;
    let mut mounts = vec![shown(Path::new(""), folder.clone())];
    for (path, entry) in entries {
        let place = folder.join(&path);
        match entry {
            Entry::Part => fs::create_dir_all(&place)?,
            Entry::Link(to) => link(&to, &place)?,
            Entry::Whole { is_folder } => {
                if is_folder {
                    fs::create_dir_all(&place)?;
                } else {
                    File::options().create(true).append(true).open(&place)?;
                }
                mounts.push(shown(&path, mount.host.join(&path)));
            }
        }
    }
    Ok(mounts)
}

/// Lists what has to be shown entry by entry, a folder before what is in it.
fn list(
    root: &Path,
    way: &Path,
    hidden: &[PathBuf],
    all: &mut Vec<(PathBuf, Entry)>,
    hasher: &mut Hasher,
) -> io::Result<()> {
    let mut entries = fs::read_dir(root.join(way))?.collect::<io::Result<Vec<DirEntry>>>()?;
    entries.sort_by_key(DirEntry::file_name);
    for entry in entries {
        let (path, way) = (entry.path(), way.join(entry.file_name()));
        if hidden.contains(&path) {
            continue;
        }
        let kind = entry.file_type()?;
        // A mount shows this very file or folder, so a running container does not see one that takes its
        // place: another one is another view.
        let holds_hidden = || hidden.iter().any(|hidden| hidden.starts_with(&path));
        let (entry, text) = if kind.is_symlink() {
            let to = fs::read_link(&path)?;
            let text = format!("link {}", to.to_string_lossy());
            (Entry::Link(to), text)
        } else if kind.is_dir() && holds_hidden() {
            (Entry::Part, "part".to_owned())
        } else if kind.is_dir() {
            (Entry::Whole { is_folder: true }, format!("folder {}", identity(&entry)?))
        } else if kind.is_file() {
            (Entry::Whole { is_folder: false }, format!("file {}", identity(&entry)?))
        } else {
            continue;
        };
        hasher.update(Digest::of(way.as_os_str().as_encoded_bytes()).to_string().as_bytes());
        hasher.update(format!("{text}\n").as_bytes());
        let is_part = matches!(entry, Entry::Part);
        all.push((way.clone(), entry));
        if is_part {
            list(root, &way, hidden, all, hasher)?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn identity(entry: &DirEntry) -> io::Result<u64> {
    entry.metadata().map(|metadata| std::os::unix::fs::MetadataExt::ino(&metadata))
}

#[cfg(not(unix))]
fn identity(_: &DirEntry) -> io::Result<u64> {
    Ok(0)
}

#[cfg(unix)]
fn link(to: &Path, at: &Path) -> io::Result<()> {
    match std::os::unix::fs::symlink(to, at) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::Error::other("links are shown on Unix only"))
}
