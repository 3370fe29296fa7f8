//! How the functions of a typed interface cross: which types may, in what form, and how a host
//! calls.
//!
//! Each function of an interface's table is
//! `fn(*mut Instance, *const CallContext, wire arguments…, *mut ErrorReport) -> Reply<wire result>`.
//! What an argument borrows, it borrows for the time of a [`Call`]: an author who asks for more gets
//! a compile error, by whatever name the type is written.
//! The wire form of a type has a value for every bit pattern, because the other side may be wrong:
//! a `bool` crosses as `u8`, an enum as its integer, a struct as bytes that are checked before they
//! are read, and text is checked to be UTF-8. A result comes back by value beside the status, so a
//! small one stays in registers.
//!
//! Structs and enums get these traits from `#[derive(Layout)]`, interfaces from `#[interface]`, both
//! of `keyway-sdk`; nobody writes them by hand.

mod types;

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::mem::{MaybeUninit, offset_of};
use core::ops::Deref;
use core::ptr::NonNull;

use crate::call::{Call, CallError, CallStatus, Context, ErrorReport, PluginError, RawContext};
use crate::describe::{Describe, Field, Growth, Kind, Type};
use crate::encoding::{self, Caller, Incoming, Malformed, Reader, Stop};
use crate::memory::OwnedBuffer;
use crate::table::Instance;

pub(crate) use types::as_it_is;

/// Plain data with the same layout on both sides: what a slice or a struct that crosses is made of.
///
/// # Safety
/// `TYPE` must describe the type, and `is_valid` must be right.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no fixed layout, so it can't cross the plugin boundary",
    label = "not plain data",
    note = "plain data is: integers up to 64 bits, `f32`, `f64`, `bool`, arrays of plain data, and \
            `#[repr(C)]` structs and `#[repr(u8)]`-like enums with `#[derive(Clone, Copy, Layout)]`"
)]
pub unsafe trait Layout: Describe + Copy + 'static {
    /// Whether every bit pattern is a value. Then nothing has to be checked.
    const ANY_BITS: bool;

    /// Whether the bytes at `at` are a value of this type.
    ///
    /// # Safety
    /// `at` must be aligned and point to initialized bytes of this size, padding aside.
    unsafe fn is_valid(at: *const Self) -> bool;
}

/// A type that an argument of an interface's function can have.
///
/// # Safety
/// `TYPE` must describe `Wire`. `lift` must accept what any side may send that keeps to that
/// description, and what it gives must borrow for no longer than the call. `encode` must be given
/// unless `TYPE` is plain data that describes the type itself too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't cross the plugin boundary as an argument",
    label = "can't be an argument",
    note = "an argument is one of: an integer up to 64 bits, `f32`, `f64`, `bool`, `&[T]`, `&mut [T]`, \
            `&str`, `OwnedBuffer`, or a struct or enum with `#[derive(Clone, Copy, Layout)]`",
    note = "the two sides have separate allocators and may come from different compilers: a type \
            such as `String`, `Vec<T>` or `Box<T>` has no layout that both agree on"
)]
pub unsafe trait Argument: Sized {
    /// The description of what crosses.
    const TYPE: &'static Type;
    /// The form in which it crosses.
    type Wire;
    /// What the callee gets for the time of a call.
    type Lifted<'call>;

    /// The caller's half.
    fn lower(self) -> Self::Wire;

    /// The callee's half; `None` if the other side sent what is no value of this type.
    ///
    /// # Safety
    /// `wire` must come from [`lower`](Self::lower) of the same type on the other side; what it
    /// borrows must outlive `call`.
    unsafe fn lift<'call>(wire: Self::Wire, call: &'call Call) -> Option<Self::Lifted<'call>>;

    /// What a decoded argument borrows from.
    type Held: Default;

    /// Appends the argument as bytes.
    fn encode(&self, output: &mut Vec<u8>) {
        // SAFETY: without a function of its own the type is what is described.
        unsafe { encoding::write(Self::TYPE, (&raw const *self).cast(), output) }
    }

    /// The form in which it crosses, from bytes. It borrows from `held` and from the bytes.
    ///
    /// # Errors
    /// The bytes are no value of this type.
    fn decode(input: &mut Reader<'_>, held: &mut Self::Held) -> Result<Self::Wire, Malformed>;

    /// Appends what the callee changed.
    fn give_back(_: &Self::Held, _: &mut Vec<u8>) {}

    /// Changes the argument to what [`give_back`](Self::give_back) wrote.
    ///
    /// # Errors
    /// The bytes are something else.
    fn take_back(&mut self, _: &mut Reader<'_>) -> Result<(), Malformed> {
        Ok(())
    }
}

/// What an argument named `Context` can be: the context of the call, which is no argument of the C
/// function but comes with each.
///
/// # Safety
/// `of_call` must be that context, for no longer than the call.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the context of the call, which is what `Context` means here",
    label = "another type named `Context`",
    note = "import it under another name: `use other::Context as OtherContext`"
)]
pub unsafe trait ContextArgument {
    /// What the callee gets for the time of a call.
    type Lifted<'call>;

