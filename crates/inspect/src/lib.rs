//! Reads what a native library is from its bytes: ELF, PE and Mach-O.
//!
//! [`inspect`] takes bytes and gives [`Facts`] and every [`Violation`] at once. It does no I/O and
//! runs nothing. It judges nothing either: whether facts are welcome is the gate's business.
//!
//! The bytes may come from an enemy. So nothing here panics, nothing allocates by a length that was
//! only read, and the work is linear in the size of the file (`names.rs` says how).
//!
//! What a loader uses decides, not what debuggers use: ELF is read through its program headers and
//! `PT_DYNAMIC`; section headers only say where the stamp is.
#![forbid(unsafe_code)]

mod elf;
mod facts;
mod header;
mod macho;
mod names;
mod pe;
mod region;

pub use facts::{
    CodeSignature, ControlFlow, Details, ElfDetails, Facts, MachoDetails, PeDetails, Stack,
    Violation,
};
pub use header::{Class, Endian, Header, HeaderError, Kind, Machine, Mismatch, Os};
use keyway_manifest::ObjectFormat;

/// The section that holds the stamp in ELF and PE files; in Mach-O files it is `__keyway` in the
/// segment `__DATA`.
pub const STAMP_SECTION: &str = ".keyway";

/// What [`inspect`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// What the library is. Where there are violations, what could be read all the same.
    pub facts: Facts,
    /// What is wrong with its structure, in the order of discovery; empty for any linker's output.
    pub violations: Vec<Violation>,
}

/// Reads a whole library.
///
/// # Errors
///
/// The bytes have no header that says how to read the rest.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, HeaderError> {
    let header = Header::read(bytes)?;
    let mut violations = Vec::new();
    let facts = match header.format {
        ObjectFormat::Elf => elf::read(bytes, header, &mut violations)?,
        ObjectFormat::Pe => pe::read(bytes, header, &mut violations)?,
        ObjectFormat::Macho => macho::read(bytes, header, &mut violations)?,
    };
    Ok(Inspection { facts, violations })
}
