//! A tar read once: its headers become an index, and of its content what a layer will need is kept, in
//! memory while there is room and else in a file without a name.
//!
//! Most of what packages carry (documentation, locales, programs that a recipe drops) is in no layer. It is
//! read past, and written nowhere.

use std::collections::HashMap;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tar::{Archive, Entry, EntryType};
use tempfile::SpooledTempFile;

use super::member::{
    Content, Data, Entries, EntryProblem, Kind, Member, MemberError, copy_buffered,
};
use crate::cache::CacheError;

/// How many bytes all tars of the process together may keep in memory: more than any image's packages
/// bring, and less than compiling a standard library takes.
const IN_MEMORY: u64 = 384 << 20;

/// How much of that is taken.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// The content of a tar's files, as far as it was kept.
#[derive(Debug)]
pub struct Spool {
    kept: SpooledTempFile,
    /// How much of the memory that all may take is this one's; nothing once it is in a file.
    taken: u64,
    /// Where a file's content begins in `kept`, by where it begins in the tar.
    places: HashMap<u64, u64>,
}

impl Spool {
    /// Whether the content was kept.
    pub(super) fn has(&self, data: Data) -> bool {
        self.places.contains_key(&data.at)
    }

    /// Writes the content of one file; gives the number of bytes that there were.
    pub(super) fn copy(&mut self, data: Data, out: &mut dyn Write) -> io::Result<u64> {
        let place = self.places.get(&data.at);
        let place = *place.ok_or_else(|| io::Error::other("its content was not kept"))?;
        self.kept.seek(SeekFrom::Start(place))?;
        copy_buffered((&mut self.kept).take(data.size), out)
    }

    /// Keeps what is written by the returned writer as the content of one file.
    fn keep(&mut self, data: Data) -> io::Result<Keep<'_>> {
        self.places.insert(data.at, self.kept.stream_position()?);
        Ok(Keep { spool: self, failed: None })
    }

    /// Writes at the end, in memory if there is room.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.kept.is_rolled() {
            let n = bytes.len() as u64;
            if TAKEN.fetch_add(n, Ordering::Relaxed) + n <= IN_MEMORY {
                self.taken += n;
            } else {
                TAKEN.fetch_sub(n, Ordering::Relaxed);
                self.kept.roll()?;
                self.release();
            }
        }
        self.kept.write(bytes)
    }

    fn release(&mut self) {
        TAKEN.fetch_sub(std::mem::take(&mut self.taken), Ordering::Relaxed);
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.release();
    }
}

/// Reads a tar of at most `limit` bytes. Of the files for whose path `is_wanted` says so the content is kept,
/// if need be in `folder`; [`Data::at`] of each is where its content begins in the tar.
///
/// # Errors
/// If it is no tar, is cut off or larger than `limit`, or holds an entry that no layer may have.
pub(super) fn read(
    from: impl Read,
    name: &str,
    is_wanted: &dyn Fn(&str) -> bool,
    folder: &Path,
    limit: u64,
) -> Result<Member, MemberError> {
    let mut counted = Counted { from: from.take(limit.saturating_add(1)), n_read: 0 };
    let member = index(&mut counted, name, is_wanted, folder);
    // Whatever it failed by: what is read past the limit is cut off there.
    let member = member.and_then(|member| {
        io::copy(&mut counted, &mut io::sink()).map_err(Member::format(name, FORMAT))?;
        Ok(member)
    });
    match counted.n_read > limit {
        true => Err(MemberError::TooLarge { member: name.to_owned(), limit }),
        false => member,
    }
}

const FORMAT: &str = "a tar archive";

