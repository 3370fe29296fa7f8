//! Handles that any thread may keep: a typed interface of a plugin that is called by several parts
//! of a program, and may be unloaded meanwhile.
//!
//! A [`Plugin`](crate::Plugin) is borrowed for each call, and the compiler sees to the rest. A
//! [`SharedPlugin`] has a lock in the place of the borrow. Calls that take the instance shared hold
//! it together, calls that take it exclusively one by one, and so does its end: whoever unloads
//! waits for the calls that run, and those that come later are told that the plugin is gone.
//!
//! So a thread that is in a call must not wait for the lock once more: neither unload the plugin, nor
//! call it by a handle from a service that the plugin called.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use keyway_abi::call::{CallError, CallStatus, Context};
use keyway_abi::interface::{Interface, Remote};
use keyway_abi::table;
use keyway_manifest::Manifest;

use crate::exports::{ContractError, Exports};
use crate::instance::Instance;
use crate::plugin::Origin;

/// A plugin that gives [`Handle`]s. Made by [`Plugin::share`](crate::Plugin::share).
///
/// The instance lives until [`unload`](Self::unload), or until this value and all handles are dropped.
#[derive(Debug)]
pub struct SharedPlugin {
    origin: Origin,
    exports: Exports,
    place: Arc<Place>,
}

/// An instance, until it is unloaded.
type Place = RwLock<Option<Instance>>;

/// The interface `I` of a plugin, such as `dyn Shape`: cheap to clone, for any thread, bound to no borrow.
///
/// It keeps the library loaded, and the instance until somebody unloads the plugin.
pub struct Handle<I: Interface + ?Sized> {
    place: Arc<Place>,
    /// Keeps the table, and the code that frees what calls have returned.
    exports: Exports,
    table: *const I::Table,
    interface: PhantomData<fn(&I)>,
}

// SAFETY: a table is read only, and any thread may use it; the rest is for any thread by itself.
unsafe impl<I: Interface + ?Sized> Send for Handle<I> {}
// SAFETY: as above.
unsafe impl<I: Interface + ?Sized> Sync for Handle<I> {}

/// A call, or several in a row, of functions that take `&self`. The plugin is not unloaded before
/// it is dropped.
#[must_use = "it does nothing until a function is called on it"]
pub struct SharedCall<'a, I: Interface + ?Sized> {
    // Before the lock: fields are dropped in order.
    proxy: I::Proxy<'a>,
    _lock: RwLockReadGuard<'a, Option<Instance>>,
}

/// A call, or several in a row, of any functions. Nobody else calls the instance before it is dropped.
#[must_use = "it does nothing until a function is called on its interface"]
pub struct ExclusiveCall<'a, I: Interface + ?Sized> {
    instance: NonNull<table::Instance>,
    table: &'a I::Table,
    context: Context<'a>,
    _lock: RwLockWriteGuard<'a, Option<Instance>>,
}

/// The instance of a [`SharedPlugin`], which nobody else calls before this is dropped.
#[derive(Debug)]
pub struct ExclusiveInstance<'a>(RwLockWriteGuard<'a, Option<Instance>>);

impl SharedPlugin {
    pub(crate) fn new(origin: Origin, instance: Instance) -> Self {
        let exports = instance.exports().clone();
        Self { origin, exports, place: Arc::new(RwLock::new(Some(instance))) }
    }

    /// Its name: its package's.
    pub fn name(&self) -> &str {
        self.origin.name()
    }

    /// Its version: its package's.
    pub fn version(&self) -> &str {
        self.origin.version()
    }

    /// Its manifest; none if it is compiled in.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.origin.manifest()
    }

    /// Whether the library stays in memory until the process ends.
    pub fn stays_mapped(&self) -> bool {
        self.exports.stays_mapped()
    }

    /// A handle of the typed interface `I`. Comparing descriptors is done here, not in calls.
    ///
    /// # Errors
    /// The plugin offers another interface, or another version of it.
    pub fn handle<I: Interface + ?Sized>(&self) -> Result<Handle<I>, ContractError> {
        let found = self.exports.find::<I>()?;
        // SAFETY: `exports` keeps what it found; its table is one of `I`, which was asked for.
        let table = unsafe { (*found).table }.cast();
        let (place, exports) = (self.place.clone(), self.exports.clone());
        Ok(Handle { place, exports, table, interface: PhantomData })
    }

    /// How many handles there are.
    pub fn n_handles(&self) -> usize {
        Arc::strong_count(&self.place) - 1
    }

    /// The instance, for what takes it exclusively: pausing, states, methods by name. Waits for the
    /// calls that run; a thread that has one itself would wait for ever.
    pub fn instance(&self) -> ExclusiveInstance<'_> {
        ExclusiveInstance(write(&self.place))
    }

    /// Waits for the calls that run, destroys the instance, and says how that went. Calls by
    /// handles then answer `DISCONNECTED`; the library ends when the last handle and whatever the
    /// plugin made is gone.
    ///
    /// A thread that has a call of its own would wait for ever.
    ///
    /// # Errors
    /// What the plugin reports. The instance is gone all the same.
    pub fn unload(self) -> Result<(), CallError> {
        let instance = write(&self.place).take();
        instance.map_or(Ok(()), Instance::destroy)
    }
}

