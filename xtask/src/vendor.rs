//! Crates for a build without network: `cargo vendor` on this machine, by the user's own cargo, so
//! that private registries and credentials work as they do for every other build.
//!
//! One folder in the cache for each Cargo.lock, made under a temporary name and renamed, so it is
//! whole or not there. Inside an image it is mounted read-only; cargo checks every file against the
//! checksums there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::Digest;
use thiserror::Error;

use crate::cache::{Cache, CacheError, write_atomically};
use crate::failure::{Diagnose, Exit};
use crate::shell::Shell;
use crate::workspace::{Workspace, WorkspaceError};

/// Where the folder of crates is seen inside an image.
pub const GUEST: &str = "/cargo/vendor";

/// The name of the configuration in cargo's home that makes it use them. Cargo gets it by `--config`, so
/// that it counts for more than a workspace's own replacement of a source.
pub const CONFIG: &str = "vendored.toml";

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
    workspace.lock_file()?;
    let dir = cache.dir("vendor")?;
    let done = dir.join(lock.to_string());
    if !done.is_dir() {
        let _lock = cache.lock("vendor", shell)?;
        if !done.is_dir() {
            shell.status("Vendoring", "the crates of Cargo.lock");
            fill(workspace, &dir, &done)?;
        }
    }
    let config = done.join("config.toml");
    let config = fs::read_to_string(&config).map_err(CacheError::io("read", &config))?;
    Ok(Vendored { crates: done.join("crates"), config })
}

fn fill(workspace: &Workspace, dir: &Path, done: &Path) -> Result<(), VendorError> {
    let temporary = tempfile::Builder::new()
        .prefix(".partial-")
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
    use super::*;

    #[test]
    fn the_printed_configuration_names_the_folder_inside() {
        let printed = "[source.crates-io]\nreplace-with = \"vendored-sources\"\n\n\
                       [source.vendored-sources]\ndirectory = \"/tmp/a b/crates\"\n";
        let relocated = relocate(printed, Path::new("/tmp/a b/crates"));
        assert_eq!(relocated, printed.replace("/tmp/a b/crates", GUEST));
    }
}
