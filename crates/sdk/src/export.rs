//! What `export_plugin!` puts into a library: the stamp, the plugin's table, the entry symbol.

use std::ffi::c_void;

use keyway_abi::call::{CallContext, CallStatus, Context, ErrorReport, PluginError};
use keyway_abi::interface::Interface;
use keyway_abi::memory::{OwnedBuffer, Slice, Text};
use keyway_abi::table::{HostServices, Instance, PluginVTable};

use crate::guard::{Cell, attempt, exclusive};
use crate::{Host, Plugin};

/// An interface that `P` implements: the table whose functions call it. `#[interface]` implements
/// it for `dyn Trait`.
#[diagnostic::on_unimplemented(
    message = "`{P}` can't be exported as `{Self}`",
    note = "the plugin must implement `Plugin` and the interface's trait"
)]
pub trait Export<P>: Interface {
    /// The table.
    #[doc(hidden)]
    const TABLE: &'static Self::Table;
}

/// Exports a type that implements [`Plugin`] from a `cdylib`: once in the crate.
///
/// `export_plugin!(Greet)` exports its named methods; `export_plugin!(Book: dyn OrderBook)` exports a
/// typed interface as well.
///
/// The library gets two symbols and no more: `KEYWAY_STAMP`, which says what the plugin is without
/// being run, and `keyway_plugin_v1`, which returns its table. Name and version are the package's.
/// The environment variable `KEYWAY_TOOLCHAIN_HASH` (64 hexadecimal digits), where the build tool
/// sets it, becomes part of the stamp; without it the plugin is *unpinned*.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty $(,)?) => {
        $crate::__export_plugin! {
            $plugin,
            "",
            $crate::abi::descriptor::BASE,
            ::core::ptr::null()
        }
    };
    ($plugin:ty: $interface:ty $(,)?) => {
        $crate::__export_plugin! {
            $plugin,
            <$interface as $crate::abi::interface::Interface>::NAME,
            <$interface as $crate::abi::interface::Interface>::DESCRIPTOR,
            ::core::ptr::from_ref(<$interface as $crate::Export<$plugin>>::TABLE).cast()
        }
    };
}

/// The part of [`export_plugin!`] that does not depend on whether there is an interface.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_plugin {
    ($plugin:ty, $interface_name:expr, $descriptor:expr, $interface:expr) => {
        const _: () = {
            const STAMP: $crate::abi::stamp::Stamp<'static> = $crate::abi::stamp::Stamp {
                name: ::core::env!("CARGO_PKG_NAME"),
                version: ::core::env!("CARGO_PKG_VERSION"),
                target: $crate::abi::stamp::TARGET,
                interface: $interface_name,
                descriptor: $descriptor,
                // Read here, so that cargo rebuilds the plugin when it changes.
                toolchain: $crate::abi::stamp::toolchain_hash(::core::option_env!(
                    "KEYWAY_TOOLCHAIN_HASH"
                )),
            };
            const METHODS: [$crate::abi::memory::Text; <$plugin as $crate::Plugin>::METHODS.len()] =
                $crate::__private::method_names::<$plugin, _>();

            // Exported: on windows-gnu the linker drops a section that nothing refers to.
            #[unsafe(no_mangle)]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__keyway"))]
            #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".keyway"))]
            pub static KEYWAY_STAMP: $crate::abi::stamp::Encoded<{ STAMP.encoded_length() }> =
                STAMP.encode();

            static TABLE: $crate::abi::table::PluginVTable = $crate::__private::table::<$plugin>(
                $descriptor,
                $interface_name,
                $interface,
                &METHODS,
            );

            #[unsafe(no_mangle)]
            pub extern "C" fn keyway_plugin_v1() -> *const $crate::abi::table::PluginVTable {
                &TABLE
            }
        };
    };
}

/// The names of `P`'s methods; `N` is how many there are.
#[doc(hidden)]
pub const fn method_names<P: Plugin, const N: usize>() -> [Text; N] {
    let mut names = [Text::new(""); N];
    let mut at = 0;
    while at < N {
        names[at] = Text::new(P::METHODS[at].0);
        at += 1;
    }
    names
}

