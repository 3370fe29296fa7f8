//! How many calls of a plugin were made, and what came of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use keyway_abi::call::{CallError, CallStatus};

/// Counted since the plugin was loaded, over all of its generations.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    calls: AtomicU64,
    errors: AtomicU64,
    panics: AtomicU64,
    last_error: Mutex<Option<LastError>>,
}

/// The last call that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// What went wrong.
    pub error: CallError,
    /// When.
    pub at: SystemTime,
}

/// What was counted, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Calls that the plugin was asked for by name, by [`SharedPlugin::call`](crate::SharedPlugin::call), or with a deadline. What is
    /// called through a guard or a handle is not counted: it would cost as much as the call.
    pub n_calls: u64,
    /// Those of them that went wrong, and what was [reported](crate::SharedPlugin::report).
    pub n_errors: u64,
    /// Those of them that panicked.
    pub n_panics: u64,
    /// The last one that went wrong.
    pub last_error: Option<LastError>,
}

impl Counts {
    pub(crate) fn add<T>(&self, result: &Result<T, CallError>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = result {
            self.add_error(error);
        }
    }

    #[cold]
    pub(crate) fn add_error(&self, error: &CallError) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        if error.status == CallStatus::PANICKED {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        let last = LastError { error: error.clone(), at: SystemTime::now() };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    pub(crate) fn counted(&self) -> Counted {
        Counted {
            n_calls: self.calls.load(Ordering::Relaxed),
            n_errors: self.errors.load(Ordering::Relaxed),
            n_panics: self.panics.load(Ordering::Relaxed),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
