//! The packages of a repository, at one commit: all of what cargo has checked out, submodules too, since
//! a package may read files of its repository outside of its own folder.
//!
//! Cargo takes packages from a folder whose entries they are. So the copy of the repository gets a
//! folder of links beside the one that holds most of them, `crates.packages` beside `crates`: from there
//! `..` leads to the repository's own files, whether a path is followed or only its text is shortened,
//! and to the manifest of the workspace that a package inherits from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cargo_metadata::Package;

use super::files::{self, Found};
use super::registry::{CHECKSUMS, UNPACKED, checksums};
use super::{Content, VendorError, manifest_folder, stub};
use crate::paths::relative;
use crate::shell::Shell;

/// What the folder of links is called after the folder that it lies beside.
const LINKS: &str = ".packages";
/// How a file begins whose content git LFS keeps elsewhere.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Lays out `packages`, all of one commit of the repository `name`, below `to`; returns the way from
/// there to the folder that cargo takes them from.
pub(super) fn lay_out(
    name: &str,
    packages: &[&Package],
    content: Content,
    to: &Path,
    shell: &Shell,
) -> Result<PathBuf, VendorError> {
    let failed = |source| VendorError::Repository { repository: name.to_owned(), source };
    let folders: Vec<PathBuf> = packages.iter().map(|package| manifest_folder(package)).collect();
    let Some(top) = folders.first().and_then(|folder| checkout(folder)) else {
        // Vendored by the user: each package is a folder of its own, with what it needs.
        let links = PathBuf::from("packages");
        for folder in &folders {
            let to = to.join(&links).join(folder.file_name().unwrap_or_default());
            copy(folder, &to, name, shell).map_err(failed)?;
            files::copy(&folder.join(CHECKSUMS), &to.join(CHECKSUMS)).map_err(failed)?;
        }
        return Ok(links);
    };
    let copied = to.join(name);
    let below: Vec<PathBuf> = folders.iter().map(|folder| relative(&top, folder)).collect();
    match content {
        Content::Whole => copy(&top, &copied, name, shell).map_err(failed)?,
        Content::Stub => {
            copy_manifests(&top, &copied).map_err(failed)?;
            for (package, below) in packages.iter().zip(&below) {
                stub(package, &copied.join(below)).map_err(failed)?;
            }
        }
    }
    for below in &below {
        let checksums = checksums(&BTreeMap::new(), None);
        files::write(&copied.join(below).join(CHECKSUMS), &checksums).map_err(failed)?;
    }
    let parent = shared_parent(&below);
    let links = links(name, &parent, &copied);
    let names = packages.iter().map(|p| format!("{}-{}", p.name, p.version)).collect::<Vec<_>>();
    let plan = entries(&copied, &parent, &below, &names).map_err(failed)?;
    for (entry, target) in plan {
        let at = to.join(&links).join(entry);
        let from = at.parent().unwrap_or(to);
        files::link(&relative(from, &copied.join(target)), &at).map_err(failed)?;
    }
    Ok(links)
}

/// The folder that cargo has checked out a repository to, if a package lies in one.
fn checkout(package: &Path) -> Option<PathBuf> {
    let is_it = |folder: &&Path| folder.join(UNPACKED).is_file() && folder.join(".git").exists();
    package.ancestors().filter(is_it).last().map(Path::to_owned)
}

/// The folder in a repository that holds most of the packages that lie in a folder of it.
fn shared_parent(below: &[PathBuf]) -> PathBuf {
    let mut counts = BTreeMap::<&Path, usize>::new();
    for parent in below.iter().filter_map(|below| below.parent()) {
        *counts.entry(parent).or_default() += 1;
    }
    let most = counts.into_iter().rev().max_by_key(|(_, n)| *n);
    most.map(|(parent, _)| parent.to_owned()).unwrap_or_default()
}

