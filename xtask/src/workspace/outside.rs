//! Folders outside of the workspace that its build reads: path dependencies, `[patch]` by path, and
//! members behind symbolic links.
//!
//! Inside an image each has to lie where the manifests say: one named by a relative path keeps its
//! place beside the workspace, one named by an absolute path keeps that path.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use cargo_metadata::{Metadata, Package};
use serde::{Deserialize, Serialize};

use super::WorkspaceError;
use crate::paths::normal;

/// A folder outside of the workspace that its build reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Outside {
    /// The folder, with no link in the path.
    pub folder: PathBuf,
    /// Where the manifests' paths, or a link, lead to.
    pub named: PathBuf,
    /// What that has to be inside an image.
    pub place: Place,
}

/// Where a folder has to lie inside an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Beside the workspace, as on this machine.
    Relative,
    /// At its absolute path.
    Absolute,
}

/// Folders of an image that nothing may be mounted over.
const RESERVED: [&str; 15] = [
    "bin", "boot", "cargo", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "target",
    "usr", "work", "zig",
];

/// The folder of a package, with no link in the path.
pub(super) fn folder(package: &Package) -> PathBuf {
    let folder = written(package);
    folder.canonicalize().unwrap_or(folder)
}

fn written(package: &Package) -> PathBuf {
    let manifest = package.manifest_path.as_std_path();
    manifest.parent().unwrap_or(Path::new("/")).to_owned()
}

/// The folders outside of `root` that cargo needs to read the workspace that `metadata` describes:
/// those of members and path dependencies, with the workspaces that they inherit from.
///
/// # Errors
/// If a manifest can't be read, or a folder would hide what an image has.
pub(super) fn folders(root: &Path, metadata: &Metadata) -> Result<Vec<Outside>, WorkspaceError> {
    let local: Vec<&Package> = metadata.packages.iter().filter(|p| p.source.is_none()).collect();
    let mut found = BTreeSet::new();
    let mut absolute = None;
    for package in local.iter().filter(|package| !folder(package).starts_with(root)) {
        let absolute = match &absolute {
            Some(paths) => paths,
            None => absolute.insert(absolute_paths(root, &local)?),
        };
        found.insert(outside(root, package, absolute)?);
    }
    Ok(found.into_iter().collect())
}

fn outside(
    root: &Path,
    package: &Package,
    absolute: &BTreeSet<PathBuf>,
) -> Result<Outside, WorkspaceError> {
    let written = written(package);
    let (named, place) = match link(root, &written) {
        Some((target, place)) => (target, place),
        None if absolute.contains(&written) => (written, Place::Absolute),
        None => (written, Place::Relative),
    };
    let (folder, named) = with_workspace(folder(package), named);
    let first = named.components().find_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    if place == Place::Absolute && first.is_none_or(|name| RESERVED.contains(&name)) {
        return Err(WorkspaceError::Reserved { folder: named });
    }
    Ok(Outside { folder, named, place })
}

/// Where a folder below `root` leads to if a link on the way there leaves the workspace.
fn link(root: &Path, folder: &Path) -> Option<(PathBuf, Place)> {
    let below = folder.strip_prefix(root).ok()?;
    let mut at = root.to_owned();
    let mut parts = below.components();
    for part in parts.by_ref() {
        let parent = at.clone();
        at.push(part);
        let Ok(target) = fs::read_link(&at) else { continue };
        let place = if target.is_absolute() { Place::Absolute } else { Place::Relative };
        return Some((normal(&parent.join(target).join(parts.as_path())), place));
    }
    None
}

/// A package's folder, or that of the workspace it may inherit from.
fn with_workspace(folder: PathBuf, named: PathBuf) -> (PathBuf, PathBuf) {
    let is_root = |folder: &Path| {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        manifest.parse::<toml::Table>().is_ok_and(|manifest| manifest.contains_key("workspace"))
    };
    let Some(top) = folder.ancestors().find(|folder| is_root(folder)) else {
        return (folder, named);
    };
    let below = folder.strip_prefix(top).unwrap_or(Path::new(""));
    // A link may have given the folders on the way other names; then only the package itself fits.
    match named.ends_with(below).then(|| named.ancestors().nth(below.components().count())) {
        Some(Some(named)) => (top.to_owned(), named.to_owned()),
        _ => (folder, named),
    }
}

/// Every absolute path that a manifest names a package by.
fn absolute_paths(root: &Path, local: &[&Package]) -> Result<BTreeSet<PathBuf>, WorkspaceError> {
    let mut paths = BTreeSet::new();
    let manifests = local.iter().map(|package| package.manifest_path.as_std_path().to_owned());
    for path in manifests.chain([root.join("Cargo.toml"), root.join(".cargo/config.toml")]) {
        if !path.exists() {
            continue;
        }
        let text = fs::read_to_string(&path)
            .map_err(|source| WorkspaceError::Read { path: path.clone(), source })?;
        // Cargo has read it already, so it is TOML.
        if let Ok(table) = text.parse::<toml::Table>() {
            collect(&toml::Value::Table(table), &mut paths);
        }
    }
    Ok(paths)
}

fn collect(value: &toml::Value, paths: &mut BTreeSet<PathBuf>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                match value.as_str() {
                    Some(path) if key == "path" && Path::new(path).is_absolute() => {
                        paths.insert(normal(Path::new(path)));
                    }
                    _ => collect(value, paths),
                }
            }
        }
        toml::Value::Array(values) => values.iter().for_each(|value| collect(value, paths)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_are_found_wherever_a_manifest_may_name_one() {
        let manifest = "[dependencies]\na = { path = \"/x/./a\" }\nb = { path = \"../b\" }\n\
                        [patch.crates-io]\nc = { path = \"/x/y/../c\" }\n\
                        [target.'cfg(unix)'.dependencies.d]\npath = \"/d\"\n";
        let mut paths = BTreeSet::new();
        collect(&toml::Value::Table(manifest.parse().expect("TOML")), &mut paths);
        assert_eq!(paths, ["/d", "/x/a", "/x/c"].map(PathBuf::from).into());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_the_workspace_leads_elsewhere() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path().canonicalize().expect("it is there").join("root");
        fs::create_dir_all(root.join("members")).expect("create");
        let place = |name: &str| link(&root, &root.join("members").join(name).join("a"));
        std::os::unix::fs::symlink("../../other", root.join("members/near")).expect("link");
        std::os::unix::fs::symlink("/elsewhere", root.join("members/far")).expect("link");
        let near = root.parent().expect("has one").join("other/a");
        assert_eq!(place("near"), Some((near, Place::Relative)));
        assert_eq!(place("far"), Some(("/elsewhere/a".into(), Place::Absolute)));
        assert_eq!(place("plain"), None);
    }
}
