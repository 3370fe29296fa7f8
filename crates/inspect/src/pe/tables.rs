//! PE's import and export tables. Lists end with a null entry and have no length, so each entry is
//! charged to the budget of `names.rs`.

use std::collections::{BTreeMap, BTreeSet};

use keyway_manifest::Import;
use object::endian::{LittleEndian as LE, U16, U32};
use object::pe;
use object::pod::{self, Pod};
use object::read::pe::{ImageNtHeaders, ImageThunkData as _};

use crate::Violation;
use crate::names::{NameError, Names};
use crate::region::Regions;

/// `IMAGE_DLLCHARACTERISTICS_EX_CET_COMPAT`.
const CET_COMPAT: u32 = 1;

/// A library and the symbols that are taken from it.
pub(super) type Imported = (String, BTreeSet<String>);

pub(super) struct Tables<'data, 'run> {
    pub(super) regions: &'run Regions<'data>,
    pub(super) names: &'run mut Names,
    pub(super) violations: &'run mut Vec<Violation>,
}

/// One entry for each library, though it may be imported from twice.
pub(super) fn merge(imported: impl Iterator<Item = Imported>) -> BTreeSet<Import> {
    let mut merged = BTreeMap::<String, BTreeSet<String>>::new();
    for (library, symbols) in imported {
        merged.entry(library).or_default().extend(symbols);
    }
    merged
        .into_iter()
        .map(|(library, symbols)| Import { library: Some(library), symbols })
        .collect()
}

