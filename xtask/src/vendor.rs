//! Crates for a build without network, from what the user's own cargo has fetched, so that private
//! registries and credentials work as they do for every other build.
//!
//! Only what plugins need is laid out whole. Cargo resolves the whole workspace whatever it builds, so of
//! all other packages that Cargo.lock names it gets the manifest, with code that does not compile.
//! `cargo vendor` is not used: it knows no selection, leaves out the files of a repository that lie
//! outside of a package, and has one folder for all sources, where two of them may have the same package.
//!
//! Each selection is a folder in the cache, made under a temporary name and renamed, so it is whole or not
//! there. Inside an image it is mounted read-only. Crates of a registry are unpacked from archives whose
//! SHA-256 is that of Cargo.lock, and cargo checks every file again; of a repository the commit counts.

mod checkout;
mod files;
mod garbage;
mod lock_file;
mod registry;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, Package};
use keyway_manifest::Digest;
use keyway_manifest::text::Show as _;
use thiserror::Error;

pub use self::garbage::{collect, garbage};
use self::lock_file::{LockFile, Named};
use self::source::{Kind, Source};
use crate::cache::{Cache, CacheError, write_atomically};
use crate::configuration::Configuration;
use crate::failure::{Diagnose, Exit};
use crate::shell::Shell;
use crate::workspace::{Workspace, WorkspaceError};

/// Where the folder of crates is seen inside an image.
pub const GUEST: &str = "/cargo/vendor";

/// The configuration in cargo's home that makes it use them, so that a cargo that a build script runs does
/// too. The cargo of a step also gets it by `--config`: then it counts for more than a workspace's own
/// replacement of a source.
pub const CONFIG: &str = "config.toml";

/// Name prefix of a folder being filled or deleted.
const PARTIAL: &str = ".partial-";
/// Counted up when another version of this module lays out the same crates in another way.
const VERSION: u32 = 2;
/// By source, where its crates lie.
const SOURCES: &str = "sources.json";
/// What stands for the code of a package that nobody compiles.
const STUB: &str =
    "compile_error!(\"no plugin needs this crate, so its code was not brought along\");\n";

/// What a folder of crates is for.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The packages that will be compiled, by cargo's ids.
    pub needs: BTreeSet<String>,
    /// SHA-256 of Cargo.lock.
    pub lock: Digest,
    /// What cargo is configured to do.
    pub configuration: &'a Configuration,
}

/// Vendored crates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vendored {
    /// The folder of crates on this machine.
    pub crates: PathBuf,
    /// Cargo configuration that replaces every source by a folder below [`GUEST`].
    pub config: String,
}

/// Why the crates can't be had.
#[derive(Debug, Error)]
pub enum VendorError {
    /// The cache could not be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// There is no lock file, or cargo can't answer.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// Cargo.lock is no TOML.
    #[error("could not read `{path}`", path = .path.shown())]
    LockFile {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: toml::de::Error,
    },
    /// An archive is not the one that Cargo.lock names.
    #[error("`{archive}` is not the crate that Cargo.lock names: its SHA-256 is not {expected}", archive = .archive.shown())]
    Checksum {
        /// The file.
        archive: PathBuf,
        /// What Cargo.lock says.
        expected: String,
    },
    /// Cargo could not fetch what its metadata does not name.
    #[error("`cargo fetch --locked` failed:\n{said}")]
    Fetch {
        /// Cargo's words.
        said: String,
    },
    /// The code of a crate could not be laid out.
    #[error("could not lay out the crate `{package}`")]
    Crate {
        /// Cargo's id of it.
        package: String,
        /// Why.
        source: io::Error,
    },
    /// The files of a repository could not be laid out.
    #[error("could not lay out the repository `{repository}`")]
    Repository {
        /// Its name.
        repository: String,
        /// Why.
        source: io::Error,
    },
}

