//! What goes into a layer: a package, a wheel or a few files, as an index of entries and a place
//! that holds their content.
//!
//! Paths are checked here, once: relative, of plain components, UTF-8. Nothing is ever unpacked to a
//! file system, so that neither a link nor a name in an archive can reach out of it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use thiserror::Error;
use zip::ZipArchive;

use super::spool::Spool;
use crate::cache::CacheError;

/// One part of a layer.
#[derive(Debug)]
pub struct Member {
    /// What errors call it, such as `libc6 2.41-12`.
    pub name: String,
    /// Its entries, in the order in which it lists them.
    pub entries: Vec<Entry>,
    /// The content of its files.
    pub content: Content,
}

/// A path and what lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root, without `.` and `..`, not ending in `/`.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission bits; neither setuid nor setgid.
    pub mode: u32,
    /// Seconds since 1970; `u64::MAX` where the member says nothing.
    pub mtime: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Directory,
    /// A regular file; a hard link is a file with the same data.
    File(Data),
    /// A symbolic link and what it says.
    Symlink(String),
}

/// Where a member's [`Content`] holds the bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Data {
    /// An offset or an index, as the content has it.
    pub at: u64,
    /// Size in bytes.
    pub size: u64,
}

/// What holds the bytes of a member's files.
#[derive(Debug)]
pub enum Content {
    /// What was kept of a tar; [`Data::at`] is an offset in the tar.
    Spool(Box<Spool>),
    /// A zip archive; [`Data::at`] is the index of a member.
    Zip(Box<ZipArchive<File>>),
    /// Pieces of memory; [`Data::at`] is an index.
    Memory(Vec<Vec<u8>>),
    /// Files of the host; [`Data::at`] is an index.
    Files(Vec<PathBuf>),
}

/// Why a member is refused.
#[derive(Debug, Error)]
pub enum MemberError {
    /// It can't be read, or is not of its format.
    #[error("could not read `{member}` as {format}")]
    Format {
        /// The member.
        member: String,
        /// What it should be, with an article.
        format: &'static str,
        /// Why it is not.
        source: io::Error,
    },
    /// A file of this machine that it is made of, or is kept in, can't be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// It unpacks to more than any honest one does.
    #[error("`{member}` unpacks to more than {limit} bytes")]
    TooLarge {
        /// The member.
        member: String,
        /// The limit.
        limit: u64,
    },
    /// One of its entries is not acceptable.
    #[error("`{member}`: entry `{path}` {problem}")]
    Entry {
        /// The member.
        member: String,
        /// The entry's path, as far as it can be shown.
        path: String,
        /// What is wrong with it.
        problem: EntryProblem,
    },
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EntryProblem {
    /// It starts at the root.
    #[error("has an absolute path")]
    Absolute,
    /// It climbs.
    #[error("has `..` in its path")]
    Parent,
    /// Its name, or what a link says, is not UTF-8 or holds a NUL.
    #[error("has a name that is no text")]
    NotText,
    /// A device, a FIFO, a socket.
    #[error("is of {0}, which no layer can hold")]
    Special(String),
    /// A sparse file, of which the size says nothing about the bytes.
    #[error("is a sparse file")]
    Sparse,
    /// The archive ends within it.
    #[error("is cut off: its {expected} bytes end after the archive does")]
    Cut {
        /// Its size.
        expected: u64,
    },
    /// The same path comes twice.
    #[error("is there twice")]
    Duplicate,
    /// A hard link to what is not there.
    #[error("is a hard link to `{0}`, which is no file before it in the same archive")]
    HardLink(String),
}

impl Member {
    /// A member of files of this machine, each after the path that it goes to.
    ///
    /// # Errors
    /// If a path is not acceptable, or a file can't be read.
    pub(super) fn of_files(
        name: &str,
        files: impl IntoIterator<Item = (String, PathBuf)>,
    ) -> Result<Self, MemberError> {
        let mut entries = Entries::of(name);
        let mut paths = Vec::new();
        for (into, path) in files {
            let size = fs::metadata(&path).map_err(CacheError::io("read", &path))?.len();
            let data = Data { at: paths.len() as u64, size };
            let into = entries.path(into.as_bytes())?;
            entries.add(into, Kind::File(data), 0o644, u64::MAX)?;
            paths.push(path);
        }
        let content = Content::Files(paths);
        Ok(Self { name: name.to_owned(), entries: entries.finish(), content })
    }

