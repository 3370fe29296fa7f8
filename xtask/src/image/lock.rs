//! A lock, `docker/NAME.lock`: everything that goes into an image, by sha256, and the digests that
//! come out.
//!
//! Written by `images lock` alone, read by everything else; its text is a function of its content.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Triple};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::debian::DebianArchive;
use super::fetched::LockedFetch;
use super::ready::LockedReady;
use super::rust_dist::LockedRust;
use super::toolchain::LockedToolchain;
use crate::cache::{CacheError, write_atomically};

/// The format of lock files that this version reads and writes.
pub const VERSION: u32 = 1;

/// A lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The format, [`VERSION`].
    pub version: u32,
    /// The image's name.
    pub image: String,
    /// The Debian suite, if anything comes from one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suite: String,
    /// The Debian architecture.
    pub architecture: String,
    /// When the suite last changed, in the form of the snapshot archive.
    pub snapshot: String,
    /// The same in seconds since 1970; no time in the image is later.
    pub epoch: u64,
    /// When the suite of security updates last changed, in seconds since 1970, if packages may come
    /// from there; then they may in later locks too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_epoch: Option<u64>,
    /// Digest of the recipe and the files it names.
    pub recipe: Digest,
    /// Digest of the image's config.
    pub config: Digest,
    /// Digest of the image's OCI manifest.
    pub manifest: Digest,
    /// The image below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<From>,
    /// This image's own layers, lowest first.
    #[serde(default, rename = "layer")]
    pub layers: Vec<LockedLayer>,
    /// Debian packages, sorted by name, without those of the image below.
    #[serde(default, rename = "package", skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
    /// Wheels.
    #[serde(default, rename = "wheel", skip_serializing_if = "Vec::is_empty")]
    pub wheels: Vec<LockedWheel>,
    /// Files and archives from anywhere.
    #[serde(default, rename = "fetch", skip_serializing_if = "Vec::is_empty")]
    pub fetches: Vec<LockedFetch>,
    /// Rust's own distribution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rust: Option<LockedRust>,
    /// An image that others made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<LockedReady>,
    /// Packages that only the compilation of a standard library needs; they are in no image.
    #[serde(default, rename = "source", skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Package>,
    /// What the image builds with, by target.
    #[serde(default, rename = "toolchain", skip_serializing_if = "Vec::is_empty")]
    pub toolchains: Vec<LockedToolchain>,
}

/// The image below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct From {
    /// Its name.
    pub image: String,
    /// Digest of its OCI manifest.
    pub manifest: Digest,
}

/// A layer that must come out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedLayer {
    /// What it holds.
    pub content: LayerContent,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Size of the tar in bytes.
    pub size: u64,
}

/// What a layer holds; written as it is displayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerContent {
    /// The Debian packages of the lock.
    Packages,
    /// A wheel, by name.
    Wheel(String),
    /// Compiler and cargo of Rust's own distribution, by version.
    Rust(String),
    /// The standard library of a target.
    Std(Triple),
    /// What zig compiles for the first link for a target.
    FirstLink(Triple),
    /// A file or archive from anywhere, by address.
    Fetch(String),
    /// A layer of a ready image, from 1 on.
    Reference(usize),
    /// A layer of what a Dockerfile was built to, from 1 on.
    Dockerfile(usize),
    /// Those of the recipe's files and links that compiling a standard library needs.
    EarlyFiles,
    /// The recipe's other files and links.
    Files,
}

impl LayerContent {
    /// Whether making it takes the engine and a while: it is compiled in the image.
    pub fn is_compiled(&self) -> bool {
        matches!(self, Self::Std(_) | Self::FirstLink(_))
    }
}

impl std::fmt::Display for LayerContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Packages => f.write_str("packages"),
            Self::Wheel(name) => write!(f, "wheel {name}"),
            Self::Rust(version) => write!(f, "rust {version}"),
            Self::Std(target) => write!(f, "std {target}"),
            Self::FirstLink(target) => write!(f, "first-link {target}"),
            Self::Fetch(url) => write!(f, "fetch {url}"),
            Self::Reference(at) => write!(f, "reference {at}"),
            Self::Dockerfile(at) => write!(f, "dockerfile {at}"),
            Self::EarlyFiles => f.write_str("early-files"),
            Self::Files => f.write_str("files"),
        }
    }
}

impl Serialize for LayerContent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LayerContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once(' ').unwrap_or((&text, "")) {
            ("packages", "") => Ok(Self::Packages),
            ("early-files", "") => Ok(Self::EarlyFiles),
            ("files", "") => Ok(Self::Files),
            ("wheel", name) if !name.is_empty() => Ok(Self::Wheel(name.to_owned())),
            ("rust", version) if !version.is_empty() => Ok(Self::Rust(version.to_owned())),
            ("fetch", url) if !url.is_empty() => Ok(Self::Fetch(url.to_owned())),
            ("reference", at) => at.parse().map(Self::Reference).map_err(D::Error::custom),
            ("dockerfile", at) => at.parse().map(Self::Dockerfile).map_err(D::Error::custom),
            ("std", target) => target.parse().map(Self::Std).map_err(D::Error::custom),
            ("first-link", target) => target.parse().map(Self::FirstLink).map_err(D::Error::custom),
            _ => Err(D::Error::custom(format_args!("`{text}` is no content of a layer"))),
        }
    }
}

/// A Debian package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture: the image's, or `all`.
    pub architecture: String,
    /// The archive that has it.
    #[serde(default, skip_serializing_if = "DebianArchive::is_main")]
    pub archive: DebianArchive,
    /// Its path below any mirror of that archive.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// A wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedWheel {
    /// The project's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// The file's name, which carries the platform.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// Why a lock can't be used.
