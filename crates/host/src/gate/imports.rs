//! What a library brings into the process: other libraries, search paths, mappings.

use keyway_inspect::{Details, Facts, Stack};
use keyway_manifest::Libc;

use crate::code::Code;
use crate::policy::Expectation;
use crate::refusal::Refusal;

pub(super) fn check(facts: &Facts, expectation: &Expectation, refusals: &mut Vec<Refusal>) {
    if let (Some(needed), Some(host)) = (&facts.libc, &expectation.libc) {
        check_libc(needed, host, refusals);
    }
    let delayed = match &facts.details {
        Details::Pe(pe) => pe.delayed.as_slice(),
        Details::Elf(_) | Details::Macho(_) => &[],
    };
    let mut libraries: Vec<_> = facts.needed.iter().chain(delayed).collect();
    libraries.sort_unstable();
    libraries.dedup();
    for library in libraries {
        if !expectation.imports.allows(library) {
            let expected = format!("what every `{}` has", expectation.target);
            refusals.push(Refusal::new(Code::ForbiddenImport, format!("`{library}`"), expected));
        }
    }
    for path in &facts.run_paths {
        refusals.push(Refusal::new(Code::RunPath, format!("`{path}`"), "no search path"));
    }
    check_mappings(&facts.details, refusals);
}

fn check_libc(needed: &Libc, host: &Libc, refusals: &mut Vec<Refusal>) {
    if needed.family != host.family {
        let (found, expected) = (format!("`{}`", needed.family), format!("`{}`", host.family));
        refusals.push(Refusal::new(Code::LibcFamily, found, expected));
        return;
    }
    if let (Some(floor), Some(version)) = (needed.floor, host.floor)
        && floor > version
    {
        let found = format!("`{} {floor}` or newer", needed.family);
        refusals.push(Refusal::new(
            Code::LibcTooOld,
            found,
            format!("at most `{version}`, which is here"),
        ));
    }
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
