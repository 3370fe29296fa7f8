//! The layout descriptor: every type of the boundary as readable text, made at compile time.
//!
//! One line a type, field, value or function, each `name: part; part`, types before their users:
//!
//! ```text
//! contract: version 1; pointer 8 bytes; little-endian
//! struct keyway.Slice: closed; size 16; align 8
//!   keyway.Slice.pointer: offset 0; *const u8
//! enum keyway.CallStatus: open; size 4; align 4; u32
//!   keyway.CallStatus.OK: 0
//! entry keyway_plugin_v1: fn() -> *const keyway.Library
//! ```
//!
//! [`CONTRACT`] is the text of the contract that every plugin has; each interface has a text of its
//! own, which mentions the contract's types and does not repeat them. What is described is what stands
//! in the tables, the replies, the context and the elements of slices, not what an author wrote.
//! The SHA-256 of a text is its ABI hash; this
//! crate never computes it, since hashing in a `const` runs into the compiler's limit on
//! long-running evaluation, and since only the text can say what differs: see [`differences`].
//!
//! Two texts need not be equal. [`conflicts`] says where one is no later version of the other: what is
//! `extensible` or `open` may have more at its end, everything else that both have must be equal.
//!
//! Over 500 lines, since the text's writer and its reader change together.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::describe::{Describe, Type};
use crate::table::{Entry, Library};
use crate::writer::Writer;

/// The descriptor of the contract.
pub const CONTRACT: &str = {
    const LENGTH: usize = Writer::<0>::contract(Library::TYPE, Entry::TYPE).length();
    const BYTES: [u8; LENGTH] = Writer::contract(Library::TYPE, Entry::TYPE).bytes();
    as_text(&BYTES)
};

/// Length in bytes of the descriptor of `interface`.
pub const fn length(interface: &Type) -> usize {
    // A writer without room only counts.
    Writer::<0>::interface(interface).length()
}

/// The descriptor of `interface`; `N` is its [`length`].
pub const fn text<const N: usize>(interface: &Type) -> [u8; N] {
    Writer::interface(interface).bytes()
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
    /// What the line is about: `Library.invoke`, `struct Order`.
    pub name: &'a str,
    /// The rest of the host's line, if it has one.
    pub host: Option<&'a str>,
    /// The rest of the plugin's line, if it has one.
    pub plugin: Option<&'a str>,
}

impl fmt::Display for Difference<'_> {
    /// `Library.invoke: host offset 24, plugin offset 32`: parts on which both agree are left
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

/// What an interface's text says of one of its functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionLine<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it takes the instance shared.
    pub is_shared: bool,
}

/// The function at a place of the interface that `text` describes, 0 being the first.
pub fn function(text: &str, place: u32) -> Option<FunctionLine<'_>> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("interface "));
    lines.next()?;
    let line = lines.nth(usize::try_from(place).ok()?)?;
    let (path, rest) = line.strip_prefix("  ")?.split_once(": ")?;
    let (_, name) = path.split_once('.')?;
    let (_, how) = rest.split_once("; ")?;
    Some(FunctionLine { name, is_shared: how.starts_with("shared; ") })
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

/// Where neither text is a later version of the other: all that keeps a host of the one from using a
/// plugin of the other. Empty for equal texts, and for those of which one has more at the end of what
/// may grow.
pub fn conflicts<'a>(host: &'a str, plugin: &'a str) -> Vec<Difference<'a>> {
    if host == plugin {
        return Vec::new();
    }
    let (in_host, in_plugin) = (blocks(host), blocks(plugin));
    let others: BTreeMap<_, _> = in_plugin.iter().map(|block| (block.name, block)).collect();
    let mut found = Vec::new();
    for block in &in_host {
        if let Some(other) = others.get(block.name) {
            compare(block, other, &mut found);
        }
    }
    // Without these two nothing is known of the other side.
    for name in [in_host.first(), in_host.last()].into_iter().flatten().map(|block| block.name) {
        if !others.contains_key(name) {
            let line = in_host.iter().find(|block| block.name == name).map(|block| block.line);
            found.push(Difference { name, host: line, plugin: None });
        }
    }
    found
}

/// A type with its members, or a line that has none.
struct Block<'a> {
    name: &'a str,
    line: &'a str,
    members: Vec<(&'a str, &'a str)>,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for line in text.lines() {
        let (name, rest) = entry(line);
        match blocks.last_mut() {
            Some(block) if line.starts_with(' ') => block.members.push((name, rest)),
            _ => blocks.push(Block { name, line: rest, members: Vec::new() }),
        }
    }
    blocks
}

