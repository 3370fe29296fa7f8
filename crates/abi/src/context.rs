//! On whose behalf a call is made, until when, and whether it still matters.
//!
//! A side reads a field of the other side's context only if the size that stands in it covers the
//! field; a copy has the size of what was copied.

use alloc::sync::{Arc, Weak};
use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::describe::{Describe, Field, Growth, Kind, Type, contract, covered};
use crate::memory::Text;

contract! {
    /// Whether the caller has given up on a call. It is the caller's, and valid until the call ends.
    #[derive(Debug)]
    extensible struct Cancellation {
        /// Size of this table in the caller's version of it.
        size: usize,
        /// Passed to the function below.
        context: *const c_void,
        /// Not 0 once the call is cancelled, and from then on. Any thread may ask.
        is_cancelled: unsafe extern "C" fn(*const c_void) -> u32,
    }
}

// SAFETY: the contract says that any thread may ask.
unsafe impl Send for Cancellation {}
// SAFETY: as above.
unsafe impl Sync for Cancellation {}

/// On whose behalf a call is made, until when, and whether it still matters. A null pointer in its
/// place says that nothing is known.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CallContext<'a> {
    /// Size of this struct in the caller's version of it. Private, as are the two pointers: only
    /// what is there may be said to be there.
    size: usize,
    /// W3C trace id; all zero if there is none.
    pub trace_id: [u8; 16],
    /// W3C span id of the caller; all zero if there is none.
    pub span_id: [u8; 8],
    /// W3C trace flags; the lowest bit says that the caller records this trace.
    pub trace_flags: u32,
    /// W3C trace state.
    trace_state: Text,
    /// When the caller stops waiting, in nanoseconds since 1970-01-01 00:00 UTC, so that another
    /// process can honour it; 0 is never.
    pub deadline_ns: u64,
    /// Asked whether the call is cancelled; null if it never is.
    cancellation: *const Cancellation,
    borrowed: PhantomData<&'a str>,
}

/// A context in the type of a function that crosses, where no lifetime can be named.
pub type RawContext = CallContext<'static>;

// SAFETY: the fields are those of the struct, sizes and offsets come from the compiler.
unsafe impl Describe for CallContext<'_> {
    const TYPE: &'static Type = {
        macro_rules! fields {
            ($($field:ident: $type:ty = $docs:literal),* $(,)?) => {
                &[$(Field {
                    name: stringify!($field),
                    offset: offset_of!(CallContext<'static>, $field),
                    of: <$type as Describe>::TYPE,
                    docs: $docs,
                }),*]
            };
        }
        &Type::of::<CallContext<'static>>(Kind::Struct {
            name: "keyway.CallContext",
            parameter: None,
            growth: Growth::Open,
            fields: fields! {
                size: usize = " Size of this struct in the caller's version of it.",
                trace_id: [u8; 16] = " W3C trace id; all zero if there is none.",
                span_id: [u8; 8] = " W3C span id of the caller; all zero if there is none.",
                trace_flags: u32 = " W3C trace flags; the lowest bit: the caller records this trace.",
                trace_state: Text = " W3C trace state.",
                deadline_ns: u64 = " When the caller stops waiting, in nanoseconds since 1970-01-01 UTC; 0 is never.",
                cancellation: *const Cancellation = " Asked whether the call is cancelled; null if it never is.",
            },
        })
        .documented(" On whose behalf a call is made, until when, and whether it still matters. A null pointer in its\n place says that nothing is known.")
    };
}

// SAFETY: a context is read only, and so is all that it points to.
unsafe impl Send for CallContext<'_> {}
// SAFETY: as above.
unsafe impl Sync for CallContext<'_> {}

impl<'a> CallContext<'a> {
    /// A context that says nothing.
    pub const fn new() -> Self {
        Self {
            size: size_of::<Self>(),
            trace_id: [0; 16],
            span_id: [0; 8],
            trace_flags: 0,
            trace_state: Text::new(""),
            deadline_ns: 0,
            cancellation: core::ptr::null(),
            borrowed: PhantomData,
        }
    }

    /// The same with this W3C trace state.
    pub const fn with_trace_state(self, state: &'a str) -> Self {
        Self { trace_state: Text::new(state), ..self }
    }

