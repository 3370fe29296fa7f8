//! The `repr(C)` contract between Keyway plugins and hosts.
//!
//! | module | owns |
//! | --- | --- |
//! | [`stamp`] | the record linked into a plugin: its format, a reader that trusts nothing, a const writer |
//! | [`describe`], [`descriptor`] | the layout of every type of the boundary, as text made at compile time |
//! | [`memory`] | borrowed bytes and text, owned buffers |
//! | [`call`] | statuses, error reports, the context of a call |
//! | [`interface`] | which types a typed interface may use, and in what form they cross |
//! | [`table`] | the plugin's table, the host's services, the entry symbol |
//!
//! Both sides of the boundary and the tools link this crate, so it has no dependency, no I/O, and
//! needs `alloc` only. It catches no panic (that needs `std`: see `keyway-sdk`) and loads nothing.
//!
//! Three rules hold everywhere. Memory is freed by the side that allocated it. A panic never
//! crosses. Each table begins with its size in bytes; whoever reads a field that a later version
//! appended checks the size first.
#![no_std]

extern crate alloc;

pub mod call;
pub mod describe;
pub mod descriptor;
pub mod interface;
pub mod memory;
pub mod stamp;
pub mod table;
mod writer;

/// Version of what layout cannot show: who calls what when, and what a status means. It is raised
/// by hand and is part of every descriptor, so raising it refuses every plugin built before.
pub const CONTRACT_VERSION: u32 = 1;
