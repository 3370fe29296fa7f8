//! Crates for a build without network: `cargo vendor` on this machine, by the user's own cargo, so
//! that private registries and credentials work as they do for every other build.
//!
//! One folder in the cache for each Cargo.lock, made under a temporary name and renamed, so it is
//! whole or not there. Each workspace that uses it leaves the path of its Cargo.lock there, so that
//! [`collect`] knows when nobody does any more. Inside an image it is mounted read-only; cargo checks every file against the
//! checksums there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_manifest::Digest;
use thiserror::Error;

use crate::cache::garbage::{Garbage, entries, remove};
use crate::cache::{Cache, CacheError, write_atomically};
use crate::failure::{Diagnose, Exit};
use crate::shell::Shell;
use crate::workspace::{Workspace, WorkspaceError};

/// Where the folder of crates is seen inside an image.
pub const GUEST: &str = "/cargo/vendor";

/// The name of the configuration in cargo's home that makes it use them. Cargo gets it by `--config`, so
/// that it counts for more than a workspace's own replacement of a source.
pub const CONFIG: &str = "vendored.toml";

/// How a folder is called that is not whole, or no longer.
const PARTIAL: &str = ".partial-";
/// Where workspaces leave the paths of their lock files.
const USERS: &str = "users";
/// How long crates are kept that a workspace used with an older Cargo.lock: another branch, say.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Vendored crates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vendored {
    /// The folder of crates on this machine.
    pub crates: PathBuf,
    /// Cargo configuration that replaces every source by [`GUEST`].
    pub config: String,
}

