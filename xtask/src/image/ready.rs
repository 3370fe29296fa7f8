//! Images that others made: a lock pins their layers, and they are taken as they are.
//!
//! What an image is made of here are its uncompressed layers and its environment; entry points, users
//! and volumes mean nothing to a build. Two sources: a registry (`reference`) and a Dockerfile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

use keyway_manifest::{Digest, Hasher, Triple};
use serde::{Deserialize, Serialize};
use tar::Archive;

use crate::cache::{CacheError, set_shared_mode};
use crate::container::Layer;
use crate::time::epoch_of;

/// An image that others made, as a lock pins it; what its layers are, the lock says as of any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedReady {
    /// The reference by digest, or the Dockerfile's path.
    pub source: String,
    /// Whether anyone gets the same layers from the source again.
    pub rebuildable: bool,
    /// Its own environment, below the recipe's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The layers as a registry has them, lowest first.
    #[serde(default, rename = "blob", skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Blob>,
}

/// A layer as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
    /// The digest of the tar in it.
    pub diff_id: Digest,
}

/// What an image's configuration says, as far as it matters here.
#[derive(Debug)]
pub(super) struct Configuration {
    pub(super) architecture: String,
    pub(super) env: BTreeMap<String, String>,
    pub(super) diff_ids: Vec<Digest>,
    pub(super) epoch: u64,
}

#[derive(Deserialize)]
struct Document {
    architecture: String,
    #[serde(default)]
    created: String,
    #[serde(default)]
    config: Option<Settings>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct Settings {
    #[serde(default, rename = "Env")]
    env: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

impl Configuration {
    /// Reads an image's configuration; without a usable time, the epoch is 0.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let digest = |text: &String| {
            let hex = text.strip_prefix("sha256:").and_then(|hex| hex.parse().ok());
            hex.ok_or_else(|| format!("`{text}` is no digest"))
        };
        let env = document.config.and_then(|config| config.env).unwrap_or_default();
        let pair = |line: &String| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        Ok(Self {
            architecture: document.architecture,
            env: env.iter().filter_map(pair).collect(),
            diff_ids: document.rootfs.diff_ids.iter().map(digest).collect::<Result<_, _>>()?,
            epoch: epoch_of(&document.created).unwrap_or(0),
        })
    }
}

/// Stores an uncompressed layer that must have this digest; another one is told and not kept.
pub(super) fn adopt(
    mut from: impl Read,
    expected: Digest,
    limit: u64,
    scratch: &Path,
    store: &Path,
) -> io::Result<Result<Layer, Digest>> {
    let mut file = tempfile::Builder::new().prefix("layer-").tempfile_in(scratch)?;
    let (mut size, mut hasher, mut buffer) = (0, Hasher::new(), vec![0; 256 << 10]);
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        size += n as u64;
        if size > limit {
            return Err(io::Error::other(format!("it unpacks to more than {limit} bytes")));
        }
        hasher.update(&buffer[..n]);
        file.write_all(&buffer[..n])?;
    }
    let found = hasher.finish();
    if found != expected {
        return Ok(Err(found));
    }
    file.as_file().sync_all()?;
    set_shared_mode(file.as_file())?;
    let path = store.join(format!("{found}.tar"));
    file.persist(&path).map_err(|error| error.error)?;
    Ok(Ok(Layer { diff_id: found, size, file: path }))
}

/// The digest of a target's standard library, wherever in an image it lies: over the names and
/// contents of its files.
pub(super) fn standard_library(
    layers: &[Layer],
    target: &Triple,
) -> Result<Option<Digest>, CacheError> {
    let folder = format!("/rustlib/{target}/lib/");
    let mut files: BTreeMap<String, Digest> = BTreeMap::new();
    for layer in layers {
        let error = |source| CacheError::io("read", &layer.file)(source);
        let mut archive = Archive::new(File::open(&layer.file).map_err(error)?);
        for entry in archive.entries().map_err(error)? {
            let mut entry = entry.map_err(error)?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if path.contains(&folder) && entry.header().entry_type().is_file() {
                let mut hasher = Hasher::new();
                io::copy(&mut entry, &mut hasher).map_err(error)?;
                files.insert(path, hasher.finish());
            }
        }
    }
    let lines: BTreeSet<String> =
        files.iter().map(|(path, digest)| format!("{digest} {path}\n")).collect();
    let is_there = files.keys().any(|path| path.contains("/libstd-"));
    Ok(is_there.then(|| Digest::of(lines.into_iter().collect::<String>())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_gibibytes_of_zeros_are_refused_before_they_fill_the_disk() {
        let (scratch, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let zeros = io::repeat(0).take(10 << 30);
        let limit = 1 << 20;
        let adopted = adopt(zeros, Digest::of("other"), limit, scratch.path(), store.path());
        assert_eq!(adopted.unwrap_err().to_string(), "it unpacks to more than 1048576 bytes");
        for folder in [scratch, store] {
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
