//! The object itself: header, structure, target, and whether it is what the manifest says.

use keyway_inspect::{Facts, Header, HeaderError, Violation};
use keyway_manifest::{Manifest, ObjectFormat, Triple};

use crate::code::Code;
use crate::policy::{Expectation, same_abi};
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
    let (found, host) = (&manifest.target, &expectation.target);
    if expectation.accepts(found) {
        return;
    }
    let also = expectation.also_accepted.iter().map(|triple| format!(", `{triple}`"));
    let expected = format!("`{host}`{}", also.collect::<String>());
    let refusal = Refusal::new(Code::WrongTarget, format!("`{found}`"), expected);
    refusals.push(match same_abi(host).contains(found) {
        true => refusal.with_remedy(SAME_ABI_REMEDY),
        false => refusal,
    });
}

/// What to do about a plugin for a target that a host can load, and does not unless it is told to.
const SAME_ABI_REMEDY: &str = "let the host say `Expectation::accept_same_abi()`, since the C ABI is its own; \
                               or take the plugin from this host's folder under `dist/`";

/// Compares the object format that the manifest names with that of the bytes. What else it says of them is
/// for people and tools: the gate goes by the bytes, and a later version may read more in them.
pub(super) fn check_format(facts: &Facts, manifest: &Manifest, refusals: &mut Vec<Refusal>) {
    let (found, expected) = (facts.header.format, manifest.artifact.format);
    if found != expected {
        let (found, expected) =
            (format!("format `{found}`"), format!("`{expected}` as its manifest"));
        refusals.push(Refusal::new(Code::FactsDiffer, found, expected));
    }
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
