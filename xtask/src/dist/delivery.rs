//! A delivery: artifacts made in a folder of their own in `dist/`, then moved into their places.
//!
//! An artifact changes in one move: its folder, library and manifest together, changes places with the
//! new one in one system call. Whoever reads it sees the old one or the new one. The index follows by a
//! rename. Nothing else in `dist/` is moved, so that what others have there, links to it and folders
//! mounted from it or on it stay as they are.
//!
//! A run may be killed at any point. Until the first move there is nothing but the folder it worked in;
//! after it, each artifact is the old or the new one, and [`recover`] does the rest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::{Manifest, Triple, canonical};

use super::files::{ASIDE, change_places, create_folder, put_back, sync_folder, write};
use super::{DistError, Entry, INDEX, Index, artifact, folders};
use crate::cache::OwnedDir;

/// What the names of temporary folders in `dist/` begin with.
const PREFIX: &str = ".keyway-";

/// A delivery in the making; nothing is seen of it until [`Delivery::publish`].
#[derive(Debug)]
pub struct Delivery {
    dist: PathBuf,
    staging: OwnedDir,
    /// What was there when it began.
    before: Index,
    placed: Vec<Entry>,
    removed: Vec<Entry>,
}

impl Delivery {
    /// Begins a delivery to `dist`, which holds the artifacts of `before`.
    ///
    /// # Errors
    /// If no folder can be created there.
    pub fn begin(dist: &Path, before: &Index) -> Result<Self, DistError> {
        fs::create_dir_all(dist).map_err(DistError::io("create", dist))?;
        let staging = OwnedDir::create(dist, PREFIX)?;
        let (dist, before) = (dist.to_owned(), before.clone());
        Ok(Self { dist, staging, before, placed: Vec::new(), removed: Vec::new() })
    }

    /// Adds an artifact: its library's bytes and its manifest. Returns the library's path in the
    /// folder of the delivery, where the gate can look at it before it is published.
    ///
    /// # Errors
    /// If a file can't be written, or somebody else's is where it belongs.
    pub fn place(&mut self, library: &[u8], manifest: &Manifest) -> Result<PathBuf, DistError> {
        let entry = Entry::of(manifest);
        self.check_free(&entry)?;
        create_folder(&self.staging.path().join(entry.target.as_str()))?;
        create_folder(&self.staging.path().join(entry.folder()))?;
        let path = self.staging.path().join(&entry.library);
        write(&path, library)?;
        write(&self.staging.path().join(&entry.manifest), manifest.to_json().as_bytes())?;
        self.placed.push(entry);
        Ok(path)
    }

    /// The folder of the delivery, laid out as `dist` is.
    pub fn path(&self) -> &Path {
        self.staging.path()
    }

    /// The entry of an artifact that was placed.
    pub fn find(&self, target: &Triple, plugin: &str) -> Option<&Entry> {
        self.placed.iter().find(|entry| entry.is_of(target, plugin))
    }

    /// Where in `dist/` a file of this delivery will be.
    pub fn relative<'a>(&self, file: &'a Path) -> &'a Path {
        file.strip_prefix(self.staging.path()).unwrap_or(file)
    }

    /// Takes an artifact back, as after a refusal; what was delivered before stays.
    pub fn withdraw(&mut self, target: &Triple, plugin: &str) {
        self.placed.retain(|entry| !entry.is_of(target, plugin));
        // What is not placed is not delivered, whether or not its files go.
        let _ = fs::remove_dir_all(self.staging.path().join(target.as_str()).join(plugin));
    }

    /// Removes an artifact of an earlier delivery.
    pub fn remove(&mut self, entry: &Entry) {
        self.removed.push(entry.clone());
    }

    /// Moves the artifacts into their places, removes what is to be removed, and writes the index.
    ///
    /// # Errors
    /// If a file can't be written, synced or moved. Each artifact is then the old or the new one.
    pub fn publish(self) -> Result<Index, DistError> {
        let Self { dist, staging, before, placed, removed } = self;
        let changed = |entry: &Entry| {
            let mut changed = placed.iter().chain(&removed);
            changed.any(|other| other.is_of(&entry.target, &entry.plugin))
        };
        let mut index = before.clone();
        index.artifacts.retain(|entry| !changed(entry));
        index.artifacts.extend(placed.iter().cloned());
        index.artifacts.sort();
        for entry in &placed {
            sync_folder(&staging.path().join(entry.folder()))?;
        }
        // From here on a killed run is known by it to have begun to move.
        let written = staging.path().join(INDEX);
        let json = canonical::document(&index).expect("strings and digests are always JSON");
        write(&written, json.as_bytes())?;
        sync_folder(staging.path())?;
        for entry in &placed {
            let (new, place) = (staging.path().join(entry.folder()), dist.join(entry.folder()));
            let parent = dist.join(entry.target.as_str());
            create_folder(&parent)?;
            change_places(&new, &place).map_err(DistError::io("put an artifact in", &place))?;
            sync_folder(&parent)?;
            let old = before.find(&entry.target, &entry.plugin);
            if let Err(source) = put_back_others(&new, &place, old.into_iter().chain([entry])) {
                let kept = staging.leave();
                return Err(DistError::NotPutBack { folder: place, kept, source });
            }
        }
        for entry in &removed {
            // The library first: what has none is no artifact to anyone.
            for file in [&entry.library, &entry.manifest] {
                remove_file(&dist.join(file))?;
            }
            // They stay if something else is in them.
            let _ = fs::remove_dir(dist.join(entry.folder()));
            let _ = fs::remove_dir(dist.join(entry.target.as_str()));
        }
        let place = dist.join(INDEX);
        fs::rename(&written, &place).map_err(DistError::io("write", &place))?;
        sync_folder(&dist)?;
        Ok(index)
    }

    /// Ends as a kill would end it: nothing is removed, and nobody owns its folder.
    #[cfg(test)]
    pub(super) fn abandon(self) -> PathBuf {
        self.staging.abandon()
    }

    /// Makes sure that nothing but an artifact of an earlier delivery is replaced.
    fn check_free(&self, entry: &Entry) -> Result<(), DistError> {
        check_place(&self.dist, entry.target.as_str(), &entry.plugin)?;
        let folder = self.dist.join(entry.folder());
        let known = self.before.find(&entry.target, &entry.plugin).cloned();
        let ours: Vec<Entry> = known.into_iter().chain(artifact(&folder)).collect();
        for name in entry.names() {
            let is_ours = ours.iter().any(|entry| entry.names().contains(&name));
            let path = folder.join(name);
            if !is_ours && fs::symlink_metadata(&path).is_ok() {
                return Err(DistError::InTheWay { path, what: "no manifest says what it is" });
            }
        }
        Ok(())
    }
}