fn compare<'a>(host: &Block<'a>, plugin: &Block<'a>, found: &mut Vec<Difference<'a>>) {
    if host.line != plugin.line {
        let (line, other) = (Some(host.line), Some(plugin.line));
        found.push(Difference { name: host.name, host: line, plugin: other });
    }
    let grows = |line: &str| ["extensible", "open"].contains(&line.split(';').next().unwrap_or(""));
    let grows = grows(host.line) && grows(plugin.line);
    let common = host.members.len().min(plugin.members.len());
    for (of_host, of_plugin) in host.members[..common].iter().zip(&plugin.members[..common]) {
        if of_host.0 == of_plugin.0 && of_host.1 != of_plugin.1 {
            let (line, other) = (Some(of_host.1), Some(of_plugin.1));
            found.push(Difference { name: of_host.0, host: line, plugin: other });
        } else if of_host.0 != of_plugin.0 {
            found.push(Difference { name: of_host.0, host: Some(of_host.1), plugin: None });
            found.push(Difference { name: of_plugin.0, host: None, plugin: Some(of_plugin.1) });
        }
    }
    if !grows {
        for (name, line) in &host.members[common..] {
            found.push(Difference { name, host: Some(line), plugin: None });
        }
        for (name, line) in &plugin.members[common..] {
            found.push(Difference { name, host: None, plugin: Some(line) });
        }
    }
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
    use crate::describe::{Field, Function, Growth, Kind, Variant};

    const SIDE: Type = Type::new(
        Kind::Enum {
            name: "Side",
            repr: u8::TYPE,
            growth: Growth::Closed,
            variants: &[
                Variant { name: "Buy", value: 0, docs: "" },
                Variant { name: "Sell", value: -1, docs: "" },
            ],
        },
        1,
        1,
    );

    const fn order(first: &'static str, second: &'static str) -> Type {
        const FIELDS: [[Field; 2]; 2] = [
            [
                Field { name: "price", offset: 0, of: u64::TYPE, docs: "" },
                Field { name: "quantity", offset: 8, of: u64::TYPE, docs: "" },
            ],
            [
                Field { name: "quantity", offset: 0, of: u64::TYPE, docs: "" },
                Field { name: "price", offset: 8, of: u64::TYPE, docs: "" },
            ],
        ];
        let swapped = first.len() > second.len();
        let fields = &FIELDS[swapped as usize];
        let kind = Kind::Struct { name: "Order", parameter: None, growth: Growth::Closed, fields };
        Type::new(kind, 16, 8)
    }

    macro_rules! interface {
        ($order:expr) => {{
            const ORDER: Type = $order;
            const BOOK: Type = Type::new(
                Kind::Interface {
                    id: "market/Book",
                    name: "Book",
                    version: 3,
                    growth: Growth::Closed,
                    functions: &[
                        Function {
                            name: "submit",
                            offset: 8,
                            exclusive: true,
                            arguments: &[&ORDER, &SIDE],
                            returns: &ORDER,
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
            const LENGTH: usize = length(&BOOK);
            const BYTES: [u8; LENGTH] = text(&BOOK);
            as_text(&BYTES)
        }};
    }

    const PLAIN: &str = interface!(order("price", "quantity"));
    const SWAPPED: &str = interface!(order("quantity", "price"));

    #[test]
    fn an_interface_has_a_text_of_its_own() {
        let expected = "\
struct Order: closed; size 16; align 8
  Order.price: offset 0; u64
  Order.quantity: offset 8; u64
enum Side: closed; size 1; align 1; u8
  Side.Buy: 0
  Side.Sell: -1
interface Book: closed; size 24; align 8; id market/Book; version 3
  Book.submit: offset 8; exclusive; fn(Order, Side) -> Order
  Book.reset: offset 16; shared; fn(keyway.Slice<Order>)
";
        assert_eq!(PLAIN, expected);
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

    const TABLE: &str = "\
contract: version 1
struct T: extensible; align 8
  T.size: offset 0; usize
  T.log: offset 8; fn(L)
enum L: open; size 4; align 4; u32
  L.ERROR: 1
  L.WARN: 2
struct R: closed; size 8; align 4
  R.status: offset 0; u32
  R.value: offset 4; u32
entry e: fn() -> *const T
";

    #[test]
    fn what_may_grow_may_be_longer_on_either_side() {
        let grown = TABLE
            .replace("fn(L)\n", "fn(L)\n  T.clock: offset 16; fn() -> N\n")
            .replace("L.WARN: 2\n", "L.WARN: 2\n  L.INFO: 3\n")
            .replace("entry", "struct N: closed; size 1; align 1\n  N.n: offset 0; u8\nentry");
        assert_eq!(conflicts(TABLE, &grown), []);
        assert_eq!(conflicts(&grown, TABLE), []);
        assert_ne!(differences(TABLE, &grown), []);
    }

    #[test]
    fn every_other_growth_is_a_conflict() {
        let check = |from: &str, to: &str, expected: &[&str]| {
            let other = TABLE.replace(from, to);
            assert_ne!(other, TABLE);
            let lines: Vec<_> = conflicts(TABLE, &other).iter().map(ToString::to_string).collect();
            assert_eq!(lines, expected);
            assert_eq!(conflicts(&other, TABLE).len(), expected.len());
        };
        check("version 1", "version 2", &["contract: host version 1, plugin version 2"]);
        // In front of what is there, and in its place.
        check(
            "  T.log: offset 8; fn(L)",
            "  T.clock: offset 8; fn()\n  T.log: offset 16; fn(L)",
            &[
                "T.log: host offset 8; fn(L), plugin has none",
                "T.clock: host has none, plugin offset 8; fn()",
            ],
        );
        check("fn(L)\n", "fn(L) -> u8\n", &["T.log: host fn(L), plugin fn(L) -> u8"]);
        check(
            "  R.value: offset 4; u32\n",
            "  R.value: offset 4; u32\n  R.more: offset 8; u32\n",
            &["R.more: host has none, plugin offset 8; u32"],
        );
        check("size 8", "size 16", &["struct R: host size 8, plugin size 16"]);
        check("  L.WARN: 2", "  L.WARN: 3", &["L.WARN: host 2, plugin 3"]);
        check(
            "  L.WARN: 2",
            "  L.NOTE: 2",
            &["L.WARN: host 2, plugin has none", "L.NOTE: host has none, plugin 2"],
        );
        check("T: extensible", "T: closed", &["struct T: host extensible, plugin closed"]);
        check(
            "const T\n",
            "const R\n",
            &["entry e: host fn() -> *const T, plugin fn() -> *const R"],
        );
        assert_eq!(conflicts(TABLE, "").len(), 2, "a text that has nothing of the host's");
    }
}
