//! The stamp: the record linked into a library that says what it is, readable from the file alone.
//!
//! It is an exported static ([`SYMBOL`]) in a section of its own ([`SECTION`]), made of plain bytes
//! without a pointer, so no relocation and no loader is needed to read it. All numbers are
//! little-endian on every target.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | [`MAGIC`] |
//! | 8 | 4 | [`MAJOR`] |
//! | 12 | 4 | length of the whole stamp |
//! | 16 | … | records, nothing between them |
//!
//! A record is its tag, its flags and the length of what follows, 4 bytes each, then that many bytes.
//! A reader skips a record whose tag it does not know, unless the flag [`CRITICAL`] is set. Each tag
//! of [`tag`] stands there once, but for interfaces and their signatures. What follows the stamp in its section is zero.
//!
//! The compiler's facts are filled in by the crate that exports the plugin: the gate compares them
//! with the machine it runs on, whatever a manifest says.

mod encode;
mod facts;

use alloc::vec::Vec;
use core::fmt;

pub use encode::Encoded;
pub use facts::{Facts, listed, listed_length};

/// The first bytes of every stamp. A file that went through a text-mode transfer loses it.
pub const MAGIC: [u8; 8] = *b"KEYWAY\r\n";

/// The version of the stamp's format that this crate reads and writes. It is raised only when a
/// reader of the old one would misread the new one.
pub const MAJOR: u32 = 1;

/// Flag of a record without which the stamp can't be understood.
pub const CRITICAL: u32 = 1;

/// Name of the exported static.
pub const SYMBOL: &str = "KEYWAY_STAMP";

/// Name of the section in ELF and PE files.
pub const SECTION: &str = ".keyway";

/// Segment and name of the section in Mach-O files.
pub const SECTION_MACHO: (&str, &str) = ("__DATA", "__keyway");

/// The target triple that this crate was compiled for.
pub const TARGET: &str = env!("KEYWAY_TARGET");

/// The sanitizers that this crate was compiled with, with `,` between them.
#[doc(hidden)]
pub const SANITIZER: &str = env!("KEYWAY_SANITIZER");

/// The tags of records, and what the bytes of each are.
pub mod tag {
    /// The plugin's name: text. Critical.
    pub const NAME: u32 = 1;
    /// The plugin's version: text. Critical.
    pub const VERSION: u32 = 2;
    /// The target triple that it was compiled for: text. Critical.
    pub const TARGET: u32 = 3;
    /// Whom the library is for: `keyway`, or `foreign:` and an id. Critical.
    pub const KIND: u32 = 4;
    /// SHA-256 of the toolchain's record: 32 bytes. Not there if built outside of any image.
    pub const TOOLCHAIN: u32 = 5;
    /// The layout descriptor of the contract: text. Critical.
    pub const CONTRACT: u32 = 6;
    /// An interface: version and length of the id, 4 bytes each, then the id and the layout
    /// descriptor. One record for each.
    pub const INTERFACE: u32 = 7;
    /// What an interface's author wrote, for messages: as [`INTERFACE`], with that text in place of the
    /// descriptor. At most one record for each interface.
    pub const SIGNATURE: u32 = 8;
    /// What a panic does: `unwind` or `abort`.
    pub const PANIC: u32 = 16;
    /// Extensions of the processor that its code uses, with `,` between them.
    pub const PROCESSOR: u32 = 17;
    /// How floating-point numbers are passed: `hard` or `soft`.
    pub const FLOAT: u32 = 18;
    /// How the C runtime is linked: `dynamic` or `static`.
    pub const C_RUNTIME: u32 = 19;
    /// The sanitizers that it was compiled with, with `,` between them.
    pub const SANITIZER: u32 = 20;
}

/// Length of the part before the records.
const HEADER: usize = 16;
/// Length of the part of a record before its bytes.
const RECORD: usize = 12;

/// A stamp, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp<'a> {
    /// The plugin's name: its package's.
    pub name: &'a str,
    /// The plugin's version: its package's.
    pub version: &'a str,
    /// The target triple that it was compiled for.
    pub target: &'a str,
    /// Whom the library is for.
    pub kind: Kind<'a>,
    /// Hash of the toolchain that compiled it; `None` if it was built outside an image.
    pub toolchain: Option<[u8; 32]>,
    /// The layout descriptor of the contract, whose SHA-256 is its ABI hash; empty if it is not for
    /// Keyway.
    pub contract: &'a str,
    /// Its typed interfaces.
    pub interfaces: Interfaces<'a>,
    /// What the compiler knew.
    pub facts: Facts<'a>,
}

