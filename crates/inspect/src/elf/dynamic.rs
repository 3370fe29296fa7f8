//! `PT_DYNAMIC`: what the loader is told to open, to look up and to offer.

use std::collections::{BTreeMap, BTreeSet};

use keyway_manifest::{Import, Libc, LibcFamily, LibcVersion};
use object::elf;
use object::endian::Endianness;
use object::pod::{self, Pod};
use object::read::elf::{
    Dyn as _, FileHeader, GnuHashTable, HashTable, Rel as _, Rela as _, Sym as _,
};

use crate::Violation;
use crate::names::{NameError, Names};
use crate::region::Regions;

use super::relocations;

/// What `PT_DYNAMIC` says.
#[derive(Default)]
pub(super) struct Dynamic {
    pub(super) needed: Vec<String>,
    pub(super) imports: BTreeSet<Import>,
    pub(super) unbound: BTreeSet<String>,
    pub(super) exports: BTreeSet<String>,
    pub(super) libc: Option<Libc>,
    pub(super) run_paths: Vec<String>,
    pub(super) soname: Option<String>,
    pub(super) text_relocations: bool,
    pub(super) bind_now: bool,
    pub(super) constructors: bool,
    pub(super) destructors: bool,
    pub(super) no_delete: bool,
    pub(super) static_tls: bool,
}

/// Tables that the loader reads or writes through, by the tags of their address and size.
const TABLES: [(elf::DynamicTag, elf::DynamicTag, &str); 7] = [
    (elf::DT_STRTAB, elf::DT_STRSZ, "the dynamic string table"),
    (elf::DT_RELA, elf::DT_RELASZ, "the relocation table (RELA)"),
    (elf::DT_REL, elf::DT_RELSZ, "the relocation table (REL)"),
    (elf::DT_RELR, elf::DT_RELRSZ, "the relocation table (RELR)"),
    (elf::DT_JMPREL, elf::DT_PLTRELSZ, "the relocation table (PLT)"),
    (elf::DT_INIT_ARRAY, elf::DT_INIT_ARRAYSZ, "the table of constructors"),
    (elf::DT_FINI_ARRAY, elf::DT_FINI_ARRAYSZ, "the table of destructors"),
];

pub(super) fn read<Elf: FileHeader<Endian = Endianness>>(
    file: &Elf,
    entries: Option<&[Elf::Dyn]>,
    regions: &Regions<'_>,
    endian: Endianness,
    names: &mut Names,
    violations: &mut Vec<Violation>,
) -> Dynamic {
    let Some(entries) = entries else {
        violations.push(Violation::malformed("the dynamic segment", "it is missing or cut"));
        return Dynamic::default();
    };
    let entries = || {
        let entries = entries.iter().map(|entry| (entry.tag(endian), entry.val(endian)));
        entries.take_while(|(tag, _)| *tag != elf::DT_NULL)
    };
    let mut tables = Tables::<Elf> {
        values: entries().collect(),
        regions,
        endian,
        strings: &[],
        names,
        violations,
        class: std::marker::PhantomData,
    };
    tables.check();
    let machine = file.e_machine(endian);
    let mut dynamic = Dynamic {
        text_relocations: tables.has(elf::DT_TEXTREL)
            || tables.flags(elf::DT_FLAGS) & elf::DF_TEXTREL.0 != 0,
        bind_now: tables.has(elf::DT_BIND_NOW)
            || tables.flags(elf::DT_FLAGS) & elf::DF_BIND_NOW.0 != 0
            || tables.flags(elf::DT_FLAGS_1) & elf::DF_1_NOW.0 != 0,
        constructors: tables.has(elf::DT_INIT) || tables.has(elf::DT_INIT_ARRAY),
        destructors: tables.has(elf::DT_FINI) || tables.has(elf::DT_FINI_ARRAY),
        no_delete: tables.flags(elf::DT_FLAGS_1) & elf::DF_1_NODELETE.0 != 0,
        static_tls: tables.flags(elf::DT_FLAGS) & elf::DF_STATIC_TLS.0 != 0
            || tables.relocations().any(|kind| relocations::is_static_tls(machine, kind)),
        ..Dynamic::default()
    };
    for (tag, value) in entries() {
        match tag {
            elf::DT_NEEDED => dynamic.needed.extend(tables.string("a needed library", value)),
            elf::DT_SONAME => dynamic.soname = tables.string("the library's own name", value),
            elf::DT_RPATH | elf::DT_RUNPATH => {
                dynamic.run_paths.extend(tables.string("a library search path", value));
            }
            _ => {}
        }
    }
    let versions = tables.versions();
    dynamic.libc = libc(&dynamic.needed, versions.values());
    tables.symbols(&versions, &mut dynamic);
    if !all_versioned(&dynamic, &versions) {
        dynamic.unbound.clear();
    }
    dynamic
}

/// The versions that are asked of other libraries, by the index that symbols use.
type Versions = BTreeMap<u16, Version>;

struct Version {
    library: String,
    name: String,
}

