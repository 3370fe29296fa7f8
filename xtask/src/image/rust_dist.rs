//! Rust's own distribution: a release's channel manifest, and the component tarballs that it names.
//!
//! The manifest is looked at when a lock is written, and only then: the lock pins every tarball by
//! sha256. No server is written here; `RUSTUP_DIST_SERVER` names one, as it does for rustup.

use std::collections::BTreeMap;
use std::path::PathBuf;

use keyway_manifest::{Digest, Triple};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::download::{DownloadError, Downloads, megabytes};
use super::http::{Expected, Http, HttpError};
use super::recipe::{Rust, is_private};
use crate::failure::{Diagnose, Exit};

/// A manifest has about a megabyte.
const MANIFEST_LIMIT: u64 = 32 << 20;
/// The variable that names the server, without `/dist`.
const SERVER: &str = "RUSTUP_DIST_SERVER";

/// A release as a lock pins it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRust {
    /// The release.
    pub version: String,
    /// Digest of the channel manifest that the rest was read from.
    pub manifest: Digest,
    /// The tarballs.
    #[serde(rename = "component")]
    pub components: Vec<Component>,
}

/// A component's tarball.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// `rustc`, `cargo` or `rust-std`.
    pub name: String,
    /// The triple that it runs on, or is for.
    pub target: Triple,
    /// Its path below any server.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// Why a release can't be had.
