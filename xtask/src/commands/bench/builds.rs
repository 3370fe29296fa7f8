//! `bench builds`: what a build in each engine costs beside cargo by itself in the same root.
//!
//! The peer has no plan, no inspection and no delivery. All images are there before, the standard library
//! included. Three figures an engine: the first artifacts, with an empty target folder; the same again
//! by `--force`, so that cargo finds nothing to compile; and a run with nothing to do, which starts no
//! engine. Engines and peer take turns, and medians are compared.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::bare::{Bare, PEER};
use super::{Figure, failed, median_ms, time};
use crate::cache::{Cache, CacheError};
use crate::container::EngineName;
use crate::engine;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::workspace::Workspace;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// How often each build begins with an empty folder.
const N_ROUNDS: usize = 3;
const STAGES: [(&str, usize); 3] = [("first artifacts", 0), ("--force", 1), ("nothing to do", 1)];

/// Three figures for each engine that works here.
pub(super) fn measure(workspace: &Workspace, shell: &Shell) -> Result<Vec<Figure>, Failure> {
    let cache = Cache::open()?;
    let bare = Bare::new(workspace, &[TARGET.into()], &cache, shell)?;
    let mut engines = Vec::new();
    for name in EngineName::ORDER {
        match engine::open(name, &cache, shell) {
            // What is put there once an image is not measured.
            Ok(engine) => bare.images().try_for_each(|image| engine.prepare(image).map(drop))?,
            Err(reason) => {
                shell.warn(format_args!("not measured: {reason}"));
                continue;
            }
        }
        engines.push((name, [const { Vec::new() }; STAGES.len()]));
    }
    let mut peer = [const { Vec::new() }; 2];
    for _ in 0..N_ROUNDS {
        let folder = folder(workspace)?;
        for times in &mut peer {
            times.push(bare.time(folder.path())?);
        }
        for (engine, stages) in &mut engines {
            let folder = self::folder(workspace)?;
            for ((stage, _), times) in STAGES.iter().zip(stages) {
                let more: &[&str] = if *stage == "--force" { &["--force"] } else { &[] };
                times.push(time(&ours(folder.path(), *engine, more)?, workspace)?);
            }
        }
    }
    let peer = peer.map(|mut times: Vec<Duration>| median_ms(&mut times));
    let figures = engines.into_iter().flat_map(|(engine, stages)| {
        STAGES.into_iter().zip(stages).map(move |((stage, at), mut times)| {
            Figure::new(format!("{engine}, {stage}"), "ms", median_ms(&mut times), PEER, peer[at])
        })
    });
    Ok(figures.collect())
}

/// A folder for a build, on the file system where builds are.
pub(super) fn folder(workspace: &Workspace) -> Result<TempDir, Failure> {
    let state = workspace.state_dir();
    let made = fs::create_dir_all(&state)
        .and_then(|()| tempfile::Builder::new().prefix("bench-").tempdir_in(&state));
    Ok(made.map_err(CacheError::io("create a temporary folder in", &state))?)
}

/// `build-plugins` as a user runs it, with a target folder and a `dist/` of its own.
fn ours(folder: &Path, engine: EngineName, more: &[&str]) -> Result<duct::Expression, Failure> {
    let this = std::env::current_exe().map_err(|error| failed("finding this program", &error))?;
    let dist = folder.join("dist");
    let mut arguments: Vec<_> = ["--quiet", "build-plugins", "--dist"].map(Into::into).into();
    arguments.push(dist.into_os_string());
    arguments.extend(["--target", TARGET, "--engine", engine.as_str()].map(Into::into));
    arguments.extend(more.iter().map(Into::into));
    Ok(duct::cmd(this, arguments).env("CARGO_TARGET_DIR", folder.join("target")))
}
