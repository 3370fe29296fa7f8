//! Carries a plan out: images, cargo runs, manifests, the gate, the delivery.
//!
//! Each step is delivered as soon as it is done, so what a killed run had finished is kept. A plugin
//! that does not compile does not hold the others back.

mod made;
mod missing;
mod relabel;
pub mod trial;
mod units;
mod watched;

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use keyway_host::refusal::Rejection;
use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Manifest};

use crate::cache::{Cache, CacheError};
use crate::container::Image;
use crate::dist::{Delivery, Entry};
use crate::engine::{self, Engine, EngineError, Status};
use crate::failure::Failure;
use crate::image::{Images, Prepared};
use crate::jobs::{Jobs, Reach};
use crate::plan::{Plan, Record, Step, Wanted};
use crate::rivals;
use crate::run::{self, Built, Folders, Follower, Library};
use crate::runner::{self, Host};
use crate::shell::{Shell, count};
use crate::survey::{Ground, Survey};
use crate::vendor::{self, Vendored};
use crate::verdict::Judge;
use crate::workspace::{Purpose, Workspace};

use made::{Made, publish};
use trial::{Trial, is_tried, runner_image};
use watched::Watched;

pub use relabel::relabel;

/// What a build works with.
#[derive(Clone, Copy)]
pub struct Build<'a> {
    /// The workspace.
    pub workspace: &'a Workspace,
    /// The cache.
    pub cache: &'a Cache,
    /// The images of the workspace.
    pub images: &'a Images,
    /// What runs them.
    pub engine: &'a dyn Engine,
    /// How many compilations run at once.
    pub n_jobs: NonZeroUsize,
    /// Where progress and diagnostics go.
    pub shell: &'a Shell,
    /// Whether and how what was built is tried on its target before it is delivered.
    trial: Option<Trial>,
    /// Where cargo's target folders lie, if not with those of the workspace.
    apart: Option<&'a Path>,
}

/// What the cargo runs of a build share.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// Crates of registries and git.
    pub vendored: &'a Vendored,
    /// How much goes on at once.
    pub jobs: &'a Jobs,
    /// The workspace.
    pub ground: &'a Ground,
}

/// What came of one artifact.
#[derive(Debug)]
pub enum Outcome {
    /// It was delivered.
    Delivered(Entry),
    /// Its library is what it was, and its manifest says from which commit.
    Relabelled(Entry),
    /// Its crate did not compile; cargo has said why.
    NotCompiled,
    /// It was built and the gate refused it; the refusals were printed.
    Refused,
    /// The gate admitted it, and a host on its target could not use it.
    Unusable(runner::Outcome),
}

/// What came of each artifact of a step that had to be built.
pub type Outcomes = Vec<(Wanted, Outcome)>;

/// What was made when an artifact was built again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// Digest of the library.
    pub library: Digest,
    /// The manifest.
    pub manifest: Manifest,
}

/// What a step's cargo made, and the host that tries it out.
struct Compiled {
    built: Built,
    host: Option<Host>,
}

impl<'a> Build<'a> {
    /// A build with `jobs` compilations at once; with as many as there are processors if that is not given.
    pub fn new(
        workspace: &'a Workspace,
        cache: &'a Cache,
        images: &'a Images,
        engine: &'a dyn Engine,
        jobs: Option<NonZeroUsize>,
        shell: &'a Shell,
    ) -> Self {
        let processors = || thread::available_parallelism().ok();
        let n_jobs = jobs.or_else(processors).unwrap_or(NonZeroUsize::MIN);
        Self { workspace, cache, images, engine, n_jobs, shell, trial: None, apart: None }
    }

    /// The same, with a trial of each library before it is delivered, where its target's programs run.
    #[must_use]
    pub fn with_trial(self, trial: Option<Trial>) -> Self {
        Self { trial, ..self }
    }
}

