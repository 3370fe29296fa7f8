//! Where a target stands: what `dist/` holds for it, and whether that was run. The facts behind the
//! table of targets.
//!
//! Nothing of it is believed but what was seen: libraries pass through the gate again here, and were
//! run or reproduced only if `test-plugins` or `verify` did so since they were built.

use std::path::Path;

use keyway_manifest::Libc;
use serde::Serialize;

use crate::dist::Index;
use crate::plan::Step;
use crate::records::Records;
use crate::stubs::StubsError;
use crate::targets::{Runner, Target};
use crate::verdict::Judge;

/// What there is of a target's plugins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Standing {
    /// How many plugins the workspace has.
    pub plugins: usize,
    /// How many of them were built for the target.
    pub built: usize,
    /// How many of these its gate admits.
    pub audited: usize,
    /// How many of these were loaded and called on the target.
    pub run: usize,
    /// How many of these were built again from nothing, with the same bytes.
    pub reproduced: usize,
    /// The bytes of the libraries that are admitted.
    pub size: u64,
    /// The newest C library, or macOS, that one of them needs.
    pub libc: Option<Libc>,
}

impl Standing {
    /// Looks at what was delivered of the artifacts that `step` would build.
    ///
    /// # Errors
    /// If the stubs of the target's system can't be read.
    pub fn of(
        step: &Step,
        recipes: &Path,
        index: &Index,
        records: &Records,
        dist: &Path,
    ) -> Result<Self, StubsError> {
        let judge = Judge::new(step, recipes)?;
        let triple = &step.target.triple;
        let mut standing = Self { plugins: step.artifacts.len(), ..Self::default() };
        for wanted in &step.artifacts {
            let name = &wanted.plugin.name;
            let Some(entry) = index.find(triple, name) else { continue };
            standing.built += 1;
            let Ok(admission) = judge.admit(wanted, &dist.join(&entry.library)) else {
                continue;
            };
            let manifest = admission.manifest();
            standing.audited += 1;
            standing.size += manifest.artifact.size;
            let known = records.get(triple, name).filter(|record| record.library == entry.sha256);
            standing.run += usize::from(known.is_some_and(|record| record.run));
            standing.reproduced += usize::from(known.is_some_and(|record| record.reproduced));
            let floor = |libc: &Option<Libc>| libc.as_ref().map(|libc| libc.floor);
            let needs = &admission.facts().libc;
            if floor(needs) > floor(&standing.libc) {
                standing.libc.clone_from(needs);
            }
        }
        Ok(standing)
    }
}

/// The heads of the table of targets: what `targets.toml` says, then what was seen.
pub const HEADS: [&str; 12] = [
    "target",
    "default",
    "image",
    "run by",
    "promises",
    "from lock",
    "built",
    "audited",
    "run",
    "reproduced",
    "size",
    "needs",
];

/// The cells of a target that `targets.toml` alone decides.
pub fn described(target: &Target, default: bool) -> [String; 5] {
    let runner = target.spec.runner.as_ref().map(Runner::name);
    [
        target.triple.to_string(),
        if default { "yes" } else { "" }.to_owned(),
        target.spec.image.clone(),
        runner.unwrap_or("checked only").to_owned(),
        target.spec.libc.as_ref().map(ToString::to_string).unwrap_or_default(),
    ]
}

/// The cells of what was seen; `rebuildable` is whether the image can be made again from its lock.
pub fn seen(target: &Target, rebuildable: Option<bool>, standing: &Standing) -> [String; 7] {
    let Standing { plugins, built, audited, run, reproduced, size, libc: needs } = standing;
    let of_built = |n: &usize| format!("{n} of {built}");
    let is_there = *built > 0;
    [
        rebuildable.map_or("", |yes| if yes { "yes" } else { "no" }).to_owned(),
        format!("{built} of {plugins}"),
        if is_there { of_built(audited) } else { String::new() },
        if is_there && target.spec.runner.is_some() { of_built(run) } else { String::new() },
        if is_there { of_built(reproduced) } else { String::new() },
        if is_there { format!("{} KB", size.div_ceil(1000)) } else { String::new() },
        needs.as_ref().map(ToString::to_string).unwrap_or_default(),
    ]
}

/// A row of a table in Markdown.
pub fn row<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    cells.into_iter().fold("|".to_owned(), |row, cell| match cell {
        "" => row + " |",
        cell => row + " " + cell + " |",
    })
}
