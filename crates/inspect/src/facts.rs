//! What inspection says about a library, as types.

use std::collections::BTreeSet;
use std::ops::Range;

use keyway_manifest::text::Show as _;
use keyway_manifest::{Import, Libc};
use serde::Serialize;
use thiserror::Error;

use crate::Header;

/// What was read from the bytes of a library. Nothing here is a judgement; that is the gate's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The first bytes.
    pub header: Header,
    /// The size of the file in bytes.
    pub size: u64,
    /// The libraries that the loader opens along with this one, in its order.
    pub needed: Vec<String>,
    /// The symbols that it takes from them.
    pub imports: BTreeSet<Import>,
    /// Of these the ones that it can't do without and that none of the libraries it names offers, as far
    /// as the file tells: whoever loads it has to have them.
    pub unbound: BTreeSet<String>,
    /// The symbols that it offers: their names, or `#17` for one without a name.
    pub exports: BTreeSet<String>,
    /// The C library that it needs, and the oldest version that will do; for macOS, whose C library is
    /// the system's own, the oldest system that its load commands name.
    pub libc: Option<Libc>,
    /// Folders that it wants libraries to be looked for in: RPATH and RUNPATH, Mach-O's `LC_RPATH`.
    pub run_paths: Vec<String>,
    /// Where its stamp section lies in the file; inside of it, by construction.
    pub stamp: Option<Range<usize>>,
    /// What only one object format has.
    pub details: Details,
}

/// What only one object format has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Details {
    /// An ELF file.
    Elf(ElfDetails),
    /// A PE file.
    Pe(PeDetails),
    /// A Mach-O file.
    Macho(MachoDetails),
}

/// What only ELF has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ElfDetails {
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// The loader that `PT_INTERP` names; a library has none.
    pub interpreter: Option<String>,
    /// Whether the stack may run code once this library is loaded.
    pub stack: Stack,
    /// Whether relocations write into code (`DT_TEXTREL`).
    pub text_relocations: bool,
    /// Whether some segment can be written and run at once.
    pub writable_code: bool,
    /// Whether relocated data becomes read-only (`PT_GNU_RELRO`).
    pub relro: bool,
    /// Whether every symbol is looked up at load time; with `relro`, nothing that is called through
    /// can be written afterwards.
    pub bind_now: bool,
    /// What all of its code is made for, by its note of GNU properties.
    pub control_flow: BTreeSet<ControlFlow>,
    /// Whether it runs code when it is loaded: `DT_INIT`, `DT_INIT_ARRAY`.
    pub constructors: bool,
    /// Whether it runs code when it is unloaded: `DT_FINI`, `DT_FINI_ARRAY`.
    pub destructors: bool,
    /// Whether the loader will keep it for ever (`DF_1_NODELETE`).
    pub no_delete: bool,
    /// Whether its thread-local variables have to lie at a fixed distance from each thread's pointer, where
    /// a process that runs already has little room or none (`DF_STATIC_TLS`, relocations of such a distance).
    pub static_tls: bool,
}

/// A protection of the control flow, which a processor enforces where all code of a process is made for
/// it: the bits of `GNU_PROPERTY_X86_FEATURE_1_AND` and `GNU_PROPERTY_AARCH64_FEATURE_1_AND` in the
/// psABIs of x86-64 and AArch64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlFlow {
    /// x86: indirect branches end at marked places only.
    Ibt,
    /// x86: return addresses are kept twice.
    Shstk,
    /// AArch64: indirect branches end at marked places only.
    Bti,
    /// AArch64: return addresses are signed.
    Pac,
}

impl ControlFlow {
    /// As the psABIs call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ibt => "IBT",
            Self::Shstk => "SHSTK",
            Self::Bti => "BTI",
            Self::Pac => "PAC",
        }
    }
}

/// What `PT_GNU_STACK` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stack {
    /// The stack holds data only.
    Data,
    /// The stack may run code.
    Executable,
    /// There is no `PT_GNU_STACK`, which most loaders take for an executable stack.
    Unmarked,
}

/// What only PE has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeDetails {
    /// The name in the export directory.
    pub name: Option<String>,
    /// Whether it may be loaded at any address (`DYNAMIC_BASE`).
    pub aslr: bool,
    /// Whether that address may lie above 4 GiB (`HIGH_ENTROPY_VA`).
    pub high_entropy: bool,
    /// Whether data can't be run (`NX_COMPAT`).
    pub nx: bool,
    /// Whether indirect calls are checked against a table (`GUARD_CF`).
    pub control_flow_guard: bool,
    /// Whether return addresses may be kept twice (`CET_COMPAT`, in an entry of the debug directory).
    pub shadow_stack: bool,
    /// Whether some section can be written and run at once.
    pub writable_code: bool,
    /// The time stamp in the file header, which a reproducible build sets to a constant.
    pub time_stamp: u32,
    /// The checksum in the optional header; 0 when the linker wrote none.
    pub checksum: u32,
    /// The checksum as it should be.
    pub computed_checksum: u32,
    /// Whether it has an entry point (`DllMain`) or TLS callbacks, code that runs when it is loaded.
    pub constructors: bool,
    /// The libraries that are loaded at the first call into them.
    pub delayed: Vec<String>,
}

/// What only Mach-O has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MachoDetails {
    /// The name that programs linked against it will look for (`LC_ID_DYLIB`).
    pub install_name: Option<String>,
    /// The system that it is for, in the words of `mach-o/loader.h`: `macos`, `ios`, …
    pub platform: Option<String>,
    /// The oldest system that will load it.
    pub min_version: Option<String>,
    /// Whether it has a UUID, without which recent systems refuse it.
    pub uuid: bool,
    /// Its code signature, without which arm64 systems refuse it.
    pub code_signature: CodeSignature,
    /// Whether some segment can be written and run at once.
    pub writable_code: bool,
    /// The symbols that it can do without: null where its libraries don't have them (`N_WEAK_REF`).
    pub optional: BTreeSet<String>,
    /// The libraries that it can do without (`LC_LOAD_WEAK_DYLIB`); `needed` has them too.
    pub optional_libraries: BTreeSet<String>,
}

/// Whether a Mach-O file is signed, and as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CodeSignature {
    /// It has no signature.
    #[default]
    Absent,
    /// Each page has the hash that the signature names.
    Valid,
    /// The signature can't be read, or is one of other bytes; why.
    Invalid(String),
}

/// Something about the file's structure that no linker writes, and that a loader may crash on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Violation {
    /// A part of the file lies beyond its end, as in a cut file. Loading it may kill the process.
    #[error("{part} ends at byte {end}, but the file has only {size}", part = .part.shown())]
    PastTheEnd {
        /// The part.
        part: String,
        /// Where it would end.
        end: u64,
        /// The size of the file.
        size: u64,
    },
    /// Two parts that must be apart share bytes or addresses.
    #[error("{first} and {second} overlap", first = .first.shown(), second = .second.shown())]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The other.
        second: String,
    },
    /// A part can't be read.
    #[error("{part} is malformed: {reason}", part = .part.shown(), reason = .reason.shown())]
    Malformed {
        /// The part.
        part: String,
        /// Why.
        reason: String,
    },
}

impl Violation {
    pub(crate) fn malformed(part: impl Into<String>, reason: &(impl ToString + ?Sized)) -> Self {
        Self::Malformed { part: part.into(), reason: reason.to_string() }
    }
}
