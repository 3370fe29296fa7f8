//! How the functions of a typed interface cross: which types may, in what form, and how a host
//! calls.
//!
//! Each function of an interface's table is
//! `fn(*mut Instance, *const CallContext, wire arguments…, *mut ErrorReport) -> Reply<wire result>`.
//! The wire form of a type has a value for every bit pattern, because the other side may be wrong:
//! a `bool` crosses as `u8`, an enum as its integer, a struct as bytes that are checked before they
//! are read, and text is checked to be UTF-8. A result comes back by value beside the status, so a
//! small one stays in registers.
//!
//! Structs and enums get these traits from `#[derive(Layout)]`, interfaces from `#[interface]`, both
//! of `keyway-sdk`; nobody writes them by hand.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::ptr::NonNull;
use core::slice;

use crate::call::{CallContext, CallError, CallStatus, Context, ErrorReport, PluginError};
use crate::describe::{Describe, Kind, Type};
use crate::memory::{OwnedBuffer, Slice, Text};
use crate::table::Instance;

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
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't cross the plugin boundary as an argument",
    label = "can't be an argument",
    note = "an argument is one of: an integer up to 64 bits, `f32`, `f64`, `bool`, `&[T]`, `&mut [T]`, \
            `&str`, `OwnedBuffer`, or a struct or enum with `#[derive(Clone, Copy, Layout)]`",
    note = "the two sides have separate allocators and may come from different compilers: a type \
            such as `String`, `Vec<T>` or `Box<T>` has no layout that both agree on"
)]
pub trait Argument: Sized {
    /// Its description.
    const TYPE: &'static Type;
    /// The form in which it crosses.
    type Wire;

    /// The caller's half.
    fn lower(self) -> Self::Wire;

    /// The callee's half; `None` if the other side sent what is no value of this type.
    ///
    /// # Safety
    /// `wire` must come from [`lower`](Self::lower) of the same type on the other side; what it
    /// borrows must outlive the result.
    unsafe fn lift(wire: Self::Wire) -> Option<Self>;
}

/// A type that the result of an interface's function can have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't cross the plugin boundary as a result",
    label = "can't be a result",
    note = "a result is one of: `()`, an integer up to 64 bits, `f32`, `f64`, `bool`, `OwnedBuffer`, a \
            struct or enum with `#[derive(Clone, Copy, Layout)]`, or `Result<T, PluginError>` of those",
    note = "a result can't borrow: who would say for how long? Return an `OwnedBuffer`, or fill a \
            `&mut [T]` of the caller"
)]
pub trait Returned: Sized {
    /// Its description.
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

/// A trait that `#[interface]` made callable across the boundary; implemented by `dyn Trait`.
///
/// # Safety
/// `DESCRIPTOR` must describe `Table`, and `Table` must be `repr(C)` and begin with its size.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no interface",
    note = "an interface is `dyn Trait` of a trait marked `#[interface]`"
)]
pub unsafe trait Interface {
    /// The trait's name.
    const NAME: &'static str;
    /// The layout descriptor of the base contract and this interface.
    const DESCRIPTOR: &'static str;
    /// Its table of functions.
    type Table: 'static;
    /// What a host calls its functions on.
    type Proxy<'a>;

