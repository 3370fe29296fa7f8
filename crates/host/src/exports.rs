//! What a loaded library exports: its table, checked once, so that all calls can trust it.
//!
//! This module loads nothing. Whoever did hands over the entry symbol and whatever keeps the
//! library in memory; every value made here holds on to that.

use std::any::Any;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, PoisonError};

use keyway_abi::call::{CallError, CallStatus, Context, ErrorReport, RawContext};
use keyway_abi::descriptor;
use keyway_abi::encoding::Dispatch;
use keyway_abi::interface::Interface;
use keyway_abi::memory::Text;
use keyway_abi::offer::{self, Mismatch, Table};
use keyway_abi::table::{
    self, Entry, Library, LibraryFlags, Method, MethodFlags, Offer, read_over,
};
use thiserror::Error;

use crate::services::Services;

/// Keeps a library loaded. Dropping the last clone may unload it.
pub type KeepAlive = Arc<dyn Any + Send + Sync>;

/// Why a loaded library's table can't be used. The gate should have refused such a library before
/// it was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ContractError {
    /// The entry function returned null, or the table of the interface is null.
    #[error("the plugin's table, or that of its interface, is missing")]
    NoTable,
    /// The table is smaller than any version of the contract allows.
    #[error("the plugin's table has {found} bytes, expected at least {expected}")]
    TableTooSmall {
        /// The size that the table names.
        found: usize,
        /// The size of the smallest table that a host can use.
        expected: usize,
    },
    /// The descriptor, the interface's name or a method's name is not UTF-8.
    #[error("the plugin's {field} is not UTF-8")]
    NotText {
        /// Which text.
        field: &'static str,
    },
    /// The plugin was built against another contract.
    #[error("the plugin was built against another contract: {differences}")]
    Base {
        /// What differs, a line each.
        differences: String,
    },
    /// The plugin does not offer the interface, or another version of it.
    #[error("the plugin offers {found}, expected interface `{expected}` version {version}")]
    OtherInterface {
        /// The interfaces that it offers.
        found: String,
        /// The id of the interface that the host asked for.
        expected: &'static str,
        /// Its version.
        version: u32,
    },
    /// The plugin was built against another layout of the interface.
    #[error("the plugin was built against another `{interface}`: {differences}")]
    Interface {
        /// The interface that the host asked for.
        interface: &'static str,
        /// What differs, a line each.
        differences: String,
    },
    /// The library could not be prepared.
    #[error("the plugin's library could not be prepared")]
    Init {
        /// What it reported.
        source: CallError,
    },
}

/// The exports of a loaded plugin. When the last clone goes, and with it the last instance, the library
/// is told to end.
#[derive(Clone)]
pub struct Exports {
    opened: Arc<Opened>,
    /// What instances that are made by way of this value get.
    host: *const table::Host,
}

// SAFETY: a host's table never changes nor goes, and any thread may use it.
unsafe impl Send for Exports {}
// SAFETY: as above.
unsafe impl Sync for Exports {}

/// A library that was prepared.
struct Opened {
    /// The plugin's table, over that of one which has nothing.
    table: Library,
    methods: Vec<ExportedMethod>,
    offers: Vec<*const Offer>,
    /// Interfaces that were asked for and found. They are kept until the library goes.
    found: Mutex<Vec<Arc<Found>>>,
    end: End,
}

// SAFETY: the contract says that a library's tables never change and that any thread may use them.
unsafe impl Send for Opened {}
// SAFETY: as above.
unsafe impl Sync for Opened {}

/// Ends the library; and what keeps it loaded.
struct End {
    deinit: unsafe extern "C" fn(*const RawContext, *mut ErrorReport) -> CallStatus,
    unloadable: bool,
    /// `None` while being dropped, and for what is part of this program.
    library: Option<KeepAlive>,
}

impl Drop for End {
    fn drop(&mut self) {
        let mut report = MaybeUninit::uninit();
        // SAFETY: no instance is left, and no other function is called from now on.
        let status = unsafe { (self.deinit)(Context::NONE.as_pointer(), report.as_mut_ptr()) };
        if status != CallStatus::OK {
            // SAFETY: the plugin writes the report if the status is not `OK`. There is nobody to tell.
            drop(unsafe { report.assume_init() });
        }
        if !self.unloadable || status != CallStatus::OK {
            // Something of it may still run, or be run.
            std::mem::forget(self.library.take());
        }
    }
}

/// A named method of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedMethod {
    /// Its name.
    pub name: String,
    /// Whether several threads may call it at once.
    pub is_shared: bool,
}

/// A method, looked up once: its place in the plugin's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodIndex(pub(crate) u32);

