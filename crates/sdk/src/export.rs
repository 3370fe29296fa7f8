//! What `export_plugin!` puts into a library: the stamp and the plugin's table. How they are shown to a
//! host is in `show.rs`.

use keyway_abi::call::{Call, CallStatus, Context, ErrorReport, PluginError, RawContext};
use keyway_abi::descriptor::CONTRACT;
use keyway_abi::encoding;
use keyway_abi::interface::Interface;
use keyway_abi::memory::{OwnedBuffer, Slice, Text};
use keyway_abi::table::{
    self, Instance, Library, LibraryFlags, Method, MethodFlags, Offer, RawSavedState, State,
};

use crate::guard::{Cell, attempt, exclusive, shared};
use crate::plugin::SavedState;
use crate::{Host, Plugin};

/// An interface that `P` implements: the table whose functions call it. `#[interface]` implements
/// it for `dyn Trait`.
///
/// # Safety
/// `TABLE` must hold functions that do what the contract says, for instances of `P`.
#[diagnostic::on_unimplemented(
    message = "`{P}` can't be exported as `{Self}`",
    note = "the plugin must implement `Plugin` and the interface's trait"
)]
pub unsafe trait Export<P>: Interface {
    /// The table.
    #[doc(hidden)]
    const TABLE: &'static Self::Table;
}

/// Exports a type that implements [`Plugin`] from a `cdylib`: once in the crate.
///
/// `export_plugin!(Greet)` exports its named methods; `export_plugin!(Book: dyn OrderBook)` exports a
/// typed interface as well, `export_plugin!(Book: dyn OrderBook + dyn Audit)` two.
///
/// A library stays mapped until the process ends, since code that a thread may still run can't be
/// taken away. With `, unsafe(unloadable)` at the end the author vouches that after
/// [`Plugin::deinit`] no thread of the library runs, and that nothing holds a pointer into it: no
/// thread-local of a host's thread with a destructor, no handler that was registered. Then a host
/// unmaps it.
///
/// The library gets two symbols and no more: `KEYWAY_STAMP`, which says what the plugin is without
/// being run, and `keyway_plugin_v1`, which returns its table. Name and version are the package's.
/// Where a host compiles its plugins in (feature `compiled-in` of `keyway-host`), it gets none, and
/// says the same to that host: so any number of plugins fits into one program. The environment
/// variable `KEYWAY_TOOLCHAIN_HASH` (64 hexadecimal digits), where the build tool sets it, becomes
/// part of the stamp; without it the plugin is *unpinned*.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty $(,)?) => {
        $crate::__export_plugin! { $plugin, $crate::abi::table::LibraryFlags(0), [] }
    };
    ($plugin:ty, unsafe(unloadable) $(,)?) => {
        $crate::__export_plugin! { $plugin, $crate::abi::table::LibraryFlags::UNLOADABLE, [] }
    };
    ($plugin:ty: $($interfaces:tt)+) => {
        $crate::__interfaces! { $plugin; []; []; $($interfaces)+ }
    };
}

/// Takes `dyn A + dyn B, unsafe(unloadable)` apart.
#[doc(hidden)]
#[macro_export]
macro_rules! __interfaces {
    ($plugin:ty; [$($done:tt)*]; [$($current:tt)*]; + $($rest:tt)+) => {
        $crate::__interfaces! { $plugin; [$($done)* {$($current)*}]; []; $($rest)+ }
    };
    ($plugin:ty; [$($done:tt)*]; [$($current:tt)*]; , unsafe(unloadable) $(,)?) => {
        $crate::__export_plugin! {
            $plugin,
            $crate::abi::table::LibraryFlags::UNLOADABLE,
            [$($done)* {$($current)*}]
        }
    };
    ($plugin:ty; [$($done:tt)*]; [$($current:tt)*]; $(,)?) => {
        $crate::__export_plugin! {
            $plugin,
            $crate::abi::table::LibraryFlags(0),
            [$($done)* {$($current)*}]
        }
    };
    ($plugin:ty; [$($done:tt)*]; [$($current:tt)*]; $next:tt $($rest:tt)*) => {
        $crate::__interfaces! { $plugin; [$($done)*]; [$($current)* $next]; $($rest)* }
    };
}

