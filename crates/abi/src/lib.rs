//! The `repr(C)` contract between Keyway plugins and hosts.
//!
//! | module | owns |
//! | --- | --- |
//! | [`stamp`] | the record linked into a plugin: its format, a reader that trusts nothing, a const writer |
//! | [`describe`], [`descriptor`] | the layout of every type of the boundary, as text made at compile time |
//! | [`layout`], [`header`] | the same for other targets, and as a C header |
//! | [`memory`] | borrowed bytes and text, owned buffers |
//! | [`call`] | statuses, error reports, the context of a call |
//! | [`offer`] | from an interface that the other side offers to a table to call |
//! | [`interface`] | which types a typed interface may use, and in what form they cross |
//! | [`encoding`] | calls as bytes, for callers that do not know an interface's crate |
//! | [`table`] | the library's table, what either side offers, the entry symbol |
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
mod context;
pub mod describe;
pub mod descriptor;
pub mod encoding;
mod field;
pub mod header;
pub mod interface;
pub mod layout;
pub mod memory;
pub mod offer;
pub mod stamp;
pub mod table;
mod writer;

/// Version of what layout cannot show: who calls what when, and what a status means. It is raised
/// by hand and is part of every descriptor, so raising it refuses every plugin built before.
pub const CONTRACT_VERSION: u32 = 1;
