//! Gate, stage, load and call plugins.
