//! What this host offers to its plugins: a log, and whatever else it implements.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use keyway_abi::call::{Field, LogLevel};
use keyway_abi::interface::Interface;
use keyway_abi::memory::{Slice, Text};
use keyway_abi::table;
use keyway_sdk::{Export, Log, Offered};

/// What a host offers. Nothing of it is ever freed: a library that stays mapped may go on using it.
pub struct Services {
    sink: Sink,
    others: Vec<Offered>,
    /// What is handed to each plugin, by its name.
    handed: Mutex<BTreeMap<String, &'static Handed>>,
}

type Sink = Arc<dyn LogSink>;

/// A line of a plugin's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// The plugin that wrote it: its name, or what the host gave in its place.
    pub plugin: &'a str,
    /// How urgent it is.
    pub level: LogLevel,
    /// The part of the plugin that it comes from; may be empty.
    pub target: &'a str,
    /// The text, without a newline at its end.
    pub message: &'a str,
    /// Named values that belong to it.
    pub fields: &'a [Field<'a>],
}

/// Where log lines go. A closure that takes a [`LogLine`] is one that wants all of them.
pub trait LogSink: Send + Sync + 'static {
    /// Whether a line of this level, from this plugin and part of it, would be read.
    fn enabled(&self, plugin: &str, level: LogLevel, target: &str) -> bool {
        let _ = (plugin, level, target);
        true
    }

    /// Takes a line, on whichever thread the plugin wrote it.
    fn write(&self, line: &LogLine<'_>);
}

impl<F: Fn(&LogLine<'_>) + Send + Sync + 'static> LogSink for F {
    fn write(&self, line: &LogLine<'_>) {
        self(line);
    }
}

/// The log as one plugin sees it.
struct PluginLog {
    sink: Sink,
    plugin: String,
}

impl Log for PluginLog {
    fn enabled(&self, level: LogLevel, target: &str) -> bool {
        self.sink.enabled(&self.plugin, level, target)
    }

    fn write(&self, level: LogLevel, target: &str, message: &str, fields: &[Field<'_>]) {
        self.sink.write(&LogLine { plugin: &self.plugin, level, target, message, fields });
    }
}

/// What one plugin gets.
struct Handed {
    table: table::Host,
    services: Vec<Offered>,
}

impl Services {
    /// Services whose log lines go to `sink`, on whichever thread the plugin logs.
    pub fn new(sink: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> &'static Self {
        Builder::new(move |line: &LogLine<'_>| sink(line.level, line.message)).build()
    }

    /// Services with more than a log.
    pub fn builder(sink: impl LogSink) -> Builder {
        Builder::new(sink)
    }

    /// The table that the plugin of this name gets.
    pub(crate) fn table(&'static self, plugin: &str) -> *const table::Host {
        let mut handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handed) = handed.get(plugin) {
            return &raw const handed.table;
        }
        let log = PluginLog { sink: self.sink.clone(), plugin: plugin.to_owned() };
        let mut services = vec![Offered::new::<dyn Log, _>(log)];
        services.extend(&self.others);
        let made = Handed::leak(services);
        handed.insert(plugin.to_owned(), made);
        &raw const made.table
    }
}

impl Handed {
    fn leak(services: Vec<Offered>) -> &'static Self {
        let list: Vec<_> = services.iter().map(|service| &raw const *service.table()).collect();
        let made = Box::into_raw(Box::new(Self {
            table: table::Host {
                size: size_of::<table::Host>(),
                context: std::ptr::null(),
                services: Slice::new(Vec::leak(list)),
                get_service,
            },
            services,
        }));
        // SAFETY: the box was leaked just now, and nobody else has it yet.
        unsafe {
            (*made).table.context = made.cast_const().cast();
            &*made
        }
    }
}

unsafe extern "C" fn get_service(
    context: *const c_void,
    id: Text,
    version: u32,
) -> *const table::Service {
    // SAFETY: the context is what was leaked above, and the plugin lends the text for this call.
    let found = unsafe {
        let handed = &*context.cast::<Handed>();
        handed.services.iter().find(|service| service.is(id, version))
    };
    found.map_or(std::ptr::null(), |service| service.table())
}

/// Services in the making.
pub struct Builder {
    sink: Sink,
    others: Vec<Offered>,
}

impl Builder {
    fn new(sink: impl LogSink) -> Self {
        Self { sink: Arc::new(sink), others: Vec::new() }
    }

    /// Offers an implementation of the interface `I`, such as `dyn Market`, to all plugins. Its functions
    /// must take `&self`. A panic in one is caught and reported to the plugin.
    #[must_use]
    pub fn offer<I: Interface + Export<P> + ?Sized, P: Send + Sync + 'static>(
        mut self,
        service: P,
    ) -> Self {
        self.others.push(Offered::new::<I, P>(service));
        self
    }

    /// The services. They are never freed: make them once for a process.
    pub fn build(self) -> &'static Services {
        let Self { sink, others } = self;
        Box::leak(Box::new(Services { sink, others, handed: Mutex::default() }))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("others", &self.others).finish_non_exhaustive()
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("others", &self.others).finish_non_exhaustive()
    }
}
