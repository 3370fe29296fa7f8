//! What goes with every call: how it ended, why it failed, and on whose behalf it was made.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use core::fmt;

pub use crate::context::{Call, CallContext, Cancellation, CancellationToken, Context, RawContext};
use crate::describe::{codes, contract};
pub use crate::field::{Field, LogField};
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
        /// The callee does not offer this: it keeps no state that could be saved, say.
        UNSUPPORTED = 6,
        /// The callee answered with what is no value of the promised type.
        INVALID_RESULT = 7,
        /// The deadline of the call passed before it was done.
        DEADLINE_EXCEEDED = 8,
        /// The caller cancelled the call before it was done.
        CANCELLED = 9,
        /// The callee can't take another call now; later it may.
        BUSY = 10,
        /// The callee is gone: its process ended, its connection broke.
        DISCONNECTED = 11,
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
    closed struct ErrorReport {
        /// The plugin's own code; 0 if the status says it all.
        pub code: u32,
        /// UTF-8 for people.
        pub message: OwnedBuffer,
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

    /// The caller cancelled the call.
    pub fn cancelled() -> Self {
        Self { status: CallStatus::CANCELLED, code: 0, message: "the call was cancelled".into() }
    }

    /// The deadline of the call has passed.
    pub fn deadline_exceeded() -> Self {
        let message = "the deadline of the call has passed".into();
        Self { status: CallStatus::DEADLINE_EXCEEDED, code: 0, message }
    }

    /// The plugin can't take another call now.
    pub fn busy(message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: CallStatus::BUSY, code: 0, message: message.into() }
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
            status: CallStatus::INVALID_RESULT,
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
            status if status.name().is_some() => f.write_str(message),
            other => {
                write!(f, "the plugin answered with the unknown status {}: {message}", other.0)
            }
        }
    }
}

impl core::error::Error for CallError {}
