//! A real library, and the changes that cases make to its bytes.

use std::collections::BTreeSet;
use std::ops::Range;

use keyway_inspect::HeaderError;
use keyway_manifest::ObjectFormat;
use object::{Object as _, ObjectSection as _, ObjectSegment as _, SectionKind};
use thiserror::Error;

/// A library with a stamp.
#[derive(Debug, Clone)]
pub struct Library {
    bytes: Vec<u8>,
    format: ObjectFormat,
    stamp: Range<usize>,
    code: Range<usize>,
    /// Where its parts end: segments and sections.
    ends: BTreeSet<usize>,
}

/// Why a library can't be changed.
#[derive(Debug, Error)]
pub enum LibraryError {
    /// It is no object.
    #[error("its header can't be read")]
    Header(#[from] HeaderError),
    /// Its parts can't be read.
    #[error("its parts can't be read")]
    Parts(#[from] object::Error),
    /// It has no stamp.
    #[error("it has no stamp")]
    NoStamp,
    /// It has no code.
    #[error("it has no code")]
    NoCode,
}

impl Library {
    /// Takes a library apart.
    ///
    /// # Errors
    ///
    /// It is no object, or has no stamp or no code.
    pub fn new(bytes: Vec<u8>) -> Result<Self, LibraryError> {
        let facts = keyway_inspect::inspect(&bytes)?.facts;
        let file = object::File::parse(&*bytes)?;
        let range = |(offset, size): (u64, u64)| offset as usize..(offset + size) as usize;
        let sections = || {
            file.sections()
                .filter_map(|section| Some((section.kind(), range(section.file_range()?))))
        };
        let code = sections().find(|(kind, _)| *kind == SectionKind::Text);
        let (_, code) = code.ok_or(LibraryError::NoCode)?;
        let segments = file.segments().map(|segment| range(segment.file_range()));
        let mut ends: BTreeSet<_> = segments.map(|range| range.end).collect();
        ends.extend(sections().map(|(_, range)| range.end));
        ends.insert(bytes.len() - 1);
        ends.retain(|end| (1..bytes.len()).contains(end));
        let stamp = facts.stamp.ok_or(LibraryError::NoStamp)?;
        let format = facts.header.format;
        Ok(Self { format, stamp, code, ends, bytes })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The stamp's section.
    pub fn stamp(&self) -> &[u8] {
        &self.bytes[self.stamp.clone()]
    }

    /// Where `text`, a part of the stamp, begins in it.
    pub fn stamp_offset(&self, text: &str) -> usize {
        text.as_ptr().addr() - self.stamp().as_ptr().addr()
    }

    /// Where these bytes begin in the stamp; its end if it does not have them.
    pub fn stamp_position(&self, bytes: &[u8]) -> usize {
        let stamp = self.stamp();
        stamp.windows(bytes.len()).position(|window| window == bytes).unwrap_or(stamp.len())
    }

    /// Where its parts end.
    pub fn ends(&self) -> impl Iterator<Item = usize> {
        self.ends.iter().copied()
    }

    /// The library with `bytes` at an offset in its stamp.
    pub fn with_stamp(&self, offset: usize, bytes: &[u8]) -> Vec<u8> {
        self.with(self.stamp.start + offset, bytes)
    }

    /// The library with a stamp section of another name, as if a tool had dropped it.
    pub fn without_stamp(&self) -> Vec<u8> {
        let name: &[u8] = match self.format {
            ObjectFormat::Elf | ObjectFormat::Pe => b".keyway",
            ObjectFormat::Macho => b"__keyway",
        };
        let mut found = self.bytes.windows(name.len()).enumerate().filter(|(_, at)| *at == name);
        // ELF keeps the names of sections near its end; the others in their headers.
        let found = match self.format {
            ObjectFormat::Elf => found.next_back(),
            ObjectFormat::Pe | ObjectFormat::Macho => found.next(),
        };
        let (at, _) = found.expect("a section that was found by its name");
        self.with(at + 1, b"none")
    }

    /// The library with one bit of its code flipped.
    pub fn with_flipped_code(&self) -> Vec<u8> {
        let middle = self.code.start + self.code.len() / 2;
        self.with(middle, &[self.bytes[middle] ^ 1])
    }

    /// The library with a header for a processor that nobody has.
    pub fn with_machine(&self) -> Vec<u8> {
        match self.format {
            ObjectFormat::Elf => self.with(18, &[0xfe, 0x7f]),
            ObjectFormat::Pe => self.with(self.pe_header() + 4, &[0xfe, 0x7f]),
            ObjectFormat::Macho => self.with(4, &[0xfe, 0x7f]),
        }
    }

    /// The library with the header of a program.
    pub fn as_program(&self) -> Vec<u8> {
        match self.format {
            ObjectFormat::Elf => self.with(16, &[2]),
            // Without the flag that says DLL, in the high byte of the characteristics.
            ObjectFormat::Pe => {
                let flags = self.pe_header() + 4 + 19;
                self.with(flags, &[self.bytes[flags] & !0x20])
            }
            ObjectFormat::Macho => self.with(12, &[2]),
        }
    }

    /// An ELF library that says in one of two places that it is of another version than 1.
    pub fn other_versions(&self) -> Vec<(&'static str, Vec<u8>)> {
        match self.format {
            ObjectFormat::Elf => vec![
                ("other-version", self.with(6, &[2])),
                ("other-object-version", self.with(20, &[2, 0, 0, 2])),
            ],
            ObjectFormat::Pe | ObjectFormat::Macho => Vec::new(),
        }
    }

    fn pe_header(&self) -> usize {
        self.bytes[0x3c..].first_chunk().map_or(0, |offset| u32::from_le_bytes(*offset) as usize)
    }

    fn with(&self, offset: usize, replacement: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[offset..offset + replacement.len()].copy_from_slice(replacement);
        bytes
    }
}
