//! A suite of the Debian archive: its signed release file, and the package index that it vouches for.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use keyway_manifest::text::Show as _;
use lzma_rust2::XzReader;
use thiserror::Error;

use super::debian::DebianArchive;
use super::download::{DownloadError, Downloads};
use super::http::{Expected, Http, HttpError};
use super::mirror::{Mirrors, RELEASE_LIMIT};
use super::openpgp::Keyring;
use super::release::{Release, ReleaseError};
use crate::cache::CacheError;

/// The index of Debian's main component is about 70 MB.
const INDEX_LIMIT: u64 = 512 << 20;

/// A suite, verified.
#[derive(Debug)]
pub struct Archive {
    /// The signed file.
    pub release: Release,
    /// The text of `Packages`.
    pub index: String,
}

/// Why a suite can't be read.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// No mirror answers.
    #[error("no mirror has suite `{suite}`{}", listed(attempts))]
    NoMirror {
        /// The suite.
        suite: String,
        /// What each mirror answered.
        attempts: Vec<HttpError>,
    },
    /// There are no keys to verify signatures with.
    #[error("could not read the keyring `{path}`", path = .path.shown())]
    Keyring {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The release file is not trusted.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The index can't be had.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The index can't be unpacked.
    #[error("could not unpack the index `{index}`")]
    Index {
        /// The index.
        index: String,
        /// Why.
        source: io::Error,
    },
    /// The cache can't be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn listed(attempts: &[HttpError]) -> String {
    if attempts.is_empty() {
        return ": there is none to ask".into();
    }
    attempts.iter().map(|attempt| format!("\n  {attempt}")).collect()
}

/// The keys in a folder: every `*.asc` and `*.gpg`.
///
/// # Errors
/// If the folder or a file can't be read.
pub fn keyring(folder: &Path) -> Result<Keyring, ArchiveError> {
    let read = || -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "asc" || e == "gpg") {
                files.push((path.to_string_lossy().into_owned(), fs::read(&path)?));
            }
        }
        files.sort();
        Ok(files)
    };
    let files =
        read().map_err(|source| ArchiveError::Keyring { path: folder.to_owned(), source })?;
    Ok(Keyring(files))
}

impl Archive {
    /// Fetches and verifies the main component of an archive's suite for an architecture.
    ///
    /// # Errors
    /// If no mirror has it, its signature is not by one of `keyring`, it has expired, or the index is
    /// not the one that the release file names.
    pub fn fetch(
        http: &Http,
        mirrors: &Mirrors,
        keyring: &Keyring,
        downloads: &Downloads<'_>,
        archive: DebianArchive,
        architecture: &str,
    ) -> Result<Self, ArchiveError> {
        let suite = mirrors.suite(archive);
        let mut attempts = Vec::new();
        for url in mirrors.addresses(http, archive, &format!("dists/{suite}/InRelease")) {
            match http.get(&url, RELEASE_LIMIT) {
                Ok(bytes) => {
                    let release = Release::verify(keyring, &url, &suite, &bytes)?;
                    release.check_time(&url, now())?;
                    let path = format!("main/binary-{architecture}");
                    let index = format!("{path}/Packages.xz");
                    let (size, sha256) = release.index(&url, &index)?;
                    // By its digest, so that a mirror that is being updated still has it.
                    let address = format!("dists/{suite}/{path}/by-hash/SHA256/{sha256}");
                    let expected = Expected { size, sha256 };
                    let bar = downloads.bar(size);
                    let addresses = mirrors.addresses(http, archive, &address);
                    let file = downloads.fetch(http, &index, expected, addresses, &bar)?;
                    bar.finish_and_clear();
                    let index =
                        unpack(&file).map_err(|source| ArchiveError::Index { index, source })?;
                    return Ok(Self { release, index });
                }
                Err(error) => attempts.push(error),
            }
        }
        Err(ArchiveError::NoMirror { suite, attempts })
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

fn unpack(file: &Path) -> io::Result<String> {
    let file = io::BufReader::new(fs::File::open(file)?);
    let mut text = String::new();
    XzReader::new_mem_limit(file, true, 96 << 10).take(INDEX_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}
