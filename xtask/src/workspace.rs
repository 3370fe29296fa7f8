//! The workspace: where it is, and which of its packages are plugins.
//!
//! A plugin is a workspace member whose library is a `cdylib`. `[package.metadata.keyway]` may say
//! `plugin = false` to leave one out. What cargo metadata says is kept beside the build state and
//! asked for again only when a manifest, the lock file or cargo's configuration changes, since asking
//! costs more than all else a run with nothing to do.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cargo_metadata::camino::{Utf8Path, Utf8PathBuf};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId, TargetKind};
use keyway_manifest::Digest;
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::cache::{CacheError, write_atomically};
use crate::failure::{Diagnose, Exit};

/// A workspace on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    root: PathBuf,
}

/// The plugins of a workspace, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PluginSet {
    /// The plugins, sorted by name.
    pub plugins: Vec<Plugin>,
}

/// One plugin crate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// Package name.
    pub name: String,
    /// Package version.
    pub version: String,
    /// Name of the library target, as rustc knows the crate: `order_match`.
    pub library: String,
    /// Folders, relative to the root, of the members that its build reads: its own and those of its
    /// path dependencies.
    pub folders: BTreeSet<PathBuf>,
    /// Libraries that this plugin may load beyond its target's list.
    pub allow_imports: Vec<AllowedImport>,
}

/// An entry of `allow-imports`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedImport {
    /// A library; `*` stands for any characters.
    pub name: String,
    /// Why the plugin can't do without it.
    #[serde(deserialize_with = "reason")]
    pub reason: String,
}

fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let reason = String::deserialize(deserializer)?;
    if reason.trim().is_empty() {
        return Err(serde::de::Error::custom("`reason` must say why the library is needed"));
    }
    Ok(reason)
}

/// Why a workspace can't be built.
#[derive(Debug, Error)]
pub enum WorkspaceError {
    /// No workspace at or above a folder.
    #[error("no folder at or above `{from}` holds both Cargo.toml and targets.toml")]
    NotFound {
        /// Where the search began.
        from: PathBuf,
    },
    /// The file that `--manifest-path` names is not there.
    #[error("could not find the manifest `{path}`")]
    Manifest {
        /// What was asked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The workspace has no lock file.
    #[error("`{path}` is missing, and a build in an image resolves nothing")]
    NoLockFile {
        /// Where it should be.
        path: PathBuf,
    },
    /// `cargo metadata` failed.
    #[error("could not ask cargo about the workspace `{root}`")]
    Metadata {
        /// The workspace.
        root: PathBuf,
        /// What cargo said.
        source: cargo_metadata::Error,
    },
    /// A plugin needs a package that lies outside the workspace's folder.
    #[error("plugin `{plugin}` depends on `{package}` at `{path}`, outside the workspace `{root}`")]
    Outside {
        /// The plugin.
        plugin: String,
        /// The dependency.
        package: String,
        /// Where the dependency lies.
        path: PathBuf,
        /// The workspace.
        root: PathBuf,
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
    #[error("no member of the workspace `{root}` has a library of crate type `cdylib`")]
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
            Self::NotFound { .. } => Some("run it inside a workspace, or name one with `--manifest-path`".into()),
            Self::NoLockFile { .. } => Some("run `cargo generate-lockfile` and commit the file".into()),
            Self::Outside { .. } => Some(
                "move the package into the workspace's folder, or depend on it through git or a registry"
                    .into(),
            ),
            Self::NoPlugin { .. } => {
                Some("give a member `[lib] crate-type = [\"cdylib\"]`; README.md shows a first plugin".into())
            }
            Self::UnknownPlugin { known, .. } => Some(format!("plugins are: {}", known.join(", "))),
            Self::Cache(error) => error.hint(),
            Self::Manifest { .. } | Self::Metadata { .. } | Self::Settings { .. } => None,
        }
    }
}

