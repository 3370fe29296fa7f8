//! The note of GNU properties, which `PT_GNU_PROPERTY` names:
//! <https://gitlab.com/x86-psABIs/Linux-ABI>, and the ELF supplement of the AArch64 ABI.
//!
//! Only what all objects of a library agree on is in it, since a linker joins their notes by "and". A
//! note that can't be read says nothing: it protects nothing either.

use std::collections::BTreeSet;

use object::elf;
use object::endian::Endianness;
use object::read::elf::{FileHeader, NoteIterator};

use crate::ControlFlow;

const FEATURES: [(elf::GnuPropertyType, u32, ControlFlow); 4] = [
    (elf::GNU_PROPERTY_X86_FEATURE_1_AND, elf::GNU_PROPERTY_X86_FEATURE_1_IBT, ControlFlow::Ibt),
    (
        elf::GNU_PROPERTY_X86_FEATURE_1_AND,
        elf::GNU_PROPERTY_X86_FEATURE_1_SHSTK,
        ControlFlow::Shstk,
    ),
    (
        elf::GNU_PROPERTY_AARCH64_FEATURE_1_AND,
        elf::GNU_PROPERTY_AARCH64_FEATURE_1_BTI,
        ControlFlow::Bti,
    ),
    (
        elf::GNU_PROPERTY_AARCH64_FEATURE_1_AND,
        elf::GNU_PROPERTY_AARCH64_FEATURE_1_PAC,
        ControlFlow::Pac,
    ),
];

/// The protections that the notes in `data` name.
pub(super) fn control_flow<Elf: FileHeader<Endian = Endianness>>(
    data: &[u8],
    align: Elf::Word,
    endian: Endianness,
) -> BTreeSet<ControlFlow> {
    let notes = NoteIterator::<Elf>::new(endian, align, data).into_iter().flatten();
    let properties = notes
        .map_while(Result::ok)
        .filter_map(|note| note.gnu_properties(endian))
        .flat_map(|properties| properties.map_while(Result::ok));
    let mut found = BTreeSet::new();
    for property in properties {
        let bits = property.data_u32(endian).unwrap_or(0);
        let named =
            FEATURES.iter().filter(|(kind, bit, _)| *kind == property.pr_type() && bits & bit != 0);
        found.extend(named.map(|(_, _, feature)| feature));
    }
    found
}
