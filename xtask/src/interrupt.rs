//! Ctrl-C and its relatives: a flag that whoever waits for a child looks at.
//!
//! The handler itself stops nothing, since only the owner of a child or a container knows how to
//! end it without leaving something behind. A second signal ends the process at once.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Exit;

static REQUESTED: AtomicBool = AtomicBool::new(false);
static INSTALL: Once = Once::new();

/// Makes SIGINT, SIGTERM and SIGHUP (Ctrl-C on Windows) set the flag instead of ending the process.
///
/// Called before the first child of a command is started; calling it again does nothing. It starts
/// a thread, so the sandbox's own process, which must have only one, never calls it.
pub fn install() {
    INSTALL.call_once(|| {
        let handler = || {
            if REQUESTED.swap(true, Ordering::SeqCst) {
                std::process::exit(Exit::Interrupted as i32);
            }
        };
        // It fails only if another handler is installed; then that one decides.
        let _ = ctrlc::set_handler(handler);
    });
}

/// Whether the user asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
