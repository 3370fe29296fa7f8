//! The tables of a recipe that name packages, wheels, files and toolchains.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::Triple;
use serde::Deserialize;

use super::{RecipeError, files_below};

/// A dependency that does not follow, and why the image can do without.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Omission {
    /// The package.
    pub package: String,
    /// The reason, for people.
    pub why: String,
}

/// A wheel and where it goes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// The project's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// The platform tag, such as `manylinux2014_x86_64`.
    pub platform: String,
    /// The member folder that is unpacked; the rest of the wheel is left out.
    pub member: String,
    /// Where that folder goes.
    pub into: String,
}

/// A standard library compiled from source in the image.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandardLibrary {
    /// For which target.
    pub target: Triple,
    /// The package with its source; it is in no image that plugins are built in.
    pub source: String,
    /// The package with the host's standard library, where the image below has none: what compiles
    /// the source has build scripts. It is in no image either.
    pub bootstrap: Option<String>,
}

/// A target for which the image brings along what zig compiles for a first link.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstLink {
    /// The target.
    pub target: Triple,
}

/// A file from beside the recipe.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Where it goes.
    pub path: String,
    /// Its place below the recipe's folder.
    pub source: PathBuf,
    /// Whether it is a program.
    #[serde(default)]
    pub executable: bool,
    /// Whether it lies below the standard library, whose compilation then sees it.
    #[serde(default)]
    pub early: bool,
}

impl FileEntry {
    /// The file's content with line feeds alone, so that a checkout with other line ends makes the
    /// same image.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn content(&self, folder: &Path, image: &str) -> Result<Vec<u8>, RecipeError> {
        let path = folder.join(&self.source);
        let error =
            |source| RecipeError::Read { image: image.to_owned(), path: path.clone(), source };
        fs::read(&path).map(line_feeds).map_err(error)
    }
}

/// A folder from beside the recipe, with every file below it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderEntry {
    /// Where it goes.
    pub path: String,
    /// Its place below the recipe's folder.
    pub source: PathBuf,
}

impl FolderEntry {
    /// Its files, each by its path in the image, with line feeds alone; none of them is a program.
    ///
    /// # Errors
    /// If one can't be read, or its name is no text.
    pub fn files(&self, folder: &Path, image: &str) -> Result<Vec<(String, Vec<u8>)>, RecipeError> {
        let folder = folder.join(&self.source);
        let error = |path: &Path| {
            let (image, path) = (image.to_owned(), path.to_owned());
            move |source| RecipeError::Read { image, path, source }
        };
        let mut files = Vec::new();
        for path in files_below(&folder).map_err(error(&folder))? {
            let bytes = fs::read(&path).map_err(error(&path))?;
            let inside = path.strip_prefix(&folder).unwrap_or(&path);
            let inside: Option<Vec<_>> = inside.iter().map(|part| part.to_str()).collect();
            let inside = inside.ok_or_else(|| io::ErrorKind::InvalidFilename.into());
            let inside = inside.map_err(error(&path))?.join("/");
            files.push((format!("{}/{inside}", self.path), line_feeds(bytes)));
        }
        Ok(files)
    }
}

/// A symbolic link.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkEntry {
    /// Where it goes.
    pub path: String,
    /// What it says.
    pub target: String,
    /// Whether it lies below the standard library, whose compilation then sees it.
    #[serde(default)]
    pub early: bool,
}

/// A target that the image builds for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// The target.
    pub target: Triple,
    /// The package that carries its standard library, unless the image compiles one.
    pub std: Option<String>,
    /// The C runtime that is linked against, such as `glibc-2.17`.
    pub crt: String,
    /// The linker.
    pub linker: LinkerCommand,
}

/// A linker and how to ask for its version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkerCommand {
    /// Its name.
    pub name: String,
    /// The command of whose first line of output the last word is the version.
    pub command: Vec<String>,
}

/// The text with line feeds alone, whatever the checkout made of its line ends.
pub(super) fn line_feeds(bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.contains(&b'\r') {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            out.push(*byte);
        }
    }
    out
}
