//! Reloading: another generation takes the place of the one that is called, without a call that waits for it
//! or sees parts of both.
//!
//! ```text
//! gate ─► load ─► initialize ─► create ─► check ─► save state ─► restore state ─► swap ─► drain ─► destroy
//!        the next generation, N + 1                of N          in N + 1                 N       N
//! ```
//!
//! Until the swap nothing of N has changed: whatever fails leaves it serving, and ends N + 1. While its state
//! moves, calls that take N exclusively wait, since what they change would be lost; others go on.
//!
//! Going back is the same with what the generation before was loaded from, which is kept: the bytes that the gate
//! admitted. Keeping N itself paused would need another life for it, and a plugin that releases all that two of it can't have
//! at once; and it would go on with a state from before.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use keyway_abi::call::{CallError, CallStatus};
use keyway_manifest::text::Show as _;
use keyway_sdk::SavedState;
use serde::Serialize;
use thiserror::Error;

use crate::gate::Admission;
use crate::generation::{Ended, Generation, Info};
use crate::guard::place::{Access, Unavailable};
use crate::instance::{Instance, State};
use crate::lifecycle::{LifeCause, LifeError, LifeState, Step, Uses};
use crate::load::Host;
use crate::refusal::Rejection;
use crate::shared::{Change, Inner, SharedPlugin, lock};

/// Looks whether a new instance works, before it is called by others. An error says why it does not.
pub type HealthCheck = dyn Fn(&mut Instance) -> Result<(), String> + Send + Sync;

/// How to reload.
#[derive(Clone, Default)]
pub struct Reload {
    /// What becomes of the state.
    pub state: StateMove,
    /// Looks at the new instance before it gets the state. None: that it was made is enough.
    pub health: Option<Arc<HealthCheck>>,
}

/// What becomes of a generation's state in a reload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StateMove {
    /// It moves if both generations support that; else the new one begins without.
    #[default]
    IfSupported,
    /// It moves, or the reload fails.
    Required,
    /// The new one begins without.
    Discard,
}

/// What became of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StateMoved {
    /// The new generation goes on with it.
    Moved {
        /// Its format.
        format: u32,
        /// How long it was.
        n_bytes: usize,
    },
    /// The old generation saves none.
    NotSaved,
    /// The new generation restores none.
    NotRestored,
    /// It was not asked for.
    Discarded,
    /// The old generation is paused or quarantined, and can't be asked.
    NotAsked,
}

/// What a reload did.
#[derive(Debug)]
pub struct Reloaded {
    /// The generation that was called before.
    pub from: u64,
    /// The one that is called now.
    pub to: u64,
    /// The version that is called now.
    pub version: String,
    /// What became of the state.
    pub state: StateMoved,
    /// How the old generation ended.
    pub ended: Ended,
    /// How long it took until the new generation was called.
    pub swapped_after: Duration,
}

/// Why a plugin was not reloaded. The generation that was called before still is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The gate refused the library.
    #[error(transparent)]
    Refused(#[from] Rejection),
    /// A step failed, of the new generation or of the old one.
    #[error("`{plugin}` was not reloaded, and generation {serving} goes on")]
    Step {
        /// The plugin.
        plugin: String,
        /// The generation that is still called.
        serving: u64,
        /// What failed.
        source: Box<LifeError>,
    },
    /// It is another plugin.
    #[error("`{path}` is the plugin `{found}`, and can't take the place of `{expected}`", path = .path.shown())]
    OtherPlugin {
        /// The library.
        path: std::path::PathBuf,
        /// Its name.
        found: String,
        /// That of the plugin that was to be reloaded.
        expected: String,
    },
    /// There is nothing to go back to.
    #[error(
        "`{plugin}` has no generation to go back to: it was not reloaded, or what was before it is compiled in"
    )]
    NoPrevious {
        /// The plugin.
        plugin: String,
    },
    /// It has no place to be reloaded in.
    #[error("`{plugin}` is {state}, and can't be reloaded")]
    WrongState {
        /// The plugin.
        plugin: String,
        /// Its state.
        state: LifeState,
    },
}

impl SharedPlugin {
    /// Puts what lies at `path` in the place of the current generation.
    ///
    /// # Errors
    /// Why not. The current generation is called as before.
    pub fn reload(
        &self,
        host: &Host,
        path: &Path,
        options: &Reload,
    ) -> Result<Reloaded, ReloadError> {
        self.reload_admitted(host, host.gate().check(path)?, options)
    }

