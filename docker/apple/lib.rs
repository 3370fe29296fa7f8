//! Nothing: this package only names crates, so that its Cargo.lock pins them.
