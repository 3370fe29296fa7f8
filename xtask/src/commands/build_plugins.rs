//! `build-plugins`: plan, images, build, stamp, gate, `dist/`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use keyway_manifest::{Digest, Triple};
use serde::Serialize;

use crate::build::{Build, Outcome, Outcomes, count};
use crate::cache::{Cache, Lock};
use crate::configuration::Note;
use crate::dist::{Delivery, Entry};
use crate::engine::{self, EngineChoice};
use crate::failure::{Exit, Failure};
use crate::image::Images;
use crate::image::recipe::Reference;
use crate::image::registry::repository;
use crate::plan::{Freshness, LeftOut, Plan, Step};
use crate::shell::Shell;
use crate::survey::{Rebuild, Survey};
use crate::targets::{Target, TargetSet};
use crate::workspace::Workspace;

/// Builds every plugin for every target, inside pinned images, into `dist/`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Build this plugin only; may be given several times
    #[arg(long, value_name = "PLUGIN")]
    plugin: Vec<String>,
    /// Build for this target only, or for `all`; may be given several times
    #[arg(long, value_name = "TRIPLE")]
    target: Vec<String>,
    #[command(flatten)]
    how: How,
    /// Where layers of images were pushed to, asked before any is assembled
    #[arg(long, env = "KEYWAY_REGISTRY", value_name = "REGISTRY/NAME", value_parser = repository)]
    registry: Option<Reference>,
    /// Build again what is fresh
    #[arg(long)]
    force: bool,
    /// Show the plan and stop
    #[arg(long)]
    dry_run: bool,
}

/// How plugins are built.
#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// What runs the images
    #[arg(long, value_enum, env = "KEYWAY_ENGINE", default_value_t = EngineChoice::Auto)]
    pub(crate) engine: EngineChoice,
    /// Cargo profile to build with
    #[arg(long, value_name = "PROFILE", default_value = "release")]
    pub(crate) profile: String,
    /// Compilations at once; the number of processors unless given
    #[arg(long, short, value_name = "N")]
    pub(crate) jobs: Option<std::num::NonZeroUsize>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    Note(&'a Note),
    LeftOut(&'a LeftOut),
    Step(&'a Step),
    Artifact {
        target: &'a Triple,
        plugin: &'a str,
        library: String,
        manifest: String,
        sha256: Digest,
        fresh: bool,
    },
    Failed {
        target: &'a Triple,
        plugin: &'a str,
        reason: &'static str,
    },
    Summary {
        built: usize,
        fresh: usize,
        failed: usize,
        refused: usize,
        dry_run: bool,
    },
}

#[derive(Default)]
struct Tally {
    /// The folder of artifacts as messages name it.
    dist: PathBuf,
    built: usize,
    fresh: usize,
    failed: usize,
    refused: usize,
}

pub(crate) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let set = TargetSet::open(workspace.targets_file().as_deref())?;
    let targets = set.select(&args.target)?;
    let _lock = lock(workspace, shell)?;
    let rebuild = if args.force { Rebuild::All } else { Rebuild::Stale };
    let cache = Cache::open()?;
    let images =
        Images::open(workspace.recipes_dir(), cache.clone()).with_registry(args.registry.clone());
    let mut survey = Survey::take(workspace, &images, &args.how.profile)?;
    let plan = survey.plan(&targets, &args.plugin, rebuild)?;
    if args.dry_run {
        show(&plan, shell);
        return Ok(());
    }
    let dist = workspace.dist_dir();
    let dist = dist.strip_prefix(workspace.root()).unwrap_or(&dist).to_owned();
    let mut tally = Tally { dist, ..Tally::default() };
    for left @ LeftOut { target, plugin, reason } in &plan.left_out {
        shell.event(&Event::LeftOut(left));
        shell.status("Left out", format_args!("{plugin} for {target}: {reason}"));
    }
    report_fresh(&plan, &survey, &mut tally, shell);
    if plan.steps.iter().any(|step| !step.is_fresh()) {
        let engine = engine::select(args.how.engine, set.engines(), &cache, shell)?;
        for note in &plan.notes {
            shell.status("Note", note);
        }
        let build = Build::new(workspace, &cache, &images, &*engine, args.how.jobs, shell);
        build.carry_out(&plan, &mut survey, |step, outcomes| {
            report(step, outcomes, &mut tally, shell);
        })?;
    }
    drop_obsolete(workspace, &mut survey, shell)?;
    finish(&tally, shell)
}

/// One run at a time in a workspace.
pub(crate) fn lock(workspace: &Workspace, shell: &Shell) -> Result<Lock, Failure> {
    let dir = workspace.state_dir();
    std::fs::create_dir_all(&dir).map_err(crate::cache::CacheError::io("create", &dir))?;
    let lock = Lock::take(&dir.join("run.lock"), shell)?;
    Delivery::sweep(&workspace.dist_dir());
    Ok(lock)
}

/// The targets that were asked for, or all that something was delivered for: those that one can `verb`.
pub(crate) fn delivered<'a>(
    asked: &[String],
    set: &'a TargetSet,
    survey: &Survey<'_>,
    verb: &str,
) -> Result<Vec<&'a Target>, Failure> {
    let is_there =
        |triple: &Triple| survey.index.artifacts.iter().any(|entry| entry.target == *triple);
    let build = |what: String, hint: String| Failure::new(Exit::Usage, what).with_hint(hint);
    if asked.is_empty() {
        let targets: Vec<_> = set.iter().filter(|target| is_there(&target.triple)).collect();
        if targets.is_empty() {
            let hint = "run `cargo xtask build-plugins` first".to_owned();
            return Err(build(format!("there is nothing to {verb} in `dist/`"), hint));
        }
        return Ok(targets);
    }
    let targets = set.select(asked)?;
    match targets.iter().find(|target| !is_there(&target.triple)) {
        None => Ok(targets),
        Some(Target { triple, .. }) => Err(build(
            format!("there is nothing for {triple} in `dist/`"),
            format!("run `cargo xtask build-plugins --target {triple}` first"),
        )),
    }
}

