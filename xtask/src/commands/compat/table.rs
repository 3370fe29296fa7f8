//! What came of all cases, kept in `xtask/compat/results.json`, and the page made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cell::{Cell, Standing};
use crate::cache::{CacheError, write_atomically};
use crate::failure::Failure;
use crate::targets::Target;
use crate::workspace::Unsupported;

/// By case, what came of it. What its Cargo.toml leaves out is no part of it.
#[derive(Debug, Default)]
pub(super) struct Results {
    found: BTreeMap<String, Found>,
    /// By case, its crates as they are now.
    crates: BTreeMap<String, String>,
}

/// What came of a case.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    /// Its crates, as they were then.
    crates: String,
    /// By target.
    targets: BTreeMap<String, String>,
}

const FILE: &str = "results.json";

/// What the page says above its table.
const HEAD: &str = "# Crates that are hard to cross-compile

Small plugins around them, which `cargo xtask compat` builds, loads and calls where the target has a
runner, and builds again from nothing. This page is written by that command; what a run leaves out keeps
what an earlier one found of the same versions.

- **called**: built twice with the same bytes, loaded by a host of the target, called, unloaded, twice
- **built**: built twice with the same bytes, and admitted by every static check; nothing here runs it
- **refused**: it can't be had for that target; the number leads to the reason
- **failed**: it should be had, and something went wrong; the number leads to what it was
- **not run**: not tried yet

";

/// What stands in the place of what came of a case that was not tried.
const NOT_RUN: &str = "not run";

impl Results {
    /// What was found so far; that of crates which the cases no longer have is left out.
    pub(super) fn read(source: &Path) -> Result<Self, Failure> {
        let path = source.join(FILE);
        let mut found: BTreeMap<String, Found> = match path.exists() {
            false => BTreeMap::new(),
            true => {
                let text = fs::read_to_string(&path).map_err(CacheError::io("read", &path))?;
                let found = serde_json::from_str(&text).map_err(std::io::Error::other);
                found.map_err(CacheError::io("read", &path))?
            }
        };
        let mut crates = BTreeMap::new();
        for case in cases(source)? {
            let manifest = Manifest::read(source, &case)?;
            crates.insert(case, manifest.crates);
        }
        found.retain(|case, found| crates.get(case).is_some_and(|crates| *crates == found.crates));
        Ok(Self { found, crates })
    }

    pub(super) fn set(&mut self, case: &str, target: &str, cell: &Cell) {
        let crates = self.crates.get(case).cloned().unwrap_or_default();
        let new = || Found { crates, targets: BTreeMap::new() };
        let targets = &mut self.found.entry(case.to_owned()).or_insert_with(new).targets;
        // Why it is refused stands in its Cargo.toml.
        match cell.standing() {
            Standing::Refused => targets.remove(target),
            Standing::Good | Standing::Failed => {
                targets.insert(target.to_owned(), cell.to_string())
            }
        };
    }

    fn get(&self, case: &str, target: &str) -> Option<&str> {
        self.found.get(case)?.targets.get(target).map(String::as_str)
    }

    pub(super) fn write(&self, source: &Path) -> Result<(), CacheError> {
        let text = serde_json::to_string_pretty(&self.found).expect("has string keys");
        write_atomically(&source.join(FILE), format!("{text}\n").as_bytes())
    }
}

/// The page, a function of what was found and of the cases' manifests.
pub(super) struct Page {
    /// Their triples.
    targets: Vec<String>,
    rows: Vec<[String; 2]>,
    /// By row, then by target.
    outcomes: Vec<Vec<String>>,
}

