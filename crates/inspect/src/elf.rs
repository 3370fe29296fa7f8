//! ELF: headers, segments and sections. Numbers and names are those of the System V ABI and its GNU
//! extensions: <https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html>.

mod dynamic;
mod properties;
mod relocations;

use std::collections::BTreeSet;
use std::ops::Range;

use keyway_manifest::ObjectFormat;
use object::elf;
use object::endian::Endianness;
use object::pod;
use object::read::elf::{FileHeader, ProgramHeader as _, SectionHeader as _};

use crate::names::Names;
use crate::region::{Region, Regions, check_addresses, check_range};
use crate::{
    Class, ControlFlow, Details, ElfDetails, Endian, Facts, Header, HeaderError, STAMP_SECTION,
    Stack, Violation,
};

/// More program or section headers than any linker writes for a library.
const MAX_HEADERS: usize = 4096;

/// Reads the facts of an ELF file.
pub(crate) fn read(
    bytes: &[u8],
    header: Header,
    violations: &mut Vec<Violation>,
) -> Result<Facts, HeaderError> {
    match header.class {
        Class::Bits32 => read_class::<elf::FileHeader32<Endianness>>(bytes, header, violations),
        Class::Bits64 => read_class::<elf::FileHeader64<Endianness>>(bytes, header, violations),
    }
}

fn read_class<Elf: FileHeader<Endian = Endianness>>(
    bytes: &[u8],
    header: Header,
    violations: &mut Vec<Violation>,
) -> Result<Facts, HeaderError> {
    let endian = match header.endian {
        Endian::Little => Endianness::Little,
        Endian::Big => Endianness::Big,
    };
    let (file, _) = pod::from_bytes::<Elf>(bytes).map_err(|()| HeaderError::Damaged {
        format: ObjectFormat::Elf,
        reason: "it ends early",
    })?;
    let mut names = Names::new(bytes.len());
    let segments = Segments::<Elf>::read(file, endian, header.class, bytes, violations);
    let sections = file.section_headers(endian, bytes);
    let stamp = stamp::<Elf>(file, sections, endian, &segments.regions, &mut names, violations);
    let dynamic = dynamic::read::<Elf>(
        file,
        segments.dynamic,
        &segments.regions,
        endian,
        &mut names,
        violations,
    );
    Ok(Facts {
        header,
        size: bytes.len() as u64,
        needed: dynamic.needed,
        imports: dynamic.imports,
        unbound: dynamic.unbound,
        exports: dynamic.exports,
        libc: dynamic.libc,
        run_paths: dynamic.run_paths,
        stamp,
        details: Details::Elf(ElfDetails {
            soname: dynamic.soname,
            interpreter: segments.interpreter.and_then(|name| names.read(Some(name)).ok()),
            stack: segments.stack,
            text_relocations: dynamic.text_relocations,
            writable_code: segments.writable_code,
            relro: segments.relro,
            bind_now: dynamic.bind_now,
            control_flow: segments.control_flow,
            constructors: dynamic.constructors,
            destructors: dynamic.destructors,
            no_delete: dynamic.no_delete,
            static_tls: dynamic.static_tls,
        }),
    })
}

/// What the program headers say.
struct Segments<'data, Elf: FileHeader> {
    regions: Regions<'data>,
    dynamic: Option<&'data [Elf::Dyn]>,
    interpreter: Option<&'data [u8]>,
    stack: Stack,
    writable_code: bool,
    relro: bool,
    control_flow: BTreeSet<ControlFlow>,
}

