//! What a host offers to its plugins: implementations of interfaces, found by id.
//!
//! `#[interface]` serves both directions. A host hands an implementation of a trait to its plugins,
//! a plugin looks it up and calls it as a host calls a plugin. What the contract itself defines is
//! [`Log`].

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use keyway_abi::call::{Context, Field, LogLevel};
use keyway_abi::interface::{Interface, Remote};
use keyway_abi::memory::Text;
use keyway_abi::offer::Table;
use keyway_abi::table::{self, Instance, Offer};

use crate::export::{Export, offer};
use crate::guard::Cell;
use crate::interface;

/// The host's log.
#[interface(id = "keyway.Log", extensible)]
pub trait Log {
    /// Whether anybody reads lines of this level from this part of the plugin: asked before a message
    /// is made that costs something.
    fn enabled(&self, level: LogLevel, target: &str) -> bool;
    /// Writes a line, without a newline at its end. The target is the part of the plugin that it
    /// comes from, the path of a module for example; it may be empty. The fields are named values
    /// that belong to it.
    fn write(&self, level: LogLevel, target: &str, message: &str, fields: &[Field<'_>]);
}

/// An interface that the host offers. It stays valid as long as the library is mapped.
pub struct Service<I: Interface + ?Sized> {
    table: Table<I>,
    instance: NonNull<Instance>,
    interface: PhantomData<fn(&I)>,
}

// SAFETY: the contract says that any thread may use a service.
unsafe impl<I: Interface + ?Sized> Send for Service<I> {}
// SAFETY: as above.
unsafe impl<I: Interface + ?Sized> Sync for Service<I> {}

impl<I: Interface + ?Sized> Service<I> {
    /// # Safety
    /// `service` must be null or a service of the host, which stays valid as long as this library is
    /// mapped.
    pub(crate) unsafe fn new(service: *const table::Service) -> Option<Self> {
        const { assert!(I::IS_SHARED, "a service's functions take `&self`: many plugins call it") };
        // SAFETY: the caller vouches for the service. Its fields are of the first version.
        let table::Service { offer, instance, .. } = unsafe { *service.as_ref()? };
        // SAFETY: what belongs to a service is valid as long as it is.
        let table = unsafe { Table::of(offer) }.ok()?;
        Some(Self { table, instance: NonNull::new(instance)?, interface: PhantomData })
    }

    /// The service, for calls made on behalf of `context`.
    pub fn call<'a>(&'a self, context: Context<'a>) -> I::Proxy<'a> {
        // SAFETY: the service is valid, and any thread may use it: its functions take it shared.
        I::proxy(unsafe { Remote::new(self.instance, &*self.table.as_ptr(), context) })
    }
}

impl<I: Interface + ?Sized> fmt::Debug for Service<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("id", &I::ID).finish_non_exhaustive()
    }
}

/// The host's log for one part of a plugin: looked up once, and asked before anything is written
/// out. Made by [`Host::logger`](crate::Host::logger).
#[derive(Debug, Clone)]
pub struct Logger {
    log: Option<Arc<Service<dyn Log>>>,
    target: &'static str,
}

impl Logger {
    pub(crate) fn new(log: Option<Service<dyn Log>>, target: &'static str) -> Self {
        Self { log: log.map(Arc::new), target }
    }

    /// Whether anybody reads lines of this level.
    pub fn enabled(&self, level: LogLevel) -> bool {
        let listens = |log: &Arc<Service<dyn Log>>| {
            log.call(Context::NONE).enabled(level, self.target).unwrap_or(false)
        };
        self.log.as_ref().is_some_and(listens)
    }

    /// Writes a line with named values. If nobody reads it, neither the message nor a value is written out:
    ///
    /// ```
    /// # use keyway_sdk::{Logger, LogLevel};
    /// # fn placed(logger: &Logger, id: u64, price: f64) {
    /// logger.log(LogLevel::INFO, format_args!("placed order {id}"), &[("price", &price)]);
    /// # }
    /// ```
    pub fn log(
        &self,
        level: LogLevel,
        message: fmt::Arguments<'_>,
        fields: &[(&str, &dyn fmt::Display)],
    ) {
        let Some(log) = self.log.as_ref().filter(|_| self.enabled(level)) else { return };
        let values: Vec<_> = fields.iter().map(|(_, value)| value.to_string()).collect();
        let fields = fields.iter().zip(&values).map(|((name, _), value)| Field::new(name, value));
        let fields: Vec<_> = fields.collect();
        let message = match message.as_str() {
            Some(message) => Cow::Borrowed(message),
            None => Cow::Owned(message.to_string()),
        };
        // There is nobody to tell that the log failed.
        let _ = log.call(Context::NONE).write(level, self.target, &message, &fields);
    }
}

/// A service as a host holds it. It is never freed: a plugin may use it as long as it is mapped.
#[derive(Clone, Copy)]
pub struct Offered {
    service: &'static table::Service,
    id: &'static str,
    version: u32,
}

impl Offered {
    /// Offers an implementation of the interface `I`, such as `dyn Log`.
    pub fn new<I: Interface + Export<P> + ?Sized, P: Send + Sync + 'static>(service: P) -> Self {
        const { assert!(I::IS_SHARED, "a service's functions take `&self`: many plugins call it") };
        let offer: &'static Offer = Box::leak(Box::new(offer::<P, I>()));
        let service = Box::leak(Box::new(table::Service {
            size: size_of::<table::Service>(),
            offer,
            instance: Cell::serve(service),
        }));
        Self { service, id: I::ID, version: I::VERSION }
    }

    /// The table to hand out.
    pub fn table(&self) -> &'static table::Service {
        self.service
    }

    /// Whether a plugin asks for this one.
    ///
    /// # Safety
    /// `id` must be a text that the plugin lends.
    pub unsafe fn is(&self, id: Text, version: u32) -> bool {
        // SAFETY: the caller vouches for the text.
        self.version == version && unsafe { id.get() } == Some(self.id)
    }
}

impl fmt::Debug for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, version, .. } = self;
        f.debug_struct("Offered").field("id", id).field("version", version).finish_non_exhaustive()
    }
}
