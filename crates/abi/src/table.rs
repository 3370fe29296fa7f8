//! The two tables of the base contract, and the symbol through which a host finds the plugin's.
//!
//! A plugin exports two symbols and nothing else: the stamp, and [`ENTRY_SYMBOL`], a function
//! without arguments that returns its [`PluginVTable`]. The function only returns an address: it
//! runs no code of the plugin's author, so a host may call it, look, and give up.

use core::ffi::c_void;

use crate::call::{CallContext, CallStatus, ErrorReport, LogLevel};
use crate::describe::{Describe, Kind, Type, contract};
use crate::memory::{OwnedBuffer, Slice, Text};

/// Name of the function that a host looks up, of type [`Entry`].
pub const ENTRY_SYMBOL: &str = "keyway_plugin_v1";

/// What the symbol is.
pub type Entry = unsafe extern "C" fn() -> *const PluginVTable;

/// A plugin's own data behind a pointer. Only the plugin knows what it is.
#[derive(Debug)]
#[repr(C)]
pub struct Instance {
    opaque: [u8; 0],
}

impl Describe for Instance {
    const TYPE: &'static Type = &Type::of::<Self>(Kind::Scalar("Instance"));
}

contract! {
    /// What a host offers to a plugin. It stays valid until the instance is destroyed; any
    /// thread may use it.
    #[derive(Debug, Clone, Copy)]
    pub struct HostServices {
        /// Size of this table in the host's version of it.
        pub size: usize,
        /// Passed to each function below.
        pub context: *const c_void,
        /// Writes one log line, without a newline at its end.
        pub log: unsafe extern "C" fn(*const c_void, LogLevel, Text),
        /// Nanoseconds on a clock that never goes back; deadlines are given on it.
        pub now_ns: unsafe extern "C" fn(*const c_void) -> u64,
    }

    /// What a plugin is to a host that knows no more than the base contract.
    ///
    /// Where a function takes an error report, it writes it if and only if it returns another
    /// status than `OK`. An instance is used by one thread at a time, except by those functions
    /// of its interface that take `&self`. No call is made on an instance after `destroy`.
    #[derive(Debug, Clone, Copy)]
    pub struct PluginVTable {
        /// Size of this table in the plugin's version of it.
        pub size: usize,
        /// The plugin's layout descriptor, the same text as in its stamp.
        pub descriptor: Text,
        /// Name of its typed interface, empty if it has none.
        pub interface_name: Text,
        /// The interface's table, null if it has none. It begins with its size.
        pub interface: *const c_void,
        /// The plugin's named methods, each a `Text`.
        pub methods: Slice,
        /// Makes an instance from the bytes of its configuration. The instance is written if and
        /// only if the status is `OK`.
        pub create: unsafe extern "C" fn(Slice, *const HostServices, *mut *mut Instance, *mut ErrorReport) -> CallStatus,
        /// Releases what an idle instance does not need. Calls may come only after `resume`.
        pub pause: unsafe extern "C" fn(*mut Instance, *mut ErrorReport) -> CallStatus,
        /// Takes back what `pause` released.
        pub resume: unsafe extern "C" fn(*mut Instance, *mut ErrorReport) -> CallStatus,
        /// Writes the state that another instance, perhaps of a later version, can go on from.
        pub save_state: unsafe extern "C" fn(*mut Instance, *mut OwnedBuffer, *mut ErrorReport) -> CallStatus,
        /// Goes on from a saved state.
        pub restore_state: unsafe extern "C" fn(*mut Instance, Slice, *mut ErrorReport) -> CallStatus,
        /// Ends the instance, a poisoned one too. It is gone whatever the status says.
        pub destroy: unsafe extern "C" fn(*mut Instance, *mut ErrorReport) -> CallStatus,
        /// Calls the named method: its name, bytes in, bytes out. The output is written if and only
        /// if the status is `OK`.
        pub invoke: unsafe extern "C" fn(*mut Instance, *const CallContext, Text, Slice, *mut OwnedBuffer, *mut ErrorReport) -> CallStatus,
    }
}

// SAFETY: a plugin's table is immutable, as is all that its pointers reach.
unsafe impl Send for PluginVTable {}
// SAFETY: as above.
unsafe impl Sync for PluginVTable {}
// SAFETY: the contract says that any thread may use the host's services.
unsafe impl Send for HostServices {}
// SAFETY: as above.
unsafe impl Sync for HostServices {}
