//! What the author of a Keyway plugin sees: the trait [`Plugin`], the macro [`export_plugin!`], and
//! for typed interfaces the attribute [`macro@interface`] and the derive [`macro@Layout`].
//!
//! # Write your first plugin
//!
//! A plugin is a library crate of the type `cdylib` in your workspace, with one dependency:
//!
//! ```toml
//! [package]
//! name = "greet"
//! version = "0.1.0"
//! edition = "2024"
//!
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! keyway-sdk = { path = "../../crates/sdk" }
//! ```
//!
//! Its code is an ordinary type. Hosts that know nothing but bytes call its named methods:
//!
//! ```
//! use keyway_sdk::{Context, Host, Method, Plugin, PluginError, export_plugin};
//!
//! struct Greet;
//!
//! impl Plugin for Greet {
//!     const METHODS: &'static [Method<Self>] = &[("greet", Self::greet)];
//!
//!     fn create(_config: &[u8], _host: Host) -> Result<Self, PluginError> {
//!         Ok(Self)
//!     }
//! }
//!
//! impl Greet {
//!     fn greet(&mut self, name: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
//!         Ok([b"Hello, ", name, b"!"].concat())
//!     }
//! }
//!
//! export_plugin!(Greet);
//! # fn main() {}
//! ```
//!
//! `cargo xtask build-plugins` builds it for every target, and
//! `cargo xtask run-plugin LIBRARY greet world` loads and calls the one for your machine.
//!
//! # A typed interface
//!
//! Named methods cost an allocation and the parsing of bytes. A host and a plugin that share a
//! crate can call typed functions instead, for little more than a call through a pointer:
//!
//! ```
//! # mod scale_interface {
//! // In a crate of its own, say `scale-interface`:
//! use keyway_sdk::{Layout, PluginError, interface};
//!
//! #[derive(Clone, Copy, Layout)]
//! #[repr(C)]
//! pub struct Weight {
//!     pub grams: u64,
//! }
//!
//! #[interface(version = 1)]
//! pub trait Scale {
//!     /// The total.
//!     fn weigh(&self, parts: &[Weight]) -> Result<Weight, PluginError>;
//! }
//! # }
//!
//! # use scale_interface::{Scale, Weight};
//! // In the plugin:
//! # use keyway_sdk::{Host, Plugin, PluginError, export_plugin};
//! struct Kitchen;
//!
//! impl Scale for Kitchen {
//!     fn weigh(&self, parts: &[Weight]) -> Result<Weight, PluginError> {
//!         let grams = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.grams));
//!         let grams = grams.ok_or_else(|| PluginError::new(1, "too heavy"))?;
//!         Ok(Weight { grams })
//!     }
//! }
//! # impl Plugin for Kitchen {
//! #     fn create(_: &[u8], _: Host) -> Result<Self, PluginError> {
//! #         Ok(Self)
//! #     }
//! # }
//!
//! export_plugin!(Kitchen: dyn Scale);
//! # fn main() {}
//! ```
//!
//! The host calls `instance.interface::<dyn Scale>(Context::NONE)?.weigh(&parts)?`. If host and
//! plugin were built against different versions of the interface, the gate refuses the plugin and
//! names the type, the function or the field that changed.
//!
//! | may cross | as |
//! | --- | --- |
//! | integers up to 64 bits, `f32`, `f64`, `bool` | argument, result, field |
//! | `#[repr(C)]` structs with `#[derive(Clone, Copy, Layout)]` | argument, result, field |
//! | enums without data, with a `#[repr(u8)]` or such, and the same derive | argument, result, field |
//! | arrays `[T; N]` of those | field |
//! | `&[T]` of those; `&mut [T]` if no `bool` or enum is inside | argument |
//! | `&str` | argument |
//! | `&[Field<'_>]`: named values of a log line | argument |
//! | [`OwnedBuffer`]: bytes, freed by the side that made them | argument, result |
//! | `Result<T, PluginError>` of a result | result |
//! | `()` | result |
//!
//! Anything else is a compile error that says why. A function may take a [`Context`] as its first
//! argument: it gets that of the call, which a host's proxy takes from elsewhere.
//!
//! # What the host offers
//!
//! A host offers interfaces too: [`Host::service`] looks one up by its type, and its functions are
//! called as a host calls a plugin's. Which there are is up to the host; [`Log`] is among them, and
//! [`Host::logger`] writes to it with named values.
//!
//! # What the two sides can rely on
//!
//! - A panic never crosses. It is caught, the host gets its message, and the instance is *poisoned*:
//!   later calls are refused, and only destroying it runs its code again. This needs
//!   `panic = "unwind"`, the default.
//! - Memory is freed by the side that allocated it.
//! - Bytes from the other side are checked before they are used as a `bool`, an enum or text. What a
//!   pointer points to can't be checked: a plugin is as trusted as any code in the process.
//! - Every call carries a [`Context`]: the trace that it belongs to, a deadline, and whether it was
//!   cancelled.
//! - A library stays mapped until the process ends, unless its author vouches that it may be taken
//!   away: `export_plugin!(Greet, unsafe(unloadable))`. What the host offers stays as long.
//! - A library exports two symbols, `KEYWAY_STAMP` and `keyway_plugin_v1`, and no other. Where a
//!   host compiles its plugins in, there is none (feature `compiled-in` of `keyway-host`).

