//! Every type that may cross, as bytes and back, and bytes that are none.

mod calls;

use alloc::string::ToString;
use alloc::vec;
use core::fmt::Debug;
use core::mem::{MaybeUninit, offset_of};

use super::*;
use crate::call::{Call, PluginError};
use crate::describe::{Describe, Field, Variant};
use crate::interface::{Argument, Returned};

/// Makes a type with a layout an argument and a result, as `#[derive(Layout)]` does.
macro_rules! crossing {
    ($type:ty) => {
        // SAFETY: what crosses is described, and checked before it is read.
        unsafe impl Argument for $type {
            const TYPE: &'static Type = <Self as Describe>::TYPE;
            type Wire = MaybeUninit<Self>;
            type Lifted<'call> = Self;

            fn lower(self) -> Self::Wire {
                MaybeUninit::new(self)
            }

            unsafe fn lift(wire: Self::Wire, _: &Call) -> Option<Self> {
                // SAFETY: it is read as this type only if its bytes are a value.
                unsafe { Self::is_valid(wire.as_ptr()).then(|| wire.assume_init()) }
            }

            type Held = ();

            fn decode(input: &mut Reader<'_>, (): &mut ()) -> Result<Self::Wire, Malformed> {
                Ok(MaybeUninit::new(input.value::<Self>()?))
            }
        }

        // SAFETY: as above.
        unsafe impl Returned for $type {
            const TYPE: &'static Type = <Self as Describe>::TYPE;
            type Wire = MaybeUninit<Self>;
            type Host<'a> = Self;

            fn lower(self) -> Result<Self::Wire, PluginError> {
                Ok(MaybeUninit::new(self))
            }

            unsafe fn lift<'a>(wire: Self::Wire) -> Option<Self::Host<'a>> {
                // SAFETY: as above.
                unsafe { Self::is_valid(wire.as_ptr()).then(|| wire.assume_init()) }
            }
        }
    };
}

/// Declares an enum, and the values that it has.
macro_rules! closed_enum {
    ($name:ident: $integer:ident { $($variant:ident = $value:expr),* }) => {
        #[derive(Debug, Clone, Copy, PartialEq)]
        #[repr($integer)]
        enum $name { $($variant = $value),* }

        // SAFETY: the values are those of the enum.
        unsafe impl Describe for $name {
            const TYPE: &'static Type = &Type::of::<Self>(Kind::Enum {
                name: stringify!($name),
                repr: <$integer as Describe>::TYPE,
                growth: Growth::Closed,
                variants: &[$(Variant {
                    name: stringify!($variant),
                    value: $value as $integer as i128,
                    docs: "",
                }),*],
            });
        }

        // SAFETY: as above.
        unsafe impl Layout for $name {
            const ANY_BITS: bool = false;

            unsafe fn is_valid(at: *const Self) -> bool {
                // SAFETY: the caller vouches for the bytes.
                let value = unsafe { at.cast::<$integer>().read() };
                [$($value as $integer),*].contains(&value)
            }
        }

        crossing!($name);
    };
}

closed_enum!(Color: i16 { Red = -7, Orange = -6, Blue = 300 });
closed_enum!(Wide: u64 { Small = 1, Large = u64::MAX });
closed_enum!(Deep: i64 { Lowest = i64::MIN, None = -1, Highest = i64::MAX });
closed_enum!(Narrow: i8 { Minus = -1, Plus = 127 });

/// Padding between its fields and after them, and a field that is wider as bytes on 32 bits.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
struct Pixel {
    lit: bool,
    weight: f64,
    color: Color,
    rgb: [u8; 3],
    place: usize,
    last: u8,
}

/// A field of [`Pixel`].
macro_rules! field {
    ($name:ident: $type:ty) => {
        Field {
            name: stringify!($name),
            offset: offset_of!(Pixel, $name),
            of: <$type as Describe>::TYPE,
            docs: "",
        }
    };
}

