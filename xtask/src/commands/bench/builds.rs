//! `bench builds`: what a build in each engine costs beside cargo by itself in the same root.
//!
//! The peer is the very cargo run that a step is, with nothing of this tool around it but the root that
//! it sees: no plan, no inspection, no delivery. All images are there before, the standard library
//! included. Three figures an engine: the first artifacts, with an empty target folder; the same again
//! by `--force`, so that cargo finds nothing to compile; and a run with nothing to do, which starts no
//! engine. Engines and peer take turns, and medians are compared.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Figure, failed, median_ms, time};
use crate::cache::{Cache, CacheError, write_atomically};
use crate::container::{EngineName, Image};
use crate::engine::{self, Engine, EngineError};
use crate::failure::{Exit, Failure};
use crate::image::Images;
use crate::jobs::Jobs;
use crate::placement::Placement;
use crate::plan::Step;
use crate::run::{self, Folders};
use crate::shell::Shell;
use crate::survey::{Rebuild, Survey};
use crate::targets::TargetSet;
use crate::vendor::{self, Vendored};
use crate::workspace::Workspace;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const PEER: &str = "cargo by itself in the same root";
/// How often each build begins with an empty folder.
const N_ROUNDS: usize = 3;
const STAGES: [(&str, usize); 3] = [("first artifacts", 0), ("--force", 1), ("nothing to do", 1)];

/// Three figures for each engine that works here.
pub(super) fn measure(workspace: &Workspace, shell: &Shell) -> Result<Vec<Figure>, Failure> {
    let cache = Cache::open()?;
    let bare = Bare::new(workspace, &cache, shell)?;
    let mut engines = Vec::new();
    for name in EngineName::ORDER {
        match engine::open(name, &cache, shell) {
            // What is put there once an image is not measured.
            Ok(engine) => drop(engine.prepare(&bare.image)?),
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
fn folder(workspace: &Workspace) -> Result<TempDir, Failure> {
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

/// The cargo run of a step, in the sandbox.
struct Bare<'a> {
    engine: Box<dyn Engine + 'a>,
    image: Image,
    step: Step,
    vendored: Vendored,
    placement: Placement,
    /// As warm as for a build.
    zig: PathBuf,
    jobs: Jobs,
}

impl<'a> Bare<'a> {
    fn new(workspace: &'a Workspace, cache: &Cache, shell: &'a Shell) -> Result<Self, Failure> {
        let engine = engine::open(EngineName::Sandbox, cache, shell).map_err(EngineError::from)?;
        let images = Images::open(workspace.recipes_dir(), cache.clone());
        let set = TargetSet::open(workspace.targets_file().as_deref())?;
        let mut survey = Survey::take(workspace, &images, "release")?;
        let mut plan = survey.plan(&set.select(&[TARGET.into()])?, &[], Rebuild::All)?;
        let Some(step) = plan.steps.pop() else {
            let message = format!("this workspace has no plugin for {TARGET}");
            return Err(Failure::new(Exit::Usage, message));
        };
        let image = images.ensure(&step.image.name, &&*engine, shell)?;
        engine.prepare(&image)?;
        let vendored = vendor::vendor(workspace, survey.inputs.lock, cache, shell)?;
        let placement = survey.inputs.placement;
        let zig = cache.dir("zig")?.join(image.manifest.short());
        let jobs = Jobs::alone(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
        Ok(Self { engine, image, step, vendored, placement, zig, jobs })
    }

    fn time(&self, folder: &Path) -> Result<Duration, Failure> {
        let (target, cargo) = (folder.join("target"), folder.join("cargo"));
        for folder in [&target, &self.zig, &cargo.join("vendor")] {
            fs::create_dir_all(folder).map_err(CacheError::io("create", folder))?;
        }
        write_atomically(&cargo.join(vendor::CONFIG), self.vendored.config.as_bytes())?;
        let (placement, zig) = (self.placement.clone(), self.zig.clone());
        let folders = Folders { placement, target, cargo, zig };
        let argv = self.step.cargo(self.jobs.n_jobs());
        let command = run::command(&self.step, argv, &folders, &self.vendored, &self.jobs);
        let start = Instant::now();
        self.engine.run(&self.image, &command, &mut |_, _| {})?;
        Ok(start.elapsed())
    }
}
