//! Carries a plan out: images, cargo runs, manifests, the gate, the delivery.
//!
//! Each step is delivered as soon as it is done, so what a killed run had finished is kept. A plugin
//! that does not compile does not hold the others back.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use keyway_manifest::{Digest, Manifest};

use crate::artifact::{self, Artifact};
use crate::cache::{Cache, CacheError};
use crate::container::Image;
use crate::describe;
use crate::dist::{Delivery, Entry};
use crate::engine::{self, Engine, EngineError, Status};
use crate::failure::{Exit, Failure};
use crate::image::{Assembly, Images};
use crate::jobs::{Jobs, Reach};
use crate::placement::Placement;
use crate::plan::{Plan, Record, Step, Wanted};
use crate::run::{self, Built, Folders, Follower, Library, Tests};
use crate::shell::Shell;
use crate::survey::Survey;
use crate::vendor::{self, Vendored};
use crate::verdict;
use crate::workspace::{Dependencies, Workspace};

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
    /// Where folders of this machine are seen inside.
    pub placement: &'a Placement,
}

/// What came of one artifact.
#[derive(Debug)]
pub enum Outcome {
    /// It was delivered.
    Delivered(Entry),
    /// Its crate did not compile; cargo has said why.
    NotCompiled,
    /// It was built and the gate refused it; the refusals were printed.
    Refused,
}

/// What came of each artifact of a step that had to be built.
pub type Outcomes = Vec<(Wanted, Outcome)>;

/// What was made when an artifact was built again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated {
    /// Digest of the library.
    pub library: Digest,
    /// Digest of the manifest.
    pub manifest: Digest,
}

