//! The dependency closure of a recipe's packages in a suite's index.
//!
//! Depends and Pre-Depends alike, since no package is configured. An alternative that is selected
//! already wins, else the first that the index can fulfil, as apt does it; of several packages that
//! provide a name, the one with the higher priority. There is no backtracking: a stable suite needs
//! none, and two packages that can't live together show as a file that both carry.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use keyway_manifest::Digest;
use thiserror::Error;

use super::control::{Clause, Paragraph, Relation, RelationError, clauses};
use super::debian::DebianArchive;
use super::lock::Package;
use super::recipe::Omission;
use super::version;

/// The packages of a suite, by name.
#[derive(Debug)]
pub struct Index<'a> {
    architecture: &'a str,
    packages: HashMap<&'a str, Entry<'a>>,
    /// Names that other packages provide, with the version they provide.
    provided: HashMap<String, Vec<(&'a str, Option<String>)>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    archive: DebianArchive,
    version: &'a str,
    paragraph: Paragraph<'a>,
}

/// Why a closure can't be computed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ResolveError {
    /// A package that the recipe names is not in the index.
    #[error("package `{name}` is not in the suite")]
    Unknown {
        /// The package.
        name: String,
    },
    /// No package of the index fulfils a dependency.
    #[error("nothing in the suite fulfils `{clause}`, which {chain} depends on")]
    Unsatisfiable {
        /// The dependency.
        clause: String,
        /// How the recipe leads to it: `a` -> `b`.
        chain: String,
    },
    /// The recipe leaves out a dependency that nothing has.
    #[error("`without` names `{name}`, which no package of the closure depends on")]
    UnusedOmission {
        /// The package.
        name: String,
    },
    /// A package of the closure is in the image below, in another version.
    #[error("package `{name}` is in the image below as version `{below}`, the suite has `{found}`")]
    OtherVersionBelow {
        /// The package.
        name: String,
        /// Version in the image below.
        below: String,
        /// Version in the suite.
        found: String,
    },
    /// A paragraph of the index lacks a field, or has a broken one.
    #[error("the index entry of `{package}` has no usable field `{field}`")]
    Field {
        /// The package.
        package: String,
        /// The field.
        field: &'static str,
    },
    /// A dependency field can't be read.
    #[error("could not read the dependencies of `{package}`")]
    Relation {
        /// The package.
        package: String,
        /// What is wrong with it.
        source: RelationError,
    },
}

