//! The stamp: the record linked into a plugin that says what it is, readable from the file alone.
//!
//! It is an exported static ([`SYMBOL`]) in a section of its own ([`SECTION`]), made of plain bytes
//! without a pointer, so no relocation and no loader is needed to read it. All numbers are
//! little-endian on every target.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | [`MAGIC`] |
//! | 8 | 4 | [`FORMAT_VERSION`] |
//! | 12 | 4 | length of the whole stamp |
//! | 16 | 32 | toolchain hash; all zero: unpinned, built outside an image |
//! | 48 | 4 | length of the plugin's name |
//! | 52 | 4 | length of the plugin's version |
//! | 56 | 4 | length of the target triple |
//! | 60 | 4 | length of the interface's name; 0: the plugin has none |
//! | 64 | 4 | length of the layout descriptor |
//! | 68 | … | those five texts, UTF-8, in this order, nothing between them |
//!
//! What follows the stamp in its section is padding and is ignored. The format version changes
//! when a reader of the old one would misread the new one.

use core::fmt;

/// The first bytes of every stamp. A file that went through a text-mode transfer loses it.
pub const MAGIC: [u8; 8] = *b"KEYWAY\r\n";

/// The format version that this crate reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// Name of the exported static.
pub const SYMBOL: &str = "KEYWAY_STAMP";

/// Name of the section in ELF and PE files.
pub const SECTION: &str = ".keyway";

/// Segment and name of the section in Mach-O files.
pub const SECTION_MACHO: (&str, &str) = ("__DATA", "__keyway");

/// The target triple that this crate was compiled for.
pub const TARGET: &str = env!("KEYWAY_TARGET");

/// Length of the part before the texts.
const HEADER: usize = 68;

/// A stamp, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp<'a> {
    /// The plugin's name: its package's.
    pub name: &'a str,
    /// The plugin's version: its package's.
    pub version: &'a str,
    /// The target triple that it was compiled for.
    pub target: &'a str,
    /// Name of its typed interface, empty if it has none.
    pub interface: &'a str,
    /// Its layout descriptor, whose SHA-256 is its ABI hash.
    pub descriptor: &'a str,
    /// Hash of the toolchain that compiled it; `None` if it was built outside an image.
    pub toolchain: Option<[u8; 32]>,
}

/// An encoded stamp, as it is linked into a plugin.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct Encoded<const N: usize>(pub [u8; N]);

/// Why bytes are no stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StampError {
    /// They end before the stamp does.
    Truncated {
        /// How many bytes the stamp needs.
        needed: u64,
        /// How many there are.
        found: usize,
    },
    /// They do not begin with [`MAGIC`].
    Magic,
    /// The stamp is of a format that this reader does not know.
    Version {
        /// The version that the stamp names.
        found: u32,
    },
    /// The length of the whole is not the sum of the lengths of the parts.
    Length {
        /// The length that the stamp names.
        found: u32,
        /// The sum of its parts.
        expected: u64,
    },
    /// A text is not UTF-8, has control characters, or is empty and must not be.
    Text {
        /// Which text.
        field: &'static str,
    },
}

impl fmt::Display for StampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, found } => {
                write!(f, "the stamp needs {needed} bytes, only {found} are there")
            }
            Self::Magic => f.write_str("the stamp does not begin with its magic bytes"),
            Self::Version { found } => {
                write!(f, "the stamp has format version {found}, expected {FORMAT_VERSION}")
            }
            Self::Length { found, expected } => {
                write!(f, "the stamp says it is {found} bytes long, its parts are {expected}")
            }
            Self::Text { field } => {
                write!(f, "the stamp's {field} is empty, not UTF-8, or has control characters")
            }
        }
    }
}

impl core::error::Error for StampError {}

