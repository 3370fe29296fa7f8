//! Layers whose digest is noted in the cache, by a key of all that they are made from: what is compiled, and
//! the source that it is compiled from, which no lock names.

use std::fs;

use keyway_manifest::{Digest, Hasher};

use super::{ImageError, Images, find};
use crate::cache::write_atomically;
use crate::container::Layer;
use crate::shell::Shell;

/// What decides a layer, and what making it is called.
pub(super) struct Making {
    /// A digest of all that goes in.
    pub(super) key: Digest,
    /// What a run that makes it does, for one that waits.
    pub(super) does: String,
}

impl Images {
    /// The layer that was noted under the key; it is made and noted if it is not there. Of runs that need
    /// the same, one makes it.
    pub(super) fn remembered(
        &self,
        making: &Making,
        shell: &Shell,
        make: impl FnOnce() -> Result<Layer, ImageError>,
    ) -> Result<Layer, ImageError> {
        let Making { key, does } = making;
        let note = self.cache.dir("std")?.join(key.to_string());
        let store = self.cache.dir("layers")?;
        let known = || {
            // A note that can't be read costs a compilation, and no pin.
            let text = fs::read_to_string(&note).ok()?;
            let (diff_id, size) = text.trim().split_once(' ')?;
            let (diff_id, size) = (diff_id.parse().ok()?, size.parse().ok()?);
            find(&store, diff_id, size)
        };
        if let Some(known) = known() {
            return Ok(known);
        }
        let _turn = self.cache.turn(&format!("std-{}", key.short()), shell, does)?;
        if let Some(known) = known() {
            return Ok(known);
        }
        let made = make()?;
        write_atomically(&note, format!("{} {}\n", made.diff_id, made.size).as_bytes())?;
        Ok(made)
    }
}

/// A digest of some texts in their order.
pub(super) fn key_of(parts: impl IntoIterator<Item = String>) -> Digest {
    let mut key = Hasher::new();
    for part in parts {
        // A length before each, so that no two lists are the same bytes.
        key.update(format!("{} {part}\n", part.len()).as_bytes());
    }
    key.finish()
}
