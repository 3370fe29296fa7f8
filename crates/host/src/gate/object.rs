//! The object itself: header, structure, target, and whether it is what the manifest says.

use std::collections::BTreeSet;

use keyway_inspect::{Facts, Header, HeaderError, Violation};
use keyway_manifest::{Import, Libc, Manifest, ObjectFormat, Triple};

use crate::code::Code;
use crate::policy::Expectation;
use crate::refusal::Refusal;

pub(super) fn refuse_header(error: &HeaderError) -> Refusal {
    let code = match error {
        HeaderError::NotAnObject { .. } | HeaderError::Universal => Code::NotAnObject,
        HeaderError::Damaged { .. } => Code::BadHeader,
    };
    Refusal::new(code, error.to_string(), "a native library for one target")
}

/// Everything in which the first bytes don't fit the host; one refusal a code.
pub(super) fn header_refusals(header: Header, target: &Triple) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> = Vec::new();
    for mismatch in header.mismatches(target) {
        let code = match mismatch.part {
            "format" => Code::WrongFormat,
            "machine" | "class" | "endian" => Code::WrongMachine,
            "kind" => Code::NotALibrary,
            _ => Code::WrongSystem,
        };
        match refusals.iter_mut().find(|refusal| refusal.code == code) {
            Some(refusal) => {
                refusal.found = format!("{}, `{}`", refusal.found, mismatch.found);
                refusal.expected = format!("{}, `{}`", refusal.expected, mismatch.expected);
            }
            None => {
                let (found, expected) =
                    (format!("`{}`", mismatch.found), format!("`{}`", mismatch.expected));
                refusals.push(Refusal::new(code, found, expected));
            }
        }
    }
    refusals
}

pub(super) fn refuse_violation(violation: &Violation) -> Refusal {
    Refusal::new(Code::Malformed, violation.to_string(), "a whole, well-formed object")
}

pub(super) fn check_target(
    manifest: &Manifest,
    expectation: &Expectation,
    refusals: &mut Vec<Refusal>,
) {
    let (found, expected) = (&manifest.target, &expectation.target);
    if found != expected {
        let (found, expected) = (format!("`{found}`"), format!("`{expected}`"));
        refusals.push(Refusal::new(Code::WrongTarget, found, expected));
    }
}

/// Compares what the manifest says about the bytes with what they are.
pub(super) fn check_facts(facts: &Facts, manifest: &Manifest, refusals: &mut Vec<Refusal>) {
    let mut compare = |what: &str, found: String, expected: String| {
        if found != expected {
            let (found, expected) =
                (format!("{what} {found}"), format!("{expected} as its manifest"));
            refusals.push(Refusal::new(Code::FactsDiffer, found, expected));
        }
    };
    let format = manifest.artifact.format;
    compare("format", format!("`{}`", facts.header.format), format!("`{format}`"));
    compare("C library", libc(facts.libc.as_ref()), libc(manifest.libc.as_ref()));
    let sets = [
        ("imports", symbols(&facts.imports), symbols(&manifest.imports)),
        ("exports", facts.exports.clone(), manifest.exports.clone()),
    ];
    for (what, found, expected) in sets {
        let added = some(found.difference(&expected));
        let missing = some(expected.difference(&found));
        compare(what, or_none(added), or_none(missing));
    }
}

/// Each symbol with its library.
fn symbols(imports: &BTreeSet<Import>) -> BTreeSet<String> {
    let all = imports.iter().flat_map(|Import { library, symbols }| {
        let library = library.as_deref().unwrap_or("any library");
        std::iter::once(library.to_owned())
            .chain(symbols.iter().map(move |symbol| format!("{symbol} of {library}")))
    });
    all.collect()
}

fn or_none(names: String) -> String {
    if names.is_empty() { "none other".to_owned() } else { names }
}

/// The first few names, and how many there are beyond.
pub(super) fn some<'a>(names: impl Iterator<Item = &'a String>) -> String {
    const SHOWN: usize = 5;
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => String::new(),
        n if n <= SHOWN => names.join(", "),
        n => format!("{} and {} more", names[..SHOWN].join(", "), n - SHOWN),
    }
}

/// A symbol without what an object format puts before every name: Mach-O an underscore.
pub(super) fn spelled_in_c<'a>(symbol: &'a str, facts: &Facts) -> &'a str {
    match facts.header.format {
        ObjectFormat::Macho => symbol.strip_prefix('_').unwrap_or(symbol),
        ObjectFormat::Elf | ObjectFormat::Pe => symbol,
    }
}

fn libc(libc: Option<&Libc>) -> String {
    match libc {
        Some(Libc { family, floor: Some(floor) }) => format!("`{family} {floor}`"),
        Some(Libc { family, floor: None }) => format!("`{family}`"),
        None => "none".to_owned(),
    }
}
