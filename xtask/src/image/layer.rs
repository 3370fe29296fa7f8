//! A tree written as a layer: one uncompressed tar whose bytes depend on nothing but the tree.
//!
//! Sorted paths, owner 0:0 without names, ustar headers, a pax header only where a name needs it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use keyway_manifest::Hasher;
use tar::{Builder, EntryType, Header};
use thiserror::Error;

use super::member::{Kind, Member};
use super::tree::{Node, Tree};
use crate::cache::CacheError;
use crate::container::Layer;

/// Why a layer can't be written.
#[derive(Debug, Error)]
pub enum LayerError {
    /// The content of a file can't be read back.
    #[error("could not copy `{path}` of `{member}` into a layer")]
    Copy {
        /// The path.
        path: String,
        /// The member.
        member: String,
        /// Why.
        source: io::Error,
    },
    /// The cache can't be written.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Writes `tree`, whose content `members` hold, into `folder` under the name of its digest; until it
/// is whole, it lies in `scratch` on the same file system.
///
/// # Errors
/// If a file's content can't be read whole, or the layer can't be written.
pub fn write(
    tree: &Tree,
    members: &mut [Member],
    scratch: &Path,
    folder: &Path,
) -> Result<Layer, LayerError> {
    let mut file = tempfile::Builder::new()
        .prefix("layer-")
        .tempfile_in(scratch)
        .map_err(CacheError::io("create a temporary file in", scratch))?;
    let (diff_id, size) = {
        let mut out = Hashed {
            file: BufWriter::with_capacity(1 << 20, file.as_file_mut()),
            hasher: Hasher::new(),
            size: 0,
        };
        write_tar(tree, members, &mut out)?;
        out.flush().map_err(CacheError::io("write a layer in", folder))?;
        (out.hasher.finish(), out.size)
    };
    let path = folder.join(format!("{diff_id}.tar"));
    file.as_file().sync_all().map_err(CacheError::io("sync", &path))?;
    let mut permissions =
        file.as_file().metadata().map_err(CacheError::io("look at", &path))?.permissions();
    make_readable(&mut permissions);
    file.as_file()
        .set_permissions(permissions)
        .map_err(CacheError::io("set the mode of", &path))?;
    file.persist(&path).map_err(|e| CacheError::io("rename into place", &path)(e.error))?;
    Ok(Layer { diff_id, size, file: path })
}

#[cfg(unix)]
fn make_readable(permissions: &mut std::fs::Permissions) {
    use std::os::unix::fs::PermissionsExt;
    permissions.set_mode(0o644);
}

#[cfg(not(unix))]
fn make_readable(_: &mut std::fs::Permissions) {}

/// Writes `tree` as a tar.
///
/// # Errors
/// If a file's content can't be read whole, or `out` fails.
pub fn write_tar(
    tree: &Tree,
    members: &mut [Member],
    out: &mut dyn Write,
) -> Result<(), LayerError> {
    let hard_links = tree.hard_links();
    let mut builder = Builder::new(out);
    for (path, node) in &tree.nodes {
        let hard_link = hard_links.get(path.as_str()).copied();
        append(&mut builder, path, node, hard_link, members).map_err(|source| {
            let member = members.get(node.member).map_or_else(String::new, |m| m.name.clone());
            LayerError::Copy { path: path.clone(), member, source }
        })?;
    }
    let end = |source| LayerError::Copy { path: "the end".into(), member: String::new(), source };
    builder.finish().map_err(end)
}

fn append(
    builder: &mut Builder<&mut dyn Write>,
    path: &str,
    node: &Node,
    hard_link: Option<&str>,
    members: &mut [Member],
) -> io::Result<()> {
    let (kind, link, size) = match (&node.kind, hard_link) {
        (Kind::Directory, _) => (EntryType::Directory, None, 0),
        (Kind::Symlink(target), _) => (EntryType::Symlink, Some(target.as_str()), 0),
        (Kind::File(_), Some(first)) => (EntryType::Link, Some(first), 0),
        (Kind::File(data), None) => (EntryType::Regular, None, data.size),
    };
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Symlink { 0o777 } else { node.mode });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(node.mtime);
    header.set_size(size);
    let name = if kind == EntryType::Directory { format!("{path}/") } else { path.to_owned() };
    let mut extensions: Vec<(&str, &[u8])> = Vec::new();
    if !name.is_ascii() || header.set_path(&name).is_err() {
        extensions.push(("path", name.as_bytes()));
        header.set_path(stand_in(&name))?;
    }
    if let Some(link) = link {
        // `set_link_name` would normalize; a link must say what the package's says.
        if !link.is_ascii() || header.set_link_name_literal(link).is_err() {
            extensions.push(("linkpath", link.as_bytes()));
            header.set_link_name_literal(stand_in(link))?;
        }
    }
    header.set_cksum();
    if !extensions.is_empty() {
        builder.append_pax_extensions(extensions)?;
    }
    builder.append(&header, io::empty())?;
    if let (EntryType::Regular, Kind::File(data)) = (kind, &node.kind) {
        let out = builder.get_mut();
        members[node.member].content.copy(*data, out)?;
        let padding = data.size.next_multiple_of(512) - data.size;
        out.write_all(&[0; 512][..padding as usize])?;
    }
    Ok(())
}

/// What stands in a header whose real name is in the pax header before it.
fn stand_in(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_graphic() && c != '/' { c } else { '_' }
    };
    name.chars().map(plain).take(90).collect()
}

struct Hashed<'a> {
    file: BufWriter<&'a mut File>,
    hasher: Hasher,
    size: u64,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
