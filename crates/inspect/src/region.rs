//! The parts of a file that a loader maps: ELF's `PT_LOAD`, PE's sections, Mach-O's segments.
//!
//! All three formats speak in addresses; [`Regions`] turns an address into bytes, and says which
//! parts lie outside of the file or on top of each other.

use std::ops::Range;

use crate::{Class, Violation};

/// One part of the file and where a loader puts it.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    /// What to call it in a message.
    pub(crate) name: String,
    /// The address of its first byte, relative to the library.
    pub(crate) address: u64,
    /// Its size in memory; at least `file_size`, the rest is zeroes.
    pub(crate) memory_size: u64,
    /// Where its bytes begin in the file.
    pub(crate) offset: u64,
    /// How many bytes it has in the file.
    pub(crate) file_size: u64,
}

/// The mapped parts, by address. Those that end past the end of the file are left out.
#[derive(Debug)]
pub(crate) struct Regions<'data> {
    bytes: &'data [u8],
    sorted: Vec<Region>,
}

impl<'data> Regions<'data> {
    /// Checks the parts against the file, each other, and what a process has addresses for.
    ///
    /// Two may share bytes of the file, since linkers do that to save a page, but no addresses.
    pub(crate) fn new(
        bytes: &'data [u8],
        class: Class,
        mut regions: Vec<Region>,
        violations: &mut Vec<Violation>,
    ) -> Self {
        regions.retain(|region| {
            let inside = check_range(bytes, &region.name, region.offset, region.file_size);
            let beyond = match region.address.checked_add(region.memory_size) {
                None => Some(Violation::malformed(&region.name, "its address wraps around")),
                Some(end) => check_addresses(&region.name, class, end).err(),
            };
            let shrinks = region.file_size > region.memory_size;
            let shrinks = shrinks.then(|| {
                Violation::malformed(&region.name, "it has more bytes in the file than in memory")
            });
            let found = [inside.err(), beyond, shrinks];
            let is_sound = found.iter().all(Option::is_none);
            violations.extend(found.into_iter().flatten());
            is_sound
        });
        regions.sort_by_key(|region| region.address);
        for pair in regions.windows(2) {
            let [first, second] = pair else { continue };
            if first.address + first.memory_size > second.address && second.memory_size > 0 {
                let (first, second) = (first.name.clone(), second.name.clone());
                violations.push(Violation::Overlap { first, second });
            }
        }
        Self { bytes, sorted: regions }
    }

    /// The whole file.
    pub(crate) fn bytes(&self) -> &'data [u8] {
        self.bytes
    }

    /// The bytes in the file from `address` up to the end of the part that it lies in.
    pub(crate) fn at(&self, address: u64) -> Option<&'data [u8]> {
        self.bytes.get(self.range_at(address)?)
    }

    /// The `size` bytes at `address`.
    pub(crate) fn slice(&self, address: u64, size: u64) -> Option<&'data [u8]> {
        self.at(address)?.get(..usize::try_from(size).ok()?)
    }

    /// Where in the file the `size` bytes at `address` lie.
    pub(crate) fn range(&self, address: u64, size: u64) -> Option<Range<usize>> {
        let range = self.range_at(address)?;
        let size = usize::try_from(size).ok().filter(|size| *size <= range.len())?;
        Some(range.start..range.start + size)
    }

    /// Where in the file the bytes from `address` to the end of its part lie.
    fn range_at(&self, address: u64) -> Option<Range<usize>> {
        let after = self.sorted.partition_point(|region| region.address <= address);
        let region = self.sorted.get(after.checked_sub(1)?)?;
        let skip = address - region.address;
        if skip >= region.file_size {
            return None;
        }
        // Inside of the file, as `new` has checked, so it fits a usize.
        let end = region.offset + region.file_size;
        Some((region.offset + skip) as usize..end as usize)
    }
}

/// Checks that a process has addresses up to `end`.
///
/// The processors of 64 bits leave a process 128 TiB, those that know more give them to nobody who does not
/// ask for them.
pub(crate) fn check_addresses(part: &str, class: Class, end: u64) -> Result<(), Violation> {
    let most: u64 = match class {
        Class::Bits32 => 1 << 32,
        Class::Bits64 => 1 << 47,
    };
    if end > most {
        let reason = format!("it takes addresses up to {end:#x}, and no {class} process has them");
        return Err(Violation::malformed(part, &reason));
    }
    Ok(())
}

/// The range as indices, or the violation that it ends past the end of the file.
pub(crate) fn check_range(
    bytes: &[u8],
    part: &str,
    offset: u64,
    size: u64,
) -> Result<Range<usize>, Violation> {
    let file = bytes.len() as u64;
    let end = offset.saturating_add(size);
    if end > file {
        return Err(Violation::PastTheEnd { part: part.to_owned(), end, size: file });
    }
    Ok(offset as usize..end as usize)
}