impl Workspace {
    /// The workspace of `manifest_path`, else the nearest at or above the current folder.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(manifest_path: Option<&Path>) -> Result<Self, WorkspaceError> {
        let from = match manifest_path {
            Some(path) => {
                let path = path
                    .canonicalize()
                    .map_err(|source| WorkspaceError::Manifest { path: path.to_owned(), source })?;
                path.parent().map(Path::to_owned).unwrap_or(path)
            }
            None => env::current_dir()
                .and_then(|dir| dir.canonicalize())
                .map_err(|source| WorkspaceError::Manifest { path: PathBuf::from("."), source })?,
        };
        from.ancestors()
            .find(|dir| dir.join("Cargo.toml").is_file() && dir.join("targets.toml").is_file())
            .map(|root| Self { root: root.to_owned() })
            .ok_or(WorkspaceError::NotFound { from })
    }

    /// Its folder, with no link in the path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where build state lives: `target/keyway`.
    pub fn state_dir(&self) -> PathBuf {
        self.root.join("target").join("keyway")
    }

    /// Where artifacts are delivered: `dist`.
    pub fn dist_dir(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// The recipes that come with the workspace: `docker`.
    pub fn recipes_dir(&self) -> PathBuf {
        self.root.join("docker")
    }

    /// The lock file's path.
    ///
    /// # Errors
    /// If there is no lock file.
    pub fn lock_file(&self) -> Result<PathBuf, WorkspaceError> {
        let path = self.root.join("Cargo.lock");
        if path.is_file() { Ok(path) } else { Err(WorkspaceError::NoLockFile { path }) }
    }

    /// The plugins; `manifests` is a digest of all that cargo's answer depends on.
    ///
    /// # Errors
    /// If cargo can't answer, or the workspace is one that an image can't build.
    pub fn plugins(&self, manifests: Digest) -> Result<PluginSet, WorkspaceError> {
        let path = self.state_dir().join("plugins.json");
        if let Some(set) = remembered(&path, manifests) {
            return Ok(set);
        }
        self.lock_file()?;
        let set = PluginSet::from_metadata(&self.root, &self.metadata(None)?)?;
        fs::create_dir_all(self.state_dir())
            .map_err(CacheError::io("create", &self.state_dir()))?;
        let record = Remembered { version: SET_VERSION, root: self.root.clone(), manifests, set };
        write_atomically(&path, &serde_json::to_vec_pretty(&record).expect("has string keys"))?;
        Ok(record.set)
    }

    /// What `cargo metadata` says, for all platforms or for one.
    ///
    /// # Errors
    /// If cargo fails.
    pub fn metadata(&self, platform: Option<&str>) -> Result<Metadata, WorkspaceError> {
        let mut command = MetadataCommand::new();
        command.manifest_path(self.root.join("Cargo.toml")).current_dir(&self.root);
        let mut options = vec!["--locked".to_owned()];
        if let Some(platform) = platform {
            options.extend(["--filter-platform".to_owned(), platform.to_owned()]);
        }
        command.other_options(options);
        command
            .exec()
            .map_err(|source| WorkspaceError::Metadata { root: self.root.clone(), source })
    }
}

/// Counted up when another version of this module makes another [`PluginSet`] of the same metadata.
const SET_VERSION: u32 = 3;

#[derive(Serialize, Deserialize)]
struct Remembered {
    version: u32,
    root: PathBuf,
    manifests: Digest,
    set: PluginSet,
}

fn remembered(path: &Path, manifests: Digest) -> Option<PluginSet> {
    let record: Remembered = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (record.version == SET_VERSION
        && record.manifests == manifests
        && path.starts_with(&record.root))
    .then_some(record.set)
}

/// `[package.metadata.keyway]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Settings {
    plugin: bool,
    allow_imports: Vec<AllowedImport>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { plugin: true, allow_imports: Vec::new() }
    }
}