    /// The same for what the gate has admitted.
    ///
    /// # Errors
    /// As for [`reload`](Self::reload), but for the gate's.
    pub fn reload_admitted(
        &self,
        host: &Host,
        admission: Admission,
        options: &Reload,
    ) -> Result<Reloaded, ReloadError> {
        let mut change = lock(&self.inner.change);
        self.inner.reload(host, &Arc::new(admission), options, &mut change)
    }

    /// Goes back to what the generation before this one was loaded from: a new generation of it is
    /// made, and gets the state if it can read it. Doing it again goes back to where it was.
    ///
    /// # Errors
    /// There is none, or as for [`reload`](Self::reload).
    pub fn roll_back(&self, host: &Host, options: &Reload) -> Result<Reloaded, ReloadError> {
        let mut change = lock(&self.inner.change);
        let plugin = || self.name();
        let previous =
            change.previous.clone().ok_or_else(|| ReloadError::NoPrevious { plugin: plugin() })?;
        self.inner.reload(host, &previous, options, &mut change)
    }

    /// Makes a new generation of what the current one was loaded from.
    ///
    /// # Errors
    /// It is compiled in or was loaded by [`Plugin::share`](crate::Plugin::share), or as for [`reload`](Self::reload).
    pub fn restart(&self, host: &Host, options: &Reload) -> Result<Reloaded, ReloadError> {
        let mut change = lock(&self.inner.change);
        let plugin = || self.name();
        let admission = self.inner.info().admission.clone();
        let admission = admission.ok_or_else(|| ReloadError::NoPrevious { plugin: plugin() })?;
        let previous = change.previous.clone();
        let reloaded = self.inner.reload(host, &admission, options, &mut change);
        change.previous = previous;
        reloaded
    }
}

impl Inner {
    fn reload(
        self: &Arc<Self>,
        host: &Host,
        admission: &Arc<Admission>,
        options: &Reload,
        change: &mut Change,
    ) -> Result<Reloaded, ReloadError> {
        let start = Instant::now();
        let old = self.info();
        let (expected, found) = (old.name(), admission.manifest().plugin.name.as_str());
        if expected != found {
            let (expected, found) = (expected.to_owned(), found.to_owned());
            let path = admission.path().to_owned();
            return Err(ReloadError::OtherPlugin { path, found, expected });
        }
        let is_there = self.place.current().is_some();
        if !is_there || old.state() == LifeState::Paused {
            let (plugin, state) = (old.name().to_owned(), old.state());
            return Err(ReloadError::WrongState { plugin, state });
        }
        let failed = |error| {
            let (plugin, serving) = (old.name().to_owned(), old.number);
            ReloadError::Step { plugin, serving, source: Box::new(error) }
        };
        change.n_begun += 1;
        let loader = host.loader();
        let new = Generation::start(loader, admission, &self.config, change.n_begun, &self.life);
        let new = self.examine(new.map_err(failed)?, options).map_err(failed)?;
        let moved = self.move_state(&old, new, options.state);
        let (new, state) = moved.map_err(|error| {
            // Calls that wait for the swap go on with what is there.
            if let Some(node) = self.place.current() {
                self.place.set_access(&node, Access::Open);
            }
            failed(error)
        })?;
        let (info, from) = (new.info.clone(), old.number);
        let replaced = self.place.replace(Some(new));
        self.set_info(info.clone());
        change.previous = old.admission.clone();
        let swapped_after = start.elapsed();
        let ended = match replaced {
            // It holds a guard of what it replaced.
            Some(node) if node.is_used_by_this_thread() => {
                let life = self.life.clone();
                let work = move || drop(Generation::end(node, &old, &life));
                // Without a thread it stays, which is always safe.
                let _ = thread::Builder::new().name("keyway-drain".to_owned()).spawn(work);
                Ended::Later
            }
            Some(node) => Generation::end(node, &old, &self.life),
            None => Ended::Destroyed,
        };
        let (to, version) = (info.number, info.origin.version().to_owned());
        Ok(Reloaded { from, to, version, state, ended, swapped_after })
    }

