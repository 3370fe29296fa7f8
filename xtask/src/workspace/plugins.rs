//! Which packages of a workspace are plugins, and what their builds read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, Package, PackageId, TargetKind};
use keyway_manifest::Triple;
use serde::{Deserialize, Deserializer, Serialize};

use super::WorkspaceError;
use super::dependencies::{Dependencies, Needs};
use super::outside::{self, Outside};
use crate::paths::relative;

/// The plugins of a workspace, by name, and what else its build reads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PluginSet {
    /// The plugins, sorted by name.
    pub plugins: Vec<Plugin>,
    /// Folders beyond the workspace's own that cargo reads packages from, and those that `shows` lists.
    pub outside: Vec<Outside>,
    /// Crates that have to be fetched.
    pub needs: Needs,
    /// The package of the program that loads plugins, if the workspace can build it.
    pub host: Option<Located>,
    /// Tools that the workspace or one of the plugins names, sorted. All plugins are compiled in one run,
    /// so one's tools are everyone's.
    pub tools: BTreeSet<String>,
    /// The names of all packages that the lock file does not pin, by their folders, relative to the root.
    pub packages: BTreeMap<PathBuf, String>,
}

/// A package, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Located {
    /// From a folder.
    Folder {
        /// The way from the workspace's root to where manifests lead.
        folder: PathBuf,
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// From a registry or git: cargo's id of it, the same on every machine.
    Source(String),
}

/// The package, and the program of it, that loads plugins.
pub const HOST: &str = "keyway-host";

/// One plugin crate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// Package name.
    pub name: String,
    /// Package version.
    pub version: String,
    /// Name of the library target, as rustc knows the crate: `order_match`.
    pub library: String,
    /// The way from the root to where manifests lead to it: cargo knows it by that folder, which may be
    /// behind a link.
    pub folder: PathBuf,
    /// Folders that its build reads: its package's, those of its path dependencies, and what `shows`
    /// lists; relative to the root, so one outside begins with `..`.
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
    /// Symbols that macOS' libraries have and their stubs don't list.
    pub apple_symbols: Vec<AppleSymbol>,
    /// Targets that it can't be built for.
    pub unsupported: Vec<Unsupported>,
}

/// An entry of `apple-symbols`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppleSymbol {
    /// The library that has it: its name as it is linked, or the path that the loader finds it at.
    #[serde(deserialize_with = "word")]
    pub library: String,
    /// The symbol, as C spells it.
    #[serde(deserialize_with = "word")]
    pub name: String,
    /// Why every macOS that the plugin is for has it.
    #[serde(deserialize_with = "reason")]
    pub reason: String,
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

impl Unsupported {
    /// Whether a triple is one of those that are meant.
    pub fn is_of(&self, triple: &str) -> bool {
        glob::Pattern::new(&self.target).is_ok_and(|pattern| pattern.matches(triple))
    }
}

impl Plugin {
    /// Why it can't be built for a target, if its Cargo.toml says so.
    pub fn obstacle(&self, target: &Triple) -> Option<&str> {
        let is_meant = |entry: &&Unsupported| entry.is_of(target.as_str());
        self.unsupported.iter().find(is_meant).map(|entry| entry.reason.as_str())
    }

    /// All that its build reads: its folders, and what lies `beyond` them.
    pub fn paths<'a>(&'a self, beyond: &'a [PathBuf]) -> impl Iterator<Item = &'a Path> {
        self.folders.iter().chain(beyond).map(PathBuf::as_path)
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

/// One word: these reach the linker in a list that blanks and colons take apart.
fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let word = String::deserialize(deserializer)?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_$./+-".contains(c);
    if word.is_empty() || !word.chars().all(is_part) {
        return Err(serde::de::Error::custom("`library` and `name` are a word each"));
    }
    Ok(word)
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
    apple_symbols: Vec<AppleSymbol>,
    unsupported: Vec<Unsupported>,
    tools: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            plugin: true,
            features: Vec::new(),
            default_features: true,
            allow_imports: Vec::new(),
            allow_exports: Vec::new(),
            apple_symbols: Vec::new(),
            unsupported: Vec::new(),
            tools: Vec::new(),
        }
    }
}

/// `[workspace.metadata.keyway]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WorkspaceSettings {
    /// Folders beyond the workspace that builds read.
    shows: Vec<String>,
    /// Tools that build scripts call.
    tools: Vec<String>,
}

