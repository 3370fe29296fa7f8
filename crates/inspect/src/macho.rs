//! Mach-O, by its load commands. Numbers and names are those of Apple's `mach-o/loader.h` and
//! `mach-o/nlist.h`: <https://github.com/apple-oss-distributions/xnu/tree/main/EXTERNAL_HEADERS/mach-o>.

mod exports;
mod signature;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use keyway_manifest::{Import, Libc, LibcFamily, LibcVersion, ObjectFormat};
use object::endian::Endianness;
use object::macho;
use object::pod;
use object::read::macho::{
    LoadCommandData, LoadCommandVariant, MachHeader, Nlist as _, Section as _, Segment as _,
};

use crate::names::{NameError, Names, printable};
use crate::region::{Region, Regions, check_range};
use crate::{Class, Details, Endian, Facts, Header, HeaderError, MachoDetails, Violation};

const STAMP_SEGMENT: &[u8] = b"__DATA";
const STAMP_SECTION: &[u8] = b"__keyway";

/// Reads the facts of a Mach-O file.
pub(crate) fn read(
    bytes: &[u8],
    header: Header,
    violations: &mut Vec<Violation>,
) -> Result<Facts, HeaderError> {
    match header.class {
        Class::Bits32 => read_class::<macho::MachHeader32<Endianness>>(bytes, header, violations),
        Class::Bits64 => read_class::<macho::MachHeader64<Endianness>>(bytes, header, violations),
    }
}

fn read_class<Mach: MachHeader<Endian = Endianness>>(
    bytes: &[u8],
    header: Header,
    violations: &mut Vec<Violation>,
) -> Result<Facts, HeaderError> {
    let damaged = |reason| HeaderError::Damaged { format: ObjectFormat::Macho, reason };
    let (file, _) = pod::from_bytes::<Mach>(bytes).map_err(|()| damaged("it ends early"))?;
    let endian = match header.endian {
        Endian::Little => Endianness::Little,
        Endian::Big => Endianness::Big,
    };
    let mut reader = Reader::<Mach> {
        bytes,
        endian,
        names: Names::new(bytes.len()),
        violations,
        regions: Vec::new(),
        symtab: None,
        facts: Facts {
            header,
            size: bytes.len() as u64,
            needed: Vec::new(),
            imports: BTreeSet::new(),
            unbound: BTreeSet::new(),
            exports: BTreeSet::new(),
            libc: None,
            run_paths: Vec::new(),
            stamp: None,
            details: Details::Macho(MachoDetails::default()),
        },
        is_two_level: file.flags(endian).contains(macho::MH_TWOLEVEL),
        details: MachoDetails::default(),
        class: std::marker::PhantomData,
    };
    let mut commands = file
        .load_commands(endian, bytes, 0)
        .map_err(|_| damaged("its load commands end past the end of the file"))?;
    loop {
        match commands.next() {
            Ok(Some(command)) => reader.command(command),
            Ok(None) => break,
            Err(error) => {
                reader.malformed("the list of load commands", &error);
                break;
            }
        }
    }
    if let Err(error) = reader.symbols() {
        reader.malformed("the symbol table", &error);
    }
    let Reader { mut facts, details, regions, violations, .. } = reader;
    Regions::new(bytes, header.class, regions, violations);
    facts.details = Details::Macho(details);
    Ok(facts)
}

struct Reader<'data, 'out, Mach: MachHeader<Endian = Endianness>> {
    bytes: &'data [u8],
    endian: Endianness,
    names: Names,
    violations: &'out mut Vec<Violation>,
    regions: Vec<Region>,
    symtab: Option<&'data macho::SymtabCommand<Endianness>>,
    facts: Facts,
    /// Whether each symbol is bound to one library, and not to whichever has it.
    is_two_level: bool,
    details: MachoDetails,
    class: std::marker::PhantomData<Mach>,
}

