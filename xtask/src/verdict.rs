//! The gate as this tool uses it: right after a build, and for the `gate` command.

mod remedy;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use keyway_host::code::Code;
use keyway_host::gate::{Admission, Gate};
use keyway_host::policy::{
    Expectation, ExportPolicy, ImportPolicy, PermissionPolicy, StampPolicy, SymbolPolicy,
    ToolchainPolicy,
};
use keyway_host::refusal::Rejection;
use keyway_host::toolchains::Toolchains;
use keyway_inspect::{Details, Facts};
use keyway_manifest::{Import, LibcVersion};

use crate::artifact::Artifact;
use crate::origin;
use crate::plan::{Step, Wanted};
use crate::shell::Shell;
use crate::stubs::{self, StubsError};

/// The gate for what a step has built.
pub struct Judge<'a> {
    step: &'a Step,
    /// What the target's system has.
    symbols: SymbolPolicy,
}

impl<'a> Judge<'a> {
    /// The one for `step`, with the stubs of its target below the folder of recipes.
    ///
    /// # Errors
    /// If the stubs can't be read.
    pub fn new(step: &'a Step, recipes: &Path) -> Result<Self, StubsError> {
        let stubs = step.target.spec.stubs.as_ref().map(|stubs| stubs::read(&recipes.join(stubs)));
        let symbols = stubs.transpose()?.map(Arc::new);
        let symbols = symbols.map_or(SymbolPolicy::Any, SymbolPolicy::Listed);
        Ok(Self { step, symbols })
    }

    /// Passes an artifact that the step has just built through the gate of a host that is as
    /// `targets.toml` describes it: the oldest libc or macOS that it promises to run on, and no library
    /// beyond its list. Beyond that host it is asked to show no more of itself than the contract needs.
    ///
    /// A library without a stamp passes: it is delivered, and refused by the hosts that need one.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn admit(&self, wanted: &Wanted, path: &Path) -> Result<Admission, Rejection> {
        Gate::new(self.expectation(wanted)).check(path)
    }

    /// What such a host expects.
    fn expectation(&self, wanted: &Wanted) -> Expectation {
        let spec = &self.step.target.spec;
        let plugin = &wanted.plugin;
        let allowed = plugin.allow_imports.iter().map(|import| &import.name);
        let declared = plugin.apple_symbols.iter().map(|symbol| &symbol.name);
        let imports = spec.imports.iter().chain(allowed).chain(declared).cloned().collect();
        let exports = plugin.allow_exports.iter().map(|export| export.name.clone()).collect();
        Expectation {
            libc: spec.libc.clone(),
            stamp: StampPolicy::Optional,
            toolchains: ToolchainPolicy::Trusted(Toolchains::from([self.step.toolchain.hash])),
            imports: ImportPolicy::Listed(imports),
            symbols: self.symbols.clone(),
            exports: ExportPolicy::Contract(exports),
            // Who may write to the workspace is the business of whoever builds in it.
            permissions: PermissionPolicy::Unchecked,
            ..Expectation::for_target(self.step.target.triple.clone())
        }
    }

    /// Who needs the symbols that an artifact was refused for (those newer than the target's floor, of libraries
    /// that are not allowed, and of no library), whose thread-local variables its target's hosts have no place
    /// for, and what its Cargo.toml may say to have it admitted.
    pub fn advice(&self, wanted: &Wanted, artifact: &Artifact, rejection: &Rejection) -> Advice {
        let Ok(inspection) = keyway_inspect::inspect(&artifact.bytes) else {
            return Advice::default();
        };
        let expectation = self.expectation(wanted);
        let symbols = refused(&inspection.facts, &expectation);
        let found = match symbols.is_empty() {
            true => BTreeMap::new(),
            false => origin::of(&symbols, &artifact.folder),
        };
        let list = |by: &BTreeSet<String>| by.iter().cloned().collect::<Vec<_>>().join(", ");
        let detail = |(symbol, by)| format!("`{symbol}` is needed by {}", list(by));
        let thread_locals = match rejection.refusals.iter().any(|r| r.code == Code::StaticTls) {
            true => origin::of_static_tls(&artifact.folder),
            false => BTreeSet::new(),
        };
        let by = list(&thread_locals);
        let thread_locals = (!by.is_empty())
            .then(|| format!("thread-local variables of `initial-exec` are in {by}"));
        Advice {
            culprits: thread_locals.into_iter().chain(culprits(&found)).collect(),
            details: found.iter().map(detail).collect(),
            lines: remedy::lines(&wanted.plugin, &inspection.facts, &expectation, rejection),
        }
    }
}