impl<'data, Elf: FileHeader<Endian = Endianness>> Segments<'data, Elf> {
    fn read(
        file: &Elf,
        endian: Endianness,
        class: Class,
        bytes: &'data [u8],
        violations: &mut Vec<Violation>,
    ) -> Self {
        let headers = file.program_headers(endian, bytes).unwrap_or_else(|error| {
            violations.push(Violation::malformed("the program header table", &error));
            &[]
        });
        let headers = first(headers, "the program header table", violations);
        let mut loads = Vec::new();
        let mut segments = Self {
            regions: Regions::new(bytes, class, Vec::new(), violations),
            dynamic: None,
            interpreter: None,
            stack: Stack::Unmarked,
            writable_code: false,
            relro: false,
            control_flow: BTreeSet::new(),
        };
        for (index, header) in headers.iter().enumerate() {
            let (offset, file_size) = header.file_range(endian);
            let data = || bytes.get(offset as usize..)?.get(..file_size as usize);
            let flags = header.p_flags(endian);
            let writes_and_runs = flags.contains(elf::PF_W) && flags.contains(elf::PF_X);
            match header.p_type(endian) {
                elf::PT_LOAD => {
                    segments.writable_code |= writes_and_runs;
                    loads.push(Region {
                        name: format!("segment {index} (PT_LOAD)"),
                        address: header.p_vaddr(endian).into(),
                        memory_size: header.p_memsz(endian).into(),
                        offset,
                        file_size,
                    });
                    continue;
                }
                elf::PT_DYNAMIC => {
                    let count = file_size as usize / size_of::<Elf::Dyn>();
                    let entries = data().and_then(|data| pod::slice_from_bytes(data, count).ok());
                    segments.dynamic = entries.map(|(entries, _)| entries);
                }
                elf::PT_INTERP => segments.interpreter = data(),
                elf::PT_GNU_STACK if flags.contains(elf::PF_X) => {
                    segments.stack = Stack::Executable;
                }
                elf::PT_GNU_STACK => segments.stack = Stack::Data,
                elf::PT_GNU_RELRO => segments.relro = true,
                elf::PT_GNU_PROPERTY => {
                    segments.control_flow = properties::control_flow::<Elf>(
                        data().unwrap_or_default(),
                        header.p_align(endian),
                        endian,
                    );
                }
                _ => {}
            }
            let part = format!("segment {index} (type {:#x})", header.p_type(endian).0);
            violations.extend(check_range(bytes, &part, offset, file_size).err());
            // Thread-local variables are allocated by the size in memory.
            violations.extend(check_addresses(&part, class, header.p_memsz(endian).into()).err());
        }
        if loads.is_empty() {
            violations.push(Violation::malformed("the program header table", "it loads nothing"));
        }
        segments.regions = Regions::new(bytes, class, loads, violations);
        segments
    }
}

/// The headers, up to the most that are looked at.
fn first<'data, T>(headers: &'data [T], part: &str, violations: &mut Vec<Violation>) -> &'data [T] {
    match headers.get(..MAX_HEADERS) {
        Some(first) if first.len() < headers.len() => {
            let reason = format!("it has {} entries, more than {MAX_HEADERS}", headers.len());
            violations.push(Violation::malformed(part, &reason));
            first
        }
        _ => headers,
    }
}

/// Checks that every section lies in the file, and finds the one that holds the stamp.
fn stamp<Elf: FileHeader<Endian = Endianness>>(
    file: &Elf,
    sections: object::Result<&[Elf::SectionHeader]>,
    endian: Endianness,
    regions: &Regions<'_>,
    names: &mut Names,
    violations: &mut Vec<Violation>,
) -> Option<Range<usize>> {
    let bytes = regions.bytes();
    let sections = sections.unwrap_or_else(|error| {
        violations.push(Violation::malformed("the section header table", &error));
        &[]
    });
    let sections = first(sections, "the section header table", violations);
    let strings = file.shstrndx(endian, bytes).ok().and_then(|index| sections.get(index as usize));
    let strings = strings.and_then(|section| {
        let range = section.file_range(endian)?;
        let range = check_range(bytes, "the section names", range.0, range.1).ok()?;
        bytes.get(range)
    });
    let mut found = None;
    for section in sections {
        let name = section.sh_name(endian) as usize;
        let name = names.read(strings.and_then(|strings| strings.get(name..)));
        let name = name.unwrap_or_else(|error| {
            violations.push(Violation::malformed("the section name table", &error));
            "unnamed".to_owned()
        });
        let Some((offset, size)) = section.file_range(endian) else {
            continue;
        };
        let part = format!("section `{name}`");
        let range = match check_range(bytes, &part, offset, size) {
            Ok(range) if name == STAMP_SECTION => range,
            Ok(_) => continue,
            Err(violation) => {
                violations.push(violation);
                continue;
            }
        };
        let mapped = regions.range(section.sh_addr(endian).into(), size);
        if !section.sh_flags(endian).contains(elf::SHF_ALLOC) || mapped != Some(range.clone()) {
            let reason = "a loader does not map the bytes that it names";
            violations.push(Violation::malformed(part, reason));
        } else if found.replace(range).is_some() {
            violations.push(Violation::malformed(part, "there is more than one"));
        }
    }
    found
}
