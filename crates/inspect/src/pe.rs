//! PE, as Windows loads it: <https://learn.microsoft.com/en-us/windows/win32/debug/pe-format>.
//!
//! Addresses are relative to the image base throughout, as in the file.

mod tables;

use std::collections::BTreeSet;
use std::ops::Range;

use keyway_manifest::ObjectFormat;
use object::endian::LittleEndian as LE;
use object::pe;
use object::pod;
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader as _};

use crate::names::{Names, printable};
use crate::region::{Region, Regions, check_range};
use crate::{Class, Details, Facts, Header, HeaderError, PeDetails, STAMP_SECTION, Violation};

/// Reads the facts of a PE file.
pub(crate) fn read(
    bytes: &[u8],
    header: Header,
    violations: &mut Vec<Violation>,
) -> Result<Facts, HeaderError> {
    match header.class {
        Class::Bits32 => read_class::<pe::ImageNtHeaders32>(bytes, header, violations),
        Class::Bits64 => read_class::<pe::ImageNtHeaders64>(bytes, header, violations),
    }
}

fn read_class<Pe: ImageNtHeaders>(
    bytes: &[u8],
    header: Header,
    violations: &mut Vec<Violation>,
) -> Result<Facts, HeaderError> {
    let damaged = |reason| HeaderError::Damaged { format: ObjectFormat::Pe, reason };
    let (dos, _) =
        pod::from_bytes::<pe::ImageDosHeader>(bytes).map_err(|()| damaged("it ends early"))?;
    let start = u64::from(dos.nt_headers_offset());
    let mut offset = start;
    let (headers, directories) = Pe::parse(bytes, &mut offset)
        .map_err(|_| damaged("its optional header contradicts itself or ends early"))?;
    let file = headers.file_header();
    let optional = headers.optional_header();
    let mut sections = Vec::new();
    match headers.sections(bytes, offset) {
        Ok(table) => sections.extend(table.iter()),
        Err(error) => violations.push(Violation::malformed("the section table", &error)),
    }
    let regions = regions(bytes, header.class, optional.size_of_headers(), &sections, violations);
    let mut names = Names::new(bytes.len());
    let mut tables = tables::Tables { regions: &regions, names: &mut names, violations };
    let directory = |index| {
        let entry = directories.get(index).map(|entry| entry.virtual_address.get(LE));
        entry.filter(|address| *address != 0)
    };
    let imports = tables.imports::<Pe>(directory(pe::IMAGE_DIRECTORY_ENTRY_IMPORT));
    let delayed = tables.delayed::<Pe>(directory(pe::IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT));
    let (name, exports) = tables.exports(directory(pe::IMAGE_DIRECTORY_ENTRY_EXPORT));
    let debug = directories.get(pe::IMAGE_DIRECTORY_ENTRY_DEBUG);
    let shadow_stack = tables.shadow_stack(debug);
    let is_writable_code = |section: &&pe::ImageSectionHeader| {
        let flags = section.characteristics.get(LE);
        flags.contains(pe::IMAGE_SCN_MEM_WRITE) && flags.contains(pe::IMAGE_SCN_MEM_EXECUTE)
    };
    let flags = optional.dll_characteristics();
    let checksum_offset = start as usize + CHECKSUM_OFFSET;
    Ok(Facts {
        header,
        size: bytes.len() as u64,
        needed: imports.iter().map(|(library, _)| library.clone()).collect(),
        imports: tables::merge(imports.into_iter().chain(delayed.iter().cloned())),
        unbound: BTreeSet::new(),
        exports,
        libc: None,
        run_paths: Vec::new(),
        stamp: stamp(bytes, &sections, violations),
        details: Details::Pe(PeDetails {
            name,
            aslr: flags.contains(pe::IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE),
            high_entropy: flags.contains(pe::IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA),
            nx: flags.contains(pe::IMAGE_DLLCHARACTERISTICS_NX_COMPAT),
            control_flow_guard: flags.contains(pe::IMAGE_DLLCHARACTERISTICS_GUARD_CF),
            shadow_stack,
            writable_code: sections.iter().any(is_writable_code),
            time_stamp: file.time_date_stamp.get(LE),
            checksum: optional.check_sum(),
            computed_checksum: checksum(bytes, checksum_offset),
            constructors: optional.address_of_entry_point() != 0
                || directory(pe::IMAGE_DIRECTORY_ENTRY_TLS).is_some(),
            delayed: delayed.into_iter().map(|(library, _)| library).collect(),
        }),
    })
}

fn section_name(section: &pe::ImageSectionHeader) -> String {
    let length = section.name.iter().position(|&byte| byte == 0).unwrap_or(section.name.len());
    printable(&section.name[..length])
}

/// The headers and the sections as a loader maps them. A section's bytes in the file are padded,
/// so it may have more of them there than in memory.
fn regions<'data>(
    bytes: &'data [u8],
    class: Class,
    size_of_headers: u32,
    sections: &[&pe::ImageSectionHeader],
    violations: &mut Vec<Violation>,
) -> Regions<'data> {
    let mut regions = vec![Region {
        name: "the headers".to_owned(),
        address: 0,
        memory_size: size_of_headers.into(),
        offset: 0,
        file_size: size_of_headers.into(),
    }];
    for section in sections {
        let name = format!("section `{}`", section_name(section));
        let raw_size = section.size_of_raw_data.get(LE);
        let offset = section.pointer_to_raw_data.get(LE);
        if let Err(violation) = check_range(bytes, &name, offset.into(), raw_size.into()) {
            violations.push(violation);
            continue;
        }
        let memory_size = match section.virtual_size.get(LE) {
            0 => raw_size,
            size => size,
        };
        regions.push(Region {
            name,
            address: section.virtual_address.get(LE).into(),
            memory_size: memory_size.into(),
            offset: offset.into(),
            file_size: raw_size.min(memory_size).into(),
        });
    }
    Regions::new(bytes, class, regions, violations)
}

fn stamp(
    bytes: &[u8],
    sections: &[&pe::ImageSectionHeader],
    violations: &mut Vec<Violation>,
) -> Option<Range<usize>> {
    let mut found = None;
    for section in sections.iter().filter(|section| section_name(section) == STAMP_SECTION) {
        let size = section.virtual_size.get(LE).min(section.size_of_raw_data.get(LE));
        let offset = section.pointer_to_raw_data.get(LE);
        // Past the end has been said already.
        let range = check_range(bytes, STAMP_SECTION, offset.into(), size.into()).ok()?;
        if found.replace(range).is_some() {
            let part = format!("section `{STAMP_SECTION}`");
            violations.push(Violation::malformed(part, "there is more than one"));
        }
    }
    found
}

/// Where the checksum lies after the beginning of the PE signature, in both classes.
const CHECKSUM_OFFSET: usize = 4 + 20 + 64;

/// The sum of all 16-bit words but the checksum itself, folded, plus the file's size: what
/// `ImageHlp`'s `CheckSumMappedFile` computes.
fn checksum(bytes: &[u8], checksum_offset: usize) -> u32 {
    let skipped = checksum_offset..checksum_offset + 4;
    let mut sum = 0_u64;
    for (index, pair) in bytes.chunks(2).enumerate() {
        if !skipped.contains(&(index * 2)) {
            let high = pair.get(1).copied().unwrap_or(0);
            sum += u64::from(u16::from_le_bytes([pair[0], high]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (sum as u32).wrapping_add(bytes.len() as u32)
}
