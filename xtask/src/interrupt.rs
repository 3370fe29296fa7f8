//! Ctrl-C and its relatives: a flag for whoever waits for a child, and an end for all others.
//!
//! Only the owner of a child or a container knows how to end it without leaving something behind;
//! while one is being waited for, a signal sets a flag that its owner looks at, and a second one
//! ends the process. At any other time the first ends it: what is kept is written by renaming, so
//! no moment is a bad one.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::failure::Exit;

static REQUESTED: AtomicBool = AtomicBool::new(false);
static N_WAITING: AtomicUsize = AtomicUsize::new(0);
static INSTALL: Once = Once::new();

/// While it lives, SIGINT, SIGTERM and SIGHUP (Ctrl-C on Windows) set the flag.
#[derive(Debug)]
pub struct Waiting(());

impl Waiting {
    /// Begins to wait for a child. The first call starts a thread, so the sandbox's own process,
    /// which must have only one, never makes it.
    pub fn begin() -> Self {
        N_WAITING.fetch_add(1, Ordering::SeqCst);
        INSTALL.call_once(|| {
            // It fails only if another handler is installed; then that one decides.
            let _ = ctrlc::set_handler(handle);
        });
        Self(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        N_WAITING.fetch_sub(1, Ordering::SeqCst);
    }
}

fn handle() {
    let is_second = REQUESTED.swap(true, Ordering::SeqCst);
    if is_second || N_WAITING.load(Ordering::SeqCst) == 0 {
        std::process::exit(Exit::Interrupted as i32);
    }
}

/// Whether the user asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
