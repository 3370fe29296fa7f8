//! Bytes to facts.
#![forbid(unsafe_code)]
