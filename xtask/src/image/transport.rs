//! Images for a machine without network: one archive out, checked layers in.
//!
//! The archive is the one that engines load, of several images. What it says of itself counts for
//! nothing: a layer is taken if a lock of the recipes folder names it, and is of the lock's size and
//! digest. Documents follow from the locks, so those in the archive are read past. None of its paths
//! is used as a path, and an entry that has no business there is refused, not skipped.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Hasher};
use tar::{Archive, EntryType};
use thiserror::Error;

use super::lock::{LockError, LockedLayer};
use super::{ImageError, Images, oci, ready, stored};
use crate::cache::{self, CacheError};
use crate::container::Image;
use crate::failure::{Diagnose, Exit};
use crate::shell::Shell;

/// Why an archive of images can't be written or taken.
#[derive(Debug, Error)]
pub enum TransportError {
    /// It can't be written.
    #[error("could not write the images to `{path}`", path = .path.shown())]
    Write {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can't be opened.
    #[error("could not open the archive `{path}`", path = .path.shown())]
    Open {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no tar, or its middle is damaged.
    #[error("`{path}` is no archive of images", path = .path.shown())]
    Form {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ends too early.
    #[error("`{path}` is cut {place}", path = .path.shown())]
    Cut {
        /// The archive.
        path: PathBuf,
        /// Behind what, or within what.
        place: String,
    },
    /// An entry has no business there.
    #[error("`{path}` holds `{entry}`, {problem}", path = .path.shown())]
    Entry {
        /// The archive.
        path: PathBuf,
        /// The entry's path, as a text.
        entry: String,
        /// Why it is refused.
        problem: Problem,
    },
}

/// Why an entry is refused.
#[derive(Debug, Error)]
pub enum Problem {
    /// It is a link, a folder or a device.
    #[error("which is no regular file")]
    Kind,
    /// It is neither a document of an image nor a layer of a lock.
    #[error("which no lock of the recipes names")]
    Foreign,
    /// It is of another size.
    #[error("which has {found} bytes, expected {expected}")]
    Size {
        /// The size in the lock.
        expected: u64,
        /// The size in the archive.
        found: u64,
    },
    /// It has another content.
    #[error("which has sha256 {found}")]
    Content {
        /// The digest that it has.
        found: Digest,
    },
}

impl Diagnose for TransportError {
    fn exit(&self) -> Exit {
        match self {
            Self::Write { .. } => Exit::Environment,
            Self::Open { .. } => Exit::Usage,
            Self::Form { .. } | Self::Cut { .. } | Self::Entry { .. } => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Write { .. } | Self::Open { .. } => None,
            Self::Entry { problem: Problem::Foreign | Problem::Size { .. }, .. } => Some(
                "export it from a checkout with the same locks, or name the folder of its recipes \
                 with `--recipes`"
                    .into(),
            ),
            _ => Some(
                "copy the archive again, or write it anew with `cargo xtask images export`".into(),
            ),
        }
    }
}

/// Writes images, whose layers are all in the store, as one archive; gives its size.
///
/// # Errors
/// If a layer can't be read or the file not be written; an older one is then untouched.
pub fn export(images: &[&Image], output: &Path) -> Result<u64, TransportError> {
    let write = |source| TransportError::Write { path: output.to_owned(), source };
    let folder = output.parent().unwrap_or(Path::new("."));
    let mut file =
        tempfile::Builder::new().prefix(".keyway-").tempfile_in(folder).map_err(write)?;
    let mut out = BufWriter::with_capacity(1 << 20, file.as_file_mut());
    oci::write_archive(images, &mut out).and_then(|()| out.flush()).map_err(write)?;
    drop(out);
    file.as_file().sync_all().map_err(write)?;
    cache::set_shared_mode(file.as_file()).map_err(write)?;
    let size = file.as_file().metadata().map_err(write)?.len();
    file.persist(output).map_err(|error| write(error.error))?;
    Ok(size)
}

/// What an archive brought.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Layers that were not in the store yet.
    pub added: usize,
    /// Layers that were.
    pub known: usize,
}

impl Images {
    /// Takes the layers of an archive into the store. Those that came before a refused entry stay:
    /// each was checked by itself.
    ///
    /// # Errors
    /// If the archive is cut or holds anything but what the locks name, or the store can't be
    /// written.
    pub fn import(&self, archive: &Path, shell: &Shell) -> Result<Imported, ImageError> {
        self.sign_in()?;
        let _kept = self.cache.keep(shell)?;
        let known = Known::read(self)?;
        let (scratch, store) = (self.scratch()?, self.cache.dir("layers")?);
        let path = || archive.to_owned();
        let file =
            File::open(archive).map_err(|source| TransportError::Open { path: path(), source })?;
        let ended = Cell::new(false);
        let cut = |place: String| TransportError::Cut { path: path(), place };
        let mut place = "before its first entry".to_owned();
        let mut reader = Archive::new(Source { file: BufReader::new(file), ended: &ended });
        let mut imported = Imported::default();
        let form = |source, place: &str| match ended.get() {
            true => cut(place.to_owned()),
            false => TransportError::Form { path: path(), source },
        };
        // Raw: no extension may rename or resize an entry.
        for entry in reader.entries().map_err(|source| form(source, &place))?.raw(true) {
            let mut entry = entry.map_err(|source| form(source, &place))?;
            let name = entry.path_bytes().escape_ascii().to_string();
            place = format!("after `{name}`");
            let refuse = |problem| {
                let entry = name.clone();
                TransportError::Entry { path: path(), entry, problem }
            };
            let header = entry.header();
            let wanted = known.judge(&name, header.entry_type(), entry.size()).map_err(refuse)?;
            let Some(layer) = wanted else { continue };
            let is_known = stored(&store, layer).is_some();
            let copied = if is_known {
                let mut hasher = Hasher::new();
                io::copy(&mut entry, &mut hasher).map(|_| hasher.finish())
            } else {
                ready::adopt(&mut entry, layer.diff_id, layer.size, &scratch, &store)
                    .map(|made| made.map_or_else(|found| found, |made| made.diff_id))
            };
            let found = copied.map_err(CacheError::io("copy a layer of the archive to", &store))?;
            match found == layer.diff_id {
                true if is_known => imported.known += 1,
                true => imported.added += 1,
                false if ended.get() => return Err(cut(format!("within `{name}`")).into()),
                false => return Err(refuse(Problem::Content { found }).into()),
            }
        }
        if ended.get() { Err(cut(place).into()) } else { Ok(imported) }
    }

    /// How many layers of an image, and of those below it, are not in the store.
    ///
    /// # Errors
    /// Those of [`Images::locked`].
    pub fn missing(&self, image: &str) -> Result<usize, ImageError> {
        let store = self.cache.dir("layers")?;
        let chain = self.chain(image)?;
        let layers = chain.iter().flat_map(|locked| &locked.lock.layers);
        Ok(layers.filter(|layer| stored(&store, layer).is_none()).count())
    }
}

/// What the locks of a recipes folder name.
#[derive(Debug, Default)]
struct Known {
    layers: BTreeMap<Digest, LockedLayer>,
    documents: BTreeSet<Digest>,
}

impl Known {
    fn read(images: &Images) -> Result<Self, ImageError> {
        let mut known = Self::default();
        for name in images.names()? {
            let lock = match images.read_lock(&name) {
                Err(LockError::Missing { .. }) => continue,
                lock => lock?,
            };
            known.documents.extend([lock.config, lock.manifest]);
            known.layers.extend(lock.layers.into_iter().map(|layer| (layer.diff_id, layer)));
        }
        Ok(known)
    }

    /// The layer that an entry must be, or nothing if it is a document.
    fn judge(
        &self,
        name: &str,
        kind: EntryType,
        size: u64,
    ) -> Result<Option<&LockedLayer>, Problem> {
        if kind != EntryType::Regular {
            return Err(Problem::Kind);
        }
        if oci::DOCUMENTS.contains(&name) {
            return Ok(None);
        }
        let digest = name.strip_prefix(oci::BLOBS).and_then(|hex| hex.parse().ok());
        let digest: Digest = digest.ok_or(Problem::Foreign)?;
        if self.documents.contains(&digest) {
            return Ok(None);
        }
        let layer = self.layers.get(&digest).ok_or(Problem::Foreign)?;
        if size != layer.size {
            return Err(Problem::Size { expected: layer.size, found: size });
        }
        Ok(Some(layer))
    }
}

/// An archive that is being read, and whether it ended: a whole one says itself where its end is.
struct Source<'a> {
    file: BufReader<File>,
    ended: &'a Cell<bool>,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        if n == 0 && !buffer.is_empty() {
            self.ended.set(true);
        }
        Ok(n)
    }
}
