//! A recipe, `docker/NAME.toml`: what a person decides about an image.
//!
//! Only reading and checking. Digests, versions and sizes are not decided here but recorded in the
//! lock; a recipe and the files it names are hashed into the lock, so that an edit is noticed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use glob::{Pattern, PatternError};
use keyway_manifest::{Digest, Hasher, Triple};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

/// What an image is made of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the image is for, in a line.
    pub summary: String,
    /// The Debian suite, such as `trixie`.
    pub suite: String,
    /// The Debian architecture, such as `amd64`.
    pub architecture: String,
    /// The image below this one.
    pub from: Option<String>,
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
    /// Standard libraries compiled in the image.
    #[serde(default, rename = "std")]
    pub standard_libraries: Vec<StandardLibrary>,
    /// Files from beside the recipe.
    #[serde(default, rename = "file")]
    pub files: Vec<FileEntry>,
    /// Symbolic links.
    #[serde(default, rename = "link")]
    pub links: Vec<LinkEntry>,
    /// Targets that the image builds for, for each a toolchain record is locked.
    #[serde(default, rename = "toolchain")]
    pub toolchains: Vec<Toolchain>,
    /// Environment of commands in the image.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

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

/// A symbolic link.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkEntry {
    /// Where it goes.
    pub path: String,
    /// What it says.
    pub target: String,
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

/// A pattern over paths in an image.
#[derive(Debug, Clone)]
pub struct Glob(Pattern);

impl Glob {
    /// Whether it names a path or a folder above it.
    pub fn covers(&self, path: &str) -> bool {
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        let mut end = path.len();
        loop {
            if self.0.matches_with(&path[..end], options) {
                return true;
            }
            match path[..end].rfind('/') {
                Some(slash) => end = slash,
                None => return false,
            }
        }
    }
}

impl FromStr for Glob {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Pattern::new(text).map(Self)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a recipe can't be used.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// A file of it can't be read.
    #[error("could not read `{path}` of the recipe of image `{image}`")]
    Read {
        /// The image.
        image: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no recipe of that name.
    #[error("no recipe for image `{image}`: `{path}` does not exist")]
    Missing {
        /// The image.
        image: String,
        /// Where it would lie.
        path: PathBuf,
    },
    /// It is not of the form.
    #[error("`{path}` is no recipe")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        source: Box<toml::de::Error>,
    },
    /// A field holds what it must not.
    #[error("`{path}`: {field} `{value}` {problem}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An image stands on itself.
    #[error("image `{image}` stands on itself: {chain}")]
    Cycle {
        /// The image.
        image: String,
        /// The `from` fields, in order.
        chain: String,
    },
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
        Ok((recipe, hasher.finish()))
    }

    fn check(&self, path: &Path) -> Result<(), RecipeError> {
        let invalid = |field, value: &str, problem| RecipeError::Invalid {
            path: path.to_owned(),
            field,
            value: value.to_owned(),
            problem,
        };
        let inside = |field, value: &str| {
            let plain = !value.is_empty()
                && value.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
            if plain { Ok(()) } else { Err(invalid(field, value, "is no plain relative path")) }
        };
        let word = |field, value: &str| {
            let plain = value.starts_with(|c: char| c.is_ascii_alphanumeric())
                && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b));
            if plain { Ok(()) } else { Err(invalid(field, value, "is no plain name")) }
        };
        word("suite", &self.suite)?;
        word("architecture", &self.architecture)?;
        self.from.iter().try_for_each(|name| word("from", name))?;
        self.packages.iter().try_for_each(|name| word("package", name))?;
        for omission in &self.without {
            if omission.why.trim().is_empty() {
                return Err(invalid("without", &omission.package, "gives no reason"));
            }
        }
        for wheel in &self.wheels {
            word("wheel name", &wheel.name)?;
            word("wheel version", &wheel.version)?;
            word("wheel platform", &wheel.platform)?;
            inside("wheel member", &wheel.member)?;
            inside("wheel into", &wheel.into)?;
        }
        for file in &self.files {
            inside("file path", &file.path)?;
            inside("file source", &file.source.to_string_lossy())?;
        }
        for link in &self.links {
            inside("link path", &link.path)?;
        }
        for toolchain in &self.toolchains {
            if toolchain.linker.command.is_empty() {
                return Err(invalid(
                    "toolchain",
                    toolchain.target.as_str(),
                    "names no command for its linker",
                ));
            }
        }
        Ok(())
    }
}

fn line_feeds(bytes: Vec<u8>) -> Vec<u8> {
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
