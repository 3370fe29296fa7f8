//! `cargo xtask`: builds the native plugins of a workspace for every target, inside pinned images.
//!
//! Data flows one way: targets and workspace → plan → image → engine → run → artifact → manifest →
//! gate → `dist/`. A stage never imports a later one.

pub mod artifact;
pub mod build;
pub mod cache;
mod cli;
mod commands;
pub mod configuration;
pub mod container;
pub mod describe;
pub mod dist;
pub mod engine;
pub mod failure;
pub mod image;
pub mod inputs;
pub mod interrupt;
pub mod jobs;
pub mod origin;
pub mod package_id;
pub mod paths;
pub mod placement;
pub mod plan;
pub mod recompile;
pub mod records;
pub mod rivals;
pub mod run;
pub mod runner;
pub mod shell;
pub mod source;
pub mod standing;
pub mod stubs;
pub mod survey;
pub mod targets;
pub mod time;
pub mod unseen;
pub mod vendor;
pub mod verdict;
pub mod workspace;

pub use cli::main;
