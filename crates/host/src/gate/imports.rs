//! What a library needs of others: libraries, symbols of no library, search paths, a C library.

use std::collections::BTreeSet;

use keyway_inspect::{Details, Facts};
use keyway_manifest::{Import, Libc, LibcFamily, LibcVersion, ObjectFormat};

use crate::code::Code;
use crate::policy::{Expectation, ImportPolicy, SymbolPolicy};
use crate::refusal::Refusal;

use super::object::{some, spelled_in_c};

pub(super) fn check(facts: &Facts, expectation: &Expectation, refusals: &mut Vec<Refusal>) {
    if let (Some(needed), Some(host)) = (&facts.libc, &expectation.libc) {
        check_libc(needed, host, &facts.imports, refusals);
    }
    let delayed = match &facts.details {
        Details::Pe(pe) => pe.delayed.as_slice(),
        Details::Elf(_) | Details::Macho(_) => &[],
    };
    let mut libraries: Vec<_> = facts.needed.iter().chain(delayed).collect();
    libraries.sort_unstable();
    libraries.dedup();
    // One that it can do without, of a system of which each library is known.
    let is_optional = |library: &String| match (&facts.details, &expectation.symbols) {
        (Details::Macho(macho), SymbolPolicy::Listed(known)) => {
            macho.optional_libraries.contains(library) && known.contains_key(library)
        }
        _ => false,
    };
    for library in libraries {
        if is_compiler_runtime(library) {
            // A list may name it for a machine's own Linux; every DLL search begins elsewhere.
            let is_refused = match &expectation.imports {
                ImportPolicy::Any => false,
                listed @ ImportPolicy::Listed(_) => {
                    facts.header.format == ObjectFormat::Pe || !listed.allows(library)
                }
            };
            if is_refused {
                let found = format!("`{library}`");
                refusals.push(Refusal::new(Code::CompilerRuntime, found, "it linked statically"));
            }
        } else if !expectation.imports.allows(library) && !is_optional(library) {
            let expected = format!("what every `{}` has", expectation.target);
            refusals.push(Refusal::new(Code::ForbiddenImport, format!("`{library}`"), expected));
        }
    }
    for path in &facts.run_paths {
        refusals.push(Refusal::new(Code::RunPath, format!("`{path}`"), "no search path"));
    }
    let allowed = |symbol: &&String| {
        let symbol = spelled_in_c(symbol, facts);
        expectation.imports.allows_symbol(symbol) || expectation.facts.has_in_sanitizer(symbol)
    };
    let unbound = some(facts.unbound.iter().filter(|symbol| !allowed(symbol)));
    if !unbound.is_empty() {
        refusals.push(Refusal::new(Code::UnboundSymbols, unbound, "no symbol without a library"));
    }
    check_symbols(facts, expectation, refusals);
}

/// Compares the symbols of each library with those that it is known to have.
fn check_symbols(facts: &Facts, expectation: &Expectation, refusals: &mut Vec<Refusal>) {
    let SymbolPolicy::Listed(known) = &expectation.symbols else { return };
    let optional = match &facts.details {
        Details::Macho(macho) => Some(&macho.optional),
        Details::Elf(_) | Details::Pe(_) => None,
    };
    let system = expectation.libc.as_ref().and_then(|libc| libc.floor);
    let (mut missing, mut newer) = (Vec::new(), Vec::new());
    for Import { library, symbols } in &facts.imports {
        let Some((library, has)) = library.as_ref().and_then(|name| known.get_key_value(name))
        else {
            continue;
        };
        for symbol in symbols {
            match has.get(symbol) {
                _ if expectation.imports.allows_symbol(spelled_in_c(symbol, facts)) => {}
                None => missing.push(format!("{symbol} of {library}")),
                Some(Some(since))
                    if system.is_some_and(|system| *since > system)
                        && !optional.is_some_and(|optional| optional.contains(symbol)) =>
                {
                    newer.push(format!("{symbol} of macOS {since}"));
                }
                Some(_) => {}
            }
        }
    }
    if !missing.is_empty() {
        let found = some(missing.iter());
        refusals.push(Refusal::new(Code::MissingSymbols, found, "symbols that they have"));
    }
    if let (Some(system), false) = (system, newer.is_empty()) {
        let expected = format!("what macOS `{system}` has");
        refusals.push(Refusal::new(Code::NewerSymbols, some(newer.iter()), expected));
    }
}

/// Whether it is a library that comes with a compiler and not with a system.
fn is_compiler_runtime(library: &str) -> bool {
    let name = library.rsplit('/').next().unwrap_or(library).to_ascii_lowercase();
    ["libgcc", "libstdc++", "libwinpthread", "libssp"].iter().any(|known| name.starts_with(known))
}

fn check_libc(needed: &Libc, host: &Libc, imports: &BTreeSet<Import>, refusals: &mut Vec<Refusal>) {
    if needed.family != host.family {
        let (found, expected) = (format!("`{}`", needed.family), format!("`{}`", host.family));
        refusals.push(Refusal::new(Code::LibcFamily, found, expected));
        return;
    }
    if let (Some(floor), Some(version)) = (needed.floor, host.floor)
        && floor > version
    {
        if needed.family == LibcFamily::Libsystem {
            let found = format!("macOS `{floor}` or newer");
            let expected = format!("at most `{version}`, which is here");
            refusals.push(Refusal::new(Code::SystemTooOld, found, expected));
            return;
        }
        let newer = beyond(imports, version);
        let newer = if newer.is_empty() { String::new() } else { format!(" for {newer}") };
        let found = format!("`{} {floor}` or newer{newer}", needed.family);
        refusals.push(Refusal::new(
            Code::LibcTooOld,
            found,
            format!("at most `{version}`, which is here"),
        ));
    }
}

/// The symbols that came with a later version of glibc than `version`.
fn beyond(imports: &BTreeSet<Import>, version: LibcVersion) -> String {
    let is_newer = |symbol: &&String| {
        let named = symbol.split_once("@GLIBC_").and_then(|(_, of)| of.parse().ok());
        named.is_some_and(|of: LibcVersion| of > version)
    };
    some(imports.iter().flat_map(|import| &import.symbols).filter(is_newer))
}
