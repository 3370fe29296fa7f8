//! A target's standard library, compiled from Debian's source of it inside the image.
//!
//! The source is a throw-away layer on top, so that no image that builds plugins has it: with it in
//! the sysroot, the paths in panics of the prebuilt library would change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::Triple;
use thiserror::Error;

use super::member::{Content, Data, Entries, Kind, Member, MemberError};
use super::run::{self, RunError, Scratch};
use super::zig_cache::{self, ZigCacheError};
use crate::cache::CacheError;
use crate::container::{Image, Runner};

/// What is compiled, and how.
pub const SCRIPT: &str = include_str!("standard_library.sh");

/// The paths of the source package, and of the one that bootstraps, that the compilation reads.
pub const SOURCE_PATHS: [&str; 3] =
    ["usr/src/rustc-*/library", "usr/lib/rustlib/src/rust", "usr/lib/rustlib/*/lib"];

/// Why a standard library can't be compiled.
#[derive(Debug, Error)]
pub enum StandardLibraryError {
    /// The compilation failed.
    #[error("could not compile the standard library for `{target}`")]
    Compile {
        /// The target.
        target: Triple,
        /// Why.
        source: RunError,
    },
    /// It brought no library.
    #[error("compiling the standard library for `{target}` brought no `libstd`")]
    Nothing {
        /// The target.
        target: Triple,
    },
    /// What zig compiled for it can't be used.
    #[error(transparent)]
    Zig(#[from] ZigCacheError),
    /// A file of it has a name that no layer may have.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The cache can't be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Compiles the standard library for `target` in `image`, which has the source.
///
/// # Errors
/// If the compilation fails or brings nothing.
pub fn compile(
    target: &Triple,
    image: &Image,
    runner: &dyn Runner,
    scratch: &Scratch,
) -> Result<Member, StandardLibraryError> {
    run::script(runner, image, SCRIPT, &[target.as_str()], scratch)
        .map_err(|source| StandardLibraryError::Compile { target: target.clone(), source })?;
    let member = collect(target, scratch.path())?;
    if member.entries.iter().any(|entry| entry.path.contains("/libstd-")) {
        Ok(member)
    } else {
        Err(StandardLibraryError::Nothing { target: target.clone() })
    }
}

/// The library and zig's part of it, as the script left them in `folder`.
fn collect(target: &Triple, folder: &Path) -> Result<Member, StandardLibraryError> {
    let name = format!("std {target}");
    let mut entries = Entries::of(&name);
    let lib = folder.join("lib");
    let mut files = read(&lib).map_err(CacheError::io("read", &lib))?;
    for (file, _) in &mut files {
        *file = format!("usr/lib/rustlib/{target}/lib/{file}");
    }
    let zig = zig_cache::detach(&folder.join("zig/cache"))?;
    files
        .extend(zig.into_iter().map(|(file, path)| (format!("{}/{file}", zig_cache::PLACE), path)));
    let mut paths = Vec::new();
    for (into, path) in files {
        let size = fs::metadata(&path).map_err(CacheError::io("read", &path))?.len();
        let data = Data { at: paths.len() as u64, size };
        let into = entries.path(into.as_bytes())?;
        entries.add(into, Kind::File(data), 0o644, u64::MAX)?;
        paths.push(path);
    }
    Ok(Member { name, entries: entries.finish(), content: Content::Files(paths) })
}

/// The files of a folder by name, sorted.
fn read(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    files.sort();
    Ok(files)
}
