//! How calls hold on to the generation that they use, and how one generation takes the place of
//! another: the mechanism, which knows nothing of plugins.
//!
//! | module | owns |
//! | --- | --- |
//! | `slots` | a record for each thread, which says what the thread is using |
//! | `barrier` | the memory barrier for which the one side pays |
//! | `place` | the value that is current: entering it, having it alone, replacing it, draining it |
//! | `thread` | which record is this thread's |
//! | `sync` | what `std` has in a program and `loom` in the model (`tests/model.rs`) |
//!
//! A reader writes into a record of its own what it is about to use, and looks whether that is
//! still current: a hazard pointer. Between the two stands a barrier, and whoever replaces the value
//! makes every thread of the process pass one, so that a reader pays for a compiler's only.

pub(crate) mod barrier;
pub(crate) mod place;
pub(crate) mod slots;
pub(crate) mod sync;
pub(crate) mod thread;