impl PluginSet {
    /// The plugins among the members that `metadata` describes.
    ///
    /// # Errors
    /// If there is none, or one needs a package outside `root`.
    pub fn from_metadata(root: &Path, metadata: &Metadata) -> Result<Self, WorkspaceError> {
        let dependencies = Dependencies::new(metadata);
        let mut plugins = Vec::new();
        for package in metadata.workspace_packages() {
            let settings = settings(package)?;
            let library = package.targets.iter().find(|t| t.kind.contains(&TargetKind::CDyLib));
            let (Some(library), true) = (library, settings.plugin) else {
                continue;
            };
            let mut folders = BTreeSet::new();
            for dependency in dependencies.closure(&package.id) {
                // A package with a source is a registry's or git's: Cargo.lock pins it.
                if dependency.source.is_none() {
                    folders.insert(inside(root, package, dependency)?);
                }
            }
            plugins.push(Plugin {
                name: package.name.to_string(),
                version: package.version.to_string(),
                library: library.name.replace('-', "_"),
                folders,
                allow_imports: settings.allow_imports,
            });
        }
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        if plugins.is_empty() {
            return Err(WorkspaceError::NoPlugin { root: root.to_owned() });
        }
        Ok(Self { plugins })
    }

    /// The plugins that `asked` names, each once, by name; all if it is empty.
    ///
    /// # Errors
    /// If it names one that there is not.
    pub fn select(&self, asked: &[String]) -> Result<Vec<&Plugin>, WorkspaceError> {
        let unknown = asked.iter().find(|name| !self.plugins.iter().any(|p| p.name == **name));
        if let Some(asked) = unknown {
            let known = self.plugins.iter().map(|plugin| plugin.name.clone()).collect();
            return Err(WorkspaceError::UnknownPlugin { asked: asked.clone(), known });
        }
        let wanted = |plugin: &&Plugin| asked.is_empty() || asked.contains(&plugin.name);
        Ok(self.plugins.iter().filter(wanted).collect())
    }
}

fn settings(package: &Package) -> Result<Settings, WorkspaceError> {
    match package.metadata.get("keyway") {
        None => Ok(Settings::default()),
        Some(value) => Settings::deserialize(value).map_err(|source| WorkspaceError::Settings {
            package: package.name.to_string(),
            source,
        }),
    }
}

fn inside(root: &Path, plugin: &Package, dependency: &Package) -> Result<PathBuf, WorkspaceError> {
    let folder = dependency.manifest_path.parent().unwrap_or(Utf8Path::new("/"));
    let resolved = folder.canonicalize_utf8().unwrap_or_else(|_| Utf8PathBuf::from(folder));
    resolved.as_std_path().strip_prefix(root).map(Path::to_owned).map_err(|_| {
        WorkspaceError::Outside {
            plugin: plugin.name.to_string(),
            package: dependency.name.to_string(),
            path: folder.as_std_path().to_owned(),
            root: root.to_owned(),
        }
    })
}

/// The resolved dependency graph, without dev-dependencies: they never reach a plugin.
pub(crate) struct Dependencies<'a> {
    packages: BTreeMap<&'a PackageId, &'a Package>,
    edges: BTreeMap<&'a PackageId, Vec<&'a PackageId>>,
}

impl<'a> Dependencies<'a> {
    pub(crate) fn new(metadata: &'a Metadata) -> Self {
        let packages = metadata.packages.iter().map(|package| (&package.id, package)).collect();
        let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
        let edges = nodes
            .map(|node| {
                let built = node.deps.iter().filter(|dependency| {
                    dependency.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
                });
                (&node.id, built.map(|dependency| &dependency.pkg).collect())
            })
            .collect();
        Self { packages, edges }
    }

    /// `start` and every package that its build needs.
    pub(crate) fn closure(&self, start: &'a PackageId) -> Vec<&'a Package> {
        let mut seen = BTreeSet::new();
        let mut queue = vec![start];
        while let Some(id) = queue.pop() {
            if seen.insert(id) {
                queue.extend(self.edges.get(id).into_iter().flatten());
            }
        }
        seen.into_iter().filter_map(|id| self.packages.get(id).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowed_import_has_a_reason() {
        let read = |text: &str| toml::from_str::<Settings>(text).map_err(|error| error.to_string());
        let settings = read("allow-imports = [{ name = \"z.dll\", reason = \"a test\" }]");
        assert_eq!(settings.expect("it is right").allow_imports[0].name, "z.dll");
        for bad in ["\"z.dll\"", "{ name = \"z.dll\" }", "{ name = \"z.dll\", reason = \" \" }"] {
            assert!(read(&format!("allow-imports = [{bad}]")).is_err(), "{bad}");
        }
    }
}
