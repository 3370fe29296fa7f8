//! A tar archive, plain or compressed, decompressed once into a spool file.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

use super::deb::{XZ_MEMORY_KIB, decompress};
use super::member::{Member, MemberError};

/// Decompresses the archive at `path` into a file without a name in `folder`; gives its size too.
/// What it is compressed with, its first bytes tell.
///
/// # Errors
/// If it can't be decompressed, or is larger than `limit` then.
pub(super) fn spool(
    path: &Path,
    name: &str,
    folder: &Path,
    limit: u64,
) -> Result<(File, u64), MemberError> {
    let format = Member::format(name, "a tar archive");
    let mut spool = reader(path).and_then(|tar| decompress(tar, folder, limit)).map_err(&format)?;
    let size = spool.seek(io::SeekFrom::End(0)).map_err(&format)?;
    if size > limit {
        return Err(MemberError::TooLarge { member: name.to_owned(), limit });
    }
    spool.rewind().map_err(&format)?;
    Ok((spool, size))
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
