//! Folders outside of the workspace that its build reads: path dependencies, `[patch]` by path,
//! members behind symbolic links, and what `shows` lists.
//!
//! Inside an image each has to lie where the manifests say: one named by a relative path keeps its
//! place beside the workspace, one named by an absolute path keeps that path.
//!
//! A package outside may read files beside its own folder, so it is shown with what it lies among
//! ([`surroundings`]). The repository that the workspace itself lies in is not shown: what a build may
//! read is written down, so it is the same in a checkout and in an archive, and all of it can count.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use cargo_metadata::{Metadata, Package};
use serde::{Deserialize, Serialize};

use super::WorkspaceError;
use crate::paths::{normal, shared};

/// A folder outside of the workspace that its build reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Outside {
    /// The folder, with no link in the path.
    pub folder: PathBuf,
    /// Where the manifests' paths, or a link, lead to.
    pub named: PathBuf,
    /// What that has to be inside an image.
    pub place: Place,
    /// Why it is shown.
    pub why: Why,
}

/// Why a folder is shown to a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It is the workspace.
    Workspace,
    /// It holds a package, or the workspace of one, that a manifest names.
    Package,
    /// `shows` lists it. Nobody knows which of its files a build reads, so all of them are sources.
    Listed,
    /// A package lies in it. Of its files those are sources that a build says it read.
    Surroundings,
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

/// The folder of a package as manifests lead to it.
pub(super) fn written(package: &Package) -> PathBuf {
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

/// The folders that `[workspace.metadata.keyway] shows` lists, relative to `root`.
///
/// # Errors
/// If one is no folder, or would hide what an image has.
pub(super) fn listed(root: &Path, shows: &[String]) -> Result<Vec<Outside>, WorkspaceError> {
    let mut found = Vec::new();
    for entry in shows {
        let named = normal(&root.join(entry));
        let folder = named.canonicalize().ok().filter(|folder| folder.is_dir());
        let folder = folder.ok_or_else(|| WorkspaceError::NotShown { entry: entry.clone() })?;
        let is_absolute = Path::new(entry).is_absolute() && !named.starts_with(root);
        let place = if is_absolute { Place::Absolute } else { Place::Relative };
        check(&named, place)?;
        found.push(Outside { folder, named, place, why: Why::Listed });
    }
    Ok(found)
}

/// What the packages among `outside` lie among: the repository of one that is not the workspace's own;
/// else the folder beside the workspace, below all that holds both. Not below `/` or a folder that holds
/// the user's home, where neighbours have nothing to do with each other.
pub fn surroundings(root: &Path, outside: &[Outside]) -> Vec<Outside> {
    let home = std::env::home_dir();
    let packages = outside.iter().filter(|outside| outside.why == Why::Package);
    let around = packages.filter_map(|package| {
        let repository = package.folder.ancestors().find(|folder| folder.join(".git").exists());
        let own = repository.filter(|repository| !root.starts_with(repository));
        let (folder, named) = match (own, package.place) {
            (Some(repository), _) => above(&package.folder, &package.named, repository)?,
            (None, Place::Absolute) => return None,
            (None, Place::Relative) => {
                let top = shared(root, &package.named);
                let is_broad = |top: &Path| {
                    top.parent().is_none()
                        || home.as_ref().is_some_and(|home| home.starts_with(top))
                };
                let next = package.named.strip_prefix(&top).ok()?.components().next()?;
                if repository.is_none() && is_broad(&top) {
                    return None;
                }
                let named = top.join(next);
                (named.canonicalize().ok()?, named)
            }
        };
        let is_more = package.folder != folder && package.folder.starts_with(&folder);
        let around = Outside { folder, named, place: package.place, why: Why::Surroundings };
        is_more.then_some(around)
    });
    let mut around: Vec<Outside> = around.collect();
    around.sort();
    around.dedup();
    around
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
    check(&named, place)?;
    Ok(Outside { folder, named, place, why: Why::Package })
}

/// Whether a folder can be shown at the path that names it.
fn check(named: &Path, place: Place) -> Result<(), WorkspaceError> {
    let first = named.components().find_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    if place == Place::Absolute && first.is_none_or(is_reserved) {
        return Err(WorkspaceError::Reserved { folder: named.to_owned() });
    }
    Ok(())
}

/// Whether a name right below `/` is an image's own.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
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
    above(&folder, &named, top).unwrap_or((folder, named))
}

/// The folder `top` above `folder`, with the name that leads to it where `named` leads to `folder`. None
/// if a link has given the folders on the way other names.
fn above(folder: &Path, named: &Path, top: &Path) -> Option<(PathBuf, PathBuf)> {
    let below = folder.strip_prefix(top).ok()?;
    let named = named.ends_with(below).then(|| named.ancestors().nth(below.components().count()));
    named.flatten().map(|named| (top.to_owned(), named.to_owned()))
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
    use crate::paths::relative;

    #[test]
    fn absolute_paths_are_found_wherever_a_manifest_may_name_one() {
        let manifest = "[dependencies]\na = { path = \"/x/./a\" }\nb = { path = \"../b\" }\n\
                        [patch.crates-io]\nc = { path = \"/x/y/../c\" }\n\
                        [target.'cfg(unix)'.dependencies.d]\npath = \"/d\"\n";
        let mut paths = BTreeSet::new();
        collect(&toml::Value::Table(manifest.parse().expect("TOML")), &mut paths);
        assert_eq!(paths, ["/d", "/x/a", "/x/c"].map(PathBuf::from).into());
    }

    fn package(folder: &Path) -> Outside {
        let (folder, named) = (folder.to_owned(), folder.to_owned());
        Outside { folder, named, place: Place::Relative, why: Why::Package }
    }

    #[test]
    fn a_package_is_shown_with_what_it_lies_among() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let top = dir.path().canonicalize().expect("it is there");
        for folder in ["native", "shared/lib", "near", "other/deep/lib", "other/.git"] {
            fs::create_dir_all(top.join(folder)).expect("create");
        }
        let root = top.join("native");
        let around = |folder: &str| -> Vec<PathBuf> {
            let around = surroundings(&root, &[package(&top.join(folder))]);
            around.into_iter().map(|around| relative(&top, &around.folder)).collect()
        };
        assert_eq!(around("shared/lib"), [Path::new("shared")]);
        assert_eq!(around("near"), [""; 0].map(PathBuf::from), "it is that folder itself");
        assert_eq!(around("other/deep/lib"), [Path::new("other")], "its repository");
        // In the workspace's own repository too, and no further.
        fs::create_dir(top.join(".git")).expect("create");
        assert_eq!(around("shared/lib"), [Path::new("shared")]);
        // Below `/` nothing is shown that no manifest names.
        let far = Path::new("/no-such-folder/lib");
        assert_eq!(surroundings(&root, &[package(far)]), []);
    }

    #[test]
    fn what_is_listed_is_a_folder() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let top = dir.path().canonicalize().expect("it is there");
        fs::create_dir_all(top.join("native")).expect("create");
        fs::create_dir_all(top.join("schemas")).expect("create");
        fs::write(top.join("VERSION"), "1").expect("write");
        let listed = |entry: &str| listed(&top.join("native"), &[entry.to_owned()]);
        let found = listed("../schemas").expect("a folder");
        assert_eq!((&found[0].folder, found[0].why), (&top.join("schemas"), Why::Listed));
        for bad in ["../none", "../VERSION"] {
            assert!(matches!(listed(bad), Err(WorkspaceError::NotShown { .. })), "{bad}");
        }
        assert!(matches!(listed("/usr"), Err(WorkspaceError::Reserved { .. })));
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
