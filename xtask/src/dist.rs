//! `dist/`: what is delivered, and how it gets there.
//!
//! ```text
//! dist/index.json
//! dist/<triple>/<plugin>/<library>
//! dist/<triple>/<plugin>/<library>.manifest.json
//! ```
//!
//! The manifests say what is there; the index only repeats them, so that one that is missing or
//! damaged is made again. Whatever else lies in the folder is somebody else's: it is neither moved nor
//! removed, and where it stands in the way, that is an error. How an artifact gets there is in
//! `delivery`.

mod delivery;
mod files;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, FileName, FormatVersion, Manifest, PluginName, Triple};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::delivery::{Delivery, check_place, recover};
use crate::cache::{CacheError, remedy};
use crate::failure::{Diagnose, Exit};

/// The index's name in the folder.
const INDEX: &str = "index.json";

/// `dist/index.json`: every artifact in the folder, by target and plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// The version of this schema.
    pub format: FormatVersion,
    /// The artifacts.
    pub artifacts: Vec<Entry>,
}

/// One artifact of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it was built for.
    pub target: Triple,
    /// The plugin's name.
    pub plugin: String,
    /// The library, relative to `dist/`, with `/` between the parts.
    pub library: String,
    /// The manifest, relative to `dist/`.
    pub manifest: String,
    /// Digest of the library.
    pub sha256: Digest,
}