    /// For `map_err`: says which member is not of which format.
    pub(super) fn format(name: &str, format: &'static str) -> impl Fn(io::Error) -> MemberError {
        move |source| MemberError::Format { member: name.to_owned(), format, source }
    }
}

impl Content {
    /// Whether the bytes of a file are there; of a tar, only what was asked for was kept.
    pub fn has(&self, data: Data) -> bool {
        match self {
            Self::Spool(spool) => spool.has(data),
            _ => true,
        }
    }

    /// Writes the bytes of one file.
    ///
    /// # Errors
    /// If they can't be read whole, or `out` fails.
    pub fn copy(&mut self, data: Data, out: &mut dyn Write) -> io::Result<()> {
        let index = usize::try_from(data.at).map_err(io::Error::other)?;
        let copied = match self {
            Self::Spool(spool) => spool.copy(data, out)?,
            Self::Zip(archive) => {
                let member = archive.by_index(index).map_err(io::Error::other)?;
                copy_buffered(member.take(data.size), out)?
            }
            Self::Memory(pieces) => {
                out.write_all(&pieces[index])?;
                pieces[index].len() as u64
            }
            Self::Files(paths) => copy_buffered(File::open(&paths[index])?.take(data.size), out)?,
        };
        if copied == data.size { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

pub(super) fn copy_buffered(mut from: impl Read, out: &mut dyn Write) -> io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut copied = 0;
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok(copied);
        }
        out.write_all(&buffer[..n])?;
        copied += n as u64;
    }
}

/// Collects the entries of one member and checks each.
#[derive(Debug)]
pub struct Entries {
    member: String,
    list: Vec<Entry>,
    by_path: HashMap<String, usize>,
}

impl Entries {
    /// For the member of this name.
    pub fn of(member: &str) -> Self {
        Self { member: member.to_owned(), list: Vec::new(), by_path: HashMap::new() }
    }

    /// An error about one entry.
    pub fn error(&self, path: &[u8], problem: EntryProblem) -> MemberError {
        let path = String::from_utf8_lossy(path).chars().take(200).collect();
        MemberError::Entry { member: self.member.clone(), path, problem }
    }

    /// The path of an entry in its checked form; empty for the root itself.
    ///
    /// # Errors
    /// If it is absolute, climbs, or is no text.
    pub fn path(&self, raw: &[u8]) -> Result<String, MemberError> {
        check_path(raw).map_err(|problem| self.error(raw, problem))
    }

    /// What a symbolic link says.
    ///
    /// # Errors
    /// If it is empty or no text.
    pub fn link_target(&self, path: &str, raw: &[u8]) -> Result<String, MemberError> {
        match std::str::from_utf8(raw) {
            Ok(text) if !text.is_empty() && !text.contains('\0') => Ok(text.to_owned()),
            _ => Err(self.error(path.as_bytes(), EntryProblem::NotText)),
        }
    }

    /// Adds an entry; its setuid and setgid bits are dropped.
    ///
    /// # Errors
    /// If its path is there already, folders aside.
    pub fn add(
        &mut self,
        path: String,
        kind: Kind,
        mode: u32,
        mtime: u64,
    ) -> Result<(), MemberError> {
        if path.is_empty() {
            return Ok(());
        }
        let repeated = self.by_path.insert(path.clone(), self.list.len());
        if let Some(earlier) = repeated {
            let folders = kind == Kind::Directory && self.list[earlier].kind == Kind::Directory;
            if !folders {
                return Err(self.error(path.as_bytes(), EntryProblem::Duplicate));
            }
            return Ok(());
        }
        self.list.push(Entry { path, kind, mode: mode & 0o1777, mtime });
        Ok(())
    }

    /// The data of the file that a hard link names.
    ///
    /// # Errors
    /// If there is no such file before it.
    pub fn hard_link(&self, path: &str, target: &[u8]) -> Result<Data, MemberError> {
        let named = check_path(target).ok().and_then(|target| self.by_path.get(&target));
        match named.map(|at| &self.list[*at].kind) {
            Some(Kind::File(data)) => Ok(*data),
            _ => {
                let target = String::from_utf8_lossy(target).into_owned();
                Err(self.error(path.as_bytes(), EntryProblem::HardLink(target)))
            }
        }
    }

    /// The entries.
    pub fn finish(self) -> Vec<Entry> {
        self.list
    }
}

fn check_path(raw: &[u8]) -> Result<String, EntryProblem> {
    let text = std::str::from_utf8(raw).map_err(|_| EntryProblem::NotText)?;
    if text.contains('\0') {
        return Err(EntryProblem::NotText);
    }
    if text.starts_with('/') {
        return Err(EntryProblem::Absolute);
    }
    let mut path = String::with_capacity(text.len());
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return Err(EntryProblem::Parent);
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(part);
    }
    Ok(path)
}
