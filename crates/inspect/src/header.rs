//! The first bytes of an object file: enough to turn most wrong files away.
//!
//! [`Header::read`] looks at [`Header::PREFIX`] bytes at most and allocates nothing.

use std::fmt;

use keyway_manifest::{ObjectFormat, Triple};
use object::endian::{LittleEndian, U16, U32};
use object::macho;
use object::{elf, pe, pod};
use serde::{Serialize, Serializer};
use thiserror::Error;

/// What the first bytes of an object file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Header {
    /// The object format.
    pub format: ObjectFormat,
    /// The class: how wide an address is.
    pub class: Class,
    /// The byte order.
    pub endian: Endian,
    /// The processor.
    pub machine: Machine,
    /// Library, program, or neither.
    pub kind: Kind,
    /// The operating system, as far as the header tells.
    pub os: Os,
}

/// How wide an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
}

/// The order of bytes in a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endian {
    /// The lowest byte first.
    Little,
    /// The highest byte first.
    Big,
}

/// A processor family. Width and byte order are told apart by [`Class`] and [`Endian`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// x86, 32 bits.
    X86,
    /// x86-64.
    X86_64,
    /// 32-bit ARM.
    Arm,
    /// 64-bit ARM.
    Aarch64,
    /// RISC-V.
    RiscV,
    /// IBM Z.
    S390,
    /// PowerPC, 32 bits.
    PowerPc,
    /// PowerPC, 64 bits.
    PowerPc64,
    /// LoongArch.
    LoongArch,
    /// MIPS.
    Mips,
    /// SPARC, 64 bits.
    Sparc64,
    /// Any other, by the number in the header.
    Other(u32),
}

/// What an object file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A library that a running program can load.
    DynamicLibrary,
    /// A program.
    Executable,
    /// Input for a linker.
    Relocatable,
    /// Anything else, a core dump for example.
    Other,
}

/// An operating system, as far as a header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Os {
    /// ELF's default, which Linux uses and most others accept.
    Unspecified,
    /// Linux.
    Linux,
    /// FreeBSD.
    FreeBsd,
    /// Windows.
    Windows,
    /// macOS and its relatives.
    Apple,
    /// Any other, by the number in the ELF header.
    Other(u8),
}

/// Why bytes have no header to look at.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// They begin like nothing that can be loaded.
    #[error("the file is neither ELF, PE nor Mach-O: it begins like {looks_like}")]
    NotAnObject {
        /// What they begin like.
        looks_like: &'static str,
    },
    /// A Mach-O file for several processors at once.
    #[error(
        "the file is a universal Mach-O binary, which holds a library for each of several targets"
    )]
    Universal,
    /// The header ends early or contradicts itself.
    #[error("the {format} header is damaged: {reason}")]
    Damaged {
        /// The format that the first bytes name.
        format: ObjectFormat,
        /// What is wrong.
        reason: &'static str,
    },
}

/// One thing in which a header does not fit a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The part of the header: `format`, `class`, `endian`, `machine`, `kind` or `os`.
    pub part: &'static str,
    /// What the header says.
    pub found: String,
    /// What the target needs.
    pub expected: String,
}

impl Header {
    /// How many bytes of a file [`Header::read`] needs at most.
    pub const PREFIX: usize = 4096;

    /// Reads the header from the whole file or from its first [`Header::PREFIX`] bytes.
    ///
    /// # Errors
    ///
    /// The bytes are no object file, or their header is damaged.
    pub fn read(prefix: &[u8]) -> Result<Self, HeaderError> {
        match prefix {
            [0x7f, b'E', b'L', b'F', ..] => read_elf(prefix),
            [b'M', b'Z', ..] => read_pe(prefix),
            [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] => read_macho(prefix, Endian::Little),
            [0xfe, 0xed, 0xfa, 0xcf | 0xce, ..] => read_macho(prefix, Endian::Big),
            // Java classes begin with the same four bytes; their next field is never this small.
            [0xca, 0xfe, 0xba, 0xbe | 0xbf, 0, 0, 0, 0..=0x1f, ..] => Err(HeaderError::Universal),
            _ => Err(HeaderError::NotAnObject { looks_like: looks_like(prefix) }),
        }
    }

