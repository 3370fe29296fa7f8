//! `verify`: what was delivered, built again from nothing and compared.

use std::fs;
use std::path::Path;

use keyway_manifest::{Digest, Triple};
use serde::Serialize;

use crate::build::{Build, Repeated, count};
use crate::cache::Cache;
use crate::commands::build_plugins::{self, How};
use crate::dist::Entry;
use crate::engine;
use crate::failure::{Exit, Failure};
use crate::image::Images;
use crate::plan::{Freshness, Plan, Wanted};
use crate::shell::Shell;
use crate::survey::{Rebuild, Survey};
use crate::targets::{Target, TargetSet};
use crate::workspace::Workspace;

/// Builds what is in `dist/` again, from nothing, and says whether the same bytes come out.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Verify this plugin only; may be given several times
    #[arg(long, value_name = "PLUGIN")]
    plugin: Vec<String>,
    /// Verify what was built for this target only; may be given several times
    #[arg(long, value_name = "TRIPLE")]
    target: Vec<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    Verified {
        target: &'a Triple,
        plugin: &'a str,
        identical: bool,
        #[serde(flatten)]
        difference: Option<&'a Difference>,
    },
    Summary {
        identical: usize,
        different: usize,
        failed: usize,
    },
}

/// How two builds of an artifact differ.
#[derive(Debug, Serialize)]
struct Difference {
    /// The file that differs: the library, or the manifest where the library does not.
    file: String,
    /// Its digest in `dist/`; none if it is not there.
    delivered: Option<Digest>,
    /// Its digest when it was built again.
    found: Digest,
    /// Why that was to be expected, if it was.
    reason: Option<&'static str>,
}

/// What came of the comparison of an artifact.
enum Outcome {
    Identical,
    Different(Difference),
    NotCompiled,
    /// The workspace has no such plugin, or does not build it for the target.
    NotOfWorkspace,
}

#[derive(Default)]
struct Tally {
    identical: usize,
    different: usize,
    failed: usize,
}

pub(crate) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let set = TargetSet::open(workspace.targets_file().as_deref())?;
    let _lock = build_plugins::lock(workspace, shell)?;
    let cache = Cache::open()?;
    let images = Images::open(workspace.recipes_dir(), cache.clone());
    let mut survey = Survey::take(workspace, &images, &args.how.profile)?;
    let targets = build_plugins::delivered(&args.target, &set, &survey, "verify")?;
    let mut plan = survey.plan(&targets, &args.plugin, Rebuild::Stale)?;
    leave_out_the_undelivered(&mut plan, &survey);
    let mut tally = Tally::default();
    for entry in strangers(args, &plan, &survey, &targets) {
        report(entry, &Outcome::NotOfWorkspace, &mut tally, shell);
    }
    if plan.steps.is_empty() && tally.failed == 0 {
        let message = "nothing that was asked for is in `dist/`";
        return Err(Failure::new(Exit::Usage, message)
            .with_hint("`cargo xtask build-plugins` with the same options builds it"));
    }
    if !plan.steps.is_empty() {
        let engine = engine::select(args.how.engine, set.engines(), &cache, shell)?;
        let build = Build::new(workspace, &cache, &images, &*engine, args.how.jobs, shell);
        verify(&build, &plan, &mut survey, &mut tally)?;
    }
    finish(&tally, shell)
}

/// Builds what is planned again, compares, and remembers what was the same.
fn verify(
    build: &Build<'_>,
    plan: &Plan,
    survey: &mut Survey<'_>,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let dist = build.workspace.dist_dir();
    let index = survey.index.clone();
    let mut seen = Vec::new();
    build.repeat(plan, survey, |step, all| {
        for (wanted, repeated) in all {
            let Some(entry) = index.find(&step.target.triple, &wanted.plugin.name) else {
                continue;
            };
            let outcome = compare(&dist, entry, wanted, repeated);
            report(entry, &outcome, tally, build.shell);
            seen.push((entry, matches!(outcome, Outcome::Identical)));
        }
        Ok(())
    })?;
    for (entry, identical) in seen {
        survey.records.set_reproduced(&entry.target, &entry.plugin, identical);
    }
    Ok(survey.records.save()?)
}