impl Diagnose for VendorError {
    fn exit(&self) -> Exit {
        match self {
            Self::LockFile { .. } => Exit::Usage,
            Self::Checksum { .. }
            | Self::Fetch { .. }
            | Self::Crate { .. }
            | Self::Repository { .. } => Exit::Environment,
            Self::Cache(error) => error.exit(),
            Self::Workspace(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Cache(error) => error.hint(),
            Self::Workspace(error) => error.hint(),
            Self::LockFile { .. } => Some("`cargo generate-lockfile` writes a new one".into()),
            Self::Fetch { .. } => Some("run it in the workspace, and look at the network".into()),
            Self::Checksum { .. } => {
                Some("delete the file; `cargo fetch --locked` fetches it again".into())
            }
            Self::Crate { .. } | Self::Repository { .. } => Some(
                "look whether the disk is full; what cargo has fetched lies in its home folder, \
                 and `cargo fetch --locked` fetches again what is missing there"
                    .into(),
            ),
        }
    }
}

/// How much of a package is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// All of it.
    Whole,
    /// What cargo reads to resolve a workspace.
    Stub,
}

/// The crates that a request names, and manifests of all others in the workspace's lock file.
///
/// # Errors
/// If cargo can't fetch them or the cache can't be written.
pub fn vendor(
    workspace: &Workspace,
    request: &Request<'_>,
    cache: &Cache,
    shell: &Shell,
) -> Result<Vendored, VendorError> {
    let lock_file = workspace.lock_file()?;
    let dir = cache.dir("vendor")?;
    let done = dir.join(key(request).to_string());
    if !done.is_dir() {
        let _lock = cache.lock("vendor", shell)?;
        if !done.is_dir() {
            fill(workspace, request, &dir, &done, shell)?;
        }
    }
    garbage::sign_in(&done, &lock_file, request.lock)?;
    let path = done.join(SOURCES);
    let sources = fs::read(&path).map_err(CacheError::io("read", &path))?;
    let sources = serde_json::from_slice(&sources)
        .map_err(|error| CacheError::io("read", &path)(error.into()))?;
    let config = source::configuration(&sources, request.configuration);
    Ok(Vendored { crates: done.join("crates"), config })
}

/// What decides how a folder of crates looks.
fn key(request: &Request<'_>) -> Digest {
    let needs = request.needs.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    Digest::of(format!("{VERSION}\n{}\n{needs}\n", request.lock))
}

fn fill(
    workspace: &Workspace,
    request: &Request<'_>,
    dir: &Path,
    done: &Path,
    shell: &Shell,
) -> Result<(), VendorError> {
    let metadata = workspace.metadata(None)?;
    let lock = LockFile::read(&workspace.lock_file()?)?;
    let by_source = by_source(&metadata);
    let n_all: usize = by_source.values().map(Vec::len).sum();
    let n = request.needs.len();
    shell.status("Vendoring", format_args!("{n} of the {n_all} crates in Cargo.lock"));
    let temporary = tempfile::Builder::new()
        .prefix(PARTIAL)
        .tempdir_in(dir)
        .map_err(CacheError::io("create a temporary folder in", dir))?;
    let crates = temporary.path().join("crates");
    fs::create_dir(&crates).map_err(CacheError::io("create", &crates))?;
    let mut folders = BTreeMap::new();
    for (source, packages) in &by_source {
        let folder = lay_out(source, packages, &request.needs, &lock, &crates, shell)?;
        folders.insert(source.clone(), folder);
    }
    not_linked(workspace, &by_source, &lock, &crates)?;
    for unused in &lock.unused {
        let source = Source::new(&unused.source);
        let folder = folders.entry(source).or_insert_with_key(Source::folder);
        let to = crates.join(folder).join(format!("{}-{}", unused.name, unused.version));
        stand_in(unused, lock.checksum(&unused.name, &unused.version, &unused.source), &to)?;
    }
    let folders = serde_json::to_vec_pretty(&folders).expect("has string keys");
    write_atomically(&temporary.path().join(SOURCES), &folders)?;
    let kept = temporary.keep();
    fs::rename(&kept, done).map_err(CacheError::io("rename into place", done))?;
    Ok(())
}

