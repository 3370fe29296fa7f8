//! `build-plugins`: plan, images, build, stamp, gate, `dist/`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Triple};
use serde::Serialize;

use crate::build::{self, Build, Outcome, Outcomes};
use crate::cache::{Cache, CacheError, Lock};
use crate::commands::test_plugins::TrialArgs;
use crate::configuration::Note;
use crate::dist::{self, Delivery, Entry};
use crate::engine::{self, EngineChoice};
use crate::failure::{Exit, Failure};
use crate::image::Images;
use crate::image::recipe::Reference;
use crate::image::registry::repository;
use crate::placement::Shown;
use crate::plan::{Freshness, LeftOut, Plan, Step};
use crate::runner;
use crate::shell::{Shell, count};
use crate::survey::{Rebuild, Survey};
use crate::targets::{Target, TargetSet};
use crate::workspace::{Why, Workspace};

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
    /// Load each plugin on its target, where its programs can be run here, before it is delivered
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    trial: TrialArgs,
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
    Shown {
        folder: &'a Path,
        guest: &'a Path,
        why: Why,
    },
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
        /// What its host said, if it has one.
        #[serde(flatten)]
        said: Option<&'a runner::Outcome>,
    },
    Skipped {
        target: &'a Triple,
        reason: &'a str,
    },
    Summary {
        built: usize,
        fresh: usize,
        failed: usize,
        refused: usize,
        targets: usize,
        dry_run: bool,
    },
}

#[derive(Default)]
struct Tally {
    /// The folder of artifacts as messages name it.
    dist: PathBuf,
    /// How many targets were asked for.
    targets: usize,
    built: usize,
    fresh: usize,
    failed: usize,
    /// Those of the failed that were built, and of no use on their target.
    unusable: usize,
    refused: usize,
}

pub(crate) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let set = TargetSet::open(workspace.targets_file().as_deref())?;
    let targets = set.select(&args.target)?;
    let _lock = lock(workspace, shell)?;
    if !args.dry_run {
        repair(workspace, shell)?;
    }
    let rebuild = match (args.force, args.check) {
        (true, _) => Rebuild::All,
        (false, true) => Rebuild::Untried,
        (false, false) => Rebuild::Stale,
    };
    let cache = Cache::open()?;
    let images = Images::open(workspace.recipes_dir(), cache.clone())
        .with_workspace(workspace.root())
        .with_registry(args.registry.clone());
    let mut survey = Survey::take(workspace, &images, &args.how.profile)?;
    let plan = survey.plan(&targets, &args.plugin, rebuild)?;
    if args.dry_run {
        show(&plan, shell);
        return Ok(());
    }
    let dist = workspace.shown(&workspace.dist_dir());
    let mut tally = Tally { dist, targets: plan.steps.len(), ..Tally::default() };
    for left @ LeftOut { target, plugin, reason } in &plan.left_out {
        shell.event(&Event::LeftOut(left));
        shell.status("Left out", format_args!("{plugin} for {target}: {reason}"));
    }
    if args.check {
        report_untried(&targets, shell);
    }
    report_fresh(&plan, &survey, &mut tally, shell);
    if plan.steps.iter().any(|step| !step.is_fresh()) {
        check_places(&plan, workspace)?;
    }
    survey.remember()?;
    build::relabel(workspace, &plan, &mut survey, shell, |step, outcomes| {
        report(step, outcomes, &mut tally, shell);
    })?;
    if plan.steps.iter().any(Step::needs_cargo) {
        let engine = engine::select(args.how.engine, set.engines(), &cache, shell)?;
        for note in &plan.notes {
            shell.event(&Event::Note(note));
            shell.status("Note", note);
        }
        let build = Build::new(workspace, &cache, &images, &*engine, args.how.jobs, shell)
            .with_trial(args.check.then(|| args.trial.trial()));
        build.carry_out(&plan, &mut survey, |step, outcomes| {
            report(step, outcomes, &mut tally, shell);
        })?;
    }
    drop_obsolete(workspace, &mut survey, shell)?;
    finish(&tally, shell)
}

/// Clears away what a killed run left in `dist/`, and makes a damaged index again.
fn repair(workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let dist = workspace.dist_dir();
    if let Some(n) = dist::recover(&dist)? {
        let index = workspace.shown(&dist).join("index.json");
        let n = count(n, "artifact");
        shell.status("Repaired", format_args!("{} from the manifests of {n}", index.shown()));
    }
    Ok(())
}

