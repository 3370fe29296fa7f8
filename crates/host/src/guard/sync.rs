//! What the mechanism is made of. The model has a module of the same content from `loom`.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
pub(crate) use std::thread::ThreadId;

use std::time::{Duration, Instant};

/// The thread that asks.
pub(crate) fn this_thread() -> ThreadId {
    std::thread::current().id()
}

/// Waits a little before asking again; longer if it was asked often. Guards tell nobody that they go,
/// since that would cost each of them a barrier.
pub(crate) fn pause(round: u32) {
    match round {
        0..16 => std::hint::spin_loop(),
        16..64 => std::thread::yield_now(),
        _ => std::thread::sleep(Duration::from_micros(u64::from(round.min(1000)))),
    }
}

/// Waits for a change until then; false if it is then already.
pub(crate) fn wait<'a, T>(
    condvar: &Condvar,
    lock: MutexGuard<'a, T>,
    until: Option<Instant>,
) -> (MutexGuard<'a, T>, bool) {
    let Some(until) = until else {
        return (condvar.wait(lock).unwrap_or_else(PoisonError::into_inner), true);
    };
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return (lock, false);
    }
    let (lock, _) = condvar.wait_timeout(lock, left).unwrap_or_else(PoisonError::into_inner);
    (lock, true)
}
