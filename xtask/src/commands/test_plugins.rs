//! `test-plugins`: every delivered plugin, loaded, called and unloaded by a host program for its
//! target.

use std::thread;

use keyway_manifest::Triple;
use serde::Serialize;

use crate::build::{Build, count};
use crate::cache::Cache;
use crate::commands::build_plugins;
use crate::dist::Entry;
use crate::engine::{self, EngineChoice};
use crate::failure::{Exit, Failure};
use crate::image::Images;
use crate::plan::Step;
use crate::runner::{self, Outcome};
use crate::shell::Shell;
use crate::survey::{Rebuild, Survey};
use crate::targets::{Target, TargetSet};
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
        passed: bool,
        #[serde(flatten)]
        outcome: &'a Outcome,
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

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    refused: usize,
    skipped: usize,
}

pub(crate) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let set = TargetSet::read(&workspace.root().join("targets.toml"))?;
    let _lock = build_plugins::lock(workspace, shell)?;
    let cache = Cache::open()?;
    let images = Images::open(workspace.recipes_dir(), cache.clone());
    let mut survey = Survey::take(workspace, &images, "release")?;
    let targets = delivered(args, &set, &survey)?;
    let mut tally = Tally::default();
    let (runnable, skipped): (Vec<&Target>, Vec<&Target>) =
        targets.into_iter().partition(|target| runner::obstacle(target).is_none());
    for target in skipped {
        skip(target, &mut tally, shell);
    }
    if !runnable.is_empty() {
        let plan = survey.plan(&runnable, &[], Rebuild::Stale)?;
        let engine = engine::select(args.engine, set.engines(), &cache, shell)?;
        let n_jobs = thread::available_parallelism().map_or(1, usize::from);
        let build =
            Build { workspace, cache: &cache, images: &images, engine: &*engine, n_jobs, shell };
        let vendored = vendor::vendor(workspace, survey.inputs.lock, &cache, shell)?;
        for step in &plan.steps {
            test(&build, step, &vendored, &survey, &mut tally)?;
        }
    }
    finish(args, &tally, shell)
}

/// The targets that were asked for, or all that something was delivered for.
fn delivered<'a>(
    args: &Args,
    set: &'a TargetSet,
    survey: &Survey<'_>,
) -> Result<Vec<&'a Target>, Failure> {
    let is_there =
        |triple: &Triple| survey.index.artifacts.iter().any(|entry| entry.target == *triple);
    let build = |what: String, hint: String| Failure::new(Exit::Usage, what).with_hint(hint);
    if args.target.is_empty() {
        let targets: Vec<_> = set.iter().filter(|target| is_there(&target.triple)).collect();
        if targets.is_empty() {
            let hint = "run `cargo xtask build-plugins` first".to_owned();
            return Err(build("there is nothing to test in `dist/`".to_owned(), hint));
        }
        return Ok(targets);
    }
    let targets = set.select(&args.target)?;
    match targets.iter().find(|target| !is_there(&target.triple)) {
        None => Ok(targets),
        Some(Target { triple, .. }) => Err(build(
            format!("there is nothing for {triple} in `dist/`"),
            format!("run `cargo xtask build-plugins --target {triple}` first"),
        )),
    }
}

fn test(
    build: &Build<'_>,
    step: &Step,
    vendored: &Vendored,
    survey: &Survey<'_>,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let Build { shell, engine, images, .. } = build;
    let target = &step.target.triple;
    // Plugins are optimized as they are delivered; the program around them need not be.
    let host = Step { profile: "dev".to_owned(), ..step.clone() };
    let program = build.program(&host, HOST.0, HOST.1, vendored)?;
    let runner = step.target.spec.runner.clone().unwrap_or_default();
    let image = runner.image.as_deref().unwrap_or(&step.image.name);
    let image = images.ensure(image, engine, shell)?;
    let entries: Vec<&Entry> =
        survey.index.artifacts.iter().filter(|entry| entry.target == *target).collect();
    let dist = build.workspace.dist_dir();
    let outcomes = runner::run(*engine, &image, &runner, &program, &dist, &entries, shell)?;
    for (entry, outcome) in entries.iter().zip(&outcomes) {
        report(target, &entry.plugin, outcome, tally, shell);
    }
    Ok(())
}

/// One line a plugin.
fn report(target: &Triple, plugin: &str, outcome: &Outcome, tally: &mut Tally, shell: &Shell) {
    let passed = matches!(outcome, Outcome::Passed { .. });
    shell.event(&Event::Run { target, plugin, passed, outcome });
    match outcome {
        Outcome::Passed { calls } => {
            tally.passed += 1;
            let calls = count(usize::try_from(*calls).unwrap_or(usize::MAX), "call");
            shell.status("Passed", format_args!("{plugin} for {target} ({calls})"));
        }
        Outcome::Refused { codes } => {
            tally.refused += 1;
            let codes = codes.join(", ");
            shell.warn(format_args!("`{plugin}` for {target} was refused: {codes}"));
        }
        Outcome::Failed { message } => {
            tally.failed += 1;
            shell.warn(format_args!("`{plugin}` for {target} failed: {message}"));
        }
    }
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
    let total = count(passed + failed + refused, "plugin");
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