/// What is in the way of a delivery is better known before a build than after it.
fn check_places(plan: &Plan, workspace: &Workspace) -> Result<(), Failure> {
    let dist = workspace.dist_dir();
    for step in plan.steps.iter().filter(|step| !step.is_fresh()) {
        for wanted in &step.artifacts {
            dist::check_place(&dist, step.target.triple.as_str(), &wanted.plugin.name)?;
        }
    }
    Ok(())
}

/// One run at a time in a workspace.
pub(crate) fn lock(workspace: &Workspace, shell: &Shell) -> Result<Lock, Failure> {
    let dir = workspace.state_dir();
    let created = std::fs::create_dir_all(&dir).map_err(CacheError::io("create", &dir));
    let locked = created.and_then(|()| Lock::take(&dir.join("run.lock"), shell));
    locked.map_err(|error| {
        let failure = Failure::from(error);
        let hint = failure.hint.as_ref().map_or(String::new(), |hint| format!("{hint}, or "));
        failure.with_hint(format!("{hint}set `CARGO_TARGET_DIR` to a folder that you may write"))
    })
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
    for Shown { host, guest, why } in &plan.shown {
        shell.event(&Event::Shown { folder: host, guest, why: *why });
        shell.data(format_args!("shown: {} at {}{}", host.shown(), guest.shown(), because(*why)));
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
    let targets = plan.steps.len();
    let done = format!("{built} to build, {fresh} fresh for {}", count(targets, "target"));
    shell.finish(
        done,
        &Event::Summary { built, fresh, failed: 0, refused: 0, targets, dry_run: true },
    );
}

/// Why a folder is shown, after its name.
fn because(why: Why) -> &'static str {
    match why {
        Why::Workspace => "",
        Why::Package => ", which holds a package",
        Why::Listed => ", which `shows` lists",
        Why::Surroundings => ", which a package lies in",
    }
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

/// Says which targets' plugins are delivered without having been loaded.
fn report_untried(targets: &[&Target], shell: &Shell) {
    for target in targets {
        if let Some(reason) = runner::obstacle(target) {
            let target = &target.triple;
            shell.event(&Event::Skipped { target, reason: &reason });
            shell.status("Checked", format_args!("{target}, not run: {reason}"));
        }
    }
}

fn report(step: &Step, outcomes: &Outcomes, tally: &mut Tally, shell: &Shell) {
    for (wanted, outcome) in outcomes {
        let (target, plugin) = (&step.target.triple, &wanted.plugin.name);
        let failed = |reason, said| Event::Failed { target, plugin, reason, said };
        match outcome {
            // Delivered again with the rest of its step, yet nothing of it had changed.
            Outcome::Delivered(_) if wanted.state == Freshness::Fresh => {}
            Outcome::Delivered(entry) => {
                tally.built += 1;
                line(entry, "Built", &tally.dist, shell);
            }
            Outcome::Relabelled(entry) => {
                tally.fresh += 1;
                line(entry, "Relabelled", &tally.dist, shell);
            }
            Outcome::NotCompiled => {
                tally.failed += 1;
                shell.event(&failed("not-compiled", None));
                shell.warn(format_args!("`{plugin}` was not built for {target}"));
            }
            Outcome::Refused => {
                tally.refused += 1;
                shell.event(&failed("refused", None));
            }
            Outcome::Unusable(said) => {
                tally.failed += 1;
                tally.unusable += 1;
                shell.event(&failed("unusable", Some(said)));
                shell.warn_lines(format_args!("`{plugin}` for {target} is not delivered: {said}"));
            }
        }
    }
}

/// One line an artifact.
fn line(entry: &Entry, verb: &str, dist: &Path, shell: &Shell) {
    let path = |relative: &str| dist.join(relative).to_string_lossy().into_owned();
    shell.status(verb, format_args!("{} ({})", path(&entry.library), entry.sha256.short()));
    shell.event(&Event::Artifact {
        target: &entry.target,
        plugin: &entry.plugin,
        library: path(&entry.library),
        manifest: path(&entry.manifest),
        sha256: entry.sha256,
        fresh: verb != "Built",
    });
}

/// What the workspace no longer builds leaves `dist/` too.
fn drop_obsolete(
    workspace: &Workspace,
    survey: &mut Survey<'_>,
    shell: &Shell,
) -> Result<(), Failure> {
    let artifacts = survey.index.artifacts.iter();
    let obsolete: Vec<Entry> = artifacts.filter(|e| survey.is_obsolete(e)).cloned().collect();
    if obsolete.is_empty() {
        return Ok(());
    }
    let mut delivery = Delivery::begin(&workspace.dist_dir(), &survey.index)?;
    obsolete.iter().for_each(|entry| delivery.remove(entry));
    survey.index = delivery.publish()?;
    let obsolete: BTreeSet<String> = obsolete.into_iter().map(|entry| entry.plugin).collect();
    shell.status(
        "Removed",
        format_args!("{} from dist: no longer built", Vec::from_iter(obsolete).join(", ")),
    );
    Ok(())
}

fn finish(tally: &Tally, shell: &Shell) -> Result<(), Failure> {
    let Tally { built, fresh, failed, refused, targets, .. } = *tally;
    let summary = Event::Summary { built, fresh, failed, refused, targets, dry_run: false };
    shell.finish(tally.done(), &summary);
    tally.failure().map_or(Ok(()), Err)
}

impl Tally {
    /// What was done, for how many targets.
    fn done(&self) -> String {
        let Self { built, fresh, failed, unusable, refused, targets, .. } = *self;
        let done = [
            Some(format!("{built} built")),
            Some(format!("{fresh} fresh")),
            (failed > unusable).then(|| format!("{} not compiled", failed - unusable)),
            (unusable > 0).then(|| format!("{unusable} not usable")),
            (refused > 0).then(|| format!("{refused} refused")),
        ];
        let done: Vec<String> = done.into_iter().flatten().collect();
        format!("{} for {}", done.join(", "), count(targets, "target"))
    }

    /// How the run fails, if not all of it was delivered.
    fn failure(&self) -> Option<Failure> {
        let Self { built, fresh, failed, unusable, refused, .. } = *self;
        let total = count(built + fresh + failed + refused, "artifact");
        if refused > 0 {
            let message = format!("the gate refused {refused} of {total}");
            let failure = Failure::new(Exit::Refused, message);
            let hint = "each refusal names its remedy; `cargo xtask explain CODE` says more";
            return Some(failure.with_hint(hint));
        }
        if failed == 0 {
            return None;
        }
        let message = match (failed - unusable, unusable) {
            (_, 0) => format!("{failed} of {total} did not compile"),
            (0, _) => format!("{failed} of {total} can't be used"),
            (broken, _) => {
                format!("of {total}, {broken} did not compile and {unusable} can't be used")
            }
        };
        let above = match unusable {
            0 => "the compiler's errors are above",
            _ => "what went wrong is above",
        };
        let hint = match built + fresh {
            0 => format!("{above}; nothing was delivered"),
            _ => format!("{above}; the other artifacts are in `{}`", self.dist.shown()),
        };
        Some(Failure::new(Exit::Failed, message).with_hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use snapbox::{assert_data_eq, str};

    use super::*;

    fn told([built, fresh, failed, unusable, refused]: [usize; 5]) -> String {
        let dist = "dist".into();
        let tally = Tally { dist, targets: 2, built, fresh, failed, unusable, refused };
        let failure = tally.failure().map(|failure| {
            let hint = failure.hint.clone().unwrap_or_default();
            format!("\nerror: {failure}\nhint: {hint}")
        });
        tally.done() + &failure.unwrap_or_default()
    }

    #[test]
    fn says_what_was_done_and_nothing_else() {
        assert_data_eq!(told([3, 3, 0, 0, 0]), str!["3 built, 3 fresh for 2 targets"]);
        assert_data_eq!(
            told([1, 0, 1, 0, 0]),
            str![[r#"
1 built, 0 fresh, 1 not compiled for 2 targets
error: 1 of 2 artifacts did not compile
hint: the compiler's errors are above; the other artifacts are in `dist`
"#]]
        );
        assert_data_eq!(
            told([0, 0, 2, 0, 0]),
            str![[r#"
0 built, 0 fresh, 2 not compiled for 2 targets
error: 2 of 2 artifacts did not compile
hint: the compiler's errors are above; nothing was delivered
"#]]
        );
        assert_data_eq!(
            told([0, 1, 1, 1, 1]),
            str![[r#"
0 built, 1 fresh, 1 not usable, 1 refused for 2 targets
error: the gate refused 1 of 3 artifacts
hint: each refusal names its remedy; `cargo xtask explain CODE` says more
"#]]
        );
    }
}
