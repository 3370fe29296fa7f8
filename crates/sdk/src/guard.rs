//! What stands between the C functions of a plugin and its author's code: it finds the instance,
//! catches panics, and turns errors into reports.
//!
//! Nothing here is for people to call; the macros do.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use keyway_abi::call::{Call, CallStatus, ErrorReport, PluginError};
use keyway_abi::interface::{Reply, Returned};
use keyway_abi::table::Instance;

/// What the host's pointer to an instance points to.
pub(crate) struct Cell<P> {
    plugin: UnsafeCell<P>,
    /// Whether a panic is the end: it is for a plugin, whose invariants nobody knows.
    is_plugin: bool,
    /// Set by the first panic. The plugin's invariants may be broken from then on, so nothing but
    /// `destroy` reaches it again. Kept on this side, so that it holds for every host.
    poisoned: AtomicBool,
}

impl<P> Cell<P> {
    pub(crate) fn create(plugin: P) -> *mut Instance {
        Self::boxed(plugin, true)
    }

    /// The instance of a service, which goes on after a panic.
    pub(crate) fn serve(service: P) -> *mut Instance {
        Self::boxed(service, false)
    }

    fn boxed(plugin: P, is_plugin: bool) -> *mut Instance {
        let plugin = UnsafeCell::new(plugin);
        Box::into_raw(Box::new(Self { plugin, is_plugin, poisoned: AtomicBool::new(false) })).cast()
    }

    /// # Safety
    /// `instance` must come from [`create`](Self::create) of the same `P`, and this is its end.
    pub(crate) unsafe fn destroy(instance: *mut Instance) {
        // SAFETY: the caller vouches for where the pointer comes from.
        drop(unsafe { Box::from_raw(instance.cast::<Self>()) });
    }
}

/// Runs `call` on the instance, which no one else uses.
///
/// # Safety
/// `instance` must be one that `P`'s `create` made, used by no other thread; `report` must be valid
/// for writes.
#[doc(hidden)]
#[inline]
pub unsafe fn exclusive<P, R: Returned>(
    instance: *mut Instance,
    report: *mut ErrorReport,
    call: impl FnOnce(&mut P, &Call) -> Option<R>,
) -> Reply<R::Wire> {
    // SAFETY: the caller vouches for the instance, and that no one else uses it.
    unsafe { enter::<P, R>(instance, report, |cell| call(&mut *cell.plugin.get(), &Call::new())) }
}

/// Runs `call` on the instance, which other threads may use in the same way.
///
/// # Safety
/// As for [`exclusive`], but other threads may be in this function too.
#[doc(hidden)]
#[inline]
pub unsafe fn shared<P, R: Returned>(
    instance: *mut Instance,
    report: *mut ErrorReport,
    call: impl FnOnce(&P, &Call) -> Option<R>,
) -> Reply<R::Wire> {
    // SAFETY: the caller vouches for the instance, and that no one changes it.
    unsafe { enter::<P, R>(instance, report, |cell| call(&*cell.plugin.get(), &Call::new())) }
}

#[inline]
unsafe fn enter<P, R: Returned>(
    instance: *mut Instance,
    report: *mut ErrorReport,
    call: impl FnOnce(&Cell<P>) -> Option<R>,
) -> Reply<R::Wire> {
    // SAFETY: the instance points to a cell that `create` made.
    let cell = unsafe { &*instance.cast::<Cell<P>>() };
    if cell.poisoned.load(Ordering::Relaxed) {
        // SAFETY: the caller vouches for the report.
        return unsafe { poisoned(report) };
    }
    let call = || match call(cell) {
        Some(result) => result.lower(),
        None => Err(invalid_argument()),
    };
    // SAFETY: the caller vouches for the report.
    match unsafe { attempt(report, call) } {
        Ok(value) => Reply::ok(value),
        Err(status) => {
            if status == CallStatus::PANICKED && cell.is_plugin {
                cell.poisoned.store(true, Ordering::Relaxed);
            }
            Reply::failed(status)
        }
    }
}

/// Runs `call` and catches its panic. If it gives no value, the report is written.
///
/// # Safety
/// `report` must be valid for writes.
#[inline]
pub(crate) unsafe fn attempt<T>(
    report: *mut ErrorReport,
    call: impl FnOnce() -> Result<T, PluginError>,
) -> Result<T, CallStatus> {
    // A panic poisons the instance, so no broken invariant is seen afterwards.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        // SAFETY: the caller vouches for the report.
        Ok(Err(error)) => Err(unsafe { failed(report, error) }),
        // SAFETY: as above.
        Err(payload) => Err(unsafe { panicked(report, payload) }),
    }
}

#[cold]
fn invalid_argument() -> PluginError {
    PluginError::invalid_argument("the host passed an argument that is no value of its type")
}

/// An `extern "C"` function, which never unwinds, and as such the last thing that a shim does: so
/// the shim of a function that can't panic needs no stack frame.
#[cold]
unsafe extern "C" fn poisoned<T>(report: *mut ErrorReport) -> Reply<T> {
    let message = "the instance panicked in an earlier call".to_owned().into_bytes().into();
    // SAFETY: the caller vouches for the report.
    unsafe { report.write(ErrorReport { code: 0, message }) };
    Reply::failed(CallStatus::POISONED)
}

#[cold]
unsafe fn failed(report: *mut ErrorReport, error: PluginError) -> CallStatus {
    let status = error.status();
    // SAFETY: the caller vouches for the report.
    unsafe { report.write(error.into_report()) };
    status
}

#[cold]
unsafe fn panicked(report: *mut ErrorReport, payload: Box<dyn Any + Send>) -> CallStatus {
    let message = match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => match payload.downcast::<&'static str>() {
            Ok(message) => (*message).to_owned(),
            Err(payload) => {
                // Dropping it runs the author's code, which may panic again; nothing would catch
                // that one.
                std::mem::forget(payload);
                "a value that is no text".to_owned()
            }
        },
    };
    let message = message.into_bytes().into();
    // SAFETY: the caller vouches for the report.
    unsafe { report.write(ErrorReport { code: 0, message }) };
    CallStatus::PANICKED
}
