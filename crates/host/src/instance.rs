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
use keyway_abi::descriptor;
use keyway_abi::encoding::{Caller, Dispatch, Transport};
use keyway_abi::interface::{Interface, Remote};
use keyway_abi::memory::{OwnedBuffer, Slice, Text};
use keyway_abi::table::{self, RawSavedState};
use keyway_sdk::SavedState;

use crate::exports::{ContractError, Exports, Found, MethodIndex};

/// An instance of a plugin. Dropping it destroys it.
pub struct Instance {
    pointer: NonNull<table::Instance>,
    exports: Exports,
    /// The interface that was asked for last, which `exports` owns; null at first.
    last: AtomicPtr<Found>,
}

// SAFETY: the contract says that a plugin's instance may be used on any thread.
unsafe impl Send for Instance {}
// SAFETY: a shared `Instance` calls only functions that take it shared, which the contract allows on
// several threads at once.
unsafe impl Sync for Instance {}

impl Exports {
    /// Makes an instance from the bytes of its configuration.
    ///
    /// # Errors
    /// What the plugin reports instead.
    pub fn create(&self, config: &[u8], context: Context<'_>) -> Result<Instance, CallError> {
        let mut instance = MaybeUninit::uninit();
        let mut report = MaybeUninit::uninit();
        // SAFETY: context and configuration outlive the call, and the host's table everything.
        let status = unsafe {
            (self.table().create)(
                context.as_pointer(),
                self.host(),
                Slice::new(config),
                instance.as_mut_ptr(),
                report.as_mut_ptr(),
            )
        };
        if status != CallStatus::OK {
            // SAFETY: the plugin writes the report if the status is not `OK`.
            return Err(CallError::new(status, &unsafe { report.assume_init() }));
        }
        // SAFETY: the plugin writes the instance if the status is `OK`.
        let instance = unsafe { instance.assume_init() };
        // SAFETY: it is new, so no one else has it.
        unsafe { Instance::new(instance, self.clone()) }.ok_or_else(CallError::invalid_result)
    }
}

impl Instance {
    /// # Safety
    /// `pointer` must be null or an instance of `exports` that no one else uses.
    unsafe fn new(pointer: *mut table::Instance, exports: Exports) -> Option<Self> {
        let last = AtomicPtr::new(std::ptr::null_mut());
        NonNull::new(pointer).map(|pointer| Self { pointer, exports, last })
    }

    /// What the plugin exports.
    pub fn exports(&self) -> &Exports {
        &self.exports
    }

    /// Lets the instance release what it does not need while idle.
    ///
    /// # Errors
    /// What the plugin reports. The instance goes on as before.
    pub fn pause(&mut self, context: Context<'_>) -> Result<(), CallError> {
        let pause = self.exports.table().pause;
        // SAFETY: the instance is alive and borrowed exclusively; the context outlives the call.
        unsafe { finish(|report| pause(self.pointer.as_ptr(), context.as_pointer(), report)) }
    }

    /// Lets the instance take back what `pause` released.
    ///
    /// # Errors
    /// What the plugin reports. The instance is still paused.
    pub fn resume(&mut self, context: Context<'_>) -> Result<(), CallError> {
        let resume = self.exports.table().resume;
        // SAFETY: the instance is alive and borrowed exclusively; the context outlives the call.
        unsafe { finish(|report| resume(self.pointer.as_ptr(), context.as_pointer(), report)) }
    }

