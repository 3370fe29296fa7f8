//! Files and archives from any address: whose content counts, the recipe or the lock says by sha256.

use std::path::{Path, PathBuf};

use keyway_manifest::Digest;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::download::{DownloadError, Downloads};
use super::http::{Expected, Http};
use super::member::{Content, Data, Entries, Kind, Member, MemberError};
use super::recipe::{Fetch, Unpack};
use super::tarball;
use super::wheel;
use crate::failure::{Diagnose, Exit};

/// A fetched file as a lock pins it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFetch {
    /// Its address, as in the recipe.
    pub url: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// Why a file can't be had.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The recipe pins another content than the lock has seen, or the server gives another one.
    #[error("`{url}` has sha256 {found}, {by} says {expected}")]
    Content {
        /// Its address.
        url: String,
        /// Who says so.
        by: &'static str,
        /// The digest that it should have.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// The server does not give it.
    #[error(transparent)]
    Download(#[from] DownloadError),
}

impl Diagnose for FetchError {
    fn exit(&self) -> Exit {
        match self {
            Self::Content { .. } => Exit::Refused,
            Self::Download(_) => Exit::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Content { by: PINNED, found, .. } => Some(format!(
                "find out why it changed; if the new one is wanted, pin it in the recipe: \
                 `sha256 = \"{found}\"`"
            )),
            Self::Content { .. } => {
                Some("compare the digest with the one that its publisher names".into())
            }
            Self::Download(_) => Some(
                "is the address right? What is in the cache's `downloads/sha256` is not asked for again"
                    .into(),
            ),
        }
    }
}

/// Who pinned a digest that the recipe does not.
const PINNED: &str = "the lock";

/// Downloads a file for a new lock; a digest in the recipe must hold, or else that of the `known` lock.
///
/// # Errors
/// If it can't be had, or is another one.
pub fn lock(
    fetch: &Fetch,
    known: Option<&LockedFetch>,
    http: &Http,
    downloads: &Downloads<'_>,
) -> Result<LockedFetch, FetchError> {
    let url = fetch.url.clone();
    if let Some(known) = known
        && fetch.sha256.is_none_or(|pinned| pinned == known.sha256)
        && downloads.has(Expected { size: known.size, sha256: known.sha256 })
    {
        return Ok(known.clone());
    }
    downloads.say(format_args!("{url}"));
    let found = downloads.receive(http, &url, None)?;
    let pinned = fetch.sha256.map(|pinned| ("the recipe", pinned));
    let pinned = pinned.or(known.map(|known| (PINNED, known.sha256)));
    if let Some((by, expected)) = pinned.filter(|(_, expected)| *expected != found.sha256) {
        return Err(FetchError::Content { url, by, expected, found: found.sha256 });
    }
    Ok(LockedFetch { url, size: found.size, sha256: found.sha256 })
}

/// Makes sure that a locked file is in the cache.
///
/// # Errors
/// If it is not there and the server does not have it.
pub fn fetch(
    locked: &LockedFetch,
    http: &Http,
    downloads: &Downloads<'_>,
) -> Result<PathBuf, FetchError> {
    let expected = Expected { size: locked.size, sha256: locked.sha256 };
    let bar = downloads.bar(locked.size);
    let urls = [locked.url.clone()].into_iter();
    let path = downloads.fetch(http, &locked.url, expected, urls, &bar);
    bar.finish_and_clear();
    Ok(path?)
}

/// Opens a fetched file as the recipe says, spooling at most `limit` bytes into `folder`.
///
/// # Errors
/// If it is not of its format, has nothing below `member`, or holds an entry that no layer may have.
pub fn open(path: &Path, fetch: &Fetch, folder: &Path, limit: u64) -> Result<Member, MemberError> {
    let name = fetch.file();
    let member = match fetch.unpack() {
        Unpack::No => return single(path, fetch),
        Unpack::Zip => {
            wheel::unzip(path, (name, "a zip archive"), limit, |entry| place(fetch, entry))?
        }
        Unpack::Tar => untar(path, fetch, folder, limit)?,
    };
    if member.entries.is_empty() {
        let problem = match &fetch.member {
            Some(member) => format!("it has no `{member}`"),
            None => "it is empty".into(),
        };
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, problem);
        return Err(Member::format(name, "an archive")(source));
    }
    Ok(member)
}

/// Where an entry of an archive goes, if it is asked for.
fn place(fetch: &Fetch, entry: &str) -> Option<String> {
    let rest = match &fetch.member {
        None => entry,
        Some(member) if entry == member => "",
        Some(member) => entry.strip_prefix(member.as_str())?.strip_prefix('/')?,
    };
    Some(format!("{}/{rest}", fetch.into).trim_end_matches('/').to_owned())
}

fn untar(path: &Path, fetch: &Fetch, folder: &Path, limit: u64) -> Result<Member, MemberError> {
    let name = fetch.file();
    let tarball = tarball::open(path, name, folder, limit)?;
    let mut entries = Entries::of(name);
    for entry in tarball.entries {
        if let Some(placed) = place(fetch, &entry.path) {
            entries.add(placed, entry.kind, entry.mode, entry.mtime)?;
        }
    }
    Ok(Member { name: name.to_owned(), entries: entries.finish(), content: tarball.content })
}

/// The file itself.
fn single(path: &Path, fetch: &Fetch) -> Result<Member, MemberError> {
    let name = fetch.file();
    let size = path.metadata().map_err(Member::format(name, "a file"))?.len();
    let mut entries = Entries::of(name);
    let mode = if fetch.executable { 0o755 } else { 0o644 };
    let placed = entries.path(fetch.into.as_bytes())?;
    entries.add(placed, Kind::File(Data { at: 0, size }), mode, u64::MAX)?;
    let content = Content::Files(vec![path.to_owned()]);
    Ok(Member { name: name.to_owned(), entries: entries.finish(), content })
}
