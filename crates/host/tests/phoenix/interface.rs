//! What the phoenix offers, for hosts and the plugin alike.

use keyway_sdk::{OwnedBuffer, interface};

/// What tells one generation from another, and what moves between them.
#[interface]
pub trait Phoenix {
    /// The edition of the library.
    fn edition(&self) -> u32;
    /// What was added so far.
    fn total(&self) -> u64;
    /// The edition, as text.
    fn name(&self) -> OwnedBuffer;
    /// Adds to the total.
    fn add(&mut self, number: u64) -> u64;
    /// Panics.
    fn burn(&self);
}
