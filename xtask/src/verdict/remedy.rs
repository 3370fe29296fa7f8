//! The lines of a Cargo.toml that would have a refused artifact admitted, ready to paste.
//!
//! Only what `[package.metadata.keyway]` can allow: libraries and symbols that the plugin needs, and
//! symbols that it offers. What is allowed already stays in the lists, since a table has each key once.

use std::collections::{BTreeMap, BTreeSet};

use keyway_host::code::Code;
use keyway_host::policy::Expectation;
use keyway_host::refusal::Rejection;
use keyway_inspect::Facts;
use keyway_manifest::ObjectFormat;

use crate::workspace::{Allowed, Plugin};

/// From how many names on a pattern takes their place.
const MANY: usize = 4;

/// The lines that allow what `rejection` found in a library with these `facts`; none if nothing of it can
/// be allowed.
pub(super) fn lines(
    plugin: &Plugin,
    facts: &Facts,
    expectation: &Expectation,
    rejection: &Rejection,
) -> Option<String> {
    let found = |code: Code| rejection.refusals.iter().filter(move |refusal| refusal.code == code);
    let in_c = |symbol: &str| match facts.header.format {
        ObjectFormat::Macho => symbol.strip_prefix('_').unwrap_or(symbol).to_owned(),
        ObjectFormat::Elf | ObjectFormat::Pe => symbol.to_owned(),
    };
    let libraries = found(Code::ForbiddenImport);
    let libraries = libraries.map(|refusal| refusal.found.trim_matches('`').to_owned());
    let mut imports = with_reason(libraries, "it is installed wherever the plugin is loaded");
    if found(Code::UnboundSymbols).next().is_some() {
        let symbols = facts.unbound.iter().map(|symbol| in_c(symbol));
        let symbols = symbols.filter(|symbol| !expectation.imports.allows_symbol(symbol));
        imports
            .extend(with_reason(patterns(symbols), "the program that loads the plugin has them"));
    }
    let mut exports = Vec::new();
    if found(Code::UnexpectedExports).next().is_some() {
        let symbols = facts.exports.iter().map(|symbol| in_c(symbol));
        let symbols = symbols.filter(|symbol| !expectation.exports.allows(symbol));
        exports =
            with_reason(patterns(symbols), "the program that loads the plugin looks for them");
    }
    let lists = [
        list("allow-imports", &plugin.allow_imports, &imports),
        list("allow-exports", &plugin.allow_exports, &exports),
    ];
    let lists: String = lists.into_iter().flatten().collect();
    (!lists.is_empty()).then(|| format!("[package.metadata.keyway]\n{lists}"))
}

fn with_reason(names: impl IntoIterator<Item = String>, reason: &str) -> Vec<Allowed> {
    names.into_iter().map(|name| Allowed { name, reason: reason.to_owned() }).collect()
}

/// A list in TOML; none if there is nothing to add.
fn list(key: &str, known: &[Allowed], more: &[Allowed]) -> Option<String> {
    if more.is_empty() {
        return None;
    }
    let entry = |Allowed { name, reason }: &Allowed| {
        format!("    {{ name = {name:?}, reason = {reason:?} }},\n")
    };
    let entries: String = known.iter().chain(more).map(entry).collect();
    Some(format!("{key} = [\n{entries}]\n"))
}

/// Names, or where many share their first word, a pattern for all of them: `Py*` for `PyErr_Print`.
fn patterns(symbols: impl Iterator<Item = String>) -> BTreeSet<String> {
    let mut by_word: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for symbol in symbols {
        by_word.entry(first_word(&symbol).to_owned()).or_default().insert(symbol);
    }
    let shortened = by_word.into_iter().flat_map(|(word, symbols)| {
        if symbols.len() < MANY { symbols } else { BTreeSet::from([format!("{word}*")]) }
    });
    shortened.collect()
}

/// `Py` of `PyErr_Print`, `_Py` of `_PyObject_New`, `napi_` of `napi_create_object`; all of a single word.
fn first_word(symbol: &str) -> &str {
    let start = symbol.len() - symbol.trim_start_matches('_').len();
    let pairs = symbol.as_bytes().windows(2).enumerate().skip(start);
    let ends = pairs.filter_map(|(at, pair)| match pair {
        [_, b'_'] => Some(at + 2),
        [before, after] if after.is_ascii_uppercase() && !before.is_ascii_uppercase() => {
            Some(at + 1)
        }
        _ => None,
    });
    ends.min().map_or(symbol, |end| &symbol[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_become_a_pattern() {
        let of = |symbols: &[&str]| -> Vec<String> {
            patterns(symbols.iter().map(|&symbol| symbol.to_owned())).into_iter().collect()
        };
        let python =
            ["PyErr_Print", "PyLong_FromLong", "PyList_New", "PyObject_Call", "_PyLong_New"];
        assert_eq!(of(&python), ["Py*", "_PyLong_New"]);
        let node = ["napi_a", "napi_b", "napi_c", "napi_d", "main"];
        assert_eq!(of(&node), ["main", "napi_*"]);
        assert_eq!(of(&["sqlite3_open", "sqlite3_close"]), ["sqlite3_close", "sqlite3_open"]);
        assert_eq!(of(&["XA", "XB", "XC", "XD"]), ["XA", "XB", "XC", "XD"], "words of capitals");
    }

    #[test]
    fn what_is_allowed_already_stays() {
        let allowed =
            |name: &str| Allowed { name: name.to_owned(), reason: "it \"is\"".to_owned() };
        let text = list("allow-imports", &[allowed("old.dll")], &[allowed("new.dll")]);
        let text = text.expect("a list");
        let table: toml::Table = text.parse().expect("TOML");
        let names: Vec<_> = table["allow-imports"].as_array().expect("a list").iter().collect();
        assert_eq!(names.len(), 2, "{text}");
        assert_eq!(names[0]["reason"].as_str(), Some("it \"is\""));
        assert_eq!(list("allow-imports", &[allowed("old.dll")], &[]), None);
    }
}