impl<I: Interface + ?Sized> Handle<I> {
    /// The interface, for calls of functions that take `&self`, made on behalf of `context`.
    /// Several threads may have one at once.
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
    /// let mut call = handle.call(Context::NONE).unwrap();
    /// call.area();
    /// call.shift(1.0); // That takes `call_exclusively`.
    /// # }
    /// ```
    ///
    /// # Errors
    /// `DISCONNECTED`: the plugin was unloaded.
    pub fn call<'a>(&'a self, context: Context<'a>) -> Result<SharedCall<'a, I>, CallError> {
        let lock = self.place.read().unwrap_or_else(PoisonError::into_inner);
        let (instance, table) = self.entered(lock.as_ref())?;
        // SAFETY: the instance is not destroyed while the lock is held, nor called exclusively;
        // nobody can take the proxy out. What calls return is freed by the library, which `exports`
        // keeps during `'a`.
        let proxy = I::proxy(unsafe { Remote::new(instance, table, context) });
        Ok(SharedCall { proxy, _lock: lock })
    }

    /// The interface for calls of all functions, which nobody else calls meanwhile. Waits for the
    /// calls that run; a thread that has one itself would wait for ever.
    ///
    /// # Errors
    /// `DISCONNECTED`: the plugin was unloaded.
    pub fn call_exclusively<'a>(
        &'a self,
        context: Context<'a>,
    ) -> Result<ExclusiveCall<'a, I>, CallError> {
        let lock = write(&self.place);
        let (instance, table) = self.entered(lock.as_ref())?;
        Ok(ExclusiveCall { instance, table, context, _lock: lock })
    }

    /// What to call, if it is still there. Whoever has the lock exclusively could have put another plugin's
    /// instance in its place, which the table is not of.
    #[inline]
    fn entered(
        &self,
        instance: Option<&Instance>,
    ) -> Result<(NonNull<table::Instance>, &I::Table), CallError> {
        match instance {
            Some(instance) if instance.exports().is(&self.exports) => {
                // SAFETY: the table is one of `I`, and `exports` keeps it.
                Ok((instance.pointer(), unsafe { &*self.table }))
            }
            _ => Err(unloaded()),
        }
    }

    /// What the plugin exports.
    pub fn exports(&self) -> &Exports {
        &self.exports
    }
}

/// A host's code that panicked with the lock left the instance as it was: the plugin's own panics
/// never get here.
fn write(place: &Place) -> RwLockWriteGuard<'_, Option<Instance>> {
    place.write().unwrap_or_else(PoisonError::into_inner)
}

#[cold]
fn unloaded() -> CallError {
    let message = "the plugin was unloaded".to_owned();
    CallError { status: CallStatus::DISCONNECTED, code: 0, message }
}

impl<I: Interface + ?Sized> Clone for Handle<I> {
    fn clone(&self) -> Self {
        let Self { place, exports, table, interface } = self;
        let (place, exports) = (place.clone(), exports.clone());
        Self { place, exports, table: *table, interface: *interface }
    }
}

impl<'a, I: Interface + ?Sized> Deref for SharedCall<'a, I> {
    type Target = I::Proxy<'a>;

    #[inline]
    fn deref(&self) -> &I::Proxy<'a> {
        &self.proxy
    }
}

impl<I: Interface + ?Sized> ExclusiveCall<'_, I> {
    /// The interface, with its functions that take `&mut self` too.
    #[inline]
    pub fn interface(&mut self) -> I::Proxy<'_> {
        // SAFETY: while the lock is held the instance is not destroyed, and nobody else calls it;
        // this is borrowed exclusively as long as the proxy.
        I::proxy(unsafe { Remote::new(self.instance, self.table, self.context) })
    }
}

impl Deref for ExclusiveInstance<'_> {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        self.0.as_ref().expect(UNLOADED_LAST)
    }
}

impl DerefMut for ExclusiveInstance<'_> {
    fn deref_mut(&mut self) -> &mut Instance {
        self.0.as_mut().expect(UNLOADED_LAST)
    }
}

const UNLOADED_LAST: &str = "`unload` takes the plugin, which this borrows";

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