    /// A proxy that calls through `remote`.
    fn proxy(remote: Remote<'_, Self::Table>) -> Self::Proxy<'_>;
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
    pub const fn context(&self) -> *const CallContext {
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

macro_rules! scalars {
    ($($type:ty),*) => {$(
        // SAFETY: every bit pattern of a number is one.
        unsafe impl Layout for $type {
            const ANY_BITS: bool = true;

            #[inline]
            unsafe fn is_valid(_: *const Self) -> bool {
                true
            }
        }

        impl Argument for $type {
            const TYPE: &'static Type = <Self as Describe>::TYPE;
            type Wire = Self;

            #[inline]
            fn lower(self) -> Self {
                self
            }

            #[inline]
            unsafe fn lift(wire: Self) -> Option<Self> {
                Some(wire)
            }
        }

        impl Returned for $type {
            const TYPE: &'static Type = <Self as Describe>::TYPE;
            type Wire = Self;
            type Host<'a> = Self;

            #[inline]
            fn lower(self) -> Result<Self, PluginError> {
                Ok(self)
            }

            #[inline]
            unsafe fn lift<'a>(wire: Self) -> Option<Self::Host<'a>> {
                Some(wire)
            }
        }
    )*};
}

scalars! { u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64 }

// SAFETY: a `bool` is a byte that is 0 or 1.
unsafe impl Layout for bool {
    const ANY_BITS: bool = false;

    #[inline]
    unsafe fn is_valid(at: *const Self) -> bool {
        // SAFETY: the caller vouches for the byte.
        unsafe { at.cast::<u8>().read() <= 1 }
    }
}

impl Argument for bool {
    const TYPE: &'static Type = <Self as Describe>::TYPE;
    type Wire = u8;

    #[inline]
    fn lower(self) -> u8 {
        u8::from(self)
    }

    #[inline]
    unsafe fn lift(wire: u8) -> Option<Self> {
        match wire {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Returned for bool {
    const TYPE: &'static Type = <Self as Describe>::TYPE;
    type Wire = u8;
    type Host<'a> = Self;

    #[inline]
    fn lower(self) -> Result<u8, PluginError> {
        Ok(u8::from(self))
    }

    #[inline]
    unsafe fn lift<'a>(wire: u8) -> Option<Self::Host<'a>> {
        // SAFETY: a byte is all that this needs.
        unsafe { <Self as Argument>::lift(wire) }
    }
}

// SAFETY: an array is valid if each element is.
unsafe impl<T: Layout, const N: usize> Layout for [T; N] {
    const ANY_BITS: bool = T::ANY_BITS;

    #[inline]
    unsafe fn is_valid(at: *const Self) -> bool {
        // SAFETY: the caller vouches for all elements.
        unsafe { all_valid(at.cast::<T>(), N) }
    }
}

/// Whether `length` elements at `first` are values.
///
/// # Safety
/// As for [`Layout::is_valid`], for each element.
#[inline]
unsafe fn all_valid<T: Layout>(first: *const T, length: usize) -> bool {
    // SAFETY: the caller vouches for each element.
    T::ANY_BITS || (0..length).all(|at| unsafe { T::is_valid(first.add(at)) })
}

impl<T: Layout> Argument for &[T] {
    const TYPE: &'static Type = &Type::of::<Slice>(Kind::Slice { mutable: false, of: T::TYPE });
    type Wire = Slice;

    #[inline]
    fn lower(self) -> Slice {
        Slice::new(self)
    }

    #[inline]
    unsafe fn lift(wire: Slice) -> Option<Self> {
        let first = wire.pointer.cast::<T>();
        // SAFETY: the caller lowered a slice of `T` that outlives the call; its elements are
        // checked before they are read as `T`.
        unsafe { all_valid(first, wire.length).then(|| slice::from_raw_parts(first, wire.length)) }
    }
}

impl<T: Layout> Argument for &mut [T] {
    const TYPE: &'static Type = {
        // The callee's values would have to be checked after the call, when it is too late: the
        // caller's slice already holds them.
        assert!(
            T::ANY_BITS,
            "`&mut [T]` crosses only if every bit pattern is a `T`: no `bool` or enum inside"
        );
        &Type::of::<Slice>(Kind::Slice { mutable: true, of: T::TYPE })
    };
    type Wire = Slice;

    #[inline]
    fn lower(self) -> Slice {
        Slice::new_mut(self)
    }

    #[inline]
    unsafe fn lift(wire: Slice) -> Option<Self> {
        let first = wire.pointer.cast::<T>().cast_mut();
        // SAFETY: the caller lowered an exclusive slice of `T` that outlives the call, and every
        // bit pattern is a `T`.
        Some(unsafe { slice::from_raw_parts_mut(first, wire.length) })
    }
}

impl Argument for &str {
    const TYPE: &'static Type = &Type::of::<Text>(Kind::Scalar("&str"));
    type Wire = Text;

    #[inline]
    fn lower(self) -> Text {
        Text::new(self)
    }

    #[inline]
    unsafe fn lift(wire: Text) -> Option<Self> {
        // SAFETY: the caller lowered text that outlives the call; that it is UTF-8 is checked.
        unsafe { wire.get() }
    }
}

impl Argument for OwnedBuffer {
    const TYPE: &'static Type = <Self as Describe>::TYPE;
    type Wire = Self;

    fn lower(self) -> Self {
        self
    }

    unsafe fn lift(wire: Self) -> Option<Self> {
        Some(wire)
    }
}

impl Returned for OwnedBuffer {
    const TYPE: &'static Type = <Self as Describe>::TYPE;
    type Wire = Self;
    type Host<'a> = Buffer<'a>;

    fn lower(self) -> Result<Self, PluginError> {
        Ok(self)
    }

    unsafe fn lift<'a>(wire: Self) -> Option<Buffer<'a>> {
        Some(Buffer { bytes: wire, plugin: PhantomData })
    }
}

impl Returned for () {
    const TYPE: &'static Type = <Self as Describe>::TYPE;
    type Wire = Self;
    type Host<'a> = Self;

    #[inline]
    fn lower(self) -> Result<Self, PluginError> {
        Ok(())
    }

    #[inline]
    unsafe fn lift<'a>((): Self) -> Option<Self::Host<'a>> {
        Some(())
    }
}

impl<T: Returned> Returned for Result<T, PluginError> {
    const TYPE: &'static Type = &Type::of::<Reply<T::Wire>>(Kind::Fallible(T::TYPE));
    type Wire = T::Wire;
    type Host<'a> = T::Host<'a>;

    #[inline]
    fn lower(self) -> Result<T::Wire, PluginError> {
        self.and_then(T::lower)
    }

    #[inline]
    unsafe fn lift<'a>(wire: T::Wire) -> Option<T::Host<'a>> {
        // SAFETY: the caller's promise is the same.
        unsafe { T::lift(wire) }
    }
}