// SAFETY: the fields are those of the struct.
unsafe impl Describe for Pixel {
    const TYPE: &'static Type = &Type::of::<Self>(Kind::Struct {
        name: "Pixel",
        parameter: None,
        growth: Growth::Closed,
        fields: &[
            field!(lit: bool),
            field!(weight: f64),
            field!(color: Color),
            field!(rgb: [u8; 3]),
            field!(place: usize),
            field!(last: u8),
        ],
    });
}

// SAFETY: every field is checked that has bits which are no value.
unsafe impl Layout for Pixel {
    const ANY_BITS: bool = false;

    unsafe fn is_valid(at: *const Self) -> bool {
        // SAFETY: the caller vouches for the bytes.
        unsafe { bool::is_valid(&raw const (*at).lit) && Color::is_valid(&raw const (*at).color) }
    }
}

crossing!(Pixel);

const PIXEL: Pixel = Pixel {
    lit: true,
    weight: 0.5,
    color: Color::Orange,
    rgb: [1, 2, 3],
    place: 0x0403_0201,
    last: 9,
};
#[rustfmt::skip]
const PIXEL_BYTES: [u8; 23] = [
    1,
    0, 0, 0, 0, 0, 0, 0xe0, 0x3f,
    0xfa, 0xff,
    1, 2, 3,
    1, 2, 3, 4, 0, 0, 0, 0,
    9,
];

fn encoded<A: Argument>(argument: &A) -> Vec<u8> {
    let mut output = Vec::new();
    argument.encode(&mut output);
    output
}

/// Decodes an argument, makes sure that nothing is left, and gives it to `check`.
fn decoded<A: Argument, T>(
    bytes: &[u8],
    check: impl FnOnce(Option<A::Lifted<'_>>) -> T,
) -> Result<T, Malformed> {
    let (mut reader, mut held) = (Reader::new(bytes), A::Held::default());
    let wire = A::decode(reader.next_argument(), &mut held)?;
    let call = Call::new();
    // SAFETY: it was decoded, and what it borrows is kept.
    let lifted = check(unsafe { A::lift(wire, &call) });
    reader.end()?;
    Ok(lifted)
}

/// What is said of bytes that are no `A`.
fn refused<A: Argument>(bytes: &[u8]) -> String {
    decoded::<A, _>(bytes, |_| ()).expect_err("they are none").to_string()
}

/// `bytes` are what is read, no part of them is, and nothing may follow them.
fn check_whole<T>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<T, Malformed>) {
    assert!(read(bytes).is_ok(), "{bytes:?}");
    for end in 0..bytes.len() {
        let malformed = read(&bytes[..end]).err().expect("it is cut");
        assert!(malformed.offset <= end, "{malformed} of {end}");
        let told = ["cut off", "more elements than bytes are left"];
        assert!(told.contains(&malformed.problem), "{malformed}");
    }
    let longer = [bytes, &[0]].concat();
    let malformed = read(&longer).err().expect("it is longer");
    assert_eq!((malformed.problem, malformed.offset), ("bytes are left", bytes.len()));
}

/// `value` is `bytes` as an argument, as a result, and as one that may fail.
fn check<T>(value: T, bytes: &[u8])
where
    T: Copy + PartialEq + Debug,
    for<'a> T: Argument<Lifted<'a> = T> + Returned<Host<'a> = T>,
{
    assert_eq!(encoded(&value), bytes, "{value:?}");
    let is_it = |lifted: Option<T>| lifted == Some(value);
    assert_eq!(decoded::<T, _>(bytes, is_it), Ok(true), "{value:?}");
    check_whole(bytes, |bytes| decoded::<T, _>(bytes, |_| ()));
    check_result(value, bytes, |result| *result == value);
    check_result(Ok::<T, PluginError>(value), bytes, |result| *result == value);
}

fn check_result<R: Returned>(
    result: R,
    bytes: &[u8],
    is_it: impl for<'a> Fn(&R::Host<'a>) -> bool,
) {
    let mut output = Vec::new();
    let wire = result.lower().expect("a value");
    // SAFETY: it comes from `lower` of the type.
    unsafe { R::encode(wire, &mut output) };
    assert_eq!(output, bytes);
    check_whole(bytes, |bytes| {
        let mut reader = Reader::new(bytes);
        let value = R::decode(&mut reader)?;
        assert!(is_it(&value));
        reader.end()
    });
}