/// An artifact as cargo made it.
struct Made {
    artifact: Artifact,
    manifest: Manifest,
    /// The files that it was made from beyond its plugin's folders.
    extra: Vec<PathBuf>,
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
        Self { workspace, cache, images, engine, n_jobs, shell, apart: None }
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
        let stale: Vec<&Step> = plan.steps.iter().filter(|step| !step.is_fresh()).collect();
        let (lock, placement) = (survey.inputs.lock, survey.inputs.placement.clone());
        self.compile_all(&stale, lock, &placement, |step, built| {
            let outcomes = self.deliver(step, &built, survey)?;
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
        let build = Build { apart: Some(apart.path()), ..*self };
        let steps: Vec<&Step> = plan.steps.iter().collect();
        let (lock, placement) = (survey.inputs.lock, survey.inputs.placement.clone());
        build.compile_all(&steps, lock, &placement, |step, built| {
            let mut all = Vec::new();
            for wanted in &step.artifacts {
                let library = built.libraries.get(&wanted.plugin.name);
                let repeated = library.map(|library| -> Result<_, Failure> {
                    let made = build.describe(step, wanted, library, survey)?;
                    let library = Digest::of(&made.artifact.bytes);
                    Ok(Repeated { library, manifest: Digest::of(made.manifest.to_json()) })
                });
                all.push((wanted, repeated.transpose()?));
            }
            found(step, all)
        })
    }

    /// Compiles `steps` and hands each over when it is done.
    fn compile_all(
        &self,
        steps: &[&Step],
        lock: Digest,
        placement: &Placement,
        hand_over: impl FnMut(&Step, Built) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let vendored = vendor::vendor(self.workspace, lock, self.cache, self.shell)?;
        let images: Vec<String> = steps.iter().map(|step| step.image.name.clone()).collect();
        let assembly = self.images.prepare(&images, &self.engine, self.shell)?;
        let jobs = self.jobs(steps.len())?;
        let work = Work { vendored: &vendored, jobs: &jobs, placement };
        self.side_by_side(steps, &assembly, work, hand_over)
    }

    /// Completes the images of `steps` and compiles the steps in them, as many at once as there are
    /// lanes, and hands each over when it is done. After a failure no other one is begun.
    fn side_by_side(
        &self,
        steps: &[&Step],
        assembly: &Assembly<'_>,
        work: Work<'_>,
        mut hand_over: impl FnMut(&Step, Built) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let next = AtomicUsize::new(0);
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..work.jobs.n_lanes() {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    while let Some(step) = steps.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let image = assembly.complete(&step.image.name).map_err(Failure::from);
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
        let command = run::command(step, argv, &folders, work.vendored, work.jobs);
        let label = step.target.triple.to_string();
        let mut follower = Follower::new(self.shell, label, self.n_units(step));
        let ended =
            self.engine.run(image, &command, &mut |stream, line| follower.line(stream, line));
        let built = follower.finish();
        if let Ok(()) | Err(EngineError::CommandFailed { .. }) = ended {
            self.engine.collect(image, &command, &made(&built))?;
        }
        match ended {
            Ok(()) => Ok(built),
            // Cargo's own status for a failed build. What did compile is delivered all the same.
            Err(error @ EngineError::CommandFailed { status: Status::Code(101), .. }) => {
                if built.n_errors == 0 {
                    // No compiler has said why: a build script failed, or cargo itself.
                    self.shell.failure(&error.into());
                }
                Ok(built)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Builds a program of the workspace for a step's target; returns where it lies.
    ///
    /// # Errors
    /// If the environment fails or it does not compile.
    pub fn program(
        &self,
        step: &Step,
        package: &str,
        program: &str,
        vendored: &Vendored,
        placement: &Placement,
    ) -> Result<PathBuf, Failure> {
        let argv = |n_jobs| step.cargo_program(package, program, n_jobs);
        let built = self.alone(step, program, argv, vendored, placement)?;
        let Some(guest) = built.programs.get(package) else {
            let message = format!("`{program}` was not built for {}", step.target.triple);
            return Err(
                Failure::new(Exit::Failed, message).with_hint("the compiler's errors are above")
            );
        };
        Ok(artifact::on_host(guest, &self.folders_of(step, placement)))
    }

    /// Builds the unit tests of a step's plugins for its target; by package, those that compiled, with
    /// the folders of the step.
    ///
    /// # Errors
    /// If the environment fails.
    pub fn unit_tests(
        &self,
        step: &Step,
        vendored: &Vendored,
        placement: &Placement,
    ) -> Result<(BTreeMap<String, Tests>, Folders), Failure> {
        let argv = |n_jobs| step.cargo_tests(n_jobs);
        let built = self.alone(step, "unit tests", argv, vendored, placement)?;
        Ok((built.tests, self.folders_of(step, placement)))
    }

    /// One cargo run with all jobs, for something beside the plugins.
    fn alone(
        &self,
        step: &Step,
        what: &str,
        argv: impl FnOnce(Option<usize>) -> Vec<String>,
        vendored: &Vendored,
        placement: &Placement,
    ) -> Result<Built, Failure> {
        let (target, name) = (&step.target.triple, &step.image.name);
        let image = self.images.ensure(name, &self.engine, self.shell)?;
        self.shell.status("Building", format_args!("{what} for {target} in image `{name}`"));
        let jobs = Jobs::alone(self.n_jobs);
        let work = Work { vendored, jobs: &jobs, placement };
        self.cargo(step, &image, argv(jobs.n_jobs()), work)
    }

    fn compile(&self, step: &Step, image: &Image, work: Work<'_>) -> Result<Built, Failure> {
        self.shell.status(
            "Building",
            format_args!(
                "{} for {} in image `{}`",
                count(step.packages.len(), "plugin"),
                step.target.triple,
                step.image.name
            ),
        );
        self.cargo(step, image, step.cargo(work.jobs.n_jobs()), work)
    }

    fn deliver(
        &self,
        step: &Step,
        built: &Built,
        survey: &mut Survey<'_>,
    ) -> Result<Outcomes, Failure> {
        let mut outcomes = Vec::new();
        let mut delivery = Delivery::begin(&self.workspace.dist_dir())?;
        let mut replaced = Vec::new();
        for wanted in &step.artifacts {
            let name = &wanted.plugin.name;
            let Some(library) = built.libraries.get(name) else {
                outcomes.push((wanted.clone(), Outcome::NotCompiled));
                continue;
            };
            let Made { artifact, manifest, extra } =
                self.describe(step, wanted, library, survey)?;
            let sources = manifest.source.tree;
            let path = delivery.place(&artifact.bytes, &manifest)?;
            if let Err(rejection) = verdict::of_build(step, wanted, &path) {
                self.shell.warn(&rejection);
                for line in verdict::culprits(step, wanted, &artifact) {
                    self.shell.warn(&line);
                }
                delivery.withdraw(&step.target.triple, name);
                outcomes.push((wanted.clone(), Outcome::Refused));
                continue;
            }
            let record = Record {
                key: step.key,
                sources,
                extra,
                library: manifest.artifact.sha256,
                manifest: Digest::of(manifest.to_json()),
                run: false,
                reproduced: false,
            };
            replaced.push((wanted.clone(), record, manifest));
        }
        self.publish(step, delivery, &replaced, survey)?;
        outcomes.extend(replaced.into_iter().filter_map(|(wanted, _, _)| {
            let entry = survey.index.find(&step.target.triple, &wanted.plugin.name)?.clone();
            Some((wanted, Outcome::Delivered(entry)))
        }));
        Ok(outcomes)
    }

    /// Reads a library that cargo made and says what it is.
    fn describe(
        &self,
        step: &Step,
        wanted: &Wanted,
        library: &Library,
        survey: &mut Survey<'_>,
    ) -> Result<Made, Failure> {
        let folders = self.folders_of(step, &survey.inputs.placement);
        let artifact = Artifact::read(&wanted.plugin.name, library, &folders)?;
        let extra = beyond(wanted, &artifact);
        let source = survey.source(&wanted.plugin, &extra)?;
        let manifest = describe::manifest(step, wanted, &artifact, source)?;
        Ok(Made { artifact, manifest, extra })
    }

    fn publish(
        &self,
        step: &Step,
        mut delivery: Delivery,
        replaced: &[(Wanted, Record, Manifest)],
        survey: &mut Survey<'_>,
    ) -> Result<(), Failure> {
        let is_new = |entry: &Entry| {
            entry.target == step.target.triple
                && replaced.iter().any(|(wanted, _, _)| wanted.plugin.name == entry.plugin)
        };
        let exists = |entry: &Entry| survey.plugins.plugins.iter().any(|p| p.name == entry.plugin);
        for entry in survey.index.artifacts.iter().filter(|e| !is_new(e) && exists(e)) {
            delivery.keep(entry)?;
        }
        survey.index = delivery.publish()?;
        for (wanted, record, _) in replaced {
            survey.records.set(&step.target.triple, &wanted.plugin.name, record.clone());
        }
        survey.records.save()?;
        Ok(())
    }

    /// The folders of a step; created, and cargo's home written.
    fn folders(&self, step: &Step, work: Work<'_>) -> Result<Folders, CacheError> {
        let folders = self.folders_of(step, work.placement);
        for folder in [&folders.target, &folders.zig, &folders.cargo.join("vendor")] {
            fs::create_dir_all(folder).map_err(CacheError::io("create", folder))?;
        }
        crate::cache::write_atomically(
            &folders.cargo.join(vendor::CONFIG),
            work.vendored.config.as_bytes(),
        )?;
        Ok(folders)
    }

    fn folders_of(&self, step: &Step, placement: &Placement) -> Folders {
        let image = step.image.manifest.short();
        let state: PathBuf = self.workspace.state_dir();
        Folders {
            placement: placement.clone(),
            target: self.apart.map_or_else(|| state.join("build"), Path::to_owned).join(&image),
            cargo: state.join("cargo").join(&image),
            zig: self.cache.root().join("zig").join(&image),
        }
    }

    /// About how many compilations a step takes: what its progress bar counts to.
    fn n_units(&self, step: &Step) -> u64 {
        if !self.shell.has_bars() {
            return 0;
        }
        // Without an answer the bar grows as compilations come; it is no reason to fail.
        let Ok(metadata) = self.workspace.metadata(Some(step.target.triple.as_str())) else {
            return 0;
        };
        let dependencies = Dependencies::new(&metadata);
        let plugins = metadata.packages.iter().filter(|p| step.packages.contains(&*p.name));
        let mut closure: Vec<_> =
            plugins.flat_map(|plugin| dependencies.closure(&plugin.id)).collect();
        closure.sort_by_key(|package| &package.id);
        closure.dedup_by_key(|package| &package.id);
        // A build script is compiled and run, besides the library.
        let units = closure.iter().map(|package| {
            1 + 2 * package.targets.iter().filter(|target| target.is_custom_build()).count()
        });
        units.sum::<usize>() as u64
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

/// What a cargo run made that is looked at afterwards, with the lists of what it was made from.
fn made(built: &Built) -> Vec<PathBuf> {
    let libraries = built.libraries.values().flat_map(|library| &library.files);
    let lists = libraries.clone().map(|file| file.with_extension("d"));
    let tests = built.tests.values().map(|tests| &tests.program);
    libraries.chain(built.programs.values()).chain(tests).cloned().chain(lists).collect()
}

/// The files that an artifact was made from beyond its plugin's folders and what is hashed anyway.
fn beyond(wanted: &Wanted, artifact: &Artifact) -> Vec<PathBuf> {
    let inside = |file: &&PathBuf| wanted.plugin.folders.iter().any(|dir| file.starts_with(dir));
    artifact.sources.iter().filter(|file| !inside(file)).cloned().collect()
}

/// `1 plugin`, `3 plugins`.
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
