//! A plugin that many threads call while it is reloaded, paused or unloaded.
//!
//! A [`Plugin`] is borrowed for each call, and the compiler sees to the rest. A [`SharedPlugin`] has a
//! place in which its current generation stands (`guard/place.rs`). A [`Guard`] keeps one generation, for a call or
//! several that must not see another one; it takes no lock. What takes the instance exclusively waits for
//! the calls that run and keeps others out meanwhile.
//!
//! ```no_run
//! use std::path::Path;
//! use std::time::Duration;
//!
//! use keyway_host::{Context, Deadlines, Expectation, Host, Life, Reload, Services};
//!
//! # #[keyway_host::interface]
//! # pub trait Shape {
//! #     fn area(&self) -> f64;
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let host = Host::new(Expectation::this_process(), Services::new(|_, _| ()))?;
//! let life = Life { deadlines: Deadlines::all(Duration::from_secs(10)), hooks: None };
//! let shape = host.load_shared(Path::new("plugins/libcircle.so"), b"", life)?;
//!
//! let handle = shape.handle::<dyn Shape>()?; // for any thread, goes along with reloads
//! let call = handle.call(Context::NONE)?; // one generation, for as many calls as you like
//! let area = call.interface()?.area()?;
//! drop(call);
//!
//! let reloaded = shape.reload(&host, Path::new("plugins/libcircle.so"), &Reload::default())?;
//! println!("generation {} of version {}", reloaded.to, reloaded.version);
//!
//! let answer = shape.call_with_deadline("render", b"", Duration::from_millis(200), Context::NONE)?;
//! # Ok(())
//! # }
//! ```
//!
//! A thread that is in a call of a plugin can't have it exclusively or unload it: it would wait for itself, so it gets
//! `BUSY`.

mod entered;
mod load;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyway_abi::call::{CallError, CallStatus, Context};
use keyway_abi::interface::Interface;
use keyway_manifest::Manifest;

use crate::counts::{Counted, Counts};
use crate::deadline::{self, Attempt, Late, Limit};
use crate::exports::{ContractError, Exports};
use crate::gate::Admission;
use crate::generation::{Ended, Generation, Info};
use crate::guard::place::{Access, Alone, Place, Unavailable};
use crate::handle::Handle;
use crate::instance::{Instance, Output};
use crate::lifecycle::{Life, LifeCause, LifeError, LifeState, Step, Uses};
use crate::plugin::Plugin;

pub use entered::{ExclusiveInstance, Guard};

/// A plugin for many threads. Clones are the same plugin.
///
/// The instance lives until [`unload`](Self::unload), or until all clones and handles are dropped.
#[derive(Clone)]
pub struct SharedPlugin {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) place: Place<Generation>,
    /// Of the generation in the place, or of the last one that was.
    info: Mutex<Arc<Info>>,
    /// What is kept for the next change of the plugin's life, which are made one at a time.
    pub(crate) change: Mutex<Change>,
    pub(crate) config: Arc<[u8]>,
    pub(crate) life: Life,
    pub(crate) counts: Counts,
    /// Whether a generation has each interface that handles were given for.
    pub(crate) required: Mutex<Vec<Requirement>>,
}