    /// The context behind the pointer that came with a call.
    ///
    /// # Safety
    /// As for [`Context::of_call`].
    unsafe fn of_call<'call>(pointer: *const RawContext, call: &'call Call) -> Self::Lifted<'call>;
}

// SAFETY: it is what `Context` itself says.
unsafe impl ContextArgument for Context<'_> {
    type Lifted<'call> = Context<'call>;

    #[inline]
    unsafe fn of_call<'call>(pointer: *const RawContext, call: &'call Call) -> Context<'call> {
        // SAFETY: the caller makes the same promise.
        unsafe { Context::of_call(pointer, call) }
    }
}

/// A type that the result of an interface's function can have.
///
/// # Safety
/// `TYPE` must describe `Wire`, and `lift` must accept what any side may send that keeps to it. `encode`
/// and `decode` must be given unless `TYPE` is plain data.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't cross the plugin boundary as a result",
    label = "can't be a result",
    note = "a result is one of: `()`, an integer up to 64 bits, `f32`, `f64`, `bool`, `OwnedBuffer`, a \
            struct or enum with `#[derive(Clone, Copy, Layout)]`, or `Result<T, PluginError>` of those",
    note = "a result can't borrow: who would say for how long? Return an `OwnedBuffer`, or fill a \
            `&mut [T]` of the caller"
)]
pub unsafe trait Returned: Sized {
    /// The description of what crosses.
    const TYPE: &'static Type;
    /// The form in which it crosses.
    type Wire;
    /// What the host's caller gets: bound to the plugin's lifetime if the plugin must free it.
    type Host<'a>;

    /// The plugin's half.
    ///
    /// # Errors
    /// The error that the plugin returned instead of a value.
    fn lower(self) -> Result<Self::Wire, PluginError>;

    /// The host's half; `None` if the plugin sent what is no value of this type.
    ///
    /// # Safety
    /// `wire` must come from [`lower`](Self::lower) of the same type on the other side, in a
    /// plugin that stays loaded during `'a`.
    unsafe fn lift<'a>(wire: Self::Wire) -> Option<Self::Host<'a>>;

    /// Appends the result as bytes.
    ///
    /// # Safety
    /// `wire` must come from [`lower`](Self::lower) of the same type.
    unsafe fn encode(wire: Self::Wire, output: &mut Vec<u8>) {
        // SAFETY: without a function of its own the wire form is plain data.
        unsafe { encoding::write(Self::TYPE, (&raw const wire).cast(), output) }
    }

    /// The result from bytes.
    ///
    /// # Errors
    /// The bytes are no value of this type.
    fn decode<'a>(input: &mut Reader<'_>) -> Result<Self::Host<'a>, Malformed> {
        // SAFETY: without a function of its own the wire form is plain data, and borrows nothing.
        let value = unsafe { Self::lift(input.plain(Self::TYPE)?) };
        value.ok_or_else(|| input.malformed("no value of the type"))
    }
}

/// The description of an argument as it crosses, for `#[interface]`.
pub const fn argument<A: Argument>() -> &'static Type {
    assert!(A::TYPE.size() == size_of::<A::Wire>(), "an argument crosses as what is described");
    A::TYPE
}

/// The description of what a function that returns `R` replies, for `#[interface]`.
pub const fn reply<R: Returned>() -> &'static Type {
    ReplyOf::<R>::TYPE
}

struct ReplyOf<R>(PhantomData<R>);

impl<R: Returned> ReplyOf<R> {
    const TYPE: &'static Type = {
        assert!(R::TYPE.size() == size_of::<R::Wire>(), "a result crosses as what is described");
        &Type::of::<Reply<R::Wire>>(Kind::Struct {
            name: "keyway.Reply",
            parameter: Some(R::TYPE),
            growth: Growth::Closed,
            // C has no field of size zero.
            fields: if R::TYPE.size() == 0 {
                &[Self::STATUS]
            } else {
                &[Self::STATUS, Self::VALUE]
            },
        })
    };
    const STATUS: Field = Field {
        name: "status",
        offset: offset_of!(Reply<R::Wire>, status),
        of: <CallStatus as Describe>::TYPE,
        docs: "",
    };
    const VALUE: Field =
        Field { name: "value", offset: offset_of!(Reply<R::Wire>, value), of: R::TYPE, docs: "" };
}

/// What a function of an interface returns: a status and, if it is `OK`, the result.
#[derive(Debug)]
#[repr(C)]
pub struct Reply<T> {
    /// How the call ended.
    pub status: CallStatus,
    /// Initialized if and only if the status is `OK`.
    pub value: MaybeUninit<T>,
}

impl<T> Reply<T> {
    /// The call gave `value`.
    #[inline]
    pub const fn ok(value: T) -> Self {
        Self { status: CallStatus::OK, value: MaybeUninit::new(value) }
    }

    /// The call gave no result.
    pub const fn failed(status: CallStatus) -> Self {
        Self { status, value: MaybeUninit::uninit() }
    }
}

