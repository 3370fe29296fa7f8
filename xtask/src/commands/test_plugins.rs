//! `test-plugins`: every delivered plugin, loaded, called and unloaded by a host program for its
//! target; and, if asked for, its unit tests there.

use std::num::NonZeroU64;
use std::time::Duration;

use keyway_manifest::Triple;
use serde::Serialize;

use crate::artifact;
use crate::build::Build;
use crate::build::trial::Trial;
use crate::cache::Cache;
use crate::commands::build_plugins;
use crate::engine::{self, EngineChoice};
use crate::failure::{Exit, Failure};
use crate::image::Images;
use crate::plan::Step;
use crate::runner::{self, Host, Outcome, Subject, unit};
use crate::shell::{Shell, count};
use crate::survey::{Rebuild, Survey};
use crate::targets::{Target, TargetSet};
use crate::vendor::{self, Vendored};
use crate::workspace::{Purpose, Workspace};

/// Loads what is in `dist/`, calls it and unloads it, for each target on its runner.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Test what was built for this target only; may be given several times
    #[arg(long, value_name = "TRIPLE")]
    target: Vec<String>,
    /// Run the plugins' own unit tests there too
    #[arg(long)]
    unit: bool,
    /// What runs the images
    #[arg(long, value_enum, env = "KEYWAY_ENGINE", default_value_t = EngineChoice::Auto)]
    engine: EngineChoice,
    #[command(flatten)]
    trial: TrialArgs,
}

/// How plugins are tried.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct TrialArgs {
    /// Seconds that a host may take for one of its two rounds with a plugin
    #[arg(long, value_name = "SECONDS", default_value = "120")]
    time_limit: NonZeroU64,
}

impl TrialArgs {
    pub(crate) fn trial(self) -> Trial {
        Trial { limit: Duration::from_secs(self.time_limit.get()) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    Run {
        target: &'a Triple,
        plugin: &'a str,
        /// Whether it is the plugin's unit tests that ran.
        unit: bool,
        passed: bool,
        #[serde(flatten)]
        outcome: What<'a>,
    },
    Skipped {
        target: &'a Triple,
        reason: &'a str,
    },
    Summary {
        passed: usize,
        failed: usize,
        refused: usize,
        skipped: usize,
        targets: usize,
    },
}

/// What ran, and what came of it.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
enum What<'a> {
    Plugin(&'a Outcome),
    Unit(&'a unit::Outcome),
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    refused: usize,
    skipped: usize,
    targets: usize,
}

pub(crate) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let set = TargetSet::open(workspace.targets_file().as_deref())?;
    let _lock = build_plugins::lock(workspace, shell)?;
    let cache = Cache::open()?;
    let images =
        Images::open(workspace.recipes_dir(), cache.clone()).with_workspace(workspace.root());
    let mut survey = Survey::take(workspace, &images, "release")?;
    let targets = build_plugins::delivered(&args.target, &set, &survey, "test")?;
    let mut tally = Tally { targets: targets.len(), ..Tally::default() };
    let (runnable, skipped): (Vec<&Target>, Vec<&Target>) =
        targets.into_iter().partition(|target| runner::obstacle(target).is_none());
    for target in skipped {
        skip(target, &mut tally, shell);
    }
    if !runnable.is_empty() {
        let plan = survey.plan(&runnable, &[], Rebuild::Stale)?;
        let engine = engine::select(args.engine, set.engines(), &cache, shell)?;
        let build = Build::new(workspace, &cache, &images, &*engine, None, shell);
        let purpose = if args.unit { Purpose::Tests } else { Purpose::Trial };
        let vendored = vendor::vendor(workspace, &survey.crates(purpose), &cache, shell)?;
        let n_steps = plan.steps.len();
        let progress = shell.steps(n_steps);
        for step in &plan.steps {
            progress.begin("Testing", &step.target.triple);
            let run = Run { build: &build, step, vendored: &vendored, survey: &survey };
            let host = build.host(step, &vendored, &survey.ground(), args.trial.trial())?;
            let passed = run.load(&host, &mut tally)?;
            if args.unit {
                run.unit_tests(&host, &mut tally)?;
            }
            for (plugin, passed) in &passed {
                survey.records.set_run(&step.target.triple, plugin, *passed);
            }
            survey.records.save()?;
        }
    }
    finish(args, &tally, shell)
}

/// The tests of one target.
struct Run<'a> {
    build: &'a Build<'a>,
    step: &'a Step,
    vendored: &'a Vendored,
    survey: &'a Survey<'a>,
}

impl Run<'_> {
    /// Loads, calls and unloads every plugin that was delivered; of each, whether it passed.
    fn load(&self, host: &Host, tally: &mut Tally) -> Result<Vec<(String, bool)>, Failure> {
        let Self { build, step, survey, .. } = self;
        let (target, toolchain) = (&step.target.triple, step.toolchain.hash);
        let dist = build.workspace.dist_dir();
        let mut passed = Vec::new();
        for entry in survey.index.artifacts.iter().filter(|entry| entry.target == *target) {
            let plugin = survey.plugins.plugins.iter().find(|plugin| plugin.name == entry.plugin);
            let subject = Subject { entry, toolchain, plugin };
            let outcome = host.try_out(build.engine, &dist, subject, build.shell)?;
            report(target, &entry.plugin, What::Plugin(&outcome), tally, build.shell);
            passed.push((entry.plugin.clone(), matches!(outcome, Outcome::Passed { .. })));
        }
        Ok(passed)
    }