/// Whom a library is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Hosts of this contract.
    Keyway,
    /// Another program's loader: a Python module, say. It has an id, and no more of the contract than
    /// the stamp.
    Foreign(&'a str),
}

/// A typed interface in a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StampedInterface<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its version.
    pub version: u32,
    /// Its layout descriptor, whose SHA-256 is its ABI hash.
    pub descriptor: &'a str,
    /// What its author wrote, for messages: the crate, then a function a line; empty if that is not known.
    pub signature: &'a str,
}

/// The interfaces of a stamp: a list that a constant has, or one that was read.
#[derive(Debug, Clone)]
pub enum Interfaces<'a> {
    /// To write.
    Borrowed(&'a [StampedInterface<'a>]),
    /// Read.
    Owned(Vec<StampedInterface<'a>>),
}

impl<'a> Interfaces<'a> {
    /// They.
    pub const fn as_slice(&self) -> &[StampedInterface<'a>] {
        match self {
            Self::Borrowed(list) => list,
            Self::Owned(list) => list.as_slice(),
        }
    }
}

impl PartialEq for Interfaces<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Interfaces<'_> {}

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
    /// A record goes past the stamp's end.
    Length {
        /// Where the record begins.
        at: usize,
    },
    /// A text is not UTF-8, has control characters, or is empty and must not be.
    Text {
        /// Which text.
        field: &'static str,
    },
    /// A record's bytes are not what its tag says.
    Record {
        /// Which record.
        field: &'static str,
    },
    /// A record is missing.
    Missing {
        /// Which record.
        field: &'static str,
    },
    /// A record that stands there once is there twice.
    Twice {
        /// The tag.
        tag: u32,
    },
    /// A record is critical, and not known here.
    Unknown {
        /// The tag.
        tag: u32,
    },
    /// Something other than zeroes follows: a second stamp, for example.
    Trailing {
        /// Where.
        at: usize,
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
                write!(f, "the stamp has format version {found}, expected {MAJOR}")
            }
            Self::Length { at } => {
                write!(f, "the stamp's record at byte {at} goes past the stamp's end")
            }
            Self::Text { field } => {
                write!(f, "the stamp's {field} is empty, not UTF-8, or has control characters")
            }
            Self::Record { field } => write!(f, "the stamp's {field} is none"),
            Self::Missing { field } => write!(f, "the stamp has no {field}"),
            Self::Twice { tag } => write!(f, "the stamp has two records with the tag {tag}"),
            Self::Unknown { tag } => {
                write!(f, "the stamp needs a reader that knows records with the tag {tag}")
            }
            Self::Trailing { at } => write!(
                f,
                "something follows the stamp, at byte {at} of its section: another stamp, from \
                 a second `export_plugin!`, for example"
            ),
        }
    }
}

impl core::error::Error for StampError {}

impl<'a> Stamp<'a> {
    /// Reads the stamp in a section, of which nothing but zeroes may follow.
    ///
    /// The bytes may be anything: no length is trusted.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn parse(section: &'a [u8]) -> Result<Self, StampError> {
        let (stamp, length) = Self::read(section)?;
        let trailing = section[length..].iter().position(|byte| *byte != 0);
        match trailing {
            Some(at) => Err(StampError::Trailing { at: length + at }),
            None => Ok(stamp),
        }
    }

    /// Reads the stamp at the start of `bytes`, whatever follows, and gives its length too.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn read(bytes: &'a [u8]) -> Result<(Self, usize), StampError> {
        let start = &bytes[..bytes.len().min(MAGIC.len())];
        if start != &MAGIC[..start.len()] {
            return Err(StampError::Magic);
        }
        let truncated = |needed| StampError::Truncated { needed, found: bytes.len() };
        let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(truncated(HEADER as u64));
        };
        let found = number(header, 8);
        if found != MAJOR {
            return Err(StampError::Version { found });
        }
        let total = number(header, 12);
        let length = usize::try_from(total).unwrap_or(usize::MAX);
        if length < HEADER {
            return Err(StampError::Length { at: 0 });
        }
        let whole = bytes.get(..length).ok_or(truncated(u64::from(total)))?;
        Ok((Records { bytes: whole, at: HEADER }.collect()?, length))
    }
}

/// The records of a stamp, from one of them on.
struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What a record is before it is looked into.
struct Record<'a> {
    tag: u32,
    flags: u32,
    bytes: &'a [u8],
}

