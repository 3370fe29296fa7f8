//! What keeps runs that use one cache apart: a turn at each layer and each folder of locks, and a scratch
//! folder for each run.
//!
//! There is no lock for all images: whose layers are there waits for nobody, and whose are not waits only for
//! a run that makes the very same.

use std::path::PathBuf;
use std::sync::PoisonError;

use keyway_manifest::Digest;
use keyway_manifest::text::Show as _;

use super::Images;
use super::lock::LockedLayer;
use crate::cache::{CacheError, OwnedDir, Turn};
use crate::shell::Shell;

/// What the names of scratch folders begin with.
const RUN: &str = "run-";

impl Images {
    /// A folder for what is only needed meanwhile: this run's own, removed with it. The first use clears
    /// away those of runs that were killed.
    pub(super) fn scratch(&self) -> Result<PathBuf, CacheError> {
        let mut own = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = &*own {
            return Ok(own.path().to_owned());
        }
        let parent = self.cache.dir("tmp/images")?;
        drop(OwnedDir::abandoned(&parent, RUN)?);
        let made = OwnedDir::create(&parent, RUN)?;
        let path = made.path().to_owned();
        *own = Some(made);
        Ok(path)
    }

    /// Waits for the turn to make a layer; `does` says what a run that has it does.
    pub(super) fn turn(
        &self,
        layer: &LockedLayer,
        shell: &Shell,
        does: String,
    ) -> Result<Turn, CacheError> {
        self.cache.turn(&name_of(layer), shell, does)
    }

    /// The turn to make a layer, unless somebody has it.
    pub(super) fn try_turn(&self, layer: &LockedLayer) -> Result<Option<Turn>, CacheError> {
        self.cache.try_turn(&name_of(layer))
    }

    /// Waits for the turn to write locks into the folder of recipes.
    pub(super) fn locking_turn(&self, shell: &Shell) -> Result<Turn, CacheError> {
        let recipes = std::path::absolute(&self.recipes).unwrap_or_else(|_| self.recipes.clone());
        let name = Digest::of(recipes.to_string_lossy().as_bytes()).short();
        let does = format_args!("locks images of `{}`", self.recipes.shown());
        self.cache.turn(&format!("recipes-{name}"), shell, does)
    }
}

fn name_of(layer: &LockedLayer) -> String {
    format!("layer-{}", layer.diff_id.short())
}
