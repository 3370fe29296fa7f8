//! Engines: run a command inside an image.
