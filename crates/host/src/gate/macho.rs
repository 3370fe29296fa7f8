//! What only a Mach-O library has to have: the system that it is for, a signature, a UUID.

use keyway_inspect::{CodeSignature, Details, Facts, Machine};
use keyway_manifest::Triple;

use crate::code::Code;
use crate::refusal::Refusal;

pub(super) fn check(facts: &Facts, target: &Triple, refusals: &mut Vec<Refusal>) {
    let Details::Macho(macho) = &facts.details else { return };
    let is_other = |found: &&str| target.as_str().ends_with("-darwin") && *found != "macos";
    if let Some(found) = macho.platform.as_deref().filter(is_other) {
        refusals.push(Refusal::new(Code::WrongSystem, format!("`{found}`"), "`macos`"));
    }
    if !macho.uuid {
        refusals.push(Refusal::new(Code::NoUuid, "no LC_UUID", "one"));
    }
    let found = match &macho.code_signature {
        CodeSignature::Absent if facts.header.machine == Machine::Aarch64 => "none".to_owned(),
        CodeSignature::Absent | CodeSignature::Valid => return,
        CodeSignature::Invalid(reason) => format!("one that is invalid: {reason}"),
    };
    refusals.push(Refusal::new(Code::CodeSignature, found, "the signature of these bytes"));
}