#[derive(Debug, Error)]
pub enum LockError {
    /// There is none.
    #[error("image `{image}` has no lock: `{path}` does not exist", path = .path.shown())]
    Missing {
        /// The image.
        image: String,
        /// Where it would lie.
        path: PathBuf,
    },
    /// It can't be read.
    #[error("could not read the lock `{path}`", path = .path.shown())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is of another format version.
    #[error("the lock `{path}` is of format version {found}, this tool reads {VERSION}", path = .path.shown())]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// It is not of the form.
    #[error("`{path}` is no lock", path = .path.shown())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        source: Box<toml::de::Error>,
    },
    /// It is of another image.
    #[error("the lock `{path}` is of image `{found}`, expected `{expected}`", path = .path.shown())]
    OtherImage {
        /// The file.
        path: PathBuf,
        /// The image asked for.
        expected: String,
        /// The image it is of.
        found: String,
    },
    /// The recipe, or a file it names, was edited since.
    #[error("the recipe of image `{image}` was edited after it was locked")]
    RecipeChanged {
        /// The image.
        image: String,
    },
    /// The image below was locked again since.
    #[error("image `{image}` was locked on `{below}` {expected}, which is now {found}")]
    BelowChanged {
        /// The image.
        image: String,
        /// The image below.
        below: String,
        /// The start of the manifest digest in the lock.
        expected: String,
        /// The start of the one that the image below has.
        found: String,
    },
    /// It lacks what one of its layers is made of.
    #[error("the lock of image `{image}` does not say what layer `{content}` is made of")]
    Incomplete {
        /// The image.
        image: String,
        /// The layer.
        content: LayerContent,
    },
    /// It can't be written.
    #[error(transparent)]
    Write(#[from] CacheError),
}

impl LockError {
    /// Whether there is no lock that fits, rather than one that can't be read: `images lock` writes it.
    pub fn is_settled_by_locking(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. } | Self::RecipeChanged { .. } | Self::BelowChanged { .. }
        )
    }
}

impl Lock {
    /// Where the lock of an image lies.
    pub fn path(folder: &Path, image: &str) -> PathBuf {
        folder.join(format!("{image}.lock"))
    }

    /// Reads the lock of `image` in `folder`.
    ///
    /// # Errors
    /// If there is none, or it is not of the form and version that this tool reads.
    pub fn read(folder: &Path, image: &str) -> Result<Self, LockError> {
        let path = Self::path(folder, image);
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => {
                LockError::Missing { image: image.to_owned(), path: path.clone() }
            }
            _ => LockError::Read { path: path.clone(), source },
        })?;
        let parse = |source| LockError::Parse { path: path.clone(), source: Box::new(source) };
        if let Some(found) = version_of(&text).filter(|found| *found != i64::from(VERSION)) {
            return Err(LockError::OtherVersion { path, found });
        }
        let lock: Self = toml::from_str(&text).map_err(parse)?;
        if lock.image != image {
            return Err(LockError::OtherImage {
                path,
                expected: image.to_owned(),
                found: lock.image,
            });
        }
        Ok(lock)
    }

    /// The lock of `image` in `folder`, if there is one.
    ///
    /// # Errors
    /// If one is there and can't be read. Without it nobody knows what was pinned, so it never counts as
    /// none.
    pub fn find(folder: &Path, image: &str) -> Result<Option<Self>, LockError> {
        match Self::read(folder, image) {
            Err(LockError::Missing { .. }) => Ok(None),
            read => read.map(Some),
        }
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let body = toml::to_string(self).expect("a lock has string keys and no odd numbers");
        format!("# Written by `cargo xtask images lock {}`; do not edit.\n{body}", self.image)
    }

    /// Writes the lock into `folder`.
    ///
    /// # Errors
    /// If the file can't be written; an older one is then untouched.
    pub fn write(&self, folder: &Path) -> Result<(), LockError> {
        Ok(write_atomically(&Self::path(folder, &self.image), self.to_text().as_bytes())?)
    }

    /// Whether the lock stands on the image below as that is locked now.
    ///
    /// # Errors
    /// If that was locked again since, or is another one.
    pub fn check_below(&self, below: Option<&Self>) -> Result<(), LockError> {
        let expected = self.from.as_ref().map(|from| from.manifest);
        let found = below.map(|lock| lock.manifest);
        if expected == found {
            return Ok(());
        }
        let short = |digest: Option<Digest>| digest.map_or("nothing".into(), |d| d.short());
        let below = below.map(|lock| &lock.image).or(self.from.as_ref().map(|from| &from.image));
        Err(LockError::BelowChanged {
            image: self.image.clone(),
            below: below.cloned().unwrap_or_default(),
            expected: short(expected),
            found: short(found),
        })
    }

    /// The states of the archives that its packages come from.
    pub(super) fn states(&self) -> Vec<(DebianArchive, u64)> {
        let security = self.security_epoch.map(|epoch| (DebianArchive::Security, epoch));
        [(DebianArchive::Main, self.epoch)].into_iter().chain(security).collect()
    }

    /// Whether anyone can make the image's own layers again from what the lock pins.
    pub fn is_rebuildable(&self) -> bool {
        self.ready.as_ref().is_none_or(|ready| ready.rebuildable)
    }

    /// The toolchain record of a target.
    pub fn toolchain(&self, target: &Triple) -> Option<&LockedToolchain> {
        self.toolchains.iter().find(|toolchain| toolchain.record.target == *target)
    }
}

/// The version line, which stands before all that another version may have changed.
fn version_of(text: &str) -> Option<i64> {
    let line = text.lines().find(|line| !line.starts_with('#') && !line.trim().is_empty())?;
    line.strip_prefix("version = ")?.trim().parse().ok()
}
