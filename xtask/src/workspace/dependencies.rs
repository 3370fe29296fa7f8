//! The resolved dependency graph of a workspace, and what of it the builds of its plugins need.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, Node, Package, PackageId};
use serde::{Deserialize, Serialize};

/// The packages of registries and git that are compiled, by cargo's ids: the members that are no plugins
/// need others, and those are only resolved.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Needs {
    /// By plugins.
    plugins: BTreeSet<String>,
    /// By the program that loads them.
    host: BTreeSet<String>,
    /// By plugins and their unit tests.
    tests: BTreeSet<String>,
}

/// What is built of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Plugins.
    Plugins,
    /// Plugins, and the program that loads them.
    Trial,
    /// Both, and unit tests.
    Tests,
}

impl Needs {
    /// What is needed to build for that purpose.
    pub fn of(&self, purpose: Purpose) -> BTreeSet<String> {
        match purpose {
            Purpose::Plugins => self.plugins.clone(),
            Purpose::Trial => &self.plugins | &self.host,
            Purpose::Tests => &self.tests | &self.host,
        }
    }
}

/// What a package depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edges {
    /// To be built.
    Build,
    /// To be built, and for its own tests.
    Test,
}

/// The resolved dependency graph.
pub(crate) struct Dependencies<'a> {
    packages: BTreeMap<&'a PackageId, &'a Package>,
    nodes: BTreeMap<&'a PackageId, &'a Node>,
}

impl<'a> Dependencies<'a> {
    pub(crate) fn new(metadata: &'a Metadata) -> Self {
        let packages = metadata.packages.iter().map(|package| (&package.id, package)).collect();
        let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
        Self { packages, nodes: nodes.map(|node| (&node.id, node)).collect() }
    }

    pub(super) fn package(&self, id: &PackageId) -> Option<&'a Package> {
        self.packages.get(id).copied()
    }

    /// `start` and every package that its build needs. Dev-dependencies never reach a plugin.
    pub(crate) fn closure(&self, start: &'a PackageId) -> Vec<&'a Package> {
        self.reached([start], Edges::Build)
    }

    /// What `plugins` need of registries and git, and what their tests and the program `host` need too.
    pub(super) fn needs(&self, plugins: &[&'a PackageId], host: Option<&'a PackageId>) -> Needs {
        let fetched = |packages: Vec<&Package>| -> BTreeSet<String> {
            let fetched = packages.into_iter().filter(|package| package.source.is_some());
            fetched.map(|package| package.id.repr.clone()).collect()
        };
        Needs {
            plugins: fetched(self.reached(plugins.iter().copied(), Edges::Build)),
            host: fetched(self.reached(host, Edges::Build)),
            tests: fetched(self.reached(plugins.iter().copied(), Edges::Test)),
        }
    }

    /// All that is reached from `starts`, by `edges` from these and as builds do from there on.
    fn reached(
        &self,
        starts: impl IntoIterator<Item = &'a PackageId>,
        edges: Edges,
    ) -> Vec<&'a Package> {
        let mut seen: BTreeSet<&PackageId> = starts.into_iter().collect();
        let mut queue: Vec<(&PackageId, Edges)> = seen.iter().map(|id| (*id, edges)).collect();
        while let Some((id, edges)) = queue.pop() {
            for dependency in self.nodes.get(id).into_iter().flat_map(|node| &node.deps) {
                let is_built = |kind: DependencyKind| {
                    edges == Edges::Test || kind != DependencyKind::Development
                };
                let is_followed = dependency.dep_kinds.iter().any(|kind| is_built(kind.kind));
                if is_followed && seen.insert(&dependency.pkg) {
                    queue.push((&dependency.pkg, Edges::Build));
                }
            }
        }
        seen.into_iter().filter_map(|id| self.packages.get(id).copied()).collect()
    }
}
