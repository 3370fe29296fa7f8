//! Layers unpacked into folders, once per layer, and roots made of them, once per image.
//!
//! `trees/<diffID>` holds one layer's files; `roots/<manifest digest>` is the union of an image's
//! trees as hard links, so a layer that several images share is on disk once and a root costs
//! little more than its folders. Hard links and not overlayfs, since they work on any file system and kernel and cost a
//! build nothing at run time.
//!
//! A layer is untrusted input. Its digest is checked while it is unpacked; a name that leaves the
//! folder, or passes through a link, is refused; devices and FIFOs are left out; setuid bits are
//! dropped; every file belongs to the caller. Unpacking happens under a temporary name and is
//! renamed when complete, so a run killed at any point leaves nothing that looks finished.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::thread;

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Hasher};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use thiserror::Error;

use crate::cache::{Cache, CacheError};
use crate::container::{Image, Layer};
use crate::failure::Diagnose;
use crate::shell::Shell;

/// Why a layer or a root could not be unpacked.
#[derive(Debug, Error)]
pub enum TreeError {
    /// A file operation failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The tar can't be read.
    #[error("layer `{}` is no readable tar", .layer.short())]
    Tar {
        /// The layer's diffID.
        layer: Digest,
        /// Why.
        source: io::Error,
    },
    /// The tar's bytes are not those that the image names.
    #[error("layer file `{}` has sha256 `{found}`, expected `{expected}`", .file.shown())]
    Digest {
        /// The file.
        file: PathBuf,
        /// What the image names.
        expected: Digest,
        /// What was read.
        found: Digest,
    },
    /// An entry that has no place inside the folder.
    #[error("layer `{}` has the entry `{entry}`, {reason}", .layer.short())]
    Entry {
        /// The layer's diffID.
        layer: Digest,
        /// The entry's path, lossily.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl TreeError {
    /// What to do next.
    pub(in crate::engine) fn hint(&self) -> Option<String> {
        match self {
            Self::Cache(error) => error.hint(),
            Self::Tar { .. } | Self::Digest { .. } => {
                Some("delete the layer's file, then build the image again".into())
            }
            Self::Entry { .. } => Some("don't use this image".into()),
        }
    }
}

/// The folder that holds the image's files; made if it is missing.
pub(super) fn root(cache: &Cache, image: &Image, shell: &Shell) -> Result<PathBuf, TreeError> {
    let path = cache.dir("roots")?.join(image.manifest.to_string());
    if path.is_dir() {
        return Ok(path);
    }
    let _lock = cache.lock(&format!("root-{}", image.manifest.short()), shell)?;
    if path.is_dir() {
        return Ok(path);
    }
    shell.status("Unpacking", format_args!("image {}", image.name));
    let trees: Vec<PathBuf> = thread::scope(|scope| {
        let unpack = |layer| scope.spawn(move || tree(cache, layer, shell));
        let threads: Vec<_> = image.layers.iter().map(unpack).collect();
        threads
            .into_iter()
            .map(|one| one.join().expect("unpacking does not panic"))
            .collect::<Result<_, _>>()
    })?;
    let building = Building::start(&path)?;
    for tree in &trees {
        merge(tree, &building.path)?;
    }
    building.finish(&path)?;
    Ok(path)
}

/// The folder that holds one layer's files; made if it is missing.
fn tree(cache: &Cache, layer: &Layer, shell: &Shell) -> Result<PathBuf, TreeError> {
    let path = cache.dir("trees")?.join(layer.diff_id.to_string());
    if path.is_dir() {
        return Ok(path);
    }
    let _lock = cache.lock(&format!("tree-{}", layer.diff_id.short()), shell)?;
    if path.is_dir() {
        return Ok(path);
    }
    let building = Building::start(&path)?;
    unpack(layer, &building.path)?;
    // Once for the whole tree: an fsync per file costs minutes.
    let folder = File::open(&building.path).map_err(CacheError::io("open", &building.path))?;
    rustix::fs::syncfs(&folder)
        .map_err(|error| CacheError::io("sync", &building.path)(error.into()))?;
    building.finish(&path)?;
    Ok(path)
}

/// A folder being filled under a temporary name; deleted unless it is finished.
struct Building {
    path: PathBuf,
}

impl Building {
    /// The caller has the lock, so what is there already was left by a run that was killed.
    fn start(target: &Path) -> Result<Self, CacheError> {
        let building = Self { path: target.with_extension("partial") };
        remove(&building.path)?;
        fs::create_dir(&building.path).map_err(CacheError::io("create", &building.path))?;
        Ok(building)
    }

