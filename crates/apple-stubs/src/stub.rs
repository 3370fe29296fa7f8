//! A stub as linkers read it: TAPI's text format, version 4, as LLVM writes it
//! (<https://github.com/llvm/llvm-project/blob/main/llvm/lib/TextAPI/TextStub.cpp>).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::Arch;
use crate::declarations::Symbol;

/// What a stub says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Stub {
    /// Where the loader finds the library.
    pub install_name: String,
    /// Its current version and that of its interface; nobody compares the first.
    pub compatibility: String,
    /// The install names of libraries whose symbols it passes on.
    pub reexports: Vec<String>,
    /// Its symbols and the processors that have them.
    pub symbols: BTreeMap<Symbol, BTreeSet<Arch>>,
    /// The classes that can be thrown.
    pub thrown: BTreeSet<String>,
}

/// How wide a line may be.
const WIDTH: usize = 100;

impl Stub {
    /// The text of the file.
    pub fn text(&self) -> String {
        let every: BTreeSet<_> = Arch::ALL.into();
        let mut out = format!(
            "--- !tapi-tbd\ntbd-version: 4\ntargets: {targets}\ninstall-name: '{name}'\n\
             current-version: {version}\ncompatibility-version: {version}\n",
            targets = targets(&every),
            name = self.install_name,
            version = self.compatibility,
        );
        if !self.reexports.is_empty() {
            let _ = writeln!(out, "reexported-libraries:\n  - targets: {}", targets(&every));
            list(&mut out, "libraries", self.reexports.iter().map(String::as_str));
        }
        let sections: BTreeSet<_> = self.symbols.values().collect();
        if !sections.is_empty() {
            out.push_str("exports:\n");
        }
        // What every processor has stands first.
        for archs in sections.into_iter().rev() {
            let _ = writeln!(out, "  - targets: {}", targets(archs));
            let of = self.symbols.iter().filter(|(_, of)| *of == archs).map(|(symbol, _)| symbol);
            let (mut plain, mut classes) = (Vec::new(), Vec::new());
            for symbol in of {
                match symbol {
                    Symbol::Plain(name) => plain.push(name.as_str()),
                    Symbol::Class(name) => classes.push(name.as_str()),
                }
            }
            list(&mut out, "symbols", plain.into_iter());
            list(&mut out, "objc-classes", classes.into_iter());
            if *archs == every {
                list(&mut out, "objc-eh-types", self.thrown.iter().map(String::as_str));
            }
        }
        out.push_str("...\n");
        out
    }
}

fn targets(archs: &BTreeSet<Arch>) -> String {
    let names: Vec<_> = archs.iter().map(|arch| arch.in_stub()).collect();
    format!("[ {} ]", names.join(", "))
}

/// A list in brackets over as many lines as it needs; none if it is empty.
fn list<'a>(out: &mut String, name: &str, items: impl Iterator<Item = &'a str>) {
    let mut column = 0;
    for (at, item) in items.enumerate() {
        let plain = item.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let item = if plain { item.to_owned() } else { format!("'{item}'") };
        let (before, more) = if at == 0 {
            let before = format!("    {name}: [ ");
            (before.clone(), before.len() + item.len())
        } else if column + item.len() + 4 > WIDTH {
            column = 0;
            (",\n      ".to_owned(), 6 + item.len())
        } else {
            (", ".to_owned(), 2 + item.len())
        };
        let _ = write!(out, "{before}{item}");
        column += more;
    }
    if column > 0 {
        out.push_str(" ]\n");
    }
}