/// Lays out the crates of registries that the lock file has and cargo's metadata has not: programs that a
/// crate depends on for their version alone, as `cxx` does on `cxxbridge-cmd`. Cargo resolves them too.
fn not_linked(
    workspace: &Workspace,
    by_source: &BTreeMap<Source, Vec<&Package>>,
    lock: &LockFile,
    crates: &Path,
) -> Result<(), VendorError> {
    let mut has_fetched = false;
    for Named { name, version, source: id } in &lock.packages {
        let source = Source::new(id);
        let Some(packages) = by_source.get(&source) else { continue };
        let is_it = |package: &&&Package| {
            package.name.as_str() == name && package.version.to_string() == *version
        };
        if matches!(source.kind(), Kind::Git { .. }) || packages.iter().any(|p| is_it(&p)) {
            continue;
        }
        // Cargo keeps the packages of a registry side by side.
        let beside = packages.first().map(|package| manifest_folder(package));
        let Some(registry) = beside.as_deref().and_then(Path::parent) else { continue };
        let folder = format!("{name}-{version}");
        let from = registry.join(&folder);
        if !registry::is_there(&from) && !has_fetched {
            fetch(workspace)?;
            has_fetched = true;
        }
        let to = crates.join(source.folder()).join(&folder);
        registry::whole(id, &from, lock.checksum(name, version, id), &to)?;
    }
    Ok(())
}

/// Has the user's cargo fetch all packages of the lock file.
fn fetch(workspace: &Workspace) -> Result<(), VendorError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let run = duct::cmd!(cargo, "fetch", "--locked").dir(workspace.root());
    let failed = |said: String| VendorError::Fetch { said };
    let output = run.stdin_null().stdout_null().stderr_capture().unchecked().run();
    let output = output.map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

/// The packages of registries and git.
fn by_source(metadata: &Metadata) -> BTreeMap<Source, Vec<&Package>> {
    let mut by_source = BTreeMap::<_, Vec<&Package>>::new();
    for package in &metadata.packages {
        if let Some(source) = &package.source {
            by_source.entry(Source::new(&source.repr)).or_default().push(package);
        }
    }
    by_source
}

/// Lays out the packages of one source; returns the folder that cargo takes them from, below `crates`.
fn lay_out(
    source: &Source,
    packages: &[&Package],
    needs: &BTreeSet<String>,
    lock: &LockFile,
    crates: &Path,
    shell: &Shell,
) -> Result<String, VendorError> {
    let folder = source.folder();
    let to = crates.join(&folder);
    let content = |packages: &[&Package]| {
        let is_needed = packages.iter().any(|package| needs.contains(&package.id.repr));
        if is_needed { Content::Whole } else { Content::Stub }
    };
    if let Kind::Git { url, .. } = source.kind() {
        let name = source::repository(&url);
        let links = checkout::lay_out(&name, packages, content(packages), &to, shell)?;
        return Ok(format!("{folder}/{}", links.to_string_lossy()));
    }
    for package in packages {
        let (name, version) = (package.name.as_str(), package.version.to_string());
        let id = package.source.as_ref().map(|source| source.repr.as_str()).unwrap_or_default();
        let checksum = lock.checksum(name, &version, id);
        let to = to.join(format!("{name}-{version}"));
        registry::lay_out(package, content(&[package]), checksum, &to)?;
    }
    Ok(folder)
}

/// The folder of a package's manifest.
fn manifest_folder(package: &Package) -> PathBuf {
    let manifest = package.manifest_path.as_std_path();
    manifest.parent().unwrap_or(Path::new("/")).to_owned()
}

/// Writes what cargo looks for when it reads a package: the manifest, and a file for each target.
fn stub(package: &Package, to: &Path) -> io::Result<()> {
    let from = manifest_folder(package);
    files::copy(package.manifest_path.as_std_path(), &to.join("Cargo.toml"))?;
    for target in &package.targets {
        // One that a package has outside of its folder is not looked for.
        if let Ok(below) = target.src_path.as_std_path().strip_prefix(&from) {
            files::write(&to.join(below), STUB.as_bytes())?;
        }
    }
    Ok(())
}

/// Writes a package for a patch that nothing uses: cargo wants to see that there is one.
fn stand_in(unused: &Named, checksum: Option<&str>, to: &Path) -> Result<(), VendorError> {
    let Named { name, version, .. } = unused;
    let package = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\n");
    let checksums = registry::checksums(&BTreeMap::new(), checksum);
    let files: [(&str, &[u8]); 3] = [
        ("Cargo.toml", package.as_bytes()),
        ("src/lib.rs", STUB.as_bytes()),
        (registry::CHECKSUMS, &checksums),
    ];
    let write = |(path, bytes): (&str, &[u8])| files::write(&to.join(path), bytes);
    files
        .into_iter()
        .try_for_each(write)
        .map_err(|source| VendorError::Crate { package: format!("{name}@{version}"), source })
}
