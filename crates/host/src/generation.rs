//! One generation of a plugin: a library that was loaded, with an instance; and how it begins and ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use crate::deadline::Attempt;
use crate::gate::Admission;
use crate::guard::place::Node;
use crate::instance::Instance;
use crate::lifecycle::{Life, LifeCause, LifeError, LifeState, Step, Uses};
use crate::load::{LoadError, Loader};
use crate::plugin::{Origin, Plugin};

/// A generation that can be called.
pub(crate) struct Generation {
    pub(crate) info: Arc<Info>,
    pub(crate) instance: Instance,
}

/// What is known of a generation, beside its instance, which somebody may have alone just now.
pub(crate) struct Info {
    /// 1 for a plugin's first.
    pub(crate) number: u64,
    pub(crate) origin: Origin,
    /// What it was loaded from, if that was kept.
    pub(crate) admission: Option<Arc<Admission>>,
    pub(crate) since: Instant,
    pub(crate) mapped_at: SystemTime,
    state: Mutex<LifeState>,
}

impl Info {
    fn new(
        number: u64,
        origin: Origin,
        admission: Option<Arc<Admission>>,
        state: LifeState,
    ) -> Self {
        let (since, mapped_at) = (Instant::now(), SystemTime::now());
        Self { number, origin, admission, since, mapped_at, state: Mutex::new(state) }
    }

    pub(crate) fn name(&self) -> &str {
        self.origin.name()
    }

    pub(crate) fn state(&self) -> LifeState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is quarantined stays so.
    pub(crate) fn set_state(&self, new: LifeState) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != LifeState::Quarantined {
            *state = new;
        }
    }

    pub(crate) fn quarantine(&self) {
        self.set_state(LifeState::Quarantined);
    }
}

/// How a generation ended that was replaced or unloaded.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// Its instance is gone, and its library as soon as nothing that it made is left, if it may go.
    Destroyed,
    /// The plugin reports an error of its end. It is gone all the same.
    Failed(LifeError),
    /// It is still used, or did not end in time: it stays in memory until the process ends.
    Quarantined {
        /// How many calls of it were running.
        n_calls: usize,
    },
    /// The thread that asked uses it itself; another one waits until it is left.
    Later,
}

impl Generation {
    /// The first generation of a plugin that was loaded already.
    pub(crate) fn of_plugin(plugin: Plugin) -> Self {
        let Plugin { origin, instance } = plugin;
        let info = Arc::new(Info::new(1, origin, None, LifeState::Running));
        Self { info, instance }
    }

    /// Loads a library that was admitted and makes an instance.
    pub(crate) fn start(
        loader: Loader,
        admission: &Arc<Admission>,
        config: &Arc<[u8]>,
        number: u64,
        life: &Life,
    ) -> Result<Self, LifeError> {
        let origin = Origin::Loaded(Box::new(admission.manifest().clone()));
        let info = Info::new(number, origin, Some(admission.clone()), LifeState::New);
        let info = Arc::new(info);
        let mapped = {
            let admission = admission.clone();
            life.step(&info, Step::Load, Uses::NoLibrary, move |_| Ok(loader.map(&admission)?))?
        };
        let exports =
            life.step(&info, Step::Initialize, Uses::NoLibrary, move |_| Ok(mapped.prepare()?));
        let exports = exports.inspect_err(|_| info.set_state(LifeState::Destroyed))?;
        let (theirs, config, path) = (exports.clone(), config.clone(), admission.path().to_owned());
        let create = move |attempt: &Attempt| {
            let made = attempt.with_context(|context| theirs.create(&config, context));
            drop(theirs);
            Ok(made.map_err(|source| LoadError::Create { path, source })?)
        };
        // If no instance is made the library ends in this step.
        let instance = life.step(&info, Step::Create, Uses::Library(exports), create);
        let instance = instance.inspect_err(|_| info.set_state(LifeState::Destroyed))?;
        Ok(Self { info, instance })
    }

    /// Lets those leave who use it, and ends it. It was replaced, so nobody new comes.
    pub(crate) fn end(node: Arc<Node<Self>>, info: &Arc<Info>, life: &Life) -> Ended {
        let quarantined = |node: Arc<Node<Self>>| {
            info.quarantine();
            let n_calls = node.n_users();
            // Whoever still uses it may do so for ever.
            std::mem::forget(node);
            Ended::Quarantined { n_calls }
        };
        if info.state() == LifeState::Quarantined {
            return quarantined(node);
        }
        let until = life.deadlines.drain.and_then(|time| Instant::now().checked_add(time));
        let generation = match Node::drain(node, until) {
            Ok(generation) => generation,
            Err(node) => return quarantined(node),
        };
        generation.destroy(life)
    }

    /// Ends what nobody uses.
    pub(crate) fn destroy(self, life: &Life) -> Ended {
        let Self { info, instance } = self;
        if info.state() == LifeState::Quarantined {
            std::mem::forget(instance);
            return Ended::Quarantined { n_calls: 0 };
        }
        let uses = Uses::Library(instance.exports().clone());
        let ended = life
            .step(&info, Step::Destroy, uses, move |_| instance.destroy().map_err(LifeCause::Call));
        match ended {
            Ok(()) => Ended::Destroyed,
            Err(LifeError { cause: LifeCause::Late(_), .. }) => Ended::Quarantined { n_calls: 0 },
            Err(error) => {
                info.set_state(LifeState::Destroyed);
                Ended::Failed(error)
            }
        }
    }
}