    /// The same for a call that `token` can cancel.
    pub fn with_cancellation(self, token: &'a CancellationToken) -> Self {
        Self { cancellation: token.table(), ..self }
    }
}

impl Default for CallContext<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// What a caller cancels calls with: those whose context it was put into. Clones are the same token.
#[derive(Debug, Clone)]
pub struct CancellationToken {
    state: Arc<TokenState>,
}

/// The table that callees see, and what its function reads.
#[derive(Debug)]
struct TokenState {
    table: Cancellation,
    cancelled: AtomicBool,
}

impl CancellationToken {
    /// A token that has cancelled nothing.
    pub fn new() -> Self {
        let state = Arc::new_cyclic(|state: &Weak<TokenState>| {
            // SAFETY: the place is that of the state in the making; only its address is taken.
            let context = unsafe { &raw const (*state.as_ptr()).cancelled };
            let table = Cancellation {
                size: size_of::<Cancellation>(),
                context: context.cast(),
                is_cancelled: read_token,
            };
            TokenState { table, cancelled: AtomicBool::new(false) }
        });
        Self { state }
    }

    /// Cancels every call made with it, also those that are running. Whether and when one ends is up
    /// to the plugin.
    pub fn cancel(&self) {
        self.state.cancelled.store(true, Ordering::Release);
    }

    /// Whether it has cancelled its calls.
    pub fn is_cancelled(&self) -> bool {
        self.state.cancelled.load(Ordering::Acquire)
    }

    fn table(&self) -> *const Cancellation {
        &raw const self.state.table
    }
}

impl Default for CancellationToken {
    fn default() -> Self {
        Self::new()
    }
}

unsafe extern "C" fn read_token(cancelled: *const c_void) -> u32 {
    // SAFETY: the table names its token's own flag, which outlives every call it was passed to.
    u32::from(unsafe { &*cancelled.cast::<AtomicBool>() }.load(Ordering::Acquire))
}

/// The context of the call being served, as a plugin sees it. One pointer; null costs nothing.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pointer: *const CallContext<'a>,
    call: PhantomData<&'a CallContext<'a>>,
}

// SAFETY: a context is read only.
unsafe impl Send for Context<'_> {}
// SAFETY: as above.
unsafe impl Sync for Context<'_> {}

/// A field of a context, if the side that made the context knew it.
macro_rules! field {
    ($context:expr, $field:ident) => {{
        let context: *const CallContext<'_> = $context.pointer;
        covered!(context, CallContext<'static>, $field)
    }};
}

impl<'a> Context<'a> {
    /// Nothing is known about the call.
    pub const NONE: Context<'static> = Context { pointer: core::ptr::null(), call: PhantomData };

    /// The context that `call` holds.
    pub const fn new(call: &'a CallContext<'a>) -> Self {
        Self { pointer: call, call: PhantomData }
    }

    /// The context behind a pointer that came with a call.
    ///
    /// # Safety
    /// `pointer` must be null or point to a context whose size field is right, which nobody changes
    /// during `'a`, and whose pointers are valid as long.
    pub const unsafe fn from_pointer(pointer: *const RawContext) -> Self {
        Self { pointer: pointer.cast(), call: PhantomData }
    }

    /// The same for the time of `call` only.
    ///
    /// # Safety
    /// As for [`from_pointer`](Self::from_pointer).
    pub const unsafe fn of_call(pointer: *const RawContext, call: &'a Call) -> Self {
        let _ = call;
        // SAFETY: the caller makes the same promise.
        unsafe { Self::from_pointer(pointer) }
    }

    /// The pointer to pass on, null if nothing is known.
    pub const fn as_pointer(self) -> *const RawContext {
        self.pointer.cast()
    }

    /// All of the context that is known here; what the caller's version of it lacks says nothing.
    pub fn get(self) -> Option<CallContext<'a>> {
        let mut known = CallContext::new();
        known.trace_id = field!(self, trace_id)?;
        known.span_id = field!(self, span_id).unwrap_or_default();
        known.trace_flags = field!(self, trace_flags).unwrap_or_default();
        known.trace_state = field!(self, trace_state).unwrap_or(known.trace_state);
        known.deadline_ns = field!(self, deadline_ns).unwrap_or_default();
        known.cancellation = field!(self, cancellation).unwrap_or(core::ptr::null());
        Some(known)
    }

    /// The trace that the call belongs to.
    pub fn trace_id(self) -> Option<[u8; 16]> {
        field!(self, trace_id).filter(|id| *id != [0; 16])
    }

    /// The caller's span.
    pub fn span_id(self) -> Option<[u8; 8]> {
        field!(self, span_id).filter(|id| *id != [0; 8])
    }

    /// The W3C trace flags, 0 if nothing is known.
    pub fn trace_flags(self) -> u32 {
        field!(self, trace_flags).unwrap_or_default()
    }

    /// The W3C trace state, empty if there is none.
    pub fn trace_state(self) -> &'a str {
        let state = field!(self, trace_state);
        // SAFETY: every constructor vouches for the context, and so for its text.
        state.and_then(|state| unsafe { state.get() }).unwrap_or_default()
    }

    /// When the caller stops waiting, in nanoseconds since 1970-01-01 00:00 UTC.
    pub fn deadline_ns(self) -> Option<u64> {
        field!(self, deadline_ns).filter(|deadline| *deadline != 0)
    }

    /// Whether the caller has given up on the call. One that takes long asks now and then, and ends
    /// with [`PluginError::cancelled`](crate::call::PluginError::cancelled).
    pub fn is_cancelled(self) -> bool {
        let Some(cancellation) = field!(self, cancellation) else { return false };
        let asked = covered!(cancellation, Cancellation, context).zip(covered!(
            cancellation,
            Cancellation,
            is_cancelled
        ));
        // SAFETY: every constructor vouches for the context, and so for its cancellation, whose
        // function takes what stands beside it.
        asked.is_some_and(|(context, is_cancelled)| unsafe { is_cancelled(context) } != 0)
    }
}

