//! The life of a generation: its states, the steps between them, and how a step goes wrong.
//!
//! ```text
//! new ─load─► loaded ─initialize─► initialized ─create─► running ─pause─► paused
//!                                                        running ◄─resume─ paused
//!                                                        running, paused ─destroy─► destroyed
//! ```
//!
//! A step that is not in this picture is an error and runs nothing. One that fails leaves the
//! state as it was; after `load`, `initialize` and `create` all that they made is released. One that does
//! not end by its deadline leaves the generation `quarantined`: nothing of it is destroyed or unmapped from then on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use keyway_abi::call::CallError;
use serde::Serialize;
use thiserror::Error;

use crate::deadline::{self, Attempt, Late, Limit};
use crate::exports::{ContractError, Exports};
use crate::generation::Info;
use crate::guard::place::Unavailable;
use crate::load::LoadError;
use keyway_abi::call::Context;

/// What a generation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LifeState {
    /// Nothing of it has run.
    New,
    /// Its library is mapped.
    Loaded,
    /// Its library is prepared.
    Initialized,
    /// It has an instance that can be called.
    Running,
    /// It has an instance that has released what it does not need while nobody calls it; nobody can.
    Paused,
    /// Its instance is gone.
    Destroyed,
    /// Something of it did not end in time. It is never destroyed or unmapped.
    Quarantined,
}

/// What is done to a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// Its library is mapped; its constructors run.
    Load,
    /// Its library is prepared: the plugin's `init`.
    Initialize,
    /// Its instance is made.
    Create,
    /// The host looks whether it works.
    Check,
    /// It releases what it does not need.
    Pause,
    /// It takes that back.
    Resume,
    /// It says its state.
    SaveState,
    /// It goes on from another one's state.
    RestoreState,
    /// Those who call it leave.
    Drain,
    /// Its instance ends, and its library: `deinit`, and it is unmapped if it may be.
    Destroy,
}

impl Step {
    /// The state after this step, if it is one that can be taken in `state`.
    pub const fn leads(self, state: LifeState) -> Option<LifeState> {
        use LifeState::{Destroyed, Initialized, Loaded, New, Paused, Running};
        Some(match (self, state) {
            (Self::Load, New) => Loaded,
            (Self::Initialize, Loaded) => Initialized,
            (Self::Create, Initialized) => Running,
            (Self::Check | Self::SaveState | Self::RestoreState, Running) => Running,
            (Self::Pause, Running) => Paused,
            (Self::Resume, Paused) => Running,
            (Self::Drain, Running | Paused) => state,
            (Self::Destroy, Loaded | Initialized | Running | Paused) => Destroyed,
            _ => return None,
        })
    }
}

/// How long each step may take; none is for ever. A step with a deadline runs on a thread of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the steps")]
pub struct Deadlines {
    pub load: Option<Duration>,
    pub initialize: Option<Duration>,
    pub create: Option<Duration>,
    pub check: Option<Duration>,
    pub pause: Option<Duration>,
    pub resume: Option<Duration>,
    pub save_state: Option<Duration>,
    pub restore_state: Option<Duration>,
    pub drain: Option<Duration>,
    pub destroy: Option<Duration>,
    /// How much longer than its deadline a step or a call is waited for, so that a plugin which heeds the
    /// cancellation can say so and is not quarantined.
    pub grace: Duration,
}

impl Deadlines {
    /// None.
    pub const NONE: Self = Self::each(None);

    /// The same for each step.
    pub const fn all(time: Duration) -> Self {
        Self::each(Some(time))
    }

    const fn each(time: Option<Duration>) -> Self {
        Self {
            load: time,
            initialize: time,
            create: time,
            check: time,
            pause: time,
            resume: time,
            save_state: time,
            restore_state: time,
            drain: time,
            destroy: time,
            grace: Duration::from_millis(20),
        }
    }

