//! One file a command; each has an `Args` for clap and a `run`.

pub(crate) mod bench;
pub(crate) mod build_plugins;
pub(crate) mod ci;
pub(crate) mod compat;
pub(crate) mod contract;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod gate;
pub(crate) mod images;
pub(crate) mod run_plugin;
mod table;
pub(crate) mod targets;
pub(crate) mod test_plugins;
pub(crate) mod verify;
