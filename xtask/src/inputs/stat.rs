//! Digests of files, remembered by size, times and inode, as git's index does.
//!
//! Of the times it is the one of the inode's last change that can't be set back: a file that is
//! replaced by another of its size and time, as `rsync --times` does, is hashed again. As in git, an
//! entry is not believed that was written within the clock's resolution of its file's last change,
//! since the file may have changed again under the same time.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use keyway_manifest::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use super::InputError;
use crate::cache::{CacheError, write_atomically};

/// How old a file must be, in nanoseconds, before its stat is believed: more than any file
/// system's time stamp resolution (FAT: two seconds).
const SETTLED_NS: u64 = 2_500_000_000;

/// Digests of files, remembered by what `stat` says of them.
#[derive(Debug, Default)]
pub struct StatCache {
    path: PathBuf,
    entries: BTreeMap<PathBuf, Entry>,
    used: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    stat: Stat,
    digest: Digest,
}

/// What tells a file from what it was before, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stat {
    size: u64,
    modified_ns: u64,
    /// The inode's last change; 0 where there is no such time.
    changed_ns: u64,
    inode: u64,
}

impl Stat {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified_ns: metadata.modified().map_or(0, nanoseconds),
            changed_ns: changed(metadata),
            inode: inode(metadata),
        }
    }

    /// Whether a change at `time` or later would show.
    pub(super) fn is_settled(&self, time: SystemTime) -> bool {
        self.modified_ns.max(self.changed_ns).saturating_add(SETTLED_NS) < nanoseconds(time)
    }
}

impl StatCache {
    /// Reads the cache file; a missing or damaged one is an empty cache.
    pub fn open(path: PathBuf) -> Self {
        let entries = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self { path, entries, used: BTreeMap::new() }
    }

    /// The digest of a file's content.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn digest(&mut self, path: &Path) -> Result<Digest, InputError> {
        let failed = |source| InputError::Read { path: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(failed)?;
        self.digest_as(path, Stat::of(&metadata)).map_err(failed)
    }

    /// The digest of a file that was just found to have this `stat`.
    pub(super) fn digest_as(&mut self, path: &Path, stat: Stat) -> io::Result<Digest> {
        if let Some(entry) = self.used.get(path).filter(|entry| entry.stat == stat) {
            return Ok(entry.digest);
        }
        if let Some(entry) = self.entries.get(path).filter(|entry| entry.stat == stat) {
            self.used.insert(path.to_owned(), *entry);
            return Ok(entry.digest);
        }
        // Judged before it is read: what changes meanwhile must not be believed later.
        let is_settled = stat.is_settled(SystemTime::now());
        let digest = digest_file(path)?;
        // JSON has no place for a name that is not UTF-8; such a file is hashed each time.
        if is_settled && path.to_str().is_some() {
            self.used.insert(path.to_owned(), Entry { stat, digest });
        }
        Ok(digest)
    }

    /// Writes back what was used, if that changed anything.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save(&self) -> Result<(), CacheError> {
        if self.used == self.entries {
            return Ok(());
        }
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir).map_err(CacheError::io("create", dir))?;
        }
        write_atomically(
            &self.path,
            &serde_json::to_vec(&self.used).expect("only UTF-8 names are kept"),
        )
    }
}

fn digest_file(path: &Path) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finish())
}

/// Since 1970; enough until the year 2554.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

#[cfg(unix)]
fn changed(metadata: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let seconds = u64::try_from(metadata.ctime()).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(metadata.ctime_nsec()).unwrap_or_default()
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_fresh_file_is_never_believed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("lib.rs");
        fs::write(&path, "new").expect("write");
        let mut cache = StatCache::open(dir.path().join("stat.json"));
        cache.digest(&path).expect("digest");
        assert!(cache.used.is_empty(), "the file may change again under the same time stamp");
    }

    #[test]
    fn a_damaged_cache_is_an_empty_one() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (path, file) = (dir.path().join("stat.json"), dir.path().join("Cargo.toml"));
        fs::write(&path, "{").expect("write");
        fs::write(&file, "[workspace]").expect("write");
        let digest = StatCache::open(path).digest(&file).expect("digest");
        assert_eq!(digest, Digest::of("[workspace]"));
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let error = StatCache::open(PathBuf::from("none")).digest(Path::new("/nowhere"));
        assert!(matches!(error, Err(InputError::Read { .. })), "{error:?}");
    }

    #[cfg(unix)]
    #[test]
    fn another_content_under_the_same_size_and_times_is_seen() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("lib.rs");
        let old = SystemTime::now() - Duration::from_secs(60);
        let write = |text: &str| {
            let file = File::create(&path).expect("open");
            io::Write::write_all(&mut &file, text.as_bytes()).expect("write");
            file.set_modified(old).expect("age");
        };
        write("one");
        let mut cache = StatCache::open(dir.path().join("stat.json"));
        let stat = Stat::of(&fs::metadata(&path).expect("stat"));
        // As if it had been seen long ago.
        cache.used.insert(path.clone(), Entry { stat, digest: Digest::of("one") });
        assert_eq!(cache.digest(&path).expect("digest"), Digest::of("one"));
        write("two");
        assert_eq!(cache.digest(&path).expect("digest"), Digest::of("two"));
    }
}
