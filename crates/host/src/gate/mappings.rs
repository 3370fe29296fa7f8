//! How a library is mapped into the process: what of it can be written, and what can be run.

use keyway_inspect::{Details, Stack};

use crate::code::Code;
use crate::refusal::Refusal;

pub(super) fn check(details: &Details, refusals: &mut Vec<Refusal>) {
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
