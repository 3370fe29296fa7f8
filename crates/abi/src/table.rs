//! The tables of the contract, and the symbol through which a host finds a plugin's.
//!
//! A plugin exports two symbols and nothing else: the stamp, and [`ENTRY_SYMBOL`], a function
//! without arguments that returns its [`Library`]. The function only returns an address: it
//! runs no code of the plugin's author, so a host may call it, look, and give up.
//!
//! Both sides offer interfaces in one form, an [`Offer`]: a plugin those that it implements, for the
//! instances that it makes, a host [`Service`]s, each with the instance to call.

use core::ffi::c_void;

use crate::call::{CallStatus, ErrorReport, RawContext};
use crate::describe::{Describe, Kind, Type, codes, contract};
use crate::memory::{OwnedBuffer, Slice, Text};

/// Name of the function that a host looks up, of type [`Entry`]. The number is the contract's major
/// version: it is raised when a plugin of the one can't be used by a host of the other.
pub const ENTRY_SYMBOL: &str = "keyway_plugin_v1";

/// What the symbol is.
pub type Entry = unsafe extern "C" fn() -> *const Library;

/// One side's own data behind a pointer. Only that side knows what it is.
#[derive(Debug)]
#[repr(C)]
pub struct Instance {
    opaque: [u8; 0],
}

// SAFETY: nobody looks into it.
unsafe impl Describe for Instance {
    const TYPE: &'static Type = &Type::of::<Self>(Kind::Scalar("keyway.Instance"));
}

codes! {
    /// What a library says of itself; each is a bit.
    pub struct LibraryFlags {
        /// After `deinit` no thread, no thread-local and no pointer of the library is left, so it may
        /// be unmapped. Without this bit it stays mapped until the process ends.
        UNLOADABLE = 1,
    }
}

codes! {
    /// What a method says of itself; each is a bit.
    pub struct MethodFlags {
        /// It takes the instance shared: several threads may call it at once.
        SHARED = 1,
    }
}