/// What a function answers that the other side's version of the interface does not have.
///
/// # Safety
/// `report` must be valid for writes.
#[cold]
pub unsafe fn missing<T>(report: *mut ErrorReport) -> Reply<T> {
    let message = "the other side's version does not have this function";
    let message = message.as_bytes().to_vec().into();
    // SAFETY: the caller vouches for the report.
    unsafe { report.write(ErrorReport { code: 0, message }) };
    Reply::failed(CallStatus::UNSUPPORTED)
}

/// A trait that `#[interface]` made callable across the boundary; implemented by `dyn Trait`.
///
/// # Safety
/// `DESCRIPTOR` must describe `Table`; `Table` must be `repr(C)`, begin with its size, and have
/// nothing else but pointers to functions. If `IS_SHARED`, none of them takes the instance
/// exclusively. A proxy can't be made from a reference to another one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no interface",
    note = "an interface is `dyn Trait` of a trait marked `#[interface]`"
)]
pub unsafe trait Interface: 'static {
    /// The id that both sides know it by.
    const ID: &'static str;
    /// Its version, which is raised by hand when a function comes to mean something else.
    const VERSION: u32;
    /// Its layout descriptor.
    const DESCRIPTOR: &'static str;
    /// What its author wrote, for messages: a line for each function.
    const SIGNATURE: &'static str;
    /// Whether all functions take the instance shared.
    const IS_SHARED: bool;
    /// Its table of functions.
    type Table: 'static;
    /// A table whose functions all answer that they are not there.
    const MISSING: Self::Table;
    /// What a host calls its functions on.
    type Proxy<'a>;

    /// A proxy that calls through `remote`.
    fn proxy(remote: Remote<'_, Self::Table>) -> Self::Proxy<'_>;

    /// What calls its functions by bytes.
    type Encoded<'a>;

    /// A proxy that calls by bytes.
    fn encoded(caller: Caller<'_>) -> Self::Encoded<'_>;

    /// Decodes the arguments of a call, calls the function, and encodes what it gave.
    ///
    /// # Errors
    /// There is no such function, the bytes are no arguments of it, or it gave no result.
    ///
    /// # Safety
    /// As for calling that function of `table`.
    unsafe fn dispatch(table: &Self::Table, call: &mut Incoming<'_>) -> Result<Vec<u8>, Stop>;
}

/// An instance in another binary, the table to call it through, and the context of those calls.
#[derive(Debug)]
pub struct Remote<'a, T> {
    instance: NonNull<Instance>,
    table: &'a T,
    context: Context<'a>,
}

// SAFETY: the contract says that an instance may be used on any thread, and on several at once by
// those functions that take it shared, which are all that a shared reference to a proxy offers.
unsafe impl<T: Sync> Send for Remote<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Remote<'_, T> {}

impl<'a, T> Remote<'a, T> {
    /// A way to call `instance`.
    ///
    /// # Safety
    /// `instance` must be alive and its plugin loaded during `'a`, `table` must be its table of the
    /// interface, and nobody else may use the instance during `'a` in a way that its
    /// `&mut self` functions forbid.
    #[inline]
    pub const unsafe fn new(
        instance: NonNull<Instance>,
        table: &'a T,
        context: Context<'a>,
    ) -> Self {
        Self { instance, table, context }
    }

    /// The instance, as the first argument of each function.
    #[inline]
    pub const fn instance(&self) -> *mut Instance {
        self.instance.as_ptr()
    }

    /// The table of functions.
    #[inline]
    pub const fn table(&self) -> &'a T {
        self.table
    }

    /// The context, as the second argument of each function.
    #[inline]
    pub const fn context(&self) -> *const RawContext {
        self.context.as_pointer()
    }

    /// Turns what a function answered into what the host's caller gets.
    ///
    /// # Errors
    /// What the plugin reported instead of a result.
    ///
    /// # Safety
    /// `reply` and `report` must come from one call, through this remote, of a function that
    /// returns `R`.
    #[inline]
    pub unsafe fn finish<R: Returned>(
        &self,
        reply: Reply<R::Wire>,
        report: MaybeUninit<ErrorReport>,
    ) -> Result<R::Host<'a>, CallError> {
        if reply.status != CallStatus::OK {
            // SAFETY: the callee writes the report if the status is not `OK`.
            return Err(CallError::new(reply.status, &unsafe { report.assume_init() }));
        }
        // SAFETY: the status is `OK`, so the value is there; the caller vouches for its type and
        // for the plugin's lifetime.
        let value = unsafe { R::lift(reply.value.assume_init()) };
        value.ok_or_else(CallError::invalid_result)
    }
}

/// Bytes that a plugin made and a host reads; freed by the plugin's own code when dropped, which
/// is why it can't outlive the plugin.
#[derive(Debug)]
pub struct Buffer<'a> {
    bytes: OwnedBuffer,
    plugin: PhantomData<&'a Instance>,
}

impl Deref for Buffer<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Buffer<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
