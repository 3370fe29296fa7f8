//! Writes a descriptor inside a constant, where there is no allocation, no trait and no formatting.
//!
//! The compiler interprets this code, step by step, and stops a constant that takes too many: so
//! text is copied in one piece, never byte by byte, and a type that was declared already is found
//! through a hash table. An interface of 400 structs and 400 functions (127 kB of text) compiled
//! without the compiler's complaint about long-running evaluation.

use crate::CONTRACT_VERSION;
use crate::call::{LogField, LogLevel};
use crate::describe::{Describe, Growth, Kind, Type};
use crate::memory::SLICE;
use crate::table::ENTRY_SYMBOL;

/// The most types that one descriptor can hold: half of the table's places, so that probing ends soon.
const MAX_TYPES: usize = 1024;
const N_PLACES: usize = 2 * MAX_TYPES;

/// A descriptor in the making. With `N` = 0 nothing is kept and only the length is counted.
pub(crate) struct Writer<const N: usize> {
    bytes: [u8; N],
    length: usize,
    /// Hash of the name and identity of each type declared so far, by the former; 0 is a free place.
    seen: [(u64, u64); N_PLACES],
    n_seen: usize,
    /// Whether the types of the base contract are declared too.
    base: bool,
}

impl<const N: usize> Writer<N> {
    /// Writes the base contract: the table `root` with all that it mentions, and what the entry symbol is.
    pub(crate) const fn contract(root: &Type, entry: &Type) -> Self {
        let mut writer = Self::new(true);
        writer.push("contract: version ");
        writer.number(CONTRACT_VERSION as i128);
        writer.push("; pointer ");
        writer.number(size_of::<usize>() as i128);
        writer.push(if cfg!(target_endian = "little") {
            " bytes; little-endian\n"
        } else {
            " bytes; big-endian\n"
        });
        writer.declare(root);
        // Of the contract's own interface, the log.
        writer.declare(LogLevel::TYPE);
        writer.declare(LogField::TYPE);
        writer.push("entry ");
        writer.push(ENTRY_SYMBOL);
        writer.push(": ");
        writer.mention(entry);
        writer.push("\n");
        writer
    }

    /// Writes an interface, and all that it mentions but the base contract has not.
    pub(crate) const fn interface(interface: &Type) -> Self {
        let mut writer = Self::new(false);
        writer.declare(interface);
        writer
    }

    /// How many bytes were written, or would have been.
    pub(crate) const fn length(&self) -> usize {
        self.length
    }

    /// What was written; `N` must be its length.
    pub(crate) const fn bytes(self) -> [u8; N] {
        assert!(self.length == N, "the descriptor's length was not the one computed for it");
        self.bytes
    }

    const fn new(base: bool) -> Self {
        Self { bytes: [0; N], length: 0, seen: [(0, 0); N_PLACES], n_seen: 0, base }
    }

    const fn push(&mut self, text: &str) {
        self.push_bytes(text.as_bytes());
    }

    const fn push_bytes(&mut self, text: &[u8]) {
        if N != 0 {
            let (_, rest) = self.bytes.split_at_mut(self.length);
            let (place, _) = rest.split_at_mut(text.len());
            place.copy_from_slice(text);
        }
        self.length += text.len();
    }

    const fn number(&mut self, value: i128) {
        if value < 0 {
            self.push("-");
        }
        // 2^128 has 39 digits.
        let mut digits = [0; 39];
        let mut at = digits.len();
        let mut rest = value.unsigned_abs();
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let (_, digits) = digits.split_at(at);
        self.push_bytes(digits);
    }

    /// Whether a type has not been declared yet; it is from now on.
    const fn is_new(&mut self, name: &str, of: &Type) -> bool {
        let mut place = of.name as usize % N_PLACES;
        while self.seen[place].0 != 0 {
            let (name_hash, identity) = self.seen[place];
            if name_hash == of.name {
                if identity != of.identity {
                    ambiguous(name);
                }
                return false;
            }
            place = (place + 1) % N_PLACES;
        }
        assert!(self.n_seen < MAX_TYPES, "more than 1024 types cross this boundary");
        self.seen[place] = (of.name, of.identity);
        self.n_seen += 1;
        true
    }