impl PluginSet {
    /// The plugins among the members that `metadata` describes.
    ///
    /// # Errors
    /// If there is none, two would have a library of one name, or a folder outside can't be shown to a
    /// build.
    pub fn from_metadata(root: &Path, metadata: &Metadata) -> Result<Self, WorkspaceError> {
        let dependencies = Dependencies::new(metadata);
        let settings_of_all = workspace_settings(metadata)?;
        let listed = outside::listed(root, &settings_of_all.shows)?;
        let mut plugins = Vec::new();
        let mut ids = Vec::new();
        let mut tools = BTreeSet::from_iter(settings_of_all.tools);
        for package in metadata.workspace_packages() {
            let settings = settings(package)?;
            let library = package.targets.iter().find(|t| t.kind.contains(&TargetKind::CDyLib));
            let (Some(library), true) = (library, settings.plugin) else {
                continue;
            };
            let shown = listed.iter().map(|listed| relative(root, &listed.folder));
            let mut folders: BTreeSet<PathBuf> = shown.collect();
            for dependency in dependencies.closure(&package.id) {
                // A package with a source is a registry's or git's: Cargo.lock pins it.
                if dependency.source.is_none() {
                    folders.insert(relative(root, &outside::folder(dependency)));
                }
            }
            ids.push(&package.id);
            tools.extend(settings.tools);
            plugins.push(Plugin {
                folder: relative(root, &outside::written(package)),
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
                apple_symbols: settings.apple_symbols,
                unsupported: settings.unsupported,
            });
        }
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        if plugins.is_empty() {
            return Err(WorkspaceError::NoPlugin { root: root.to_owned() });
        }
        distinct(&plugins)?;
        unmistakable(&plugins, &ids, &dependencies)?;
        let host = host(metadata);
        let mut outside = outside::folders(root, metadata)?;
        outside.extend(listed);
        let local = metadata.packages.iter().filter(|package| package.source.is_none());
        let packages = local
            .map(|package| (relative(root, &outside::folder(package)), package.name.to_string()));
        Ok(Self {
            needs: dependencies.needs(&ids, host.map(|package| &package.id)),
            host: host.map(|package| located(root, package)),
            outside,
            packages: packages.collect(),
            plugins,
            tools,
        })
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

fn workspace_settings(metadata: &Metadata) -> Result<WorkspaceSettings, WorkspaceError> {
    match metadata.workspace_metadata.get("keyway") {
        None => Ok(WorkspaceSettings::default()),
        Some(value) => WorkspaceSettings::deserialize(value)
            .map_err(|source| WorkspaceError::WorkspaceSettings { source }),
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

/// The package of the program that loads plugins: whatever else has its name has no such program.
fn host(metadata: &Metadata) -> Option<&Package> {
    let is_it = |package: &&Package| {
        package.name.as_str() == HOST
            && package.targets.iter().any(|target| target.is_bin() && target.name == HOST)
    };
    metadata.packages.iter().find(is_it)
}

fn located(root: &Path, package: &Package) -> Located {
    match package.source {
        Some(_) => Located::Source(package.id.repr.clone()),
        None => Located::Folder {
            folder: relative(root, &outside::written(package)),
            name: package.name.to_string(),
            version: package.version.to_string(),
        },
    }
}

/// Cargo takes `hex/fast` for a feature of the member `hex`, and of every dependency of that name.
fn unmistakable(
    plugins: &[Plugin],
    ids: &[&PackageId],
    dependencies: &Dependencies<'_>,
) -> Result<(), WorkspaceError> {
    let some_off = plugins.iter().any(|p| p.default_features == DefaultFeatures::Off);
    let is_named = |plugin: &&Plugin| {
        !plugin.features.is_empty() || some_off && plugin.default_features == DefaultFeatures::On
    };
    for plugin in plugins.iter().filter(is_named) {
        let of = |id: &&PackageId| {
            let package = dependencies.package(id)?;
            let mut names = package
                .dependencies
                .iter()
                .map(|dependency| dependency.rename.as_deref().unwrap_or(&dependency.name));
            let other = package.name.to_string();
            names.any(|name| name == plugin.name).then_some(other)
        };
        if let Some(other) = ids.iter().find_map(of) {
            return Err(WorkspaceError::MistakableFeature { plugin: plugin.name.clone(), other });
        }
    }
    Ok(())
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

    #[test]
    fn a_symbol_of_macos_is_a_word_of_a_library() {
        let read = |library: &str, name: &str| {
            toml::from_str::<Settings>(&format!(
                "apple-symbols = [{{ library = \"{library}\", name = \"{name}\", reason = \"a test\" }}]"
            ))
        };
        let settings = read("/usr/lib/libnew.1.dylib", "new_one$x").expect("it is right");
        assert_eq!(settings.apple_symbols[0].name, "new_one$x");
        for (library, name) in [("", "a"), ("a", ""), ("a b", "c"), ("a:b", "c"), ("a", "b'")] {
            assert!(read(library, name).is_err(), "{library} {name}");
        }
    }
}