    /// The state that another instance can go on from.
    ///
    /// # Errors
    /// What the plugin reports; `UNSUPPORTED` if it keeps no state.
    pub fn save_state(&mut self, context: Context<'_>) -> Result<State, CallError> {
        let save_state = self.exports.table().save_state;
        let mut state = MaybeUninit::<table::State>::uninit();
        // SAFETY: the instance is alive and borrowed exclusively, the context outlives the call, and
        // the state is there if it ended well.
        let table::State { format, bytes } = unsafe {
            finish(|report| {
                let context = context.as_pointer();
                save_state(self.pointer.as_ptr(), context, state.as_mut_ptr(), report)
            })?;
            state.assume_init()
        };
        Ok(State { format, bytes: self.output(bytes) })
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// What the plugin reports; `UNSUPPORTED` if it keeps no state. The instance is as if it were new.
    pub fn restore_state(
        &mut self,
        state: &SavedState<'_>,
        context: Context<'_>,
    ) -> Result<(), CallError> {
        let restore_state = self.exports.table().restore_state;
        let state = RawSavedState {
            size: size_of::<RawSavedState>(),
            format: state.format,
            bytes: Slice::new(state.bytes),
            plugin: Text::new(state.plugin),
            version: Text::new(state.version),
        };
        // SAFETY: the instance is alive and borrowed exclusively; state and context outlive the call.
        unsafe {
            finish(|report| {
                restore_state(self.pointer.as_ptr(), context.as_pointer(), &raw const state, report)
            })
        }
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
        match self.exports.method(method) {
            Some(method) => self.invoke_index(method, input, context),
            None => Err(unknown_method(&self.exports, method)),
        }
    }

    /// The same for a method that was looked up before, with [`Exports::method`].
    ///
    /// # Errors
    /// What the plugin reports; `UNKNOWN_METHOD` if the index is that of another plugin.
    pub fn invoke_index(
        &mut self,
        method: MethodIndex,
        input: &[u8],
        context: Context<'_>,
    ) -> Result<Output, CallError> {
        // SAFETY: the instance is borrowed exclusively, so nobody else uses it.
        unsafe { self.invoke_unguarded(method, input, context) }
    }

    /// Calls a named method that takes the instance shared: several threads may at once.
    ///
    /// # Errors
    /// As for [`invoke_index`](Self::invoke_index); `UNSUPPORTED` if the method is not a shared one.
    pub fn invoke_shared(
        &self,
        method: MethodIndex,
        input: &[u8],
        context: Context<'_>,
    ) -> Result<Output, CallError> {
        let known = self.exports.methods().get(method.0 as usize);
        if known.is_some_and(|method| !method.is_shared) {
            let message = "the method does not take the instance shared".to_owned();
            return Err(CallError { status: CallStatus::UNSUPPORTED, code: 0, message });
        }
        // SAFETY: the method takes the instance shared.
        unsafe { self.invoke_unguarded(method, input, context) }
    }

    /// # Safety
    /// Nobody may use the instance meanwhile in a way that the method forbids.
    unsafe fn invoke_unguarded(
        &self,
        method: MethodIndex,
        input: &[u8],
        context: Context<'_>,
    ) -> Result<Output, CallError> {
        let invoke = self.exports.table().invoke;
        let mut output = MaybeUninit::<OwnedBuffer>::uninit();
        // SAFETY: the instance is alive, and the caller vouches for its other users; context and input
        // outlive the call, and the output is there if it ended well.
        let bytes = unsafe {
            finish(|report| {
                let (instance, context) = (self.pointer.as_ptr(), context.as_pointer());
                let output = output.as_mut_ptr();
                invoke(instance, context, method.0, Slice::new(input), output, report)
            })?;
            output.assume_init()
        };
        Ok(self.output(bytes))
    }

    fn output(&self, bytes: OwnedBuffer) -> Output {
        Output { bytes, _exports: self.exports.clone() }
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
    /// The first time this compares descriptors; then it costs two comparisons.
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

    /// Calls a function of an interface that this side need not know: arguments and reply are bytes, as
    /// the contract's page says. `function` is its place in the interface's text, 0 being the first.
    ///
    /// # Errors
    /// What the plugin reports; `INVALID_ARGUMENT` if the bytes are no arguments of the function;
    /// `UNSUPPORTED` if there is no such interface or function, or it can't be called by bytes.
    pub fn dispatch(
        &mut self,
        (id, version): (&str, u32),
        function: u32,
        input: &[u8],
        context: Context<'_>,
    ) -> Result<Output, CallError> {
        let (dispatch, _) = self.exports.dispatch(id, version)?;
        // SAFETY: the instance is borrowed exclusively, so nobody else uses it.
        unsafe { self.dispatch_unguarded(dispatch, function, input, context) }
    }

    /// The same for a function that takes the instance shared: several threads may at once.
    ///
    /// # Errors
    /// As for [`dispatch`](Self::dispatch); `UNSUPPORTED` if the function is not a shared one.
    pub fn dispatch_shared(
        &self,
        (id, version): (&str, u32),
        function: u32,
        input: &[u8],
        context: Context<'_>,
    ) -> Result<Output, CallError> {
        let (dispatch, text) = self.exports.dispatch(id, version)?;
        if !descriptor::function(text, function).is_some_and(|function| function.is_shared) {
            let message = format!("`{id}` has no shared function {function}");
            return Err(CallError { status: CallStatus::UNSUPPORTED, code: 0, message });
        }
        // SAFETY: the function takes the instance shared.
        unsafe { self.dispatch_unguarded(dispatch, function, input, context) }
    }

    /// # Safety
    /// `dispatch` must be that of an interface of the plugin, and nobody may use the instance
    /// meanwhile in a way that the function forbids.
    unsafe fn dispatch_unguarded(
        &self,
        dispatch: Dispatch,
        function: u32,
        input: &[u8],
        context: Context<'_>,
    ) -> Result<Output, CallError> {
        let mut output = MaybeUninit::<OwnedBuffer>::uninit();
        // SAFETY: the instance is alive, and the caller vouches for its other users; context and input
        // outlive the call, and the output is there if it ended well.
        let bytes = unsafe {
            finish(|report| {
                let (instance, context) = (self.pointer.as_ptr(), context.as_pointer());
                let input = Slice::new(input);
                dispatch(instance, context, function, input, output.as_mut_ptr(), report)
            })?;
            output.assume_init()
        };
        Ok(self.output(bytes))
    }

    /// A proxy like [`interface`](Self::interface)'s that calls with bytes, as one in another process
    /// would.
    ///
    /// # Errors
    /// The plugin offers another interface, or another version of it. That it can't be called by bytes
    /// is told by the first call.
    pub fn encoded<'a, I: Interface + ?Sized>(
        &'a mut self,
        context: Context<'a>,
    ) -> Result<I::Encoded<'a>, ContractError> {
        self.interface_table::<I>()?;
        let transport = InProcess { instance: self, interface: (I::ID, I::VERSION) };
        Ok(I::encoded(Caller::new(transport, context)))
    }

