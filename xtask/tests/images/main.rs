//! The image stage through its public face: archives that attack, suites that are served and signed
//! here, locks, and the command itself.

mod archives;
mod debian;
mod errors;
mod fixture;
mod layers;
mod lifecycle;
mod resolving;
mod server;
mod transfers;
mod trees;
mod trust;
#[cfg(unix)]
mod wrappers;