/// The table of `P`.
#[doc(hidden)]
pub const fn table<P: Plugin>(
    descriptor: &'static str,
    interface_name: &'static str,
    interface: *const c_void,
    methods: &'static [Text],
) -> PluginVTable {
    PluginVTable {
        size: size_of::<PluginVTable>(),
        descriptor: Text::new(descriptor),
        interface_name: Text::new(interface_name),
        interface,
        methods: Slice::new(methods),
        create: create::<P>,
        pause: pause::<P>,
        resume: resume::<P>,
        save_state: save_state::<P>,
        restore_state: restore_state::<P>,
        destroy: destroy::<P>,
        invoke: invoke::<P>,
    }
}

// Each function below is called by the host as `PluginVTable` says, which is all that their
// `SAFETY` comments can refer to.

unsafe extern "C" fn create<P: Plugin>(
    config: Slice,
    services: *const HostServices,
    instance: *mut *mut Instance,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the host lends the configuration, keeps its services as long as the library is
    // loaded, and has room for the instance and the report.
    unsafe {
        let made = attempt(report, || {
            let host = Host::new(services)
                .ok_or_else(|| PluginError::invalid_argument("the host offers no services"))?;
            P::create(config.bytes(), host)
        });
        match made {
            Ok(plugin) => {
                instance.write(Cell::create(plugin));
                CallStatus::OK
            }
            Err(status) => status,
        }
    }
}

unsafe extern "C" fn pause<P: Plugin>(
    instance: *mut Instance,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the host passes an instance that only it uses, and has room for the report.
    unsafe { exclusive(instance, report, |plugin: &mut P| Some(plugin.pause())).status }
}

unsafe extern "C" fn resume<P: Plugin>(
    instance: *mut Instance,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the host passes an instance that only it uses, and has room for the report.
    unsafe { exclusive(instance, report, |plugin: &mut P| Some(plugin.resume())).status }
}

unsafe extern "C" fn save_state<P: Plugin>(
    instance: *mut Instance,
    output: *mut OwnedBuffer,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the host passes an instance that only it uses, and has room for output and report.
    unsafe {
        write_output(output, instance, report, |plugin: &mut P| {
            plugin.save_state().map(OwnedBuffer::from)
        })
    }
}

unsafe extern "C" fn restore_state<P: Plugin>(
    instance: *mut Instance,
    state: Slice,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the host passes an instance that only it uses, lends the state, and has room for the
    // report.
    unsafe {
        let restore = |plugin: &mut P| Some(plugin.restore_state(state.bytes()));
        exclusive(instance, report, restore).status
    }
}

unsafe extern "C" fn destroy<P: Plugin>(
    instance: *mut Instance,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the host passes an instance for the last time, and has room for the report.
    let ended = unsafe {
        attempt(report, || {
            Cell::<P>::destroy(instance);
            Ok(())
        })
    };
    ended.err().unwrap_or(CallStatus::OK)
}

unsafe extern "C" fn invoke<P: Plugin>(
    instance: *mut Instance,
    context: *const CallContext,
    method: Text,
    input: Slice,
    output: *mut OwnedBuffer,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the host passes an instance that only it uses, lends context, name and input for the
    // time of the call, and has room for output and report.
    unsafe {
        write_output(output, instance, report, |plugin: &mut P| {
            let name = method.get().ok_or_else(|| {
                PluginError::invalid_argument("the name of the method is not UTF-8")
            })?;
            let (_, function) = P::METHODS
                .iter()
                .find(|(known, _)| *known == name)
                .ok_or_else(|| unknown_method::<P>(name))?;
            function(plugin, input.bytes(), Context::from_pointer(context)).map(OwnedBuffer::from)
        })
    }
}

/// Runs `call`; what it gives goes to `output`.
///
/// # Safety
/// As for [`exclusive`]; `output` must be valid for writes.
unsafe fn write_output<P>(
    output: *mut OwnedBuffer,
    instance: *mut Instance,
    report: *mut ErrorReport,
    call: impl FnOnce(&mut P) -> Result<OwnedBuffer, PluginError>,
) -> CallStatus {
    // SAFETY: the caller vouches for all of them; the value is there if the status is `OK`.
    unsafe {
        let reply = exclusive(instance, report, |plugin| Some(call(plugin)));
        if reply.status == CallStatus::OK {
            output.write(reply.value.assume_init());
        }
        reply.status
    }
}

#[cold]
fn unknown_method<P: Plugin>(name: &str) -> PluginError {
    let known: Vec<_> = P::METHODS.iter().map(|(known, _)| format!("`{known}`")).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    PluginError::unknown_method(format!("no method `{name}`; this plugin has {known}"))
}
