//! What this host offers to its plugins: a log and a clock.

use std::ffi::c_void;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::time::Instant;

use keyway_abi::call::LogLevel;
use keyway_abi::memory::Text;
use keyway_abi::table::HostServices;

/// When this process first looked at the clock; the clock's zero.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds on the clock that plugins see and that deadlines are given on. Never 0, which as a
/// deadline means none.
pub fn now_ns() -> u64 {
    // 2^64 ns are 584 years.
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
}

/// Host services with a log of their own.
pub struct Services {
    table: HostServices,
    sink: Sink,
}

type Sink = Box<dyn Fn(LogLevel, &str) + Send + Sync>;

impl Services {
    /// Services whose log lines go to `sink`, on whichever thread the plugin logs.
    ///
    /// They are never freed: a plugin may keep the handle in a thread of its own, so no later moment
    /// is known to be safe. Make them once for a process, or once for each plugin that it knows.
    pub fn new(sink: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> &'static Self {
        let services = Box::leak(Box::new(Self {
            table: HostServices {
                size: size_of::<HostServices>(),
                context: std::ptr::null(),
                log,
                now_ns: now,
            },
            sink: Box::new(sink),
        }));
        let context: *const Self = services;
        services.table.context = context.cast();
        // SAFETY: the box was leaked, and the exclusive reference above is used no more.
        unsafe { &*context }
    }

    /// The table that plugins get.
    pub(crate) const fn table(&'static self) -> *const HostServices {
        &raw const self.table
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Services")
    }
}

unsafe extern "C" fn log(context: *const c_void, level: LogLevel, line: Text) {
    // SAFETY: the context is the leaked `Services`, and the plugin lends the text for this call.
    let (services, line) = unsafe { (&*context.cast::<Services>(), line.get()) };
    let line = line.unwrap_or("(a log line that is not UTF-8)");
    // A panic may not reach the plugin. The line is lost; the panic's own message is not.
    let _ = catch_unwind(AssertUnwindSafe(|| (services.sink)(level, line)));
}

unsafe extern "C" fn now(_: *const c_void) -> u64 {
    now_ns()
}