    fn finish(self, target: &Path) -> Result<(), CacheError> {
        fs::rename(&self.path, target).map_err(CacheError::io("rename into place", target))
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // After `finish` there is nothing under this name. The next run tries again anyway.
        let _ = remove(&self.path);
    }
}

fn remove(path: &Path) -> Result<(), CacheError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(CacheError::io("remove", path)),
    }
}

/// Unpacks the layer's tar into the empty folder `target`.
fn unpack(layer: &Layer, target: &Path) -> Result<(), TreeError> {
    let file = File::open(&layer.file).map_err(CacheError::io("open", &layer.file))?;
    let mut reader =
        HashingReader { inner: BufReader::with_capacity(1 << 18, file), hasher: Hasher::new() };
    let tar = |source| TreeError::Tar { layer: layer.diff_id, source };
    let mut unpacker = Unpacker {
        layer: layer.diff_id,
        target,
        folders: HashSet::from([PathBuf::new()]),
        times: Vec::new(),
    };
    let mut archive = tar::Archive::new(&mut reader);
    for entry in archive.entries().map_err(tar)? {
        unpacker.entry(&mut entry.map_err(tar)?)?;
    }
    unpacker.finish()?;
    // The archive ends before the file does.
    io::copy(&mut reader, &mut io::sink()).map_err(tar)?;
    let found = reader.hasher.finish();
    if found != layer.diff_id {
        let file = layer.file.clone();
        return Err(TreeError::Digest { file, expected: layer.diff_id, found });
    }
    Ok(())
}

struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

struct Unpacker<'a> {
    layer: Digest,
    target: &'a Path,
    /// Folders known to be real ones, relative to `target`. Nobody else writes below it.
    folders: HashSet<PathBuf>,
    /// Modification times of folders, set last, since every file in one changes them.
    times: Vec<(PathBuf, u64)>,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), TreeError> {
        let tar = |source| TreeError::Tar { layer: self.layer, source };
        let name = entry.path_bytes().into_owned();
        let header = entry.header();
        let kind = header.entry_type();
        let mode = header.mode().map_err(tar)? & 0o777;
        let mtime = header.mtime().map_err(tar)?;
        let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
        let relative = self.inside(&name)?;
        let path = self.target.join(&relative);
        if relative.as_os_str().is_empty() {
            return Ok(());
        }
        self.make_parents(&relative)?;
        match kind {
            tar::EntryType::Directory => {
                self.make_folder(&relative)?;
                // The owner must be able to fill and delete it.
                set_mode(&path, mode | 0o700)?;
                self.times.push((path, mtime));
            }
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                clear(&path)?;
                let mut file = File::options()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)
                    .map_err(CacheError::io("create", &path))?;
                copy(entry, &mut file, self.layer, &path)?;
                set_mode(&path, mode | 0o400)?;
                set_time(&path, mtime)?;
            }
            tar::EntryType::Symlink => {
                clear(&path)?;
                let link = link.ok_or_else(|| self.refuse(&name, "a link that leads nowhere"))?;
                symlink(OsStr::from_bytes(&link), &path)
                    .map_err(CacheError::io("create", &path))?;
                set_time(&path, mtime)?;
            }
            tar::EntryType::Link => {
                let link = link.ok_or_else(|| self.refuse(&name, "a link that leads nowhere"))?;
                let to = self.inside(&link)?;
                self.check_parents(&to)?;
                let to = self.target.join(to);
                if !to.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
                    return Err(self.refuse(&name, "a hard link to no file of this layer"));
                }
                clear(&path)?;
                fs::hard_link(&to, &path).map_err(CacheError::io("create", &path))?;
            }
            // Devices and FIFOs: a command sees the sandbox's own /dev.
            _ => {}
        }
        Ok(())
    }

    fn refuse(&self, name: &[u8], reason: &'static str) -> TreeError {
        let entry = String::from_utf8_lossy(name).into_owned();
        TreeError::Entry { layer: self.layer, entry, reason }
    }

    /// The name as a path relative to the folder.
    fn inside(&self, name: &[u8]) -> Result<PathBuf, TreeError> {
        let mut path = PathBuf::new();
        for part in Path::new(OsStr::from_bytes(name)).components() {
            match part {
                Component::Normal(part) => path.push(part),
                Component::CurDir | Component::RootDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(self.refuse(name, "which leaves the root"));
                }
            }
        }
        Ok(path)
    }

    fn make_parents(&mut self, relative: &Path) -> Result<(), TreeError> {
        let parent = relative.parent().unwrap_or(Path::new(""));
        if self.folders.contains(parent) {
            return Ok(());
        }
        self.make_parents(parent)?;
        self.make_folder(parent)
    }

    /// Makes one folder whose parent exists, or finds that it is there already.
    fn make_folder(&mut self, relative: &Path) -> Result<(), TreeError> {
        if self.folders.contains(relative) {
            return Ok(());
        }
        let path = self.target.join(relative);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Not a folder, or it would be known: what is there would lead out of the root.
                let name = relative.as_os_str().as_bytes();
                return Err(self.refuse(name, "which passes through a link or a file"));
            }
            result => result.map_err(CacheError::io("create", &path))?,
        }
        self.folders.insert(relative.to_owned());
        Ok(())
    }

    fn check_parents(&self, relative: &Path) -> Result<(), TreeError> {
        if relative.parent().is_some_and(|parent| self.folders.contains(parent)) {
            return Ok(());
        }
        Err(self.refuse(relative.as_os_str().as_bytes(), "which passes through a link or a file"))
    }

    fn finish(self) -> Result<(), TreeError> {
        for (path, mtime) in self.times.iter().rev() {
            set_time(path, *mtime)?;
        }
        Ok(())
    }
}

