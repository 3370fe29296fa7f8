//! What the author of a plugin sees.

mod export;
mod guard;
mod plugin;

pub use export::Export;
pub use keyway_abi as abi;
pub use keyway_abi::call::{CallContext, CallError, Context, LogLevel, PluginError, CallStatus};
pub use keyway_abi::interface::{Buffer, Layout};
pub use keyway_abi::memory::OwnedBuffer;
pub use keyway_macros::{Layout, interface};
pub use plugin::{Host, Method, Plugin};

/// What the macros expand to; not for people.
#[doc(hidden)]
pub mod __private {
    pub use crate::export::{method_names, table};
    pub use crate::guard::{exclusive, shared};
}