    /// Everything in which this header differs from what a plugin for `target` has.
    ///
    /// A target with an architecture that this version doesn't know never fits.
    pub fn mismatches(&self, target: &Triple) -> Vec<Mismatch> {
        let mut all = Vec::new();
        let mut compare = |part, found: &dyn fmt::Display, expected: &dyn fmt::Display| {
            let (found, expected) = (found.to_string(), expected.to_string());
            if found != expected {
                all.push(Mismatch { part, found, expected });
            }
        };
        compare("format", &self.format, &format_of(target));
        match machine_of(target.arch()) {
            Some((machine, class, endian)) => {
                compare("machine", &self.machine, &machine);
                compare("class", &self.class, &class);
                compare("endian", &self.endian, &endian);
            }
            None => compare("machine", &self.machine, &"an architecture that is known here"),
        }
        compare("kind", &self.kind, &Kind::DynamicLibrary);
        match os_of(target) {
            Some(os) if self.os != Os::Unspecified => compare("os", &self.os, &os),
            _ => {}
        }
        all
    }
}

fn format_of(target: &Triple) -> ObjectFormat {
    match () {
        () if target.is_windows() => ObjectFormat::Pe,
        () if target.is_apple() => ObjectFormat::Macho,
        () => ObjectFormat::Elf,
    }
}

fn os_of(target: &Triple) -> Option<Os> {
    let named = |name: &str| target.as_str().split('-').any(|part| part.starts_with(name));
    match () {
        () if target.is_windows() => Some(Os::Windows),
        () if target.is_apple() => Some(Os::Apple),
        () if named("linux") || named("android") => Some(Os::Linux),
        () if named("freebsd") => Some(Os::FreeBsd),
        () => None,
    }
}

/// The first part of a triple, as <https://doc.rust-lang.org/rustc/platform-support.html> lists it.
fn machine_of(arch: &str) -> Option<(Machine, Class, Endian)> {
    use {Class::*, Endian::*, Machine::*};
    Some(match arch {
        "i386" | "i486" | "i586" | "i686" => (X86, Bits32, Little),
        "x86_64" | "x86_64h" => (X86_64, Bits64, Little),
        "aarch64" | "arm64e" => (Aarch64, Bits64, Little),
        "aarch64_be" => (Aarch64, Bits64, Big),
        "armeb" | "armebv7r" => (Arm, Bits32, Big),
        arch if arch.starts_with("arm") || arch.starts_with("thumb") => (Arm, Bits32, Little),
        arch if arch.starts_with("riscv64") => (RiscV, Bits64, Little),
        arch if arch.starts_with("riscv32") => (RiscV, Bits32, Little),
        "s390x" => (S390, Bits64, Big),
        "powerpc" => (PowerPc, Bits32, Big),
        "powerpc64" => (PowerPc64, Bits64, Big),
        "powerpc64le" => (PowerPc64, Bits64, Little),
        "loongarch64" => (LoongArch, Bits64, Little),
        "mips" | "mipsisa32r6" => (Mips, Bits32, Big),
        "mipsel" | "mipsisa32r6el" => (Mips, Bits32, Little),
        "mips64" | "mipsisa64r6" => (Mips, Bits64, Big),
        "mips64el" | "mipsisa64r6el" => (Mips, Bits64, Little),
        "sparc64" | "sparcv9" => (Sparc64, Bits64, Big),
        _ => return None,
    })
}