impl<'data, Mach: MachHeader<Endian = Endianness>> Reader<'data, '_, Mach> {
    fn malformed(&mut self, part: impl Into<String>, reason: &(impl ToString + ?Sized)) {
        self.violations.push(Violation::malformed(part, reason));
    }

    fn check_range(&mut self, part: &str, offset: u64, size: u64) -> Option<Range<usize>> {
        let range = check_range(self.bytes, part, offset, size);
        range.map_err(|violation| self.violations.push(violation)).ok()
    }

    fn command(&mut self, command: LoadCommandData<'data, Endianness>) {
        let endian = self.endian;
        if let Ok(Some((segment, sections))) = Mach::Segment::from_command(command) {
            return self.segment(segment, sections);
        }
        let part = format!("load command {:#x}", command.cmd().0);
        let variant = match command.variant() {
            Ok(variant) => variant,
            Err(error) => return self.malformed(part, &error),
        };
        match variant {
            LoadCommandVariant::Dylib(dylib) => {
                let name = self.string(&part, command, dylib.dylib.name);
                if command.cmd() == macho::LC_LOAD_WEAK_DYLIB {
                    self.details.optional_libraries.extend(name.clone());
                }
                self.facts.needed.extend(name);
            }
            LoadCommandVariant::IdDylib(dylib) => {
                self.details.install_name = self.string(&part, command, dylib.dylib.name);
            }
            LoadCommandVariant::Rpath(rpath) => {
                let path = self.string(&part, command, rpath.path);
                self.facts.run_paths.extend(path);
            }
            LoadCommandVariant::BuildVersion(version, _) => {
                self.system(platform(version.platform.get(endian)), version.minos.get(endian).0);
            }
            LoadCommandVariant::VersionMin(version) => {
                let platform = match command.cmd() {
                    macho::LC_VERSION_MIN_MACOSX => macho::PLATFORM_MACOS,
                    macho::LC_VERSION_MIN_IPHONEOS => macho::PLATFORM_IOS,
                    macho::LC_VERSION_MIN_TVOS => macho::PLATFORM_TVOS,
                    _ => macho::PLATFORM_WATCHOS,
                };
                self.system(self::platform(platform), version.version.get(endian).0);
            }
            LoadCommandVariant::DyldInfo(info) => {
                self.exports(info.export_off.get(endian), info.export_size.get(endian));
            }
            LoadCommandVariant::Uuid(_) => self.details.uuid = true,
            LoadCommandVariant::Symtab(symtab) => self.symtab = Some(symtab),
            LoadCommandVariant::LinkeditData(data) => {
                let (offset, size) = (data.dataoff.get(endian), data.datasize.get(endian));
                self.check_range(&part, offset.into(), size.into());
                if command.cmd() == macho::LC_DYLD_EXPORTS_TRIE {
                    self.exports(offset, size);
                }
                if command.cmd() == macho::LC_CODE_SIGNATURE {
                    let (bytes, offset, size) = (self.bytes, offset as usize, size as usize);
                    self.details.code_signature = signature::check(bytes, offset, size);
                }
            }
            _ => {}
        }
    }

    /// Takes note of a system that it is for. It may be for two; macOS is then the one that counts.
    fn system(&mut self, platform: String, version: u32) {
        const MACOS: &str = "macos";
        if self.details.platform.as_deref() == Some(MACOS) && platform != MACOS {
            return;
        }
        if platform == MACOS {
            let [major, minor, patch] = parts(version);
            let floor = LibcVersion { major, minor, patch };
            self.facts.libc = Some(Libc { family: LibcFamily::Libsystem, floor: Some(floor) });
        }
        self.details.platform = Some(platform);
        self.details.min_version = Some(parts(version).map(|part| part.to_string()).join("."));
    }

    /// Adds what the loader finds by name; the symbol table is for other tools.
    fn exports(&mut self, offset: u32, size: u32) {
        const PART: &str = "the table of exports";
        let range = self.check_range(PART, offset.into(), size.into());
        let trie = range.and_then(|range| self.bytes.get(range)).unwrap_or_default();
        match exports::read(trie, &mut self.names) {
            Ok(exports) => self.facts.exports.extend(exports),
            Err(error) => self.malformed(PART, &error),
        }
    }

    fn string(
        &mut self,
        part: &str,
        command: LoadCommandData<'data, Endianness>,
        string: macho::LcStr<Endianness>,
    ) -> Option<String> {
        let offset = string.offset.get(self.endian) as usize;
        let name = self.names.read(command.raw_data().get(offset..));
        name.map_err(|error| self.malformed(part, &error)).ok()
    }

    fn segment(&mut self, segment: &'data Mach::Segment, sections: &'data [u8]) {
        let endian = self.endian;
        let name = format!("segment `{}`", printable(segment.name()));
        let protection = segment.initprot(endian);
        self.details.writable_code |= protection.contains(macho::VM_PROT_WRITE)
            && protection.contains(macho::VM_PROT_EXECUTE);
        let sections = match segment.sections(endian, sections) {
            Ok(sections) => sections,
            Err(error) => {
                self.malformed(name, &error);
                return;
            }
        };
        for section in sections {
            self.section(segment, section);
        }
        let (offset, file_size) = segment.file_range(endian);
        self.regions.push(Region {
            name,
            address: segment.vmaddr(endian).into(),
            memory_size: segment.vmsize(endian).into(),
            offset,
            file_size,
        });
    }

    fn section(&mut self, segment: &'data Mach::Segment, section: &'data Mach::Section) {
        let endian = self.endian;
        // A section without bytes in the file: zeroes.
        let offset = section.offset(endian).into();
        let Some((offset, size)) = section.file_range(endian, offset) else {
            return;
        };
        let part = format!(
            "section `{},{}`",
            printable(section.segment_name()),
            printable(section.name())
        );
        let Some(range) = self.check_range(&part, offset, size) else {
            return;
        };
        if section.name() != STAMP_SECTION || segment.name() != STAMP_SEGMENT {
            return;
        }
        let address: u64 = section.addr(endian).into();
        let mapped = address
            .checked_sub(segment.vmaddr(endian).into())
            .and_then(|skip| segment.file_range(endian).0.checked_add(skip));
        if mapped != Some(offset) {
            self.malformed(part, "a loader does not map the bytes that it names");
        } else if self.facts.stamp.replace(range).is_some() {
            self.malformed(part, "there is more than one");
        }
    }

    fn symbols(&mut self) -> Result<(), NameError> {
        let Some(symtab) = self.symtab else {
            return Ok(());
        };
        let endian = self.endian;
        let count = symtab.nsyms.get(endian);
        let size = u64::from(count) * size_of::<Mach::Nlist>() as u64;
        let symbols = self.check_range("the symbol table", symtab.symoff.get(endian).into(), size);
        let (offset, size) = (symtab.stroff.get(endian), symtab.strsize.get(endian));
        let strings = self.check_range("the string table", offset.into(), size.into());
        let (Some(symbols), Some(strings)) = (symbols, strings) else {
            return Ok(());
        };
        let (symbols, strings) = (&self.bytes[symbols], &self.bytes[strings]);
        let symbols = pod::slice_from_bytes::<Mach::Nlist>(symbols, count as usize);
        let (symbols, _) = symbols.map_err(|()| NameError::Outside)?;
        let mut imports = BTreeMap::<Option<usize>, BTreeSet<String>>::new();
        for symbol in symbols {
            let flags = symbol.n_type().0;
            let is_external = flags & macho::N_EXT.0 != 0 && flags & macho::N_PEXT.0 == 0;
            if symbol.is_stab() || !is_external {
                continue;
            }
            let name = self.names.read(strings.get(symbol.n_strx(endian) as usize..))?;
            if symbol.is_undefined() {
                // Which library, counted from 1; without one, whoever is loaded already has to have it.
                let index = symbol.library_ordinal(endian).index().filter(|_| self.is_two_level);
                let library = index.map(|index| usize::from(index) - 1);
                let library = library.filter(|index| *index < self.facts.needed.len());
                if symbol.n_desc(endian).0 & macho::N_WEAK_REF.0 != 0 {
                    self.details.optional.insert(name.clone());
                } else if library.is_none() {
                    self.facts.unbound.insert(name.clone());
                }
                imports.entry(library).or_default().insert(name);
            } else {
                self.facts.exports.insert(name);
            }
        }
        let mut merged = BTreeMap::<Option<&String>, BTreeSet<String>>::new();
        for (library, symbols) in imports {
            let library = library.and_then(|index| self.facts.needed.get(index));
            merged.entry(library).or_default().extend(symbols);
        }
        self.facts.imports = merged
            .into_iter()
            .map(|(library, symbols)| Import { library: library.cloned(), symbols })
            .collect();
        Ok(())
    }
}

/// Apple packs a version as `xxxx.yy.zz`.
fn parts(version: u32) -> [u16; 3] {
    let [patch, minor, low, high] = version.to_le_bytes();
    [u16::from_le_bytes([low, high]), minor.into(), patch.into()]
}

/// The name of a platform, without `PLATFORM_`.
fn platform(platform: macho::Platform) -> String {
    let known = [
        (macho::PLATFORM_MACOS, "macos"),
        (macho::PLATFORM_IOS, "ios"),
        (macho::PLATFORM_TVOS, "tvos"),
        (macho::PLATFORM_WATCHOS, "watchos"),
        (macho::PLATFORM_MACCATALYST, "maccatalyst"),
        (macho::PLATFORM_IOSSIMULATOR, "iossimulator"),
        (macho::PLATFORM_DRIVERKIT, "driverkit"),
        (macho::PLATFORM_VISIONOS, "visionos"),
    ];
    let name = known.iter().find(|(of, _)| *of == platform).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| format!("platform {}", platform.0))
}
