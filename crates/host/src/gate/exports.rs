//! What a library shows of itself: its symbols, and on macOS its install name.

use std::path::Path;

use keyway_inspect::{Details, Facts};

use crate::code::Code;
use crate::policy::ExportPolicy;
use crate::refusal::Refusal;

use super::object::{some, spelled_in_c};

/// Only of a library with a stamp it is known what it has to offer.
pub(super) fn check(
    path: &Path,
    facts: &Facts,
    policy: &ExportPolicy,
    refusals: &mut Vec<Refusal>,
) {
    if *policy == ExportPolicy::Any {
        return;
    }
    let is_allowed = |symbol: &&String| policy.allows(spelled_in_c(symbol, facts));
    let others = some(facts.exports.iter().filter(|symbol| !is_allowed(symbol)));
    if facts.stamp.is_some() && !others.is_empty() {
        refusals.push(Refusal::new(Code::UnexpectedExports, others, "its stamp and its entry"));
    }
    if let Details::Macho(macho) = &facts.details {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let expected = format!("@rpath/{name}");
        if macho.install_name.as_deref() != Some(&*expected) {
            let found = macho.install_name.as_ref();
            let found = found.map_or_else(|| "none".to_owned(), |name| format!("`{name}`"));
            refusals.push(Refusal::new(Code::InstallName, found, format!("`{expected}`")));
        }
    }
}