fn show(plan: &Plan, shell: &Shell) {
    for note in &plan.notes {
        shell.event(&Event::Note(note));
        shell.data(format_args!("note: {note}"));
    }
    for left @ LeftOut { target, plugin, reason } in &plan.left_out {
        shell.event(&Event::LeftOut(left));
        shell.data(format_args!("left out: {plugin} for {target}: {reason}"));
    }
    for step in &plan.steps {
        shell.event(&Event::Step(step));
        shell.data(format_args!(
            "{} in image `{}` ({})",
            step.target.triple,
            step.image.name,
            step.image.manifest.short()
        ));
        for wanted in &step.artifacts {
            let what = match wanted.state {
                Freshness::Fresh => "fresh".to_owned(),
                Freshness::Stale(reason) => format!("build: {}", reason.as_str()),
            };
            shell.data(format_args!("  {:20} {what}", wanted.plugin.name));
        }
        if shell.verbosity() > crate::shell::Verbosity::Normal {
            shell.data(format_args!("  $ {}", step.cargo(Some(1)).join(" ")));
            for (name, value) in &step.env {
                shell.data(format_args!("    {name}={value}"));
            }
        }
    }
    let artifacts = || plan.steps.iter().flat_map(|step| &step.artifacts);
    let fresh = artifacts().filter(|wanted| wanted.state == Freshness::Fresh).count();
    let built = artifacts().count() - fresh;
    shell.event(&Event::Summary { built, fresh, failed: 0, refused: 0, dry_run: true });
}

fn report_fresh(plan: &Plan, survey: &Survey<'_>, tally: &mut Tally, shell: &Shell) {
    for step in plan.steps.iter() {
        for wanted in step.artifacts.iter().filter(|w| w.state == Freshness::Fresh) {
            if let Some(entry) = survey.index.find(&step.target.triple, &wanted.plugin.name) {
                tally.fresh += 1;
                line(entry, "Fresh", &tally.dist, shell);
            }
        }
    }
}

fn report(step: &Step, outcomes: &Outcomes, tally: &mut Tally, shell: &Shell) {
    for (wanted, outcome) in outcomes {
        let failed = |reason| Event::Failed {
            target: &step.target.triple,
            plugin: &wanted.plugin.name,
            reason,
        };
        match outcome {
            // Delivered again with the rest of its step, yet nothing of it had changed.
            Outcome::Delivered(_) if wanted.state == Freshness::Fresh => {}
            Outcome::Delivered(entry) => {
                tally.built += 1;
                line(entry, "Built", &tally.dist, shell);
            }
            Outcome::NotCompiled => {
                tally.failed += 1;
                shell.event(&failed("not-compiled"));
                shell.warn(format_args!(
                    "`{}` was not built for {}",
                    wanted.plugin.name, step.target.triple
                ));
            }
            Outcome::Refused => {
                tally.refused += 1;
                shell.event(&failed("refused"));
            }
        }
    }
}

/// One line an artifact.
fn line(entry: &Entry, verb: &str, dist: &Path, shell: &Shell) {
    let path = |relative: &str| dist.join(relative).display().to_string();
    shell.status(verb, format_args!("{} ({})", path(&entry.library), entry.sha256.short()));
    shell.event(&Event::Artifact {
        target: &entry.target,
        plugin: &entry.plugin,
        library: path(&entry.library),
        manifest: path(&entry.manifest),
        sha256: entry.sha256,
        fresh: verb == "Fresh",
    });
}

/// What the workspace no longer builds leaves `dist/` too.
fn drop_obsolete(
    workspace: &Workspace,
    survey: &mut Survey<'_>,
    shell: &Shell,
) -> Result<(), Failure> {
    let artifacts = survey.index.artifacts.iter();
    let obsolete = artifacts.filter(|entry| survey.is_obsolete(entry)).map(|e| e.plugin.clone());
    let obsolete: BTreeSet<String> = obsolete.collect();
    if obsolete.is_empty() {
        return Ok(());
    }
    let mut delivery = Delivery::begin(&workspace.dist_dir())?;
    for entry in survey.index.artifacts.iter().filter(|entry| !survey.is_obsolete(entry)) {
        delivery.keep(entry)?;
    }
    survey.index = delivery.publish()?;
    shell.status(
        "Removed",
        format_args!("{} from dist: no longer built", Vec::from_iter(obsolete).join(", ")),
    );
    Ok(())
}

fn finish(tally: &Tally, shell: &Shell) -> Result<(), Failure> {
    let Tally { built, fresh, failed, refused, .. } = *tally;
    shell.event(&Event::Summary { built, fresh, failed, refused, dry_run: false });
    let total = built + fresh + failed + refused;
    if refused > 0 {
        let message = format!("the gate refused {refused} of {}", count(total, "artifact"));
        return Err(Failure::new(Exit::Refused, message)
            .with_hint("each refusal names its remedy; `cargo xtask explain CODE` says more"));
    }
    if failed > 0 {
        let message = format!("{failed} of {} did not compile", count(total, "artifact"));
        return Err(Failure::new(Exit::Failed, message)
            .with_hint("the compiler's errors are above; the other artifacts were delivered"));
    }
    Ok(())
}
