//! Python wheels: fetched by name and version with the client the machine has, read as [`Member`]s.
//!
//! No index is written here: pip and uv know theirs, and `KEYWAY_PYPI_INDEX` names one for a machine
//! that has neither. What arrives is trusted by sha256 alone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Hasher};
use thiserror::Error;
use zip::ZipArchive;

use super::download::Downloads;
use super::http::{Expected, Http, HttpError};
use super::lock::LockedWheel;
use super::member::{Content, Data, Entries, EntryProblem, Kind, Member, MemberError};
use super::recipe::Wheel;
use crate::cache::CacheError;

/// Index pages of large projects are some megabytes.
const PAGE_LIMIT: u64 = 32 << 20;
/// More than any wheel has.
const WHEEL_LIMIT: u64 = 2 << 30;

/// The clients that are tried, in order.
const CLIENTS: [&[&str]; 5] = [
    &["python3", "-m", "pip"],
    &["python", "-m", "pip"],
    &["pip3"],
    &["pip"],
    &["uv", "tool", "run", "pip"],
];

/// Why a wheel can't be had.
#[derive(Debug, Error)]
pub enum WheelError {
    /// Nobody brought it.
    #[error("could not fetch wheel `{name}` {version} for `{platform}`{}", listed(attempts))]
    Unavailable {
        /// The project.
        name: String,
        /// The version.
        version: String,
        /// The platform tag.
        platform: String,
        /// What each way answered.
        attempts: Vec<String>,
    },
    /// It is not the file of the lock.
    #[error("wheel `{file}` has sha256 {found}, the lock expects {expected}")]
    Content {
        /// The file.
        file: String,
        /// The digest in the lock.
        expected: Digest,
        /// The digest it has.
        found: Digest,
    },
    /// The cache can't be written.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn listed(attempts: &[String]) -> String {
    attempts.iter().map(|attempt| format!("\n  {attempt}")).collect()
}

/// Makes sure that a wheel is in the cache; what the lock says of it, if there is one, must hold.
///
/// # Errors
/// If nobody brings it, or it is another file than the lock's.
pub fn fetch(
    wheel: &Wheel,
    locked: Option<&LockedWheel>,
    downloads: &Downloads<'_>,
    http: &Http,
    scratch: &Path,
) -> Result<LockedWheel, WheelError> {
    if let Some(locked) = locked
        && downloads.has(Expected { size: locked.size, sha256: locked.sha256 })
    {
        return Ok(locked.clone());
    }
    let folder = tempfile::Builder::new()
        .prefix("wheel-")
        .tempdir_in(scratch)
        .map_err(CacheError::io("create a folder in", scratch))?;
    let path = bring(wheel, http, folder.path())?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (size, sha256) = digest(&path).map_err(CacheError::io("read", &path))?;
    if let Some(locked) = locked.filter(|locked| locked.sha256 != sha256) {
        return Err(WheelError::Content { file, expected: locked.sha256, found: sha256 });
    }
    let kept = downloads.path(sha256);
    fs::rename(&path, &kept).map_err(CacheError::io("rename into place", &kept))?;
    let (name, version) = (wheel.name.clone(), wheel.version.clone());
    Ok(LockedWheel { name, version, file, size, sha256 })
}

fn bring(wheel: &Wheel, http: &Http, folder: &Path) -> Result<PathBuf, WheelError> {
    let mut attempts = Vec::new();
    let index = std::env::var("KEYWAY_PYPI_INDEX").ok().filter(|index| !index.is_empty());
    if let Some(index) = index {
        match from_index(&index, wheel, http, folder) {
            Ok(path) => return Ok(path),
            Err(error) => attempts.push(error),
        }
    }
    for client in CLIENTS {
        match with_client(client, wheel, folder) {
            Ok(Some(path)) => return Ok(path),
            Ok(None) => {}
            Err(error) => attempts.push(error),
        }
    }
    if attempts.is_empty() {
        attempts.push("there is neither pip nor uv, and `KEYWAY_PYPI_INDEX` is not set".into());
    }
    Err(WheelError::Unavailable {
        name: wheel.name.clone(),
        version: wheel.version.clone(),
        platform: wheel.platform.clone(),
        attempts,
    })
}

