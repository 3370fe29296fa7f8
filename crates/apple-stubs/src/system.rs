//! libSystem, the C library: zig brings a stub of it and its headers, as no crate declares it whole.
//!
//! Zig's stub is one of the newest macOS. What of it came later than the oldest that plugins are built
//! for is said by the headers, of functions; data and what no header declares is not told apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::declarations::Symbol;
use crate::{Arch, Version};

/// Where the loader finds it.
pub const INSTALL_NAME: &str = "/usr/lib/libSystem.B.dylib";

/// The symbols in a stub of version 4, of all libraries in the file.
pub fn symbols(stub: &str) -> BTreeMap<Symbol, BTreeSet<Arch>> {
    let mut found = BTreeMap::<Symbol, BTreeSet<Arch>>::new();
    let (mut rest, mut archs) = (stub, BTreeSet::new());
    while let Some((before, after)) = rest.split_once('[') {
        let key = before.split_whitespace().next_back().unwrap_or_default();
        let (items, after) = after.split_once(']').unwrap_or((after, ""));
        let items = items.split(',').map(|item| item.trim().trim_matches('\''));
        match key {
            "targets:" => archs = items.filter_map(arch).collect(),
            "symbols:" | "weak-symbols:" | "thread-local-symbols:" => {
                // What begins so tells a linker more, of systems that are older still.
                for name in items.filter(|name| !name.starts_with("$ld$") && !name.is_empty()) {
                    found.entry(Symbol::Plain(name.to_owned())).or_default().extend(&archs);
                }
            }
            "objc-classes:" => {
                for name in items.filter(|name| !name.is_empty()) {
                    found.entry(Symbol::Class(name.to_owned())).or_default().extend(&archs);
                }
            }
            _ => {}
        }
        rest = after;
    }
    found.retain(|_, archs| !archs.is_empty());
    found
}

/// The processor of a stub's target. A library of the system is built for newer processors of Apple's,
/// which run what is for the first of them.
fn arch(target: &str) -> Option<Arch> {
    match target {
        "x86_64-macos" => Some(Arch::X86_64),
        "arm64-macos" | "arm64e-macos" => Some(Arch::Aarch64),
        _ => None,
    }
}

/// The functions that a header says came with a later macOS than the oldest, as object files spell them.
pub fn newer(header: &str) -> BTreeMap<String, Version> {
    let oldest = Arch::ALL.map(Arch::floor).into_iter().min();
    let text = without_comments(header);
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with('#')).fold(
        String::new(),
        |mut code, line| {
            code.push_str(line);
            code.push(' ');
            code
        },
    );
    let statements = code.split([';', '{', '}']);
    let newer = statements.filter_map(|statement| Some((name(statement)?, since(statement)?)));
    let newer = newer.filter(|(_, since)| Some(*since) > oldest);
    newer.map(|(name, since)| (format!("_{name}"), since)).collect()
}

fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("/*").into_iter().chain(rest.find("//")).min() {
        out.push_str(&rest[..at]);
        let is_block = rest[at..].starts_with("/*");
        let end = if is_block { "*/" } else { "\n" };
        let Some(length) = rest[at..].find(end) else { return out };
        rest = &rest[at + length + if is_block { end.len() } else { 0 }..];
        out.push(' ');
    }
    out.push_str(rest);
    out
}

/// The version in `API_AVAILABLE(macos(11.0), …)`, `__OSX_AVAILABLE(10.14)` and the older
/// `__OSX_AVAILABLE_STARTING(__MAC_10_14, …)`.
fn since(statement: &str) -> Option<Version> {
    let forms = [
        "API_AVAILABLE(macos(",
        "API_AVAILABLE(macosx(",
        "OSX_AVAILABLE(",
        "OSX_AVAILABLE_STARTING(__MAC_",
        "OSX_AVAILABLE_BUT_DEPRECATED(__MAC_",
    ];
    let after = forms.iter().find_map(|form| statement.split_once(form))?.1;
    let end = after.find([')', ','])?;
    let version = after[..end].trim().replace('_', ".");
    let mut parts = version.split('.');
    let version = [parts.next()?, parts.next().unwrap_or("0")].join(".");
    version.parse().ok()
}

/// The name of the function that a statement declares: what stands before the first parenthesis that
/// is no macro's.
fn name(statement: &str) -> Option<&str> {
    let mut rest = statement;
    loop {
        let at = rest.find('(')?;
        let before = rest[..at].trim_end();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let begin = before.rfind(|c| !is_part(c)).map_or(0, |at| at + 1);
        let word = &before[begin..];
        let is_macro = word.starts_with("__") || !word.contains(|c: char| c.is_ascii_lowercase());
        if !is_macro {
            return Some(word);
        }
        let mut depth = 0;
        let end = rest[at..].find(|c| {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth == 0
        })?;
        rest = &rest[at + end + 1..];
    }
}
