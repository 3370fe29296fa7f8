//! A Debian package (deb(5)) as a [`Member`]: `data.tar` is decompressed once into a spool file, and
//! its headers become the index. The control archive, and with it every maintainer script, is ignored.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;

use flate2::read::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;
use tar::{Archive, EntryType};

use super::member::{Content, Data, Entries, EntryProblem, Kind, Member, MemberError};

/// `xz -9` needs 65 MiB to decompress.
pub(super) const XZ_MEMORY_KIB: u32 = 96 << 10;

/// Opens the package file at `path`, spooling at most `limit` bytes into `folder`.
///
/// # Errors
/// If it is no package, is cut off, or holds an entry that no layer may have.
pub fn open(path: &Path, name: &str, folder: &Path, limit: u64) -> Result<Member, MemberError> {
    let format = Member::format(name, "a Debian package");
    let file = File::open(path).map_err(&format)?;
    let mut spool = spool_data(BufReader::new(file), folder, limit).map_err(&format)?;
    let size = spool.seek(io::SeekFrom::End(0)).map_err(&format)?;
    if size > limit {
        return Err(MemberError::TooLarge { member: name.to_owned(), limit });
    }
    spool.rewind().map_err(&format)?;
    let entries = index(&spool, size, name)?;
    Ok(Member { name: name.to_owned(), entries: entries.finish(), content: Content::Spool(spool) })
}

fn spool_data(file: impl Read, folder: &Path, limit: u64) -> io::Result<File> {
    let mut archive = ar::Archive::new(file);
    let mut first = archive.next_entry().ok_or_else(|| invalid("it is empty"))??;
    let mut version = String::new();
    first.by_ref().take(16).read_to_string(&mut version)?;
    if first.header().identifier() != b"debian-binary" || !version.starts_with("2.") {
        return Err(invalid("its first member is not `debian-binary` of version 2"));
    }
    drop(first);
    while let Some(member) = archive.next_entry() {
        let member = member?;
        let data = match member.header().identifier() {
            b"data.tar" => decompress(member, folder, limit),
            b"data.tar.gz" => decompress(GzDecoder::new(member), folder, limit),
            b"data.tar.xz" => {
                decompress(XzReader::new_mem_limit(member, true, XZ_MEMORY_KIB), folder, limit)
            }
            b"data.tar.zst" => {
                let decoder = StreamingDecoder::new(member).map_err(io::Error::other)?;
                decompress(decoder, folder, limit)
            }
            other if other.starts_with(b"data.tar") => {
                let found = String::from_utf8_lossy(other).into_owned();
                return Err(invalid(&format!("`{found}` is compressed in a way not known here")));
            }
            _ => continue,
        };
        return data;
    }
    Err(invalid("it has no `data.tar`"))
}

/// Copies at most one byte more than `limit` into a file without a name in `folder`.
pub(super) fn decompress(from: impl Read, folder: &Path, limit: u64) -> io::Result<File> {
    let mut spool = tempfile::tempfile_in(folder)?;
    let mut from = from.take(limit.saturating_add(1));
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(spool),
            n => spool.write_all(&buffer[..n])?,
        }
    }
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_owned())
}

/// Reads the headers of an uncompressed tar of `size` bytes.
pub(super) fn index(spool: &File, size: u64, name: &str) -> Result<Entries, MemberError> {
    let format = Member::format(name, "a tar archive");
    let mut entries = Entries::of(name);
    let mut archive = Archive::new(spool);
    for entry in archive.entries_with_seek().map_err(&format)? {
        let entry = entry.map_err(&format)?;
        let raw_path = entry.path_bytes().into_owned();
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            continue;
        }
        let path = entries.path(&raw_path)?;
        let link = entry.link_name_bytes().unwrap_or_default().into_owned();
        let mode = entry.header().mode().map_err(&format)?;
        let mtime = entry.header().mtime().map_err(&format)?;
        let kind = match kind {
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(entries.link_target(&path, &link)?),
            EntryType::Link => Kind::File(entries.hard_link(&path, &link)?),
            EntryType::Regular | EntryType::Continuous => {
                let data = Data { at: entry.raw_file_position(), size: entry.size() };
                if data.at.checked_add(data.size).is_none_or(|end| end > size) {
                    let problem = EntryProblem::Cut { expected: data.size };
                    return Err(entries.error(&raw_path, problem));
                }
                Kind::File(data)
            }
            EntryType::GNUSparse => return Err(entries.error(&raw_path, EntryProblem::Sparse)),
            other => {
                let kind = format!("tar type `{}`", char::from(other.as_byte()));
                let problem = EntryProblem::Special(kind);
                return Err(entries.error(&raw_path, problem));
            }
        };
        entries.add(path, kind, mode, mtime)?;
    }
    Ok(entries)
}