/// The wheel that a client brought; none where there is no such client.
fn with_client(client: &[&str], wheel: &Wheel, folder: &Path) -> Result<Option<PathBuf>, String> {
    let requirement = format!("{}=={}", wheel.name, wheel.version);
    let arguments = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--platform"];
    let mut command: Vec<&str> = client[1..].to_vec();
    command.extend(arguments);
    command.extend([wheel.platform.as_str(), "--dest"]);
    let folder_text = folder.to_string_lossy();
    command.extend([folder_text.as_ref(), requirement.as_str()]);
    let run = duct::cmd(client[0], &command).stdout_capture().stderr_capture().unchecked().run();
    let output = match run {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(format!("`{}` could not be started: {error}", client.join(" ")));
        }
    };
    let found = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut wheels = found.filter(|path| path.extension().is_some_and(|e| e == "whl"));
    match wheels.next() {
        Some(path) if output.status.success() => Ok(Some(path)),
        _ => {
            let text = String::from_utf8_lossy(&output.stderr);
            let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            Err(format!("`{} download` ended with {}: {last}", client.join(" "), output.status))
        }
    }
}

/// Fetches from a simple index (PEP 503).
fn from_index(index: &str, wheel: &Wheel, http: &Http, folder: &Path) -> Result<PathBuf, String> {
    let page = format!("{}/{}/", index.trim_end_matches('/'), wheel.name);
    let fail = |error: HttpError| error.to_string();
    let html = http.get(&page, PAGE_LIMIT).map_err(fail)?;
    let html = String::from_utf8_lossy(&html);
    let (file, address) = anchors(&html)
        .find(|(file, _)| fits(file, wheel))
        .ok_or_else(|| format!("`{page}` lists no such wheel"))?;
    let bytes = http.get(&join(&page, address), WHEEL_LIMIT).map_err(fail)?;
    let path = folder.join(file);
    fs::write(&path, bytes)
        .map_err(|error| format!("could not write `{}`: {error}", path.shown()))?;
    Ok(path)
}

/// File names and addresses of a page's links.
fn anchors(html: &str) -> impl Iterator<Item = (&str, &str)> {
    html.split("href=").skip(1).filter_map(|rest| {
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let address = rest[1..].split(quote).next()?;
        let plain = address.split(['#', '?']).next()?;
        let file = plain.rsplit('/').next()?;
        Some((file, plain))
    })
}

/// Whether a file is the wheel: `NAME-VERSION-PYTHON-ABI-PLATFORM.whl`, the platform one of several
/// that dots separate. `manylinux2014` is an older spelling of `manylinux_2_17`, and a wheel for an
/// older platform runs on a newer one.
pub(super) fn fits(file: &str, wheel: &Wheel) -> bool {
    let Some(stem) = file.strip_suffix(".whl") else {
        return false;
    };
    let parts: Vec<&str> = stem.split('-').collect();
    let [name, version, .., platforms] = parts[..] else {
        return false;
    };
    let architecture = wheel.platform.split_once('_').map_or("", |(_, rest)| rest);
    name == wheel.name.replace('-', "_")
        && version == wheel.version
        && platforms.split('.').any(|platform| {
            platform == wheel.platform
                || (platform.starts_with("manylinux") && platform.ends_with(architecture))
        })
}

/// An address relative to a page; `..` is left to the server.
fn join(page: &str, address: &str) -> String {
    if address.contains("://") {
        return address.to_owned();
    }
    let host_end = page.find("://").map_or(0, |at| at + 3);
    let host_end = page[host_end..].find('/').map_or(page.len(), |at| host_end + at);
    if address.starts_with('/') {
        return format!("{}{address}", &page[..host_end]);
    }
    let folders = page[host_end..].split('/').filter(|folder| !folder.is_empty());
    let mut parts: Vec<&str> = folders.collect();
    let mut rest = address;
    while let Some(up) = rest.strip_prefix("../") {
        parts.pop();
        rest = up;
    }
    parts.push(rest);
    format!("{}/{}", &page[..host_end], parts.join("/"))
}

