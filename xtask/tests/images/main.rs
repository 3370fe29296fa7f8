//! The image stage through its public face: archives that attack, suites that are served and signed
//! here, locks, and the command itself.

mod archives;
mod debian;
mod errors;
mod fetched;
mod fixture;
mod hostile;
mod layers;
mod lifecycle;
mod ready;
#[cfg(unix)]
mod registry;
mod resolving;
mod rust_dist;
mod security;
mod server;
mod transfers;
mod transport;
mod trees;
mod trust;
mod upkeep;
#[cfg(unix)]
mod wrappers;
