//! `verify`: what was delivered, built again from nothing and compared.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Manifest, Triple};
use serde::Serialize;
use serde_json::Value;

use crate::build::{Build, Repeated};
use crate::cache::{Cache, CacheError};
use crate::commands::build_plugins::{self, How};
use crate::dist::Entry;
use crate::engine;
use crate::failure::{Exit, Failure};
use crate::image::Images;
use crate::plan::{Freshness, Plan, Wanted};
use crate::shell::{Shell, count};
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
        targets: usize,
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
    /// Of a manifest: the fields that differ. A host compares none of what it reads from the bytes itself,
    /// so this is where such a difference is seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<String>,
    /// Why that was to be expected, if it was.
    reason: Option<&'static str>,
}

/// Why a manifest alone differs of which nothing has changed since it was written.
const DESCRIBED_OTHERWISE: &str =
    "its library came out the same, so another version of Keyway wrote it, or somebody edited it";

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
    targets: usize,
    /// Of those that are different, how many had nothing changed since they were built.
    unexplained: usize,
}

pub(crate) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let set = TargetSet::open(workspace.targets_file().as_deref())?;
    let _lock = build_plugins::lock(workspace, shell)?;
    let cache = Cache::open()?;
    let images =
        Images::open(workspace.recipes_dir(), cache.clone()).with_workspace(workspace.root());
    let mut survey = Survey::take(workspace, &images, &args.how.profile)?;
    let targets = build_plugins::delivered(&args.target, &set, &survey, "verify")?;
    let mut plan = survey.plan(&targets, &args.plugin, Rebuild::Stale)?;
    leave_out_the_undelivered(&mut plan, &survey);
    let mut tally = Tally { targets: targets.len(), ..Tally::default() };
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
            let outcome = compare(&dist, entry, wanted, repeated)?;
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

fn compare(
    dist: &Path,
    entry: &Entry,
    wanted: &Wanted,
    repeated: Option<Repeated>,
) -> Result<Outcome, CacheError> {
    let Some(Repeated { library, manifest }) = repeated else {
        return Ok(Outcome::NotCompiled);
    };
    let reason = match wanted.state {
        Freshness::Fresh => None,
        Freshness::Stale(reason) => Some(reason.as_str()),
    };
    let read = |file: &str| {
        let path = dist.join(file);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(CacheError::io("read", &path)),
        }
    };
    let delivered = read(&entry.library)?.map(Digest::of);
    if delivered != Some(library) {
        let file = entry.library.clone();
        let difference = Difference { file, delivered, found: library, fields: vec![], reason };
        return Ok(Outcome::Different(difference));
    }
    let (text, found) = (read(&entry.manifest)?, Digest::of(manifest.to_json()));
    let delivered = text.as_ref().map(Digest::of);
    if delivered == Some(found) {
        return Ok(Outcome::Identical);
    }
    let fields = text.map(|text| fields(&text, &manifest)).unwrap_or_default();
    let reason = reason.or(delivered.map(|_| DESCRIBED_OTHERWISE));
    let file = entry.manifest.clone();
    Ok(Outcome::Different(Difference { file, delivered, found, fields, reason }))
}

/// The fields in which a delivered manifest differs from one of the same artifact; none if it can't be read.
fn fields(delivered: &[u8], built: &Manifest) -> Vec<String> {
    let (Ok(Value::Object(delivered)), Ok(Value::Object(built))) =
        (serde_json::from_slice(delivered), serde_json::to_value(built))
    else {
        return Vec::new();
    };
    let all: BTreeSet<&String> = delivered.keys().chain(built.keys()).collect();
    all.into_iter().filter(|key| delivered.get(*key) != built.get(*key)).cloned().collect()
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
        Outcome::Different(Difference { file, delivered, found, fields, reason }) => {
            tally.different += 1;
            tally.unexplained += usize::from(reason.is_none());
            let delivered = delivered.map_or("not there".to_owned(), |d| d.short().to_string());
            let reason = reason.map(|reason| format!("; {reason}")).unwrap_or_default();
            let fields = fields.iter().map(|field| format!("`{}`", field.shown()));
            let fields = fields.collect::<Vec<_>>().join(", ");
            let fields = if fields.is_empty() { fields } else { format!(" with another {fields}") };
            shell.warn(format_args!(
                "`{file}` is {delivered}, built again {}{fields}{reason}",
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
    let Tally { identical, different, failed, targets, unexplained } = *tally;
    let done = [
        Some(format!("{identical} identical")),
        (different > 0).then(|| format!("{different} different")),
        (failed > 0).then(|| format!("{failed} not built")),
    ];
    let done: Vec<String> = done.into_iter().flatten().collect();
    let done = format!("{} for {}", done.join(", "), count(targets, "target"));
    shell.finish(done, &Event::Summary { identical, different, failed, targets });
    let total = count(identical + different + failed, "artifact");
    if different > 0 {
        let message = format!("{different} of {total} came out otherwise");
        return Err(Failure::new(Exit::Refused, message).with_hint(hint(different, unexplained)));
    }
    if failed > 0 {
        let message = format!("{failed} of {total} could not be built again");
        return Err(Failure::new(Exit::Failed, message).with_hint("what is above says why"));
    }
    Ok(())
}

/// What to do about artifacts that are different. Only where nothing has changed since they were built is
/// it known to be their build.
fn hint(different: usize, unexplained: usize) -> String {
    let rebuild = "`cargo xtask build-plugins` builds what has changed since";
    let build = "their builds are not reproducible: look for times, paths and random names in build \
                 scripts and macros";
    match unexplained {
        0 => format!("it is said above what has changed since they were built; {rebuild}"),
        n if n == different => format!("nothing has changed since they were built, so {build}"),
        n => format!("{rebuild}; for {n} of them nothing has, so {build}"),
    }
}

#[cfg(test)]
mod tests {
    use snapbox::{assert_data_eq, str};

    use super::*;

    /// What hosts don't compare: two versions may read more or less in the same bytes.
    #[test]
    fn names_the_fields_that_a_manifest_differs_in() {
        let text = include_str!("../../tests/data/greet.manifest.json");
        let built = Manifest::parse(text.as_bytes()).expect("a manifest");
        assert!(fields(text.as_bytes(), &built).is_empty());
        let earlier = Manifest { libc: None, exports: BTreeSet::new(), ..built.clone() };
        assert_eq!(fields(earlier.to_json().as_bytes(), &built), ["exports", "libc"]);
        assert_eq!(fields(br#"{"other": 1}"#, &built).len(), 16);
        assert!(fields(b"no JSON", &built).is_empty());
    }

    #[test]
    fn a_build_is_blamed_only_where_nothing_changed() {
        assert_data_eq!(
            hint(2, 0),
            str![
                "it is said above what has changed since they were built; `cargo xtask build-plugins` builds what has changed since"
            ]
        );
        assert_data_eq!(
            hint(2, 2),
            str![
                "nothing has changed since they were built, so their builds are not reproducible: look for times, paths and random names in build scripts and macros"
            ]
        );
        assert_data_eq!(
            hint(3, 1),
            str![
                "`cargo xtask build-plugins` builds what has changed since; for 1 of them nothing has, so their builds are not reproducible: look for times, paths and random names in build scripts and macros"
            ]
        );
    }
}