/// Nothing can be said of an artifact that is not there.
fn leave_out_the_undelivered(plan: &mut Plan, survey: &Survey<'_>) {
    for step in &mut plan.steps {
        let triple = &step.target.triple;
        step.artifacts.retain(|wanted| survey.index.find(triple, &wanted.plugin.name).is_some());
    }
    plan.steps.retain(|step| !step.artifacts.is_empty());
}

/// What was delivered for `targets` and asked for, and nothing in the plan builds.
fn strangers<'a>(
    args: &'a Args,
    plan: &'a Plan,
    survey: &'a Survey<'_>,
    targets: &'a [&Target],
) -> impl Iterator<Item = &'a Entry> {
    let builds = |entry: &Entry| {
        let step = plan.steps.iter().find(|step| step.target.triple == entry.target);
        step.is_some_and(|step| step.artifacts.iter().any(|w| w.plugin.name == entry.plugin))
    };
    survey.index.artifacts.iter().filter(move |entry| {
        let asked = args.plugin.is_empty() || args.plugin.contains(&entry.plugin);
        asked && targets.iter().any(|target| target.triple == entry.target) && !builds(entry)
    })
}

fn compare(dist: &Path, entry: &Entry, wanted: &Wanted, repeated: Option<Repeated>) -> Outcome {
    let Some(Repeated { library, manifest }) = repeated else {
        return Outcome::NotCompiled;
    };
    let reason = match wanted.state {
        Freshness::Fresh => None,
        Freshness::Stale(reason) => Some(reason.as_str()),
    };
    for (file, found) in [(&entry.library, library), (&entry.manifest, manifest)] {
        let delivered = fs::read(dist.join(file)).ok().map(Digest::of);
        if delivered != Some(found) {
            let file = file.clone();
            return Outcome::Different(Difference { file, delivered, found, reason });
        }
    }
    Outcome::Identical
}

fn report(entry: &Entry, outcome: &Outcome, tally: &mut Tally, shell: &Shell) {
    let Entry { target, plugin, library, sha256, .. } = entry;
    let (identical, difference) = match outcome {
        Outcome::Identical => (true, None),
        Outcome::Different(difference) => (false, Some(difference)),
        Outcome::NotCompiled | Outcome::NotOfWorkspace => (false, None),
    };
    shell.event(&Event::Verified { target, plugin, identical, difference });
    match outcome {
        Outcome::Identical => {
            tally.identical += 1;
            shell.status("Identical", format_args!("{library} ({})", sha256.short()));
        }
        Outcome::Different(Difference { file, delivered, found, reason }) => {
            tally.different += 1;
            let delivered = delivered.map_or("not there".to_owned(), |d| d.short().to_string());
            let reason = reason.map(|reason| format!("; {reason}")).unwrap_or_default();
            shell.warn(format_args!(
                "`{file}` is {delivered}, built again {}{reason}",
                found.short()
            ));
        }
        Outcome::NotCompiled => {
            tally.failed += 1;
            shell.warn(format_args!("`{plugin}` for {target} did not compile again"));
        }
        Outcome::NotOfWorkspace => {
            tally.failed += 1;
            shell.warn(format_args!("`{plugin}` for {target} is not built by this workspace"));
        }
    }
}

fn finish(tally: &Tally, shell: &Shell) -> Result<(), Failure> {
    let Tally { identical, different, failed } = *tally;
    shell.event(&Event::Summary { identical, different, failed });
    let total = count(identical + different + failed, "artifact");
    if different > 0 {
        let message = format!("{different} of {total} came out otherwise");
        return Err(Failure::new(Exit::Refused, message)
            .with_hint("if nothing has changed since they were built, their build is not reproducible: look for times, paths and random names in build scripts and macros"));
    }
    if failed > 0 {
        let message = format!("{failed} of {total} could not be built again");
        return Err(Failure::new(Exit::Failed, message).with_hint("what is above says why"));
    }
    Ok(())
}
