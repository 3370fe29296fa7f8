//! How the contract's types are laid out on a target, whichever this is.
//!
//! What the compiler says holds for the target that it compiles for. Of the others four things decide,
//! which make a [`Model`]: then `repr(C)` has but one layout. A test compares the model of this target
//! with what the compiler says.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use crate::call::{LogField, LogLevel};
use crate::describe::{Describe, Kind, Type};
use crate::descriptor::CONTRACT;
use crate::memory::SLICE;
use crate::table::{Entry, Library};

/// What of a target decides how `repr(C)` lays out what crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// Size of a pointer, and of `usize`, in bytes.
    pub pointer: usize,
    /// Alignment of integers and floats of 64 bits, in bytes.
    pub align_of_u64: usize,
    /// The byte order.
    pub is_little_endian: bool,
}

/// The models of the targets that plugins are built for.
pub const MODELS: [Model; 4] = [
    Model { pointer: 8, align_of_u64: 8, is_little_endian: true },
    Model { pointer: 8, align_of_u64: 8, is_little_endian: false },
    // ARM, and Windows on x86.
    Model { pointer: 4, align_of_u64: 8, is_little_endian: true },
    // The System V ABI of x86.
    Model { pointer: 4, align_of_u64: 4, is_little_endian: true },
];

impl Model {
    /// That of the target that this crate is compiled for.
    pub const HERE: Self = Self {
        pointer: size_of::<usize>(),
        align_of_u64: align_of::<u64>(),
        is_little_endian: cfg!(target_endian = "little"),
    };

    /// That of a target triple; `None` for an architecture that is not known here.
    pub fn of(target: &str) -> Option<Self> {
        let arch = target.split('-').next().unwrap_or_default();
        let is_x86 = matches!(arch, "i386" | "i486" | "i586" | "i686");
        let is_narrow = is_x86
            || matches!(arch, "arm" | "armeb" | "mips" | "mipsel" | "powerpc")
            || arch.starts_with("armv")
            || arch.starts_with("riscv32");
        if !is_narrow && !arch.contains("64") && arch != "s390x" {
            return None;
        }
        let is_big = matches!(
            arch,
            "s390x"
                | "powerpc"
                | "powerpc64"
                | "mips"
                | "mips64"
                | "sparc64"
                | "aarch64_be"
                | "armeb"
        );
        Some(Self {
            pointer: if is_narrow { 4 } else { 8 },
            // The System V ABI of x86 aligns them as integers of 32 bits, Windows by their size; every
            // other architecture with pointers of 32 bits above has them at eight.
            align_of_u64: if is_x86 && !target.contains("-windows") { 4 } else { 8 },
            is_little_endian: !is_big,
        })
    }

    /// Size and alignment of a type, in bytes.
    pub(crate) fn measure(self, of: &Type) -> (usize, usize) {
        match of.kind() {
            Kind::Scalar("usize" | "isize") | Kind::Pointer { .. } | Kind::Function { .. } => {
                (self.pointer, self.pointer)
            }
            Kind::Scalar("u64" | "i64" | "f64") => (8, self.align_of_u64),
            // All others are the same everywhere.
            Kind::Scalar(_) | Kind::Interface { .. } => (of.size(), of.align()),
            Kind::Array { of, length } => {
                let (size, align) = self.measure(of);
                (size * length, align)
            }
            Kind::Slice { .. } => self.measure(SLICE),
            Kind::Enum { repr, .. } => self.measure(repr),
            Kind::Struct { .. } => {
                let (_, size, align) = self.fields(of);
                (size, align)
            }
        }
    }

    /// The offsets of a struct's fields, its size and its alignment, in bytes.
    pub(crate) fn fields(self, of: &Type) -> (Vec<usize>, usize, usize) {
        let Kind::Struct { fields, .. } = of.kind() else { return (Vec::new(), 0, 1) };
        let (mut end, mut align) = (0_usize, 1);
        let mut offsets = Vec::new();
        for field in *fields {
            let (size, of_field) = self.measure(field.of);
            let at = end.next_multiple_of(of_field);
            offsets.push(at);
            end = at + size;
            align = align.max(of_field);
        }
        (offsets, end.next_multiple_of(align), align)
    }