/// The folder of links beside `parent`, relative to the folder that holds the repository's copy.
fn links(name: &str, parent: &Path, copied: &Path) -> PathBuf {
    let mut beside = PathBuf::from(name);
    beside.extend(parent);
    let mut beside = beside.into_os_string();
    beside.push(LINKS);
    // The repository may have one of that name.
    while copied.parent().is_some_and(|to| to.join(&beside).exists()) {
        beside.push("_");
    }
    PathBuf::from(beside)
}

/// The links that cargo and the packages find each other by: name, and what it leads to in the
/// repository. Packages that no lock file names are left out, since cargo would read them.
fn entries(
    copied: &Path,
    parent: &Path,
    below: &[PathBuf],
    names: &[String],
) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(copied.join(parent))? {
        let entry = entry?;
        let name = entry.file_name();
        let target = parent.join(&name);
        let is_package = entry.path().join("Cargo.toml").exists();
        let is_left_out = is_package && !below.contains(&target);
        if let (Some(name), false) = (name.to_str(), is_left_out) {
            entries.insert(name.to_owned(), target);
        }
    }
    let is_seen = |name: &str| !name.starts_with('.');
    let linked: BTreeSet<PathBuf> =
        entries.iter().filter(|(name, _)| is_seen(name)).map(|(_, to)| to.clone()).collect();
    for (below, name) in below.iter().zip(names).filter(|(below, _)| !linked.contains(*below)) {
        let mut name = name.clone();
        while entries.contains_key(&name) {
            name.push('_');
        }
        entries.insert(name, below.clone());
    }
    Ok(entries)
}

fn copy(from: &Path, to: &Path, repository: &str, shell: &Shell) -> io::Result<()> {
    let mut pointers = Vec::new();
    files::visit(from, &mut |below, found| {
        let (file, at) = (from.join(below), to.join(below));
        if found == Found::Link {
            return files::link(&fs::read_link(&file)?, &at);
        }
        if [CHECKSUMS, UNPACKED].iter().any(|name| below == Path::new(name)) {
            return Ok(());
        }
        if is_pointer(&file)? {
            pointers.push(below.to_string_lossy().into_owned());
        }
        files::copy(&file, &at)
    })?;
    if let Some(first) = pointers.first() {
        shell.warn(format_args!(
            "{} of `{repository}` kept by git LFS, such as `{first}`, whose content cargo does not fetch: \
             a build sees the pointer, as with plain cargo",
            match pointers.len() {
                1 => "1 file".to_owned(),
                n => format!("{n} files"),
            }
        ));
    }
    Ok(())
}

/// Copies every manifest, since one may inherit from another.
fn copy_manifests(from: &Path, to: &Path) -> io::Result<()> {
    files::visit(from, &mut |below, found| match found == Found::File
        && below.ends_with("Cargo.toml")
    {
        true => files::copy(&from.join(below), &to.join(below)),
        false => Ok(()),
    })
}

fn is_pointer(file: &Path) -> io::Result<bool> {
    // A pointer is three short lines.
    if fs::metadata(file)?.len() > 1024 {
        return Ok(false);
    }
    let mut start = Vec::new();
    fs::File::open(file)?.take(LFS_POINTER.len() as u64).read_to_end(&mut start)?;
    Ok(start == LFS_POINTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lie_beside_the_folder_that_holds_most_packages() {
        let parent =
            |below: &[&str]| shared_parent(&below.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(parent(&["crates/a", "crates/b", "libs/c", ""]), Path::new("crates"));
        assert_eq!(parent(&["a", "crates/b"]), Path::new(""));
        assert_eq!(parent(&[""]), Path::new(""));
        let dir = tempfile::tempdir().expect("a temporary folder");
        let copied = dir.path().join("repo");
        assert_eq!(links("repo", Path::new("crates"), &copied), Path::new("repo/crates.packages"));
        assert_eq!(links("repo", Path::new(""), &copied), Path::new("repo.packages"));
        fs::create_dir_all(copied.join("crates.packages")).expect("create");
        assert_eq!(links("repo", Path::new("crates"), &copied), Path::new("repo/crates.packages_"));
    }
}