    /// That of one step.
    pub const fn of(&self, step: Step) -> Option<Duration> {
        match step {
            Step::Load => self.load,
            Step::Initialize => self.initialize,
            Step::Create => self.create,
            Step::Check => self.check,
            Step::Pause => self.pause,
            Step::Resume => self.resume,
            Step::SaveState => self.save_state,
            Step::RestoreState => self.restore_state,
            Step::Drain => self.drain,
            Step::Destroy => self.destroy,
        }
    }
}

/// A step that is about to be taken, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition<'a> {
    /// The plugin.
    pub plugin: &'a str,
    /// Which of its generations.
    pub generation: u64,
    /// The step.
    pub step: Step,
    /// The state before it.
    pub from: LifeState,
    /// The state after it, if it goes well.
    pub to: LifeState,
}

/// What a host does before and after each step, on the thread that asked for the step. Both must return soon, and
/// must not change the same plugin's life.
pub trait Hooks: Send + Sync {
    /// The step is about to be taken.
    fn before(&self, transition: &Transition<'_>) {
        let _ = transition;
    }

    /// The step was taken, or failed.
    fn after(&self, transition: &Transition<'_>, result: Result<(), &LifeError>) {
        let _ = (transition, result);
    }

    /// A call that is counted went wrong, on the thread that made it. It may be the plugin's answer like any other;
    /// `PANICKED` and `POISONED` are the instance's end.
    fn failed(&self, plugin: &str, generation: u64, error: &CallError) {
        let _ = (plugin, generation, error);
    }

    /// A call did not end by its deadline, and what it uses stays for ever.
    fn quarantined(&self, plugin: &str, generation: u64) {
        let _ = (plugin, generation);
    }
}

/// How the life of a plugin's generations is led.
#[derive(Clone)]
pub struct Life {
    /// How long each step may take.
    pub deadlines: Deadlines,
    /// What is done before and after each.
    pub hooks: Option<Arc<dyn Hooks>>,
}

impl Life {
    /// Without deadlines and hooks.
    pub const PLAIN: Self = Self { deadlines: Deadlines::NONE, hooks: None };

    pub(crate) fn limit(&self, time: Option<Duration>) -> Option<Limit> {
        time.map(|time| Limit { time, grace: self.deadlines.grace })
    }

    /// Takes a step of a generation. If it is late, what it had begun to use is quarantined.
    pub(crate) fn step<T: Send + 'static>(
        &self,
        info: &Arc<Info>,
        step: Step,
        uses: Uses,
        work: impl FnOnce(&Attempt) -> Result<T, LifeCause> + Send + 'static,
    ) -> Result<T, LifeError> {
        let error = |cause| LifeError {
            plugin: info.name().to_owned(),
            generation: info.number,
            step,
            cause,
        };
        let from = info.state();
        let to = step.leads(from).ok_or_else(|| error(LifeCause::WrongState(from)))?;
        let (plugin, generation) = (info.name(), info.number);
        let transition = Transition { plugin, generation, step, from, to };
        if let Some(hooks) = &self.hooks {
            hooks.before(&transition);
        }
        let time = self.deadlines.of(step);
        let theirs = info.clone();
        let work = move |attempt: &Attempt| {
            let exports = match uses {
                Uses::NoLibrary => Some(None),
                Uses::Library(exports) => Some(Some(exports)),
                Uses::WhatItEnters => None,
            };
            if exports.is_some_and(|exports| !attempt.begin(theirs, exports)) {
                return Err(LifeCause::Unavailable(Unavailable::Late));
            }
            work(attempt)
        };
        let name = format!("keyway-{step}");
        let result = match deadline::run(&name, self.limit(time), Context::NONE, work) {
            Ok(Ok(value)) => {
                info.set_state(to);
                Ok(value)
            }
            Ok(Err(cause)) => Err(error(cause)),
            Err(Late { generation: Some(_) }) => {
                Err(error(LifeCause::Late(time.unwrap_or_default())))
            }
            Err(Late { generation: None }) => Err(error(LifeCause::Unavailable(Unavailable::Late))),
        };
        if let Some(hooks) = &self.hooks {
            hooks.after(&transition, result.as_ref().map(|_| ()));
        }
        result
    }
}