    /// The descriptor of the contract on a target of this model.
    pub fn contract(self) -> String {
        let mut text = String::new();
        let mut types = declared().into_iter();
        let mut offsets = Vec::new().into_iter();
        for line in CONTRACT.lines() {
            // Writing to a text does not fail.
            let _ = match line.split(": ").next().unwrap_or_default() {
                "contract" => {
                    let order = if self.is_little_endian { "little" } else { "big" };
                    let version = line.split("; ").next().unwrap_or_default();
                    let pointer = self.pointer;
                    writeln!(text, "{version}; pointer {pointer} bytes; {order}-endian")
                }
                head if head.starts_with("struct ") => {
                    let of = types.find(|of| matches!(of.kind(), Kind::Struct { .. }));
                    let (of_fields, size, align) = of.map(|of| self.fields(of)).unwrap_or_default();
                    offsets = of_fields.into_iter();
                    let size = line.contains("; size ").then(|| alloc::format!("; size {size}"));
                    let start = line.split("; ").next().unwrap_or_default();
                    writeln!(text, "{start}{}; align {align}", size.unwrap_or_default())
                }
                _ => match (line.split_once(": offset "), offsets.next()) {
                    (Some((name, rest)), Some(offset)) => {
                        let (_, of) = rest.split_once("; ").unwrap_or_default();
                        writeln!(text, "{name}: offset {offset}; {of}")
                    }
                    _ => writeln!(text, "{line}"),
                },
            };
        }
        text
    }
}

/// The types of the contract in the order in which its descriptor declares them.
pub(crate) fn declared() -> Vec<&'static Type> {
    let mut found = Vec::new();
    declare(Library::TYPE, &mut found);
    declare(LogLevel::TYPE, &mut found);
    declare(LogField::TYPE, &mut found);
    declare(Entry::TYPE, &mut found);
    found
}

fn declare(of: &'static Type, found: &mut Vec<&'static Type>) {
    match of.kind() {
        Kind::Scalar(_) | Kind::Interface { .. } => {}
        Kind::Pointer { to: inner, .. } | Kind::Array { of: inner, .. } => declare(inner, found),
        Kind::Slice { of: inner, .. } => {
            declare(SLICE, found);
            declare(inner, found);
        }
        Kind::Function { arguments, returns, .. } => {
            arguments.iter().for_each(|of| declare(of, found));
            declare(returns, found);
        }
        Kind::Struct { fields, .. } => {
            if !found.iter().any(|known| known.identity == of.identity) {
                fields.iter().for_each(|field| declare(field.of, found));
                found.push(of);
            }
        }
        Kind::Enum { .. } => {
            if !found.iter().any(|known| known.identity == of.identity) {
                found.push(of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_of_this_target_is_what_its_compiler_says() {
        assert_eq!(Model::HERE.contract(), CONTRACT);
        assert!(MODELS.contains(&Model::HERE));
        assert_eq!(Model::of(crate::stamp::TARGET), Some(Model::HERE));
    }

    #[test]
    fn a_target_says_which_model_it_has() {
        let of = |target| Model::of(target).map(|of| (of.pointer, of.align_of_u64));
        assert_eq!(of("i686-unknown-linux-gnu"), Some((4, 4)));
        assert_eq!(of("i686-pc-windows-gnu"), Some((4, 8)));
        assert_eq!(of("armv7-unknown-linux-gnueabihf"), Some((4, 8)));
        assert_eq!(of("aarch64-apple-darwin"), Some((8, 8)));
        assert_ne!(Model::of("s390x-unknown-linux-gnu"), Model::of("aarch64-apple-darwin"));
        assert_eq!(of("sparc-unknown-linux-gnu"), None);
    }

    #[test]
    fn each_model_has_another_text() {
        let texts = MODELS.map(Model::contract);
        for (at, text) in texts.iter().enumerate() {
            assert!(!texts[..at].contains(text), "{text}");
            assert_eq!(text.lines().count(), CONTRACT.lines().count());
        }
        for (text, align) in [(&texts[2], 8), (&texts[3], 4)] {
            let line = alloc::format!("struct keyway.CallContext: extensible; align {align}\n");
            assert!(text.contains(&line), "{text}");
        }
    }
}
