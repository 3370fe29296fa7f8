//! Gate, stage, load and call plugins.
//!
//! | module | owns |
//! | --- | --- |
//! | [`policy`] | what a host expects of a plugin |
//! | [`gate`] | every check before loading; nothing of the plugin runs |
//! | [`code`], [`refusal`] | the reasons to refuse a plugin, and how they are told |
//! | [`load`] | the bytes that were checked, staged and loaded; [`Host`](load::Host) puts it together |
//! | [`exports`], [`instance`], [`services`] | calls across the boundary |
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
    Expectation, ImportPolicy, KnownInterface, OtherInterfaces, PermissionPolicy, StampPolicy,
    ToolchainPolicy,
};
pub use refusal::{Refusal, Rejection, Verdict};
