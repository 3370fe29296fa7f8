//! The layout descriptor: every type of the boundary as readable text, made at compile time.
//!
//! One line a type, field, value or function, each `name: part; part`, types before their users:
//!
//! ```text
//! contract: version 1; pointer 8 bytes; little-endian
//! struct Slice: size 16; align 8
//!   Slice.pointer: offset 0; *const u8
//! enum Side: size 1; align 1; u8
//!   Side.Buy: 0
//! interface OrderBook: version 1; size 24; align 8
//!   OrderBook.submit: offset 8; fn(&mut self, Order) -> Result<Fill>
//! ```
//!
//! [`BASE`] covers the contract without an interface. A typed interface's text begins with it and
//! goes on with the interface's own types. The SHA-256 of a plugin's text is its ABI hash; this
//! crate never computes it, since hashing in a `const` runs into the compiler's limit on
//! long-running evaluation, and since only the text can say what differs: see [`differences`].
//!
//! Over 500 lines, since the text's writer and its reader change together.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::CONTRACT_VERSION;
use crate::describe::{Describe, Hash, Kind, Type};
use crate::table::PluginVTable;

/// The most types that one descriptor can hold.
const MAX_TYPES: usize = 1024;

/// The descriptor of the base contract, which every plugin's text begins with.
pub const BASE: &str = {
    const LENGTH: usize = length(None);
    const BYTES: [u8; LENGTH] = text(None);
    as_text(&BYTES)
};

/// The part of a plugin's descriptor that describes the base contract, whatever its version: all
/// lines up to the last one of `PluginVTable`. A host that knows no interface compares it with
/// [`BASE`]; one that loads plugins of a typed interface compares the whole text.
pub fn base_of(text: &str) -> &str {
    let mut length = 0;
    let mut in_table = false;
    for line in text.split_inclusive('\n') {
        if in_table && !line.starts_with(' ') {
            return &text[..length];
        }
        in_table |= line.starts_with("struct PluginVTable:");
        length += line.len();
    }
    text
}

/// Length in bytes of the descriptor with `interface`.
pub const fn length(interface: Option<&Type>) -> usize {
    // A writer without room only counts.
    write::<0>(interface).length
}

/// The descriptor with `interface`; `N` is its [`length`].
pub const fn text<const N: usize>(interface: Option<&Type>) -> [u8; N] {
    let writer = write::<N>(interface);
    assert!(
        writer.length == N,
        "the descriptor's length was not the one computed for it"
    );
    writer.bytes
}

/// The text of what [`text`] made.
pub const fn as_text(bytes: &[u8]) -> &str {
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("names are UTF-8"),
    }
}