fn read_elf(bytes: &[u8]) -> Result<Header, HeaderError> {
    let damaged = |reason| HeaderError::Damaged { format: ObjectFormat::Elf, reason };
    // Both classes begin with the same twenty bytes: `e_ident`, `e_type`, `e_machine`.
    let [_, _, _, _, class, data, version, abi, .., t0, t1, m0, m1] =
        *bytes.first_chunk::<20>().ok_or(damaged("it ends early"))?;
    let (class, length) = match elf::FileClass(class) {
        elf::ELFCLASS32 => (Class::Bits32, size_of::<elf::FileHeader32<LittleEndian>>()),
        elf::ELFCLASS64 => (Class::Bits64, size_of::<elf::FileHeader64<LittleEndian>>()),
        _ => return Err(damaged("its class is neither 32 nor 64 bits")),
    };
    let endian = match elf::DataEncoding(data) {
        elf::ELFDATA2LSB => Endian::Little,
        elf::ELFDATA2MSB => Endian::Big,
        _ => return Err(damaged("its byte order is neither little nor big")),
    };
    if bytes.len() < length {
        return Err(damaged("it ends early"));
    }
    // What follows the twenty bytes is `e_version`; a loader looks at both.
    let current = match endian {
        Endian::Little => [1, 0, 0, 0],
        Endian::Big => [0, 0, 0, 1],
    };
    if version != elf::EV_CURRENT.0 || bytes[20..24] != current {
        return Err(damaged("its version is not 1"));
    }
    let number = |pair: [u8; 2]| match endian {
        Endian::Little => u16::from_le_bytes(pair),
        Endian::Big => u16::from_be_bytes(pair),
    };
    Ok(Header {
        format: ObjectFormat::Elf,
        class,
        endian,
        machine: match elf::Machine(number([m0, m1])) {
            elf::EM_386 => Machine::X86,
            elf::EM_X86_64 => Machine::X86_64,
            elf::EM_ARM => Machine::Arm,
            elf::EM_AARCH64 => Machine::Aarch64,
            elf::EM_RISCV => Machine::RiscV,
            elf::EM_S390 => Machine::S390,
            elf::EM_PPC => Machine::PowerPc,
            elf::EM_PPC64 => Machine::PowerPc64,
            elf::EM_LOONGARCH => Machine::LoongArch,
            elf::EM_MIPS => Machine::Mips,
            elf::EM_SPARCV9 => Machine::Sparc64,
            other => Machine::Other(other.0.into()),
        },
        kind: match elf::FileType(number([t0, t1])) {
            elf::ET_DYN => Kind::DynamicLibrary,
            elf::ET_EXEC => Kind::Executable,
            elf::ET_REL => Kind::Relocatable,
            _ => Kind::Other,
        },
        os: match elf::OsAbi(abi) {
            elf::ELFOSABI_NONE => Os::Unspecified,
            elf::ELFOSABI_LINUX => Os::Linux,
            elf::ELFOSABI_FREEBSD => Os::FreeBsd,
            other => Os::Other(other.0),
        },
    })
}

/// <https://learn.microsoft.com/en-us/windows/win32/debug/pe-format>
fn read_pe(bytes: &[u8]) -> Result<Header, HeaderError> {
    let damaged = |reason| HeaderError::Damaged { format: ObjectFormat::Pe, reason };
    let short = |()| damaged("it ends early");
    let (dos, _) = pod::from_bytes::<pe::ImageDosHeader>(bytes).map_err(short)?;
    let offset = dos.e_lfanew.get(LittleEndian) as usize;
    let rest = bytes.get(offset..).filter(|_| offset + 26 <= Header::PREFIX);
    let rest = rest.ok_or(damaged("it says that the PE header is far away"))?;
    let (signature, rest) = pod::from_bytes::<U32<LittleEndian>>(rest).map_err(short)?;
    if signature.get(LittleEndian) != pe::IMAGE_NT_SIGNATURE {
        return Err(damaged("there is no PE signature, so it is a DOS program or cut"));
    }
    let (file, rest) = pod::from_bytes::<pe::ImageFileHeader>(rest).map_err(short)?;
    let (magic, _) = pod::from_bytes::<U16<LittleEndian>>(rest).map_err(short)?;
    let flags = file.characteristics.get(LittleEndian);
    Ok(Header {
        format: ObjectFormat::Pe,
        class: match magic.get(LittleEndian) {
            pe::IMAGE_NT_OPTIONAL_HDR32_MAGIC => Class::Bits32,
            pe::IMAGE_NT_OPTIONAL_HDR64_MAGIC => Class::Bits64,
            _ => return Err(damaged("its optional header is neither PE32 nor PE32+")),
        },
        endian: Endian::Little,
        machine: match file.machine.get(LittleEndian) {
            pe::IMAGE_FILE_MACHINE_I386 => Machine::X86,
            pe::IMAGE_FILE_MACHINE_AMD64 => Machine::X86_64,
            pe::IMAGE_FILE_MACHINE_ARM | pe::IMAGE_FILE_MACHINE_ARMNT => Machine::Arm,
            pe::IMAGE_FILE_MACHINE_ARM64 => Machine::Aarch64,
            pe::IMAGE_FILE_MACHINE_RISCV64 => Machine::RiscV,
            other => Machine::Other(other.0.into()),
        },
        kind: match () {
            () if !flags.contains(pe::IMAGE_FILE_EXECUTABLE_IMAGE) => Kind::Other,
            () if flags.contains(pe::IMAGE_FILE_DLL) => Kind::DynamicLibrary,
            () => Kind::Executable,
        },
        os: Os::Windows,
    })
}

