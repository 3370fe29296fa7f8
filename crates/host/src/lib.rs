//! Gate, stage, load and call plugins.

pub mod exports;
pub mod instance;
pub mod services;
