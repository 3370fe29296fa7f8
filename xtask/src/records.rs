//! What is remembered of each delivered artifact, in `target/keyway/records.json`.
//!
//! Losing the file loses time only: an artifact without a record is built again.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use keyway_manifest::Triple;

use crate::cache::{CacheError, write_atomically};
use crate::plan::Record;
use crate::workspace::Workspace;

/// The records of a workspace, by target and plugin.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    all: BTreeMap<Triple, BTreeMap<String, Record>>,
}

impl Records {
    /// Reads the records; a missing or damaged file holds none.
    pub fn open(workspace: &Workspace) -> Self {
        let path = workspace.state_dir().join("records.json");
        let all = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self { path, all }
    }

    /// The record of an artifact.
    pub fn get(&self, target: &Triple, plugin: &str) -> Option<&Record> {
        self.all.get(target)?.get(plugin)
    }

    /// What builds read beyond their plugins' folders.
    pub fn beyond(&self) -> impl Iterator<Item = &PathBuf> {
        self.all.values().flat_map(BTreeMap::values).flat_map(|record| &record.extra)
    }

    /// Forgets an artifact, so that it is built again.
    pub fn forget(&mut self, target: &Triple, plugin: &str) {
        if let Some(all) = self.all.get_mut(target) {
            all.remove(plugin);
        }
    }

    /// Remembers an artifact.
    pub fn set(&mut self, target: &Triple, plugin: &str, record: Record) {
        self.all.entry(target.clone()).or_default().insert(plugin.to_owned(), record);
    }

    /// Remembers whether an artifact was loaded and called on its target.
    pub fn set_run(&mut self, target: &Triple, plugin: &str, run: bool) {
        self.update(target, plugin, |record| record.run = run);
    }

    /// Remembers whether building an artifact again gave the same bytes.
    pub fn set_reproduced(&mut self, target: &Triple, plugin: &str, reproduced: bool) {
        self.update(target, plugin, |record| record.reproduced = reproduced);
    }

    fn update(&mut self, target: &Triple, plugin: &str, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.all.get_mut(target).and_then(|all| all.get_mut(plugin)) {
            change(record);
        }
    }

    /// Writes the records.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save(&self) -> Result<(), CacheError> {
        let json = serde_json::to_vec_pretty(&self.all).expect("keys are strings");
        write_atomically(&self.path, &json)
    }
}
