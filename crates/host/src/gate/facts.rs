//! What the compiler knew of a library, compared with the process and the machine that it is for:
//! whatever a manifest says, and whoever built it.

use keyway_abi::stamp::{Facts, Stamp};

use crate::code::Code;
use crate::policy::Expectation;
use crate::refusal::Refusal;

/// Compares the facts in the stamp with what the host expects. What a stamp does not say is not
/// compared: a plugin that was not written in Rust may not know.
pub(super) fn check(stamp: &Stamp<'_>, expectation: &Expectation, refusals: &mut Vec<Refusal>) {
    let Facts { panic, processor, float, c_runtime, sanitizer } = stamp.facts;
    let expected = &expectation.facts;
    let mut compare = |code, what: &str, found: &str, expected: &str| {
        if !found.is_empty() && found != expected {
            let name = |value: &str| format!("{what} `{value}`");
            refusals.push(Refusal::new(code, name(found), name(expected)));
        }
    };
    compare(Code::PanicAborts, "panic strategy", panic, &expected.panic);
    compare(Code::OtherFloatAbi, "float ABI", float, &expected.float);
    compare(Code::OtherCRuntime, "C runtime", c_runtime, &expected.c_runtime);
    if sanitizer != expected.sanitizer {
        let name = |value: &str| match value {
            "" => "no sanitizer".to_owned(),
            value => format!("the sanitizers `{value}`"),
        };
        let (found, expected) = (name(sanitizer), name(&expected.sanitizer));
        refusals.push(Refusal::new(Code::OtherSanitizer, found, expected));
    }
    if let Some(machine) = &expected.processor {
        let used = processor.split(',').filter(|extension| !extension.is_empty());
        let missing: Vec<_> = used.filter(|&extension| !machine.contains(extension)).collect();
        if !missing.is_empty() {
            let found = format!("code for processors with {}", missing.join(", "));
            let expected = "code that this machine can run";
            refusals.push(Refusal::new(Code::ProcessorLacks, found, expected));
        }
    }
}
