//! What the cache holds and for which images, and what no lock needs any more.
//!
//! A file of the cache is needed if a lock of any workspace that used the cache names its digest. Each
//! of them leaves the path of its recipes in the cache for that; a folder that is gone counts no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use keyway_manifest::Digest;

use super::tools;
use super::verification::digests;
use super::{ImageError, Images};
use crate::cache::garbage::{Garbage, entries, remove, size};
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
        self.leave(&recipes)?;
        if self.workspace.join(tools::LOCK).is_file() {
            self.leave(&self.workspace)
        } else {
            Ok(())
        }
    }

    fn leave(&self, folder: &Path) -> Result<(), CacheError> {
        let text = folder.to_string_lossy();
        let path = self.cache.dir(USERS)?.join(Digest::of(text.as_bytes()).short());
        if path.exists() { Ok(()) } else { write_atomically(&path, text.as_bytes()) }
    }

    /// What no lock needs: of these recipes and of those of every workspace that used the cache. Nothing
    /// is changed.
    ///
    /// # Errors
    /// If a lock can't be read: then nobody knows what it needs.
    pub fn garbage(&self) -> Result<Vec<Garbage>, ImageError> {
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
            let all = entries(&self.cache.root().join(folder))?;
            for path in all.into_iter().filter(|path| !is_needed(path)) {
                garbage.push(Garbage::of(path, &mut seen)?);
            }
        }
        for path in entries(&self.cache.root().join(USERS))? {
            if !recipes_of(&path)?.is_dir() {
                garbage.push(Garbage::of(path, &mut seen)?);
            }
        }
        for path in entries(&self.cache.root().join(NOTES))? {
            let note = fs::read_to_string(&path).unwrap_or_default();
            if !digests(&note).any(|digest| needed.contains(digest)) {
                garbage.push(Garbage::of(path, &mut seen)?);
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
        let _alone = self.cache.empty(shell)?;
        let mut garbage = self.garbage()?;
        for folder in ["tmp/images", "tmp/verify"] {
            for path in entries(&self.cache.root().join(folder))? {
                garbage.push(Garbage::of(path, &mut BTreeSet::new())?);
            }
        }
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
        let mut users = BTreeSet::from([self.recipes.clone()]);
        for user in entries(&self.cache.root().join(USERS))? {
            users.insert(recipes_of(&user)?);
        }
        for recipes in users.iter().filter(|recipes| recipes.is_dir()) {
            let tools = entries(&recipes.join(tools::FOLDER))?;
            for lock in entries(recipes)?.into_iter().chain(tools) {
                if lock.extension().is_some_and(|extension| extension == "lock") {
                    let text = fs::read_to_string(&lock).map_err(CacheError::io("read", &lock))?;
                    needed.extend(digests(&text).map(str::to_owned));
                }
            }
        }
        for note in entries(&self.cache.root().join(tools::COMPOSED))? {
            let text = fs::read_to_string(&note).map_err(CacheError::io("read", &note))?;
            let mut lines = text.lines();
            if lines.next().is_some_and(|recipes| Path::new(recipes).is_dir()) {
                needed.extend(lines.map(str::to_owned));
            }
        }
        Ok(needed)
    }
}

/// The folder of recipes that a note names.
fn recipes_of(note: &Path) -> Result<PathBuf, CacheError> {
    Ok(fs::read_to_string(note).map_err(CacheError::io("read", note))?.into())
}
