//! Writes a stamp, in a constant or at run time.

use alloc::vec;
use alloc::vec::Vec;

use super::{CRITICAL, HEADER, Kind, MAGIC, MAJOR, RECORD, Stamp, StampedInterface, tag};

/// An encoded stamp, as it is linked into a plugin.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct Encoded<const N: usize>(pub [u8; N]);

const FOREIGN: &str = "foreign:";

impl Stamp<'_> {
    /// Length of the encoded stamp in bytes.
    pub const fn encoded_length(&self) -> usize {
        // A writer without room only counts.
        self.write(&mut [])
    }

    /// Encodes the stamp; `N` is its [`encoded_length`](Self::encoded_length).
    ///
    /// # Panics
    /// If `N` is another number; in a constant that is a compile error.
    pub const fn encode<const N: usize>(&self) -> Encoded<N> {
        let mut bytes = [0; N];
        assert!(self.write(&mut bytes) == N, "`N` is not the stamp's length");
        Encoded(bytes)
    }

    /// Encodes the stamp at run time.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.encoded_length()];
        self.write(&mut bytes);
        bytes
    }

    /// Writes the stamp to `bytes`, or nothing if they are empty, and gives its length.
    const fn write(&self, bytes: &mut [u8]) -> usize {
        let mut at = HEADER;
        at = record(bytes, at, tag::NAME, CRITICAL, self.name.as_bytes(), &[]);
        at = record(bytes, at, tag::VERSION, CRITICAL, self.version.as_bytes(), &[]);
        at = record(bytes, at, tag::TARGET, CRITICAL, self.target.as_bytes(), &[]);
        at = match self.kind {
            Kind::Keyway => record(bytes, at, tag::KIND, CRITICAL, b"keyway", &[]),
            Kind::Foreign(id) => {
                record(bytes, at, tag::KIND, CRITICAL, FOREIGN.as_bytes(), id.as_bytes())
            }
        };
        if let Some(hash) = &self.toolchain {
            at = record(bytes, at, tag::TOOLCHAIN, 0, hash, &[]);
        }
        if !self.contract.is_empty() {
            at = record(bytes, at, tag::CONTRACT, CRITICAL, self.contract.as_bytes(), &[]);
        }
        let mut rest = self.interfaces.as_slice();
        while let [first, tail @ ..] = rest {
            at = of_interface(bytes, at, tag::INTERFACE, first, first.descriptor);
            if !first.signature.is_empty() {
                at = of_interface(bytes, at, tag::SIGNATURE, first, first.signature);
            }
            rest = tail;
        }
        let facts = &self.facts;
        at = record(bytes, at, tag::PANIC, 0, facts.panic.as_bytes(), &[]);
        at = record(bytes, at, tag::PROCESSOR, 0, facts.processor.as_bytes(), &[]);
        at = record(bytes, at, tag::FLOAT, 0, facts.float.as_bytes(), &[]);
        at = record(bytes, at, tag::C_RUNTIME, 0, facts.c_runtime.as_bytes(), &[]);
        at = record(bytes, at, tag::SANITIZER, 0, facts.sanitizer.as_bytes(), &[]);
        put(bytes, 0, &MAGIC);
        put_number(bytes, 8, MAJOR as usize);
        put_number(bytes, 12, at);
        at
    }
}

/// Writes a record of two parts, and gives where it ends.
const fn record(
    bytes: &mut [u8],
    at: usize,
    tag: u32,
    flags: u32,
    first: &[u8],
    second: &[u8],
) -> usize {
    put_number(bytes, at, tag as usize);
    put_number(bytes, at + 4, flags as usize);
    put_number(bytes, at + 8, first.len() + second.len());
    put(bytes, at + RECORD, first);
    put(bytes, at + RECORD + first.len(), second);
    at + RECORD + first.len() + second.len()
}

/// Writes a record about an interface: its version and id, and a text.
const fn of_interface(
    bytes: &mut [u8],
    at: usize,
    tag: u32,
    of: &StampedInterface<'_>,
    about: &str,
) -> usize {
    let head = [(of.version).to_le_bytes(), (of.id.len() as u32).to_le_bytes()];
    let length = 8 + of.id.len() + about.len();
    put_number(bytes, at, tag as usize);
    put_number(bytes, at + 4, 0);
    put_number(bytes, at + 8, length);
    put(bytes, at + RECORD, head.as_flattened());
    put(bytes, at + RECORD + 8, of.id.as_bytes());
    put(bytes, at + RECORD + 8 + of.id.len(), about.as_bytes());
    at + RECORD + length
}

const fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let (_, rest) = bytes.split_at_mut(at);
    let (place, _) = rest.split_at_mut(value.len());
    place.copy_from_slice(value);
}

const fn put_number(bytes: &mut [u8], at: usize, value: usize) {
    assert!(value <= u32::MAX as usize, "a length must fit into 32 bits");
    put(bytes, at, &(value as u32).to_le_bytes());
}
