//! Which packages cargo has to compile again in a target folder, by content.
//!
//! Cargo inside an image compares times: with those of sources it does not see that one was put back
//! with an older time, that a file was added to a folder which a macro embeds, or that `[env]` changed.
//! Times of the user's files are not ours to set, so a package whose content differs from what an
//! earlier run in the same target folder saw loses its fingerprint, and cargo compiles it and all that
//! depends on it. The same happens to a package of which nothing is known.
//!
//! Which run was the last one in a target folder is written down in it, by whatever engine, as a random
//! word; what that run saw is remembered here, and only once it is known that nothing changed while it
//! went on. So a killed run, a folder on another daemon and one that is new need no special case.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};

use keyway_manifest::Digest;
use serde::{Deserialize, Serialize};

use crate::cache::{CacheError, write_atomically};
use crate::inputs::Snapshot;
use crate::paths::is_in;
use crate::workspace::PluginSet;

/// The script's name in cargo's home: it takes fingerprints away, then runs its arguments.
pub const SCRIPT: &str = "recompile.sh";

/// Needs nothing of the image but a shell and `rm`.
pub const SCRIPT_TEXT: &str = include_str!("recompile/recompile.sh");

/// How many runs are remembered: a mounted folder and one on a daemon each have a last one.
const N_RUNS: usize = 8;
/// How many packages are named to the script before it takes all fingerprints away: the kernel limits
/// a variable to 128 KiB.
const N_NAMED: usize = 200;

/// What runs in one target folder were made from.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    runs: Vec<Run>,
}

/// What one cargo run saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    id: String,
    /// Digest of the environment, of which cargo watches only what it is told to.
    environment: Digest,
    /// Contents of the packages that are not pinned by the lock file, by name.
    packages: BTreeMap<String, Digest>,
    /// What the builds of plugins read beyond packages, by plugin.
    beyond: BTreeMap<String, BTreeMap<PathBuf, Digest>>,
}

impl Ledger {
    /// Opens what is remembered of a target folder; what can't be read is forgotten.
    pub fn open(target: &Path) -> Self {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".runs.json");
        let path = target.with_file_name(name);
        let runs = fs::read(&path).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Self { path, runs: runs.unwrap_or_default() }
    }

    /// All that builds are known to have read beyond packages, relative to the workspace's root.
    pub fn beyond(&self) -> BTreeSet<PathBuf> {
        let all = self.runs.iter().flat_map(|run| run.beyond.values());
        all.flat_map(BTreeMap::keys).cloned().collect()
    }

    /// The run that is about to begin.
    pub fn begin(&self, set: &PluginSet, environment: Digest, before: &Snapshot) -> Run {
        let mut folders: BTreeMap<&String, Vec<String>> = BTreeMap::new();
        for (folder, name) in &set.packages {
            folders.entry(name).or_default().push(before.content(folder).to_string());
        }
        let packages = folders
            .into_iter()
            .map(|(name, contents)| (name.clone(), Digest::of(contents.join("\n"))));
        let mut beyond: BTreeMap<String, BTreeMap<PathBuf, Digest>> = BTreeMap::new();
        // Of folders that are shown on request, nobody knows which package reads them.
        for plugin in &set.plugins {
            let others = plugin.folders.iter().filter(|folder| !set.packages.contains_key(*folder));
            let contents = others.map(|folder| (folder.clone(), before.content(folder)));
            beyond.entry(plugin.name.clone()).or_default().extend(contents);
        }
        for (plugin, paths) in self.runs.iter().flat_map(|run| &run.beyond) {
            let contents = paths.keys().map(|path| (path.clone(), before.content(path)));
            beyond.entry(plugin.clone()).or_default().extend(contents);
        }
        let number = RandomState::new().build_hasher().finish();
        Run { id: format!("{number:016x}"), environment, packages: packages.collect(), beyond }
    }

    /// What the script is told of `run` and of earlier ones.
    pub fn variables(&self, set: &PluginSet, run: &Run) -> [(String, String); 2] {
        let mut lines: Vec<String> = self
            .runs
            .iter()
            .map(|earlier| format!("{} {}", earlier.id, patterns(run.stale_since(earlier, set))))
            .collect();
        let all = run.packages.keys().map(String::as_str);
        lines.push(format!("* {}", patterns(Some(all.collect()))));
        [("KEYWAY_RUN".to_owned(), run.id.clone()), ("KEYWAY_RUNS".to_owned(), lines.join(";"))]
    }

    /// Remembers a run that has ended.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn remember(&mut self, run: Run) -> Result<(), CacheError> {
        self.runs.push(run);
        self.runs.drain(..self.runs.len().saturating_sub(N_RUNS));
        let json = serde_json::to_vec(&self.runs).expect("keys are strings");
        write_atomically(&self.path, &json)
    }
}

impl Run {
    /// The names of packages that differ from what an `earlier` run saw; none if the environment does,
    /// and with it possibly anything.
    fn stale_since<'a>(&'a self, earlier: &Self, set: &'a PluginSet) -> Option<BTreeSet<&'a str>> {
        if self.environment != earlier.environment {
            return None;
        }
        let differs =
            |(name, digest): &(&String, &Digest)| earlier.packages.get(*name) != Some(digest);
        let mut stale: BTreeSet<&str> =
            self.packages.iter().filter(differs).map(|(name, _)| name.as_str()).collect();
        for plugin in &set.plugins {
            let (Some(then), Some(now)) =
                (earlier.beyond.get(&plugin.name), self.beyond.get(&plugin.name))
            else {
                continue;
            };
            if then.iter().any(|(path, digest)| now.get(path) != Some(digest)) {
                stale.extend(names(set, &plugin.folders));
            }
        }
        Some(stale)
    }

    /// Adds what the build of a plugin turned out to read beyond packages.
    pub fn add(&mut self, plugin: &str, paths: &BTreeSet<PathBuf>, after: &Snapshot) {
        let known = self.beyond.entry(plugin.to_owned()).or_default();
        for path in paths {
            known.entry(path.clone()).or_insert_with(|| after.content(path));
        }
    }

    /// Forgets the packages that a file belongs to which changed while they were compiled.
    pub fn forget(&mut self, set: &PluginSet, moved: &BTreeSet<PathBuf>) {
        for file in moved {
            let of = set.packages.iter().filter(|(folder, _)| is_in(file, folder));
            let mut doubtful: BTreeSet<&str> = of.map(|(_, name)| name.as_str()).collect();
            for plugin in &set.plugins {
                let beyond = self.beyond.get(&plugin.name);
                if beyond.is_some_and(|paths| paths.keys().any(|path| is_in(file, path))) {
                    doubtful.extend(names(set, &plugin.folders));
                }
            }
            self.packages.retain(|name, _| !doubtful.contains(name.as_str()));
        }
    }
}

fn names<'a>(set: &'a PluginSet, folders: &'a BTreeSet<PathBuf>) -> impl Iterator<Item = &'a str> {
    folders.iter().filter_map(|folder| set.packages.get(folder)).map(String::as_str)
}

/// Fingerprints are folders called `NAME-` and 16 digits. All of them, if no names are given.
fn patterns(names: Option<BTreeSet<&str>>) -> String {
    match names.filter(|names| names.len() <= N_NAMED) {
        None => "*".to_owned(),
        Some(names) => {
            let digits = "?".repeat(16);
            names.into_iter().map(|name| format!("{name}-{digits}")).collect::<Vec<_>>().join(" ")
        }
    }
}

#[cfg(test)]
mod tests;