/// A count and what follows.
fn counted(count: u64, bytes: &[u8]) -> Vec<u8> {
    [&count.to_le_bytes(), bytes].concat()
}

#[test]
fn numbers_are_little_endian() {
    check(0xfe_u8, &[0xfe]);
    check(0x0102_u16, &[2, 1]);
    check(0x0102_0304_u32, &[4, 3, 2, 1]);
    check(0x0102_0304_0506_0708_u64, &[8, 7, 6, 5, 4, 3, 2, 1]);
    check(-2_i8, &[0xfe]);
    check(-2_i16, &[0xfe, 0xff]);
    check(-0x0102_0304_i32, &[0xfc, 0xfc, 0xfd, 0xfe]);
    check(i64::MIN, &[0, 0, 0, 0, 0, 0, 0, 0x80]);
    check(1.5_f32, &[0, 0, 0xc0, 0x3f]);
    check(-2.5_f64, &[0, 0, 0, 0, 0, 0, 4, 0xc0]);
    check(true, &[1]);
    check(false, &[0]);
    check_result((), &[], |()| true);
}

#[test]
fn sizes_have_eight_bytes_on_every_target() {
    check(0x0102_0304_usize, &[4, 3, 2, 1, 0, 0, 0, 0]);
    check(0x0102_0304_isize, &[4, 3, 2, 1, 0, 0, 0, 0]);
    check(-2_isize, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let largest = (usize::MAX as u64).to_le_bytes();
    check(usize::MAX, &largest);
    check(isize::MIN, &(isize::MIN as i64).to_le_bytes());
    check(isize::MAX, &(isize::MAX as i64).to_le_bytes());
    // What only a callee with larger ones could take.
    let too_large = [0, 0, 0, 0, 1, 0, 0, 0];
    let too_small = [0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff];
    if cfg!(target_pointer_width = "32") {
        assert_eq!(refused::<usize>(&too_large), "argument 0, byte 0: no `usize` here");
        assert_eq!(refused::<isize>(&too_large), "argument 0, byte 0: no `isize` here");
        assert_eq!(refused::<isize>(&too_small), "argument 0, byte 0: no `isize` here");
        let second = counted(2, &[largest, too_large].concat());
        assert_eq!(refused::<&[usize]>(&second), "argument 0, byte 16: no `usize` here");
    } else {
        check(1_usize << 32, &too_large);
        check(-0x8000_0001_isize, &too_small);
    }
}

/// Every bit pattern of a float is kept, those of signalling NaNs too.
#[test]
fn floats_keep_their_bits() {
    for bits in [0x7fa0_0001_u32, 0xffc0_0002, 0x8000_0000, 1] {
        let bytes = encoded(&[f32::from_bits(bits)].as_slice());
        assert_eq!(bytes[8..], bits.to_le_bytes());
        let read = |lifted: Option<&[f32]>| lifted.map(|floats| floats[0].to_bits());
        assert_eq!(decoded::<&[f32], _>(&bytes, read), Ok(Some(bits)));
    }
}

#[test]
fn enums_are_their_integer() {
    check(Color::Red, &[0xf9, 0xff]);
    check(Color::Orange, &[0xfa, 0xff]);
    check(Color::Blue, &[44, 1]);
    check(Wide::Small, &[1, 0, 0, 0, 0, 0, 0, 0]);
    check(Wide::Large, &[0xff; 8]);
    check(Deep::Lowest, &[0, 0, 0, 0, 0, 0, 0, 0x80]);
    check(Deep::None, &[0xff; 8]);
    check(Deep::Highest, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    check(Narrow::Minus, &[0xff]);
    check(Narrow::Plus, &[127]);
    let none = "argument 0, byte 0: no value of the enum";
    for bytes in [[0, 0], [0xf9, 0], [0xf9, 0xfe], [44, 0]] {
        assert_eq!(refused::<Color>(&bytes), none);
    }
    assert_eq!(refused::<Wide>(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), none);
    assert_eq!(refused::<Deep>(&[0; 8]), none);
    assert_eq!(refused::<Narrow>(&[0x80]), none);
    // A list of codes may grow, so any number is one.
    let mut reader = Reader::new(&[5, 0, 0, 0xff]);
    // SAFETY: a status is a number, and described as one.
    let status = unsafe { reader.plain::<CallStatus>(<CallStatus as Describe>::TYPE) };
    assert_eq!(status, Ok(CallStatus(0xff00_0005)));
}

#[test]
fn structs_and_arrays_are_their_parts_without_padding() {
    check(PIXEL, &PIXEL_BYTES);
    assert_eq!(width(<Pixel as Describe>::TYPE), PIXEL_BYTES.len());
    let rows = [[0x0102_u16, 0x0304], [0x0506, 0x0708]];
    let bytes = counted(2, &[2, 1, 4, 3, 6, 5, 8, 7]);
    assert_eq!(encoded(&rows.as_slice()), bytes);
    let read = |lifted: Option<&[[u16; 2]]>| lifted == Some(&rows);
    assert_eq!(decoded::<&[[u16; 2]], _>(&bytes, read), Ok(true));
}

#[test]
fn each_part_of_a_struct_is_checked() {
    let with = |at: usize, byte: u8| {
        let mut bytes = PIXEL_BYTES;
        bytes[at] = byte;
        bytes
    };
    assert_eq!(refused::<Pixel>(&with(0, 2)), "argument 0, byte 0: no `bool`");
    assert_eq!(refused::<Pixel>(&with(9, 0)), "argument 0, byte 9: no value of the enum");
    let second = counted(2, &[PIXEL_BYTES, with(9, 0)].concat());
    assert_eq!(refused::<&[Pixel]>(&second), "argument 0, byte 40: no value of the enum");
    assert_eq!(refused::<bool>(&[2]), "argument 0, byte 0: no `bool`");
    assert_eq!(refused::<&[bool]>(&counted(2, &[1, 0x81])), "argument 0, byte 9: no `bool`");
}

#[test]
fn slices_are_a_count_and_elements() {
    fn check<T: Layout + PartialEq + Debug>(elements: &[T], bytes: &[u8]) {
        let bytes = counted(elements.len() as u64, bytes);
        assert_eq!(encoded(&elements), bytes);
        let read = |lifted: Option<&[T]>| lifted == Some(elements);
        assert_eq!(decoded::<&[T], _>(&bytes, read), Ok(true), "{elements:?}");
        check_whole(&bytes, |bytes| decoded::<&[T], _>(bytes, |_| ()));
    }
    check::<u8>(&[], &[]);
    check::<Pixel>(&[], &[]);
    check(b"abc", b"abc");
    check(&[0x0102_u16, 3], &[2, 1, 3, 0]);
    check(&[true, false], &[1, 0]);
    check(&[1_usize, 2], &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    check(&[Color::Blue, Color::Red], &[44, 1, 0xf9, 0xff]);
    check(&[PIXEL, PIXEL], &[PIXEL_BYTES, PIXEL_BYTES].concat());
}

#[test]
fn texts_and_buffers_are_a_count_and_bytes() {
    let text = "aé";
    let bytes = counted(3, &[b'a', 0xc3, 0xa9]);
    assert_eq!(encoded(&text), bytes);
    assert_eq!(decoded::<&str, _>(&bytes, |lifted| lifted == Some(text)), Ok(true));
    check_whole(&bytes, |bytes| decoded::<&str, _>(bytes, |_| ()));
    assert_eq!(decoded::<&str, _>(&[0; 8], |lifted| lifted == Some("")), Ok(true));
    let cut = counted(2, &[b'a', 0xc3]);
    assert_eq!(refused::<&str>(&cut), "argument 0, byte 10: the text before is not UTF-8");

    let buffer = OwnedBuffer::from(vec![0xff, 0]);
    let bytes = counted(2, &[0xff, 0]);
    assert_eq!(encoded(&buffer), bytes);
    let read = |lifted: Option<OwnedBuffer>| lifted.is_some_and(|lifted| *lifted == [0xff, 0]);
    assert_eq!(decoded::<OwnedBuffer, _>(&bytes, read), Ok(true));
    check_result(buffer, &bytes, |buffer| **buffer == [0xff, 0]);
    check_result(OwnedBuffer::new(), &[0; 8], |buffer| buffer.is_empty());
}

#[test]
fn what_the_callee_changed_comes_back() {
    let mut numbers = [1_u16, 2];
    let (input, mut held) = (encoded(&numbers.as_mut_slice()), Vec::new());
    let wire = <&mut [u16]>::decode(&mut Reader::new(&input), &mut held).expect("a slice");
    let call = Call::new();
    // SAFETY: it was decoded, and its elements are held.
    let lifted = unsafe { <&mut [u16]>::lift(wire, &call) }.expect("a slice");
    lifted[1] = 0x0304;
    let mut output = Vec::new();
    <&mut [u16]>::give_back(&held, &mut output);
    assert_eq!(output, counted(2, &[1, 0, 4, 3]));
    let mut taken = &mut numbers[..];
    check_whole(&output, |bytes| {
        let (mut copy, mut reader) = ([0_u16; 2], Reader::new(bytes));
        copy.as_mut_slice().take_back(&mut reader).and_then(|()| reader.end())
    });
    assert_eq!(taken.take_back(&mut Reader::new(&output)), Ok(()));
    assert_eq!(numbers, [1, 0x0304]);
    // With another number of elements it is no answer, and nothing is changed.
    for count in [0, 1] {
        let bytes = counted(count, &[9, 9][..2 * count as usize]);
        let malformed = numbers.as_mut_slice().take_back(&mut Reader::new(&bytes));
        let problem = malformed.expect_err("it is another length").problem;
        assert_eq!(problem, "a changed slice of another length");
    }
    assert_eq!(numbers, [1, 0x0304]);
}

/// A count is believed only if the bytes of its elements are there, however it is multiplied.
#[test]
fn hostile_counts_are_refused() {
    fn check<A: Argument>(count: u64) {
        // After another argument, so that it is told where the count stands.
        let input = [&[7][..], &counted(count, &[0; 8])].concat();
        let mut reader = Reader::new(&input);
        assert_eq!(<u8 as Argument>::decode(reader.next_argument(), &mut ()), Ok(7));
        let malformed = A::decode(reader.next_argument(), &mut A::Held::default()).err();
        let problem = "more elements than bytes are left";
        assert_eq!(malformed, Some(Malformed { argument: Some(1), offset: 1, problem }), "{count}");
    }
    // Among them those that wrap to nothing when multiplied, on 32 bits and on 64.
    let powers = [4, 16, 28, 29, 30, 31, 32, 60, 61, 62, 63].map(|power| 1_u64 << power);
    let counts = powers.into_iter().flat_map(|power| [power, power + 1, power.wrapping_neg()]);
    for count in counts.chain([9, 15, u64::MAX]) {
        check::<&[u8]>(count);
        check::<&[u16]>(count);
        check::<&[usize]>(count);
        check::<&mut [u64]>(count);
        check::<&[[u32; 3]]>(count);
        check::<&[Pixel]>(count);
        check::<&str>(count);
        check::<OwnedBuffer>(count);
    }
    check::<&[u16]>(5);
    check::<&[usize]>(2);
    check::<&[Pixel]>(1);
}

#[test]
fn a_reader_says_where_it_stands() {
    let mut reader = Reader::new(&[1, 2, 0, 9]);
    assert_eq!(reader.next_argument().value::<u8>(), Ok(1));
    assert_eq!(reader.next_argument().value::<u16>(), Ok(2));
    assert_eq!(
        reader.next_argument().value::<u16>().expect_err("a byte is missing").to_string(),
        "argument 2, byte 3: cut off"
    );
    // What was not read is still there.
    let left = Malformed { argument: None, offset: 3, problem: "bytes are left" };
    assert_eq!(reader.end(), Err(left));
    assert_eq!(left.to_string(), "byte 3: bytes are left");
    assert_eq!(reader.value::<u8>(), Ok(9));
    assert_eq!(reader.end(), Ok(()));
}
