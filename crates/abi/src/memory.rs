//! Bytes that cross: borrowed for the time of a call, or owned and freed by their maker.

use alloc::vec::Vec;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::{ptr, slice};

use crate::describe::contract;

contract! {
    /// Elements that the caller owns and the callee may use until it returns.
    #[derive(Debug, Clone, Copy)]
    pub struct Slice {
        /// The first element. Never null and always aligned, even when there is no element.
        pub pointer: *const u8,
        /// How many elements.
        pub length: usize,
    }

    /// UTF-8 that the caller owns and the callee may use until it returns.
    #[derive(Debug, Clone, Copy)]
    pub struct Text {
        /// The first byte. Never null, even when there is none.
        pub pointer: *const u8,
        /// How many bytes.
        pub length: usize,
    }

    /// Bytes that one side made and the other uses; dropping it frees them on their maker's side.
    pub struct OwnedBuffer {
        /// The first byte; any pointer if `length` is 0.
        pub pointer: *mut u8,
        /// How many bytes.
        pub length: usize,
        /// How many bytes were allocated; only `free` uses it.
        pub capacity: usize,
        /// Frees `pointer`, given the three fields above. Null if there is nothing to free.
        pub free: Option<unsafe extern "C" fn(*mut u8, usize, usize)>,
    }
}

impl Slice {
    /// Borrows `elements`. The result carries no lifetime: it must not be used for longer.
    pub const fn new<T>(elements: &[T]) -> Self {
        Self { pointer: elements.as_ptr().cast(), length: elements.len() }
    }

    /// Borrows `elements` for the callee to change.
    pub const fn new_mut<T>(elements: &mut [T]) -> Self {
        Self { pointer: elements.as_mut_ptr().cast_const().cast(), length: elements.len() }
    }

    /// The bytes.
    ///
    /// # Safety
    /// `pointer` must point to `length` initialized bytes that nobody changes during `'a`.
    pub const unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: the caller vouches for pointer, length and lifetime.
        unsafe { slice::from_raw_parts(self.pointer, self.length) }
    }
}

impl Text {
    /// Borrows `text`. The result carries no lifetime: it must not be used for longer.
    pub const fn new(text: &str) -> Self {
        Self { pointer: text.as_ptr(), length: text.len() }
    }

    /// The text, or `None` if the bytes are not UTF-8.
    ///
    /// # Safety
    /// `pointer` must point to `length` initialized bytes that nobody changes during `'a`.
    pub const unsafe fn get<'a>(self) -> Option<&'a str> {
        // SAFETY: the caller vouches for pointer, length and lifetime.
        let bytes = unsafe { slice::from_raw_parts(self.pointer, self.length) };
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
        if self.length == 0 {
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