impl Default for Life {
    fn default() -> Self {
        Self::PLAIN
    }
}

/// What a step runs the code of.
pub(crate) enum Uses {
    /// A library that is not known yet: what maps or prepares it holds it.
    NoLibrary,
    /// This one.
    Library(Exports),
    /// That of a generation which others use too: the work says so when its turn has come.
    WhatItEnters,
}

/// Why a step of a plugin's life was not taken.
#[derive(Debug, Error)]
#[error("the step `{step}` of `{plugin}`, generation {generation}, failed")]
pub struct LifeError {
    /// The plugin.
    pub plugin: String,
    /// Which of its generations.
    pub generation: u64,
    /// What was to be done to it.
    pub step: Step,
    /// Why it was not.
    #[source]
    pub cause: LifeCause,
}

/// How a step goes wrong.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LifeCause {
    /// It is no step from this state.
    #[error("it is {0}, and this step is none from there")]
    WrongState(LifeState),
    /// It did not end in time.
    #[error(
        "it did not end within {0:?}; the generation is quarantined: it stays in memory until the process ends"
    )]
    Late(Duration),
    /// The library was not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The plugin reports an error.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It lacks an interface for which handles were given.
    #[error(transparent)]
    Interface(#[from] ContractError),
    /// The host's own check says no.
    #[error("the host's check refused it: {0}")]
    Unhealthy(String),
    /// It can't be used now.
    #[error(transparent)]
    Unavailable(Unavailable),
}

impl std::error::Error for Unavailable {}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "the plugin was unloaded",
            Self::Paused => "the plugin is paused; resume it first",
            Self::Own => {
                "this thread is in a call of the plugin itself, and would wait for ever; end that call first"
            }
            Self::Late => "the plugin did not become free in time",
        })
    }
}

impl fmt::Display for LifeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Loaded => "loaded",
            Self::Initialized => "initialized",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Destroyed => "destroyed",
            Self::Quarantined => "quarantined",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load => "load",
            Self::Initialize => "initialize",
            Self::Create => "create",
            Self::Check => "check",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::SaveState => "save state",
            Self::RestoreState => "restore state",
            Self::Drain => "drain",
            Self::Destroy => "destroy",
        })
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life").field("deadlines", &self.deadlines).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_step_is_taken_from_a_state_that_it_does_not_fit() {
        use LifeState as S;
        use Step as T;
        let states = [
            S::New,
            S::Loaded,
            S::Initialized,
            S::Running,
            S::Paused,
            S::Destroyed,
            S::Quarantined,
        ];
        let steps = [
            (T::Load, vec![(S::New, S::Loaded)]),
            (T::Initialize, vec![(S::Loaded, S::Initialized)]),
            (T::Create, vec![(S::Initialized, S::Running)]),
            (T::Pause, vec![(S::Running, S::Paused)]),
            (T::Resume, vec![(S::Paused, S::Running)]),
            (T::SaveState, vec![(S::Running, S::Running)]),
            (T::RestoreState, vec![(S::Running, S::Running)]),
            (T::Check, vec![(S::Running, S::Running)]),
            (T::Drain, vec![(S::Running, S::Running), (S::Paused, S::Paused)]),
            (
                T::Destroy,
                [S::Loaded, S::Initialized, S::Running, S::Paused]
                    .map(|s| (s, S::Destroyed))
                    .into(),
            ),
        ];
        for (step, allowed) in steps {
            for state in states {
                let expected = allowed.iter().find(|(from, _)| *from == state).map(|(_, to)| *to);
                assert_eq!(step.leads(state), expected, "{step} from {state}");
            }
        }
    }
}