impl<'a> Stamp<'a> {
    /// Reads the stamp at the start of `bytes`, which may go on after it.
    ///
    /// The bytes may be anything: nothing is allocated, no length is trusted.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StampError> {
        let truncated = |needed| StampError::Truncated { needed, found: bytes.len() };
        let start = &bytes[..bytes.len().min(MAGIC.len())];
        if start != &MAGIC[..start.len()] {
            return Err(StampError::Magic);
        }
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(truncated(HEADER as u64));
        };
        let number = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let version = number(8);
        if version != FORMAT_VERSION {
            return Err(StampError::Version { found: version });
        }
        let lengths = [48, 52, 56, 60, 64].map(number);
        let expected = HEADER as u64 + lengths.iter().map(|length| u64::from(*length)).sum::<u64>();
        let total = number(12);
        if u64::from(total) != expected {
            return Err(StampError::Length { found: total, expected });
        }
        let mut rest = rest;
        let mut text = |length: u32, field| {
            let (text, tail) = rest.split_at_checked(length as usize).ok_or(truncated(expected))?;
            rest = tail;
            let text = core::str::from_utf8(text).map_err(|_| StampError::Text { field })?;
            let multiline = field == "descriptor";
            let clean = text.chars().all(|c| !c.is_control() || multiline && c == '\n');
            let present = !text.is_empty() || field == "interface";
            if clean && present { Ok(text) } else { Err(StampError::Text { field }) }
        };
        let [name, version, target, interface, descriptor] = lengths;
        let name = text(name, "name")?;
        let version = text(version, "version")?;
        let target = text(target, "target")?;
        let interface = text(interface, "interface")?;
        let descriptor = text(descriptor, "descriptor")?;
        let mut toolchain = [0; 32];
        toolchain.copy_from_slice(&header[16..48]);
        let toolchain = (toolchain != [0; 32]).then_some(toolchain);
        Ok(Self { name, version, target, interface, descriptor, toolchain })
    }

    /// Length of the encoded stamp in bytes.
    pub const fn encoded_length(&self) -> usize {
        HEADER
            + self.name.len()
            + self.version.len()
            + self.target.len()
            + self.interface.len()
            + self.descriptor.len()
    }

    /// Encodes the stamp; `N` is its [`encoded_length`](Self::encoded_length).
    ///
    /// # Panics
    /// If `N` is another number; in a constant that is a compile error.
    pub const fn encode<const N: usize>(&self) -> Encoded<N> {
        assert!(N == self.encoded_length(), "`N` is not the stamp's length");
        let mut bytes = [0; N];
        let mut at = 0;
        at = put(&mut bytes, at, &MAGIC);
        at = put_number(&mut bytes, at, FORMAT_VERSION as usize);
        at = put_number(&mut bytes, at, N);
        at = match &self.toolchain {
            Some(hash) => put(&mut bytes, at, hash),
            None => put(&mut bytes, at, &[0; 32]),
        };
        at = put_number(&mut bytes, at, self.name.len());
        at = put_number(&mut bytes, at, self.version.len());
        at = put_number(&mut bytes, at, self.target.len());
        at = put_number(&mut bytes, at, self.interface.len());
        at = put_number(&mut bytes, at, self.descriptor.len());
        at = put(&mut bytes, at, self.name.as_bytes());
        at = put(&mut bytes, at, self.version.as_bytes());
        at = put(&mut bytes, at, self.target.as_bytes());
        at = put(&mut bytes, at, self.interface.as_bytes());
        at = put(&mut bytes, at, self.descriptor.as_bytes());
        assert!(at == N, "every byte is written");
        Encoded(bytes)
    }
}

const fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> usize {
    let (_, rest) = bytes.split_at_mut(at);
    let (place, _) = rest.split_at_mut(value.len());
    place.copy_from_slice(value);
    at + value.len()
}

const fn put_number(bytes: &mut [u8], at: usize, value: usize) -> usize {
    assert!(value <= u32::MAX as usize, "a length must fit into 32 bits");
    put(bytes, at, &(value as u32).to_le_bytes())
}

/// The toolchain hash that `KEYWAY_TOOLCHAIN_HASH` gave the compiler; `None` if it was not set.
///
/// # Panics
/// If the value is not 64 lowercase hexadecimal digits, or all zero, which means unpinned; in a
/// constant that is a compile error.
pub const fn toolchain_hash(variable: Option<&str>) -> Option<[u8; 32]> {
    let Some(digits) = variable else { return None };
    let digits = digits.as_bytes();
    assert!(digits.len() == 64, "`KEYWAY_TOOLCHAIN_HASH` is not 64 hexadecimal digits");
    let mut hash = [0; 32];
    let mut any = 0;
    let mut at = 0;
    while at < 32 {
        hash[at] = nibble(digits[2 * at]) << 4 | nibble(digits[2 * at + 1]);
        any |= hash[at];
        at += 1;
    }
    assert!(any != 0, "`KEYWAY_TOOLCHAIN_HASH` is all zero, which means unpinned: leave it unset");
    Some(hash)
}