struct Tables<'data, 'run, Elf: FileHeader<Endian = Endianness>> {
    values: BTreeMap<elf::DynamicTag, u64>,
    regions: &'run Regions<'data>,
    endian: Endianness,
    strings: &'data [u8],
    names: &'run mut Names,
    violations: &'run mut Vec<Violation>,
    class: std::marker::PhantomData<Elf>,
}

impl<'data, Elf: FileHeader<Endian = Endianness>> Tables<'data, '_, Elf> {
    fn has(&self, tag: elf::DynamicTag) -> bool {
        self.values.contains_key(&tag)
    }

    fn flags(&self, tag: elf::DynamicTag) -> u64 {
        self.values.get(&tag).copied().unwrap_or(0)
    }

    fn malformed(&mut self, part: &str, reason: &(impl ToString + ?Sized)) {
        self.violations.push(Violation::malformed(part, reason));
    }

    /// Checks that every table is mapped, and finds the string table.
    fn check(&mut self) {
        for (address, size, part) in TABLES {
            let (Some(&address), size) = (self.values.get(&address), self.flags(size)) else {
                continue;
            };
            let table = self.regions.slice(address, size);
            if table.is_none() && size > 0 {
                self.malformed(part, "it lies outside of what is loaded from the file");
            }
        }
        let strings = self.regions.slice(self.flags(elf::DT_STRTAB), self.flags(elf::DT_STRSZ));
        self.strings = strings.unwrap_or_default();
    }

    fn name(&mut self, offset: u64) -> Result<String, NameError> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.names.read(self.strings.get(offset..))
    }

    fn string(&mut self, part: &str, offset: u64) -> Option<String> {
        let name = self.name(offset);
        name.map_err(|error| self.malformed(part, &error)).ok()
    }

    fn table<T: Pod>(&self, address: elf::DynamicTag, count: u64) -> Option<&'data [T]> {
        let size = count.checked_mul(size_of::<T>() as u64)?;
        let bytes = self.regions.slice(*self.values.get(&address)?, size)?;
        pod::slice_from_bytes(bytes, count as usize).ok().map(|(table, _)| table)
    }

    /// The types of its relocations, those of functions aside.
    fn relocations(&self) -> impl Iterator<Item = elf::RelocationType> {
        let count = |size, of: usize| self.flags(size) / of as u64;
        let with_addend = count(elf::DT_RELASZ, size_of::<Elf::Rela>());
        let with_addend = self.table::<Elf::Rela>(elf::DT_RELA, with_addend).unwrap_or_default();
        let without = count(elf::DT_RELSZ, size_of::<Elf::Rel>());
        let without = self.table::<Elf::Rel>(elf::DT_REL, without).unwrap_or_default();
        let endian = self.endian;
        let with_addend = with_addend.iter().map(move |entry| entry.r_type(endian, false));
        with_addend.chain(without.iter().map(move |entry| entry.r_type(endian)))
    }

    /// `DT_VERNEED`: a list of libraries, each with a list of versions. Both are linked by offsets
    /// that may lead anywhere, even in circles, so the counts and the budget bound the walk.
    fn versions(&mut self) -> Versions {
        let mut versions = Versions::new();
        let walk = self.walk_versions(&mut versions);
        if let Err(error) = walk {
            self.malformed("the table of needed versions", &error);
        }
        versions
    }

    fn walk_versions(&mut self, versions: &mut Versions) -> Result<(), NameError> {
        let Some(&address) = self.values.get(&elf::DT_VERNEED) else {
            return Ok(());
        };
        let endian = self.endian;
        let mut need_bytes = self.regions.at(address).ok_or(NameError::Outside)?;
        for _ in 0..self.flags(elf::DT_VERNEEDNUM) {
            let need: &elf::Verneed<Endianness> = head(need_bytes)?;
            let library = self.name(need.vn_file.get(endian).into())?;
            let mut aux_bytes = skip(need_bytes, need.vn_aux.get(endian))?;
            for _ in 0..need.vn_cnt.get(endian) {
                let aux: &elf::Vernaux<Endianness> = head(aux_bytes)?;
                let name = self.name(aux.vna_name.get(endian).into())?;
                self.names.spend(library.len())?;
                let version = Version { library: library.clone(), name };
                versions.insert(aux.vna_other.get(endian).0, version);
                aux_bytes = skip(aux_bytes, aux.vna_next.get(endian))?;
            }
            need_bytes = skip(need_bytes, need.vn_next.get(endian))?;
        }
        Ok(())
    }

    /// How many symbols there are, which only the hash tables tell.
    fn count_symbols(&self) -> Option<u64> {
        let at = |tag| self.regions.at(*self.values.get(&tag)?);
        if let Some(bytes) = at(elf::DT_GNU_HASH) {
            let table = GnuHashTable::<Elf>::parse(self.endian, bytes).ok()?;
            // Without exports no chain ends the table; what comes before the chains are imports.
            let count = table.symbol_table_length(self.endian);
            return Some(count.unwrap_or_else(|| table.symbol_base()).into());
        }
        let table = HashTable::<Elf>::parse(self.endian, at(elf::DT_HASH)?).ok()?;
        Some(table.symbol_table_length().into())
    }

    fn symbols(&mut self, versions: &Versions, dynamic: &mut Dynamic) {
        let count = self.count_symbols();
        let table = count.and_then(|count| self.table::<Elf::Sym>(elf::DT_SYMTAB, count));
        let Some(table) = table else {
            let reason = "it or its hash table lies outside of what is loaded from the file";
            return self.malformed("the dynamic symbol table", reason);
        };
        let indices = self.table::<elf::Versym<Endianness>>(elf::DT_VERSYM, table.len() as u64);
        let mut imports = BTreeMap::<Option<&str>, BTreeSet<String>>::new();
        for (index, symbol) in table.iter().enumerate().skip(1) {
            let is_global =
                matches!(symbol.st_bind(), elf::STB_GLOBAL | elf::STB_WEAK | elf::STB_GNU_UNIQUE);
            let is_visible =
                matches!(symbol.st_visibility(), elf::STV_DEFAULT | elf::STV_PROTECTED);
            if !is_global || !is_visible {
                continue;
            }
            let name = match self.name(symbol.st_name(self.endian).into()) {
                Ok(name) => name,
                Err(error) => return self.malformed("the dynamic symbol table", &error),
            };
            if !symbol.is_undefined(self.endian) {
                dynamic.exports.insert(name);
                continue;
            }
            let version = indices.and_then(|indices| indices.get(index));
            let version = version.map(|version| version.0.get(self.endian).index().0);
            match version.and_then(|version| versions.get(&version)) {
                Some(Version { library, name: version }) => {
                    if let Err(error) = self.names.spend(version.len()) {
                        return self.malformed("the dynamic symbol table", &error);
                    }
                    let symbols = imports.entry(Some(library)).or_default();
                    symbols.insert(format!("{name}@{version}"));
                }
                None => {
                    if symbol.st_bind() != elf::STB_WEAK {
                        dynamic.unbound.insert(name.clone());
                    }
                    imports.entry(None).or_default().insert(name);
                }
            }
        }
        dynamic.imports = imports
            .into_iter()
            .map(|(library, symbols)| Import { library: library.map(str::to_owned), symbols })
            .collect();
    }
}

