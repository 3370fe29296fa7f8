//! The gate as this tool uses it: right after a build, and for the `gate` command.

use std::collections::BTreeSet;
use std::path::Path;

use keyway_host::gate::{Admission, Gate};
use keyway_host::policy::{
    Expectation, ExportPolicy, ImportPolicy, PermissionPolicy, StampPolicy, ToolchainPolicy,
};
use keyway_host::refusal::Rejection;
use keyway_inspect::Facts;
use keyway_manifest::{Import, LibcVersion};

use crate::artifact::Artifact;
use crate::origin;
use crate::plan::{Step, Wanted};

/// Passes an artifact that `step` has just built through the gate of a host that is as `targets.toml`
/// describes it: the oldest libc or macOS that it promises to run on, and no library beyond its list.
/// Beyond that host it is asked to show no more of itself than the contract needs.
///
/// A library without a stamp passes: it is delivered, and refused by the hosts that need one.
///
/// # Errors
/// Everything that is wrong with it.
pub fn of_build(step: &Step, wanted: &Wanted, path: &Path) -> Result<Admission, Rejection> {
    Gate::new(expectation(step, wanted)).check(path)
}

/// What such a host expects.
fn expectation(step: &Step, wanted: &Wanted) -> Expectation {
    let spec = &step.target.spec;
    let plugin = &wanted.plugin;
    let allowed = plugin.allow_imports.iter().map(|import| &import.name);
    let imports = spec.imports.iter().chain(allowed).cloned().collect();
    let exports = plugin.allow_exports.iter().map(|export| export.name.clone()).collect();
    Expectation {
        libc: spec.libc.clone(),
        stamp: StampPolicy::Optional,
        toolchains: ToolchainPolicy::Trusted(BTreeSet::from([step.toolchain.hash])),
        imports: ImportPolicy::Listed(imports),
        exports: ExportPolicy::Contract(exports),
        // Who may write to the workspace is the business of whoever builds in it.
        permissions: PermissionPolicy::Unchecked,
        ..Expectation::for_target(step.target.triple.clone())
    }
}

/// A line for each symbol that an artifact was refused for and each object or crate that needs it, where
/// that can be told: symbols newer than the target's floor, of libraries that are not allowed, and of no
/// library.
pub fn culprits(step: &Step, wanted: &Wanted, artifact: &Artifact) -> Vec<String> {
    let Ok(inspection) = keyway_inspect::inspect(&artifact.bytes) else { return Vec::new() };
    let symbols = refused(&inspection.facts, &expectation(step, wanted));
    if symbols.is_empty() {
        return Vec::new();
    }
    let found = origin::of(&symbols, &artifact.folder);
    let lines = found.into_iter().map(|(symbol, by)| {
        let by: Vec<String> = by.into_iter().collect();
        format!("`{symbol}` is needed by {}", by.join(", "))
    });
    lines.collect()
}

/// The symbols because of which a library is refused, without their versions.
fn refused<'a>(facts: &'a Facts, expectation: &Expectation) -> BTreeSet<&'a str> {
    let policy = &expectation.imports;
    let floor = expectation.libc.as_ref().and_then(|libc| libc.floor);
    let is_forbidden =
        |library: &Option<String>| library.as_ref().is_some_and(|library| !policy.allows(library));
    // A library without versions: nothing says which of the symbols without one are its own.
    let has_symbols = |library: &String| {
        facts.imports.iter().any(|import| import.library.as_ref() == Some(library))
    };
    let mut needed = facts.needed.iter();
    let is_silent = needed.any(|library| !policy.allows(library) && !has_symbols(library));
    let mut refused = BTreeSet::new();
    for Import { library, symbols } in &facts.imports {
        for symbol in symbols {
            let (name, version) = symbol.split_once('@').unwrap_or((symbol, ""));
            let version = version.strip_prefix("GLIBC_").and_then(|version| version.parse().ok());
            let is_newer = version.is_some_and(|of: LibcVersion| floor.is_some_and(|f| of > f));
            let may_be_forbidden = library.is_none() && is_silent;
            if is_newer || is_forbidden(library) || may_be_forbidden {
                refused.insert(name);
            }
        }
    }
    let unbound = facts.unbound.iter().map(String::as_str);
    refused.extend(unbound.filter(|symbol| !policy.allows_symbol(symbol)));
    refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyway_manifest::{Libc, LibcFamily};

    #[test]
    fn knows_which_symbols_were_refused() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/inspect/tests/libraries");
        let bytes = std::fs::read(format!("{path}/elf-x86_64.so")).expect("a library");
        let facts = keyway_inspect::inspect(&bytes).expect("a library").facts;
        let triple = "x86_64-unknown-linux-gnu".parse().expect("a triple");
        let usual = Expectation::for_target(triple);
        let listed = |names: &[&str]| {
            ImportPolicy::Listed(names.iter().map(|&name| name.to_owned()).collect())
        };
        let of = |facts: &Facts, expectation: &Expectation| {
            refused(facts, expectation).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(of(&facts, &usual).is_empty());
        let old = LibcVersion::new(2, 5);
        let old = Libc { family: LibcFamily::Glibc, floor: Some(old) };
        let old = Expectation { libc: Some(old), ..usual.clone() };
        assert_eq!(of(&facts, &old), ["clock_gettime"]);
        let none = Expectation { imports: listed(&[]), ..usual.clone() };
        assert_eq!(of(&facts, &none), ["clock_gettime"]);
        // A library without versions, and a symbol that may be its own.
        let mut silent = facts.clone();
        silent.needed.push("libX11.so.6".to_owned());
        let symbols = BTreeSet::from(["XOpenDisplay".to_owned()]);
        silent.imports.insert(Import { library: None, symbols });
        assert_eq!(of(&silent, &usual), ["XOpenDisplay"]);
        let mut unbound = facts;
        unbound.unbound.insert("PyLong".to_owned());
        assert_eq!(of(&unbound, &usual), ["PyLong"]);
        let python = Expectation { imports: listed(&["libc.so.6", "Py*"]), ..usual };
        assert!(of(&unbound, &python).is_empty());
    }
}