fn digest(path: &Path) -> io::Result<(u64, Digest)> {
    let mut hasher = Hasher::new();
    let size = io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok((size, hasher.finish()))
}

/// Opens a wheel; of its members those below `member` go `into` a folder of the image.
///
/// # Errors
/// If it is no zip archive, unpacks to more than `limit` bytes, or holds an entry that no layer may
/// have.
pub fn open(
    path: &Path,
    name: &str,
    member: &str,
    into: &str,
    limit: u64,
) -> Result<Member, MemberError> {
    unzip(path, (name, "a wheel"), limit, |path| {
        Some(format!("{into}/{}", path.strip_prefix(member)?.strip_prefix('/')?))
    })
}

/// Opens a zip archive, of a name and a format for people; `place` says where in the image a path of it
/// goes, if anywhere. What an entry has beyond the size that the archive states is never read.
///
/// # Errors
/// If it is none, unpacks to more than `limit` bytes, or holds an entry that no layer may have.
pub(super) fn unzip(
    path: &Path,
    (name, format): (&str, &'static str),
    limit: u64,
    place: impl Fn(&str) -> Option<String>,
) -> Result<Member, MemberError> {
    let format = Member::format(name, format);
    let archive = File::open(path).map_err(&format)?;
    let mut archive = ZipArchive::new(archive).map_err(|error| format(io::Error::other(error)))?;
    let mut entries = Entries::of(name);
    let mut size: u64 = 0;
    for at in 0..archive.len() {
        let file = archive.by_index_raw(at).map_err(|error| format(io::Error::other(error)))?;
        let Some(placed) = place(&entries.path(file.name_raw())?) else {
            continue;
        };
        size = size.saturating_add(file.size());
        if size > limit {
            return Err(MemberError::TooLarge { member: name.to_owned(), limit });
        }
        let raw_mode = file.unix_mode().unwrap_or(0o644);
        let (kind, mode) = match raw_mode & 0o170_000 {
            _ if file.is_dir() => (Kind::Directory, 0o755),
            0 | 0o100_000 => {
                let mode = if raw_mode & 0o111 == 0 { 0o644 } else { 0o755 };
                (Kind::File(Data { at: at as u64, size: file.size() }), mode)
            }
            other => {
                let problem = EntryProblem::Special(format!("mode `{other:o}`"));
                return Err(entries.error(file.name_raw(), problem));
            }
        };
        // A zip archive knows local time only: every time is the epoch.
        entries.add(placed, kind, mode, u64::MAX)?;
    }
    let content = Content::Zip(Box::new(archive));
    Ok(Member { name: name.to_owned(), entries: entries.finish(), content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_addresses() {
        let page = "https://index.example/simple/zig/";
        for (address, joined) in [
            ("https://files.example/a.whl", "https://files.example/a.whl"),
            ("/files/a.whl", "https://index.example/files/a.whl"),
            ("a.whl", "https://index.example/simple/zig/a.whl"),
            ("../../files/a.whl", "https://index.example/files/a.whl"),
        ] {
            assert_eq!(join(page, address), joined, "{address}");
        }
    }

    #[test]
    fn finds_the_wheel_on_a_page() {
        let wheel = Wheel {
            name: "ziglang".into(),
            version: "0.17.1".into(),
            platform: "manylinux2014_x86_64".into(),
            member: "ziglang".into(),
            into: "usr/lib/zig".into(),
        };
        let page = r#"<a href="../z/ziglang-0.17.1.tar.gz">x</a>
            <a href='../z/ziglang-0.17.1-py3-none-manylinux_2_12_i686.whl'>x</a>
            <a href="../z/ziglang-0.17.0-py3-none-manylinux_2_12_x86_64.whl">x</a>
            <a href="../z/ziglang-0.17.1-py3-none-manylinux_2_12_x86_64.musllinux_1_1_x86_64.whl#sha256=0">x</a>"#;
        let found: Vec<&str> =
            anchors(page).map(|(file, _)| file).filter(|file| fits(file, &wheel)).collect();
        assert_eq!(
            found,
            ["ziglang-0.17.1-py3-none-manylinux_2_12_x86_64.musllinux_1_1_x86_64.whl"]
        );
    }
}