    /// Whether the new generation can be what the old one was.
    fn examine(&self, new: Generation, options: &Reload) -> Result<Generation, LifeError> {
        let required = lock(&self.required).clone();
        let lacking = required.iter().find_map(|(_, find)| find(new.instance.exports()).err());
        if let Some(error) = lacking {
            let (plugin, generation) = (new.info.name().to_owned(), new.info.number);
            let _ = new.destroy(&self.life);
            let (step, cause) = (Step::Check, error.into());
            return Err(LifeError { plugin, generation, step, cause });
        }
        let Some(check) = options.health.clone() else { return Ok(new) };
        self.try_on(new, Step::Check, move |instance| check(instance).map_err(LifeCause::Unhealthy))
            .map(|(new, ())| new)
    }

    /// Takes a step of a generation that nobody calls yet, and ends the generation if the step fails.
    fn try_on<T: Send + 'static>(
        &self,
        generation: Generation,
        step: Step,
        work: impl FnOnce(&mut Instance) -> Result<T, LifeCause> + Send + 'static,
    ) -> Result<(Generation, T), LifeError> {
        let Generation { info, mut instance } = generation;
        let uses = Uses::Library(instance.exports().clone());
        let work = move |_: &crate::deadline::Attempt| {
            let result = work(&mut instance);
            Ok((instance, result))
        };
        let (instance, result) = self.life.step(&info, step, uses, work)?;
        let (plugin, number) = (info.name().to_owned(), info.number);
        let generation = Generation { info, instance };
        match result {
            Ok(value) => Ok((generation, value)),
            Err(cause) => {
                let _ = generation.destroy(&self.life);
                Err(LifeError { plugin, generation: number, step, cause })
            }
        }
    }

    fn move_state(
        self: &Arc<Self>,
        old: &Arc<Info>,
        new: Generation,
        policy: StateMove,
    ) -> Result<(Generation, StateMoved), LifeError> {
        if policy == StateMove::Discard {
            return Ok((new, StateMoved::Discarded));
        }
        if old.state() != LifeState::Running && policy != StateMove::Required {
            return Ok((new, StateMoved::NotAsked));
        }
        let saved = match self.save_state(old) {
            Ok(saved) => saved,
            Err(error) if is_unsupported(&error) && policy != StateMove::Required => {
                return Ok((new, StateMoved::NotSaved));
            }
            Err(error) => {
                let _ = new.destroy(&self.life);
                return Err(error);
            }
        };
        let (format, n_bytes) = (saved.format, saved.bytes.len());
        let (plugin, version) = (old.name().to_owned(), old.origin.version().to_owned());
        let is_optional = policy != StateMove::Required;
        let restored = self.try_on(new, Step::RestoreState, move |instance| {
            let state = SavedState {
                format: saved.format,
                bytes: &saved.bytes,
                plugin: &plugin,
                version: &version,
            };
            match instance.restore_state(&state, keyway_abi::call::Context::NONE) {
                Ok(()) => Ok(true),
                Err(error) if error.status == CallStatus::UNSUPPORTED && is_optional => Ok(false),
                Err(error) => Err(error.into()),
            }
        });
        let (new, is_restored) = restored?;
        Ok(match is_restored {
            true => (new, StateMoved::Moved { format, n_bytes }),
            false => (new, StateMoved::NotRestored),
        })
    }

    /// The state of the generation that is called. From then on nobody has that exclusively.
    fn save_state(self: &Arc<Self>, old: &Arc<Info>) -> Result<State, LifeError> {
        self.not_by_this_thread(old, Step::SaveState)?;
        let inner = self.clone();
        self.life.step(old, Step::SaveState, Uses::WhatItEnters, move |attempt| {
            let mut alone = inner.alone(Access::Open, attempt)?;
            let state = attempt.with_context(|context| alone.instance.save_state(context))?;
            inner.place.set_access(alone.node(), Access::SharedOnly);
            Ok(state)
        })
    }
}

fn is_unsupported(error: &LifeError) -> bool {
    let unsupported = CallStatus::UNSUPPORTED;
    matches!(&error.cause, LifeCause::Call(CallError { status, .. }) if *status == unsupported)
}

impl ReloadError {
    /// Whether it is for the time being: somebody was in the way.
    pub fn is_busy(&self) -> bool {
        let cause = match self {
            Self::Step { source, .. } => &source.cause,
            _ => return false,
        };
        matches!(cause, LifeCause::Unavailable(Unavailable::Own | Unavailable::Late))
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_check = self.health.is_some();
        let mut shown = f.debug_struct("Reload");
        shown.field("state", &self.state).field("has_check", &has_check).finish()
    }
}