#[derive(Debug, Error)]
pub enum RustDistError {
    /// No server is named.
    #[error("no server is named to fetch Rust {version} from: `{SERVER}` is not set")]
    NoServer {
        /// The release.
        version: String,
    },
    /// Anyone between here and the server could have written the manifest.
    #[error("`{url}` is plain `http`, so nothing vouches for the manifest of Rust {version}")]
    Unprotected {
        /// The server.
        url: String,
        /// The release.
        version: String,
    },
    /// The server has no such release, or does not answer.
    #[error("could not get the manifest of Rust {version}")]
    Manifest {
        /// The release.
        version: String,
        /// What the server answered.
        source: HttpError,
    },
    /// The manifest is another one than its digest says.
    #[error("`{url}` has sha256 {found}, {by} says {expected}")]
    Checksum {
        /// Its address.
        url: String,
        /// Who says so.
        by: &'static str,
        /// The digest that it should have, as it is written there.
        expected: String,
        /// The digest that it has.
        found: Digest,
    },
    /// The manifest is not of the form.
    #[error("`{url}` is no channel manifest")]
    Parse {
        /// Its address.
        url: String,
        /// What is wrong where.
        source: Box<toml::de::Error>,
    },
    /// The manifest is of another release.
    #[error("`{url}` is the manifest of Rust {found}, expected {expected}")]
    OtherVersion {
        /// Its address.
        url: String,
        /// The release asked for.
        expected: String,
        /// The release it is of.
        found: String,
    },
    /// The release has no such component for a target.
    #[error("Rust {version} has no `{component}` for `{target}`")]
    NoComponent {
        /// The release.
        version: String,
        /// The component.
        component: &'static str,
        /// The target.
        target: String,
    },
    /// An address in the manifest has no path that another server could have.
    #[error("the manifest of Rust {version} names `{address}`, which lies outside of `/dist/`")]
    Address {
        /// The release.
        version: String,
        /// The address.
        address: String,
    },
    /// A tarball can't be had.
    #[error(transparent)]
    Download(#[from] DownloadError),
}

impl Diagnose for RustDistError {
    fn exit(&self) -> Exit {
        match self {
            Self::Checksum { .. } | Self::OtherVersion { .. } | Self::Unprotected { .. } => {
                Exit::Refused
            }
            Self::NoComponent { .. } | Self::Address { .. } | Self::Parse { .. } => Exit::Usage,
            Self::NoServer { .. } | Self::Manifest { .. } | Self::Download(_) => Exit::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoServer { .. } => Some(format!(
                "set `{SERVER}` to the server that your rustup uses (its manual names the official one), \
                 or to a mirror of it, without `/dist`"
            )),
            Self::Unprotected { .. } => Some(
                "use `https`, or put the manifest's digest into the recipe: `manifest = \"SHA256\"` \
                 below `[[rust]]`"
                    .into(),
            ),
            Self::Manifest { .. } => {
                Some(format!("is the version right, and does `{SERVER}` name a full mirror?"))
            }
            Self::NoComponent { .. } => Some(
                "take the target out of `targets`, or choose a release that has it; the release's \
                 manifest lists them"
                    .into(),
            ),
            Self::Download(_) => Some(format!(
                "`{SERVER}` must name a server that has this release; what the lock pins can come from any"
            )),
            _ => None,
        }
    }
}

/// As much of a channel manifest as is needed.
#[derive(Deserialize)]
struct Manifest {
    pkg: Packages,
}

#[derive(Deserialize)]
struct Packages {
    rustc: Package,
    cargo: Package,
    #[serde(rename = "rust-std")]
    rust_std: Package,
}

#[derive(Deserialize)]
struct Package {
    #[serde(default)]
    version: String,
    target: BTreeMap<String, Tarballs>,
}

#[derive(Deserialize)]
struct Tarballs {
    available: bool,
    url: Option<String>,
    hash: Option<Digest>,
    xz_url: Option<String>,
    xz_hash: Option<Digest>,
}

/// The triple that programs of a Debian architecture are for.
fn host(architecture: &str) -> String {
    match architecture {
        "amd64" => "x86_64-unknown-linux-gnu".into(),
        "arm64" => "aarch64-unknown-linux-gnu".into(),
        "armhf" => "armv7-unknown-linux-gnueabihf".into(),
        "i386" => "i686-unknown-linux-gnu".into(),
        "ppc64el" => "powerpc64le-unknown-linux-gnu".into(),
        "riscv64" => "riscv64gc-unknown-linux-gnu".into(),
        other => format!("{other}-unknown-linux-gnu"),
    }
}

/// The targets of which a release brings a standard library: the image's own, then the recipe's.
pub(super) fn targets(rust: &Rust, architecture: &str) -> Vec<String> {
    let mut targets = vec![host(architecture)];
    for target in &rust.targets {
        if !targets.iter().any(|known| known == target.as_str()) {
            targets.push(target.to_string());
        }
    }
    targets
}

/// Looks a release up and downloads its tarballs. What `known` has of it stays, and is not asked for.
///
/// # Errors
/// If there is no server, or it has not what the recipe asks for.
pub fn lock(
    rust: &Rust,
    known: Option<&LockedRust>,
    architecture: &str,
    http: &Http,
    downloads: &Downloads<'_>,
) -> Result<LockedRust, RustDistError> {
    let version = &rust.version;
    if let Some(locked) = known.and_then(|known| still_fits(rust, known, architecture)) {
        fetch(&locked, &locked.components.iter().collect::<Vec<_>>(), http, downloads)?;
        return Ok(locked);
    }
    let server = server().ok_or_else(|| RustDistError::NoServer { version: version.clone() })?;
    if !is_private(&server) && rust.manifest.is_none() {
        return Err(RustDistError::Unprotected { url: server, version: version.clone() });
    }
    let (manifest, digest) = manifest(rust, &server, http)?;
    let mut components = Vec::new();
    for (name, target) in wanted(rust, architecture) {
        let package = match name {
            "rustc" => &manifest.pkg.rustc,
            "cargo" => &manifest.pkg.cargo,
            _ => &manifest.pkg.rust_std,
        };
        let (path, sha256) = tarball(version, name, package, &target)?;
        let none = |target| RustDistError::NoComponent {
            version: version.clone(),
            component: name,
            target,
        };
        let triple = target.parse().map_err(|_| none(target.clone()))?;
        let url = format!("{server}/{path}");
        let size = http.size(&url).map_err(|error| unavailable(name, sha256, error))?;
        // Without a size, the digest alone has to say whether all is there.
        let size = match size {
            Some(size) => size,
            None => downloads.receive(http, &url, Some(sha256))?.size,
        };
        components.push(Component { name: name.to_owned(), target: triple, path, size, sha256 });
    }
    let locked = LockedRust { version: version.clone(), manifest: digest, components };
    fetch(&locked, &locked.components.iter().collect::<Vec<_>>(), http, downloads)?;
    Ok(locked)
}

/// The components that a recipe asks for, each with its target.
fn wanted(rust: &Rust, architecture: &str) -> Vec<(&'static str, String)> {
    let host = host(architecture);
    let mut wanted = vec![("rustc", host.clone()), ("cargo", host)];
    wanted.extend(targets(rust, architecture).into_iter().map(|target| ("rust-std", target)));
    wanted
}

/// What was locked, if it is of the release that the recipe names and has all that it asks for.
fn still_fits(rust: &Rust, known: &LockedRust, architecture: &str) -> Option<LockedRust> {
    let is_same = known.version == rust.version
        && rust.manifest.is_none_or(|pinned| pinned == known.manifest);
    let find = |(name, target): (&str, String)| {
        let mut components = known.components.iter();
        components.find(|c| c.name == name && c.target.as_str() == target).cloned()
    };
    let components = wanted(rust, architecture).into_iter().map(find).collect::<Option<_>>()?;
    is_same.then(|| LockedRust { components, ..known.clone() })
}

/// Makes sure that tarballs are in the cache.
///
/// # Errors
/// If one is not there and the server does not have it.
pub fn fetch(
    rust: &LockedRust,
    components: &[&Component],
    http: &Http,
    downloads: &Downloads<'_>,
) -> Result<Vec<PathBuf>, RustDistError> {
    let expected = |c: &Component| Expected { size: c.size, sha256: c.sha256 };
    let missing: Vec<u64> = components
        .iter()
        .filter(|component| !downloads.has(expected(component)))
        .map(|component| component.size)
        .collect();
    let bar = downloads.bar(missing.iter().sum());
    let mut paths = Vec::new();
    if !missing.is_empty() {
        let version = &rust.version;
        downloads.say(format_args!(
            "{} components of Rust {version}, {} MB",
            missing.len(),
            megabytes(missing.iter().sum())
        ));
    }
    for component in components {
        let path = downloads.path(component.sha256);
        if !downloads.has(expected(component)) {
            let version = rust.version.clone();
            let server = server().ok_or(RustDistError::NoServer { version })?;
            let url = format!("{server}/{}", component.path);
            let name = format!("{} {} for {}", component.name, rust.version, component.target);
            downloads.fetch(http, &name, expected(component), [url].into_iter(), &bar)?;
        }
        paths.push(path);
    }
    bar.finish_and_clear();
    Ok(paths)
}

fn server() -> Option<String> {
    let server = std::env::var(SERVER).ok()?;
    let server = server.trim().trim_end_matches('/');
    (!server.is_empty()).then(|| server.to_owned())
}

fn unavailable(name: &str, sha256: Digest, error: HttpError) -> RustDistError {
    DownloadError::Unavailable { name: name.to_owned(), sha256, attempts: vec![error] }.into()
}

/// The release's manifest, checked against the digest beside it and the recipe's.
fn manifest(rust: &Rust, server: &str, http: &Http) -> Result<(Manifest, Digest), RustDistError> {
    let version = &rust.version;
    let url = format!("{server}/dist/channel-rust-{version}.toml");
    let get = |url: &str| {
        let failed = |source| RustDistError::Manifest { version: version.clone(), source };
        http.get(url, MANIFEST_LIMIT).map_err(failed)
    };
    let beside = get(&format!("{url}.sha256"))?;
    let beside = String::from_utf8_lossy(&beside);
    let beside = beside.split_whitespace().next().unwrap_or_default();
    let bytes = get(&url)?;
    let found = Digest::of(&bytes);
    let checksum = |by, expected| RustDistError::Checksum { url: url.clone(), by, expected, found };
    if beside.parse::<Digest>().ok() != Some(found) {
        let expected = beside.chars().take(64).collect();
        return Err(checksum("the `.sha256` beside it", expected));
    }
    if let Some(pinned) = rust.manifest.filter(|pinned| *pinned != found) {
        return Err(checksum("the recipe", pinned.to_string()));
    }
    let text = String::from_utf8_lossy(&bytes);
    let manifest: Manifest = toml::from_str(&text)
        .map_err(|source| RustDistError::Parse { url: url.clone(), source: Box::new(source) })?;
    let of = manifest.pkg.rustc.version.split_whitespace().next().unwrap_or_default();
    if of != version {
        let (expected, found) = (version.clone(), of.to_owned());
        return Err(RustDistError::OtherVersion { url, expected, found });
    }
    Ok((manifest, found))
}

/// The path and digest of a component's tarball; xz is smaller.
fn tarball(
    version: &str,
    component: &'static str,
    package: &Package,
    target: &str,
) -> Result<(String, Digest), RustDistError> {
    let found = package.target.get(target).filter(|tarballs| tarballs.available);
    let (address, sha256) = found
        .and_then(|tarballs| {
            let xz = tarballs.xz_url.as_ref().zip(tarballs.xz_hash);
            xz.or(tarballs.url.as_ref().zip(tarballs.hash))
        })
        .ok_or_else(|| RustDistError::NoComponent {
            version: version.to_owned(),
            component,
            target: target.to_owned(),
        })?;
    // What precedes is the official server, whichever mirror the manifest comes from.
    let path = address.find("/dist/").map(|at| &address[at + 1..]);
    let plain = |path: &&str| path.split('/').all(|part| !["", ".", ".."].contains(&part));
    let path = path.filter(plain).ok_or_else(|| RustDistError::Address {
        version: version.to_owned(),
        address: address.clone(),
    })?;
    Ok((path.to_owned(), sha256))
}
