//! What goes with every call: how it ended, why it failed, and on whose behalf it was made.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use core::fmt;
use core::marker::PhantomData;

use crate::describe::{codes, contract};
use crate::memory::OwnedBuffer;

codes! {
    /// How a call ended.
    pub struct CallStatus {
        /// The result is there.
        OK = 0,
        /// The plugin returned an error of its own; the report has its code and message.
        FAILED = 1,
        /// The plugin panicked. The panic was caught on its side, its message is in the report, and
        /// the instance is poisoned.
        PANICKED = 2,
        /// The instance panicked in an earlier call. Nothing was run; it can only be destroyed.
        POISONED = 3,
        /// The plugin has no named method of this name.
        UNKNOWN_METHOD = 4,
        /// An argument was no value of its type: not UTF-8, no variant of the enum, no `bool`.
        INVALID_ARGUMENT = 5,
        /// The plugin does not offer this: it keeps no state that could be saved, say.
        UNSUPPORTED = 6,
    }
}

codes! {
    /// How urgent a log line is.
    pub struct LogLevel {
        /// Something failed.
        ERROR = 1,
        /// Something looks wrong.
        WARN = 2,
        /// What an operator wants to read.
        INFO = 3,
        /// What a developer wants to read.
        DEBUG = 4,
        /// Everything.
        TRACE = 5,
    }
}

contract! {
    /// Why a call failed. The callee writes it if and only if the status is not `OK`; the caller
    /// may leave it uninitialized before.
    #[derive(Debug)]
    pub struct ErrorReport {
        /// The plugin's own code; 0 if the status says it all.
        pub code: u32,
        /// UTF-8 for people.
        pub message: OwnedBuffer,
    }

    /// On whose behalf a call is made. A null pointer in its place says nothing is known.
    #[derive(Debug, Clone, Copy)]
    pub struct CallContext {
        /// Size of this struct in the caller's version of it.
        pub size: usize,
        /// W3C trace id; all zero if there is none.
        pub trace_id: [u8; 16],
        /// W3C span id of the caller; all zero if there is none.
        pub span_id: [u8; 8],
        /// When the caller stops waiting, on the clock of `HostServices::now_ns`; 0 is never.
        pub deadline_ns: u64,
    }
}

impl CallContext {
    /// A context that says nothing.
    pub const fn new() -> Self {
        Self { size: size_of::<Self>(), trace_id: [0; 16], span_id: [0; 8], deadline_ns: 0 }
    }
}

impl Default for CallContext {
    fn default() -> Self {
        Self::new()
    }
}

/// The context of the call being served, as a plugin sees it. One pointer; null costs nothing.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pointer: *const CallContext,
    call: PhantomData<&'a CallContext>,
}

impl<'a> Context<'a> {
    /// Nothing is known about the call.
    pub const NONE: Context<'static> = Context { pointer: core::ptr::null(), call: PhantomData };

    /// The context that `call` holds.
    pub const fn new(call: &'a CallContext) -> Self {
        Self { pointer: call, call: PhantomData }
    }

    /// The context behind a pointer that came with a call.
    ///
    /// # Safety
    /// `pointer` must be null or point to a context whose size field is right and which nobody
    /// changes during `'a`.
    pub const unsafe fn from_pointer(pointer: *const CallContext) -> Self {
        Self { pointer, call: PhantomData }
    }

    /// The pointer to pass on, null if nothing is known.
    pub const fn as_pointer(self) -> *const CallContext {
        self.pointer
    }

    /// The whole context, if there is one.
    pub fn get(self) -> Option<&'a CallContext> {
        // SAFETY: every constructor vouches for the pointer. All fields are of the first version
        // of the contract, so a context of any size has them.
        unsafe { self.pointer.as_ref() }
    }

    /// The trace that the call belongs to.
    pub fn trace_id(self) -> Option<[u8; 16]> {
        self.get().map(|call| call.trace_id).filter(|id| *id != [0; 16])
    }

    /// The caller's span.
    pub fn span_id(self) -> Option<[u8; 8]> {
        self.get().map(|call| call.span_id).filter(|id| *id != [0; 8])
    }

    /// When the caller stops waiting, in nanoseconds on the host's clock.
    pub fn deadline_ns(self) -> Option<u64> {
        self.get().map(|call| call.deadline_ns).filter(|deadline| *deadline != 0)
    }
}

/// An error that a plugin returns: a code that programs act on, and a message for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginError {
    status: CallStatus,
    code: u32,
    message: Cow<'static, str>,
}

impl PluginError {
    /// An error of the plugin's own: `code` is up to the plugin.
    pub fn new(code: u32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: CallStatus::FAILED, code, message: message.into() }
    }

    /// The plugin does not offer what was asked of it.
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: CallStatus::UNSUPPORTED, code: 0, message: message.into() }
    }

    /// The plugin has no named method of this name.
    pub fn unknown_method(message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: CallStatus::UNKNOWN_METHOD, code: 0, message: message.into() }
    }

    /// An input was not what the plugin's documentation asks for.
    pub fn invalid_argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: CallStatus::INVALID_ARGUMENT, code: 0, message: message.into() }
    }

    /// The plugin's own code, 0 where the status says it all.
    pub fn code(&self) -> u32 {
        self.code
    }

    /// The message for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How a call that ends with this error ends.
    pub fn status(&self) -> CallStatus {
        self.status
    }

    /// The report that crosses the boundary.
    pub fn into_report(self) -> ErrorReport {
        let message = self.message.into_owned().into_bytes().into();
        ErrorReport { code: self.code, message }
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for PluginError {}

/// Why a call that a host made gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// How it ended; never `OK`.
    pub status: CallStatus,
    /// The plugin's own code, 0 where the status says it all.
    pub code: u32,
    /// The plugin's message, copied, so that it outlives the plugin.
    pub message: String,
}

impl CallError {
    /// What a call that ended with `status` reported.
    #[cold]
    pub fn new(status: CallStatus, report: &ErrorReport) -> Self {
        let message = String::from_utf8_lossy(&report.message).to_string();
        Self { status, code: report.code, message }
    }

    /// The plugin answered with bytes that are no value of the promised type.
    #[cold]
    pub fn invalid_result() -> Self {
        Self {
            status: CallStatus::INVALID_ARGUMENT,
            code: 0,
            message: "the plugin's result is no value of the promised type".into(),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, code, message } = self;
        match *status {
            CallStatus::FAILED => write!(f, "plugin error {code}: {message}"),
            CallStatus::PANICKED => write!(f, "the plugin panicked: {message}"),
            CallStatus::POISONED => f.write_str("the plugin panicked in an earlier call"),
            CallStatus::UNKNOWN_METHOD | CallStatus::INVALID_ARGUMENT | CallStatus::UNSUPPORTED => {
                f.write_str(message)
            }
            other => {
                write!(f, "the plugin answered with the unknown status {}: {message}", other.0)
            }
        }
    }
}

impl core::error::Error for CallError {}