    /// Declares a type that has a name, and before it all that it mentions.
    const fn declare(&mut self, of: &Type) {
        match of.kind {
            Kind::Scalar(_) => {}
            Kind::Pointer { to: inner, .. } | Kind::Array { of: inner, .. } => self.declare(inner),
            Kind::Slice { of: inner, .. } => {
                self.declare(SLICE);
                self.declare(inner);
            }
            Kind::Function { arguments, returns, .. } => {
                self.declare_all(arguments);
                self.declare(returns);
            }
            Kind::Struct { name, parameter, growth, fields } => {
                if self.is_known(name) && parameter.is_none() || !self.is_new(name, of) {
                    return;
                }
                let mut rest = fields;
                while let [field, tail @ ..] = rest {
                    self.declare(field.of);
                    rest = tail;
                }
                self.heading("struct ", of, growth);
                self.push("\n");
                let mut rest = fields;
                while let [field, tail @ ..] = rest {
                    self.member(of, field.name);
                    self.offset(field.offset);
                    self.mention(field.of);
                    self.push("\n");
                    rest = tail;
                }
            }
            Kind::Enum { name, repr, growth, variants } => {
                if self.is_known(name) || !self.is_new(name, of) {
                    return;
                }
                self.heading("enum ", of, growth);
                self.push("; ");
                self.mention(repr);
                self.push("\n");
                let mut rest = variants;
                while let [variant, tail @ ..] = rest {
                    self.member(of, variant.name);
                    self.number(variant.value);
                    self.push("\n");
                    rest = tail;
                }
            }
            Kind::Interface { id, name, version, growth, functions } => {
                if !self.is_new(name, of) {
                    return;
                }
                let mut rest = functions;
                while let [function, tail @ ..] = rest {
                    self.declare_all(function.arguments);
                    self.declare(function.returns);
                    rest = tail;
                }
                self.heading("interface ", of, growth);
                self.push("; id ");
                self.push(id);
                self.push("; version ");
                self.number(version as i128);
                self.push("\n");
                let mut rest = functions;
                while let [function, tail @ ..] = rest {
                    self.member(of, function.name);
                    self.offset(function.offset);
                    self.push(if function.exclusive { "exclusive; " } else { "shared; " });
                    self.function(function.arguments, function.returns);
                    self.push("\n");
                    rest = tail;
                }
            }
        }
    }

    /// Whether a type is one of the base contract's, and this text is not that of the contract.
    const fn is_known(&self, name: &str) -> bool {
        !self.base && matches!(name.as_bytes(), [b'k', b'e', b'y', b'w', b'a', b'y', b'.', ..])
    }

    const fn declare_all(&mut self, types: &[&Type]) {
        let mut rest = types;
        while let [first, tail @ ..] = rest {
            self.declare(first);
            rest = tail;
        }
    }

    /// `struct Order: closed; size 16; align 8`. The size of a table that may grow is in the table.
    const fn heading(&mut self, keyword: &str, of: &Type, growth: Growth) {
        self.push(keyword);
        self.mention(of);
        let table = !matches!(of.kind, Kind::Enum { .. });
        self.push(match growth {
            Growth::Closed => ": closed",
            Growth::Open if table => ": extensible",
            Growth::Open => ": open",
        });
        if !(table && matches!(growth, Growth::Open)) {
            self.push("; size ");
            self.number(of.size as i128);
        }
        self.push("; align ");
        self.number(of.align as i128);
    }

    const fn member(&mut self, of: &Type, name: &str) {
        self.push("  ");
        self.mention(of);
        self.push(".");
        self.push(name);
        self.push(": ");
    }

    const fn offset(&mut self, offset: usize) {
        self.push("offset ");
        self.number(offset as i128);
        self.push("; ");
    }

    const fn returns(&mut self, of: &Type) {
        // By its bytes: a `str` can't be matched in a constant.
        if let Kind::Scalar(name) = of.kind
            && let b"()" = name.as_bytes()
        {
            return;
        }
        self.push(" -> ");
        self.mention(of);
    }

    const fn function(&mut self, arguments: &[&Type], returns: &Type) {
        self.push("fn(");
        let mut rest = arguments;
        while let [argument, tail @ ..] = rest {
            self.mention(argument);
            if !tail.is_empty() {
                self.push(", ");
            }
            rest = tail;
        }
        self.push(")");
        self.returns(returns);
    }

    /// Writes a type where another uses it.
    const fn mention(&mut self, of: &Type) {
        match of.kind {
            Kind::Scalar(name) | Kind::Enum { name, .. } | Kind::Interface { name, .. } => {
                self.push(name);
            }
            Kind::Struct { name, parameter, .. } => {
                self.push(name);
                if let Some(parameter) = parameter {
                    self.push("<");
                    self.mention(parameter);
                    self.push(">");
                }
            }
            Kind::Pointer { mutable, to } => {
                self.push(if mutable { "*mut " } else { "*const " });
                self.mention(to);
            }
            Kind::Array { of, length } => {
                self.push("[");
                self.mention(of);
                // No space: `; ` separates the parts of a line.
                self.push(";");
                self.number(length as i128);
                self.push("]");
            }
            Kind::Slice { mutable, of } => {
                self.push(if mutable { "keyway.Slice<mut " } else { "keyway.Slice<" });
                self.mention(of);
                self.push(">");
            }
            Kind::Function { arguments, returns, nullable } => {
                if nullable {
                    self.push("nullable ");
                }
                self.function(arguments, returns);
            }
        }
    }
}

/// Stops the compiler with a message that holds the name, which only a text made here can.
const fn ambiguous(name: &str) -> ! {
    let mut message = Writer::<200>::new(true);
    let (name, _) = name.split_at(if name.len() > 100 { 100 } else { name.len() });
    message.push("two different types that cross this boundary are both named `");
    message.push(name);
    message.push("`: rename one");
    let (message, _) = message.bytes.split_at(message.length);
    match core::str::from_utf8(message) {
        Ok(message) => panic!("{}", message),
        Err(_) => panic!("two different types that cross this boundary have the same name"),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        let mut writer = Writer::<200>::new(true);
        let mut expected = Vec::new();
        for number in [0, 7, 10, 109, i128::from(u64::MAX), i128::from(i64::MIN), i128::MIN] {
            writer.number(number);
            expected.extend(number.to_string().bytes());
        }
        assert_eq!(writer.bytes[..writer.length], expected);
    }
}
