//! The workspace: where it is, and which of its packages are plugins.
//!
//! A plugin is a workspace member whose library is a `cdylib`. `[package.metadata.keyway]` may say
//! `plugin = false` to leave one out. What cargo metadata says is kept beside the build state and
//! asked for again only when a manifest, the lock file or cargo's configuration changes, since asking
//! costs more than all else a run with nothing to do.

mod dependencies;
mod outside;
mod plugins;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand};
use keyway_manifest::Digest;
use keyway_manifest::text::Show as _;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cache::{CacheError, write_atomically};
use crate::configuration;
use crate::failure::{Diagnose, Exit};

pub(crate) use self::dependencies::Dependencies;
pub use self::dependencies::{Needs, Purpose};
pub(crate) use self::outside::is_reserved;
pub use self::outside::{Outside, Place, Why, surroundings};
pub use self::plugins::{Allowed, DefaultFeatures, HOST, Located, Plugin, PluginSet, Unsupported};

/// A workspace on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    root: PathBuf,
    state: PathBuf,
    dist: PathBuf,
}

/// Why a workspace can't be built.
#[derive(Debug, Error)]
pub enum WorkspaceError {
    /// No workspace at or above a folder.
    #[error("no folder at or above `{from}` holds a Cargo.toml", from = .from.shown())]
    NotFound {
        /// Where the search began.
        from: PathBuf,
    },
    /// The file that `--manifest-path` names is not there.
    #[error("could not find the manifest `{path}`", path = .path.shown())]
    Manifest {
        /// What was asked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The workspace has no lock file.
    #[error("`{path}` is missing, and a build in an image resolves nothing", path = .path.shown())]
    NoLockFile {
        /// Where it should be.
        path: PathBuf,
    },
    /// `cargo metadata` failed.
    #[error("could not ask cargo about the workspace `{root}`", root = .root.shown())]
    Metadata {
        /// The workspace.
        root: PathBuf,
        /// What cargo said.
        source: cargo_metadata::Error,
    },
    /// A manifest names a folder by an absolute path that is the image's own inside.
    #[error("`{folder}` can't be shown to a build: inside an image that path is the image's own", folder = .folder.shown())]
    Reserved {
        /// The folder.
        folder: PathBuf,
    },
    /// `shows` lists what is no folder.
    #[error(
        "`shows` in `[workspace.metadata.keyway]` lists `{entry}`, and there is no such folder"
    )]
    NotShown {
        /// What it lists.
        entry: String,
    },
    /// `[workspace.metadata.keyway]` does not parse.
    #[error("`[workspace.metadata.keyway]` is wrong")]
    WorkspaceSettings {
        /// Where and why.
        source: serde_json::Error,
    },
    /// A manifest that cargo read can't be read.
    #[error("could not read `{path}`", path = .path.shown())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Two plugins have libraries of the same name.
    #[error("plugins `{}` and `{}` both make a library called `{library}`", .plugins[0], .plugins[1])]
    SameLibrary {
        /// The library's name.
        library: String,
        /// The plugins.
        plugins: [String; 2],
    },
    /// A plugin whose features have to be named is called like a dependency of another one.
    #[error(
        "features of plugin `{plugin}` can't be chosen: cargo would choose them for the dependency \
         `{plugin}` of `{other}` too"
    )]
    MistakableFeature {
        /// The plugin.
        plugin: String,
        /// The other one.
        other: String,
    },
    /// `[package.metadata.keyway]` does not parse.
    #[error("`[package.metadata.keyway]` of `{package}` is wrong")]
    Settings {
        /// The package.
        package: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// There is nothing to build.
    #[error("no member of the workspace `{root}` has a library of crate type `cdylib`", root = .root.shown())]
    NoPlugin {
        /// The workspace.
        root: PathBuf,
    },
    /// The user asked for a plugin that there is not.
    #[error("no plugin `{asked}` in the workspace")]
    UnknownPlugin {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: Vec<String>,
    },
    /// What cargo said could not be kept.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Diagnose for WorkspaceError {
    fn exit(&self) -> Exit {
        match self {
            Self::Cache(error) => error.exit(),
            _ => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => {
                Some("run it inside a workspace, or name one with `--manifest-path`".into())
            }
            Self::NoLockFile { .. } => {
                Some("run `cargo generate-lockfile` and commit the file".into())
            }
            Self::Reserved { .. } => Some("name it by a relative path".into()),
            Self::NotShown { .. } => Some(
                "name folders by their paths from the workspace's own; of a file the folder that holds it"
                    .into(),
            ),
            Self::SameLibrary { .. } => {
                Some("give one of them another name: `[lib] name = \"…\"` in its Cargo.toml".into())
            }
            Self::MistakableFeature { plugin, other } => Some(format!(
                "give the dependency another name in the Cargo.toml of `{other}`: \
                 `{plugin}-crate = {{ package = \"{plugin}\", … }}`"
            )),
            Self::NoPlugin { .. } => Some(
                "give a member `[lib] crate-type = [\"cdylib\"]`; README.md shows a first plugin"
                    .into(),
            ),
            Self::UnknownPlugin { known, .. } => Some(format!("plugins are: {}", known.join(", "))),
            Self::Cache(error) => error.hint(),
            Self::Manifest { .. }
            | Self::Metadata { .. }
            | Self::Read { .. }
            | Self::WorkspaceSettings { .. }
            | Self::Settings { .. } => None,
        }
    }
}

