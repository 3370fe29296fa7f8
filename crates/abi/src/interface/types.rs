//! The types that may cross without anybody's derive.

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::slice;

use super::{Argument, Buffer, Layout, Returned};
use crate::call::{Call, PluginError};
use crate::describe::{Describe, Kind, Type};
use crate::encoding::{Malformed, Reader, write_counted, write_elements};
use crate::memory::{OwnedBuffer, Slice, Text};

/// What crosses as it is: a number, or a struct of nothing but one.
macro_rules! as_it_is {
    ($type:ty) => {
        // SAFETY: every bit pattern of a number is one.
        unsafe impl $crate::interface::Layout for $type {
            const ANY_BITS: bool = true;

            #[inline]
            unsafe fn is_valid(_: *const Self) -> bool {
                true
            }
        }

        // SAFETY: it crosses as it is, and borrows nothing.
        unsafe impl $crate::interface::Argument for $type {
            const TYPE: &'static $crate::describe::Type =
                <Self as $crate::describe::Describe>::TYPE;
            type Wire = Self;
            type Lifted<'call> = Self;

            #[inline]
            fn lower(self) -> Self {
                self
            }

            #[inline]
            unsafe fn lift(wire: Self, _: &$crate::call::Call) -> Option<Self> {
                Some(wire)
            }

            type Held = ();

            #[inline]
            fn decode(
                input: &mut $crate::encoding::Reader<'_>,
                (): &mut (),
            ) -> Result<Self, $crate::encoding::Malformed> {
                // SAFETY: it is plain data, and described.
                unsafe { input.plain(<Self as $crate::describe::Describe>::TYPE) }
            }
        }
    };
}

pub(crate) use as_it_is;

