//! What a manager says of its plugins, in the order in which it happened.

use std::error::Error;

use keyway_abi::call::CallError;
use serde::Serialize;

use crate::Code;
use crate::generation::Ended;
use crate::lifecycle::{LifeCause, LifeError, LifeState, Step};
use crate::load::LoadError;
use crate::refusal::Rejection;
use crate::reload::{ReloadError, Reloaded, StateMoved};

/// Something that happened to a plugin. As JSON, `event` says what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the fields say no more than their names: which plugin, which generation, why"
)]
pub enum Event {
    /// It runs.
    Loaded { name: String, version: String, generation: u64 },
    /// It was not loaded; `codes` are the gate's, if that refused it.
    Refused { name: String, codes: Vec<Code>, error: String },
    /// A generation has come to another state.
    State { name: String, generation: u64, step: Step, state: LifeState },
    /// A step of a generation's life failed.
    StepFailed { name: String, generation: u64, step: Step, error: String },
    /// Another generation is called.
    Reloaded {
        name: String,
        #[serde(flatten)]
        change: Change,
    },
    /// The one before is called again.
    RolledBack {
        name: String,
        #[serde(flatten)]
        change: Change,
    },
    /// A new instance is called in place of one that panicked or hung.
    Restarted {
        name: String,
        #[serde(flatten)]
        change: Change,
    },
    /// Another generation was to be called, and the one before goes on; `codes` are the gate's, if that refused it.
    NotReloaded { name: String, codes: Vec<Code>, error: String },
    /// Its library and its manifest don't belong together, as while one of them is being copied: their next change is
    /// waited for (feature `watch`).
    Incomplete { name: String },
    /// A call panicked, so that its instance is not called again.
    Panicked { name: String, generation: u64, error: String },
    /// Something of it did not end in time. It stays in memory until the process ends.
    Quarantined { name: String, generation: u64 },
    /// It is not called any more, since it went wrong.
    Retired { name: String, reason: String },
    /// It was stopped.
    Stopped { name: String, ended: EndedAs },
}

/// How one generation took another's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The one that was called before.
    pub from: u64,
    /// The one that is called now.
    pub to: u64,
    /// Its version.
    pub version: String,
    /// What became of the state.
    pub state: StateMoved,
    /// What became of the one before.
    pub ended: EndedAs,
}

/// How a generation ended, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndedAs {
    /// It is gone.
    Destroyed,
    /// It is gone, and reported an error.
    Failed(String),
    /// It stays in memory until the process ends.
    Quarantined,
    /// It goes as soon as it is left.
    Later,
}

impl From<&Ended> for EndedAs {
    fn from(ended: &Ended) -> Self {
        match ended {
            Ended::Destroyed => Self::Destroyed,
            Ended::Failed(error) => Self::Failed(chain(error)),
            Ended::Quarantined { .. } => Self::Quarantined,
            Ended::Later => Self::Later,
        }
    }
}

impl From<&Reloaded> for Change {
    fn from(reloaded: &Reloaded) -> Self {
        let Reloaded { from, to, version, state, ended, swapped_after: _ } = reloaded;
        let (version, ended) = (version.clone(), ended.into());
        Self { from: *from, to: *to, version, state: *state, ended }
    }
}

impl Event {
    pub(crate) fn refused(name: &str, error: &LifeError) -> Self {
        let codes = match &error.cause {
            LifeCause::Load(LoadError::Refused(rejection)) => codes(rejection),
            _ => Vec::new(),
        };
        Self::Refused { name: name.to_owned(), codes, error: chain(error) }
    }

    pub(crate) fn not_reloaded(name: &str, error: &ReloadError) -> Self {
        let codes = match error {
            ReloadError::Refused(rejection) => codes(rejection),
            _ => Vec::new(),
        };
        Self::NotReloaded { name: name.to_owned(), codes, error: chain(error) }
    }

    pub(crate) fn panicked(name: &str, generation: u64, error: &CallError) -> Self {
        Self::Panicked { name: name.to_owned(), generation, error: error.to_string() }
    }
}

fn codes(rejection: &Rejection) -> Vec<Code> {
    rejection.refusals.iter().map(|refusal| refusal.code).collect()
}

/// An error and its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        said = format!("{said}: {cause}");
        next = cause.source();
    }
    said
}
