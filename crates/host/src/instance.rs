//! One instance of a plugin, and the two ways to call it: by name, and through a typed interface.
//!
//! An instance destroys itself when dropped, and holds on to its library until then. What the
//! plugin reports becomes a [`CallError`]. That an instance which panicked is not called again is
//! the plugin's own side's business (status `POISONED`); nothing has to be remembered here.

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};

use keyway_abi::call::{CallError, CallStatus, Context, ErrorReport};
use keyway_abi::interface::{Interface, Remote};
use keyway_abi::memory::{OwnedBuffer, Slice, Text};
use keyway_abi::table;

use crate::exports::{ContractError, Exports, KeepAlive};

/// An instance of a plugin. Dropping it destroys it.
pub struct Instance {
    pointer: NonNull<table::Instance>,
    exports: Exports,
    /// Address of the descriptor that the plugin's was last compared with and found equal to.
    checked: AtomicPtr<u8>,
}

// SAFETY: the contract says that a plugin's instance may be used on any thread.
unsafe impl Send for Instance {}
// SAFETY: a shared `Instance` calls only functions that take it shared, which the contract allows on
// several threads at once.
unsafe impl Sync for Instance {}

impl Instance {
    /// # Safety
    /// `pointer` must be null or an instance of `exports` that no one else uses.
    pub(crate) unsafe fn new(pointer: *mut table::Instance, exports: Exports) -> Option<Self> {
        let checked = AtomicPtr::new(std::ptr::null_mut());
        NonNull::new(pointer).map(|pointer| Self { pointer, exports, checked })
    }

    /// What the plugin exports.
    pub fn exports(&self) -> &Exports {
        &self.exports
    }

    /// Lets the instance release what it does not need while idle.
    ///
    /// # Errors
    /// What the plugin reports.
    pub fn pause(&mut self) -> Result<(), CallError> {
        let pause = self.exports.table().pause;
        // SAFETY: the instance is alive and borrowed exclusively.
        unsafe { finish(|report| pause(self.pointer.as_ptr(), report)) }
    }

    /// Lets the instance take back what `pause` released.
    ///
    /// # Errors
    /// What the plugin reports.
    pub fn resume(&mut self) -> Result<(), CallError> {
        let resume = self.exports.table().resume;
        // SAFETY: the instance is alive and borrowed exclusively.
        unsafe { finish(|report| resume(self.pointer.as_ptr(), report)) }
    }

