//! The crates that `docker/apple/Cargo.lock` pins, fetched and checked by cargo, and their source.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;
use thiserror::Error;

use crate::declarations::Declarations;

/// Why the source of a crate can't be read.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Cargo could not fetch them.
    #[error("cargo could not fetch what `{manifest}` names")]
    Cargo {
        /// The manifest.
        manifest: PathBuf,
        /// Why.
        source: Box<cargo_metadata::Error>,
    },
    /// A file can't be read.
    #[error("could not read `{path}`")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Folders beside the source of a crate that keeps its library in its root.
const BESIDE: [&str; 4] = ["benches", "examples", "target", "tests"];

/// What each crate declares that `manifest` depends on directly, by its name.
///
/// A file that is no Rust to this parser is left out: crates keep templates and tests of compile
/// errors beside their source.
///
/// # Errors
/// If cargo fails or a file can't be read.
pub fn declarations(manifest: &Path) -> Result<BTreeMap<String, Declarations>, SourceError> {
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(["--locked", "--filter-platform", "x86_64-apple-darwin"].map(str::to_owned))
        .exec()
        .map_err(|source| SourceError::Cargo {
            manifest: manifest.to_owned(),
            source: Box::new(source),
        })?;
    let root = metadata.root_package().map(|root| root.dependencies.as_slice()).unwrap_or_default();
    let mut found = BTreeMap::new();
    for package in &metadata.packages {
        if root.iter().any(|dependency| dependency.name == package.name.as_str()) {
            let library = package.targets.iter().find(|target| !target.is_custom_build());
            let folder = library.and_then(|library| library.src_path.parent());
            let declared = folder.map(|folder| of_folder(folder.as_std_path())).transpose()?;
            found.insert(package.name.to_string(), declared.unwrap_or_default());
        }
    }
    Ok(found)
}

/// What the source below a folder declares.
fn of_folder(folder: &Path) -> Result<Declarations, SourceError> {
    let error = |path: &Path| {
        let path = path.to_owned();
        move |source| SourceError::Read { path, source }
    };
    let (mut declared, mut folders) = (Declarations::default(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(error(&folder))? {
            let path = entry.map_err(error(&folder))?.path();
            if path.is_dir() {
                if !BESIDE.iter().any(|beside| path.ends_with(beside)) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).map_err(error(&path))?;
                drop(declared.add(&text));
            }
        }
    }
    Ok(declared)
}
