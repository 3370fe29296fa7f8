//! Loads plugins on their target: builds the host program there and has it use them; and builds their
//! unit tests.
//!
//! One mechanism for two callers. A build that was told to check tries what its gate has admitted
//! before anybody sees it in `dist/`; `test-plugins` tries what lies there.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Build, Work};
use crate::artifact;
use crate::container::Image;
use crate::dist::Delivery;
use crate::failure::{Exit, Failure};
use crate::jobs::Jobs;
use crate::package_id::PackageId;
use crate::plan::{Step, Wanted};
use crate::run::{Folders, Tests};
use crate::runner::{self, Host, Subject};
use crate::survey::Ground;
use crate::targets::Target;
use crate::vendor::Vendored;
use crate::workspace::HOST;

/// How plugins are tried.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// How long a host may take for one round with one plugin.
    pub limit: Duration,
}

impl Build<'_> {
    /// The host of a step's target, built with all jobs.
    ///
    /// # Errors
    /// If the environment fails or it does not compile.
    pub fn host(
        &self,
        step: &Step,
        vendored: &Vendored,
        ground: &Ground,
        trial: Trial,
    ) -> Result<Host, Failure> {
        let image = self.images.ensure(&step.image.name, &self.engine, self.shell)?;
        let jobs = Jobs::alone(self.n_jobs);
        self.host_in(step, &image, Work { vendored, jobs: &jobs, ground }, trial)
    }

    /// The same in the step's image, beside other runs.
    pub(super) fn host_in(
        &self,
        step: &Step,
        image: &Image,
        work: Work<'_>,
        trial: Trial,
    ) -> Result<Host, Failure> {
        let step = around(step);
        let (triple, name) = (&step.target.triple, HOST);
        let package = step.host.as_ref().ok_or_else(|| {
            let message = format!("no package of this workspace has the program `{name}`");
            Failure::new(Exit::Usage, message)
                .with_hint("give its `xtask` the dependency `keyway-xtask`, which brings it along")
        })?;
        let place = &step.image.name;
        self.shell.status("Building", format_args!("{name} for {triple} in image `{place}`"));
        let argv = step.cargo_program(package, name, work.jobs.n_jobs());
        let built = self.cargo(&step, image, argv, work)?;
        let Some(guest) = built.programs.get(package) else {
            let message = format!("`{name}` was not built for {triple}");
            return Err(
                Failure::new(Exit::Failed, message).with_hint("the compiler's errors are above")
            );
        };
        let runner = step.target.spec.runner.clone().unwrap_or_default();
        let image = self.images.ensure(runner_image(&step.target), &self.engine, self.shell)?;
        let program = artifact::on_host(guest, &self.folders_of(&step, &work.ground.placement));
        Ok(Host { runner, image, program, limit: trial.limit })
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
        ground: &Ground,
    ) -> Result<(BTreeMap<PackageId, Tests>, Folders), Failure> {
        let step = around(step);
        let (target, name) = (&step.target.triple, &step.image.name);
        let image = self.images.ensure(name, &self.engine, self.shell)?;
        self.shell.status("Building", format_args!("unit tests for {target} in image `{name}`"));
        let jobs = Jobs::alone(self.n_jobs);
        let work = Work { vendored, jobs: &jobs, ground };
        let built = self.cargo(&step, &image, step.cargo_tests(jobs.n_jobs()), work)?;
        Ok((built.tests, self.folders_of(&step, &ground.placement)))
    }

    /// Tries an artifact that a delivery of `step` holds; if it can't be used, takes it back and says why.
    pub(super) fn try_out(
        &self,
        host: &Host,
        step: &Step,
        wanted: &Wanted,
        delivery: &mut Delivery,
    ) -> Result<Option<runner::Outcome>, Failure> {
        let (triple, plugin) = (&step.target.triple, &wanted.plugin);
        let Some(entry) = delivery.find(triple, &plugin.name) else { return Ok(None) };
        let subject = Subject { entry, toolchain: step.toolchain.hash, plugin: Some(plugin) };
        let said = host.try_out(self.engine, delivery.path(), subject, self.shell)?;
        if matches!(said, runner::Outcome::Passed { .. }) {
            self.shell.status("Passed", format_args!("{} for {triple} ({said})", plugin.name));
            return Ok(None);
        }
        delivery.withdraw(triple, &plugin.name);
        Ok(Some(said))
    }
}

/// The step for what is around plugins. They are optimized as they are delivered; this need not be, and
/// without debug information zig has what it links at hand.
fn around(step: &Step) -> Step {
    let mut step = Step { profile: "dev".to_owned(), ..step.clone() };
    step.env.insert("CARGO_PROFILE_DEV_DEBUG".to_owned(), "0".to_owned());
    step
}

/// The name of the image that programs for a target are run in.
pub(super) fn runner_image(target: &Target) -> &str {
    let runner = target.spec.runner.as_ref();
    runner.and_then(|runner| runner.image.as_deref()).unwrap_or(&target.spec.image)
}

/// The trial, if programs for the target run here.
pub(super) fn is_tried(trial: Option<Trial>, target: &Target) -> Option<Trial> {
    trial.filter(|_| runner::obstacle(target).is_none())
}
