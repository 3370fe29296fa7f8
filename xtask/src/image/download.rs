//! Files into the content-addressed cache, several at once, each from the first place that has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use keyway_manifest::Digest;
use thiserror::Error;

use super::http::{Expected, Http, HttpError};
use super::lock::Package;
use super::mirror::Mirrors;
use crate::cache::{Cache, CacheError, Turn};
use crate::shell::{Shell, count};

/// How many files are asked for at once.
const PARALLEL: usize = 6;

/// More than a file of unknown size may have.
const RECEIVED_LIMIT: u64 = 8 << 30;

/// Why a file can't be had.
#[derive(Debug, Error)]
pub enum DownloadError {
    /// No place has it.
    #[error("no mirror has `{name}` (sha256 {sha256}){}", listed(attempts))]
    Unavailable {
        /// The file.
        name: String,
        /// Its digest.
        sha256: Digest,
        /// What each place answered.
        attempts: Vec<HttpError>,
    },
    /// The one place that has a file of unknown digest does not give it.
    #[error("could not fetch `{name}`{}", listed(std::slice::from_ref(attempt)))]
    Unreceived {
        /// The file.
        name: String,
        /// What the place answered.
        attempt: HttpError,
    },
    /// The cache can't be written.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn listed(attempts: &[HttpError]) -> String {
    let lines = attempts.iter().map(|attempt| format!("\n  {attempt}"));
    if attempts.is_empty() { ": there is no mirror to ask".into() } else { lines.collect() }
}

/// The store of downloaded files.
#[derive(Debug)]
pub struct Downloads<'a> {
    folder: PathBuf,
    shell: &'a Shell,
}

impl<'a> Downloads<'a> {
    /// The store in a cache.
    ///
    /// # Errors
    /// If its folder can't be created.
    pub fn open(cache: &Cache, shell: &'a Shell) -> Result<Self, CacheError> {
        Ok(Self { folder: cache.dir("downloads/sha256")?, shell })
    }

    /// Where a file lies, once it is there.
    pub fn path(&self, sha256: Digest) -> PathBuf {
        self.folder.join(sha256.to_string())
    }

    /// Whether a file is there whole. Its content was checked when it came.
    pub fn has(&self, expected: Expected) -> bool {
        fs::metadata(self.path(expected.sha256)).is_ok_and(|file| file.len() == expected.size)
    }

    /// Downloads those of `packages` that are not there.
    ///
    /// # Errors
    /// The first file that no mirror has. What has arrived by then stays.
    pub fn packages(
        &self,
        http: &Http,
        mirrors: &Mirrors,
        packages: &[&Package],
    ) -> Result<(), DownloadError> {
        let expected = |p: &Package| Expected { size: p.size, sha256: p.sha256 };
        let missing: Vec<&Package> =
            packages.iter().copied().filter(|p| !self.has(expected(p))).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let total = missing.iter().map(|p| p.size).sum();
        self.shell.status(
            "Downloading",
            format_args!("{}, {} MB", count(missing.len(), "package"), megabytes(total)),
        );
        let bar = self.bar(total);
        let queue = Mutex::new(missing.into_iter());
        let failed = AtomicBool::new(false);
        let work = || -> Result<(), DownloadError> {
            while !failed.load(Ordering::Relaxed) {
                let Some(package) = queue.lock().expect("no holder panics").next() else {
                    break;
                };
                let addresses = mirrors.addresses(http, package.archive, &package.path);
                let name = format!("{} {}", package.name, package.version);
                self.fetch(http, &name, expected(package), addresses, &bar)
                    .inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            }
            Ok(())
        };
        let result = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|t| t.join().expect("no download panics"))
        });
        bar.finish_and_clear();
        result
    }

    /// Downloads one file unless it is there, from the first of `addresses` that has it.
    ///
    /// # Errors
    /// If none has it.
    pub fn fetch(
        &self,
        http: &Http,
        name: &str,
        expected: Expected,
        addresses: impl Iterator<Item = String>,
        bar: &ProgressBar,
    ) -> Result<PathBuf, DownloadError> {
        let path = self.path(expected.sha256);
        if self.has(expected) {
            return Ok(path);
        }
        let _turn = self.turn(&path, name)?;
        if self.has(expected) {
            return Ok(path);
        }
        let part = path.with_extension("part");
        let mut attempts = Vec::new();
        for url in addresses {
            self.shell.detail("Getting", &url);
            let mut known = 0;
            let mut progress = |received: u64| {
                // A transfer that starts again counts its bytes once.
                bar.inc(received.saturating_sub(known));
                known = received.max(known);
            };
            match http.download(&url, expected, &part, &mut progress) {
                Ok(()) => {
                    fs::rename(&part, &path).map_err(CacheError::io("rename into place", &path))?;
                    return Ok(path);
                }
                Err(HttpError::Disk { source, .. }) => {
                    return Err(CacheError::io("write", &part)(source).into());
                }
                Err(error) => attempts.push(error),
            }
        }
        Err(DownloadError::Unavailable { name: name.to_owned(), sha256: expected.sha256, attempts })
    }

    /// Downloads a file of which only the digest is known, or not even that, and says what it is.
    ///
    /// # Errors
    /// If the server does not give it, or it is another one.
    pub fn receive(
        &self,
        http: &Http,
        url: &str,
        sha256: Option<Digest>,
    ) -> Result<Expected, DownloadError> {
        let name = || url.rsplit('/').next().unwrap_or(url).to_owned();
        let part = self.folder.join(format!("{}.received", Digest::of(url)));
        let _turn = self.turn(&part, &name())?;
        let failed = |error| match error {
            HttpError::Disk { source, .. } => CacheError::io("write", &part)(source).into(),
            attempt => DownloadError::Unreceived { name: name(), attempt },
        };
        let found = http.save(url, RECEIVED_LIMIT, &part).map_err(failed)?;
        if let Some(expected) = sha256.filter(|expected| *expected != found.sha256) {
            let (url, found) = (url.to_owned(), found.sha256);
            return Err(failed(HttpError::Content { url, expected, found }));
        }
        let path = self.path(found.sha256);
        fs::rename(&part, &path).map_err(CacheError::io("rename into place", &path))?;
        Ok(found)
    }

    /// Waits for the turn to download a file: two runs would write to the same part of it.
    fn turn(&self, path: &Path, name: &str) -> Result<Turn, CacheError> {
        let does = format_args!("downloads {name}");
        Turn::take(&path.with_added_extension("lock"), self.shell, does)
    }

    /// Says that something is being downloaded.
    pub fn say(&self, what: impl std::fmt::Display) {
        self.shell.status("Downloading", what);
    }

    /// A bar for `total` bytes, hidden where there is no terminal.
    pub fn bar(&self, total: u64) -> ProgressBar {
        let style = ProgressStyle::with_template(
            "{prefix:>12} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        )
        .expect("the template is well-formed")
        .progress_chars("=> ");
        let bar = ProgressBar::new(total).with_style(style).with_prefix("Downloading");
        self.shell.progress().add(bar)
    }
}

/// Megabytes for people, rounded up.
pub(super) fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}