/// What is said of a refused artifact beside its refusals.
#[derive(Debug, Default)]
pub struct Advice {
    /// A line for each kind of thing it was refused for: who needs it, where that can be told.
    pub culprits: Vec<String>,
    /// A line for each symbol.
    pub details: Vec<String>,
    /// The lines of the plugin's Cargo.toml that would have it admitted, if any would.
    pub lines: Option<String>,
}

impl Advice {
    /// Says it, of a plugin of this name.
    pub fn say(&self, plugin: &str, shell: &Shell) {
        self.culprits.iter().for_each(|line| shell.warn(line));
        self.details.iter().for_each(|line| shell.detail("Symbol", line));
        if let Some(lines) = &self.lines {
            // The same for most targets.
            let what = "if that is meant to be, its Cargo.toml says so";
            shell.warn_once(&format!("`{plugin}` is refused; {what}:\n\n{lines}"));
        }
    }
}

/// One line for all symbols and all that need them.
fn culprits(found: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let (first, _) = found.first_key_value()?;
    let all: BTreeSet<&String> = found.values().flatten().collect();
    let named: Vec<&str> = all.iter().take(MAX_CULPRITS).map(|by| by.as_str()).collect();
    let more = |n: usize| if n == 0 { String::new() } else { format!(" and {n} more") };
    let verb = if found.len() == 1 { "is" } else { "are" };
    Some(format!(
        "`{first}`{} {verb} needed by {}{}",
        more(found.len() - 1),
        named.join(", "),
        more(all.len() - named.len())
    ))
}

/// How many objects and crates the one line names.
const MAX_CULPRITS: usize = 3;

/// The symbols because of which a library is refused, without their versions.
fn refused<'a>(facts: &'a Facts, expectation: &Expectation) -> BTreeSet<&'a str> {
    let policy = &expectation.imports;
    let floor = expectation.libc.as_ref().and_then(|libc| libc.floor);
    let (optional, libraries) = match &facts.details {
        Details::Macho(macho) => (macho.optional.clone(), macho.optional_libraries.clone()),
        Details::Elf(_) | Details::Pe(_) => Default::default(),
    };
    let is_forbidden = |library: &Option<String>| {
        library
            .as_ref()
            .is_some_and(|library| !policy.allows(library) && !libraries.contains(library))
    };
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
    if let SymbolPolicy::Listed(known) = &expectation.symbols {
        for Import { library, symbols } in &facts.imports {
            let Some(has) = library.as_ref().and_then(|library| known.get(library)) else {
                continue;
            };
            let is_refused = |symbol: &&String| match has.get(*symbol) {
                None => true,
                Some(since) => {
                    since.is_some_and(|of| floor.is_some_and(|floor| of > floor))
                        && !optional.contains(*symbol)
                }
            };
            refused.extend(symbols.iter().filter(is_refused).map(String::as_str));
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
    fn all_symbols_of_a_refusal_take_one_line() {
        let by = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let mut found = BTreeMap::new();
        assert_eq!(culprits(&found), None);
        found.insert("PyErr_Print".to_owned(), by(&["crate `pyo3`"]));
        assert_eq!(culprits(&found).as_deref(), Some("`PyErr_Print` is needed by crate `pyo3`"));
        for n in 0..79 {
            found.insert(format!("PyX_{n}"), by(&["crate `pyo3`", "crate `pyo3_ffi`"]));
        }
        let line = "`PyErr_Print` and 79 more are needed by crate `pyo3_ffi`, crate `pyo3`";
        assert_eq!(culprits(&found).as_deref(), Some(line));
        let objects = ["`a.o`", "`b.o`", "`c.o`", "`d.o`", "`e.o`"];
        let found = BTreeMap::from([("late".to_owned(), by(&objects))]);
        let line = "`late` is needed by `a.o`, `b.o`, `c.o` and 2 more";
        assert_eq!(culprits(&found).as_deref(), Some(line));
    }

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
