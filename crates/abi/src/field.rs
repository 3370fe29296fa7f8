//! What a log line carries beside its message: names and values, as texts that the caller lends.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::slice;

use crate::call::Call;
use crate::describe::{Describe, Type, contract};
use crate::encoding::{Malformed, Reader, write_counted};
use crate::interface::Argument;
use crate::memory::{Slice, Text};

contract! {
    /// A named value of a log line.
    #[derive(Debug, Clone, Copy)]
    closed struct LogField {
        /// What the value is.
        pub name: Text,
        /// The value, written out.
        pub value: Text,
    }
}

/// A named value of a log line, borrowed for `'a`. As an argument, `&[Field<'_>]`, it is checked to
/// be text and ends with the call.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Field<'a> {
    raw: LogField,
    texts: PhantomData<&'a str>,
}

// SAFETY: it is two borrowed texts.
unsafe impl Send for Field<'_> {}
// SAFETY: as above.
unsafe impl Sync for Field<'_> {}

impl<'a> Field<'a> {
    /// The field of this name and value.
    pub const fn new(name: &'a str, value: &'a str) -> Self {
        let raw = LogField { name: Text::new(name), value: Text::new(value) };
        Self { raw, texts: PhantomData }
    }

    /// What the value is.
    pub fn name(&self) -> &'a str {
        // SAFETY: the text is borrowed during `'a`, since `new` or since it was lifted.
        unsafe { self.raw.name.get() }.unwrap_or_default()
    }

    /// The value.
    pub fn value(&self) -> &'a str {
        // SAFETY: as above.
        unsafe { self.raw.value.get() }.unwrap_or_default()
    }

    /// Whether both are text.
    ///
    /// # Safety
    /// The texts must be those that a caller lends.
    unsafe fn is_text(&self) -> bool {
        // SAFETY: the caller vouches for the bytes; whether they are UTF-8 is what is asked.
        unsafe { self.raw.name.get().is_some() && self.raw.value.get().is_some() }
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?}", self.name(), self.value())
    }
}

impl PartialEq for Field<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.name(), self.value()) == (other.name(), other.value())
    }
}

impl Eq for Field<'_> {}

// SAFETY: what crosses is a slice of pairs of texts, each of which is checked; they are borrowed
// for the call.
unsafe impl Argument for &[Field<'_>] {
    const TYPE: &'static Type = <Slice<LogField> as Describe>::TYPE;
    type Wire = Slice<LogField>;
    type Lifted<'call> = &'call [Field<'call>];

    fn lower(self) -> Slice<LogField> {
        // A field is transparent.
        Slice { pointer: self.as_ptr().cast(), length: self.len() }
    }

    unsafe fn lift(wire: Slice<LogField>, _: &Call) -> Option<&[Field<'_>]> {
        let first = wire.first()?.cast::<Field<'_>>().as_ptr();
        // SAFETY: the caller lowered a slice whose elements and texts outlive the call; a field is
        // transparent, and any bits are one. Its texts are read once they are known to be text.
        unsafe {
            let fields = slice::from_raw_parts(first, wire.length);
            fields.iter().all(|field| field.is_text()).then_some(fields)
        }
    }

    type Held = Vec<LogField>;

    fn encode(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(&(self.len() as u64).to_le_bytes());
        for field in *self {
            write_counted(field.name().as_bytes(), output);
            write_counted(field.value().as_bytes(), output);
        }
    }

    fn decode(
        input: &mut Reader<'_>,
        held: &mut Vec<LogField>,
    ) -> Result<Slice<LogField>, Malformed> {
        // Two counts at least.
        for _ in 0..input.count(16)? {
            let name = <&str>::decode(input, &mut ())?;
            let value = <&str>::decode(input, &mut ())?;
            held.push(LogField { name, value });
        }
        Ok(Slice::new(held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cross_as_texts() {
        let fields = [Field::new("book", "gold"), Field::new("", "")];
        let wire = <&[Field<'_>]>::lower(&fields);
        let call = Call::new();
        // SAFETY: the fields outlive the call.
        let lifted = unsafe { <&[Field<'_>]>::lift(wire, &call) }.expect("they are text");
        assert_eq!(lifted, fields);
        assert_eq!((lifted[0].name(), lifted[0].value()), ("book", "gold"));
    }

    #[test]
    fn fields_cross_as_bytes() {
        let fields = [Field::new("book", "gold"), Field::new("", "x")];
        let mut bytes = Vec::new();
        (&fields[..]).encode(&mut bytes);
        assert_eq!(bytes[..20], *b"\x02\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0book");
        let mut held = Vec::new();
        let mut reader = Reader::new(&bytes);
        let wire = <&[Field<'_>]>::decode(&mut reader, &mut held).expect("they are fields");
        assert_eq!(reader.end(), Ok(()));
        let call = Call::new();
        // SAFETY: bytes and fields outlive the call.
        assert_eq!(unsafe { <&[Field<'_>]>::lift(wire, &call) }, Some(&fields[..]));
        for cut in 0..bytes.len() {
            let mut reader = Reader::new(&bytes[..cut]);
            assert!(<&[Field<'_>]>::decode(&mut reader, &mut Vec::new()).is_err(), "{cut}");
        }
        let many = u64::MAX.to_le_bytes();
        assert!(<&[Field<'_>]>::decode(&mut Reader::new(&many), &mut Vec::new()).is_err());
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let bad = Text { pointer: b"\xff".as_ptr(), length: 1 };
        let null = Text { pointer: core::ptr::null(), length: 1 };
        let empty = Text { pointer: core::ptr::null(), length: 0 };
        let call = Call::new();
        for (name, value, valid) in [
            (Text::new("a"), empty, true),
            (Text::new("a"), bad, false),
            (bad, Text::new("a"), false),
            (null, Text::new("a"), false),
        ] {
            let raw = [LogField { name, value }];
            // SAFETY: the fields outlive the call; what their texts are is checked.
            let lifted = unsafe { <&[Field<'_>]>::lift(Slice::new(&raw), &call) };
            assert_eq!(lifted.is_some(), valid);
        }
        let nowhere = Slice::<LogField> { pointer: core::ptr::null(), length: 1 };
        // SAFETY: as above.
        assert!(unsafe { <&[Field<'_>]>::lift(nowhere, &call) }.is_none());
    }
}
