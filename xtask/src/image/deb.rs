//! A Debian package (deb(5)) as a [`Member`]: the content of its `data.tar`. The control archive, and with
//! it every maintainer script, is ignored.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

use super::member::{Member, MemberError};
use super::spool;

/// `xz -9` needs 65 MiB to decompress.
pub(super) const XZ_MEMORY_KIB: u32 = 96 << 10;

/// Opens the package file at `path`. Of the files for whose path `is_wanted` says so the content is kept, if
/// need be in `folder`; all of them together may have `limit` bytes.
///
/// # Errors
/// If it is no package, is cut off, or holds an entry that no layer may have.
pub fn open(
    path: &Path,
    name: &str,
    is_wanted: &dyn Fn(&str) -> bool,
    folder: &Path,
    limit: u64,
) -> Result<Member, MemberError> {
    let format = Member::format(name, "a Debian package");
    let file = BufReader::new(File::open(path).map_err(&format)?);
    let mut archive = ar::Archive::new(file);
    check_version(&mut archive).map_err(&format)?;
    while let Some(member) = archive.next_entry() {
        let member = member.map_err(&format)?;
        let tar: Box<dyn Read> = match member.header().identifier() {
            b"data.tar" => Box::new(member),
            b"data.tar.gz" => Box::new(GzDecoder::new(member)),
            b"data.tar.xz" => Box::new(XzReader::new_mem_limit(member, true, XZ_MEMORY_KIB)),
            b"data.tar.zst" => {
                let decoder = StreamingDecoder::new(member).map_err(io::Error::other);
                Box::new(decoder.map_err(&format)?)
            }
            other if other.starts_with(b"data.tar") => {
                let found = String::from_utf8_lossy(other).into_owned();
                let problem = format!("`{found}` is compressed in a way not known here");
                return Err(format(invalid(&problem)));
            }
            _ => continue,
        };
        return spool::read(tar, name, is_wanted, folder, limit);
    }
    Err(format(invalid("it has no `data.tar`")))
}

fn check_version(archive: &mut ar::Archive<impl Read>) -> io::Result<()> {
    let mut first = archive.next_entry().ok_or_else(|| invalid("it is empty"))??;
    let mut version = String::new();
    first.by_ref().take(16).read_to_string(&mut version)?;
    if first.header().identifier() == b"debian-binary" && version.starts_with("2.") {
        return Ok(());
    }
    Err(invalid("its first member is not `debian-binary` of version 2"))
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_owned())
}
