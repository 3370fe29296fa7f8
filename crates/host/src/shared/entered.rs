//! What a thread has of a plugin while it calls it: a generation together with others, or the instance alone.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use keyway_abi::call::{CallError, Context};
use keyway_abi::interface::Interface;

use super::SharedPlugin;
use crate::exports::ContractError;
use crate::generation::Generation;
use crate::guard::place::{Alone, Entered};
use crate::instance::{Instance, Output, Shared, unknown_method};

/// A generation of a plugin that is not destroyed before this is dropped, whatever takes its place. It belongs to
/// its thread:
///
/// ```compile_fail,E0277
/// fn for_any_thread<T: Send>() {}
/// for_any_thread::<keyway_host::Guard<'static>>();
/// ```
#[must_use = "it does nothing until it is called"]
pub struct Guard<'a>(Entered<'a, Generation>);

impl<'a> Guard<'a> {
    #[inline]
    pub(super) fn new(entered: Entered<'a, Generation>) -> Self {
        Self(entered)
    }

    /// Which generation it is.
    pub fn generation(&self) -> u64 {
        self.0.info.number
    }

    /// Its version.
    pub fn version(&self) -> &str {
        self.0.info.origin.version()
    }

    /// Its instance, for calls that need no exclusive access.
    #[inline]
    pub fn instance(&self) -> &Instance {
        &self.0.instance
    }

    /// The typed interface `I`, for calls of functions that take `&self`, made on behalf of `context`.
    ///
    /// # Errors
    /// The plugin offers another interface, or another version of it.
    #[inline]
    pub fn interface<'g, I: Interface + ?Sized>(
        &'g self,
        context: Context<'g>,
    ) -> Result<Shared<I::Proxy<'g>>, ContractError> {
        self.0.instance.shared_interface::<I>(context)
    }

    /// Calls a named method that takes the instance shared.
    ///
    /// # Errors
    /// What the plugin reports; `UNKNOWN_METHOD` if it has none of this name, `UNSUPPORTED` if the method
    /// is not a shared one.
    pub fn invoke(
        &self,
        method: &str,
        input: &[u8],
        context: Context<'_>,
    ) -> Result<Output, CallError> {
        let exports = self.instance().exports();
        match exports.method(method) {
            Some(method) => self.instance().invoke_shared(method, input, context),
            None => Err(unknown_method(exports, method)),
        }
    }
}

/// The instance of a [`SharedPlugin`], which nobody else calls before this is dropped.
pub struct ExclusiveInstance<'a> {
    alone: Alone<Generation>,
    plugin: PhantomData<&'a SharedPlugin>,
}

impl ExclusiveInstance<'_> {
    pub(super) fn new(alone: Alone<Generation>) -> Self {
        Self { alone, plugin: PhantomData }
    }
}

impl Deref for ExclusiveInstance<'_> {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.alone.instance
    }
}

impl DerefMut for ExclusiveInstance<'_> {
    fn deref_mut(&mut self) -> &mut Instance {
        &mut self.alone.instance
    }
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("generation", &self.generation()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ExclusiveInstance<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExclusiveInstance").field(&self.alone.instance).finish()
    }
}