/// Why the folder can't be used, or something can't be delivered to it.
#[derive(Debug, Error)]
pub enum DistError {
    /// A file operation failed.
    #[error("could not {action} `{path}`", path = .path.shown())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no temporary folder to be had in it.
    #[error(transparent)]
    Staging(#[from] CacheError),
    /// Something is in the way that no manifest and no index says is an artifact.
    #[error("`{path}` is in the way: {what}, and not Keyway's", path = .path.shown())]
    InTheWay {
        /// What is in the way.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// What lay in an artifact's folder beside it could not be put back.
    #[error("could not put back what lay in `{folder}`; it is in `{kept}`", folder = .folder.shown(), kept = .kept.shown())]
    NotPutBack {
        /// Where it belongs.
        folder: PathBuf,
        /// Where it is.
        kept: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DistError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl Diagnose for DistError {
    fn exit(&self) -> Exit {
        match self {
            Self::InTheWay { .. } => Exit::Usage,
            Self::Io { .. } | Self::Staging(_) | Self::NotPutBack { .. } => Exit::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        const ELSEWHERE: &str = "deliver to another folder with `--dist DIR`";
        match self {
            Self::InTheWay { path, .. } => {
                Some(format!("move `{}` away, or {ELSEWHERE}", path.shown()))
            }
            Self::Staging(CacheError::Io { path, source, .. }) | Self::Io { path, source, .. } => {
                Some(format!("{}, or {ELSEWHERE}", remedy(source, path)?))
            }
            Self::Staging(_) => Some(ELSEWHERE.to_owned()),
            Self::NotPutBack { kept, .. } => {
                Some(format!("move it back from `{}`, then delete that folder", kept.shown()))
            }
        }
    }
}

impl Entry {
    /// The entry of a manifest.
    fn of(manifest: &Manifest) -> Self {
        let (target, plugin) = (manifest.target.clone(), manifest.plugin.name.to_string());
        let relative = |file: &str| format!("{target}/{plugin}/{file}");
        Self {
            library: relative(manifest.artifact.file.as_str()),
            manifest: relative(&manifest.file_name()),
            sha256: manifest.artifact.sha256,
            target,
            plugin,
        }
    }

    /// The folder of the artifact, relative to `dist/`.
    fn folder(&self) -> PathBuf {
        Path::new(self.target.as_str()).join(&self.plugin)
    }

    /// The names of its files in that folder.
    fn names(&self) -> [&str; 2] {
        [&self.library, &self.manifest].map(|path| path.rsplit('/').next().unwrap_or(path))
    }

    /// Whether both files lie where an artifact's files lie. One that names others would have them
    /// replaced, and later removed.
    fn is_in_its_place(&self) -> bool {
        let is_name = |name: &str| name.parse::<FileName>().is_ok();
        let expected = |name| format!("{}/{}/{name}", self.target, self.plugin);
        let [library, manifest] = self.names();
        self.plugin.parse::<PluginName>().is_ok()
            && [library, manifest].into_iter().all(is_name)
            && [(&self.library, library), (&self.manifest, manifest)]
                .into_iter()
                .all(|(path, name)| *path == expected(name))
    }

    fn is_of(&self, target: &Triple, plugin: &str) -> bool {
        self.target == *target && self.plugin == plugin
    }
}

impl Index {
    /// The index of a `dist` folder; of one without, or with a damaged one, what the manifests in the
    /// folder say.
    ///
    /// # Errors
    /// If `dist` or its index is something else, or can't be read.
    pub fn read(dist: &Path) -> Result<Self, DistError> {
        Self::stored(dist)?.map_or_else(|| Self::of_manifests(dist), Ok)
    }

    /// The entry of an artifact.
    pub fn find(&self, target: &Triple, plugin: &str) -> Option<&Entry> {
        self.artifacts.iter().find(|entry| entry.is_of(target, plugin))
    }

    /// The index as it is written there; none if it is missing or damaged.
    fn stored(dist: &Path) -> Result<Option<Self>, DistError> {
        let path = dist.join(INDEX);
        let in_the_way = |path: &Path, what| DistError::InTheWay { path: path.to_owned(), what };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => return Ok(None),
                io::ErrorKind::NotADirectory => return Err(in_the_way(dist, "it is no folder")),
                io::ErrorKind::IsADirectory => return Err(in_the_way(&path, "it is a folder")),
                _ => return Err(DistError::io("read", &path)(error)),
            },
        };
        if let Ok(index) = serde_json::from_slice::<Self>(&bytes)
            && index.artifacts.iter().all(Entry::is_in_its_place)
        {
            return Ok(Some(index));
        }
        // Ours and damaged, or another program's: it is ours if it says so, or if artifacts lie there.
        let is_ours = match serde_json::from_slice::<serde_json::Value>(&bytes) {
            Ok(other) => other.get("artifacts").is_some() && other.get("format").is_some(),
            Err(_) => !Self::of_manifests(dist)?.artifacts.is_empty(),
        };
        if is_ours { Ok(None) } else { Err(in_the_way(&path, "it is no index of artifacts")) }
    }

    /// The artifacts whose manifests lie in their places.
    fn of_manifests(dist: &Path) -> Result<Self, DistError> {
        let mut artifacts = Vec::new();
        for target in folders(dist)? {
            let Some(triple) = name(&target).and_then(|name| name.parse::<Triple>().ok()) else {
                continue;
            };
            for folder in folders(&target)? {
                let Some(found) = artifact(&folder) else { continue };
                if found.target == triple && name(&folder) == Some(&*found.plugin) {
                    artifacts.push(found);
                }
            }
        }
        artifacts.sort();
        Ok(Self { artifacts, ..Self::default() })
    }
}

/// The artifact that a manifest in a folder describes; its library is there. What is no manifest of that
/// is somebody else's file.
fn artifact(folder: &Path) -> Option<Entry> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files.into_iter().find_map(|path| {
        let library = name(&path)?.strip_suffix(Manifest::FILE_SUFFIX)?;
        let manifest = Manifest::parse(&fs::read(&path).ok()?).ok()?;
        let is_it = library == manifest.artifact.file.as_str() && folder.join(library).is_file();
        is_it.then(|| Entry::of(&manifest))
    })
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// The folders in a folder that may not be there, sorted; links are none.
fn folders(folder: &Path) -> Result<Vec<PathBuf>, DistError> {
    let failed = |error| DistError::io("list", folder)(error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;
