//! Which record is this thread's.

use std::cell::Cell;
use std::sync::LazyLock;

use super::slots::{Record, Registry};

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

thread_local! {
    /// It has no destructor, so that looking at it is one load, and possible until a thread has gone.
    static RECORD: Cell<Option<&'static Record>> = const { Cell::new(None) };
    /// Gives the record back when the thread ends.
    static OWNER: Owner = Owner(REGISTRY.claim());
}

struct Owner(&'static Record);

impl Drop for Owner {
    fn drop(&mut self) {
        RECORD.set(None);
        REGISTRY.release(self.0);
    }
}

/// The records of all threads.
pub(crate) fn registry() -> &'static Registry {
    &REGISTRY
}

/// This thread's; none while the thread's own destructors run.
#[inline]
pub(crate) fn record() -> Option<&'static Record> {
    match RECORD.get() {
        Some(record) => Some(record),
        None => claim(),
    }
}

#[cold]
fn claim() -> Option<&'static Record> {
    let record = OWNER.try_with(|owner| owner.0).ok()?;
    RECORD.set(Some(record));
    Some(record)
}
