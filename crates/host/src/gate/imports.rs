//! What a library brings into the process: other libraries, search paths, mappings.

use std::collections::BTreeSet;

use keyway_inspect::{CodeSignature, Details, Facts, Machine, Stack};
use keyway_manifest::{Import, Libc, LibcVersion, ObjectFormat};

use crate::code::Code;
use crate::policy::{Expectation, ImportPolicy};
use crate::refusal::Refusal;

use super::object::some;

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
        } else if !expectation.imports.allows(library) {
            let expected = format!("what every `{}` has", expectation.target);
            refusals.push(Refusal::new(Code::ForbiddenImport, format!("`{library}`"), expected));
        }
    }
    for path in &facts.run_paths {
        refusals.push(Refusal::new(Code::RunPath, format!("`{path}`"), "no search path"));
    }
    check_mappings(&facts.details, refusals);
    if let Details::Macho(macho) = &facts.details {
        let found = match &macho.code_signature {
            CodeSignature::Absent if facts.header.machine == Machine::Aarch64 => "none".to_owned(),
            CodeSignature::Absent | CodeSignature::Valid => return,
            CodeSignature::Invalid(reason) => format!("one that is invalid: {reason}"),
        };
        refusals.push(Refusal::new(Code::CodeSignature, found, "the signature of these bytes"));
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

fn check_mappings(details: &Details, refusals: &mut Vec<Refusal>) {
    let writable_code = match details {
        Details::Elf(elf) => {
            match elf.stack {
                Stack::Data => {}
                Stack::Executable => {
                    let found = "PT_GNU_STACK that allows execution";
                    refusals.push(Refusal::new(Code::ExecutableStack, found, "a stack for data"));
                }
                Stack::Unmarked => {
                    let found = "no PT_GNU_STACK, which loaders take for an executable stack";
                    refusals.push(Refusal::new(Code::ExecutableStack, found, "a stack for data"));
                }
            }
            if elf.text_relocations {
                let expected = "code that stays as it is";
                refusals.push(Refusal::new(Code::TextRelocations, "DT_TEXTREL", expected));
            }
            elf.writable_code
        }
        Details::Pe(pe) => {
            if !pe.aslr || !pe.nx {
                let missing = match (pe.aslr, pe.nx) {
                    (false, true) => "no DYNAMIC_BASE",
                    (true, false) => "no NX_COMPAT",
                    _ => "neither DYNAMIC_BASE nor NX_COMPAT",
                };
                refusals.push(Refusal::new(Code::Unprotected, missing, "both"));
            }
            pe.writable_code
        }
        Details::Macho(macho) => macho.writable_code,
    };
    if writable_code {
        let found = "a part that is writable and executable";
        refusals.push(Refusal::new(Code::WritableCode, found, "one or the other"));
    }
}