/// Why the crates can't be had.
#[derive(Debug, Error)]
pub enum VendorError {
    /// `cargo vendor` could not be started.
    #[error("could not run `{command}`")]
    Spawn {
        /// The command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// `cargo vendor` failed.
    #[error("`{command}` failed ({status})\n{output}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it wrote.
        output: String,
    },
    /// The cache could not be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// There is no lock file.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl Diagnose for VendorError {
    fn exit(&self) -> Exit {
        match self {
            Self::Spawn { .. } | Self::Failed { .. } => Exit::Environment,
            Self::Cache(error) => error.exit(),
            Self::Workspace(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Spawn { .. } => Some("cargo must be in PATH".into()),
            Self::Failed { .. } => Some(
                "`cargo fetch --locked` must work here: check the network, the registry's credentials, and \
                 that Cargo.lock is up to date"
                    .into(),
            ),
            Self::Cache(error) => error.hint(),
            Self::Workspace(error) => error.hint(),
        }
    }
}

/// The crates that the workspace's lock file names, fetched unless the cache has them.
///
/// # Errors
/// If cargo can't fetch them or the cache can't be written.
pub fn vendor(
    workspace: &Workspace,
    lock: Digest,
    cache: &Cache,
    shell: &Shell,
) -> Result<Vendored, VendorError> {
    let lock_file = workspace.lock_file()?;
    let dir = cache.dir("vendor")?;
    let done = dir.join(lock.to_string());
    if !done.is_dir() {
        let _lock = cache.lock("vendor", shell)?;
        if !done.is_dir() {
            shell.status("Vendoring", "the crates of Cargo.lock");
            fill(workspace, &dir, &done)?;
        }
    }
    sign_in(&done, &lock_file)?;
    let config = done.join("config.toml");
    let config = fs::read_to_string(&config).map_err(CacheError::io("read", &config))?;
    Ok(Vendored { crates: done.join("crates"), config })
}

/// Leaves the path of the lock file with the crates; the note's age says when they were last used.
fn sign_in(done: &Path, lock_file: &Path) -> Result<(), CacheError> {
    let users = done.join(USERS);
    fs::create_dir_all(&users).map_err(CacheError::io("create", &users))?;
    let path = lock_file.to_string_lossy();
    write_atomically(&users.join(Digest::of(path.as_bytes()).short()), path.as_bytes())
}

/// The crates that no build needs any more: whoever used them is gone, or has another Cargo.lock by now
/// and did not use them for a month.
///
/// # Errors
/// If the folder of crates can't be read.
pub fn garbage(cache: &Cache) -> Result<Vec<Garbage>, CacheError> {
    let (mut garbage, mut seen) = (Vec::new(), BTreeSet::new());
    for path in entries(&cache.dir("vendor")?)? {
        if !is_needed(&path)? {
            garbage.push(Garbage::of(path, &mut seen)?);
        }
    }
    Ok(garbage)
}

/// Removes [`garbage`] and returns it.
///
/// # Errors
/// If the folder of crates can't be read, or something can't be removed.
pub fn collect(cache: &Cache, shell: &Shell) -> Result<Vec<Garbage>, CacheError> {
    // Nobody fills a folder meanwhile.
    let _lock = cache.lock("vendor", shell)?;
    let garbage = garbage(cache)?;
    for Garbage { path, .. } in &garbage {
        // Never whole in name and not in fact, should this be killed.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let doomed = path.with_file_name(format!("{PARTIAL}{name}"));
        fs::rename(path, &doomed).map_err(CacheError::io("rename", path))?;
        remove(&doomed)?;
    }
    Ok(garbage)
}

fn is_needed(crates: &Path) -> Result<bool, CacheError> {
    let name = crates.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name.starts_with(PARTIAL) {
        return Ok(false);
    }
    let users = crates.join(USERS);
    if !users.is_dir() {
        // Of a version of this tool that left no notes.
        return Ok(is_recent(crates));
    }
    for user in entries(&users)? {
        let lock_file = fs::read_to_string(&user).map_err(CacheError::io("read", &user))?;
        if let Ok(lock) = fs::read(lock_file)
            && (Digest::of(&lock).to_string() == name || is_recent(&user))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_recent(path: &Path) -> bool {
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
    // A time in the future has no age, and is recent too.
    changed.is_ok_and(|changed| changed.elapsed().unwrap_or_default() < KEPT)
}

fn fill(workspace: &Workspace, dir: &Path, done: &Path) -> Result<(), VendorError> {
    let temporary = tempfile::Builder::new()
        .prefix(PARTIAL)
        .tempdir_in(dir)
        .map_err(CacheError::io("create a temporary folder in", dir))?;
    let crates = temporary.path().join("crates");
    fs::create_dir(&crates).map_err(CacheError::io("create", &crates))?;
    let manifest = workspace.root().join("Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let command = format!(
        "cargo vendor --locked --versioned-dirs --respect-source-config --manifest-path {} {}",
        manifest.display(),
        crates.display()
    );
    let output = duct::cmd!(
        cargo,
        "vendor",
        "--locked",
        "--versioned-dirs",
        // Where the user's cargo gets crates from is the user's choice: a mirror, say.
        "--respect-source-config",
        "--manifest-path",
        &manifest,
        &crates
    )
    .dir(workspace.root())
    .stdout_capture()
    .stderr_capture()
    .unchecked()
    .run()
    .map_err(|source| VendorError::Spawn { command: command.clone(), source })?;
    if !output.status.success() {
        let output_text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = output_text.lines().collect();
        let output_end = lines[lines.len().saturating_sub(20)..].join("\n");
        return Err(VendorError::Failed { command, status: output.status, output: output_end });
    }
    // Cargo prints the configuration that uses the folder; inside, the folder has another name.
    let config = String::from_utf8_lossy(&output.stdout);
    let config = relocate(&config, &crates);
    write_atomically(&temporary.path().join("config.toml"), config.as_bytes())?;
    let kept = temporary.keep();
    fs::rename(&kept, done).map_err(CacheError::io("rename into place", done))?;
    Ok(())
}

/// Cargo's source replacement for `crates`, naming [`GUEST`] instead.
fn relocate(config: &str, crates: &Path) -> String {
    let lines = config.lines().map(|line| {
        let names_it =
            line.starts_with("directory = ") && line.contains(&*crates.to_string_lossy());
        if names_it { format!("directory = \"{GUEST}\"") } else { line.to_owned() }
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn crates_stay_as_long_as_a_workspace_may_need_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::at(folder.path().join("cache")).expect("a cache");
        let vendor = cache.dir("vendor").expect("a folder");
        let long_ago = SystemTime::now() - 2 * KEPT;
        let crates = |lock: &str, user: &Path, used: SystemTime| {
            let done = vendor.join(Digest::of(lock).to_string());
            sign_in(&done, user).expect("it is noted");
            for note in entries(&done.join(USERS)).expect("notes") {
                let note = fs::File::options().write(true).open(note).expect("a note");
                note.set_modified(used).expect("a time");
            }
            done
        };
        let (here, gone) =
            (folder.path().join("Cargo.lock"), folder.path().join("gone/Cargo.lock"));
        fs::write(&here, "now").expect("a lock file");
        let mut kept =
            vec![crates("now", &here, long_ago), crates("last week", &here, SystemTime::now())];
        let mut garbage_paths = vec![
            crates("last year", &here, long_ago),
            crates("elsewhere", &gone, SystemTime::now()),
        ];
        let killed = vendor.join(format!("{PARTIAL}x"));
        fs::create_dir(&killed).expect("a folder");
        garbage_paths.push(killed);
        let unnoted = vendor.join(Digest::of("older tool").to_string());
        fs::create_dir(&unnoted).expect("a folder");
        kept.push(unnoted);
        kept.sort();
        garbage_paths.sort();
        let found = garbage(&cache).expect("it is found");
        let found: Vec<PathBuf> = found.into_iter().map(|garbage| garbage.path).collect();
        assert_eq!(found, garbage_paths);
        collect(&cache, &Shell::silent()).expect("it is removed");
        assert_eq!(entries(&vendor).expect("what is left"), kept);
    }

    #[test]
    fn the_printed_configuration_names_the_folder_inside() {
        let printed = "[source.crates-io]\nreplace-with = \"vendored-sources\"\n\n\
                       [source.vendored-sources]\ndirectory = \"/tmp/a b/crates\"\n";
        let relocated = relocate(printed, Path::new("/tmp/a b/crates"));
        assert_eq!(relocated, printed.replace("/tmp/a b/crates", GUEST));
    }
}