mod export;
mod guard;
mod plugin;
mod service;
mod show;

// What the macros make names this crate, also where it is this crate.
extern crate self as keyway_sdk;

pub use export::Export;
pub use keyway_abi as abi;
pub use keyway_abi::call::{
    CallContext, CallError, CallStatus, CancellationToken, Context, Field, LogLevel, PluginError,
};
pub use keyway_abi::interface::{Buffer, Layout};
pub use keyway_abi::memory::OwnedBuffer;
pub use plugin::{Host, Method, Plugin, SavedState, SharedMethod, now_ns};
pub use service::{Log, LogProxy, Logger, Offered, Service};

/// Lets a struct or an enum cross the plugin boundary.
///
/// A struct needs `#[repr(C)]` and fields that may cross; an enum needs the integer it crosses as,
/// such as `#[repr(u8)]`, and no data in its variants. Both need `Clone` and `Copy`. Its name, its
/// fields' names, types and offsets become part of the layout descriptor of every interface that
/// uses it: change one, and plugins built before are refused. Comments and visibility do not count.
///
/// ```
/// use keyway_sdk::Layout;
///
/// #[derive(Clone, Copy, Layout)]
/// #[repr(u8)]
/// enum Unit {
///     Gram,
///     Ounce,
/// }
///
/// #[derive(Clone, Copy, Layout)]
/// #[repr(C)]
/// struct Weight {
///     amount: u64,
///     unit: Unit,
/// }
/// ```
pub use keyway_macros::Layout;

/// Makes a trait callable across the plugin boundary, in a crate that hosts and plugins share.
///
/// For a trait `Scale` it generates the `repr(C)` table of its functions; for plugins a shim for each
/// function that catches panics, used by [`export_plugin!`]; for hosts `ScaleProxy` with the same
/// functions, each returning a `Result`; and for `dyn Scale` the layout descriptor, so that the type
/// `dyn Scale` names the interface everywhere.
///
/// Functions take `&self` or `&mut self`. Those with `&self` may be called by several threads at once.
/// Functions are found by their place in the table: adding, removing or reordering them makes
/// another interface, unless it is `#[interface(extensible)]`: then functions may be appended, and
/// either side may be the newer one; a function that the other side lacks answers `UNSUPPORTED`.
/// `#[interface(version = 2)]` says that the meaning changed and the types did not.
/// An interface is known by its id, `crate/Trait` unless `#[interface(id = "company/Scale")]` gives
/// another.
///
/// `ScaleEncoded` has the same functions as `ScaleProxy` and calls with bytes, through any
/// [`Transport`](abi::encoding::Transport); plugins get the other side of it too, so that a caller
/// who has only the interface's text can call them.
///
/// A crate that uses the attribute needs `keyway-sdk` among its own dependencies, or imports it from
/// `keyway-host`.
pub use keyway_macros::interface;

/// What the macros expand to; not for people.
#[doc(hidden)]
pub mod __private {
    #[cfg(feature = "compiled-in")]
    pub use inventory;

    pub use crate::export::{find, library, methods, n_methods, offer, references};
    pub use crate::guard::{exclusive, shared};
    #[cfg(feature = "compiled-in")]
    pub use crate::show::CompiledIn;
    pub use std::vec::Vec;
}