/// An interface that was found.
pub(crate) struct Found {
    /// The descriptor of the host's interface, which is what it was asked for by.
    descriptor: &'static str,
    pub(crate) table: *const (),
    /// Keeps the table.
    _owner: Box<dyn Any + Send + Sync>,
}

impl Found {
    #[inline]
    pub(crate) fn is(&self, descriptor: &'static str) -> bool {
        std::ptr::eq(self.descriptor, descriptor)
    }
}

// SAFETY: a table is read only, and any thread may use it.
unsafe impl Send for Found {}
// SAFETY: as above.
unsafe impl Sync for Found {}

impl Exports {
    /// Calls the entry symbol, checks the table that it returns and prepares the library. Its log lines
    /// are those of `plugin`.
    ///
    /// # Errors
    /// Why the table can't be used, or what the library reports.
    ///
    /// # Safety
    /// `entry` must be the entry symbol of a plugin that keeps to the contract, and stay so as long
    /// as `library` has a clone.
    pub unsafe fn new(
        entry: Entry,
        plugin: &str,
        services: &'static Services,
        library: KeepAlive,
    ) -> Result<Self, ContractError> {
        // SAFETY: the caller makes the same promises.
        unsafe { Self::prepare(entry, plugin, services, Some(library)) }
    }

    /// The same for a plugin that is part of this program, which nothing unloads.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    ///
    /// # Safety
    /// `entry` must be the entry of a plugin that keeps to the contract, and this the only time that it
    /// is prepared in this process.
    #[cfg(feature = "compiled-in")]
    pub(crate) unsafe fn of_compiled_in(
        entry: Entry,
        plugin: &str,
        services: &'static Services,
    ) -> Result<Self, ContractError> {
        // SAFETY: the caller vouches for the entry; what is part of the program stays.
        unsafe { Self::prepare(entry, plugin, services, None) }
    }

    /// # Safety
    /// `entry` must be that of a plugin that keeps to the contract, and stay so as long as `library` has
    /// a clone; for good if there is none.
    unsafe fn prepare(
        entry: Entry,
        plugin: &str,
        services: &'static Services,
        library: Option<KeepAlive>,
    ) -> Result<Self, ContractError> {
        // SAFETY: the caller vouches for the symbol.
        let pointer = unsafe { entry() };
        if pointer.is_null() {
            return Err(ContractError::NoTable);
        }
        // SAFETY: every table begins with its size.
        let (found, expected) = (unsafe { pointer.cast::<usize>().read() }, Library::MIN_SIZE);
        if found < expected {
            return Err(ContractError::TableTooSmall { found, expected });
        }
        // SAFETY: the contract's texts are compared below, before a function is called; where they
        // agree, so do the tables. Until then only what every version has is read.
        let table = unsafe { read_over(Library::NOTHING, pointer) };
        let contract = text(table.contract, "contract")?;
        let conflicts = descriptor::conflicts(descriptor::CONTRACT, contract);
        if !conflicts.is_empty() {
            return Err(ContractError::Base { differences: joined(&conflicts) });
        }
        let methods = methods(&table)?;
        // SAFETY: the list is part of the library.
        let offers = unsafe { table.interfaces.elements() }.to_vec();
        let mut report = MaybeUninit::uninit();
        let host = services.table(plugin);
        // SAFETY: this is the first call; the services live as long as the process.
        let status = unsafe { (table.init)(Context::NONE.as_pointer(), host, report.as_mut_ptr()) };
        let declared = table.flags.0 & LibraryFlags::UNLOADABLE.0 != 0;
        let unloadable = declared && library.is_some();
        if status != CallStatus::OK {
            // SAFETY: the plugin writes the report if the status is not `OK`.
            let source = CallError::new(status, &unsafe { report.assume_init() });
            if !unloadable {
                std::mem::forget(library);
            }
            return Err(ContractError::Init { source });
        }
        let end = End { deinit: table.deinit, unloadable, library };
        let opened = Opened { table, methods, offers, found: Mutex::default(), end };
        Ok(Self { opened: Arc::new(opened), host })
    }

    /// The id and the version of each interface that the plugin offers.
    pub fn interfaces(&self) -> impl Iterator<Item = (&str, u32)> {
        // SAFETY: the offers are part of the library; the fields are of the contract's first version.
        self.opened.offers.iter().filter_map(|offer| unsafe {
            offer::identity(*offer).map(|(id, version, _)| (id, version))
        })
    }

