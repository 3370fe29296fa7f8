//! Gate, stage, load and call plugins.
//!
//! | module | owns |
//! | --- | --- |
//! | [`policy`] | what a host expects of a plugin |
//! | [`gate`] | every check before loading; nothing of the plugin runs |
//! | [`code`], [`refusal`] | the reasons to refuse a plugin, and how they are told |
//! | [`load`] | the bytes that were checked, staged and loaded; [`Host`] puts it together |
//! | [`exports`], [`instance`], [`services`] | calls across the boundary |
//!
//! ```no_run
//! use std::path::Path;
//!
//! use keyway_abi::call::Context;
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
//! It is a library for programs of any size: it links no command-line parser, no progress bars and
//! no async runtime.

pub mod code;
pub mod exports;
mod file;
pub mod gate;
pub mod instance;
pub mod libc;
pub mod load;
mod permissions;
pub mod policy;
pub mod refusal;
pub mod services;
mod stage;

pub use code::{Check, Code};
pub use file::MAX_LIBRARY_SIZE;
pub use gate::{Admission, Examination, Gate};
pub use load::{Host, LoadError, Plugin};
pub use policy::{
    Expectation, ExportPolicy, ImportPolicy, KnownInterface, OtherInterfaces, PermissionPolicy,
    StampPolicy, ToolchainPolicy,
};
pub use refusal::{Refusal, Rejection, Verdict};
