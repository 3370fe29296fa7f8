//! What a loaded library exports: its table, checked once, so that all calls can trust it.
//!
//! This module loads nothing. Whoever did hands over the entry symbol and whatever keeps the
//! library in memory; every value made here holds on to that.

use std::any::Any;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::Arc;

use keyway_abi::call::{CallError, CallStatus};
use keyway_abi::descriptor;
use keyway_abi::interface::Interface;
use keyway_abi::memory::{Slice, Text};
use keyway_abi::table::{Entry, PluginVTable};
use thiserror::Error;

use crate::instance::Instance;
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
    /// The table is smaller than the contract's first version.
    #[error("the plugin's table has {found} bytes, expected at least {expected}")]
    TableTooSmall {
        /// The size that the table names.
        found: usize,
        /// The size of the table that this host knows.
        expected: usize,
    },
    /// The descriptor, the interface's name or a method's name is not UTF-8.
    #[error("the plugin's {field} is not UTF-8")]
    NotText {
        /// Which text.
        field: &'static str,
    },
    /// The plugin was built against another base contract.
    #[error("the plugin was built against another contract: {differences}")]
    Base {
        /// What differs, a line each.
        differences: String,
    },
    /// The plugin offers no typed interface, or one of another name.
    #[error("the plugin offers {}, expected interface `{expected}`", offered(.found))]
    OtherInterface {
        /// The name of the interface it offers, empty if none.
        found: String,
        /// The name of the interface that the host asked for.
        expected: &'static str,
    },
    /// The plugin was built against another version of the interface.
    #[error("the plugin was built against another `{interface}`: {differences}")]
    Interface {
        /// The interface that the host asked for.
        interface: &'static str,
        /// What differs, a line each.
        differences: String,
    },
}

fn offered(interface: &str) -> String {
    if interface.is_empty() { "no interface".into() } else { format!("interface `{interface}`") }
}

/// The exports of a loaded plugin.
#[derive(Clone)]
pub struct Exports {
    // Declared first, so that nothing is dropped after the library is gone.
    table: &'static PluginVTable,
    descriptor: &'static str,
    interface: &'static str,
    library: KeepAlive,
}

impl Exports {
    /// Calls the entry symbol and checks the table that it returns.
    ///
    /// # Errors
    /// Why the table can't be used.
    ///
    /// # Safety
    /// `entry` must be the entry symbol of a plugin that keeps to the contract, and stay so as long
    /// as `library` has a clone.
    pub unsafe fn new(entry: Entry, library: KeepAlive) -> Result<Self, ContractError> {
        // SAFETY: the caller vouches for the symbol.
        let pointer = unsafe { entry() };
        if pointer.is_null() {
            return Err(ContractError::NoTable);
        }
        let expected = size_of::<PluginVTable>();
        // SAFETY: every table begins with its size.
        let found = unsafe { pointer.cast::<usize>().read() };
        if found < expected {
            return Err(ContractError::TableTooSmall { found, expected });
        }
        // SAFETY: the table is large enough, and a plugin's table lives as long as its library. The
        // lifetime is `'static` only in here: no reference leaves without `library`.
        let table = unsafe { &*pointer };
        let descriptor = text(table.descriptor, "descriptor")?;
        let base = descriptor::base_of(descriptor);
        if base != descriptor::BASE {
            let differences = differences(descriptor::BASE, base);
            return Err(ContractError::Base { differences });
        }
        let interface = text(table.interface_name, "interface name")?;
        let exports = Self { table, descriptor, interface, library };
        for method in exports.method_texts() {
            text(*method, "method name")?;
        }
        Ok(exports)
    }

    /// The plugin's layout descriptor.
    pub fn descriptor(&self) -> &str {
        self.descriptor
    }

    /// Name of the plugin's typed interface, if it has one.
    pub fn interface(&self) -> Option<&str> {
        Some(self.interface).filter(|name| !name.is_empty())
    }

    /// The plugin's named methods, in its own order.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        let known = |method: &Text| text(*method, "method name").unwrap_or_default();
        self.method_texts().iter().map(known)
    }

    /// Makes an instance from the bytes of its configuration.
    ///
    /// # Errors
    /// What the plugin reports instead.
    pub fn create(
        &self,
        config: &[u8],
        services: &'static Services,
    ) -> Result<Instance, CallError> {
        let mut instance = MaybeUninit::uninit();
        let mut report = MaybeUninit::uninit();
        // SAFETY: the configuration outlives the call, and the services everything.
        let status = unsafe {
            (self.table.create)(
                Slice::new(config),
                services.table(),
                instance.as_mut_ptr(),
                report.as_mut_ptr(),
            )
        };
        if status != CallStatus::OK {
            // SAFETY: the plugin writes the report if the status is not `OK`.
            return Err(CallError::new(status, &unsafe { report.assume_init() }));
        }
        // SAFETY: the plugin writes the instance if the status is `OK`.
        let instance = unsafe { instance.assume_init() };
        // SAFETY: it is new, so no one else has it.
        unsafe { Instance::new(instance, self.clone()) }.ok_or_else(CallError::invalid_result)
    }

    /// Checks that the plugin's typed interface is `I`.
    #[cold]
    pub(crate) fn check_interface<I: Interface + ?Sized>(&self) -> Result<(), ContractError> {
        if self.interface != I::NAME {
            let found = self.interface.to_owned();
            return Err(ContractError::OtherInterface { found, expected: I::NAME });
        }
        if self.descriptor != I::DESCRIPTOR {
            let differences = differences(I::DESCRIPTOR, self.descriptor);
            return Err(ContractError::Interface { interface: I::NAME, differences });
        }
        if self.table.interface.is_null() {
            return Err(ContractError::NoTable);
        }
        Ok(())
    }

    pub(crate) fn table(&self) -> &PluginVTable {
        self.table
    }

    pub(crate) fn library(&self) -> &KeepAlive {
        &self.library
    }

    fn method_texts(&self) -> &[Text] {
        let Slice { pointer, length } = self.table.methods;
        // SAFETY: the contract says that the slice holds texts; it is part of the library.
        unsafe { std::slice::from_raw_parts(pointer.cast(), length) }
    }
}

impl fmt::Debug for Exports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exports").field("interface", &self.interface).finish_non_exhaustive()
    }
}

/// Text that lives as long as the library.
fn text(text: Text, field: &'static str) -> Result<&'static str, ContractError> {
    // SAFETY: all texts of a plugin's table are part of its library.
    unsafe { text.get() }.ok_or(ContractError::NotText { field })
}

/// What differs, joined for an error message.
fn differences(host: &str, plugin: &str) -> String {
    let lines = descriptor::differences(host, plugin);
    lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