fn read_macho(bytes: &[u8], endian: Endian) -> Result<Header, HeaderError> {
    let damaged = |reason| HeaderError::Damaged { format: ObjectFormat::Macho, reason };
    let (class, length) = match bytes {
        [0xcf, ..] | [_, _, _, 0xcf, ..] => {
            (Class::Bits64, size_of::<macho::MachHeader64<LittleEndian>>())
        }
        _ => (Class::Bits32, size_of::<macho::MachHeader32<LittleEndian>>()),
    };
    if bytes.len() < length {
        return Err(damaged("it ends early"));
    }
    let word = |index: usize| {
        let bytes = bytes.get(index * 4..).and_then(<[u8]>::first_chunk::<4>);
        let bytes = bytes.copied().unwrap_or_default();
        match endian {
            Endian::Little => u32::from_le_bytes(bytes),
            Endian::Big => u32::from_be_bytes(bytes),
        }
    };
    Ok(Header {
        format: ObjectFormat::Macho,
        class,
        endian,
        machine: match macho::CpuType(word(1) as _) {
            macho::CPU_TYPE_X86 => Machine::X86,
            macho::CPU_TYPE_X86_64 => Machine::X86_64,
            macho::CPU_TYPE_ARM => Machine::Arm,
            macho::CPU_TYPE_ARM64 => Machine::Aarch64,
            macho::CPU_TYPE_POWERPC => Machine::PowerPc,
            macho::CPU_TYPE_POWERPC64 => Machine::PowerPc64,
            _ => Machine::Other(word(1)),
        },
        kind: match macho::FileType(word(3)) {
            macho::MH_DYLIB | macho::MH_BUNDLE => Kind::DynamicLibrary,
            macho::MH_EXECUTE => Kind::Executable,
            macho::MH_OBJECT => Kind::Relocatable,
            _ => Kind::Other,
        },
        os: Os::Apple,
    })
}

fn looks_like(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "an empty file",
        [b'#', b'!', ..] => "a script",
        [b'!', b'<', b'a', b'r', b'c', b'h', b'>', ..] => "a static library",
        [0, b'a', b's', b'm', ..] => "WebAssembly",
        [b'B', b'C', 0xc0, 0xde, ..] => "LLVM bitcode",
        [b'P', b'K', ..] => "a zip archive",
        [0x1f, 0x8b, ..] => "a gzip archive",
        [0xca, 0xfe, 0xba, 0xbe, ..] => "a Java class",
        bytes if bytes.iter().take(64).all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) => {
            "text"
        }
        _ => "none of the formats known here",
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bits32 => "32-bit",
            Self::Bits64 => "64-bit",
        })
    }
}

impl fmt::Display for Endian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Little => "little-endian",
            Self::Big => "big-endian",
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::X86 => "x86",
            Self::X86_64 => "x86_64",
            Self::Arm => "arm",
            Self::Aarch64 => "aarch64",
            Self::RiscV => "riscv",
            Self::S390 => "s390",
            Self::PowerPc => "powerpc",
            Self::PowerPc64 => "powerpc64",
            Self::LoongArch => "loongarch",
            Self::Mips => "mips",
            Self::Sparc64 => "sparc64",
            Self::Other(number) => return write!(f, "machine {number:#x}"),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::DynamicLibrary => "dynamic library",
            Self::Executable => "executable",
            Self::Relocatable => "relocatable object",
            Self::Other => "other object",
        })
    }
}

impl fmt::Display for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unspecified => "unspecified",
            Self::Linux => "linux",
            Self::FreeBsd => "freebsd",
            Self::Windows => "windows",
            Self::Apple => "apple",
            Self::Other(number) => return write!(f, "OS ABI {number}"),
        })
    }
}

macro_rules! serialize_as_displayed {
    ($($type:ty)*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

serialize_as_displayed!(Class Endian Machine Kind Os);