impl Workspace {
    /// The workspace of `manifest_path`, else the one at or above the current folder; artifacts go to
    /// `dist`, else to its folder of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(manifest_path: Option<&Path>, dist: Option<&Path>) -> Result<Self, WorkspaceError> {
        let here = |source| WorkspaceError::Manifest { path: PathBuf::from("."), source };
        let from = match manifest_path {
            Some(path) => {
                let path = path
                    .canonicalize()
                    .map_err(|source| WorkspaceError::Manifest { path: path.to_owned(), source })?;
                path.parent().map(Path::to_owned).unwrap_or(path)
            }
            None => env::current_dir().and_then(|dir| dir.canonicalize()).map_err(here)?,
        };
        let root = root(&from).ok_or(WorkspaceError::NotFound { from })?;
        let dist = match dist {
            Some(dist) => std::path::absolute(dist).map_err(here)?,
            None => root.join("dist"),
        };
        Ok(Self { state: state_dir(&root), root, dist })
    }

    /// Its folder, with no link in the path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where build state lives: `keyway` in cargo's target folder.
    pub fn state_dir(&self) -> PathBuf {
        self.state.clone()
    }

    /// Where artifacts are delivered: `dist` unless the user says otherwise.
    pub fn dist_dir(&self) -> PathBuf {
        self.dist.clone()
    }

    /// A path as messages name it: from the workspace's folder on where it lies in there.
    pub fn shown(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }

    /// The description of its targets, if it has one of its own.
    pub fn targets_file(&self) -> Option<PathBuf> {
        Some(self.root.join("targets.toml")).filter(|path| path.is_file())
    }

    /// Folders in it that builds write to.
    pub fn outputs(&self) -> Vec<PathBuf> {
        let target = self.state.parent().map(Path::to_owned);
        target
            .into_iter()
            .filter(|target| *target != self.root)
            .chain([self.dist.clone()])
            .collect()
    }

    /// The recipes that come with the workspace in `docker`, else those that come with this tool's
    /// source.
    pub fn recipes_dir(&self) -> PathBuf {
        let own = self.root.join("docker");
        let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docker"));
        let has_recipes = |folder: &Path| {
            let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.any(|entry| entry.path().extension().is_some_and(|e| e == "toml"))
        };
        if has_recipes(&own) || !has_recipes(shipped) { own } else { shipped.to_owned() }
    }

    /// The lock file's path.
    ///
    /// # Errors
    /// If there is no lock file.
    pub fn lock_file(&self) -> Result<PathBuf, WorkspaceError> {
        let path = self.root.join("Cargo.lock");
        if path.is_file() { Ok(path) } else { Err(WorkspaceError::NoLockFile { path }) }
    }

    /// What an earlier run has kept of cargo's answer.
    pub fn remembered(&self) -> Option<Remembered> {
        let record: Remembered = serde_json::from_slice(&fs::read(self.memory()).ok()?).ok()?;
        (record.version == SET_VERSION && record.root == self.root).then_some(record)
    }

    /// Keeps cargo's answer; `manifests` is a digest of all that it depends on.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn remember(&self, manifests: Digest, set: &PluginSet) -> Result<(), WorkspaceError> {
        fs::create_dir_all(&self.state).map_err(CacheError::io("create", &self.state))?;
        let (version, root, set) = (SET_VERSION, self.root.clone(), set.clone());
        let record = Remembered { version, root, manifests, set };
        let json = serde_json::to_vec_pretty(&record).expect("has string keys");
        Ok(write_atomically(&self.memory(), &json)?)
    }

    /// Asks cargo for the plugins.
    ///
    /// # Errors
    /// If cargo can't answer, or the workspace is one that an image can't build.
    pub fn plugins(&self) -> Result<PluginSet, WorkspaceError> {
        self.lock_file()?;
        PluginSet::from_metadata(&self.root, &self.metadata(None)?)
    }

    fn memory(&self) -> PathBuf {
        self.state.join("plugins.json")
    }

    /// What `cargo metadata` says: for all platforms with all features, or for one platform.
    ///
    /// # Errors
    /// If cargo fails.
    pub fn metadata(&self, platform: Option<&str>) -> Result<Metadata, WorkspaceError> {
        let mut command = MetadataCommand::new();
        command.manifest_path(self.root.join("Cargo.toml")).current_dir(&self.root);
        let mut options = vec!["--locked".to_owned()];
        match platform {
            Some(platform) => {
                options.extend(["--filter-platform".to_owned(), platform.to_owned()]);
            }
            // A plugin may be built with any of its features; and the lock file is resolved with all.
            None => options.push("--all-features".to_owned()),
        }
        command.other_options(options);
        command
            .exec()
            .map_err(|source| WorkspaceError::Metadata { root: self.root.clone(), source })
    }
}

/// The folder of the workspace that `from` belongs to: the nearest one that describes targets, else
/// cargo's own.
fn root(from: &Path) -> Option<PathBuf> {
    let manifests = || from.ancestors().filter(|folder| folder.join("Cargo.toml").is_file());
    let described = manifests().find(|folder| folder.join("targets.toml").is_file());
    let is_workspace = |folder: &&Path| {
        let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        text.parse::<toml::Table>().is_ok_and(|manifest| manifest.contains_key("workspace"))
    };
    let found = described.or_else(|| manifests().find(is_workspace)).or_else(|| manifests().next());
    found.map(Path::to_owned)
}

/// `keyway` in cargo's target folder. One that several workspaces may share holds a folder for each.
fn state_dir(root: &Path) -> PathBuf {
    let target = configuration::target_dir(root);
    if target.starts_with(root) {
        return target.join("keyway");
    }
    let name = Digest::of(root.to_string_lossy().as_bytes()).short();
    target.join(format!("keyway-{name}"))
}

/// Counted up when another version of this module makes another [`PluginSet`] of the same metadata.
const SET_VERSION: u32 = 8;

/// Cargo's answer about a workspace, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remembered {
    version: u32,
    root: PathBuf,
    /// A digest of all that the answer depended on.
    pub manifests: Digest,
    /// The answer.
    pub set: PluginSet,
}
