//! Loading a plugin for many threads: in the steps of a life, from an admission that is kept for going back.

use std::path::Path;
use std::sync::Arc;

use keyway_manifest::text::Show as _;

use super::SharedPlugin;
use crate::gate::Admission;
use crate::generation::Generation;
use crate::lifecycle::{Life, LifeCause, LifeError, Step};
use crate::load::Host;

impl Host {
    /// Checks the library at `path`, loads it and creates an instance from `config`, for many threads, and in
    /// the steps and with the deadlines of `life`.
    ///
    /// # Errors
    /// The gate refused it, or a step failed; then all is released that was made until there.
    pub fn load_shared(
        &self,
        path: &Path,
        config: &[u8],
        life: Life,
    ) -> Result<SharedPlugin, LifeError> {
        let admission = self.gate().check(path).map_err(|rejection| LifeError {
            plugin: rejection.path.shown().to_string(),
            generation: 1,
            step: Step::Load,
            cause: LifeCause::Load(rejection.into()),
        })?;
        self.load_shared_admitted(admission, config, life)
    }

    /// The same for what the gate has admitted.
    ///
    /// # Errors
    /// As for [`load_shared`](Self::load_shared), but for the gate's.
    pub fn load_shared_admitted(
        &self,
        admission: Admission,
        config: &[u8],
        life: Life,
    ) -> Result<SharedPlugin, LifeError> {
        let (admission, config) = (Arc::new(admission), Arc::from(config));
        let generation = Generation::start(self.loader(), &admission, &config, 1, &life)?;
        Ok(SharedPlugin::new(generation, config, life))
    }
}
