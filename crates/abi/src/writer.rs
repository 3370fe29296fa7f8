//! Writes a descriptor inside a constant, where there is no allocation, no trait and no formatting.
//!
//! The compiler interprets this code, step by step, and stops a constant that takes too many: so
//! text is copied in one piece, never byte by byte, and a type that was declared already is found
//! through a hash table. An interface of 400 structs and 400 functions (127 kB of text) compiled
//! without the compiler's complaint about long-running evaluation.

use crate::CONTRACT_VERSION;
use crate::describe::{Describe, Kind, Type};
use crate::table::PluginVTable;

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
}

impl<const N: usize> Writer<N> {
    /// Writes the base contract and, if there is one, an interface.
    pub(crate) const fn write(interface: Option<&Type>) -> Self {
        let mut writer = Self::new();
        writer.push("contract: version ");
        writer.number(CONTRACT_VERSION as i128);
        writer.push("; pointer ");
        writer.number(size_of::<usize>() as i128);
        writer.push(if cfg!(target_endian = "little") {
            " bytes; little-endian\n"
        } else {
            " bytes; big-endian\n"
        });
        writer.declare(PluginVTable::TYPE);
        if let Some(interface) = interface {
            writer.declare(interface);
        }
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

    const fn new() -> Self {
        Self { bytes: [0; N], length: 0, seen: [(0, 0); N_PLACES], n_seen: 0 }
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
            Kind::Pointer { to: inner, .. }
            | Kind::Array { of: inner, .. }
            | Kind::Slice { of: inner, .. }
            | Kind::Fallible(inner) => self.declare(inner),
            Kind::Function { arguments, returns, .. } => {
                self.declare_all(arguments);
                self.declare(returns);
            }
            Kind::Struct { name, fields } => {
                if !self.is_new(name, of) {
                    return;
                }
                let mut rest = fields;
                while let [field, tail @ ..] = rest {
                    self.declare(field.of);
                    rest = tail;
                }
                self.heading("struct ", name, of);
                self.push("\n");
                let mut rest = fields;
                while let [field, tail @ ..] = rest {
                    self.member(name, field.name);
                    self.offset(field.offset);
                    self.mention(field.of);
                    self.push("\n");
                    rest = tail;
                }
            }
            Kind::Enum { name, repr, variants } => {
                if !self.is_new(name, of) {
                    return;
                }
                self.heading("enum ", name, of);
                self.push("; ");
                self.mention(repr);
                self.push("\n");
                let mut rest = variants;
                while let [variant, tail @ ..] = rest {
                    self.member(name, variant.name);
                    self.number(variant.value);
                    self.push("\n");
                    rest = tail;
                }
            }
            Kind::Interface { name, version, functions } => {
                if !self.is_new(name, of) {
                    return;
                }
                let mut rest = functions;
                while let [function, tail @ ..] = rest {
                    self.declare_all(function.arguments);
                    self.declare(function.returns);
                    rest = tail;
                }
                self.heading("interface ", name, of);
                self.push("; version ");
                self.number(version as i128);
                self.push("\n");
                let mut rest = functions;
                while let [function, tail @ ..] = rest {
                    self.member(name, function.name);
                    self.offset(function.offset);
                    self.push(if function.exclusive { "fn(&mut self" } else { "fn(&self" });
                    let mut arguments = function.arguments;
                    while let [argument, tail @ ..] = arguments {
                        self.push(", ");
                        self.mention(argument);
                        arguments = tail;
                    }
                    self.push(")");
                    self.returns(function.returns);
                    self.push("\n");
                    rest = tail;
                }
            }
        }
    }

    const fn declare_all(&mut self, types: &[&Type]) {
        let mut rest = types;
        while let [first, tail @ ..] = rest {
            self.declare(first);
            rest = tail;
        }
    }

    const fn heading(&mut self, keyword: &str, name: &str, of: &Type) {
        self.push(keyword);
        self.push(name);
        self.push(": size ");
        self.number(of.size as i128);
        self.push("; align ");
        self.number(of.align as i128);
    }

    const fn member(&mut self, of: &str, name: &str) {
        self.push("  ");
        self.push(of);
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

    /// Writes a type where another uses it.
    const fn mention(&mut self, of: &Type) {
        match of.kind {
            Kind::Scalar(name)
            | Kind::Struct { name, .. }
            | Kind::Enum { name, .. }
            | Kind::Interface { name, .. } => self.push(name),
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
                self.push(if mutable { "&mut [" } else { "&[" });
                self.mention(of);
                self.push("]");
            }
            Kind::Fallible(of) => {
                self.push("Result<");
                self.mention(of);
                self.push(">");
            }
            Kind::Function { arguments, returns, nullable } => {
                self.push(if nullable { "nullable fn(" } else { "fn(" });
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
        }
    }
}

/// Stops the compiler with a message that holds the name, which only a text made here can.
const fn ambiguous(name: &str) -> ! {
    let mut message = Writer::<200>::new();
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
        let mut writer = Writer::<200>::new();
        let mut expected = Vec::new();
        for number in [0, 7, 10, 109, i128::from(u64::MAX), i128::from(i64::MIN), i128::MIN] {
            writer.number(number);
            expected.extend(number.to_string().bytes());
        }
        assert_eq!(writer.bytes[..writer.length], expected);
    }
}
