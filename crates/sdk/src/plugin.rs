//! The trait that a plugin implements, and the host as the plugin sees it.

use std::fmt;
use std::ptr::NonNull;
use std::time::SystemTime;

use keyway_abi::call::{Call, Context, LogLevel, PluginError};
use keyway_abi::interface::Interface;
use keyway_abi::memory::Text;
use keyway_abi::table::{self, RawSavedState};

use crate::service::{Log, Logger, Service};

/// A named method: its name, and the function behind it.
pub type Method<P> =
    (&'static str, fn(&mut P, input: &[u8], Context<'_>) -> Result<Vec<u8>, PluginError>);

/// A named method that several threads may call at once.
pub struct SharedMethod<P> {
    name: &'static str,
    function: SharedFunction<P>,
}

type SharedFunction<P> = fn(&P, input: &[u8], Context<'_>) -> Result<Vec<u8>, PluginError>;

impl<P: Sync> SharedMethod<P> {
    /// The method of this name.
    pub const fn new(name: &'static str, function: SharedFunction<P>) -> Self {
        Self { name, function }
    }
}

impl<P> SharedMethod<P> {
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn call(
        &self,
        plugin: &P,
        input: &[u8],
        context: Context<'_>,
    ) -> Result<Vec<u8>, PluginError> {
        (self.function)(plugin, input, context)
    }
}

/// A state that an instance goes on from, and who saved it.
#[derive(Debug, Clone, Copy)]
pub struct SavedState<'a> {
    /// The format of the bytes: the [`Plugin::STATE_FORMAT`] of whoever saved them.
    pub format: u32,
    /// What [`Plugin::save_state`] returned.
    pub bytes: &'a [u8],
    /// The name of the plugin that saved it; empty if the host does not say.
    pub plugin: &'a str,
    /// The version of the plugin that saved it; empty if the host does not say.
    pub version: &'a str,
}

impl<'a> SavedState<'a> {
    /// The state that came with a call; `None` if it is none.
    ///
    /// # Safety
    /// `state` must be null or valid during the call.
    pub(crate) unsafe fn of_call(state: *const RawSavedState, _: &'a Call) -> Option<Self> {
        // SAFETY: the caller vouches for it. The fields are of the first version.
        let state = unsafe { state.as_ref() }?;
        // SAFETY: as above.
        unsafe {
            Some(Self {
                format: state.format,
                bytes: state.bytes.elements(),
                plugin: state.plugin.get()?,
                version: state.version.get()?,
            })
        }
    }
}

