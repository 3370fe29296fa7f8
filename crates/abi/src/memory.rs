//! Bytes that cross: borrowed for the time of a call, or owned and freed by their maker.

use alloc::vec::Vec;
use core::ffi::c_void;
use core::fmt;
use core::mem::{ManuallyDrop, offset_of};
use core::ops::Deref;
use core::ptr::NonNull;
use core::{ptr, slice};

use crate::describe::{Describe, Field, Growth, Kind, Type, contract};
use crate::table::{Method, Offer};

/// Elements that the caller owns and the callee may use until it returns.
#[derive(Debug)]
#[repr(C)]
pub struct Slice<T> {
    /// The first element; anything, null too, if there is none.
    pub pointer: *const T,
    /// How many elements.
    pub length: usize,
}

impl<T> Clone for Slice<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slice<T> {}

// SAFETY: the layout of the struct is described beside its elements' type.
unsafe impl<T: Describe> Describe for Slice<T> {
    const TYPE: &'static Type = &Type::of::<Self>(Kind::Slice { mutable: false, of: T::TYPE });
}

/// The layout of every slice, whatever its elements are.
pub(crate) const SLICE: &Type = &Type::of::<Slice<u8>>(Kind::Struct {
    name: "keyway.Slice",
    parameter: None,
    growth: Growth::Closed,
    fields: &[
        Field {
            name: "pointer",
            offset: offset_of!(Slice<u8>, pointer),
            of: <*const c_void as Describe>::TYPE,
            docs: "",
        },
        Field { name: "length", offset: offset_of!(Slice<u8>, length), of: usize::TYPE, docs: "" },
    ],
});

contract! {
    /// UTF-8 that the caller owns and the callee may use until it returns.
    #[derive(Debug, Clone, Copy)]
    closed struct Text {
        /// The first byte; anything, null too, if there is none.
        pub pointer: *const u8,
        /// How many bytes.
        pub length: usize,
    }

    /// Bytes that one side made and the other uses; dropping it frees them on their maker's side.
    closed struct OwnedBuffer {
        /// The first byte; anything, null too, if `length` is 0.
        pointer: *mut u8,
        /// How many bytes.
        length: usize,
        /// How many bytes were allocated; only `free` uses it.
        capacity: usize,
        /// Frees `pointer`, given the three fields above. Null if there is nothing to free.
        free: Option<unsafe extern "C" fn(*mut u8, usize, usize)>,
    }
}

impl<T> Slice<T> {
    /// Borrows `elements`. The result carries no lifetime: it must not be used for longer.
    pub const fn new(elements: &[T]) -> Self {
        Self { pointer: elements.as_ptr(), length: elements.len() }
    }

    /// Borrows `elements` for the callee to change.
    pub const fn new_mut(elements: &mut [T]) -> Self {
        Self { pointer: elements.as_mut_ptr().cast_const(), length: elements.len() }
    }

    /// The first element as Rust wants it, never null; `None` if there should be some elements and the
    /// pointer is null.
    #[inline]
    pub(crate) const fn first(self) -> Option<NonNull<T>> {
        if self.length == 0 {
            return Some(NonNull::dangling());
        }
        NonNull::new(self.pointer.cast_mut())
    }

    /// The elements; none if the pointer is null.
    ///
    /// # Safety
    /// A `pointer` that is not null must be aligned and point to `length` initialized elements that
    /// nobody changes during `'a`.
    pub const unsafe fn elements<'a>(self) -> &'a [T] {
        match self.first() {
            // SAFETY: the caller vouches for pointer, length and lifetime.
            Some(first) => unsafe { slice::from_raw_parts(first.as_ptr(), self.length) },
            None => &[],
        }
    }
}

impl Slice<*const Offer> {
    /// A list of what never moves.
    pub const fn of_offers(list: &'static [&'static Offer]) -> Self {
        Self { pointer: list.as_ptr().cast(), length: list.len() }
    }
}

impl Slice<*const Method> {
    /// A list of what never moves.
    pub const fn of_methods(list: &'static [&'static Method]) -> Self {
        Self { pointer: list.as_ptr().cast(), length: list.len() }
    }
}

impl Text {
    /// Borrows `text`. The result carries no lifetime: it must not be used for longer.
    pub const fn new(text: &str) -> Self {
        Self { pointer: text.as_ptr(), length: text.len() }
    }

    /// The text, or `None` if the bytes are not UTF-8, or the pointer is null and should not be.
    ///
    /// # Safety
    /// A `pointer` that is not null must point to `length` initialized bytes that nobody changes
    /// during `'a`.
    pub const unsafe fn get<'a>(self) -> Option<&'a str> {
        let slice = Slice { pointer: self.pointer, length: self.length };
        let Some(first) = slice.first() else { return None };
        // SAFETY: the caller vouches for pointer, length and lifetime.
        let bytes = unsafe { slice::from_raw_parts(first.as_ptr(), self.length) };
        match core::str::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(_) => None,
        }
    }
}

impl OwnedBuffer {
    /// A buffer without bytes; allocates nothing.
    pub const fn new() -> Self {
        Self { pointer: ptr::dangling_mut(), length: 0, capacity: 0, free: None }
    }

    /// The buffer of these parts, which are those of the struct in the contract.
    ///
    /// # Safety
    /// Unless `length` is 0, `pointer` must point to that many initialized bytes which nobody else
    /// uses. `free`, if there is one, must be safe to call once with the other three, on any thread.
    pub const unsafe fn from_raw_parts(
        pointer: *mut u8,
        length: usize,
        capacity: usize,
        free: Option<unsafe extern "C" fn(*mut u8, usize, usize)>,
    ) -> Self {
        Self { pointer, length, capacity, free }
    }
}

impl Default for OwnedBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Vec<u8>> for OwnedBuffer {
    /// Hands the allocation over without copying it.
    fn from(bytes: Vec<u8>) -> Self {
        let mut bytes = ManuallyDrop::new(bytes);
        Self {
            pointer: bytes.as_mut_ptr(),
            length: bytes.len(),
            capacity: bytes.capacity(),
            free: Some(free_vec),
        }
    }
}

/// Frees what `OwnedBuffer::from(Vec)` took, with the allocator of the binary that took it.
unsafe extern "C" fn free_vec(pointer: *mut u8, length: usize, capacity: usize) {
    // SAFETY: only `from` above names this function, with the parts of a `Vec`; `drop` calls it
    // once.
    drop(unsafe { Vec::from_raw_parts(pointer, length, capacity) });
}

impl Deref for OwnedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        if self.length == 0 || self.pointer.is_null() {
            return &[];
        }
        // SAFETY: whoever made the buffer put `length` initialized bytes at `pointer`, and
        // nobody else has the pointer until `drop`.
        unsafe { slice::from_raw_parts(self.pointer, self.length) }
    }
}

impl AsRef<[u8]> for OwnedBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for OwnedBuffer {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: `free` came with these parts and is called once, here.
            unsafe { free(self.pointer, self.length, self.capacity) }
        }
    }
}

impl fmt::Debug for OwnedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnedBuffer({} bytes)", self.length)
    }
}

// SAFETY: a buffer is the only owner of plain bytes, and `free` may be called on any thread.
unsafe impl Send for OwnedBuffer {}
// SAFETY: a shared buffer only reads.
unsafe impl Sync for OwnedBuffer {}
