//! A layer of what a recipe's script leaves behind when it runs in the image, for what only a program
//! of the image can make, such as Wine's prefix.
//!
//! The script must be reproducible: its result is locked by digest like any other layer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::member::{Content, Data, Entries, EntryProblem, Kind, Member, MemberError};
use super::run::{self, RunError, Scratch};
use crate::cache::CacheError;
use crate::container::{Image, Runner};

/// Why a script gave no layer.
#[derive(Debug, Error)]
pub enum BakeError {
    /// The script failed.
    #[error("the recipe's script failed")]
    Run(#[from] RunError),
    /// The script left behind what no layer may have.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// What it left behind can't be read.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Runs `script` in `image`; all that is in `/out` afterwards goes `into` a folder of the layer.
///
/// # Errors
/// If the script fails, or leaves behind a device or the like.
pub fn run(
    image: &Image,
    script: &[u8],
    into: &str,
    runner: &dyn Runner,
    scratch: &Scratch,
) -> Result<Member, BakeError> {
    run::script(
        runner,
        image,
        &String::from_utf8_lossy(script),
        &[],
        scratch,
    )?;
    let name = format!("script of {}", image.name);
    let mut entries = Entries::of(&name);
    let mut files = Vec::new();
    collect(scratch.path(), into, &mut entries, &mut files)?;
    Ok(Member {
        name,
        entries: entries.finish(),
        content: Content::Files(files),
    })
}

fn collect(
    folder: &Path,
    into: &str,
    entries: &mut Entries,
    files: &mut Vec<PathBuf>,
) -> Result<(), BakeError> {
    let read = |path: &Path| -> io::Result<Vec<PathBuf>> {
        let list: io::Result<Vec<_>> = fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect();
        list.map(|mut list| {
            list.sort();
            list
        })
    };
    for path in read(folder).map_err(CacheError::io("read", folder))? {
        let file = path.file_name().unwrap_or_default().as_encoded_bytes();
        let place = entries.path(&[into.as_bytes(), b"/", file].concat())?;
        let metadata = fs::symlink_metadata(&path).map_err(CacheError::io("look at", &path))?;
        if metadata.is_dir() {
            entries.add(place.clone(), Kind::Directory, 0o755, u64::MAX)?;
            collect(&path, &place, entries, files)?;
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path).map_err(CacheError::io("read", &path))?;
            let target = entries.link_target(&place, target.as_os_str().as_encoded_bytes())?;
            entries.add(place, Kind::Symlink(target), 0o777, u64::MAX)?;
        } else if metadata.is_file() {
            let mode = if is_program(&metadata) { 0o755 } else { 0o644 };
            let data = Data {
                at: files.len() as u64,
                size: metadata.len(),
            };
            entries.add(place, Kind::File(data), mode, u64::MAX)?;
            files.push(path);
        } else {
            return Err(entries
                .error(place.as_bytes(), EntryProblem::Special('?'))
                .into());
        }
    }
    Ok(())
}

#[cfg(unix)]
fn is_program(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_program(_: &fs::Metadata) -> bool {
    false
}