/// Makes sure that an artifact's folder can be made, or is one.
///
/// # Errors
/// If a link or a file is in its way.
pub fn check_place(dist: &Path, target: &str, plugin: &str) -> Result<(), DistError> {
    let folder = dist.join(target);
    for path in [folder.join(plugin), folder] {
        let what = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => "it is a link",
            Ok(found) if !found.is_dir() => "it is no folder",
            _ => continue,
        };
        return Err(DistError::InTheWay { path, what });
    }
    Ok(())
}

/// Clears away what killed runs left in `dist`, and writes an index where it is damaged or behind.
/// Returns the number of artifacts in an index that was written anew.
///
/// # Errors
/// If a file can't be read, moved or written.
pub fn recover(dist: &Path) -> Result<Option<usize>, DistError> {
    if !dist.is_dir() {
        return Ok(None);
    }
    let is_damaged = Index::stored(dist)?.is_none()
        && (dist.join(INDEX).exists() || !Index::of_manifests(dist)?.artifacts.is_empty());
    let left = OwnedDir::abandoned(dist, PREFIX)?;
    let mut is_behind = false;
    for staging in left {
        // Without an index it had moved nothing: all that is in there is its own.
        let Some(index) = Index::stored(staging.path())? else { continue };
        is_behind = true;
        for target in folders(staging.path())? {
            for folder in folders(&target)? {
                if let Err((place, source)) = settle(&folder, &staging, dist, &index) {
                    let kept = staging.leave();
                    return Err(DistError::NotPutBack { folder: place, kept, source });
                }
            }
        }
    }
    if !is_damaged && !is_behind {
        return Ok(None);
    }
    let index = Index::of_manifests(dist)?;
    Delivery::begin(dist, &index)?.publish()?;
    Ok(Some(index.artifacts.len()))
}

/// Ends what a killed run began with one folder of a delivery: what is missing in `dist` is put there,
/// and what is not of an artifact is put back. On failure, the place that it belongs to.
fn settle(
    folder: &Path,
    staging: &OwnedDir,
    dist: &Path,
    index: &Index,
) -> Result<(), (PathBuf, io::Error)> {
    let name = folder.strip_prefix(staging.path()).unwrap_or(folder).to_string_lossy();
    let place = dist.join(name.strip_suffix(ASIDE).unwrap_or(&name));
    let new = index.artifacts.iter().find(|entry| dist.join(entry.folder()) == place);
    let settled = if fs::symlink_metadata(&place).is_err() {
        // It was complete before the first move.
        let parent = place.parent().unwrap_or(dist);
        fs::create_dir_all(parent).and_then(|()| fs::rename(folder, &place))
    } else {
        let old = artifact(folder);
        put_back_others(folder, &place, new.into_iter().chain(&old))
    };
    settled.map_err(|source| (place, source))
}

/// Moves from `old`, which was at `place`, what is not one of `artifacts` there, back to it.
fn put_back_others<'a>(
    old: &Path,
    place: &Path,
    artifacts: impl Iterator<Item = &'a Entry>,
) -> io::Result<()> {
    let ours: Vec<&str> = artifacts.flat_map(Entry::names).collect();
    let entries = match fs::read_dir(old) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        if !ours.iter().any(|ours| name == *ours) {
            put_back(&old.join(&name), &place.join(&name))?;
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> Result<(), DistError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(DistError::io("remove", path)),
    }
}
