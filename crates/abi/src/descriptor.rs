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

use crate::describe::Type;
use crate::writer::Writer;

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
    Writer::<0>::write(interface).length()
}

/// The descriptor with `interface`; `N` is its [`length`].
pub const fn text<const N: usize>(interface: Option<&Type>) -> [u8; N] {
    Writer::write(interface).bytes()
}

/// The text of what [`text`] made.
pub const fn as_text(bytes: &[u8]) -> &str {
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("names are UTF-8"),
    }
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
    if separator.is_empty() { f.write_str(line) } else { Ok(()) }
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
            found.push(Difference { name, host: Some(line), plugin: other });
        }
    }
    for (name, line) in plugin.lines().map(entry) {
        if !in_host.contains_key(name) {
            found.push(Difference { name, host: None, plugin: Some(line) });
        }
    }
    if found.is_empty() {
        let name = "the same lines in another order or number";
        found.push(Difference { name, host: None, plugin: None });
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

    use super::*;
    use crate::describe::{Describe, Field, Function, Kind, Variant};

    const SIDE: Type = Type::new(
        Kind::Enum {
            name: "Side",
            repr: u8::TYPE,
            variants: &[Variant { name: "Buy", value: 0 }, Variant { name: "Sell", value: -1 }],
        },
        1,
        1,
    );

    const fn order(first: &'static str, second: &'static str) -> Type {
        const FIELDS: [[Field; 2]; 2] = [
            [
                Field { name: "price", offset: 0, of: u64::TYPE },
                Field { name: "quantity", offset: 8, of: u64::TYPE },
            ],
            [
                Field { name: "quantity", offset: 0, of: u64::TYPE },
                Field { name: "price", offset: 8, of: u64::TYPE },
            ],
        ];
        let swapped = first.len() > second.len();
        Type::new(Kind::Struct { name: "Order", fields: &FIELDS[swapped as usize] }, 16, 8)
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
                                Kind::Slice { mutable: false, of: &ORDER },
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
        let lines: Vec<_> = differences(PLAIN, SWAPPED).iter().map(ToString::to_string).collect();
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
            let lines: Vec<_> = differences(host, plugin).iter().map(ToString::to_string).collect();
            assert_eq!(lines, expected);
        };
        check("a: offset 1; u8", "a: offset 1; u8", &[]);
        check("a: offset 1; [u8;2]", "a: offset 1; [u8;3]", &["a: host [u8;2], plugin [u8;3]"]);
        check("a: 1", "", &["a: host 1, plugin has none"]);
        check("", "a: 1", &["a: host has none, plugin 1"]);
        check("a: 1", "a: 1; 2", &["a: host 1, plugin 2"]);
        check("a: 1\nb: 2", "b: 2\na: 1", &["the same lines in another order or number"]);
    }
}
