//! A target's standard library, compiled from Debian's source of it inside the image.
//!
//! The source is a throw-away layer on top, so that no image that builds plugins has it: with it in
//! the sysroot, the paths in panics of the prebuilt library would change.

use std::fs;
use std::path::Path;

use keyway_manifest::Triple;
use thiserror::Error;

use super::member::{Content, Data, Entries, Kind, Member, MemberError};
use super::run::{self, RunError, Scratch};
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
    let member = collect(target, &scratch.path().join("lib"))?;
    if member.entries.iter().any(|entry| entry.path.contains("/libstd-")) {
        Ok(member)
    } else {
        Err(StandardLibraryError::Nothing { target: target.clone() })
    }
}

fn collect(target: &Triple, folder: &Path) -> Result<Member, StandardLibraryError> {
    let name = format!("std {target}");
    let mut entries = Entries::of(&name);
    let read = || -> std::io::Result<Vec<_>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            files.push((entry.file_name(), entry.path(), entry.metadata()?.len()));
        }
        files.sort();
        Ok(files)
    };
    let mut paths = Vec::new();
    for (file, path, size) in read().map_err(CacheError::io("read", folder))? {
        let file = entries.path(file.as_encoded_bytes())?;
        let data = Data { at: paths.len() as u64, size };
        let into = format!("usr/lib/rustlib/{target}/lib/{file}");
        entries.add(into, Kind::File(data), 0o644, u64::MAX)?;
        paths.push(path);
    }
    Ok(Member { name, entries: entries.finish(), content: Content::Files(paths) })
}