impl Build<'_> {
    /// Builds and delivers every artifact of `plan` that is stale, step by step.
    ///
    /// # Errors
    /// If the environment fails: no image, no engine, no disk. What was delivered until then stays.
    pub fn carry_out(
        &self,
        plan: &Plan,
        survey: &mut Survey<'_>,
        mut done: impl FnMut(&Step, &Outcomes),
    ) -> Result<(), Failure> {
        let stale: Vec<&Step> = plan.steps.iter().filter(|step| step.needs_cargo()).collect();
        let vendored = self.vendored(survey)?;
        let ground = survey.ground();
        self.compile_all(&stale, &vendored, &ground, |step, compiled| {
            let outcomes = self.deliver(step, &compiled, survey)?;
            done(step, &outcomes);
            Ok(())
        })
    }

    /// Builds every artifact of `plan` from nothing, apart from what was built before, and hands over
    /// what came of each; nothing of one that did not compile. Nothing is delivered.
    ///
    /// # Errors
    /// Those of [`Build::carry_out`].
    pub fn repeat(
        &self,
        plan: &Plan,
        survey: &mut Survey<'_>,
        mut found: impl FnMut(&Step, Vec<(&Wanted, Option<Repeated>)>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let state = self.workspace.state_dir();
        sweep(&state).map_err(CacheError::io("clear", &state))?;
        let apart = tempfile::Builder::new().prefix(APART).tempdir_in(&state);
        let apart = apart.map_err(CacheError::io("create a folder in", &state))?;
        let build = Build { apart: Some(apart.path()), trial: None, ..*self };
        let steps: Vec<&Step> = plan.steps.iter().collect();
        let vendored = build.vendored(survey)?;
        let ground = survey.ground();
        build.compile_all(&steps, &vendored, &ground, |step, Compiled { built, .. }| {
            let mut all = Vec::new();
            for wanted in &step.artifacts {
                let library = library(step, wanted, &built);
                let repeated = library.map(|library| -> Result<_, Failure> {
                    let made = build.describe(step, wanted, (&built, library), survey)?;
                    let library = Digest::of(&made.artifact.bytes);
                    Ok(Repeated { library, manifest: made.manifest })
                });
                all.push((wanted, repeated.transpose()?));
            }
            found(step, all)
        })
    }

    /// The crates that plugins need, and where they are tried, their host.
    fn vendored(&self, survey: &Survey<'_>) -> Result<Vendored, Failure> {
        let purpose = self.trial.map_or(Purpose::Plugins, |_| Purpose::Trial);
        let request = survey.crates(purpose);
        Ok(vendor::vendor(self.workspace, &request, self.cache, self.shell)?)
    }

    /// Compiles `steps` and hands each over when it is done.
    fn compile_all(
        &self,
        steps: &[&Step],
        vendored: &Vendored,
        ground: &Ground,
        hand_over: impl FnMut(&Step, Compiled) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut images: Vec<String> = steps.iter().map(|step| step.image.name.clone()).collect();
        let tried = steps.iter().map(|step| &step.target);
        let tried = tried.filter(|target| is_tried(self.trial, target).is_some());
        images.extend(tried.map(|target| runner_image(target).to_owned()));
        let prepared = self.images.prepare(&images, &self.engine, self.shell)?;
        let jobs = self.jobs(steps.len())?;
        let work = Work { vendored, jobs: &jobs, ground };
        self.side_by_side(steps, &prepared, work, hand_over)
    }

    /// Completes the images of `steps` and compiles the steps in them, as many at once as there are
    /// lanes, and hands each over when it is done. After a failure no other one is begun.
    fn side_by_side(
        &self,
        steps: &[&Step],
        prepared: &Prepared<'_>,
        work: Work<'_>,
        mut hand_over: impl FnMut(&Step, Compiled) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let next = AtomicUsize::new(0);
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..work.jobs.n_lanes() {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    while let Some(step) = steps.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let image = prepared.complete(&step.image.name).map_err(Failure::from);
                        let built = image.and_then(|image| self.compile(step, &image, work));
                        if sender.send((*step, built)).is_err() {
                            break;
                        }
                    }
                    // The pipe is only full of tokens if no run needs one.
                    let _ = work.jobs.leave();
                });
            }
            drop(sender);
            let mut ended = Ok(());
            for (step, built) in receiver {
                if ended.is_ok() {
                    ended = built.and_then(|built| hand_over(step, built));
                }
                if ended.is_err() {
                    next.store(steps.len(), Ordering::Relaxed);
                }
            }
            ended
        })
    }

    fn jobs(&self, n_runs: usize) -> Result<Jobs, CacheError> {
        let state = self.workspace.state_dir();
        let reach = match self.engine.capabilities().folders {
            engine::Folders::Mounted if cfg!(target_os = "linux") => Reach::Shared,
            _ => Reach::Apart,
        };
        Jobs::share(self.n_jobs, n_runs, reach, &state)
            .map_err(CacheError::io("make a pipe for the jobserver in", &state))
    }

    /// Runs a step's cargo with `argv` and returns what it made, whether or not all of it compiled.
    ///
    /// # Errors
    /// If cargo could not be run, or failed without a compile error.
    pub fn cargo(
        &self,
        step: &Step,
        image: &Image,
        argv: Vec<String>,
        work: Work<'_>,
    ) -> Result<Built, Failure> {
        let folders = self.folders(step, work)?;
        let watched = Watched::begin(step, &folders, work.ground)?;
        let mut command = run::command(step, argv, &folders, work.vendored, work.jobs);
        watched.wrap(&mut command)?;
        let label = step.target.triple.to_string();
        let mut follower = Follower::new(self.shell, label, self.n_units(step));
        let ended =
            self.engine.run(image, &command, &mut |stream, line| follower.line(stream, line));
        let mut built = follower.finish(&work.ground.placement);
        if let Ok(()) | Err(EngineError::CommandFailed { .. }) = ended {
            self.engine.collect(image, &command, &made(&built))?;
            watched.end(step, &mut built)?;
        }
        match ended {
            Ok(()) => Ok(built),
            // Cargo's own status for a failed build. What did compile is delivered all the same.
            Err(error @ EngineError::CommandFailed { status: Status::Code(101), .. }) => {
                if built.n_errors + built.n_failed_scripts == 0 {
                    // Nobody has said why yet: cargo itself failed.
                    self.shell.failure(&error.into());
                }
                missing::report(step, &built.complaints, self.shell);
                Ok(built)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn compile(&self, step: &Step, image: &Image, work: Work<'_>) -> Result<Compiled, Failure> {
        self.shell.status(
            "Building",
            format_args!(
                "{} for {} in image `{}`",
                count(step.packages.len(), "plugin"),
                step.target.triple,
                step.image.name
            ),
        );
        let built = self.cargo(step, image, step.cargo(work.jobs.n_jobs()), work)?;
        let built = match watched::moved_of_any(&built, work.ground) {
            None => built,
            Some(file) => {
                self.shell.warn(format_args!(
                    "`{}` changed while plugins were built for {}; building them again",
                    file.shown(),
                    step.target.triple
                ));
                self.cargo(step, image, step.cargo(work.jobs.n_jobs()), work)?
            }
        };
        let tried = is_tried(self.trial, &step.target).filter(|_| !built.libraries.is_empty());
        let host = tried.map(|trial| self.host_in(step, image, work, trial)).transpose()?;
        Ok(Compiled { built, host })
    }

    fn deliver(
        &self,
        step: &Step,
        Compiled { built, host }: &Compiled,
        survey: &mut Survey<'_>,
    ) -> Result<Outcomes, Failure> {
        let mut outcomes = Vec::new();
        let dist = self.workspace.dist_dir();
        let judge = Judge::new(step, &self.workspace.recipes_dir())?;
        let mut delivery = Delivery::begin(&dist, &survey.index)?;
        let mut replaced = Vec::new();
        for wanted in &step.artifacts {
            let name = &wanted.plugin.name;
            let Some(library) = library(step, wanted, built) else {
                rivals::say(wanted, &survey.plugins, built, self.shell);
                outcomes.push((wanted.clone(), Outcome::NotCompiled));
                continue;
            };
            let Made { artifact, manifest, extra } =
                self.describe(step, wanted, (built, library), survey)?;
            let path = delivery.place(&artifact.bytes, &manifest)?;
            if let Err(rejection) = judge.admit(wanted, &path) {
                // By the place that it was built for; the folder of the delivery goes away.
                let path = self.workspace.shown(&dist.join(delivery.relative(&path)));
                let rejection = Rejection { path, ..rejection };
                self.shell.warn_lines(&rejection);
                judge.advice(wanted, &artifact, &rejection).say(name, self.shell);
                delivery.withdraw(&step.target.triple, name);
                outcomes.push((wanted.clone(), Outcome::Refused));
                continue;
            }
            // Without a stamp it is for the loader of another program, which ours can't stand for.
            let host = host.as_ref().filter(|_| manifest.abi.is_some());
            if let Some(host) = host
                && let Some(said) = self.try_out(host, step, wanted, &mut delivery)?
            {
                // The last good one stays, unless it is the one that is found to be none.
                let found = manifest.artifact.sha256;
                let old = survey.index.find(&step.target.triple, name);
                if let Some(old) = old.filter(|old| old.sha256 == found) {
                    delivery.remove(old);
                }
                outcomes.push((wanted.clone(), Outcome::Unusable(said)));
                continue;
            }
            let record = manifest.source.tree.map(|sources| Record {
                key: step.key,
                sources,
                extra,
                library: manifest.artifact.sha256,
                manifest: Digest::of(manifest.to_json()),
                head: survey.head().cloned(),
                commit: manifest.source.commit.clone(),
                dirty: manifest.source.dirty,
                run: host.is_some(),
                reproduced: false,
            });
            replaced.push((wanted.clone(), record, manifest));
        }
        publish(step, delivery, &replaced, survey)?;
        outcomes.extend(replaced.into_iter().filter_map(|(wanted, _, _)| {
            let entry = survey.index.find(&step.target.triple, &wanted.plugin.name)?.clone();
            Some((wanted, Outcome::Delivered(entry)))
        }));
        Ok(outcomes)
    }

    /// The folders of a step; created, and cargo's home written.
    fn folders(&self, step: &Step, work: Work<'_>) -> Result<Folders, CacheError> {
        let folders = self.folders_of(step, &work.ground.placement);
        for folder in [&folders.target, &folders.zig, &folders.cargo.join("vendor")] {
            fs::create_dir_all(folder).map_err(CacheError::io("create", folder))?;
        }
        crate::cache::write_atomically(
            &folders.cargo.join(vendor::CONFIG),
            work.vendored.config.as_bytes(),
        )?;
        Ok(folders)
    }

    fn folders_of(&self, step: &Step, placement: &crate::placement::Placement) -> Folders {
        let image = step.image.manifest.short();
        let triple = &step.target.triple;
        let state: PathBuf = self.workspace.state_dir();
        Folders {
            placement: placement.clone(),
            target: self
                .apart
                .map_or_else(|| state.join("build"), Path::to_owned)
                .join(format!("{image}-{triple}")),
            cargo: state.join("cargo").join(&image),
            zig: self.cache.root().join("zig").join(&image),
        }
    }
}

/// How the folders begin that an artifact is built again in.
const APART: &str = "again-";

/// Deletes what runs that were killed have left of such folders.
fn sweep(state: &Path) -> io::Result<()> {
    for entry in fs::read_dir(state)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(APART) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// The library that a cargo run made of a plugin.
fn library<'b>(step: &Step, wanted: &Wanted, built: &'b Built) -> Option<&'b Library> {
    built.libraries.get(step.package(&wanted.plugin.name)?)
}

/// What a cargo run made that is looked at afterwards, with the lists of what it was made from.
fn made(built: &Built) -> Vec<PathBuf> {
    let libraries = built.libraries.values().flat_map(|library| &library.files);
    let lists = libraries.clone().map(|file| file.with_extension("d"));
    let tests = built.tests.values().map(|tests| &tests.program);
    libraries.chain(built.programs.values()).chain(tests).cloned().chain(lists).collect()
}