const fn write<const N: usize>(interface: Option<&Type>) -> Writer<N> {
    let mut writer = Writer {
        bytes: [0; N],
        length: 0,
        seen: [(0, 0); MAX_TYPES],
        n_seen: 0,
    };
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

struct Writer<const N: usize> {
    bytes: [u8; N],
    length: usize,
    /// Hash of the name and identity of each type declared so far.
    seen: [(u64, u64); MAX_TYPES],
    n_seen: usize,
}

impl<const N: usize> Writer<N> {
    const fn push(&mut self, text: &str) {
        let end = self.length + text.len();
        if N != 0 {
            let (_, rest) = self.bytes.split_at_mut(self.length);
            let (place, _) = rest.split_at_mut(text.len());
            place.copy_from_slice(text.as_bytes());
        }
        self.length = end;
    }

    const fn number(&mut self, value: i128) {
        const DIGITS: &str = "0123456789";
        if value < 0 {
            self.push("-");
        }
        let value = value.unsigned_abs();
        let mut power = 1;
        while value / power >= 10 {
            power *= 10;
        }
        while power > 0 {
            let digit = (value / power % 10) as usize;
            let (_, from) = DIGITS.split_at(digit);
            let (digit, _) = from.split_at(1);
            self.push(digit);
            power /= 10;
        }
    }

    /// Whether a type has not been declared yet; it is from now on.
    const fn is_new(&mut self, name: &str, of: &Type) -> bool {
        let hash = Hash::new().text(name).0;
        let mut at = 0;
        while at < self.n_seen {
            let (seen_name, identity) = self.seen[at];
            if identity == of.identity {
                return false;
            }
            if seen_name == hash {
                ambiguous(name);
            }
            at += 1;
        }
        assert!(
            self.n_seen < MAX_TYPES,
            "more than 1024 types cross this boundary"
        );
        self.seen[self.n_seen] = (hash, of.identity);
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
            Kind::Function {
                arguments, returns, ..
            } => {
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
            Kind::Enum {
                name,
                repr,
                variants,
            } => {
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
            Kind::Interface {
                name,
                version,
                functions,
            } => {
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
                    self.push(if function.exclusive {
                        "fn(&mut self"
                    } else {
                        "fn(&self"
                    });
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
            Kind::Function {
                arguments,
                returns,
                nullable,
            } => {
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
    let mut message = Writer::<200> {
        bytes: [b' '; 200],
        length: 0,
        seen: [(0, 0); MAX_TYPES],
        n_seen: 0,
    };
    let (name, _) = name.split_at(if name.len() > 100 { 100 } else { name.len() });
    message.push("two different types that cross this boundary are both named `");
    message.push(name);
    message.push("`: rename one");
    let (message, _) = message.bytes.split_at(message.length);
    panic!("{}", as_text(message))
}

/// One line on which two descriptors disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference<'a> {
    /// What the line is about: `PluginVTable.invoke`, `struct Order`.
    pub name: &'a str,
    /// The rest of the host's line, if it has one.
    pub host: Option<&'a str>,
    /// The rest of the plugin's line, if it has one.
    pub plugin: Option<&'a str>,
}

impl fmt::Display for Difference<'_> {
    /// `PluginVTable.invoke: host offset 24, plugin offset 32`: parts on which both agree are left
    /// out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, host, plugin } = self;
        match (host, plugin) {
            (Some(host), Some(plugin)) => {
                write!(f, "{name}: host ")?;
                parts_not_in(f, host, plugin)?;
                f.write_str(", plugin ")?;
                parts_not_in(f, plugin, host)
            }
            (Some(host), None) => write!(f, "{name}: host {host}, plugin has none"),
            (None, Some(plugin)) => write!(f, "{name}: host has none, plugin {plugin}"),
            (None, None) => write!(f, "{name}"),
        }
    }
}

/// Writes the `; `-separated parts of `line` that differ from the part of `other` at that place.
fn parts_not_in(f: &mut fmt::Formatter<'_>, line: &str, other: &str) -> fmt::Result {
    let mut others = other.split("; ");
    let mut separator = "";
    for part in line.split("; ") {
        if others.next() != Some(part) {
            write!(f, "{separator}{part}")?;
            separator = "; ";
        }
    }
    if separator.is_empty() {
        f.write_str(line)
    } else {
        Ok(())
    }
}

/// Where the plugin's descriptor differs from the host's, in the host's order, then what only the
/// plugin has, in the plugin's order. Texts that differ in nothing but the order of their lines
/// yield one difference that says so. Empty if and only if the texts are equal.
pub fn differences<'a>(host: &'a str, plugin: &'a str) -> Vec<Difference<'a>> {
    let mut found = Vec::new();
    if host == plugin {
        return found;
    }
    let in_host: BTreeMap<_, _> = host.lines().map(entry).collect();
    let in_plugin: BTreeMap<_, _> = plugin.lines().map(entry).collect();
    for (name, line) in host.lines().map(entry) {
        let other = in_plugin.get(name).copied();
        if other != Some(line) {
            found.push(Difference {
                name,
                host: Some(line),
                plugin: other,
            });
        }
    }
    for (name, line) in plugin.lines().map(entry) {
        if !in_host.contains_key(name) {
            found.push(Difference {
                name,
                host: None,
                plugin: Some(line),
            });
        }
    }
    if found.is_empty() {
        let name = "the same lines in another order or number";
        found.push(Difference {
            name,
            host: None,
            plugin: None,
        });
    }
    found
}

/// The name before the first `: `, and the rest.
fn entry(line: &str) -> (&str, &str) {
    let line = line.trim_start();
    line.split_once(": ").unwrap_or((line, ""))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;
    use crate::describe::{Field, Function, Variant};

    const SIDE: Type = Type::new(
        Kind::Enum {
            name: "Side",
            repr: u8::TYPE,
            variants: &[
                Variant {
                    name: "Buy",
                    value: 0,
                },
                Variant {
                    name: "Sell",
                    value: -1,
                },
            ],
        },
        1,
        1,
    );

    const fn order(first: &'static str, second: &'static str) -> Type {
        const FIELDS: [[Field; 2]; 2] = [
            [
                Field {
                    name: "price",
                    offset: 0,
                    of: u64::TYPE,
                },
                Field {
                    name: "quantity",
                    offset: 8,
                    of: u64::TYPE,
                },
            ],
            [
                Field {
                    name: "quantity",
                    offset: 0,
                    of: u64::TYPE,
                },
                Field {
                    name: "price",
                    offset: 8,
                    of: u64::TYPE,
                },
            ],
        ];
        let swapped = first.len() > second.len();
        Type::new(
            Kind::Struct {
                name: "Order",
                fields: &FIELDS[swapped as usize],
            },
            16,
            8,
        )
    }

    macro_rules! interface {
        ($order:expr) => {{
            const ORDER: Type = $order;
            const BOOK: Type = Type::new(
                Kind::Interface {
                    name: "Book",
                    version: 3,
                    functions: &[
                        Function {
                            name: "submit",
                            offset: 8,
                            exclusive: true,
                            arguments: &[&ORDER, &SIDE],
                            returns: &Type::new(Kind::Fallible(&ORDER), 0, 1),
                        },
                        Function {
                            name: "reset",
                            offset: 16,
                            exclusive: false,
                            arguments: &[&Type::new(
                                Kind::Slice {
                                    mutable: false,
                                    of: &ORDER,
                                },
                                16,
                                8,
                            )],
                            returns: <()>::TYPE,
                        },
                    ],
                },
                24,
                8,
            );
            const LENGTH: usize = length(Some(&BOOK));
            const BYTES: [u8; LENGTH] = text(Some(&BOOK));
            as_text(&BYTES)
        }};
    }

    const PLAIN: &str = interface!(order("price", "quantity"));
    const SWAPPED: &str = interface!(order("quantity", "price"));

    #[test]
    fn an_interface_follows_the_base_contract() {
        let own = PLAIN.strip_prefix(BASE).expect("the base comes first");
        let expected = "\
struct Order: size 16; align 8
  Order.price: offset 0; u64
  Order.quantity: offset 8; u64
enum Side: size 1; align 1; u8
  Side.Buy: 0
  Side.Sell: -1
interface Book: size 24; align 8; version 3
  Book.submit: offset 8; fn(&mut self, Order, Side) -> Result<Order>
  Book.reset: offset 16; fn(&self, &[Order])
";
        assert_eq!(own, expected);
        assert_eq!(base_of(PLAIN), BASE);
        assert_eq!(base_of(BASE), BASE);
        assert_eq!(base_of(""), "");
    }

    #[test]
    fn a_swap_of_two_fields_is_named() {
        let lines: Vec<_> = differences(PLAIN, SWAPPED)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "Order.price: host offset 0, plugin offset 8",
                "Order.quantity: host offset 8, plugin offset 0",
            ]
        );
    }

    #[test]
    fn every_kind_of_difference_is_told() {
        let check = |host, plugin, expected: &[&str]| {
            let lines: Vec<_> = differences(host, plugin)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(lines, expected);
        };
        check("a: offset 1; u8", "a: offset 1; u8", &[]);
        check(
            "a: offset 1; [u8;2]",
            "a: offset 1; [u8;3]",
            &["a: host [u8;2], plugin [u8;3]"],
        );
        check("a: 1", "", &["a: host 1, plugin has none"]);
        check("", "a: 1", &["a: host has none, plugin 1"]);
        check("a: 1", "a: 1; 2", &["a: host 1, plugin 2"]);
        check(
            "a: 1\nb: 2",
            "b: 2\na: 1",
            &["the same lines in another order or number"],
        );
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        let mut writer = Writer::<200> {
            bytes: [0; 200],
            length: 0,
            seen: [(0, 0); MAX_TYPES],
            n_seen: 0,
        };
        let numbers = [0, 7, 10, 109, i128::from(u64::MAX), i128::from(i64::MIN)];
        let mut expected = vec![];
        for number in numbers {
            writer.number(number);
            expected.extend(number.to_string().bytes());
        }
        assert_eq!(writer.bytes[..writer.length], expected);
    }
}