/// Stamps a library that is for another program's loader, a Python module say: once in the crate, in
/// place of [`export_plugin!`]. The id says for which, such as `"org.python.module"`.
///
/// Hosts refuse such a library; the build tool knows what it is, and delivers it.
#[macro_export]
macro_rules! export_foreign {
    ($id:literal $(,)?) => {
        const _: () = {
            $crate::__stamp! { $crate::abi::stamp::Kind::Foreign($id), "", [] }
            $crate::__show! {}
        };
    };
}

/// What a library says of itself, with the facts of the crate that this is expanded in.
#[doc(hidden)]
#[macro_export]
macro_rules! __stamp {
    ($kind:expr, $contract:expr, [$($interface:ty),*]) => {
        const STAMP: $crate::abi::stamp::Stamp<'static> = $crate::abi::stamp::Stamp {
            name: ::core::env!("CARGO_PKG_NAME"),
            version: ::core::env!("CARGO_PKG_VERSION"),
            target: $crate::abi::stamp::TARGET,
            kind: $kind,
            // Read here, so that cargo rebuilds the plugin when it changes.
            toolchain: $crate::abi::stamp::toolchain_hash(::core::option_env!(
                "KEYWAY_TOOLCHAIN_HASH"
            )),
            contract: $contract,
            interfaces: $crate::abi::stamp::Interfaces::Borrowed(&[
                $($crate::abi::stamp::StampedInterface {
                    id: <$interface as $crate::abi::interface::Interface>::ID,
                    version: <$interface as $crate::abi::interface::Interface>::VERSION,
                    descriptor: <$interface as $crate::abi::interface::Interface>::DESCRIPTOR,
                    signature: <$interface as $crate::abi::interface::Interface>::SIGNATURE,
                }),*
            ]),
            facts: $crate::abi::stamp::Facts {
                panic: $crate::abi::__fact!(panic),
                processor: $crate::abi::__fact!(processor),
                float: $crate::abi::__fact!(float),
                c_runtime: $crate::abi::__fact!(c_runtime),
                sanitizer: $crate::abi::__fact!(sanitizer),
            },
        };
    };
}

/// The part of [`export_plugin!`] that does not depend on how it was written.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_plugin {
    ($plugin:ty, $flags:expr, [$({$interface:ty})*]) => {
        const _: () = {
            $crate::__stamp! {
                $crate::abi::stamp::Kind::Keyway,
                $crate::abi::descriptor::CONTRACT,
                [$($interface),*]
            }

            const OFFERS: &[&$crate::abi::table::Offer] =
                &[$(&$crate::__private::offer::<$plugin, $interface>()),*];

            unsafe extern "C" fn get_interface(
                id: $crate::abi::memory::Text,
                version: u32,
            ) -> *const $crate::abi::table::Offer {
                // SAFETY: the host lends the text.
                unsafe { $crate::__private::find(OFFERS, id, version) }
            }

            const N_METHODS: usize = $crate::__private::n_methods::<$plugin>();
            static METHODS: [$crate::abi::table::Method; N_METHODS] =
                $crate::__private::methods::<$plugin, N_METHODS>();
            static METHOD_LIST: [&$crate::abi::table::Method; N_METHODS] =
                $crate::__private::references(&METHODS);

            static LIBRARY: $crate::abi::table::Library = $crate::__private::library::<$plugin>(
                $flags,
                OFFERS,
                get_interface,
                &METHOD_LIST,
            );

            $crate::__show! { LIBRARY }
        };
    };
}

/// What is offered of the interface `I` for instances of `P`.
#[doc(hidden)]
pub const fn offer<P, I: Export<P> + ?Sized>() -> Offer {
    Offer {
        size: size_of::<Offer>(),
        id: Text::new(I::ID),
        version: I::VERSION,
        flags: 0,
        descriptor: Text::new(I::DESCRIPTOR),
        signature: Text::new(I::SIGNATURE),
        table: std::ptr::from_ref(I::TABLE).cast(),
        dispatch: Some(dispatch::<P, I>),
    }
}

