//! Gate, stage, load and call plugins.
//!
//! | module | owns |
//! | --- | --- |
//! | [`policy`] | what a host expects of a plugin |
//! | [`gate`] | every check before loading; nothing of the plugin runs |
//! | [`code`], [`refusal`] | the reasons to refuse a plugin, and how they are told |
//! | [`load`] | the bytes that were checked, staged and loaded; [`Host`] puts it together |
//! | `compiled_in` | plugins that are part of the program (feature `compiled-in`) |
//! | [`plugin`] | a plugin as a host keeps it to itself |
//! | [`shared`], [`handle`] | a plugin for many threads: guards, handles, calls with deadlines |
//! | [`reload`], [`generation`], [`lifecycle`] | one generation after the other, and the steps of their lives |
//! | [`manager`], [`counts`] | many plugins by name, and what is known of them |
//! | `guard`, `deadline` | the mechanisms below: who uses a generation, and what does not end in time |
//! | [`exports`], [`instance`], [`services`] | calls across the boundary |
//!
//! ```no_run
//! use std::path::Path;
//!
//! use keyway_host::Context;
//! use keyway_host::load::Host;
//! use keyway_host::policy::Expectation;
//! use keyway_host::services::Services;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // What plugins may ask of this program: to write a line to its log.
//!     let services = Services::new(|level, message| eprintln!("{level:?}: {message}"));
//!     let host = Host::new(Expectation::this_process(), services)?;
//!     // The gate first; a refusal names every reason, each with its code and remedy.
//!     let mut plugin = host.load(Path::new("plugins/libgreet.so"), b"")?;
//!     let answer = plugin.instance().invoke("greet", b"World", Context::NONE)?;
//!     println!("{}", String::from_utf8_lossy(&answer));
//!     plugin.unload()?;
//!     Ok(())
//! }
//! ```
//!
//! Plugins can be part of the program too, with the feature `compiled-in`. The program names each
//! once, `use greet as _;`, since rustc links no crate that nothing names; then
//! `host.compiled_in()` lists them and `host.load_compiled_in("greet", b"")` gives the same
//! [`Plugin`]. Plugins that cargo compiles in one run with such a program export nothing, and can't
//! be loaded: build those by themselves, as `cargo xtask build-plugins` does.
//!
//! [`Plugin::share`] makes a [`SharedPlugin`], for many threads and to be reloaded; a [`Manager`] runs many. Services and interfaces of the host's own are
//! made with [`macro@interface`] and [`macro@Layout`]; this crate is the one dependency.
//!
//! It is a library for programs of any size: it links no command-line parser, no progress bars and
//! no async runtime.

pub mod code;
#[cfg(feature = "compiled-in")]
pub mod compiled_in;
pub mod counts;
mod deadline;
mod error;
pub mod exports;
mod file;
pub mod gate;
pub mod generation;
mod guard;
pub mod handle;
pub mod instance;
pub mod libc;
pub mod lifecycle;
pub mod load;
pub mod manager;
mod permissions;
pub mod plugin;
pub mod policy;
mod processor;
pub mod refusal;
pub mod reload;
pub mod services;
pub mod shared;
mod stage;
pub mod toolchains;

pub use code::{Check, Code};
#[cfg(feature = "compiled-in")]
pub use compiled_in::CompiledInPlugin;
pub use counts::{Counted, LastError};
pub use error::Error;
pub use exports::{ContractError, ExportedMethod, Exports, MethodIndex};
pub use file::MAX_LIBRARY_SIZE;
pub use gate::{Admission, Examination, Gate};
pub use generation::Ended;
pub use guard::place::Unavailable;
pub use handle::Handle;
pub use instance::{Instance, Output, State};
pub use keyway_abi as abi;
pub use keyway_abi::interface::Layout;
pub use keyway_manifest::Manifest;
/// The part of the contract that hosts and plugins share. What the macros of this crate make names it.
pub use keyway_sdk as sdk;
pub use keyway_sdk::{
    Buffer, CallContext, CallError, CallStatus, CancellationToken, Context, Export, Field,
    LogLevel, OwnedBuffer, PluginError, SavedState, now_ns,
};
pub use lifecycle::{Deadlines, Hooks, Life, LifeCause, LifeError, LifeState, Step, Transition};
pub use load::{Host, LoadError};
pub use manager::{
    BackOff, Event, FailurePolicy, Manager, ManagerError, ManagerOptions, Member, Status,
};
pub use plugin::{Origin, Plugin};
pub use policy::{
    Expectation, ExpectedFacts, ExportPolicy, ImportPolicy, KnownInterface, OtherInterfaces,
    PermissionPolicy, SignaturePolicy, StampPolicy, SymbolPolicy, ToolchainPolicy,
};
pub use refusal::{Refusal, Rejection, Verdict};
pub use reload::{HealthCheck, Reload, ReloadError, Reloaded, StateMove, StateMoved};
pub use services::{LogLine, LogSink, Services};
pub use shared::{ExclusiveInstance, Guard, SharedPlugin};
pub use stage::StageError;
pub use toolchains::Toolchains;

/// Lets a struct or an enum cross the plugin boundary: [`macro@keyway_sdk::Layout`], for crates
/// that depend on `keyway-host` alone.
pub use keyway_macros::HostLayout as Layout;

/// Makes a trait callable across the plugin boundary: [`macro@keyway_sdk::interface`], for crates
/// that depend on `keyway-host` alone. What a plugin is to call, too, belongs in a crate that
/// depends on `keyway-sdk`, which is all that a plugin links; or it says there what is said here,
/// under one id.
pub use keyway_macros::host_interface as interface;