contract! {
    /// An interface that one side offers to the other.
    #[derive(Debug, Clone, Copy)]
    extensible struct Offer {
        /// Size of this table in its side's version of it.
        pub size: usize,
        /// The interface's id.
        pub id: Text,
        /// The interface's version.
        pub version: u32,
        /// None are known; 0.
        pub flags: u32,
        /// The interface's layout descriptor, the same text as in the stamp.
        pub descriptor: Text,
        /// What its author wrote, for messages.
        pub signature: Text,
        /// The interface's table of functions, which begins with its size.
        pub table: *const c_void,
        /// Calls the function at this place of the table, 0 being the first: its arguments and its
        /// reply as bytes. The instance is used as that function uses it.
        pub dispatch: Option<unsafe extern "C" fn(*mut Instance, *const RawContext, u32, Slice<u8>, *mut OwnedBuffer, *mut ErrorReport) -> CallStatus>,
    }

    /// An interface that a host offers, and the instance to call.
    #[derive(Debug, Clone, Copy)]
    extensible struct Service {
        /// Size of this table in the host's version of it.
        pub size: usize,
        /// The interface. Its functions take the instance shared, all of them.
        pub offer: *const Offer,
        /// The first argument of its functions.
        pub instance: *mut Instance,
    }

    /// What a host offers to a plugin. It, and all that it leads to, stays valid as long as the
    /// library is mapped; any thread may use it.
    #[derive(Debug, Clone, Copy)]
    extensible struct Host {
        /// Size of this table in the host's version of it.
        pub size: usize,
        /// Passed to the function below.
        pub context: *const c_void,
        /// All services.
        pub services: Slice<*const Service>,
        /// The service with this id and version; null if there is none.
        pub get_service: unsafe extern "C" fn(*const c_void, Text, u32) -> *const Service,
    }

    /// A named method: bytes in, bytes out.
    #[derive(Debug, Clone, Copy)]
    extensible struct Method {
        /// Size of this table in the plugin's version of it.
        pub size: usize,
        /// Its name, which no other method of the plugin has.
        pub name: Text,
        /// How it may be called.
        pub flags: MethodFlags,
    }

    /// What an instance can go on from.
    #[derive(Debug)]
    closed struct State {
        /// The format of the bytes, which is up to the plugin.
        pub format: u32,
        /// They.
        pub bytes: OwnedBuffer,
    }

    /// A state, and who saved it.
    #[derive(Debug, Clone, Copy)]
    extensible struct RawSavedState {
        /// Size of this table in the host's version of it.
        pub size: usize,
        /// The format of the bytes.
        pub format: u32,
        /// They.
        pub bytes: Slice<u8>,
        /// The name of the plugin that saved it; empty if that is not known.
        pub plugin: Text,
        /// The version of the plugin that saved it; empty if that is not known.
        pub version: Text,
    }

    /// What a plugin's library is to a host. All of it is part of the library, and never changes.
    ///
    /// Where a function takes an error report, it writes it if and only if it returns another
    /// status than `OK`; what else it is to write, it writes if and only if it returns `OK`.
    /// An instance is used by one thread at a time, except by those functions and methods that take
    /// it shared. No call is made on an instance after `destroy`.
    #[derive(Debug, Clone, Copy)]
    extensible struct Library {
        /// Size of this table in the plugin's version of it.
        pub size: usize,
        /// The contract's layout descriptor, the same text as in the stamp.
        pub contract: Text,
        /// What the library says of itself.
        pub flags: LibraryFlags,
        /// The interfaces that its instances have.
        pub interfaces: Slice<*const Offer>,
        /// The interface with this id and version; null if there is none.
        pub get_interface: unsafe extern "C" fn(Text, u32) -> *const Offer,
        /// The named methods. A method is called by its place in this list.
        pub methods: Slice<*const Method>,
        /// The first function that is called, once. If it fails, no other one is.
        pub init: unsafe extern "C" fn(*const RawContext, *const Host, *mut ErrorReport) -> CallStatus,
        /// The last function that is called, once, when no instance is left.
        pub deinit: unsafe extern "C" fn(*const RawContext, *mut ErrorReport) -> CallStatus,
        /// Makes an instance from the bytes of its configuration.
        pub create: unsafe extern "C" fn(*const RawContext, *const Host, Slice<u8>, *mut *mut Instance, *mut ErrorReport) -> CallStatus,
        /// Ends the instance, a poisoned one too. It is gone whatever the status says.
        pub destroy: unsafe extern "C" fn(*mut Instance, *const RawContext, *mut ErrorReport) -> CallStatus,
        /// Calls the method at this place of the list: bytes in, bytes out.
        pub invoke: unsafe extern "C" fn(*mut Instance, *const RawContext, u32, Slice<u8>, *mut OwnedBuffer, *mut ErrorReport) -> CallStatus,
        /// Releases what an idle instance does not need. Calls may come only after `resume`.
        pub pause: unsafe extern "C" fn(*mut Instance, *const RawContext, *mut ErrorReport) -> CallStatus,
        /// Takes back what `pause` released. If it fails, the instance is still paused.
        pub resume: unsafe extern "C" fn(*mut Instance, *const RawContext, *mut ErrorReport) -> CallStatus,
        /// Writes the state that another instance, perhaps of a later version, can go on from.
        pub save_state: unsafe extern "C" fn(*mut Instance, *const RawContext, *mut State, *mut ErrorReport) -> CallStatus,
        /// Goes on from a saved state. If it fails, the instance is as if it were new.
        pub restore_state: unsafe extern "C" fn(*mut Instance, *const RawContext, *const RawSavedState, *mut ErrorReport) -> CallStatus,
    }
}