impl<'a> Index<'a> {
    /// Reads the `Packages` files of archives. Of several versions of a package the latest counts, of
    /// the same version the first.
    ///
    /// # Errors
    /// If a paragraph has no name or version, or provides what can't be read.
    pub fn parse(
        texts: &[(DebianArchive, &'a str)],
        architecture: &'a str,
    ) -> Result<Self, ResolveError> {
        let mut packages: HashMap<&str, Entry<'_>> = HashMap::new();
        let all = texts.iter().flat_map(|(archive, text)| {
            Paragraph::all(text).map(move |paragraph| (*archive, paragraph))
        });
        for (archive, paragraph) in all {
            let name = required("?", paragraph, "Package")?;
            let version = required(name, paragraph, "Version")?;
            let entry = Entry { archive, version, paragraph };
            let older = packages
                .get(name)
                .is_some_and(|known| version::compare(entry.version, known.version).is_le());
            if !older {
                packages.insert(name, entry);
            }
        }
        let mut provided: HashMap<String, Vec<_>> = HashMap::new();
        for (name, entry) in &packages {
            for clause in read_clauses(name, *entry, "Provides", architecture)? {
                for Relation { name: virtual_name, bound } in clause.alternatives {
                    let bound = bound.map(|(_, version)| version);
                    provided.entry(virtual_name).or_default().push((*name, bound));
                }
            }
        }
        Ok(Self { architecture, packages, provided })
    }

    /// The packages that `roots` need, sorted by name, without those of `below` but for roots: a recipe
    /// names one again to add files of it that the image below leaves out.
    ///
    /// # Errors
    /// If a package is missing, or a dependency can't be fulfilled.
    pub fn closure(
        &self,
        roots: &[String],
        without: &[Omission],
        below: &[Package],
    ) -> Result<Vec<Package>, ResolveError> {
        let mut selection = Selection {
            index: self,
            chosen: below.iter().map(|p| (p.name.clone(), String::new())).collect(),
            queue: VecDeque::new(),
        };
        for name in roots {
            if !self.packages.contains_key(name.as_str()) {
                return Err(ResolveError::Unknown { name: name.clone() });
            }
            selection.choose(name, "");
        }
        let mut unused: BTreeSet<&str> = without.iter().map(|o| o.package.as_str()).collect();
        while let Some(name) = selection.queue.pop_front() {
            for clause in self.dependencies(&name)? {
                let omitted = |r: &&Relation| without.iter().any(|o| o.package == r.name);
                if let Some(relation) = clause.alternatives.iter().find(omitted) {
                    unused.remove(relation.name.as_str());
                    if selection.fulfils(&clause) {
                        continue;
                    }
                } else {
                    selection.fulfil(&clause, &name)?;
                }
            }
        }
        if let Some(name) = unused.first() {
            return Err(ResolveError::UnusedOmission { name: (*name).to_owned() });
        }
        for known in below {
            let found = self.packages.get(known.name.as_str()).map_or("", |e| e.version);
            if found != known.version {
                return Err(ResolveError::OtherVersionBelow {
                    name: known.name.clone(),
                    below: known.version.clone(),
                    found: found.to_owned(),
                });
            }
        }
        let is_below: BTreeSet<&str> = below.iter().map(|p| p.name.as_str()).collect();
        let is_new = |name: &&String| !is_below.contains(name.as_str()) || roots.contains(name);
        let chosen = selection.chosen.keys().filter(is_new);
        chosen.map(|name| self.package(name)).collect()
    }

    /// What a lock records of a package.
    ///
    /// # Errors
    /// If it is not in the index, or its entry lacks a field.
    pub fn package(&self, name: &str) -> Result<Package, ResolveError> {
        let unknown = || ResolveError::Unknown { name: name.to_owned() };
        let entry = self.packages.get(name).ok_or_else(unknown)?;
        let broken = |field| ResolveError::Field { package: name.to_owned(), field };
        let sha256: Digest =
            required(name, entry.paragraph, "SHA256")?.parse().map_err(|_| broken("SHA256"))?;
        Ok(Package {
            name: name.to_owned(),
            version: entry.version.to_owned(),
            architecture: required(name, entry.paragraph, "Architecture")?.to_owned(),
            archive: entry.archive,
            path: required(name, entry.paragraph, "Filename")?.to_owned(),
            size: required(name, entry.paragraph, "Size")?.parse().map_err(|_| broken("Size"))?,
            sha256,
        })
    }

    fn dependencies(&self, name: &str) -> Result<Vec<Clause>, ResolveError> {
        let Some(entry) = self.packages.get(name) else {
            return Ok(Vec::new());
        };
        let mut all = read_clauses(name, *entry, "Pre-Depends", self.architecture)?;
        all.extend(read_clauses(name, *entry, "Depends", self.architecture)?);
        Ok(all)
    }

    fn has(&self, name: &str, relation: &Relation) -> bool {
        name == relation.name && self.packages.get(name).is_some_and(|e| relation.admits(e.version))
    }

    /// Packages that provide a relation's name in a version within its bound, best first.
    fn providers(&self, relation: &Relation) -> Vec<&'a str> {
        let admits = |version: &Option<String>| match (version, &relation.bound) {
            (_, None) => true,
            (Some(version), Some(_)) => relation.admits(version),
            (None, Some(_)) => false,
        };
        let all = self.provided.get(&relation.name).into_iter().flatten();
        let mut names: Vec<_> = all.filter(|(_, v)| admits(v)).map(|(name, _)| *name).collect();
        names.sort_by_key(|name| (self.priority(name), *name));
        names
    }

    fn priority(&self, name: &str) -> usize {
        let priority = self.packages.get(name).and_then(|e| e.paragraph.field("Priority"));
        let order = ["required", "important", "standard", "optional"];
        order.iter().position(|p| Some(*p) == priority).unwrap_or(order.len())
    }
}

fn required<'a>(
    package: &str,
    paragraph: Paragraph<'a>,
    field: &'static str,
) -> Result<&'a str, ResolveError> {
    let missing = || ResolveError::Field { package: package.to_owned(), field };
    paragraph.field(field).filter(|value| !value.is_empty()).ok_or_else(missing)
}

fn read_clauses(
    package: &str,
    entry: Entry<'_>,
    field: &str,
    architecture: &str,
) -> Result<Vec<Clause>, ResolveError> {
    let error = |source| ResolveError::Relation { package: package.to_owned(), source };
    clauses(entry.paragraph.field(field).unwrap_or_default(), architecture).map_err(error)
}

/// What is chosen so far, with the package that asked for each.
struct Selection<'i, 'a> {
    index: &'i Index<'a>,
    chosen: BTreeMap<String, String>,
    queue: VecDeque<String>,
}

impl Selection<'_, '_> {
    fn choose(&mut self, name: &str, parent: &str) {
        if !self.chosen.contains_key(name) {
            self.chosen.insert(name.to_owned(), parent.to_owned());
            self.queue.push_back(name.to_owned());
        }
    }

    fn fulfils(&self, clause: &Clause) -> bool {
        clause.alternatives.iter().any(|relation| {
            let direct = self.chosen.contains_key(&relation.name)
                && self.index.has(&relation.name, relation);
            direct
                || self.index.providers(relation).iter().any(|name| self.chosen.contains_key(*name))
        })
    }

    fn fulfil(&mut self, clause: &Clause, parent: &str) -> Result<(), ResolveError> {
        if self.fulfils(clause) {
            return Ok(());
        }
        let found = clause.alternatives.iter().find_map(|relation| {
            if self.index.has(&relation.name, relation) {
                Some(relation.name.clone())
            } else {
                self.index.providers(relation).first().map(|name| (*name).to_owned())
            }
        });
        let Some(name) = found else {
            return Err(ResolveError::Unsatisfiable {
                clause: clause.text.clone(),
                chain: self.chain(parent),
            });
        };
        self.choose(&name, parent);
        Ok(())
    }

    /// From the recipe's package down to `name`.
    fn chain(&self, name: &str) -> String {
        let mut names = vec![format!("`{name}`")];
        let mut at = name;
        while let Some(parent) = self.chosen.get(at).filter(|parent| !parent.is_empty()) {
            names.push(format!("`{parent}`"));
            at = parent;
        }
        names.reverse();
        names.join(" -> ")
    }
}