    /// Runs the unit tests of every plugin of the workspace.
    fn unit_tests(&self, host: &Host, tally: &mut Tally) -> Result<(), Failure> {
        let Self { build, step, vendored, survey } = self;
        let placement = &survey.inputs.placement;
        let ground = survey.ground();
        let (programs, folders) = build.unit_tests(step, vendored, &ground)?;
        for package in &step.packages {
            let outcome = match programs.get(package) {
                None => unit::Outcome::NotCompiled,
                Some(tests) => {
                    let program = artifact::on_host(&tests.program, &folders);
                    let hidden = survey.hidden();
                    let command = unit::command(&host.runner, tests, &program, placement, &hidden);
                    unit::run(build.engine, &host.image, &command, build.shell)?
                }
            };
            report(&step.target.triple, package.name(), What::Unit(&outcome), tally, build.shell);
        }
        Ok(())
    }
}

/// One line a plugin.
fn report(target: &Triple, plugin: &str, what: What<'_>, tally: &mut Tally, shell: &Shell) {
    let passed = matches!(
        what,
        What::Plugin(Outcome::Passed { .. }) | What::Unit(unit::Outcome::Passed { .. })
    );
    let is_unit = matches!(what, What::Unit(_));
    shell.event(&Event::Run { target, plugin, unit: is_unit, passed, outcome: what });
    let n = |n: u64, noun| count(usize::try_from(n).unwrap_or(usize::MAX), noun);
    match what {
        What::Plugin(outcome @ Outcome::Passed { .. }) => {
            shell.status("Passed", format_args!("{plugin} for {target} ({outcome})"));
        }
        What::Unit(unit::Outcome::Passed { tests, .. }) => {
            let tests = n(*tests, "unit test");
            shell.status("Passed", format_args!("{plugin} for {target} ({tests})"));
        }
        What::Plugin(Outcome::Refused { codes }) => {
            tally.refused += 1;
            let codes = codes.join(", ");
            shell.warn(format_args!("`{plugin}` for {target} was refused: {codes}"));
            return;
        }
        What::Plugin(Outcome::Failed { message }) => {
            shell.warn_lines(format_args!("`{plugin}` for {target} failed: {message}"));
        }
        What::Unit(unit::Outcome::Failed { message, output }) => {
            shell.passthrough(output);
            shell.warn_lines(format_args!("unit tests of `{plugin}` for {target}: {message}"));
        }
        What::Unit(unit::Outcome::NotCompiled) => {
            shell.warn(format_args!("unit tests of `{plugin}` for {target} were not compiled"));
        }
    }
    tally.passed += usize::from(passed);
    tally.failed += usize::from(!passed);
}

fn skip(target: &Target, tally: &mut Tally, shell: &Shell) {
    tally.skipped += 1;
    let target_triple = &target.triple;
    let reason = runner::obstacle(target).unwrap_or_default();
    shell.event(&Event::Skipped { target: target_triple, reason: &reason });
    shell.status("Checked", format_args!("{target_triple}, not run: {reason}"));
}

fn finish(args: &Args, tally: &Tally, shell: &Shell) -> Result<(), Failure> {
    let Tally { passed, failed, refused, skipped, targets } = *tally;
    let done = [
        Some(format!("{passed} passed")),
        (failed > 0).then(|| format!("{failed} failed")),
        (refused > 0).then(|| format!("{refused} refused")),
        (skipped > 0).then(|| format!("{} not run", count(skipped, "target"))),
    ];
    let done: Vec<String> = done.into_iter().flatten().collect();
    let done = format!("{} for {}", done.join(", "), count(targets, "target"));
    shell.finish(done, &Event::Summary { passed, failed, refused, skipped, targets });
    let total = count(passed + failed + refused, if args.unit { "run" } else { "plugin" });
    if refused > 0 {
        return Err(Failure::new(Exit::Refused, format!("{refused} of {total} were refused"))
            .with_hint("`cargo xtask explain CODE` says more about a code"));
    }
    if failed > 0 {
        return Err(Failure::new(Exit::Failed, format!("{failed} of {total} failed")));
    }
    if skipped > 0 && !args.target.is_empty() {
        let message = format!("{} can't be tested here", count(skipped, "target"));
        return Err(Failure::new(Exit::Environment, message));
    }
    Ok(())
}
