//! The image stage through its public face: archives that attack, suites that are served and signed
//! here, locks, and the command itself.

mod apple_linker;
mod archives;
mod compiled;
mod debian;
mod errors;
mod fetched;
mod fixture;
mod hostile;
mod layers;
mod lifecycle;
mod pins;
mod ready;
#[cfg(unix)]
mod registry;
mod resolving;
mod rust_dist;
mod security;
mod server;
mod tools;
mod transfers;
mod transport;
mod trees;
mod trust;
mod turns;
mod upkeep;
#[cfg(unix)]
mod wrappers;