const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => panic!("`KEYWAY_TOOLCHAIN_HASH` is not 64 lowercase hexadecimal digits"),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    const PLAIN: Stamp<'_> = Stamp {
        name: "greet",
        version: "0.1.0",
        target: "x86_64-unknown-linux-gnu",
        interface: "",
        descriptor: "contract: version 1\n",
        toolchain: Some([0xab; 32]),
    };
    const ENCODED: Encoded<{ PLAIN.encoded_length() }> = PLAIN.encode();

    fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<(), StampError> {
        let mut bytes = ENCODED.0.to_vec();
        change(&mut bytes);
        Stamp::parse(&bytes).map(|_| ())
    }

    #[test]
    fn reads_what_it_wrote() {
        assert_eq!(Stamp::parse(&ENCODED.0), Ok(PLAIN));
        assert_eq!(changed(|bytes| bytes.extend([0; 500])), Ok(()));

        let unpinned = Stamp { toolchain: None, interface: "Book", ..PLAIN };
        let encoded = unpinned.encode::<{ PLAIN.encoded_length() + 4 }>();
        assert_eq!(Stamp::parse(&encoded.0), Ok(unpinned));
    }

    #[test]
    fn the_offsets_are_the_documented_ones() {
        let bytes = ENCODED.0;
        assert_eq!(bytes[..8], MAGIC);
        assert_eq!(bytes[8..12], [1, 0, 0, 0]);
        assert_eq!(bytes[12..16], (bytes.len() as u32).to_le_bytes());
        assert_eq!(bytes[16..48], [0xab; 32]);
        assert_eq!(bytes[48..68], [5, 0, 0, 0, 5, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0]);
        assert_eq!(bytes[68..73], *b"greet");
    }

    #[test]
    fn a_stamp_cut_anywhere_is_refused() {
        for length in 0..ENCODED.0.len() {
            let error = Stamp::parse(&ENCODED.0[..length]).expect_err("it is cut");
            assert!(matches!(error, StampError::Truncated { found, .. } if found == length));
        }
    }

    #[test]
    fn every_error_is_reached() {
        assert_eq!(changed(|bytes| bytes[6] = b'\n'), Err(StampError::Magic));
        assert_eq!(changed(|bytes| bytes[8] = 2), Err(StampError::Version { found: 2 }));
        let expected = ENCODED.0.len() as u64;
        let found = 7;
        assert_eq!(
            changed(|bytes| bytes[12..16].copy_from_slice(&[7, 0, 0, 0])),
            Err(StampError::Length { found, expected })
        );
        assert!(matches!(
            changed(|bytes| bytes[48..68].fill(0xff)),
            Err(StampError::Length { expected, .. }) if expected == 68 + 5 * u64::from(u32::MAX)
        ));
        for (at, field) in [(68, "name"), (73, "version"), (78, "target"), (102, "descriptor")] {
            for byte in [0xff, 0, 0x1b] {
                assert_eq!(changed(|bytes| bytes[at] = byte), Err(StampError::Text { field }));
            }
        }
        assert_eq!(changed(|bytes| bytes[70] = b'\n'), Err(StampError::Text { field: "name" }));
        let nameless = Stamp { name: "", ..PLAIN }.encode::<{ PLAIN.encoded_length() - 5 }>();
        assert_eq!(Stamp::parse(&nameless.0), Err(StampError::Text { field: "name" }));
    }

    #[test]
    fn errors_say_what_was_found() {
        let text = StampError::Truncated { needed: 90, found: 12 }.to_string();
        assert_eq!(text, "the stamp needs 90 bytes, only 12 are there");
        let text = StampError::Version { found: 2 }.to_string();
        assert_eq!(text, "the stamp has format version 2, expected 1");
    }

    #[test]
    fn the_toolchain_variable_is_64_digits_or_absent() {
        assert_eq!(toolchain_hash(None), None);
        let digits = "0f".repeat(32);
        assert_eq!(toolchain_hash(Some(&digits)), Some([0x0f; 32]));
    }
}
