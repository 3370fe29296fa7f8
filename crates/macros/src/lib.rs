//! The attribute and derives behind `keyway-sdk`.
#![forbid(unsafe_code)]
