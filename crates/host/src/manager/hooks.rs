//! What a plugin's life and its calls tell the manager, beside the host's own hooks.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use keyway_abi::call::{CallError, CallStatus};

use super::events::{Event, chain};
use super::supervisor::Notice;
use crate::lifecycle::{Hooks, LifeCause, LifeError, Transition};

/// Tells what happens to one plugin.
pub(super) struct ManagerHooks {
    pub(super) name: String,
    /// The host's own.
    pub(super) host: Option<Arc<dyn Hooks>>,
    pub(super) events: Sender<Event>,
    pub(super) notices: Sender<Notice>,
}

impl Hooks for ManagerHooks {
    fn before(&self, transition: &Transition<'_>) {
        if let Some(hooks) = &self.host {
            hooks.before(transition);
        }
    }

    fn after(&self, transition: &Transition<'_>, result: Result<(), &LifeError>) {
        let (name, Transition { generation, step, to, .. }) = (self.name.clone(), *transition);
        let _ = self.events.send(match result {
            Ok(()) => Event::State { name, generation, step, state: to },
            Err(error) => Event::StepFailed { name, generation, step, error: chain(error) },
        });
        if let Err(LifeError { cause: LifeCause::Late(_), .. }) = result {
            let _ = self.events.send(Event::Quarantined { name: self.name.clone(), generation });
        }
        if let Some(hooks) = &self.host {
            hooks.after(transition, result);
        }
    }

    fn failed(&self, plugin: &str, generation: u64, error: &CallError) {
        if error.status == CallStatus::PANICKED {
            let _ = self.events.send(Event::panicked(&self.name, generation, error));
        }
        if [CallStatus::PANICKED, CallStatus::POISONED].contains(&error.status) {
            let (name, reason) = (self.name.clone(), error.to_string());
            let _ = self.notices.send(Notice::Failed { name, generation, reason });
        }
        if let Some(hooks) = &self.host {
            hooks.failed(plugin, generation, error);
        }
    }

    fn quarantined(&self, plugin: &str, generation: u64) {
        let name = self.name.clone();
        let _ = self.events.send(Event::Quarantined { name: name.clone(), generation });
        let reason = "a call did not end by its deadline".to_owned();
        let _ = self.notices.send(Notice::Failed { name, generation, reason });
        if let Some(hooks) = &self.host {
            hooks.quarantined(plugin, generation);
        }
    }
}