unsafe extern "C" fn dispatch<P, I: Export<P> + ?Sized>(
    instance: *mut Instance,
    context: *const RawContext,
    function: u32,
    input: Slice<u8>,
    output: *mut OwnedBuffer,
    report: *mut ErrorReport,
) -> CallStatus {
    let on = (instance, context);
    // SAFETY: the caller keeps to the contract, which asks for the same.
    unsafe { encoding::dispatch::<I>(I::TABLE, on, function, input, output, report) }
}

/// The offer with this id and version, null if there is none.
///
/// # Safety
/// `id` must be a text that the caller lends.
#[doc(hidden)]
pub unsafe fn find(offers: &[&'static Offer], id: Text, version: u32) -> *const Offer {
    // SAFETY: the caller lends the text; those of the offers are constants.
    let is = |offer: &&&Offer| unsafe { offer.version == version && offer.id.get() == id.get() };
    offers.iter().find(is).map_or(std::ptr::null(), |offer| &raw const **offer)
}

/// How many methods `P` has.
#[doc(hidden)]
pub const fn n_methods<P: Plugin>() -> usize {
    P::METHODS.len() + P::SHARED_METHODS.len()
}

/// `P`'s methods, those that take it shared last; `N` is how many there are.
#[doc(hidden)]
pub const fn methods<P: Plugin, const N: usize>() -> [Method; N] {
    let mut methods = [NO_METHOD; N];
    let mut at = 0;
    while at < N {
        if at < P::METHODS.len() {
            methods[at].name = Text::new(P::METHODS[at].0);
        } else {
            methods[at].name = Text::new(P::SHARED_METHODS[at - P::METHODS.len()].name());
            methods[at].flags = MethodFlags::SHARED;
        }
        at += 1;
    }
    methods
}

/// A reference to each.
#[doc(hidden)]
pub const fn references<const N: usize>(all: &'static [Method; N]) -> [&'static Method; N] {
    let mut references: [&Method; N] = [&NO_METHOD; N];
    let mut at = 0;
    while at < N {
        references[at] = &all[at];
        at += 1;
    }
    references
}

const NO_METHOD: Method =
    Method { size: size_of::<Method>(), name: Text::new(""), flags: MethodFlags(0) };

/// The table of `P`'s library.
#[doc(hidden)]
pub const fn library<P: Plugin>(
    flags: LibraryFlags,
    offers: &'static [&'static Offer],
    get_interface: unsafe extern "C" fn(Text, u32) -> *const Offer,
    methods: &'static [&'static Method],
) -> Library {
    Library {
        size: size_of::<Library>(),
        contract: Text::new(CONTRACT),
        flags,
        interfaces: Slice::of_offers(offers),
        get_interface,
        methods: Slice::of_methods(methods),
        init: init::<P>,
        deinit: deinit::<P>,
        create: create::<P>,
        destroy: destroy::<P>,
        invoke: invoke::<P>,
        pause: pause::<P>,
        resume: resume::<P>,
        save_state: save_state::<P>,
        restore_state: restore_state::<P>,
    }
}

// Each function below is called by the host as `Library` says, which is all that their
// `SAFETY` comments can refer to.

unsafe extern "C" fn init<P: Plugin>(
    context: *const RawContext,
    host: *const table::Host,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the host keeps its table as long as the library is mapped, and has room for the report.
    let ended = unsafe {
        let call = Call::new();
        attempt(report, || P::init(host_of(host)?, Context::of_call(context, &call)))
    };
    ended.err().unwrap_or(CallStatus::OK)
}

unsafe extern "C" fn deinit<P: Plugin>(
    context: *const RawContext,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the host has room for the report.
    let ended = unsafe {
        let call = Call::new();
        attempt(report, || P::deinit(Context::of_call(context, &call)))
    };
    ended.err().unwrap_or(CallStatus::OK)
}

