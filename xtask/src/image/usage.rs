//! What the cache holds and for which images, and what no lock needs any more.
//!
//! A file of the cache is needed if a lock of any workspace that used the cache names its digest. Each
//! of them leaves the path of its recipes in the cache for that; a folder that is gone counts no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::Digest;

use super::verification::digests;
use super::{ImageError, Images};
use crate::cache::{CacheError, write_atomically};
use crate::shell::Shell;

/// Folders of the cache whose entries are named by a digest, or by how one begins.
const NAMED_BY_DIGEST: [&str; 5] = ["downloads/sha256", "layers", "roots", "trees", "zig"];
/// What `std/` holds: a layer's digest, by a key of what it was compiled from.
const NOTES: &str = "std";
/// Where workspaces leave the paths of their recipes.
const USERS: &str = "recipes";

/// Bytes of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// All its layers, those below included.
    pub total: u64,
    /// Of these, what another image has too.
    pub shared: u64,
    /// Whether all layers are in the store.
    pub is_there: bool,
}

/// Something in the cache that no lock needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// The file or folder.
    pub path: PathBuf,
    /// Its bytes on disk.
    pub size: u64,
}

impl Images {
    /// The bytes of each image, as its lock says.
    ///
    /// # Errors
    /// If a recipe or lock can't be read.
    pub fn usage(&self, images: &[String]) -> Result<BTreeMap<String, Usage>, ImageError> {
        let mut layers: BTreeMap<String, BTreeMap<Digest, u64>> = BTreeMap::new();
        for image in images {
            let chain = self.chain(image)?;
            let all = chain.iter().flat_map(|locked| &locked.lock.layers);
            layers.insert(image.clone(), all.map(|layer| (layer.diff_id, layer.size)).collect());
        }
        let n_users = |digest: &Digest| layers.values().filter(|l| l.contains_key(digest)).count();
        let usage = |own: &BTreeMap<Digest, u64>, image: &str| -> Result<Usage, ImageError> {
            let shared = own.iter().filter(|(digest, _)| n_users(digest) > 1);
            Ok(Usage {
                total: own.values().sum(),
                shared: shared.map(|(_, size)| size).sum(),
                is_there: self.find(image)?.is_some(),
            })
        };
        layers.iter().map(|(image, own)| Ok((image.clone(), usage(own, image)?))).collect()
    }