fn index(
    tar: impl Read,
    name: &str,
    is_wanted: &dyn Fn(&str) -> bool,
    folder: &Path,
) -> Result<Member, MemberError> {
    let format = Member::format(name, FORMAT);
    let kept = tempfile::spooled_tempfile_in(usize::MAX, folder);
    let mut spool = Spool { kept, taken: 0, places: HashMap::new() };
    let mut entries = Entries::of(name);
    let mut archive = Archive::new(tar);
    for entry in archive.entries().map_err(&format)? {
        let mut entry = entry.map_err(&format)?;
        if matches!(entry.header().entry_type(), EntryType::XGlobalHeader) {
            continue;
        }
        let raw_path = entry.path_bytes().into_owned();
        let path = entries.path(&raw_path)?;
        let mode = entry.header().mode().map_err(&format)?;
        let mtime = entry.header().mtime().map_err(&format)?;
        let kind = kind(&entry, &entries, &raw_path, &path)?;
        if let (EntryType::Regular | EntryType::Continuous, Kind::File(data)) =
            (entry.header().entry_type(), &kind)
        {
            let n = if is_wanted(&path) {
                let mut keep = spool.keep(*data).map_err(CacheError::io("write in", folder))?;
                let n = copy_buffered(&mut entry, &mut keep);
                // A full disk is no fault of the archive's.
                if let Some(error) = keep.failed {
                    return Err(CacheError::io("write in", folder)(error).into());
                }
                n
            } else {
                io::copy(&mut entry, &mut io::sink())
            };
            if n.map_err(&format)? != data.size {
                return Err(entries.error(&raw_path, EntryProblem::Cut { expected: data.size }));
            }
        }
        entries.add(path, kind, mode, mtime)?;
    }
    let content = Content::Spool(Box::new(spool));
    Ok(Member { name: name.to_owned(), entries: entries.finish(), content })
}

fn kind(
    entry: &Entry<'_, impl Read>,
    entries: &Entries,
    raw_path: &[u8],
    path: &str,
) -> Result<Kind, MemberError> {
    let link = entry.link_name_bytes().unwrap_or_default();
    match entry.header().entry_type() {
        EntryType::Directory => Ok(Kind::Directory),
        EntryType::Symlink => Ok(Kind::Symlink(entries.link_target(path, &link)?)),
        EntryType::Link => Ok(Kind::File(entries.hard_link(path, &link)?)),
        EntryType::Regular | EntryType::Continuous => {
            Ok(Kind::File(Data { at: entry.raw_file_position(), size: entry.size() }))
        }
        EntryType::GNUSparse => Err(entries.error(raw_path, EntryProblem::Sparse)),
        other => {
            let kind = format!("tar type `{}`", char::from(other.as_byte()));
            Err(entries.error(raw_path, EntryProblem::Special(kind)))
        }
    }
}

/// Writes to what is kept, and tells its own failures from those of what it is written from.
struct Keep<'a> {
    spool: &'a mut Spool,
    failed: Option<io::Error>,
}

impl Write for Keep<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.spool.append(bytes).map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts what is read.
struct Counted<R> {
    from: R,
    n_read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.n_read += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_memory_has_no_room_for_goes_to_a_file_and_comes_back_the_same() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let content: Vec<u8> = (0..1 << 20).map(|at: u32| at as u8).collect();
        let mut tar = tar::Builder::new(Vec::new());
        for name in ["a", "b"] {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, &*content).expect("append");
        }
        let tar = tar.into_inner().expect("finish");
        let read = || read(&*tar, "t", &|_| true, folder.path(), 8 << 20).expect("a tar");
        let check = |mut member: Member, in_memory: u64| {
            let Content::Spool(spool) = &mut member.content else { panic!("a spool") };
            assert_eq!(spool.taken, in_memory);
            let datas = member.entries.iter().filter_map(|entry| match entry.kind {
                Kind::File(data) => Some(data),
                _ => None,
            });
            for data in datas {
                let mut copy = Vec::new();
                spool.copy(data, &mut copy).expect("copy");
                assert!(copy == content);
            }
        };
        check(read(), 2 << 20);
        // As if other tars had taken all but enough for the first file.
        let others = IN_MEMORY - (3 << 19);
        TAKEN.fetch_add(others, Ordering::Relaxed);
        check(read(), 0);
        TAKEN.fetch_sub(others, Ordering::Relaxed);
        assert_eq!(TAKEN.load(Ordering::Relaxed), 0, "all of it is given back");
    }
}
