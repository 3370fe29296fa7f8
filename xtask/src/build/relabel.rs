//! Manifests of artifacts whose sources were committed since: the library is what it was, so cargo does
//! not run.

use std::fs;

use keyway_manifest::{Digest, Manifest, Source};

use super::made::publish;
use super::{Outcome, Outcomes};
use crate::cache::CacheError;
use crate::dist::Delivery;
use crate::failure::Failure;
use crate::plan::{Freshness, Plan, Reason, Record, Step, Wanted};
use crate::shell::Shell;
use crate::survey::Survey;
use crate::workspace::Workspace;

/// Delivers every library of `plan` again that nothing changed but which commit it is from, step by step.
///
/// # Errors
/// If files can't be read or written.
pub fn relabel(
    workspace: &Workspace,
    plan: &Plan,
    survey: &mut Survey<'_>,
    shell: &Shell,
    mut done: impl FnMut(&Step, &Outcomes),
) -> Result<(), Failure> {
    for step in plan.steps.iter().filter(|step| !step.needs_cargo() && !step.is_fresh()) {
        let mut delivery = Delivery::begin(&workspace.dist_dir(), &survey.index)?;
        let mut replaced = Vec::new();
        let is_other = |wanted: &&Wanted| wanted.state == Freshness::Stale(Reason::Commit);
        for wanted in step.artifacts.iter().filter(is_other) {
            let triple = &step.target.triple;
            let name = &wanted.plugin.name;
            let (Some(entry), Some(record)) = (
                survey.index.find(triple, name).cloned(),
                survey.records.get(triple, name).cloned(),
            ) else {
                continue;
            };
            let read = |relative: &str| {
                let path = workspace.dist_dir().join(relative);
                fs::read(&path).map_err(CacheError::io("read", &path))
            };
            let library = read(&entry.library)?;
            // The plan has found it to be what was delivered.
            let Ok(manifest) = Manifest::parse(&read(&entry.manifest)?) else { continue };
            let (source, doubts) = survey.source(&wanted.plugin, &record.extra, None);
            doubts.iter().for_each(|doubt| shell.warn_once(&doubt.to_string()));
            let Source { commit, dirty, .. } = source.clone();
            let manifest = Manifest { source, ..manifest };
            delivery.place(&library, &manifest)?;
            let head = survey.head().cloned();
            let written = Digest::of(manifest.to_json());
            let record = Record { manifest: written, head, commit, dirty, ..record };
            replaced.push((wanted.clone(), Some(record), manifest));
        }
        publish(step, delivery, &replaced, survey)?;
        let outcomes = replaced.into_iter().filter_map(|(wanted, _, _)| {
            let entry = survey.index.find(&step.target.triple, &wanted.plugin.name)?.clone();
            Some((wanted, Outcome::Relabelled(entry)))
        });
        done(step, &outcomes.collect());
    }
    Ok(())
}
