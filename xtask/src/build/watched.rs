//! A cargo run between two looks at the sources: what cargo must compile again is taken out of its
//! hands before, and what changed while it went on is known afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use keyway_manifest::{Digest, canonical};

use crate::artifact;
use crate::cache::CacheError;
use crate::container::Command;
use crate::failure::Failure;
use crate::inputs::{Look, Snapshot};
use crate::paths::is_in;
use crate::plan::{CARGO, Step};
use crate::recompile::{Ledger, Run, SCRIPT, SCRIPT_TEXT};
use crate::run::{Built, Folders};
use crate::survey::Ground;
use crate::workspace::Plugin;

/// A cargo run that has not ended.
pub(super) struct Watched<'a> {
    ground: &'a Ground,
    folders: &'a Folders,
    ledger: Ledger,
    run: Run,
    before: Snapshot,
}

impl<'a> Watched<'a> {
    /// Looks at the sources, right before cargo does.
    pub(super) fn begin(
        step: &Step,
        folders: &'a Folders,
        ground: &'a Ground,
    ) -> Result<Self, Failure> {
        let ledger = Ledger::open(&folders.target);
        let before = look(ground, &ledger.beyond())?;
        // What cargo itself reads there, it compares.
        let watched = |name: &&String| !name.starts_with("CARGO_PROFILE_");
        let env: BTreeMap<_, _> = step.env.iter().filter(|(name, _)| watched(name)).collect();
        let environment = canonical::compact(&(env, &ground.env));
        let environment = Digest::of(environment.expect("strings are always JSON"));
        let run = ledger.begin(&ground.plugins, environment, &before);
        Ok(Self { ground, folders, ledger, run, before })
    }

    /// Has a command take away the fingerprints of what changed, before cargo looks at them, and hides
    /// repositories from it.
    pub(super) fn wrap(&self, command: &mut Command) -> Result<(), CacheError> {
        let script = self.folders.cargo.join(SCRIPT);
        crate::cache::write_if_other(&script, SCRIPT_TEXT.as_bytes())?;
        let head = ["/bin/sh".to_owned(), format!("{CARGO}/{SCRIPT}")];
        command.argv.splice(0..0, head.map(Into::into));
        command.hidden.extend(self.before.tree().repositories().iter().cloned());
        command.env.extend(self.ledger.variables(&self.ground.plugins, &self.run));
        Ok(())
    }

    /// Looks again, and remembers what the run was made from.
    pub(super) fn end(self, step: &Step, built: &mut Built) -> Result<(), Failure> {
        let Self { ground, folders, mut ledger, mut run, before } = self;
        let mut beyond = ledger.beyond();
        let mut by_plugin = Vec::new();
        for plugin in &ground.plugins.plugins {
            let package = step.package(&plugin.name);
            if let Some(library) = package.and_then(|package| built.libraries.get(package)) {
                let read = artifact::sources_of(library, folders).into_iter();
                let read: BTreeSet<PathBuf> = read.filter(|file| is_beyond(plugin, file)).collect();
                beyond.extend(read.iter().cloned());
                by_plugin.push((&plugin.name, read));
            }
        }
        let after = look(ground, &beyond)?;
        built.moved = before.moved(&after, paths(ground, &beyond));
        for (plugin, read) in by_plugin {
            run.add(plugin, &read, &after);
        }
        run.forget(&ground.plugins, &built.moved);
        ledger.remember(run)?;
        built.after = Some(after);
        Ok(())
    }
}

fn look(ground: &Ground, beyond: &BTreeSet<PathBuf>) -> Result<Snapshot, Failure> {
    Ok(ground.watch.look(paths(ground, beyond), Look::Everything)?)
}

fn paths<'a>(ground: &'a Ground, beyond: &'a BTreeSet<PathBuf>) -> impl Iterator<Item = &'a Path> {
    let plugins = ground.plugins.plugins.iter().flat_map(|plugin| &plugin.folders);
    ground.plugins.packages.keys().chain(plugins).chain(beyond).map(PathBuf::as_path)
}

/// Whether a file belongs to none of a plugin's packages.
pub(super) fn is_beyond(plugin: &Plugin, file: &Path) -> bool {
    !plugin.folders.iter().any(|folder| is_in(file, folder))
}

/// A file that the build of any plugin may have read and that changed meanwhile.
pub(super) fn moved_of_any<'a>(built: &'a Built, ground: &Ground) -> Option<&'a Path> {
    let of_any = |file: &&PathBuf| {
        let mut plugins = ground.plugins.plugins.iter();
        let is_of_plugin = plugins.any(|plugin| plugin.folders.iter().any(|f| is_in(file, f)));
        // What is of no package was looked at because some plugin reads it.
        is_of_plugin || !ground.plugins.packages.keys().any(|folder| is_in(file, folder))
    };
    built.moved.iter().find(of_any).map(PathBuf::as_path)
}

/// A file that the build of a plugin read and that changed meanwhile.
pub(super) fn moved<'a>(built: &'a Built, plugin: &Plugin, beyond: &[PathBuf]) -> Option<&'a Path> {
    let of_plugin = |file: &&PathBuf| plugin.paths(beyond).any(|path| is_in(file, path));
    built.moved.iter().find(of_plugin).map(PathBuf::as_path)
}
