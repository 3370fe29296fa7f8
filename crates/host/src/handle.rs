//! Handles that any thread may keep: a typed interface of a plugin that is called by several parts
//! of a program, and may be reloaded or unloaded meanwhile.
//!
//! A handle keeps the plugin, and no generation of it; each of its calls keeps the one that was
//! current when it began.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use keyway_abi::call::{CallError, CallStatus, Context};
use keyway_abi::interface::Interface;

use crate::instance::Shared;
use crate::shared::{ExclusiveInstance, Guard, Inner, SharedPlugin};

/// The interface `I` of a plugin, such as `dyn Shape`: cheap to clone, for any thread, bound to no borrow.
///
/// It keeps the instance until somebody unloads the plugin.
pub struct Handle<I: Interface + ?Sized> {
    plugin: SharedPlugin,
    interface: PhantomData<fn(&I)>,
}

/// A call, or several in a row on one generation, of functions that take `&self`. The generation is not destroyed
/// before it is dropped.
#[must_use = "it does nothing until a function is called on its interface"]
pub struct SharedCall<'a, I: Interface + ?Sized> {
    guard: Guard<'a>,
    context: Context<'a>,
    interface: PhantomData<fn(&I)>,
}

/// A call, or several in a row, of any functions. Nobody else calls the instance before it is dropped.
#[must_use = "it does nothing until a function is called on its interface"]
pub struct ExclusiveCall<'a, I: Interface + ?Sized> {
    instance: ExclusiveInstance<'a>,
    context: Context<'a>,
    interface: PhantomData<fn(&I)>,
}

impl<I: Interface + ?Sized> Handle<I> {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { plugin: SharedPlugin { inner }, interface: PhantomData }
    }

    /// The plugin.
    pub fn plugin(&self) -> &SharedPlugin {
        &self.plugin
    }

    /// The interface, for calls of functions that take `&self`, made on behalf of `context`.
    /// Several threads may have one at once. It takes no lock.
    ///
    /// ```compile_fail,E0596
    /// # use keyway_host::{Context, Handle, interface};
    /// #[interface]
    /// pub trait Shape {
    ///     fn area(&self) -> f64;
    ///     fn shift(&mut self, by: f64);
    /// }
    ///
    /// # fn shift(handle: &Handle<dyn Shape>) {
    /// let call = handle.call(Context::NONE).unwrap();
    /// call.interface().unwrap().area();
    /// call.interface().unwrap().shift(1.0); // That takes `call_exclusively`.
    /// # }
    /// ```
    ///
    /// What a function returned can't be kept for longer than the call, since it is freed by its generation's code:
    ///
    /// ```compile_fail,E0505
    /// # use keyway_host::{Context, Handle, OwnedBuffer, interface};
    /// #[interface]
    /// pub trait Named {
    ///     fn name(&self) -> OwnedBuffer;
    /// }
    ///
    /// # fn name(handle: &Handle<dyn Named>) {
    /// let call = handle.call(Context::NONE).unwrap();
    /// let name = call.interface().unwrap().name().unwrap();
    /// drop(call);
    /// assert!(!name.is_empty());
    /// # }
    /// ```
    ///
    /// # Errors
    /// `DISCONNECTED`: the plugin was unloaded. `BUSY`: it is paused, or this thread has it exclusively.
    #[inline]
    pub fn call<'a>(&'a self, context: Context<'a>) -> Result<SharedCall<'a, I>, CallError> {
        let guard = self.plugin.guard()?;
        Ok(SharedCall { guard, context, interface: PhantomData })
    }

    /// The interface for calls of all functions, which nobody else calls meanwhile. Waits for the
    /// calls that run.
    ///
    /// # Errors
    /// As for [`call`](Self::call); `BUSY` if this thread is in a call of the plugin, for which it would wait.
    pub fn call_exclusively<'a>(
        &'a self,
        context: Context<'a>,
    ) -> Result<ExclusiveCall<'a, I>, CallError> {
        let instance = self.plugin.exclusive()?;
        Ok(ExclusiveCall { instance, context, interface: PhantomData })
    }
}

impl<I: Interface + ?Sized> SharedCall<'_, I> {
    /// The interface.
    ///
    /// # Errors
    /// `UNSUPPORTED`: the generation does not offer it. A reload makes sure that it does; what was put in the
    /// instance's place by hand may not.
    #[inline]
    pub fn interface(&self) -> Result<Shared<I::Proxy<'_>>, CallError> {
        let proxy = self.guard.interface::<I>(self.context);
        proxy.map_err(|error| unsupported(&error))
    }

    /// The generation that it calls.
    pub fn guard(&self) -> &Guard<'_> {
        &self.guard
    }
}

impl<I: Interface + ?Sized> ExclusiveCall<'_, I> {
    /// The interface, with its functions that take `&mut self` too.
    ///
    /// # Errors
    /// As for [`SharedCall::interface`].
    #[inline]
    pub fn interface(&mut self) -> Result<I::Proxy<'_>, CallError> {
        let proxy = self.instance.interface::<I>(self.context);
        proxy.map_err(|error| unsupported(&error))
    }
}

#[cold]
fn unsupported(error: &crate::ContractError) -> CallError {
    CallError { status: CallStatus::UNSUPPORTED, code: 0, message: error.to_string() }
}

impl<I: Interface + ?Sized> Clone for Handle<I> {
    fn clone(&self) -> Self {
        Self { plugin: self.plugin.clone(), interface: PhantomData }
    }
}

impl<I: Interface + ?Sized> fmt::Debug for Handle<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("id", &I::ID).finish_non_exhaustive()
    }
}

impl<I: Interface + ?Sized> fmt::Debug for SharedCall<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCall").field("id", &I::ID).finish_non_exhaustive()
    }
}

impl<I: Interface + ?Sized> fmt::Debug for ExclusiveCall<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExclusiveCall").field("id", &I::ID).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
