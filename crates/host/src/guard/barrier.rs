//! A barrier for which the one side pays: readers pass it many million times a second, and
//! replacements are rare.
//!
//! Both sides store something and then load what the other side stores; at least one of them must see
//! the other's. Two `SeqCst` fences do that. Where the system can make all threads of a process
//! pass a barrier, the reader's needs to hold back the compiler only: Linux has `membarrier`, since 4.14 and if no
//! filter forbids it, and Windows has `FlushProcessWriteBuffers`. Elsewhere, macOS and FreeBSD among them, readers
//! have a fence.
//!
//! Which it is, is found out once in a process, before a value can be entered. A reader that does not
//! know yet has a fence, which is right with either.

use std::sync::atomic::{AtomicU8, Ordering, compiler_fence, fence};

/// Not found out yet, or readers have a fence.
const FENCE: u8 = 0;
/// The system does it.
const SYSTEM: u8 = 1;

static KIND: AtomicU8 = AtomicU8::new(FENCE);

/// Finds out which barrier there is. Before this readers have a fence.
pub(crate) fn prepare() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        if platform::prepare() {
            KIND.store(SYSTEM, Ordering::Release);
        }
    });
}

/// The reader's side.
#[inline]
pub(crate) fn light() {
    match KIND.load(Ordering::Relaxed) {
        SYSTEM => compiler_fence(Ordering::SeqCst),
        _ => fence(Ordering::SeqCst),
    }
}

/// The other side: afterwards every reader has seen what was stored before, or what it stored is
/// seen from here. False if the system failed to; then nothing is known about readers.
#[must_use]
pub(crate) fn heavy() -> bool {
    fence(Ordering::SeqCst);
    // Whoever replaces something has called `prepare`, so what stands here stays.
    let passed = match KIND.load(Ordering::Acquire) {
        SYSTEM => platform::all_threads(),
        _ => true,
    };
    fence(Ordering::SeqCst);
    passed
}

#[cfg(all(target_os = "linux", not(miri)))]
mod platform {
    use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};

    pub(super) fn prepare() -> bool {
        membarrier_query().contains_command(MembarrierCommand::PrivateExpedited) && register()
    }

    fn register() -> bool {
        membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
    }

    /// A second attempt, should a process have lost its registration.
    pub(super) fn all_threads() -> bool {
        let pass = || membarrier(MembarrierCommand::PrivateExpedited).is_ok();
        pass() || (register() && pass())
    }
}

#[cfg(all(windows, not(miri)))]
mod platform {
    #[link(name = "kernel32")]
    unsafe extern "system" {
        safe fn FlushProcessWriteBuffers();
    }

    /// Every Windows since Vista has it, and it can't fail.
    pub(super) fn prepare() -> bool {
        true
    }

    pub(super) fn all_threads() -> bool {
        FlushProcessWriteBuffers();
        true
    }
}

#[cfg(any(miri, not(any(target_os = "linux", windows))))]
mod platform {
    pub(super) fn prepare() -> bool {
        false
    }

    pub(super) fn all_threads() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_barrier_is_passed() {
        super::prepare();
        assert!(super::heavy());
        super::light();
    }
}