impl<'a> Records<'a> {
    fn next(&mut self) -> Result<Option<Record<'a>>, StampError> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let error = StampError::Length { at: self.at };
        let (head, rest) = rest.split_first_chunk::<RECORD>().ok_or(error)?;
        let length = usize::try_from(number(head, 8)).unwrap_or(usize::MAX);
        let bytes = rest.get(..length).ok_or(error)?;
        self.at += RECORD + length;
        Ok(Some(Record { tag: number(head, 0), flags: number(head, 4), bytes }))
    }

    fn collect(mut self) -> Result<Stamp<'a>, StampError> {
        // The tags that are known are small.
        let mut texts = [None; 32];
        let mut toolchain = None;
        let mut interfaces = Vec::new();
        let mut signatures = Vec::new();
        while let Some(Record { tag, flags, bytes }) = self.next()? {
            let field = match tag {
                tag::NAME => "name",
                tag::VERSION => "version",
                tag::TARGET => "target",
                tag::KIND => "kind",
                tag::CONTRACT => "contract",
                tag::PANIC => "panic strategy",
                tag::PROCESSOR => "processor extensions",
                tag::FLOAT => "float ABI",
                tag::C_RUNTIME => "C runtime",
                tag::SANITIZER => "sanitizer",
                tag::TOOLCHAIN => {
                    let field = "toolchain hash";
                    let hash = bytes.try_into().map_err(|_| StampError::Record { field })?;
                    if toolchain.replace(hash).is_some() {
                        return Err(StampError::Twice { tag });
                    }
                    continue;
                }
                tag::INTERFACE => {
                    let (version, id, descriptor) = of_interface(bytes, "interface")?;
                    interfaces.push(StampedInterface { id, version, descriptor, signature: "" });
                    continue;
                }
                tag::SIGNATURE => {
                    signatures.push(of_interface(bytes, "signature")?);
                    continue;
                }
                _ if flags & CRITICAL != 0 => return Err(StampError::Unknown { tag }),
                _ => continue,
            };
            let text = text(bytes, field, tag == tag::CONTRACT)?;
            if texts[tag as usize].replace(text).is_some() {
                return Err(StampError::Twice { tag });
            }
        }
        for (version, id, signature) in signatures {
            let is_its = |of: &&mut StampedInterface<'_>| of.id == id && of.version == version;
            let error = StampError::Record { field: "signature" };
            let interface = interfaces.iter_mut().find(is_its).ok_or(error)?;
            if !interface.signature.is_empty() {
                return Err(StampError::Twice { tag: tag::SIGNATURE });
            }
            interface.signature = signature;
        }
        let needed = |tag: u32, field| {
            let text: Option<&str> = texts[tag as usize];
            let text = text.ok_or(StampError::Missing { field })?;
            if text.is_empty() { Err(StampError::Text { field }) } else { Ok(text) }
        };
        let kind = match needed(tag::KIND, "kind")? {
            "keyway" => Kind::Keyway,
            other => match other.strip_prefix("foreign:") {
                Some(id) if !id.is_empty() => Kind::Foreign(id),
                _ => return Err(StampError::Record { field: "kind" }),
            },
        };
        let fact = |tag: u32| texts[tag as usize].unwrap_or_default();
        Ok(Stamp {
            name: needed(tag::NAME, "name")?,
            version: needed(tag::VERSION, "version")?,
            target: needed(tag::TARGET, "target")?,
            kind,
            toolchain,
            contract: match kind {
                Kind::Keyway => needed(tag::CONTRACT, "contract")?,
                Kind::Foreign(_) => fact(tag::CONTRACT),
            },
            interfaces: Interfaces::Owned(interfaces),
            facts: Facts {
                panic: fact(tag::PANIC),
                processor: fact(tag::PROCESSOR),
                float: fact(tag::FLOAT),
                c_runtime: fact(tag::C_RUNTIME),
                sanitizer: fact(tag::SANITIZER),
            },
        })
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn text<'a>(bytes: &'a [u8], field: &'static str, multiline: bool) -> Result<&'a str, StampError> {
    let text = core::str::from_utf8(bytes).map_err(|_| StampError::Text { field })?;
    let clean = text.chars().all(|c| !c.is_control() || multiline && c == '\n');
    if clean { Ok(text) } else { Err(StampError::Text { field }) }
}

/// Version and id of an interface, and a text about it.
fn of_interface<'a>(
    bytes: &'a [u8],
    field: &'static str,
) -> Result<(u32, &'a str, &'a str), StampError> {
    let error = StampError::Record { field };
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or(error)?;
    let length = usize::try_from(number(head, 4)).unwrap_or(usize::MAX);
    let (id, about) = rest.split_at_checked(length).ok_or(error)?;
    let (id, about) = (text(id, field, false)?, text(about, field, true)?);
    if id.is_empty() || about.is_empty() {
        return Err(StampError::Text { field });
    }
    Ok((number(head, 0), id, about))
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
mod tests;