impl Page {
    /// A page of all cases, for these targets and all others that something was found for.
    pub(super) fn new(
        source: &Path,
        targets: Vec<&Target>,
        results: &Results,
    ) -> Result<Self, Failure> {
        let mut all: BTreeSet<String> =
            targets.into_iter().map(|target| target.triple.to_string()).collect();
        all.extend(results.found.values().flat_map(|found| found.targets.keys().cloned()));
        let (targets, mut rows, mut outcomes) = (Vec::from_iter(all), Vec::new(), Vec::new());
        for case in cases(source)? {
            let manifest = Manifest::read(source, &case)?;
            let outcome =
                |triple: &String| match (manifest.obstacle(triple), results.get(&case, triple)) {
                    (Some(reason), _) => format!("refused: {reason}"),
                    (None, Some(outcome)) => outcome.to_owned(),
                    (None, None) => NOT_RUN.to_owned(),
                };
            outcomes.push(targets.iter().map(outcome).collect());
            rows.push([manifest.crates, manifest.tools.join(", ")]);
        }
        Ok(Self { targets, rows, outcomes })
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        let mut row = |cells: Vec<&str>| writeln!(f, "| {} |", cells.join(" | "));
        let heads = ["crate", "tools"].into_iter();
        row(heads.chain(self.targets.iter().map(String::as_str)).collect())?;
        row(vec!["---"; self.targets.len() + 2])?;
        let mut notes: Vec<String> = Vec::new();
        for ([crates, tools], outcomes) in self.rows.iter().zip(&self.outcomes) {
            let mut cells = Vec::new();
            for outcome in outcomes {
                cells.push(match outcome.split_once(": ") {
                    None => outcome.clone(),
                    Some((what, why)) => {
                        let note = format!("{crates}: {why}");
                        let known = notes.iter().position(|known| *known == note);
                        let at = known.unwrap_or_else(|| {
                            notes.push(note);
                            notes.len() - 1
                        });
                        format!("{what} ({})", at + 1)
                    }
                });
            }
            let of_case = [crates.as_str(), tools].into_iter();
            row(of_case.chain(cells.iter().map(String::as_str)).collect())?;
        }
        for (at, note) in notes.iter().enumerate() {
            if at == 0 {
                writeln!(f)?;
            }
            writeln!(f, "{}. {note}", at + 1)?;
        }
        Ok(())
    }
}

/// The names of all cases, sorted.
pub(super) fn cases(source: &Path) -> Result<Vec<String>, Failure> {
    let entries = fs::read_dir(source).map_err(CacheError::io("list", source))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "host")
        .collect();
    names.sort();
    Ok(names)
}

/// What the table shows of a case's manifest.
pub(super) struct Manifest {
    /// What it depends on, with versions and features.
    crates: String,
    tools: Vec<String>,
    unsupported: Vec<Unsupported>,
}