/// A later entry of the same name replaces an earlier one, as in any tar; a folder stays.
fn clear(path: &Path) -> Result<(), CacheError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(CacheError::io("replace", path)),
    }
}

/// Copies an entry's bytes; tells a broken tar from a full disk.
fn copy(
    entry: &mut impl Read,
    file: &mut File,
    layer: Digest,
    path: &Path,
) -> Result<(), TreeError> {
    let mut buffer = vec![0; 1 << 17];
    loop {
        match entry.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => file.write_all(&buffer[..n]).map_err(CacheError::io("write", path))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(TreeError::Tar { layer, source }),
        }
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), CacheError> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(CacheError::io("set the mode of", path))
}

fn set_time(path: &Path, seconds: u64) -> Result<(), CacheError> {
    let time = Timespec { tv_sec: seconds.try_into().unwrap_or(i64::MAX), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| CacheError::io("set the time of", path)(error.into()))
}

/// Marks in layers, from the OCI image specification: a file that hides one of a lower layer, and
/// one that hides everything that lower layers have in its folder.
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Puts the files of a layer's tree on top of what is in `target`, as hard links.
fn merge(tree: &Path, target: &Path) -> Result<(), CacheError> {
    let reading = || CacheError::io("read", tree);
    let entries: Vec<_> =
        fs::read_dir(tree).and_then(Iterator::collect::<io::Result<_>>).map_err(reading())?;
    if entries.iter().any(|entry| entry.file_name().as_bytes() == OPAQUE) {
        remove(target)?;
        fs::create_dir(target).map_err(CacheError::io("create", target))?;
    }
    for entry in &entries {
        let name = entry.file_name();
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT)
            && name.as_bytes() != OPAQUE
        {
            replace(&target.join(OsStr::from_bytes(hidden)))?;
        }
    }
    for entry in &entries {
        if entry.file_name().as_bytes().starts_with(WHITEOUT) {
            continue;
        }
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
        if entry.file_type().map_err(CacheError::io("read", &from))?.is_dir() {
            if !is_folder(&to) {
                replace(&to)?;
                fs::create_dir(&to).map_err(CacheError::io("create", &to))?;
            }
            merge(&from, &to)?;
        } else {
            replace(&to)?;
            link_or_copy(&from, &to)?;
        }
    }
    let meta = fs::metadata(tree).map_err(reading())?;
    set_mode(target, meta.permissions().mode() & 0o777)?;
    set_time(target, std::os::unix::fs::MetadataExt::mtime(&meta).try_into().unwrap_or(0))
}

/// Removes whatever a lower layer has here.
fn replace(path: &Path) -> Result<(), CacheError> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => remove(path),
        Ok(_) => clear(path),
        Err(_) => Ok(()),
    }
}

/// Some file systems limit the links of a file, or know none.
fn link_or_copy(from: &Path, to: &Path) -> Result<(), CacheError> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let meta = from.symlink_metadata().map_err(CacheError::io("read", from))?;
    if meta.is_symlink() {
        let link = fs::read_link(from).map_err(CacheError::io("read", from))?;
        symlink(link, to).map_err(CacheError::io("create", to))?;
    } else {
        fs::copy(from, to).map_err(CacheError::io("create", to))?;
    }
    set_time(to, std::os::unix::fs::MetadataExt::mtime(&meta).try_into().unwrap_or(0))
}