    #[inline]
    fn interface_table<I: Interface + ?Sized>(&self) -> Result<&I::Table, ContractError> {
        let last = self.last.load(Ordering::Acquire);
        // SAFETY: it is null or what `exports` found, and keeps as long as this instance.
        let known = unsafe { last.as_ref() }.filter(|found| found.is(I::DESCRIPTOR));
        let table = match known {
            Some(found) => found.table,
            None => {
                let found = self.exports.find::<I>()?;
                self.last.store(found.cast_mut(), Ordering::Release);
                // SAFETY: as above.
                unsafe { (*found).table }
            }
        };
        // SAFETY: the table is one of `I`, which is what was asked for; it is kept as long as the
        // library.
        Ok(unsafe { &*table.cast::<I::Table>() })
    }

    /// # Safety
    /// The instance must not be used again.
    unsafe fn end(&mut self) -> Result<(), CallError> {
        let destroy = self.exports.table().destroy;
        let context = Context::NONE.as_pointer();
        // SAFETY: the instance is alive, and the caller vouches that this is its end.
        unsafe { finish(|report| destroy(self.pointer.as_ptr(), context, report)) }
    }
}

/// Calls by bytes on an instance of this process.
struct InProcess<'a> {
    /// Only [`Instance::encoded`] makes one, from an exclusive borrow.
    instance: &'a Instance,
    interface: (&'static str, u32),
}

impl Transport for InProcess<'_> {
    fn call(
        &self,
        function: u32,
        input: &[u8],
        context: Context<'_>,
    ) -> Result<Vec<u8>, CallError> {
        let (id, version) = self.interface;
        let (dispatch, _) = self.instance.exports.dispatch(id, version)?;
        // SAFETY: the instance is borrowed exclusively by the proxy that has this transport, and lent
        // shared or exclusively with it, as the functions of the proxy ask for.
        let output =
            unsafe { self.instance.dispatch_unguarded(dispatch, function, input, context)? };
        Ok(output.to_vec())
    }
}

#[cold]
pub(crate) fn unknown_method(exports: &Exports, name: &str) -> CallError {
    let known: Vec<_> =
        exports.methods().iter().map(|method| format!("`{}`", method.name)).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let message = format!("no method `{name}`; this plugin has {known}");
    CallError { status: CallStatus::UNKNOWN_METHOD, code: 0, message }
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

/// What an instance saved. Who restores it says the plugin's name and version too.
#[derive(Debug)]
pub struct State {
    /// The format of the bytes, which is up to the plugin.
    pub format: u32,
    /// They.
    pub bytes: Output,
}

/// Bytes that a plugin made. They are freed by its code, so they keep the library loaded.
pub struct Output {
    // Before the library: fields are dropped in order.
    bytes: OwnedBuffer,
    _exports: Exports,
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