impl Manifest {
    /// Reads that of a case in a folder of cases.
    pub(super) fn read(source: &Path, case: &str) -> Result<Self, CacheError> {
        let path = source.join(case).join("Cargo.toml");
        let text = fs::read_to_string(&path).map_err(CacheError::io("read", &path))?;
        Self::parse(&text).map_err(std::io::Error::other).map_err(CacheError::io("read", &path))
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        /// What of a manifest counts here.
        #[derive(Deserialize)]
        struct Document {
            package: Package,
            #[serde(default)]
            dependencies: toml::Table,
        }
        #[derive(Deserialize)]
        struct Package {
            #[serde(default)]
            metadata: Metadata,
        }
        #[derive(Default, Deserialize)]
        struct Metadata {
            #[serde(default)]
            keyway: Settings,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Settings {
            tools: Vec<String>,
            unsupported: Vec<Unsupported>,
        }
        let document: Document = toml::from_str(text)?;
        let crates = document.dependencies.iter().filter_map(|(name, value)| {
            let version = value.get("version").or(Some(value)).and_then(toml::Value::as_str)?;
            let features = value.get("features").and_then(toml::Value::as_array);
            let features = features.into_iter().flatten().filter_map(toml::Value::as_str);
            let features: Vec<&str> = features.collect();
            let more = match features.is_empty() {
                true => String::new(),
                false => format!(" ({})", features.join(", ")),
            };
            Some(format!("{name} {version}{more}"))
        });
        let crates = crates.collect::<Vec<_>>().join(", ");
        let Settings { tools, unsupported } = document.package.metadata.keyway;
        Ok(Self { crates, tools, unsupported })
    }

    /// Why it can't be had for a target.
    pub(super) fn obstacle(&self, triple: &str) -> Option<String> {
        let entry = self.unsupported.iter().find(|entry| entry.is_of(triple));
        entry.map(|entry| entry.reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use snapbox::{assert_data_eq, str};

    use super::super::cell::Call;
    use super::*;
    use crate::targets::TargetSet;

    const A: &str = "aarch64-unknown-linux-gnu";
    const X: &str = "x86_64-unknown-linux-gnu";

    /// A folder of two cases and a host.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let put = |case: &str, text: &str| {
            fs::create_dir(folder.path().join(case)).unwrap();
            let text = format!("[package]\nname = \"compat-{case}\"\n{text}");
            fs::write(folder.path().join(case).join("Cargo.toml"), text).unwrap();
        };
        put(
            "one",
            "[dependencies]\nkeyway-sdk.workspace = true\none = { version = \"1.0\", features = [\"a\", \"b\"] }\n\
             [package.metadata.keyway]\ntools = [\"cmake\", \"perl\"]\n",
        );
        put(
            "two",
            "[dependencies]\ntwo = \"2.0\"\nmore = \"0.3\"\n[package.metadata.keyway]\n\
             unsupported = [{ target = \"aarch64-*\", reason = \"it is for x86\" }]\n",
        );
        put("host", "");
        folder
    }

    fn page(folder: &Path, results: &Results) -> String {
        let page = Page::new(folder, Vec::new(), results).unwrap().to_string();
        page.strip_prefix(HEAD).unwrap().to_owned()
    }

    #[test]
    fn every_case_has_a_cell_for_every_target() {
        let folder = folder();
        let folder = folder.path();
        let mut results = Results::read(folder).unwrap();
        results.set("one", X, &Cell::Identical(Call::Called));
        results.set("one", A, &Cell::NotBuilt("one-sys".into()));
        results.set("two", A, &Cell::LeftOut("it is for x86".into()));
        assert_data_eq!(
            page(folder, &results),
            str![[r#"
| crate | tools | aarch64-unknown-linux-gnu | x86_64-unknown-linux-gnu |
| --- | --- | --- | --- |
| one 1.0 (a, b) | cmake, perl | failed (1) | called |
| more 0.3, two 2.0 |  | refused (2) | not run |

1. one 1.0 (a, b): not built: one-sys
2. more 0.3, two 2.0: it is for x86

"#]]
        );
    }

    #[test]
    fn what_was_found_is_kept_until_it_is_found_otherwise() {
        let folder = folder();
        let folder = folder.path();
        let mut results = Results::read(folder).unwrap();
        results.set("one", X, &Cell::Different);
        results.set("two", X, &Cell::Identical(Call::Called));
        results.write(folder).unwrap();
        let mut results = Results::read(folder).unwrap();
        results.set("one", X, &Cell::Identical(Call::NoRunner));
        assert_eq!((results.get("one", X), results.get("two", X)), (Some("built"), Some("called")));
        results.set("one", X, &Cell::LeftOut("gone".into()));
        assert_eq!(results.get("one", X), None);
    }

    #[test]
    fn what_was_found_of_another_version_is_not_shown() {
        let folder = folder();
        let folder = folder.path();
        let mut results = Results::read(folder).unwrap();
        results.set("one", X, &Cell::Identical(Call::Called));
        results.set("two", X, &Cell::Identical(Call::Called));
        results.write(folder).unwrap();
        let manifest = folder.join("one").join("Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, text.replace("\"1.0\"", "\"1.1\"")).unwrap();
        let results = Results::read(folder).unwrap();
        assert_eq!((results.get("one", X), results.get("two", X)), (None, Some("called")));
    }

    /// The page is never edited by hand, and never left behind.
    #[test]
    fn the_page_is_made_of_what_was_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let source = root.join("xtask").join("compat");
        let set = TargetSet::open(Some(&root.join("targets.toml"))).unwrap();
        let results = Results::read(&source).unwrap();
        let page = Page::new(&source, set.select(&[]).unwrap(), &results).unwrap().to_string();
        let written = fs::read_to_string(root.join("docs").join("compat.md")).unwrap();
        assert!(
            written == page,
            "docs/compat.md is out of date: any run of `cargo xtask compat` writes it"
        );
    }
}
