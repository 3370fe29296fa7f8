//! A tar archive, plain or compressed, as a [`Member`].

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

use super::deb::XZ_MEMORY_KIB;
use super::member::{Member, MemberError};
use super::spool;

/// Opens the archive at `path`, whose content is kept, if need be in `folder`. What it is compressed with, its
/// first bytes tell.
///
/// # Errors
/// If it can't be decompressed, is larger than `limit` then, or holds an entry that no layer may have.
pub(super) fn open(
    path: &Path,
    name: &str,
    folder: &Path,
    limit: u64,
) -> Result<Member, MemberError> {
    let tar = reader(path).map_err(Member::format(name, "a tar archive"))?;
    spool::read(tar, name, &|_| true, folder, limit)
}

/// The archive at `path`, decompressed while it is read.
pub(super) fn reader(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut from = BufReader::new(File::open(path)?);
    Ok(match from.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(from)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(XzReader::new_mem_limit(from, true, XZ_MEMORY_KIB))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Box::new(StreamingDecoder::new(from).map_err(io::Error::other)?)
        }
        _ => Box::new(from),
    })
}