macro_rules! scalars {
    ($($type:ty),*) => {$(
        as_it_is!($type);

        // SAFETY: it crosses as it is.
        unsafe impl Returned for $type {
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

// SAFETY: a `bool` is described as one byte, which is checked.
unsafe impl Argument for bool {
    const TYPE: &'static Type = <Self as Describe>::TYPE;
    type Wire = u8;
    type Lifted<'call> = Self;

    #[inline]
    fn lower(self) -> u8 {
        u8::from(self)
    }

    #[inline]
    unsafe fn lift(wire: u8, _: &Call) -> Option<Self> {
        match wire {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    type Held = ();

    fn decode(input: &mut Reader<'_>, (): &mut ()) -> Result<u8, Malformed> {
        // SAFETY: a `bool` is described as a byte.
        unsafe { input.plain(<Self as Describe>::TYPE) }
    }
}

// SAFETY: a `bool` is described as one byte, which is checked.
unsafe impl Returned for bool {
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
        unsafe { <Self as Argument>::lift(wire, &Call::new()) }
    }
}

// SAFETY: an array is valid if each element is.
unsafe impl<T: Layout, const N: usize> Layout for [T; N] {
    const ANY_BITS: bool = {
        assert!(N != 0, "`[T; 0]` can't cross the plugin boundary: C has no type of size zero");
        T::ANY_BITS
    };

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

// SAFETY: what crosses is a slice of the described elements, each checked before it is read as one.
unsafe impl<T: Layout> Argument for &[T] {
    const TYPE: &'static Type = <Slice<T> as Describe>::TYPE;
    type Wire = Slice<T>;
    type Lifted<'call> = &'call [T];

    #[inline]
    fn lower(self) -> Slice<T> {
        Slice::new(self)
    }

    #[inline]
    unsafe fn lift(wire: Slice<T>, _: &Call) -> Option<&[T]> {
        let first = wire.first()?.as_ptr();
        // SAFETY: the caller lowered a slice of `T` that outlives the call; its elements are
        // checked before they are read as `T`.
        unsafe { all_valid(first, wire.length).then(|| slice::from_raw_parts(first, wire.length)) }
    }

    type Held = Vec<T>;

    fn encode(&self, output: &mut Vec<u8>) {
        write_elements(self, output);
    }

    fn decode(input: &mut Reader<'_>, held: &mut Vec<T>) -> Result<Slice<T>, Malformed> {
        *held = input.elements()?;
        Ok(Slice::new(held))
    }
}

// SAFETY: as above, and every bit pattern is an element.
unsafe impl<T: Layout> Argument for &mut [T] {
    const TYPE: &'static Type = {
        // The callee's values would have to be checked after the call, when it is too late: the
        // caller's slice already holds them.
        assert!(
            T::ANY_BITS,
            "`&mut [T]` crosses only if every bit pattern is a `T`: no `bool` or enum inside"
        );
        &Type::of::<Slice<T>>(Kind::Slice { mutable: true, of: T::TYPE })
    };
    type Wire = Slice<T>;
    type Lifted<'call> = &'call mut [T];

    #[inline]
    fn lower(self) -> Slice<T> {
        Slice::new_mut(self)
    }

    #[inline]
    unsafe fn lift(wire: Slice<T>, _: &Call) -> Option<&mut [T]> {
        let first = wire.first()?.as_ptr();
        // SAFETY: the caller lowered an exclusive slice of `T` that outlives the call, and every
        // bit pattern is a `T`.
        Some(unsafe { slice::from_raw_parts_mut(first, wire.length) })
    }

    type Held = Vec<T>;

    fn encode(&self, output: &mut Vec<u8>) {
        write_elements(self, output);
    }

    fn decode(input: &mut Reader<'_>, held: &mut Vec<T>) -> Result<Slice<T>, Malformed> {
        *held = input.elements()?;
        Ok(Slice::new_mut(held))
    }

    fn give_back(held: &Vec<T>, output: &mut Vec<u8>) {
        write_elements(held, output);
    }

    fn take_back(&mut self, input: &mut Reader<'_>) -> Result<(), Malformed> {
        let elements = input.elements()?;
        if elements.len() != self.len() {
            return Err(input.malformed("a changed slice of another length"));
        }
        self.copy_from_slice(&elements);
        Ok(())
    }
}

// SAFETY: what crosses is a text, which is checked to be one.
unsafe impl Argument for &str {
    const TYPE: &'static Type = <Text as Describe>::TYPE;
    type Wire = Text;
    type Lifted<'call> = &'call str;

    #[inline]
    fn lower(self) -> Text {
        Text::new(self)
    }

    #[inline]
    unsafe fn lift(wire: Text, _: &Call) -> Option<&str> {
        // SAFETY: the caller lowered text that outlives the call; that it is UTF-8 is checked.
        unsafe { wire.get() }
    }

    type Held = ();

    fn encode(&self, output: &mut Vec<u8>) {
        write_counted(self.as_bytes(), output);
    }

    fn decode(input: &mut Reader<'_>, (): &mut ()) -> Result<Text, Malformed> {
        let text = core::str::from_utf8(input.counted()?);
        text.map(Text::new).map_err(|_| input.malformed("the text before is not UTF-8"))
    }
}

// SAFETY: it crosses as it is, and borrows nothing.
unsafe impl Argument for OwnedBuffer {
    const TYPE: &'static Type = <Self as Describe>::TYPE;
    type Wire = Self;
    type Lifted<'call> = Self;

    fn lower(self) -> Self {
        self
    }

    unsafe fn lift(wire: Self, _: &Call) -> Option<Self> {
        Some(wire)
    }

    type Held = ();

    fn encode(&self, output: &mut Vec<u8>) {
        write_counted(self, output);
    }

    fn decode(input: &mut Reader<'_>, (): &mut ()) -> Result<Self, Malformed> {
        Ok(input.counted()?.to_vec().into())
    }
}

// SAFETY: it crosses as it is.
unsafe impl Returned for OwnedBuffer {
    const TYPE: &'static Type = <Self as Describe>::TYPE;
    type Wire = Self;
    type Host<'a> = Buffer<'a>;

    fn lower(self) -> Result<Self, PluginError> {
        Ok(self)
    }

    unsafe fn lift<'a>(wire: Self) -> Option<Buffer<'a>> {
        Some(Buffer { bytes: wire, plugin: PhantomData })
    }

    unsafe fn encode(wire: Self, output: &mut Vec<u8>) {
        write_counted(&wire, output);
    }

    fn decode<'a>(input: &mut Reader<'_>) -> Result<Buffer<'a>, Malformed> {
        Ok(Buffer { bytes: input.counted()?.to_vec().into(), plugin: PhantomData })
    }
}

// SAFETY: nothing crosses.
unsafe impl Returned for () {
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

// SAFETY: the error crosses beside the value, which crosses as without one.
unsafe impl<T: Returned> Returned for Result<T, PluginError> {
    const TYPE: &'static Type = T::TYPE;
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

    unsafe fn encode(wire: T::Wire, output: &mut Vec<u8>) {
        // SAFETY: the caller's promise is the same.
        unsafe { T::encode(wire, output) }
    }

    fn decode<'a>(input: &mut Reader<'_>) -> Result<T::Host<'a>, Malformed> {
        T::decode(input)
    }
}
