//! `bench one-line`: one line of one plugin changed, and all default targets built.
//!
//! The peer is the sum of what cargo by itself takes for the same change, target after target, each in the
//! same root. Both work on a copy of the workspace, and take turns.

use std::fs;
use std::path::{Path, PathBuf};

use super::bare::{Bare, PEER};
use super::builds::folder;
use super::{Figure, failed, median_ms, time};
use crate::cache::{Cache, CacheError};
use crate::failure::{Exit, Failure};
use crate::shell::Shell;
use crate::workspace::Workspace;

/// How often the line is changed.
const N_ROUNDS: usize = 5;

/// One figure.
pub(super) fn measure(workspace: &Workspace, shell: &Shell) -> Result<Figure, Failure> {
    let cache = Cache::open()?;
    let scratch = folder(workspace)?;
    let copy = scratch.path().join("copy");
    copy_of(workspace, &copy)?;
    let copy = Workspace::find(Some(&copy.join("Cargo.toml")), None)?;
    let source = source(&copy)?;
    let text = fs::read_to_string(&source).map_err(CacheError::io("read", &source))?;
    let this = std::env::current_exe().map_err(|error| failed("finding this program", &error))?;
    let ours = duct::cmd!(this, "--quiet", "build-plugins", "--engine", "sandbox");
    let ours = ours.env("CARGO_TARGET_DIR", scratch.path().join("ours"));
    let bare = Bare::new(&copy, &[], &cache, shell)?;
    let (mut times, mut peer) = (Vec::new(), Vec::new());
    // The first round builds everything.
    for round in 0..=N_ROUNDS {
        let line = format!("{text}\n// Change {round}.\n");
        fs::write(&source, line).map_err(CacheError::io("write", &source))?;
        times.push(time(&ours, &copy)?);
        peer.push(bare.time(&scratch.path().join("bare"))?);
    }
    let (value, peer_value) = (median_ms(&mut times[1..]), median_ms(&mut peer[1..]));
    Ok(Figure::new("one line changed, default targets", "ms", value, PEER, peer_value))
}

/// The first plugin's own source.
fn source(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let metadata = workspace.metadata(None)?;
    let plugins = workspace.plugins()?.plugins;
    let root = plugins.first().and_then(|plugin| {
        let package = metadata.workspace_packages();
        let package = package.into_iter().find(|package| *package.name == plugin.name)?;
        let library = package.targets.iter().find(|target| target.is_cdylib())?;
        Some(library.src_path.clone().into_std_path_buf())
    });
    root.ok_or_else(|| Failure::new(Exit::Usage, "this workspace has no plugin"))
}

/// Copies what git tracks, or would, to `to`.
fn copy_of(workspace: &Workspace, to: &Path) -> Result<(), Failure> {
    let list = duct::cmd!("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard");
    let list = list.dir(workspace.root()).read();
    let list = list.map_err(|error| failed("`git ls-files`", &error))?;
    for file in list.split('\0').filter(|file| !file.is_empty()) {
        let (from, to) = (workspace.root().join(file), to.join(file));
        if from.is_file() {
            let folder = to.parent().unwrap_or(&to);
            fs::create_dir_all(folder).map_err(CacheError::io("create", folder))?;
            fs::copy(&from, &to).map_err(CacheError::io("copy", &from))?;
        }
    }
    Ok(())
}
