//! Artifacts: from what cargo said it made to a library's bytes and the files it was made from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;
use keyway_manifest::{FileName, ParseNameError};
use thiserror::Error;

use crate::failure::{Diagnose, Exit};
use crate::placement::Placement;
use crate::plan::TARGET;
use crate::run::{Folders, Library};

/// A cdylib that a step produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The name it is delivered under: cargo's own, which loaders expect.
    pub file: FileName,
    /// Cargo's folder for the target and profile, on this machine.
    pub folder: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
    /// The package's features.
    pub features: Vec<String>,
    /// Files that it was made from, relative to the workspace's root.
    pub sources: Vec<PathBuf>,
}

/// Why what cargo named is no artifact.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// None of the files that cargo named is a dynamic library.
    #[error("cargo built `{plugin}` but named no dynamic library, only: {files}")]
    NoLibrary {
        /// The plugin.
        plugin: String,
        /// What it named.
        files: String,
    },
    /// The library's name is not one that every system can hold.
    #[error("the library of `{plugin}` can't be delivered")]
    Name {
        /// The plugin.
        plugin: String,
        /// Why.
        source: ParseNameError,
    },
    /// A file that cargo named can't be read.
    #[error("could not read `{path}`, which cargo named for `{plugin}`", path = .path.shown())]
    Read {
        /// The plugin.
        plugin: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Diagnose for ArtifactError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoLibrary { .. } | Self::Name { .. } => Exit::Failed,
            Self::Read { .. } => Exit::Environment,
        }
    }
}

impl Artifact {
    /// Reads the library that cargo made for `plugin`.
    ///
    /// # Errors
    /// If cargo named no dynamic library, or it can't be read.
    pub fn read(plugin: &str, library: &Library, folders: &Folders) -> Result<Self, ArtifactError> {
        let guest = dynamic(library).ok_or_else(|| ArtifactError::NoLibrary {
            plugin: plugin.to_owned(),
            files: library
                .files
                .iter()
                .map(|file| file.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        let file = guest.file_name().unwrap_or_default().to_string_lossy();
        let file = file
            .parse()
            .map_err(|source| ArtifactError::Name { plugin: plugin.to_owned(), source })?;
        let path = on_host(guest, folders);
        let bytes = fs::read(&path).map_err(|source| ArtifactError::Read {
            plugin: plugin.to_owned(),
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            file,
            folder: path.parent().map(Path::to_owned).unwrap_or_default(),
            bytes,
            features: library.features.iter().cloned().collect(),
            sources: sources_of(library, folders),
        })
    }
}

/// The files that a library was made from, relative to the workspace's root.
pub fn sources_of(library: &Library, folders: &Folders) -> Vec<PathBuf> {
    let dep_info = dynamic(library).map(|guest| on_host(guest, folders).with_extension("d"));
    let dep_info = dep_info.and_then(|path| fs::read_to_string(path).ok());
    sources(&dep_info.unwrap_or_default(), &folders.placement)
}

fn dynamic(library: &Library) -> Option<&PathBuf> {
    let is_dynamic = |path: &&PathBuf| {
        path.extension()
            .is_some_and(|extension| ["so", "dll", "dylib"].iter().any(|e| extension == *e))
    };
    library.files.iter().find(is_dynamic)
}

/// Where a path below an image's `/target` lies on this machine.
pub fn on_host(guest: &Path, folders: &Folders) -> PathBuf {
    match guest.strip_prefix(TARGET) {
        Ok(relative) => folders.target.join(relative),
        Err(_) => guest.to_owned(),
    }
}

/// The files of this machine in cargo's dep-info: `output: file file …`, a space within a name
/// written as `\ `. They include what `include_str!` reads and what a build script names.
fn sources(dep_info: &str, placement: &Placement) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for line in dep_info.lines() {
        let Some((_, files)) = line.split_once(": ") else {
            continue;
        };
        let files = files.replace("\\ ", "\0");
        let files = files.split(' ').map(|file| PathBuf::from(file.replace('\0', " ")));
        sources.extend(files.filter_map(|file| placement.relative(&file)));
    }
    sources.sort();
    sources.dedup();
    sources
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn folders(target: &Path) -> Folders {
        let none = PathBuf::new();
        let placement = Placement::new(Path::new("/home/ws"), &[]);
        Folders { placement, target: target.to_owned(), cargo: none.clone(), zig: none }
    }

    fn library(files: &[&str]) -> Library {
        Library { files: files.iter().map(PathBuf::from).collect(), features: BTreeSet::new() }
    }

    #[test]
    fn reads_the_library_and_what_it_was_made_from() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("greet.dll"), "bytes").expect("write");
        // `include_str!("../../README.md")` is written as it was found: by way of the package's folder.
        let dep_info =
            "/target/greet.dll: /work/a\\ b/lib.rs /work/a\\ b/../README.md /cargo/vendor/x.rs\n";
        fs::write(dir.path().join("greet.d"), dep_info).expect("write");
        let files = ["/target/libgreet.dll.a", "/target/greet.dll"];
        let artifact =
            Artifact::read("greet", &library(&files), &folders(dir.path())).expect("read");
        assert_eq!(artifact.file.as_str(), "greet.dll");
        assert_eq!(artifact.bytes, b"bytes");
        assert_eq!(artifact.sources, [Path::new("README.md"), Path::new("a b/lib.rs")]);
    }

    #[test]
    fn says_which_plugin_has_no_library() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let read = |files: &[&str]| Artifact::read("greet", &library(files), &folders(dir.path()));
        let error = read(&["/target/libgreet.rlib"]).expect_err("no library");
        assert!(matches!(error, ArtifactError::NoLibrary { .. }), "{error}");
        let error = read(&["/target/greet.dll"]).expect_err("no file");
        assert!(matches!(error, ArtifactError::Read { .. }), "{error}");
        let error = read(&["/target/gr\u{e9}et.dll"]).expect_err("no plain name");
        assert!(matches!(error, ArtifactError::Name { .. }), "{error}");
    }
}
