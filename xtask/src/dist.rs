//! `dist/`: what is delivered, and how it gets there.
//!
//! ```text
//! dist/index.json
//! dist/<triple>/<plugin>/<library>
//! dist/<triple>/<plugin>/<plugin>.manifest.json
//! ```
//!
//! A delivery is made in a folder beside `dist/`, what is unchanged hard-linked from there; then the
//! two folders change places in one system call. Whoever reads `dist/` sees the old state or the
//! new one, and a run killed at any point leaves a good state behind.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use keyway_manifest::{Digest, FormatVersion, Manifest, Triple, canonical};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::cache::CacheError;

/// `dist/index.json`: every artifact in the folder, by target and plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// The version of this schema.
    pub format: FormatVersion,
    /// The artifacts.
    pub artifacts: Vec<Entry>,
}

/// One artifact of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it was built for.
    pub target: Triple,
    /// The plugin's name.
    pub plugin: String,
    /// The library, relative to `dist/`, with `/` between the parts.
    pub library: String,
    /// The manifest, relative to `dist/`.
    pub manifest: String,
    /// Digest of the library.
    pub sha256: Digest,
}

impl Index {
    /// The index in a `dist` folder; an empty one if there is none or it does not parse.
    pub fn read(dist: &Path) -> Self {
        fs::read(dist.join("index.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// The entry of an artifact.
    pub fn find(&self, target: &Triple, plugin: &str) -> Option<&Entry> {
        self.artifacts.iter().find(|entry| entry.target == *target && entry.plugin == plugin)
    }
}

/// A delivery in the making; nothing is seen of it until [`Delivery::publish`].
#[derive(Debug)]
pub struct Delivery {
    dist: PathBuf,
    staging: TempDir,
    index: Index,
}

impl Delivery {
    /// Begins a delivery to `dist`, beside it.
    ///
    /// # Errors
    /// If no folder can be created there.
    pub fn begin(dist: &Path) -> Result<Self, CacheError> {
        let parent = dist.parent().unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        let staging =
            builder.tempdir_in(parent).map_err(CacheError::io("create a folder in", parent))?;
        set_mode(staging.path(), 0o755)?;
        Ok(Self { dist: dist.to_owned(), staging, index: Index::default() })
    }

    /// Removes what killed runs left beside `dist`. Only for whoever holds the workspace's lock.
    pub fn sweep(dist: &Path) {
        let siblings = dist.parent().and_then(|parent| fs::read_dir(parent).ok());
        for entry in siblings.into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                // What can't be removed now is tried again by the next run.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Takes over an artifact of the last delivery, if its files are still there.
    ///
    /// # Errors
    /// If a folder can't be created.
    pub fn keep(&mut self, entry: &Entry) -> Result<(), CacheError> {
        let folder = self.folder(&entry.target, &entry.plugin)?;
        for relative in [&entry.library, &entry.manifest] {
            let from = self.dist.join(relative);
            let to = folder.join(from.file_name().unwrap_or_default());
            if fs::hard_link(&from, &to).is_err() && fs::copy(&from, &to).is_err() {
                return Ok(());
            }
        }
        self.index.artifacts.push(entry.clone());
        Ok(())
    }

    /// Adds an artifact: its library's bytes and its manifest. Returns the library's path in the
    /// folder of the delivery, where the gate can look at it before it is published.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn place(&mut self, library: &[u8], manifest: &Manifest) -> Result<PathBuf, CacheError> {
        let plugin = manifest.plugin.name.as_str();
        let folder = self.folder(&manifest.target, plugin)?;
        let path = folder.join(manifest.artifact.file.as_str());
        write(&path, library)?;
        write(&folder.join(manifest.file_name()), manifest.to_json().as_bytes())?;
        let relative = |file: &str| format!("{}/{plugin}/{file}", manifest.target);
        self.index.artifacts.push(Entry {
            target: manifest.target.clone(),
            plugin: plugin.to_owned(),
            library: relative(manifest.artifact.file.as_str()),
            manifest: relative(&manifest.file_name()),
            sha256: manifest.artifact.sha256,
        });
        Ok(path)
    }

    /// Takes an artifact back, as after a refusal.
    pub fn withdraw(&mut self, target: &Triple, plugin: &str) {
        self.index.artifacts.retain(|entry| entry.target != *target || entry.plugin != plugin);
        // An artifact that is not in the index is not delivered, whether or not its files go.
        let _ = fs::remove_dir_all(self.staging.path().join(target.as_str()).join(plugin));
    }

    /// Writes the index and puts the delivery in the place of `dist`.
    ///
    /// # Errors
    /// If a file can't be written or synced, or the folders can't change places.
    pub fn publish(mut self) -> Result<Index, CacheError> {
        self.index.artifacts.sort();
        let json = canonical::document(&self.index).expect("strings and digests are always JSON");
        write(&self.staging.path().join("index.json"), json.as_bytes())?;
        sync_folders(self.staging.path())?;
        change_places(self.staging.path(), &self.dist)
            .map_err(CacheError::io("put the delivery in the place of", &self.dist))?;
        sync_folder(self.dist.parent().unwrap_or(Path::new(".")))?;
        Ok(self.index)
    }

    fn folder(&self, target: &Triple, plugin: &str) -> Result<PathBuf, CacheError> {
        let folder = self.staging.path().join(target.as_str()).join(plugin);
        fs::create_dir_all(&folder).map_err(CacheError::io("create", &folder))?;
        // Whatever the umask: the gate refuses what others may write.
        set_mode(&folder, 0o755)?;
        set_mode(&self.staging.path().join(target.as_str()), 0o755)?;
        Ok(folder)
    }
}

/// Deliveries in the making are called so, followed by random characters.
const PREFIX: &str = ".dist-";

fn write(path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    let mut file = File::create(path).map_err(CacheError::io("create", path))?;
    file.write_all(bytes).map_err(CacheError::io("write", path))?;
    file.sync_all().map_err(CacheError::io("sync", path))?;
    set_mode(path, 0o644)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> Result<(), CacheError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(CacheError::io("set the mode of", path))
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> Result<(), CacheError> {
    Ok(())
}

fn sync_folders(folder: &Path) -> Result<(), CacheError> {
    let entries = fs::read_dir(folder).map_err(CacheError::io("list", folder))?;
    for entry in entries {
        let path = entry.map_err(CacheError::io("list", folder))?.path();
        if path.is_dir() {
            sync_folders(&path)?;
        }
    }
    sync_folder(folder)
}

/// Names are durable once their folder is synced; only Unix can open a folder.
fn sync_folder(folder: &Path) -> Result<(), CacheError> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|file| file.sync_all())
            .map_err(CacheError::io("sync", folder))?;
    }
    Ok(())
}

/// Puts `new` where `old` is; what was there is then at `new`, or gone if there was nothing.
fn change_places(new: &Path, old: &Path) -> io::Result<()> {
    if !old.exists() {
        return fs::rename(new, old);
    }
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
            // A file system that can't exchange is treated as below.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            other => return other.map_err(Into::into),
        }
    }
    // Not one step: for a moment there is no `dist`, never a torn one.
    let aside = new.with_extension("old");
    fs::rename(old, &aside)?;
    fs::rename(new, old)?;
    fs::rename(&aside, new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dist: &Path, relative: &str) -> String {
        fs::read_to_string(dist.join(relative)).unwrap_or_default()
    }

    fn manifest(plugin: &str, library: &[u8]) -> Manifest {
        let text = include_str!("../tests/data/greet.manifest.json");
        let mut manifest = Manifest::parse(text.as_bytes()).expect("the sample is right");
        manifest.plugin.name = plugin.parse().expect("a name");
        manifest.artifact.sha256 = Digest::of(library);
        manifest.artifact.size = library.len() as u64;
        manifest
    }

    fn deliver(dist: &Path, plugin: &str, library: &[u8]) -> Index {
        let before = Index::read(dist);
        let mut delivery = Delivery::begin(dist).expect("begin");
        for entry in before.artifacts.iter().filter(|entry| entry.plugin != plugin) {
            delivery.keep(entry).expect("keep");
        }
        delivery.place(library, &manifest(plugin, library)).expect("place");
        delivery.publish().expect("publish")
    }

    #[test]
    fn replaces_one_artifact_and_keeps_the_others() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let dist = root.path().join("dist");
        deliver(&dist, "one", b"1");
        deliver(&dist, "two", b"2");
        let index = deliver(&dist, "one", b"new");
        assert_eq!(index, Index::read(&dist));
        let plugins: Vec<_> = index.artifacts.iter().map(|entry| entry.plugin.as_str()).collect();
        assert_eq!(plugins, ["one", "two"]);
        assert_eq!(read(&dist, &index.artifacts[0].library), "new");
        assert_eq!(read(&dist, &index.artifacts[1].library), "2");
        let left: Vec<_> = fs::read_dir(root.path()).expect("list").flatten().collect();
        assert_eq!(left.len(), 1, "nothing is left beside dist: {left:?}");
    }

    #[test]
    fn an_unpublished_delivery_changes_nothing() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let dist = root.path().join("dist");
        let before = deliver(&dist, "one", b"1");
        let mut delivery = Delivery::begin(&dist).expect("begin");
        delivery.place(b"2", &manifest("one", b"2")).expect("place");
        // As after a kill: the folder is not removed.
        std::mem::forget(delivery);
        assert_eq!(Index::read(&dist), before);
        assert_eq!(read(&dist, &before.artifacts[0].library), "1");
        Delivery::sweep(&dist);
        assert_eq!(fs::read_dir(root.path()).expect("list").count(), 1);
    }

    #[test]
    fn what_is_withdrawn_is_not_delivered() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let dist = root.path().join("dist");
        let mut delivery = Delivery::begin(&dist).expect("begin");
        let manifest = manifest("one", b"1");
        delivery.place(b"1", &manifest).expect("place");
        delivery.withdraw(&manifest.target, "one");
        assert_eq!(delivery.publish().expect("publish").artifacts, []);
        assert!(!dist.join(manifest.target.as_str()).join("one").exists());
    }
}