/// The id of an interface, and a function that looks for it.
pub(crate) type Requirement = (&'static str, fn(&Exports) -> Result<(), ContractError>);

#[derive(Default)]
pub(crate) struct Change {
    /// What the generation before this one was loaded from.
    pub(crate) previous: Option<Arc<Admission>>,
    /// How many generations were begun, this one among them.
    pub(crate) n_begun: u64,
}

impl SharedPlugin {
    pub(crate) fn of_plugin(plugin: Plugin) -> Self {
        Self::new(Generation::of_plugin(plugin), Arc::from([]), Life::PLAIN)
    }

    fn new(generation: Generation, config: Arc<[u8]>, life: Life) -> Self {
        let info = Mutex::new(generation.info.clone());
        let change = Mutex::new(Change { previous: None, n_begun: 1 });
        let inner = Inner {
            place: Place::new(generation),
            info,
            change,
            config,
            life,
            counts: Counts::default(),
            required: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Its name: its package's.
    pub fn name(&self) -> String {
        self.inner.info().name().to_owned()
    }

    /// The version of its current generation: its package's.
    pub fn version(&self) -> String {
        self.inner.info().origin.version().to_owned()
    }

    /// The manifest of its current generation; none if it is compiled in.
    pub fn manifest(&self) -> Option<Manifest> {
        self.inner.info().origin.manifest().cloned()
    }

    /// Which generation is current: 1 for the first, and one more for each reload that was tried.
    pub fn generation(&self) -> u64 {
        self.inner.info().number
    }

    /// What the current generation is doing.
    pub fn state(&self) -> LifeState {
        self.inner.info().state()
    }

    /// How many calls of the current generation, guards and handles' calls among them, have not ended.
    pub fn n_calls_in_flight(&self) -> usize {
        self.inner.place.current().map_or(0, |node| node.n_users())
    }

    /// What was counted since it was loaded.
    pub fn counted(&self) -> Counted {
        self.inner.counts.counted()
    }

    /// Whether the library stays in memory until the process ends, since it does not declare that it
    /// may go, or is compiled in.
    ///
    /// # Errors
    /// As for [`guard`](Self::guard).
    pub fn stays_mapped(&self) -> Result<bool, CallError> {
        Ok(self.guard()?.instance().exports().stays_mapped())
    }

    /// A guard: keeps the current generation, for a call or several in a row. It takes no lock and waits for no
    /// reload; it waits while somebody has the instance exclusively.
    ///
    /// # Errors
    /// `DISCONNECTED`: the plugin was unloaded. `BUSY`: it is paused, or this thread has it exclusively.
    #[inline]
    pub fn guard(&self) -> Result<Guard<'_>, CallError> {
        match self.inner.place.enter() {
            Ok(entered) => Ok(Guard::new(entered)),
            Err(refused) => Err(refused.into()),
        }
    }

    /// The instance, for what takes it exclusively: methods by name, functions that take `&mut self`. Waits
    /// for the calls that run.
    ///
    /// # Errors
    /// As for [`guard`](Self::guard); `BUSY` if this thread has a guard.
    pub fn exclusive(&self) -> Result<ExclusiveInstance<'_>, CallError> {
        let alone = self.inner.place.alone(None)?;
        Ok(ExclusiveInstance::new(alone))
    }

    /// A handle of the typed interface `I`, which any thread may keep, and which calls whatever generation is
    /// current. From then on no generation takes this one's place that does not offer `I`.
    ///
    /// # Errors
    /// The plugin offers another interface, or another version of it; or as for [`guard`](Self::guard).
    pub fn handle<I: Interface + ?Sized>(&self) -> Result<Handle<I>, crate::Error> {
        let guard = self.guard()?;
        guard.instance().exports().find::<I>()?;
        let mut required = lock(&self.inner.required);
        if !required.iter().any(|(id, _)| *id == I::ID) {
            required.push((I::ID, |exports| exports.find::<I>().map(|_| ())));
        }
        drop(required);
        Ok(Handle::new(self.inner.clone()))
    }

    /// How many handles there are, and clones of this value beside itself.
    pub fn n_handles(&self) -> usize {
        Arc::strong_count(&self.inner) - 1
    }

    /// Calls functions of the interface `I` that take `&self`, all on one generation. Counts as one call.
    ///
    /// # Errors
    /// What `call` returns; `UNSUPPORTED` if the plugin does not offer `I`; or as for [`guard`](Self::guard).
    pub fn call<I: Interface + ?Sized, R>(
        &self,
        context: Context<'_>,
        call: impl FnOnce(&I::Proxy<'_>) -> Result<R, CallError>,
    ) -> Result<R, CallError> {
        let mut generation = None;
        let result = self.guard().and_then(|guard| {
            generation = Some(guard.generation());
            let proxy = guard.interface::<I>(context).map_err(|error| not_offered(&error))?;
            call(&proxy)
        });
        self.inner.count(generation, &result);
        result
    }

    /// Calls a named method: with others at once if it is a shared one, else exclusively.
    ///
    /// # Errors
    /// What the plugin reports; `UNKNOWN_METHOD` if it has none of this name; or as for [`guard`](Self::guard).
    pub fn invoke(
        &self,
        method: &str,
        input: &[u8],
        context: Context<'_>,
    ) -> Result<Output, CallError> {
        let (generation, result) = self.inner.invoke(method, input, context, None);
        self.inner.count(generation, &result);
        result
    }

    /// The same with a deadline, on a thread of its own. The plugin sees the deadline in the call's
    /// context, with the trace of `context`, and the call is cancelled when it has passed.
    ///
    /// # Errors
    /// As for [`invoke`](Self::invoke). `DEADLINE_EXCEEDED`: it did not end in time. If it had begun, the
    /// generation is quarantined: whatever the call does later, nothing that it uses is freed or unmapped.
    pub fn call_with_deadline(
        &self,
        method: &str,
        input: &[u8],
        time: Duration,
        context: Context<'_>,
    ) -> Result<Output, CallError> {
        let (inner, theirs, bytes) = (self.inner.clone(), method.to_owned(), input.to_owned());
        let limit = Limit { time, grace: self.inner.life.deadlines.grace };
        let work = move |attempt: &Attempt| {
            let result = attempt
                .with_context(|context| inner.invoke(&theirs, &bytes, context, Some(attempt)));
            // The last handle may be this one. The plugin's end is part of the work.
            drop(inner);
            result
        };
        let name = format!("keyway-{method}");
        let (generation, result) = match deadline::run(&name, Some(limit), context, work) {
            // It heeded the deadline.
            Ok((generation, Err(error)))
                if error.status == CallStatus::CANCELLED && !context.is_cancelled() =>
            {
                (generation, Err(exceeded(method, time, false)))
            }
            Ok(result) => result,
            Err(Late { generation }) => {
                if let (Some(generation), Some(hooks)) = (generation, &self.inner.life.hooks) {
                    hooks.quarantined(&self.name(), generation);
                }
                (generation, Err(exceeded(method, time, generation.is_some())))
            }
        };
        self.inner.count(generation, &result);
        result
    }

    /// Counts an error of a call that was made through a guard or a handle.
    pub fn report(&self, error: &CallError) {
        self.inner.counts.add_error(error);
        self.inner.tell(self.generation(), error);
    }

    /// Lets the instance release what it does not need while nobody calls it. Calls answer `BUSY` until it is
    /// [resumed](Self::resume).
    ///
    /// # Errors
    /// It is not running, reports an error, or did not do it in time.
    pub fn pause(&self) -> Result<(), LifeError> {
        self.inner.change_state(Step::Pause, Access::Open, Access::Paused, Instance::pause)
    }

    /// Lets the instance take that back, and be called.
    ///
    /// # Errors
    /// It is not paused, reports an error, or did not do it in time.
    pub fn resume(&self) -> Result<(), LifeError> {
        self.inner.change_state(Step::Resume, Access::Paused, Access::Open, Instance::resume)
    }

    /// Waits for the calls that run, until the deadline for [draining](Step::Drain), destroys the instance and
    /// says how that went. Calls that come later answer `DISCONNECTED`; the library ends when whatever
    /// the plugin made is gone.
    ///
    /// # Errors
    /// It was unloaded before, or this thread is in a call of it.
    pub fn unload(&self) -> Result<Ended, LifeError> {
        let _change = lock(&self.inner.change);
        let info = self.inner.info();
        let error = |cause| LifeError {
            plugin: info.name().to_owned(),
            generation: info.number,
            step: Step::Destroy,
            cause,
        };
        if self.inner.place.current().is_none() {
            return Err(error(LifeCause::WrongState(info.state())));
        }
        self.inner.not_by_this_thread(&info, Step::Destroy)?;
        match self.inner.place.replace(None) {
            Some(node) => Ok(Generation::end(node, &info, &self.inner.life)),
            None => Err(error(LifeCause::Unavailable(Unavailable::Gone))),
        }
    }
}

impl Inner {
    pub(crate) fn info(&self) -> Arc<Info> {
        lock(&self.info).clone()
    }

    pub(crate) fn set_info(&self, info: Arc<Info>) {
        *lock(&self.info) = info;
    }

    fn count<T>(&self, generation: Option<u64>, result: &Result<T, CallError>) {
        self.counts.add(result);
        if let (Err(error), Some(generation)) = (result, generation) {
            self.tell(generation, error);
        }
    }

    #[cold]
    fn tell(&self, generation: u64, error: &CallError) {
        if let Some(hooks) = &self.life.hooks {
            hooks.failed(self.info().name(), generation, error);
        }
    }

    /// Calls a method; on behalf of an attempt that can be late, or for as long as it takes. Says which
    /// generation was called.
    fn invoke(
        &self,
        method: &str,
        input: &[u8],
        context: Context<'_>,
        attempt: Option<&Attempt>,
    ) -> (Option<u64>, Result<Output, CallError>) {
        let mut called = None;
        let mut begin = |generation: &Generation| {
            called = Some(generation.info.number);
            let exports = Some(generation.instance.exports().clone());
            match attempt.is_none_or(|attempt| attempt.begin(generation.info.clone(), exports)) {
                true => Ok(()),
                false => Err(CallError::from(Unavailable::Late)),
            }
        };
        let mut call = || {
            let until = attempt.and_then(Attempt::until);
            let entered = self.place.enter_until(until)?;
            let exports = entered.instance.exports();
            let Some(index) = exports.method(method) else {
                return Err(crate::instance::unknown_method(exports, method));
            };
            if exports.methods()[index.0 as usize].is_shared {
                begin(&entered)?;
                return entered.instance.invoke_shared(index, input, context);
            }
            drop(entered);
            let mut alone = self.place.alone(until)?;
            begin(&alone)?;
            // By name, since it may be another generation now.
            alone.instance.invoke(method, input, context)
        };
        let result = call();
        (called, result)
    }

    fn change_state(
        self: &Arc<Self>,
        step: Step,
        from: Access,
        to: Access,
        work: fn(&mut Instance, Context<'_>) -> Result<(), CallError>,
    ) -> Result<(), LifeError> {
        let _change = lock(&self.change);
        let info = self.info();
        self.not_by_this_thread(&info, step)?;
        let inner = self.clone();
        self.life.step(&info, step, Uses::WhatItEnters, move |attempt| {
            let mut alone = inner.alone(from, attempt)?;
            attempt.with_context(|context| work(&mut alone.instance, context))?;
            inner.place.set_access(alone.node(), to);
            Ok(())
        })
    }

    /// A step that takes the instance exclusively, on another thread perhaps, would wait for this one.
    pub(crate) fn not_by_this_thread(&self, info: &Info, step: Step) -> Result<(), LifeError> {
        let node = self.place.current();
        if !node.is_some_and(|node| node.is_used_by_this_thread()) {
            return Ok(());
        }
        let (plugin, generation) = (info.name().to_owned(), info.number);
        let cause = LifeCause::Unavailable(Unavailable::Own);
        Err(LifeError { plugin, generation, step, cause })
    }

    /// The current generation for a step.
    pub(crate) fn alone(
        &self,
        access: Access,
        attempt: &Attempt,
    ) -> Result<Alone<Generation>, LifeCause> {
        let node = self.place.current().ok_or(LifeCause::Unavailable(Unavailable::Gone))?;
        let alone = self.place.alone_in(&node, &[access], attempt.until());
        let alone = alone.map_err(LifeCause::Unavailable)?;
        let alone = alone.ok_or(LifeCause::Unavailable(Unavailable::Gone))?;
        let exports = alone.instance.exports().clone();
        match attempt.begin(alone.info.clone(), Some(exports)) {
            true => Ok(alone),
            false => Err(LifeCause::Unavailable(Unavailable::Late)),
        }
    }
}

impl From<Unavailable> for CallError {
    #[cold]
    fn from(refused: Unavailable) -> Self {
        let status = match refused {
            Unavailable::Gone => CallStatus::DISCONNECTED,
            Unavailable::Paused | Unavailable::Own => CallStatus::BUSY,
            Unavailable::Late => CallStatus::DEADLINE_EXCEEDED,
        };
        Self { status, code: 0, message: refused.to_string() }
    }
}

#[cold]
fn exceeded(method: &str, time: Duration, had_begun: bool) -> CallError {
    let what = match had_begun {
        true => "; it still runs, so the generation is quarantined",
        false => "",
    };
    let message = format!("`{method}` did not end within {time:?}{what}");
    CallError { status: CallStatus::DEADLINE_EXCEEDED, code: 0, message }
}

#[cold]
fn not_offered(error: &ContractError) -> CallError {
    CallError { status: CallStatus::UNSUPPORTED, code: 0, message: error.to_string() }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for SharedPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.inner.info();
        let mut shown = f.debug_struct("SharedPlugin");
        shown.field("name", &info.name()).field("generation", &info.number);
        shown.field("state", &info.state()).finish_non_exhaustive()
    }
}
