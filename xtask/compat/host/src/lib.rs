//! Nothing: its dependency is what `test-plugins` runs.