// SAFETY: these tables are immutable, as is all that their pointers reach; the contract says that any
// thread may use them.
unsafe impl Send for Offer {}
// SAFETY: as above.
unsafe impl Sync for Offer {}
// SAFETY: as above.
unsafe impl Send for Service {}
// SAFETY: as above.
unsafe impl Sync for Service {}
// SAFETY: as above.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}
// SAFETY: as above.
unsafe impl Send for Method {}
// SAFETY: as above.
unsafe impl Sync for Method {}
// SAFETY: as above.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// The size of the smallest table that a host can use: all up to `destroy`.
    pub const MIN_SIZE: usize =
        core::mem::offset_of!(Self, destroy) + size_of::<unsafe extern "C" fn()>();

    /// A library that offers nothing: each function answers that it is not there. A host reads what
    /// a plugin has over this, so that what an earlier version lacked is no case of its own.
    pub const NOTHING: Self = Self {
        size: size_of::<Self>(),
        contract: Text::new(""),
        flags: LibraryFlags(0),
        interfaces: Slice::new(&[]),
        get_interface: nothing::get_interface,
        methods: Slice::new(&[]),
        init: nothing::init,
        deinit: nothing::deinit,
        create: nothing::create,
        destroy: nothing::instance,
        invoke: nothing::invoke,
        pause: nothing::instance,
        resume: nothing::instance,
        save_state: nothing::save_state,
        restore_state: nothing::restore_state,
    };
}

/// The functions of a library that has none.
mod nothing {
    use super::{
        CallStatus, ErrorReport, Host, Instance, Offer, OwnedBuffer, RawContext, RawSavedState,
        Slice, State, Text,
    };

    unsafe fn missing(report: *mut ErrorReport) -> CallStatus {
        // SAFETY: the caller has room for the report.
        unsafe { crate::interface::missing::<()>(report).status }
    }

    pub(super) unsafe extern "C" fn get_interface(_: Text, _: u32) -> *const Offer {
        core::ptr::null()
    }

    pub(super) unsafe extern "C" fn init(
        _: *const RawContext,
        _: *const Host,
        _: *mut ErrorReport,
    ) -> CallStatus {
        CallStatus::OK
    }

    pub(super) unsafe extern "C" fn deinit(
        _: *const RawContext,
        _: *mut ErrorReport,
    ) -> CallStatus {
        CallStatus::OK
    }

    pub(super) unsafe extern "C" fn create(
        _: *const RawContext,
        _: *const Host,
        _: Slice<u8>,
        _: *mut *mut Instance,
        report: *mut ErrorReport,
    ) -> CallStatus {
        // SAFETY: the caller has room for the report.
        unsafe { missing(report) }
    }

    pub(super) unsafe extern "C" fn instance(
        _: *mut Instance,
        _: *const RawContext,
        report: *mut ErrorReport,
    ) -> CallStatus {
        // SAFETY: the caller has room for the report.
        unsafe { missing(report) }
    }

    pub(super) unsafe extern "C" fn invoke(
        _: *mut Instance,
        _: *const RawContext,
        _: u32,
        _: Slice<u8>,
        _: *mut OwnedBuffer,
        report: *mut ErrorReport,
    ) -> CallStatus {
        // SAFETY: the caller has room for the report.
        unsafe { missing(report) }
    }

    pub(super) unsafe extern "C" fn save_state(
        _: *mut Instance,
        _: *const RawContext,
        _: *mut State,
        report: *mut ErrorReport,
    ) -> CallStatus {
        // SAFETY: the caller has room for the report.
        unsafe { missing(report) }
    }

    pub(super) unsafe extern "C" fn restore_state(
        _: *mut Instance,
        _: *const RawContext,
        _: *const RawSavedState,
        report: *mut ErrorReport,
    ) -> CallStatus {
        // SAFETY: the caller has room for the report.
        unsafe { missing(report) }
    }
}

/// A table of the other side, of another version perhaps: what it has, over what `known` says of the
/// rest.
///
/// # Safety
/// `other` must point to a table that begins with its size, and that has the layout of `T` as far as
/// both go. `T` must be `repr(C)`, begin with its size, be plain data, and accept any whole field of the other's.
pub unsafe fn read_over<T>(known: T, other: *const T) -> T {
    let mut table = known;
    // SAFETY: every extensible table begins with its size.
    let size = unsafe { other.cast::<usize>().read() }.min(size_of::<T>());
    // SAFETY: both are at least that large; the size of the result is put back.
    unsafe {
        let place = &raw mut table;
        core::ptr::copy_nonoverlapping(other.cast::<u8>(), place.cast::<u8>(), size);
        place.cast::<usize>().write(size_of::<T>());
    }
    table
}