/// The time of a call. What a callee gets borrows from it, so that nothing can be kept for longer.
#[derive(Debug)]
pub struct Call(());

impl Call {
    /// The time until this value goes.
    #[inline]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Default for Call {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A context of a later version, whose callers say that it is larger.
    #[repr(C)]
    struct Tomorrow {
        today: CallContext<'static>,
        budget: u64,
    }

    #[test]
    fn a_context_of_a_later_version_is_read_and_copied_as_this_one() {
        let mut today = CallContext { deadline_ns: 5, ..CallContext::new() };
        today.size = size_of::<Tomorrow>();
        let tomorrow = Tomorrow { today, budget: 9 };
        // SAFETY: the size is right.
        let context = unsafe { Context::from_pointer((&raw const tomorrow).cast()) };
        assert_eq!(context.deadline_ns(), Some(5));
        let copy = context.get().expect("it is there");
        assert_eq!((copy.size, copy.deadline_ns), (size_of::<CallContext<'_>>(), 5));
        assert_eq!(tomorrow.budget, 9);
    }

    #[test]
    fn a_context_of_an_earlier_version_says_nothing_of_what_it_lacks() {
        #[repr(C)]
        struct Yesterday {
            size: usize,
            trace_id: [u8; 16],
        }
        // Exactly as large, so that Miri sees a read of more.
        let yesterday = Yesterday { size: size_of::<Yesterday>(), trace_id: [7; 16] };
        // SAFETY: the size is right.
        let context = unsafe { Context::from_pointer((&raw const yesterday).cast()) };
        assert_eq!(context.trace_id(), Some([7; 16]));
        assert_eq!((context.span_id(), context.deadline_ns()), (None, None));
        assert_eq!((context.trace_flags(), context.trace_state()), (0, ""));
        assert!(!context.is_cancelled());
        let known = context.get().expect("it is there");
        assert_eq!((known.size, known.trace_id), (size_of::<CallContext<'_>>(), [7; 16]));
        assert_eq!(yesterday.trace_id, [7; 16]);
    }

    #[test]
    fn a_moved_token_still_cancels() {
        let token = CancellationToken::new();
        let call = CallContext::new().with_cancellation(&token);
        assert!(!Context::new(&call).is_cancelled());
        let moved = token.clone();
        moved.cancel();
        assert!(Context::new(&call).is_cancelled() && token.is_cancelled());
    }
}