    /// The state that another instance can go on from.
    ///
    /// # Errors
    /// What the plugin reports; `UNSUPPORTED` if it keeps no state.
    pub fn save_state(&mut self) -> Result<Output, CallError> {
        let save_state = self.exports.table().save_state;
        // SAFETY: the instance is alive and borrowed exclusively.
        unsafe { self.output(|output, report| save_state(self.pointer.as_ptr(), output, report)) }
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// What the plugin reports; `UNSUPPORTED` if it keeps no state.
    pub fn restore_state(&mut self, state: &[u8]) -> Result<(), CallError> {
        let restore_state = self.exports.table().restore_state;
        let state = Slice::new(state);
        // SAFETY: the instance is alive and borrowed exclusively; the state outlives the call.
        unsafe { finish(|report| restore_state(self.pointer.as_ptr(), state, report)) }
    }

    /// Calls a named method: bytes in, bytes out.
    ///
    /// # Errors
    /// What the plugin reports; `UNKNOWN_METHOD` if it has none of this name.
    pub fn invoke(
        &mut self,
        method: &str,
        input: &[u8],
        context: Context<'_>,
    ) -> Result<Output, CallError> {
        let invoke = self.exports.table().invoke;
        let (method, input) = (Text::new(method), Slice::new(input));
        // SAFETY: the instance is alive and borrowed exclusively; context, name and input outlive
        // the call.
        unsafe {
            self.output(|output, report| {
                let instance = self.pointer.as_ptr();
                invoke(instance, context.as_pointer(), method, input, output, report)
            })
        }
    }

    /// Ends the instance and says how that went; dropping it does the same silently.
    ///
    /// # Errors
    /// What the plugin reports. The instance is gone all the same.
    pub fn destroy(self) -> Result<(), CallError> {
        let mut instance = std::mem::ManuallyDrop::new(self);
        // SAFETY: neither value is used again, and neither is dropped a second time.
        unsafe {
            let ended = instance.end();
            std::ptr::drop_in_place(&raw mut instance.exports);
            ended
        }
    }

    /// A proxy for all functions of the typed interface `I`, such as `dyn OrderBook`, for calls
    /// made on behalf of `context`.
    ///
    /// The first time for an instance this compares descriptors; then it costs two comparisons.
    ///
    /// # Errors
    /// The plugin offers another interface, or another version of it.
    #[inline]
    pub fn interface<'a, I: Interface + ?Sized>(
        &'a mut self,
        context: Context<'a>,
    ) -> Result<I::Proxy<'a>, ContractError> {
        let table = self.interface_table::<I>()?;
        // SAFETY: the instance is alive, its library loaded and the instance borrowed exclusively
        // during `'a`.
        Ok(I::proxy(unsafe { Remote::new(self.pointer, table, context) }))
    }

    /// The same for the functions that take `&self`: several threads may have such a proxy at once.
    ///
    /// # Errors
    /// As for [`interface`](Self::interface).
    #[inline]
    pub fn shared_interface<'a, I: Interface + ?Sized>(
        &'a self,
        context: Context<'a>,
    ) -> Result<Shared<I::Proxy<'a>>, ContractError> {
        let table = self.interface_table::<I>()?;
        // SAFETY: the instance is alive and its library loaded during `'a`; `Shared` offers only
        // the functions that others may call meanwhile.
        Ok(Shared(I::proxy(unsafe { Remote::new(self.pointer, table, context) })))
    }

    #[inline]
    fn interface_table<I: Interface + ?Sized>(&self) -> Result<&I::Table, ContractError> {
        // Only a text that was found equal is remembered, and equal texts have equal lengths: so a
        // shorter text that begins at the same address can't pass for it.
        if self.checked.load(Ordering::Relaxed).cast_const() != I::DESCRIPTOR.as_ptr()
            || self.exports.descriptor().len() != I::DESCRIPTOR.len()
        {
            self.exports.check_interface::<I>()?;
            self.checked.store(I::DESCRIPTOR.as_ptr().cast_mut(), Ordering::Relaxed);
        }
        // SAFETY: the check found the plugin's descriptor equal to that of `I`, so its table is one
        // of `I`; it lives as long as the library.
        Ok(unsafe { &*self.exports.table().interface.cast::<I::Table>() })
    }

    /// # Safety
    /// The instance must not be used again.
    unsafe fn end(&mut self) -> Result<(), CallError> {
        let destroy = self.exports.table().destroy;
        // SAFETY: the instance is alive, and the caller vouches that this is its end.
        unsafe { finish(|report| destroy(self.pointer.as_ptr(), report)) }
    }

    /// # Safety
    /// `call` must write the output if and only if it returns `OK`, and else the report.
    unsafe fn output(
        &self,
        call: impl FnOnce(*mut OwnedBuffer, *mut ErrorReport) -> CallStatus,
    ) -> Result<Output, CallError> {
        let mut output = MaybeUninit::uninit();
        // SAFETY: the caller vouches for the call; the output is there if it returned `OK`.
        let bytes = unsafe {
            finish(|report| call(output.as_mut_ptr(), report))?;
            output.assume_init()
        };
        Ok(Output { bytes, _library: self.exports.library().clone() })
    }
}

/// Turns a status and a report into a result.
///
/// # Safety
/// `call` must write the report if it returns another status than `OK`.
unsafe fn finish(call: impl FnOnce(*mut ErrorReport) -> CallStatus) -> Result<(), CallError> {
    let mut report = MaybeUninit::uninit();
    let status = call(report.as_mut_ptr());
    if status == CallStatus::OK {
        return Ok(());
    }
    // SAFETY: the caller vouches for the report.
    Err(CallError::new(status, &unsafe { report.assume_init() }))
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: it is being dropped. What went wrong could be told to no one.
        let _ = unsafe { self.end() };
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("exports", &self.exports).finish_non_exhaustive()
    }
}

/// Bytes that a plugin made. They are freed by its code, so they keep the library loaded.
pub struct Output {
    // Before the library: fields are dropped in order.
    bytes: OwnedBuffer,
    _library: KeepAlive,
}

impl Deref for Output {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Output {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.fmt(f)
    }
}

/// A proxy that only its `&self` functions can be called on.
#[derive(Debug)]
pub struct Shared<P>(P);

impl<P> Deref for Shared<P> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        &self.0
    }
}
