//! The peer of whole builds: the very cargo run that a step is, with nothing of this tool around it but the
//! root that it sees.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

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
use crate::workspace::{Purpose, Workspace};

/// What figures call it.
pub(super) const PEER: &str = "cargo by itself in the same root";

/// The cargo runs of some targets' steps, in the sandbox.
pub(super) struct Bare<'a> {
    engine: Box<dyn Engine + 'a>,
    steps: Vec<Prepared>,
    vendored: Vendored,
    placement: Placement,
    jobs: Jobs,
}

/// A step whose image is there.
struct Prepared {
    step: Step,
    image: Image,
    /// As warm as for a build.
    zig: PathBuf,
}

impl<'a> Bare<'a> {
    /// The steps for `targets`; those for the default ones if none is named.
    pub(super) fn new(
        workspace: &Workspace,
        targets: &[String],
        cache: &Cache,
        shell: &'a Shell,
    ) -> Result<Self, Failure> {
        let engine = engine::open(EngineName::Sandbox, cache, shell).map_err(EngineError::from)?;
        let images =
            Images::open(workspace.recipes_dir(), cache.clone()).with_workspace(workspace.root());
        let set = TargetSet::open(workspace.targets_file().as_deref())?;
        let mut survey = Survey::take(workspace, &images, "release")?;
        let plan = survey.plan(&set.select(targets)?, &[], Rebuild::All)?;
        if plan.steps.is_empty() {
            return Err(Failure::new(Exit::Usage, "this workspace has no plugin to build"));
        }
        let prepare = |step: Step| -> Result<_, Failure> {
            let image = images.ensure(&step.image.name, &&*engine, shell)?;
            engine.prepare(&image)?;
            let zig = cache.dir("zig")?.join(image.manifest.short());
            Ok(Prepared { step, image, zig })
        };
        let steps = plan.steps.into_iter().map(prepare).collect::<Result<_, _>>()?;
        let vendored = vendor::vendor(workspace, &survey.crates(Purpose::Plugins), cache, shell)?;
        let placement = survey.inputs.placement;
        let jobs = Jobs::alone(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
        Ok(Self { engine, steps, vendored, placement, jobs })
    }

    /// The images of the steps.
    pub(super) fn images(&self) -> impl Iterator<Item = &Image> {
        self.steps.iter().map(|prepared| &prepared.image)
    }

    /// Runs one after the other, each with a target folder of its own below `folder`.
    pub(super) fn time(&self, folder: &Path) -> Result<Duration, Failure> {
        self.steps.iter().map(|prepared| self.run(prepared, folder)).sum()
    }

    fn run(
        &self,
        Prepared { step, image, zig }: &Prepared,
        folder: &Path,
    ) -> Result<Duration, Failure> {
        let (target, cargo) =
            (folder.join("target").join(image.manifest.short()), folder.join("cargo"));
        for folder in [&target, zig, &cargo.join("vendor")] {
            fs::create_dir_all(folder).map_err(CacheError::io("create", folder))?;
        }
        write_atomically(&cargo.join(vendor::CONFIG), self.vendored.config.as_bytes())?;
        let (placement, zig) = (self.placement.clone(), zig.clone());
        let folders = Folders { placement, target, cargo, zig };
        let argv = step.cargo(self.jobs.n_jobs());
        let command = run::command(step, argv, &folders, &self.vendored, &self.jobs);
        let start = Instant::now();
        self.engine.run(image, &command, &mut |_, _| {})?;
        Ok(start.elapsed())
    }
}
