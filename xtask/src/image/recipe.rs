//! A recipe, `docker/NAME.toml`: what a person decides about an image.
//!
//! Only reading and checking. Digests, versions and sizes are not decided here but recorded in the
//! lock; a recipe and the files it names are hashed into the lock, so that an edit is noticed.

mod check;
mod environment;
mod error;
mod glob;
mod parts;
mod sources;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::{Digest, Hasher, Triple};
use serde::Deserialize;

pub use self::environment::TargetEnvironment;
pub use self::error::RecipeError;
pub use self::glob::Glob;
pub use self::parts::{
    FileEntry, FirstLink, FolderEntry, LinkEntry, LinkerCommand, Omission, StandardLibrary,
    Toolchain, Wheel,
};
pub use self::sources::{Fetch, Reference, Rust, Unpack};

pub(super) use self::check::is_private;
use self::parts::line_feeds;

/// What an image is made of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the image is for, in a line.
    pub summary: String,
    /// The Debian suite, such as `trixie`; only images that others made go without.
    #[serde(default)]
    pub suite: String,
    /// The Debian architecture, such as `amd64`.
    pub architecture: String,
    /// The image below this one.
    pub from: Option<String>,
    /// A ready image instead, by digest.
    pub reference: Option<Reference>,
    /// A Dockerfile instead, in a folder of its own below the recipes, which is its context.
    pub dockerfile: Option<String>,
    /// Debian packages, whose dependencies follow.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Dependencies that do not follow.
    #[serde(default)]
    pub without: Vec<Omission>,
    /// Paths left out, with all below them. `*` does not match `/`, `**` does.
    #[serde(default)]
    pub drop: Vec<Glob>,
    /// Paths kept although `drop` names them.
    #[serde(default)]
    pub keep: Vec<Glob>,
    /// Wheels unpacked into the image.
    #[serde(default, rename = "wheel")]
    pub wheels: Vec<Wheel>,
    /// Rust's own distribution, in one version at most.
    #[serde(default)]
    pub rust: Vec<Rust>,
    /// Files and archives from anywhere.
    #[serde(default, rename = "fetch")]
    pub fetches: Vec<Fetch>,
    /// Standard libraries compiled in the image.
    #[serde(default, rename = "std")]
    pub standard_libraries: Vec<StandardLibrary>,
    /// Targets that zig links for.
    #[serde(default, rename = "first-link")]
    pub first_links: Vec<FirstLink>,
    /// Files from beside the recipe.
    #[serde(default, rename = "file")]
    pub files: Vec<FileEntry>,
    /// Folders from beside the recipe.
    #[serde(default, rename = "folder")]
    pub folders: Vec<FolderEntry>,
    /// Symbolic links.
    #[serde(default, rename = "link")]
    pub links: Vec<LinkEntry>,
    /// Targets that the image builds for, for each a toolchain record is locked.
    #[serde(default, rename = "toolchain")]
    pub toolchains: Vec<Toolchain>,
    /// Environment of commands in the image.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Environment of builds for some targets, where the image is a tool.
    #[serde(default, rename = "target")]
    pub targets: Vec<TargetEnvironment>,
    /// The words of these, by target.
    #[serde(default)]
    pub words: BTreeMap<Triple, BTreeMap<String, String>>,
}

impl Recipe {
    /// Reads `NAME.toml` in `folder` and the files it names.
    ///
    /// # Errors
    /// If one of them can't be read, or the recipe is not of the form.
    pub fn read(folder: &Path, image: &str) -> Result<(Self, Digest), RecipeError> {
        let path = folder.join(format!("{image}.toml"));
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => {
                RecipeError::Missing { image: image.to_owned(), path: path.clone() }
            }
            _ => RecipeError::Read { image: image.to_owned(), path: path.clone(), source },
        })?;
        let recipe: Self = toml::from_str(&text).map_err(|source| RecipeError::Parse {
            path: path.clone(),
            source: Box::new(source),
        })?;
        recipe.check(&path)?;
        let mut hasher = Hasher::new();
        let mut feed = |bytes: &[u8]| {
            // A length before each part, so that no two lists of parts feed the same bytes.
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        feed(&line_feeds(text.into_bytes()));
        for file in &recipe.files {
            feed(&file.content(folder, image)?);
        }
        for entry in &recipe.folders {
            for (path, bytes) in entry.files(folder, image)? {
                feed(path.as_bytes());
                feed(&bytes);
            }
        }
        if let Some(dockerfile) = &recipe.dockerfile {
            let context = folder.join(dockerfile);
            let context = context.parent().unwrap_or(folder);
            for path in files_below(context).map_err(|source| RecipeError::Read {
                image: image.to_owned(),
                path: context.to_owned(),
                source,
            })? {
                let error = |source| RecipeError::Read {
                    image: image.to_owned(),
                    path: path.clone(),
                    source,
                };
                let name = path.strip_prefix(context).unwrap_or(&path);
                feed(name.as_os_str().as_encoded_bytes());
                feed(&fs::read(&path).map_err(error)?);
            }
        }
        Ok((recipe, hasher.finish()))
    }

    /// Whether the image compiles its standard library for a target.
    pub fn compiles(&self, target: &Triple) -> bool {
        self.standard_libraries.iter().any(|library| library.target == *target)
    }
}

/// Every file in a folder and those below it, sorted.
fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The names of all recipes in `folder`, sorted.
///
/// # Errors
/// If the folder can't be read.
pub fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "toml")
            && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
