//! `test-plugins`: every delivered plugin, loaded, called and unloaded by a host program for its
//! target; and, if asked for, its unit tests there.

use keyway_manifest::Triple;
use serde::Serialize;

use crate::artifact;
use crate::build::{Build, count};
use crate::cache::Cache;
use crate::commands::build_plugins;
use crate::container::Image;
use crate::dist::Entry;
use crate::engine::{self, EngineChoice};
use crate::failure::{Exit, Failure};
use crate::image::Images;
use crate::plan::Step;
use crate::runner::{self, Outcome, unit};
use crate::shell::Shell;
use crate::survey::{Rebuild, Survey};
use crate::targets::{Runner, Target, TargetSet};
use crate::vendor::{self, Vendored};
use crate::workspace::Workspace;

/// The package and its program that use plugins.
const HOST: (&str, &str) = ("keyway-host", "keyway-host");

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
}

pub(crate) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let set = TargetSet::open(workspace.targets_file().as_deref())?;
    let _lock = build_plugins::lock(workspace, shell)?;
    let cache = Cache::open()?;
    let images = Images::open(workspace.recipes_dir(), cache.clone());
    let mut survey = Survey::take(workspace, &images, "release")?;
    let targets = build_plugins::delivered(&args.target, &set, &survey, "test")?;
    let mut tally = Tally::default();
    let (runnable, skipped): (Vec<&Target>, Vec<&Target>) =
        targets.into_iter().partition(|target| runner::obstacle(target).is_none());
    for target in skipped {
        skip(target, &mut tally, shell);
    }
    if !runnable.is_empty() {
        let plan = survey.plan(&runnable, &[], Rebuild::Stale)?;
        let engine = engine::select(args.engine, set.engines(), &cache, shell)?;
        let build = Build::new(workspace, &cache, &images, &*engine, None, shell);
        let vendored = vendor::vendor(workspace, survey.inputs.lock, &cache, shell)?;
        for step in &plan.steps {
            // Plugins are optimized as they are delivered; what is around them need not be, and without
            // debug information zig has what it links at hand.
            let mut step = Step { profile: "dev".to_owned(), ..step.clone() };
            step.env.insert("CARGO_PROFILE_DEV_DEBUG".to_owned(), "0".to_owned());
            let run = Run { build: &build, step: &step, vendored: &vendored, survey: &survey };
            let passed = run.load(&mut tally)?;
            if args.unit {
                run.unit_tests(&mut tally)?;
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
    fn load(&self, tally: &mut Tally) -> Result<Vec<(String, bool)>, Failure> {
        let Self { build, step, vendored, survey } = self;
        let target = &step.target.triple;
        let placement = &survey.inputs.placement;
        let program = build.program(step, HOST.0, HOST.1, vendored, placement)?;
        let (runner, image) = self.runner()?;
        let entries: Vec<&Entry> =
            survey.index.artifacts.iter().filter(|entry| entry.target == *target).collect();
        let dist = build.workspace.dist_dir();
        let outcomes =
            runner::run(build.engine, &image, &runner, &program, &dist, &entries, build.shell)?;
        let mut passed = Vec::new();
        for (entry, outcome) in entries.iter().zip(&outcomes) {
            report(target, &entry.plugin, What::Plugin(outcome), tally, build.shell);
            passed.push((entry.plugin.clone(), matches!(outcome, Outcome::Passed { .. })));
        }
        Ok(passed)
    }

    /// Runs the unit tests of every plugin of the workspace.
    fn unit_tests(&self, tally: &mut Tally) -> Result<(), Failure> {
        let Self { build, step, vendored, survey } = self;
        let placement = &survey.inputs.placement;
        let (programs, folders) = build.unit_tests(step, vendored, placement)?;
        let (runner, image) = self.runner()?;
        for plugin in &step.packages {
            let outcome = match programs.get(plugin) {
                None => unit::Outcome::NotCompiled,
                Some(tests) => {
                    let program = artifact::on_host(&tests.program, &folders);
                    let command = unit::command(&runner, tests, &program, placement);
                    unit::run(build.engine, &image, &command, build.shell)?
                }
            };
            report(&step.target.triple, plugin, What::Unit(&outcome), tally, build.shell);
        }
        Ok(())
    }

    /// What runs programs for the target, and its image.
    fn runner(&self) -> Result<(Runner, Image), Failure> {
        let Build { images, engine, shell, .. } = self.build;
        let runner = self.step.target.spec.runner.clone().unwrap_or_default();
        let image = runner.image.as_deref().unwrap_or(&self.step.image.name);
        let image = images.ensure(image, engine, shell)?;
        Ok((runner, image))
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
        What::Plugin(Outcome::Passed { calls }) => {
            let calls = n(*calls, "call");
            shell.status("Passed", format_args!("{plugin} for {target} ({calls})"));
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
            shell.warn(format_args!("`{plugin}` for {target} failed: {message}"));
        }
        What::Unit(unit::Outcome::Failed { message, output }) => {
            shell.passthrough(output);
            shell.warn(format_args!("unit tests of `{plugin}` for {target}: {message}"));
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
    let Tally { passed, failed, refused, skipped } = *tally;
    shell.event(&Event::Summary { passed, failed, refused, skipped });
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
