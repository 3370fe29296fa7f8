//! Whether a library can come after the process has started, and go before it ends: thread-local
//! variables that have their place from the start, and functions that the C library goes on to call when
//! the library is gone.

use std::collections::BTreeSet;

use keyway_inspect::{Details, ElfDetails, Facts};
use keyway_manifest::{Libc, LibcFamily};

use crate::code::Code;
use crate::refusal::Refusal;

use super::object::some;

/// Functions that remember one of the caller's, and for which library, until `__cxa_finalize` is told
/// that it goes. Destructors of threads are not among them: a C library that has them keeps the library.
const REGISTER: [&str; 4] =
    ["__aeabi_atexit", "__cxa_at_quick_exit", "__cxa_atexit", "__register_atfork"];

/// The same for callers that don't say who they are. glibc has them for old programs and takes nothing
/// back; FreeBSD finds the library by the function's address.
const REGISTER_UNNAMED: [&str; 3] = ["at_quick_exit", "atexit", "pthread_atfork"];

pub(super) fn check(facts: &Facts, refusals: &mut Vec<Refusal>) {
    let Details::Elf(elf) = &facts.details else { return };
    let family = facts.libc.as_ref().map(|libc: &Libc| libc.family);
    if family != Some(LibcFamily::Musl) {
        check_registered(facts, elf, family, refusals);
    } else if elf.static_tls {
        let found = "thread-local variables of the model `initial-exec`";
        let expected = "none, since musl gives them a place only when a process starts";
        refusals.push(Refusal::new(Code::StaticTls, found, expected));
    }
}

/// musl unloads nothing, and so runs what was registered in memory that is there.
fn check_registered(
    facts: &Facts,
    elf: &ElfDetails,
    family: Option<LibcFamily>,
    refusals: &mut Vec<Refusal>,
) {
    let symbols = facts.imports.iter().flat_map(|import| &import.symbols);
    let symbols: BTreeSet<&str> =
        symbols.map(|symbol| symbol.split_once('@').map_or(&**symbol, |(name, _)| name)).collect();
    let taken_back = elf.destructors && symbols.contains("__cxa_finalize");
    let is_left = |symbol: &str| match REGISTER_UNNAMED.contains(&symbol) {
        true => !taken_back || family == Some(LibcFamily::Glibc),
        false => !taken_back && REGISTER.contains(&symbol),
    };
    let left: BTreeSet<String> =
        symbols.iter().filter(|symbol| is_left(symbol)).map(|&symbol| symbol.to_owned()).collect();
    if !left.is_empty() && !elf.no_delete {
        let expected = "a call of `__cxa_finalize` when it is unloaded, which takes back all of it";
        refusals.push(Refusal::new(Code::LeftRegistered, some(left.iter()), expected));
    }
}
