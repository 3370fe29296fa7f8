//! All stubs at once, from what crates declare and what a person wrote down.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::declarations::{Declarations, Symbol};
use crate::libraries::{Libraries, Library};
use crate::stub::Stub;
use crate::{Arch, Version, system};

/// The list of what came with a later macOS, beside the stubs; and that of the C library.
const NEWER: &str = "newer.toml";
const NEWER_IN_SYSTEM: &str = "newer-in-system.toml";
/// The stub of the C library.
pub const SYSTEM: &str = "usr/lib/libSystem.tbd";

/// The files below the stubs' folder, by their path there: stubs, the list of newer symbols, and for each
/// processor the libraries that its oldest macOS does not have, which are linked weakly. All but
/// those of the C library: what that has is no other library's, whatever crates declare beside.
pub fn files(
    libraries: &Libraries,
    crates: &BTreeMap<String, Declarations>,
    system: &BTreeMap<Symbol, BTreeSet<Arch>>,
) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut newer = BTreeMap::<String, BTreeMap<String, Version>>::new();
    for library in &libraries.all {
        let (mut stub, later) = stub(library, libraries, crates);
        stub.symbols.retain(|symbol, _| !system.contains_key(symbol));
        newer.entry(stub.install_name.clone()).or_default().extend(later);
        files.insert(library.stub(), stub.text());
    }
    files.insert(NEWER.into(), list(&newer));
    for arch in Arch::ALL {
        let later = libraries.all.iter().filter(|of| of.since.is_some_and(|of| of > arch.floor()));
        let names = later.map(|library| format!("{}\n", library.link));
        files.insert(format!("later-{}", arch.in_stub()).into(), names.collect());
    }
    files
}

/// The two files of the C library, from zig's stub and headers.
pub fn system_files(stub: &str, headers: &[String]) -> BTreeMap<PathBuf, String> {
    let symbols = system::symbols(stub);
    let newer = headers.iter().flat_map(|header| system::newer(header));
    let newer = newer.filter(|(name, _)| symbols.contains_key(&Symbol::Plain(name.clone())));
    let newer = BTreeMap::from([(system::INSTALL_NAME.to_owned(), newer.collect())]);
    let stub = Stub {
        install_name: system::INSTALL_NAME.to_owned(),
        compatibility: "1".to_owned(),
        symbols,
        ..Stub::default()
    };
    BTreeMap::from([(SYSTEM.into(), stub.text()), (NEWER_IN_SYSTEM.into(), list(&newer))])
}

/// Whether a path below the stubs' folder is one of these.
pub fn is_system(path: &std::path::Path) -> bool {
    path.ends_with(SYSTEM) || path.ends_with(NEWER_IN_SYSTEM)
}

/// The stub of one library, and which of its symbols the oldest macOS does not have.
fn stub(
    library: &Library,
    libraries: &Libraries,
    crates: &BTreeMap<String, Declarations>,
) -> (Stub, BTreeMap<String, Version>) {
    let reexports = library.reexports.iter().filter_map(|name| libraries.find(name));
    let mut stub = Stub {
        install_name: library.install_name(),
        compatibility: library.compatibility().to_owned(),
        reexports: reexports.map(Library::install_name).collect(),
        thrown: library.thrown.iter().cloned().collect(),
        ..Stub::default()
    };
    let mut newer = BTreeMap::new();
    let oldest = Arch::ALL.map(Arch::floor).into_iter().min();
    for (name, declared) in crates {
        for (of, symbols) in &declared.symbols {
            let is_its = match of {
                Some(link) => *link == library.link,
                None => library.crates.contains(name),
            };
            if !is_its {
                continue;
            }
            for (symbol, declared) in symbols {
                stub.symbols.entry(symbol.clone()).or_default().extend(&declared.archs);
                if let (Symbol::Plain(symbol), Some(since)) = (symbol, declared.since)
                    && Some(since) > oldest
                {
                    newer.insert(symbol.clone(), since);
                }
            }
        }
    }
    let plain = library.symbols.iter().chain(library.newer.keys());
    let plain = plain.map(|name| Symbol::Plain(format!("_{name}")));
    for symbol in plain.chain(library.classes.iter().cloned().map(Symbol::Class)) {
        stub.symbols.entry(symbol).or_insert_with(|| Arch::ALL.into());
    }
    newer.extend(library.newer.iter().map(|(name, since)| (format!("_{name}"), *since)));
    (stub, newer)
}

fn list(newer: &BTreeMap<String, BTreeMap<String, Version>>) -> String {
    let mut out = String::from(
        "# Symbols that came with a later macOS than 10.13, and with which.\n\
         # Written by `cargo run --package keyway-apple-stubs`; do not edit.\n",
    );
    for (library, symbols) in newer.iter().filter(|(_, symbols)| !symbols.is_empty()) {
        let _ = writeln!(out, "\n[\"{library}\"]");
        for (symbol, since) in symbols {
            let _ = writeln!(out, "{symbol} = \"{since}\"");
        }
    }
    out
}