fn head<T: Pod>(bytes: &[u8]) -> Result<&T, NameError> {
    pod::from_bytes(bytes).map(|(value, _)| value).map_err(|()| NameError::Outside)
}

fn skip(bytes: &[u8], count: u32) -> Result<&[u8], NameError> {
    bytes.get(count as usize..).ok_or(NameError::Outside)
}

/// Which C library is needed, by the names of libraries and of symbol versions.
fn libc<'a>(
    needed: &[String],
    versions: impl Iterator<Item = &'a Version> + Clone,
) -> Option<Libc> {
    let needs = |name: &str| needed.iter().any(|library| library == name);
    let mut names = versions.map(|version| version.name.as_str());
    if names.clone().any(|name| name.starts_with("GLIBC_")) || needs("libc.so.6") {
        let floor = names.filter_map(glibc_version).max();
        return Some(Libc { family: LibcFamily::Glibc, floor });
    }
    let is_musl = |library: &String| library == "libc.so" || library.starts_with("libc.musl-");
    // Android's C library has the same name as musl's, but versions.
    let is_bionic = names.any(|name| name == "LIBC" || name.starts_with("LIBC_"));
    (needed.iter().any(is_musl) && !is_bionic)
        .then_some(Libc { family: LibcFamily::Musl, floor: None })
}

/// Whether each needed library gives all of its symbols a version, so that one without a version can
/// come from none of them. glibc does; of others it is believed if one versioned symbol of theirs is used.
fn all_versioned(dynamic: &Dynamic, versions: &Versions) -> bool {
    let is_glibc = matches!(&dynamic.libc, Some(Libc { family: LibcFamily::Glibc, .. }));
    dynamic.needed.iter().all(|library| {
        let is_used = || versions.values().any(|version| version.library == *library);
        is_glibc && is_part_of_glibc(library) || is_used()
    })
}

/// Whether it is one of the libraries that glibc consists of.
fn is_part_of_glibc(library: &str) -> bool {
    let is_loader = library.starts_with("ld-linux") || library.starts_with("ld64.so.");
    is_loader
        || matches!(
            library,
            "libc.so.6"
                | "libdl.so.2"
                | "libm.so.6"
                | "libpthread.so.0"
                | "librt.so.1"
                | "libutil.so.1"
        )
}

fn glibc_version(name: &str) -> Option<LibcVersion> {
    match name.strip_prefix("GLIBC_")? {
        // Compressed relative relocations: a loader that knows them provides this version.
        "ABI_DT_RELR" => Some(LibcVersion::new(2, 36)),
        version => version.parse().ok(),
    }
}