/// # Safety
/// The host's table must stay valid as long as this library is mapped.
unsafe fn host_of(host: *const table::Host) -> Result<Host, PluginError> {
    // SAFETY: the caller vouches for it.
    unsafe { Host::new(host) }
        .ok_or_else(|| PluginError::invalid_argument("the host offers nothing"))
}

unsafe extern "C" fn create<P: Plugin>(
    context: *const RawContext,
    host: *const table::Host,
    config: Slice<u8>,
    instance: *mut *mut Instance,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the host lends the configuration, keeps its table as long as the library is
    // mapped, and has room for the instance and the report.
    unsafe {
        let call = Call::new();
        let made = attempt(report, || {
            let context = Context::of_call(context, &call);
            P::create_with_context(config.elements(), host_of(host)?, context)
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
    context: *const RawContext,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the host passes an instance that only it uses, and has room for the report.
    unsafe {
        let pause =
            |plugin: &mut P, call: &Call| Some(plugin.pause(Context::of_call(context, call)));
        exclusive(instance, report, pause).status
    }
}

unsafe extern "C" fn resume<P: Plugin>(
    instance: *mut Instance,
    context: *const RawContext,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the host passes an instance that only it uses, and has room for the report.
    unsafe {
        let resume =
            |plugin: &mut P, call: &Call| Some(plugin.resume(Context::of_call(context, call)));
        exclusive(instance, report, resume).status
    }
}

unsafe extern "C" fn save_state<P: Plugin>(
    instance: *mut Instance,
    context: *const RawContext,
    state: *mut State,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the host passes an instance that only it uses, and has room for state and report.
    unsafe {
        let save = |plugin: &mut P, call: &Call| {
            Some(plugin.save_state(Context::of_call(context, call)).map(OwnedBuffer::from))
        };
        let reply = exclusive(instance, report, save);
        if reply.status == CallStatus::OK {
            let bytes = reply.value.assume_init();
            state.write(State { format: P::STATE_FORMAT, bytes });
        }
        reply.status
    }
}

unsafe extern "C" fn restore_state<P: Plugin>(
    instance: *mut Instance,
    context: *const RawContext,
    state: *const RawSavedState,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the host passes an instance that only it uses, lends the state, and has room for the
    // report.
    unsafe {
        let restore = |plugin: &mut P, call: &Call| {
            let state = SavedState::of_call(state, call)?;
            Some(plugin.restore_state(&state, Context::of_call(context, call)))
        };
        exclusive(instance, report, restore).status
    }
}

unsafe extern "C" fn destroy<P: Plugin>(
    instance: *mut Instance,
    _: *const RawContext,
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
    context: *const RawContext,
    method: u32,
    input: Slice<u8>,
    output: *mut OwnedBuffer,
    report: *mut ErrorReport,
) -> CallStatus {
    let method = method as usize;
    // SAFETY: the host passes an instance that it uses as the method asks, lends context and input for
    // the time of the call, and has room for output and report.
    let reply = unsafe {
        if let Some((_, function)) = P::METHODS.get(method) {
            exclusive(instance, report, |plugin: &mut P, call: &Call| {
                let context = Context::of_call(context, call);
                Some(function(plugin, input.elements(), context).map(OwnedBuffer::from))
            })
        } else {
            shared(instance, report, |plugin: &P, call: &Call| {
                let context = Context::of_call(context, call);
                let place = method.wrapping_sub(P::METHODS.len());
                Some(match P::SHARED_METHODS.get(place) {
                    Some(method) => {
                        method.call(plugin, input.elements(), context).map(OwnedBuffer::from)
                    }
                    None => Err(PluginError::unknown_method("there are not so many methods")),
                })
            })
        }
    };
    if reply.status == CallStatus::OK {
        // SAFETY: the value is there if the status is `OK`, and the host has room for it.
        unsafe { output.write(reply.value.assume_init()) };
    }
    reply.status
}