    /// The folders of the cache with their bytes on disk; a file with several names counts once.
    ///
    /// # Errors
    /// If a folder can't be read.
    pub fn folders(&self) -> Result<Vec<(String, u64)>, ImageError> {
        let mut seen = BTreeSet::new();
        let mut folders = Vec::new();
        for path in entries(self.cache.root())? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            folders.push((name, size(&path, &mut seen)?));
        }
        Ok(folders)
    }

    /// Leaves the path of the recipes in the cache, so that their layers are kept.
    pub(super) fn sign_in(&self) -> Result<(), CacheError> {
        let recipes = std::path::absolute(&self.recipes).unwrap_or_else(|_| self.recipes.clone());
        let path =
            self.cache.dir(USERS)?.join(Digest::of(recipes.to_string_lossy().as_bytes()).short());
        if path.exists() {
            Ok(())
        } else {
            write_atomically(&path, recipes.to_string_lossy().as_bytes())
        }
    }

    /// What no lock needs: of these recipes and of those of every workspace that used the cache.
    ///
    /// # Errors
    /// If a lock can't be read: then nobody knows what it needs.
    pub fn garbage(&self) -> Result<Vec<Garbage>, ImageError> {
        self.sign_in()?;
        let needed = self.needed()?;
        let is_needed = |path: &Path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let mut longer = needed.range(name.clone()..);
            // A name of twelve letters is how a digest begins.
            name.len() >= 12 && longer.next().is_some_and(|digest| digest.starts_with(&name))
        };
        let mut garbage = Vec::new();
        let mut seen = BTreeSet::new();
        for folder in NAMED_BY_DIGEST {
            for path in
                entries(&self.cache.dir(folder)?)?.into_iter().filter(|path| !is_needed(path))
            {
                garbage.push(Garbage { size: size(&path, &mut seen)?, path });
            }
        }
        for path in entries(&self.cache.dir(NOTES)?)? {
            let note = fs::read_to_string(&path).unwrap_or_default();
            if !digests(&note).any(|digest| needed.contains(digest)) {
                garbage.push(Garbage { size: size(&path, &mut seen)?, path });
            }
        }
        Ok(garbage)
    }

    /// Removes what no lock needs and returns it. A run that is killed meanwhile leaves the rest for
    /// the next one.
    ///
    /// # Errors
    /// If a lock can't be read, or something can't be removed.
    pub fn collect(&self, shell: &Shell) -> Result<Vec<Garbage>, ImageError> {
        // Nobody assembles meanwhile; what others read is named by their locks, and so is kept.
        let _guard = self.guard(shell)?;
        let garbage = self.garbage()?;
        for Garbage { path, .. } in &garbage {
            remove(path)?;
        }
        Ok(garbage)
    }

    /// The digests that all locks name.
    ///
    /// # Errors
    /// If a lock can't be read.
    pub fn needed(&self) -> Result<BTreeSet<String>, ImageError> {
        let mut needed = BTreeSet::new();
        for user in entries(&self.cache.dir(USERS)?)? {
            let recipes = fs::read_to_string(&user).map_err(CacheError::io("read", &user))?;
            let recipes = PathBuf::from(recipes);
            if !recipes.is_dir() {
                fs::remove_file(&user).map_err(CacheError::io("remove", &user))?;
                continue;
            }
            for lock in entries(&recipes)? {
                if lock.extension().is_some_and(|extension| extension == "lock") {
                    let text = fs::read_to_string(&lock).map_err(CacheError::io("read", &lock))?;
                    needed.extend(digests(&text).map(str::to_owned));
                }
            }
        }
        Ok(needed)
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut entries = read().map_err(CacheError::io("list", folder))?;
    entries.sort();
    Ok(entries)
}

/// Bytes on disk below `path`, without files that were `seen` under another name.
fn size(path: &Path, seen: &mut BTreeSet<(u64, u64)>) -> Result<u64, CacheError> {
    let metadata = fs::symlink_metadata(path).map_err(CacheError::io("look at", path))?;
    if metadata.is_dir() {
        return entries(path)?.iter().map(|entry| size(entry, seen)).sum();
    }
    Ok(if first_name(&metadata, seen) { metadata.len() } else { 0 })
}

#[cfg(unix)]
fn first_name(metadata: &fs::Metadata, seen: &mut BTreeSet<(u64, u64)>) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.nlink() < 2 || seen.insert((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn first_name(_: &fs::Metadata, _: &mut BTreeSet<(u64, u64)>) -> bool {
    true
}

/// Removes a file or a folder. An unpacked image may hold folders without the write bit.
fn remove(path: &Path) -> Result<(), CacheError> {
    let metadata = fs::symlink_metadata(path).map_err(CacheError::io("look at", path))?;
    if !metadata.is_dir() {
        return fs::remove_file(path).map_err(CacheError::io("remove", path));
    }
    make_writable(path)?;
    fs::remove_dir_all(path).map_err(CacheError::io("remove", path))
}

#[cfg(unix)]
fn make_writable(folder: &Path) -> Result<(), CacheError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(folder, mode).map_err(CacheError::io("make writable", folder))?;
    for entry in entries(folder)? {
        let is_folder = fs::symlink_metadata(&entry).is_ok_and(|metadata| metadata.is_dir());
        if is_folder {
            make_writable(&entry)?;
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_writable(_: &Path) -> Result<(), CacheError> {
    Ok(())
}
