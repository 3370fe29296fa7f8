//! The vocabulary that every part of Keyway shares: digests, target triples and the manifest
//! that lies beside each plugin.
//!
//! This crate does no I/O. It parses once, at the edge, into types that can't be wrong.
#![forbid(unsafe_code)]

mod digest;
mod triple;

pub use digest::{Digest, Hasher, ParseDigestError};
pub use triple::{ParseTripleError, Triple};