/// A plugin. Each value is one instance; a host may make several, one after the other or at once.
///
/// The host ends an instance by dropping it. A panic in any of these functions is caught and
/// reported to the host as such; the instance is then *poisoned*: it is never called again, only
/// dropped.
///
/// `Send`, because the host may call from any thread. `Sync` is asked for where several threads can
/// be in an instance at once: by those functions of a typed interface that take `&self`, and by
/// shared methods.
pub trait Plugin: Sized + Send + 'static {
    /// The named methods, for hosts that know no more of the plugin than its name.
    const METHODS: &'static [Method<Self>] = &[];

    /// Named methods that several threads may call at once.
    const SHARED_METHODS: &'static [SharedMethod<Self>] = &[];

    /// The format of what [`save_state`](Self::save_state) returns: raise it when it changes.
    const STATE_FORMAT: u32 = 1;

    /// Prepares the library, before the first instance and once.
    ///
    /// # Errors
    /// Why no instance can be made; the host makes none.
    fn init(host: Host, context: Context<'_>) -> Result<(), PluginError> {
        let _ = (host, context);
        Ok(())
    }

    /// Ends what the library has going, after the last instance and once: threads above all.
    ///
    /// # Errors
    /// What is left. The library then stays mapped, whatever it declares.
    fn deinit(context: Context<'_>) -> Result<(), PluginError> {
        let _ = context;
        Ok(())
    }

    /// Makes an instance. What the bytes of `config` mean is up to the plugin; a host that was
    /// given no configuration passes none.
    ///
    /// # Errors
    /// What is wrong with the configuration, or what the plugin could not get hold of.
    fn create(config: &[u8], host: Host) -> Result<Self, PluginError>;

    /// The same on behalf of a context, which most plugins don't ask for.
    ///
    /// # Errors
    /// As for [`create`](Self::create).
    fn create_with_context(
        config: &[u8],
        host: Host,
        context: Context<'_>,
    ) -> Result<Self, PluginError> {
        let _ = context;
        Self::create(config, host)
    }

    /// Releases what an idle instance does not need: files, connections, caches.
    ///
    /// # Errors
    /// Why the instance can't pause; it goes on as before.
    fn pause(&mut self, context: Context<'_>) -> Result<(), PluginError> {
        let _ = context;
        Ok(())
    }

    /// Takes back what [`pause`](Self::pause) released.
    ///
    /// # Errors
    /// Why the instance can't go on; it is still paused.
    fn resume(&mut self, context: Context<'_>) -> Result<(), PluginError> {
        let _ = context;
        Ok(())
    }

    /// The state that another instance, perhaps of a later version of the plugin, can go on from.
    ///
    /// # Errors
    /// Unless overridden, that the plugin keeps no state.
    fn save_state(&mut self, context: Context<'_>) -> Result<Vec<u8>, PluginError> {
        let _ = context;
        Err(PluginError::unsupported("this plugin saves no state"))
    }

    /// Goes on from a state that [`save_state`](Self::save_state) of this or another version
    /// made.
    ///
    /// # Errors
    /// Why the state can't be used; the instance is as if it were new. Unless overridden, that the
    /// plugin keeps none.
    fn restore_state(
        &mut self,
        state: &SavedState<'_>,
        context: Context<'_>,
    ) -> Result<(), PluginError> {
        let _ = (state, context);
        Err(PluginError::unsupported("this plugin restores no state"))
    }
}

/// What the host offers to its plugins. It stays valid as long as the library is mapped.
#[derive(Clone, Copy)]
pub struct Host {
    table: NonNull<table::Host>,
}

// SAFETY: the contract says that any thread may use it.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

impl Host {
    /// The host behind the pointer that came with `init` or `create`; `None` if it is null.
    ///
    /// # Safety
    /// It must stay valid as long as this library is mapped.
    pub(crate) unsafe fn new(table: *const table::Host) -> Option<Self> {
        NonNull::new(table.cast_mut()).map(|table| Self { table })
    }

    fn table(&self) -> &table::Host {
        // SAFETY: `new`'s caller vouches for it. The fields are of the contract's first version, so
        // a table of any size has them.
        unsafe { self.table.as_ref() }
    }

    /// The interface `I`, such as `dyn Log`, if the host offers it. Look it up once and keep it.
    pub fn service<I: Interface + ?Sized>(&self) -> Option<Service<I>> {
        let table = self.table();
        // SAFETY: the context is the one that belongs to the function, the text outlives the call, and
        // what it gives is valid as long as the host.
        unsafe {
            let service = (table.get_service)(table.context, Text::new(I::ID), I::VERSION);
            Service::new(service)
        }
    }

    /// The id and the version of each service.
    pub fn services(&self) -> impl Iterator<Item = (&str, u32)> {
        // SAFETY: the list, its services and their offers are valid as long as the host; the fields are
        // of the contract's first version.
        unsafe {
            self.table().services.elements().iter().filter_map(|service| {
                let offer = service.as_ref()?.offer.as_ref()?;
                Some((offer.id.get()?, offer.version))
            })
        }
    }

    /// The host's log for one part of the plugin, the path of a module for example. Keep it: it is
    /// cheap to clone, and drops what is written if the host has no log.
    pub fn logger(&self, target: &'static str) -> Logger {
        Logger::new(self.service::<dyn Log>(), target)
    }

    /// Writes a line to the host's log, if it has one.
    ///
    /// It looks for the log each time. A plugin that logs much keeps a [`logger`](Self::logger).
    pub fn log(&self, level: LogLevel, line: &str) {
        if let Some(log) = self.service::<dyn Log>() {
            // There is nobody to tell that nobody listens.
            let _ = log.call(Context::NONE).write(level, "", line, &[]);
        }
    }
}

/// Nanoseconds since 1970-01-01 00:00 UTC, as deadlines are given.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // 2^64 ns are 584 years.
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}
