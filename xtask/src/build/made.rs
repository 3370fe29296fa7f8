//! From what cargo made to what is delivered and remembered of it.

use std::path::PathBuf;

use keyway_manifest::text::Show as _;
use keyway_manifest::{Manifest, Source};

use super::{Build, watched};
use crate::artifact::Artifact;
use crate::describe;
use crate::dist::Delivery;
use crate::failure::Failure;
use crate::plan::{Record, Step, Wanted};
use crate::run::{Built, Library};
use crate::survey::Survey;

/// An artifact as cargo made it.
pub(super) struct Made {
    pub(super) artifact: Artifact,
    pub(super) manifest: Manifest,
    /// The files that it was made from beyond its plugin's folders.
    pub(super) extra: Vec<PathBuf>,
}

impl Build<'_> {
    /// Reads a library that cargo made and says what it is.
    pub(super) fn describe(
        &self,
        step: &Step,
        wanted: &Wanted,
        (built, library): (&Built, &Library),
        survey: &mut Survey<'_>,
    ) -> Result<Made, Failure> {
        let folders = self.folders_of(step, &survey.inputs.placement);
        let plugin = &wanted.plugin;
        let artifact = Artifact::read(&plugin.name, library, &folders)?;
        let extra: Vec<PathBuf> = artifact
            .sources
            .iter()
            .filter(|file| watched::is_beyond(plugin, file))
            .cloned()
            .collect();
        let (mut source, doubts) = survey.source(plugin, &extra, built.after.as_ref());
        doubts.iter().for_each(|doubt| self.shell.warn_once(&doubt.to_string()));
        if let Some(file) = watched::moved(built, plugin, &extra) {
            self.shell.warn(format_args!(
                "`{}` changed while `{}` was built for {}: its manifest does not say from which sources, \
                 and the next run builds it again",
                file.shown(),
                plugin.name,
                step.target.triple
            ));
            source = Source { dirty: None, tree: None, ..source };
        }
        let manifest = describe::manifest(step, wanted, &artifact, source)?;
        Ok(Made { artifact, manifest, extra })
    }
}

/// What replaces a delivered artifact, and what is remembered of it, if anything may be.
pub(super) type Replaced = (Wanted, Option<Record>, Manifest);

/// Puts a delivery into `dist/`, and remembers what it holds.
pub(super) fn publish(
    step: &Step,
    delivery: Delivery,
    replaced: &[Replaced],
    survey: &mut Survey<'_>,
) -> Result<(), Failure> {
    survey.index = delivery.publish()?;
    for (wanted, record, _) in replaced {
        let (target, name) = (&step.target.triple, &wanted.plugin.name);
        match record {
            Some(record) => survey.records.set(target, name, record.clone()),
            None => survey.records.forget(target, name),
        }
    }
    Ok(survey.records.save()?)
}