impl<'data> Tables<'data, '_> {
    /// The libraries that are loaded along with this one, in their order.
    pub(super) fn imports<Pe: ImageNtHeaders>(&mut self, address: Option<u32>) -> Vec<Imported> {
        let mut all = Vec::new();
        let Some(address) = address else { return all };
        let walked = self.walk::<pe::ImageImportDescriptor>(address, |tables, entry| {
            if entry.is_null() {
                return Ok(false);
            }
            // Some linkers leave the lookup table out; until it is bound, the address table is equal.
            let thunks = match entry.original_first_thunk.get(LE) {
                0 => entry.first_thunk.get(LE),
                address => address,
            };
            all.push(tables.imported::<Pe>(entry.name.get(LE), thunks)?);
            Ok(true)
        });
        self.note("the import table", walked);
        all
    }

    /// The libraries that are loaded at the first call into them.
    pub(super) fn delayed<Pe: ImageNtHeaders>(&mut self, address: Option<u32>) -> Vec<Imported> {
        let mut all = Vec::new();
        let Some(address) = address else { return all };
        let walked = self.walk::<pe::ImageDelayloadDescriptor>(address, |tables, entry| {
            if entry.is_null() {
                return Ok(false);
            }
            let thunks = entry.import_name_table_rva.get(LE);
            all.push(tables.imported::<Pe>(entry.dll_name_rva.get(LE), thunks)?);
            Ok(true)
        });
        self.note("the delayed import table", walked);
        all
    }

    /// Whether `CET_COMPAT` is among the flags that the optional header has no room for: they are an
    /// entry of the debug directory. Where that can't be read, the flag is not set.
    pub(super) fn shadow_stack(&self, directory: Option<&pe::ImageDataDirectory>) -> bool {
        let entries = directory.and_then(|directory| {
            let size = directory.size.get(LE);
            let bytes =
                self.regions.slice(directory.virtual_address.get(LE).into(), size.into())?;
            let count = bytes.len() / size_of::<pe::ImageDebugDirectory>();
            Some(pod::slice_from_bytes::<pe::ImageDebugDirectory>(bytes, count).ok()?.0)
        });
        let mut entries = entries.into_iter().flatten();
        let entry =
            entries.find(|entry| entry.typ.get(LE) == pe::IMAGE_DEBUG_TYPE_EX_DLLCHARACTERISTICS);
        let flags = entry.and_then(|entry| {
            let bytes = self.regions.at(entry.address_of_raw_data.get(LE).into())?;
            Some(u32::from_le_bytes(*bytes.first_chunk()?))
        });
        flags.is_some_and(|flags| flags & CET_COMPAT != 0)
    }

    /// The library's own name and what it exports.
    pub(super) fn exports(&mut self, address: Option<u32>) -> (Option<String>, BTreeSet<String>) {
        let mut name = None;
        let mut exports = BTreeSet::new();
        let Some(address) = address else {
            return (name, exports);
        };
        let read = self.read_exports(address, &mut name, &mut exports);
        self.note("the export table", read);
        (name, exports)
    }

    fn read_exports(
        &mut self,
        address: u32,
        name: &mut Option<String>,
        exports: &mut BTreeSet<String>,
    ) -> Result<(), NameError> {
        let bytes = self.regions.at(address.into()).ok_or(NameError::Outside)?;
        let (directory, _) =
            pod::from_bytes::<pe::ImageExportDirectory>(bytes).map_err(|()| NameError::Outside)?;
        *name = Some(self.name(directory.name.get(LE))?);
        let n_names = directory.number_of_names.get(LE);
        let names = self.table::<U32<LE>>(directory.address_of_names.get(LE), n_names)?;
        for address in names {
            exports.insert(self.name(address.get(LE))?);
        }
        let ordinals = directory.address_of_name_ordinals.get(LE);
        let ordinals = self.table::<U16<LE>>(ordinals, n_names)?;
        let named: BTreeSet<_> = ordinals.iter().map(|index| u32::from(index.get(LE))).collect();
        let n_functions = directory.number_of_functions.get(LE);
        let functions =
            self.table::<U32<LE>>(directory.address_of_functions.get(LE), n_functions)?;
        for (index, address) in (0..).zip(functions) {
            // An ordinal that is not used has no address.
            if address.get(LE) != 0 && !named.contains(&index) {
                self.names.spend(size_of::<u32>())?;
                exports.insert(format!("#{}", directory.base.get(LE).wrapping_add(index)));
            }
        }
        Ok(())
    }

    /// The `count` entries of a table without an end of its own.
    fn table<T: Pod>(&self, address: u32, count: u32) -> Result<&'data [T], NameError> {
        if count == 0 {
            return Ok(&[]);
        }
        let size = u64::from(count) * size_of::<T>() as u64;
        let table = self
            .regions
            .slice(address.into(), size)
            .and_then(|bytes| pod::slice_from_bytes(bytes, count as usize).ok());
        table.map(|(table, _)| table).ok_or(NameError::Outside)
    }

    fn imported<Pe: ImageNtHeaders>(
        &mut self,
        name: u32,
        thunks: u32,
    ) -> Result<Imported, NameError> {
        let library = self.name(name)?;
        let mut symbols = BTreeSet::new();
        self.walk::<Pe::ImageThunkData>(thunks, |tables, thunk| {
            if thunk.raw() == 0 {
                return Ok(false);
            }
            symbols.insert(match thunk.is_ordinal() {
                true => format!("#{}", thunk.ordinal()),
                // Two bytes of hint come before the name.
                false => tables.name(thunk.address().wrapping_add(2))?,
            });
            Ok(true)
        })?;
        Ok((library, symbols))
    }

    /// Goes through a list that ends where `each` says so.
    fn walk<T: Pod>(
        &mut self,
        address: u32,
        mut each: impl FnMut(&mut Self, &'data T) -> Result<bool, NameError>,
    ) -> Result<(), NameError> {
        let mut bytes = self.regions.at(address.into()).ok_or(NameError::Outside)?;
        loop {
            let (entry, rest) = pod::from_bytes(bytes).map_err(|()| NameError::Outside)?;
            self.names.spend(size_of::<T>())?;
            if !each(self, entry)? {
                return Ok(());
            }
            bytes = rest;
        }
    }

    fn name(&mut self, address: u32) -> Result<String, NameError> {
        self.names.read(self.regions.at(address.into()))
    }

    fn note(&mut self, part: &str, result: Result<(), NameError>) {
        self.violations.extend(result.err().map(|error| Violation::malformed(part, &error)));
    }
}
