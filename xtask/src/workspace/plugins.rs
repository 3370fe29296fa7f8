//! Which packages of a workspace are plugins, and what their builds read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId, TargetKind};
use keyway_manifest::Triple;
use serde::{Deserialize, Deserializer, Serialize};

use super::WorkspaceError;
use super::outside::{self, Outside};
use crate::paths::relative;

/// The plugins of a workspace, by name, and what else its build reads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PluginSet {
    /// The plugins, sorted by name.
    pub plugins: Vec<Plugin>,
    /// Folders beyond the workspace's own that cargo reads packages from.
    pub outside: Vec<Outside>,
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
    /// Folders of the packages that its build reads, its own and those of its path dependencies:
    /// relative to the root, so one outside begins with `..`.
    pub folders: BTreeSet<PathBuf>,
    /// Features that it is built with, beside its default ones.
    pub features: Vec<String>,
    /// What becomes of its default features.
    pub default_features: DefaultFeatures,
    /// Libraries that this plugin may load beyond its target's list, and symbols that it may need
    /// without naming a library for them.
    pub allow_imports: Vec<Allowed>,
    /// Symbols that it may offer beside its stamp and entry.
    pub allow_exports: Vec<Allowed>,
    /// Targets that it can't be built for.
    pub unsupported: Vec<Unsupported>,
}

/// An entry of `unsupported`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsupported {
    /// A triple; `*` stands for any characters.
    #[serde(deserialize_with = "pattern")]
    pub target: String,
    /// Why the plugin can't be built for it.
    #[serde(deserialize_with = "reason")]
    pub reason: String,
}

impl Plugin {
    /// Why it can't be built for a target, if its Cargo.toml says so.
    pub fn obstacle(&self, target: &Triple) -> Option<&str> {
        let is_meant = |entry: &&Unsupported| {
            glob::Pattern::new(&entry.target).is_ok_and(|pattern| pattern.matches(target.as_str()))
        };
        self.unsupported.iter().find(is_meant).map(|entry| entry.reason.as_str())
    }
}

/// An entry of `allow-imports` or `allow-exports`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// A library or a symbol, as C spells it; `*` stands for any characters.
    pub name: String,
    /// Why the plugin can't do without it.
    #[serde(deserialize_with = "reason")]
    pub reason: String,
}

fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let reason = String::deserialize(deserializer)?;
    if reason.trim().is_empty() {
        return Err(serde::de::Error::custom("`reason` must say why"));
    }
    Ok(reason)
}

fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let pattern = String::deserialize(deserializer)?;
    glob::Pattern::new(&pattern).map_err(serde::de::Error::custom)?;
    Ok(pattern)
}

/// What becomes of a plugin's default features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultFeatures {
    /// It has none.
    None,
    /// They are on.
    On,
    /// `default-features = false`.
    Off,
}

/// `[package.metadata.keyway]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Settings {
    plugin: bool,
    features: Vec<String>,
    default_features: bool,
    allow_imports: Vec<Allowed>,
    allow_exports: Vec<Allowed>,
    unsupported: Vec<Unsupported>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            plugin: true,
            features: Vec::new(),
            default_features: true,
            allow_imports: Vec::new(),
            allow_exports: Vec::new(),
            unsupported: Vec::new(),
        }
    }
}

impl PluginSet {
    /// The plugins among the members that `metadata` describes.
    ///
    /// # Errors
    /// If there is none, two would have a library of one name, or a folder outside can't be shown to a
    /// build.
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
                    folders.insert(relative(root, &outside::folder(dependency)));
                }
            }
            plugins.push(Plugin {
                name: package.name.to_string(),
                version: package.version.to_string(),
                library: library.name.replace('-', "_"),
                folders,
                features: settings.features,
                default_features: match (package.features.get("default"), settings.default_features)
                {
                    (_, false) => DefaultFeatures::Off,
                    (Some(_), true) => DefaultFeatures::On,
                    (None, true) => DefaultFeatures::None,
                },
                allow_imports: settings.allow_imports,
                allow_exports: settings.allow_exports,
                unsupported: settings.unsupported,
            });
        }
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        if plugins.is_empty() {
            return Err(WorkspaceError::NoPlugin { root: root.to_owned() });
        }
        distinct(&plugins)?;
        Ok(Self { plugins, outside: outside::folders(root, metadata)? })
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

/// Cargo writes libraries of one name over each other.
fn distinct(plugins: &[Plugin]) -> Result<(), WorkspaceError> {
    let mut by_library: BTreeMap<&str, &Plugin> = BTreeMap::new();
    for plugin in plugins {
        if let Some(other) = by_library.insert(&plugin.library, plugin) {
            return Err(WorkspaceError::SameLibrary {
                library: plugin.library.clone(),
                plugins: [other.name.clone(), plugin.name.clone()],
            });
        }
    }
    Ok(())
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