    /// The `dispatch` of an interface, and its text.
    pub(crate) fn dispatch(&self, id: &str, version: u32) -> Result<(Dispatch, &str), CallError> {
        let unsupported = |message| CallError { status: CallStatus::UNSUPPORTED, code: 0, message };
        // SAFETY: the offers are part of the library, which is kept.
        let offers = self.opened.offers.iter().filter_map(|offer| unsafe {
            offer::identity(*offer).map(|identity| (*offer, identity))
        });
        let found = offers.into_iter().find(|(_, of)| (of.0, of.1) == (id, version));
        let Some((offer, (_, _, text))) = found else {
            return Err(unsupported(format!(
                "the plugin has no interface `{id}` version {version}"
            )));
        };
        // SAFETY: as above.
        match unsafe { offer::dispatch(offer) } {
            Some(dispatch) => Ok((dispatch, text)),
            None => Err(unsupported(format!("the interface `{id}` can't be called by bytes"))),
        }
    }

    /// The plugin's named methods, in its own order.
    pub fn methods(&self) -> &[ExportedMethod] {
        &self.opened.methods
    }

    /// The method of this name, to call it without looking for it again.
    pub fn method(&self, name: &str) -> Option<MethodIndex> {
        let place = self.methods().iter().position(|method| method.name == name)?;
        u32::try_from(place).ok().map(MethodIndex)
    }

    /// Whether the library stays in memory until the process ends, since it does not declare that
    /// nothing of it is left after its end.
    pub fn stays_mapped(&self) -> bool {
        !self.opened.end.unloadable
    }

    /// The table of the interface `I`. What is returned stays as long as the library.
    #[cold]
    pub(crate) fn find<I: Interface + ?Sized>(&self) -> Result<*const Found, ContractError> {
        let mut found = self.opened.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = found.iter().find(|known| known.is(I::DESCRIPTOR)) {
            return Ok(Arc::as_ptr(known));
        }
        let mut differing = None;
        for offer in &self.opened.offers {
            // SAFETY: the offers are part of the library, which is kept.
            match unsafe { Table::<I>::of(*offer) } {
                Ok(table) => {
                    let at = table.as_ptr().cast();
                    let (descriptor, owner) = (I::DESCRIPTOR, Box::new(Owner::<I>(table)));
                    found.push(Arc::new(Found { descriptor, table: at, _owner: owner }));
                    return Ok(Arc::as_ptr(&found[found.len() - 1]));
                }
                Err(Mismatch::Other) => {}
                Err(Mismatch::NoTable) => return Err(ContractError::NoTable),
                Err(Mismatch::Differs(lines)) => differing = differing.or(Some(lines)),
            }
        }
        match differing {
            Some(lines) => {
                let differences = lines.join("; ");
                Err(ContractError::Interface { interface: I::ID, differences })
            }
            None => {
                let offered =
                    self.interfaces().map(|(id, version)| format!("`{id}` version {version}"));
                let found = offered.collect::<Vec<_>>().join(", ");
                let found = if found.is_empty() { "no interface".to_owned() } else { found };
                let (expected, version) = (I::ID, I::VERSION);
                Err(ContractError::OtherInterface { found, expected, version })
            }
        }
    }

    /// The same library for a host with other services.
    #[cfg(feature = "compiled-in")]
    pub(crate) fn with_services(&self, plugin: &str, services: &'static Services) -> Self {
        Self { opened: self.opened.clone(), host: services.table(plugin) }
    }

    pub(crate) fn host(&self) -> *const table::Host {
        self.host
    }

    pub(crate) fn table(&self) -> &Library {
        &self.opened.table
    }
}

/// A table whose interface is known only while it is made.
struct Owner<I: Interface + ?Sized>(#[expect(dead_code, reason = "it is kept, not used")] Table<I>);

impl fmt::Debug for Exports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interfaces: Vec<_> = self.interfaces().collect();
        f.debug_struct("Exports").field("interfaces", &interfaces).finish_non_exhaustive()
    }
}

fn methods(table: &Library) -> Result<Vec<ExportedMethod>, ContractError> {
    // SAFETY: the list and what it names are part of the library; the fields are of the contract's first
    // version, so that a method's table of any size has them.
    let listed = unsafe { table.methods.elements() };
    let each = listed.iter().map(|&method: &*const Method| {
        // SAFETY: as above.
        let Method { name, flags, .. } = unsafe { *method.as_ref().ok_or(ContractError::NoTable)? };
        let name = text(name, "method name")?.to_owned();
        Ok(ExportedMethod { name, is_shared: flags.0 & MethodFlags::SHARED.0 != 0 })
    });
    each.collect()
}

/// Text that lives as long as the library.
fn text(text: Text, field: &'static str) -> Result<&'static str, ContractError> {
    // SAFETY: all texts of a plugin's table are part of its library.
    unsafe { text.get() }.ok_or(ContractError::NotText { field })
}

/// What differs, joined for an error message.
fn joined(differences: &[descriptor::Difference<'_>]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
