//! A target's standard library, compiled from Debian's source of it inside the image.
//!
//! It is compiled without the compilers of C that the recipes add: an edit of one of them then costs no
//! standard library. The script links build scripts by zig itself.
//!
//! The source is a throw-away layer on top, so that no image that builds plugins has it: with it in
//! the sysroot, the paths in panics of the prebuilt library would change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::Triple;
use thiserror::Error;

use super::member::{Member, MemberError};
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
    let lib = scratch.path().join("lib");
    let files = read(&lib).map_err(CacheError::io("read", &lib))?;
    if !files.iter().any(|(file, _)| file.starts_with("libstd-")) {
        return Err(StandardLibraryError::Nothing { target: target.clone() });
    }
    let placed = |(file, path)| (format!("usr/lib/rustlib/{target}/lib/{file}"), path);
    Ok(Member::of_files(&format!("std {target}"), files.into_iter().map(placed))?)
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
