//! The trait that a plugin implements, and the host as the plugin sees it.

use std::fmt;
use std::ptr::NonNull;

use keyway_abi::call::{Context, LogLevel, PluginError};
use keyway_abi::memory::Text;
use keyway_abi::table::HostServices;

/// A named method: its name, and the function behind it.
pub type Method<P> =
    (&'static str, fn(&mut P, input: &[u8], Context<'_>) -> Result<Vec<u8>, PluginError>);

/// A plugin. Each value is one instance; a host may make several, one after the other or at once.
///
/// The host ends an instance by dropping it. A panic in any of these functions is caught and
/// reported to the host as such; the instance is then *poisoned*: it is never called again, only
/// dropped.
///
/// `Send` and `Sync`, because the host may call from any thread, and those functions of a typed
/// interface that take `&self` from several at once.
pub trait Plugin: Sized + Send + Sync + 'static {
    /// The named methods, for hosts that know no more of the plugin than its name.
    const METHODS: &'static [Method<Self>] = &[];

    /// Makes an instance. What the bytes of `config` mean is up to the plugin; a host that was
    /// given no configuration passes none.
    ///
    /// # Errors
    /// What is wrong with the configuration, or what the plugin could not get hold of.
    fn create(config: &[u8], host: Host) -> Result<Self, PluginError>;

    /// Releases what an idle instance does not need: files, connections, caches.
    ///
    /// # Errors
    /// Why the instance can't pause; it goes on as before.
    fn pause(&mut self) -> Result<(), PluginError> {
        Ok(())
    }

    /// Takes back what [`pause`](Self::pause) released.
    ///
    /// # Errors
    /// Why the instance can't go on.
    fn resume(&mut self) -> Result<(), PluginError> {
        Ok(())
    }

    /// The state that another instance, perhaps of a later version of the plugin, can go on from.
    ///
    /// # Errors
    /// Unless overridden, that the plugin keeps no state.
    fn save_state(&mut self) -> Result<Vec<u8>, PluginError> {
        Err(PluginError::unsupported("this plugin saves no state"))
    }

    /// Goes on from a state that [`save_state`](Self::save_state) of this or an earlier version
    /// made.
    ///
    /// # Errors
    /// Why the state can't be used. Unless overridden, that the plugin keeps none.
    fn restore_state(&mut self, state: &[u8]) -> Result<(), PluginError> {
        let _ = state;
        Err(PluginError::unsupported("this plugin restores no state"))
    }
}

/// What the host offers to its plugins.
#[derive(Clone, Copy)]
pub struct Host {
    services: NonNull<HostServices>,
}

// SAFETY: the contract says that any thread may use the services.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

impl Host {
    /// The host behind the pointer that came with `create`; `None` if it is null.
    ///
    /// # Safety
    /// The services must stay valid as long as this library is loaded.
    pub(crate) unsafe fn new(services: *const HostServices) -> Option<Self> {
        NonNull::new(services.cast_mut()).map(|services| Self { services })
    }

    fn services(&self) -> &HostServices {
        // SAFETY: `new`'s caller vouches for it. The fields are of the contract's first version, so
        // a table of any size has them.
        unsafe { self.services.as_ref() }
    }

    /// Writes a line to the host's log.
    pub fn log(&self, level: LogLevel, line: &str) {
        let services = self.services();
        // SAFETY: the context is the one that belongs to the function; the text outlives the call.
        unsafe { (services.log)(services.context, level, Text::new(line)) }
    }

    /// Nanoseconds on the host's clock, the one that deadlines are given on. It never goes back.
    pub fn now_ns(&self) -> u64 {
        let services = self.services();
        // SAFETY: the context is the one that belongs to the function.
        unsafe { (services.now_ns)(services.context) }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}
