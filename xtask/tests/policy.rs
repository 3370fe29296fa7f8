//! The dependency policy: deny.toml's licences, sources and bans, and what hosts and plugins link.
//!
//! It reads what cargo resolved from Cargo.lock and knows no advisory database; cargo-deny, which
//! reads the same file, does. Each rule is a function that returns every violation, and is tried
//! on a policy or a graph that breaks it, since a rule that can't fail proves nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use cargo_metadata::{CargoOpt, Node, Target};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

/// What no host may link: the tool's command line, processes and progress bars.
const NOT_IN_HOSTS: &[&str] = &["clap", "duct", "indicatif"];
/// What no plugin may link: a plugin's boundary is a layout, not a format.
const NOT_IN_PLUGINS: &[&str] = &["serde", "serde_core", "serde_json"];

/// The part of deny.toml that is enforced here.
#[derive(Deserialize)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    wildcards: String,
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    /// Who may depend on it all the same.
    #[serde(default)]
    wrappers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    unknown_registry: String,
    unknown_git: String,
    #[serde(default)]
    allow_git: Vec<String>,
}

fn policy() -> Policy {
    let file = root().join("deny.toml");
    toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        .other_options(["--locked".to_owned()])
        .exec()
        .unwrap()
}

/// Packages whose licence asks for something that the policy does not allow.
fn unlicensed(metadata: &Metadata, policy: &Policy) -> Vec<String> {
    let allowed: Vec<_> =
        policy.licenses.allow.iter().map(|licence| Licensee::parse(licence).unwrap()).collect();
    let accepts = |licence: &str| {
        Expression::parse_mode(licence, ParseMode::LAX)
            .is_ok_and(|terms| terms.evaluate(|term| allowed.iter().any(|l| l.satisfies(term))))
    };
    metadata
        .packages
        .iter()
        .filter(|package| !package.license.as_deref().is_some_and(accepts))
        .map(|package| format!("`{}`: {:?}", package.name, package.license))
        .collect()
}

/// Packages that come from neither the workspace nor crates.io.
fn foreign(metadata: &Metadata, policy: &Policy) -> Vec<String> {
    assert_eq!(policy.sources.unknown_registry, "deny");
    assert_eq!(policy.sources.unknown_git, "deny");
    let known =
        |package: &&Package| match &package.source {
            None => package.manifest_path.starts_with(&metadata.workspace_root),
            Some(source) => {
                source.is_crates_io()
                    || policy.sources.allow_git.iter().any(|url| {
                        source.repr.strip_prefix("git+").is_some_and(|s| s.starts_with(url))
                    })
            }
        };
    metadata
        .packages
        .iter()
        .filter(|package| !known(package))
        .map(|package| format!("`{}`: {:?}", package.name, package.source))
        .collect()
}

/// Dependencies on a banned crate, and registry dependencies on any version at all.
fn banned(metadata: &Metadata, policy: &Policy) -> Vec<String> {
    assert_eq!(policy.bans.wildcards, "deny");
    let mut found = vec![];
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            let (from, to) = (package.name.as_str(), dependency.name.as_str());
            let ban = policy.bans.deny.iter().find(|ban| ban.name == to);
            if ban.is_some_and(|ban| !ban.wrappers.iter().any(|w| w == from))
                && resolved(metadata, package, to)
            {
                found.push(format!("`{from}` depends on `{to}`"));
            }
            let member = metadata.workspace_members.contains(&package.id);
            if member && dependency.path.is_none() && dependency.req.to_string() == "*" {
                found.push(format!("`{from}` takes any version of `{to}`"));
            }
        }
    }
    found
}

/// Whether an optional or platform's dependency is part of the graph at all.
fn resolved(metadata: &Metadata, package: &Package, dependency: &str) -> bool {
    let names = names(metadata);
    node(metadata, &package.id).dependencies.iter().any(|id| names[id] == dependency)
}

/// For each forbidden crate that `start` links, how it gets there: `a -> b -> c`.
fn linked(metadata: &Metadata, start: &str, forbidden: &[&str]) -> Vec<String> {
    let names = names(metadata);
    let first = names.iter().find(|(_, name)| **name == start);
    let first = *first.unwrap_or_else(|| panic!("no package `{start}`")).0;
    let mut ways = BTreeMap::from([(first, start.to_owned())]);
    let mut queue = VecDeque::from([first]);
    while let Some(id) = queue.pop_front() {
        for next in links(metadata, id) {
            if !ways.contains_key(next) {
                ways.insert(next, format!("{} -> {}", ways[id], names[next]));
                queue.push_back(next);
            }
        }
    }
    let forbidden: BTreeSet<_> = forbidden.iter().copied().collect();
    ways.into_iter().filter(|(id, _)| forbidden.contains(names[id])).map(|(_, way)| way).collect()
}

/// The packages that a package's library is linked with: no build script's, no test's, no macro's.
fn links<'a>(metadata: &'a Metadata, id: &PackageId) -> impl Iterator<Item = &'a PackageId> {
    node(metadata, id)
        .deps
        .iter()
        .filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal))
        .map(|dep| &dep.pkg)
        .filter(|id| !metadata[id].targets.iter().any(Target::is_proc_macro))
}

fn node<'a>(metadata: &'a Metadata, id: &PackageId) -> &'a Node {
    let resolve = metadata.resolve.as_ref().unwrap();
    resolve.nodes.iter().find(|node| node.id == *id).unwrap()
}

fn names(metadata: &Metadata) -> BTreeMap<&PackageId, &str> {
    metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect()
}

/// Workspace members that are built as plugins.
fn plugins(metadata: &Metadata) -> Vec<&str> {
    metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| package.targets.iter().any(Target::is_cdylib))
        .map(|package| package.name.as_str())
        .collect()
}

#[test]
fn every_licence_is_allowed() {
    let (metadata, mut policy) = (metadata(), policy());
    assert_eq!(unlicensed(&metadata, &policy), Vec::<String>::new());

    policy.licenses.allow = vec!["Zlib".into()];
    let found = unlicensed(&metadata, &policy);
    assert!(found.iter().any(|line| line.starts_with("`serde`")), "{found:?}");
}

#[test]
fn every_crate_comes_from_the_workspace_or_crates_io() {
    let (mut metadata, policy) = (metadata(), policy());
    assert_eq!(foreign(&metadata, &policy), Vec::<String>::new());

    let serde = metadata.packages.iter_mut().find(|package| package.name == "serde").unwrap();
    serde.source = Some(serde_json::from_str(r#""git+https://example.org/serde#0a1b""#).unwrap());
    assert_eq!(foreign(&metadata, &policy).len(), 1);

    let member = metadata.packages.iter_mut().find(|package| package.name == "greet").unwrap();
    member.manifest_path = "/elsewhere/greet/Cargo.toml".into();
    assert_eq!(foreign(&metadata, &policy).len(), 2);
}

#[test]
fn nothing_banned_is_depended_on() {
    let (mut metadata, mut policy) = (metadata(), policy());
    assert_eq!(banned(&metadata, &policy), Vec::<String>::new());

    policy.bans.deny = vec![Ban { name: "spdx".into(), wrappers: vec!["keyway-host".into()] }];
    assert_eq!(banned(&metadata, &policy), ["`keyway-xtask` depends on `spdx`"]);
    policy.bans.deny[0].wrappers.push("keyway-xtask".into());
    assert_eq!(banned(&metadata, &policy), Vec::<String>::new());

    policy.bans.deny.clear();
    let tool = metadata.packages.iter_mut().find(|p| p.name == "keyway-manifest").unwrap();
    let loose = tool.dependencies.iter_mut().find(|d| d.name == "sha2").unwrap();
    loose.req = "*".parse().unwrap();
    assert_eq!(banned(&metadata, &policy), ["`keyway-manifest` takes any version of `sha2`"]);
}

#[test]
fn no_host_links_what_only_the_tool_needs() {
    let metadata = metadata();
    assert_eq!(linked(&metadata, "keyway-host", NOT_IN_HOSTS), Vec::<String>::new());

    // The same walk finds each of them where it is.
    let found = linked(&metadata, "keyway-xtask", NOT_IN_HOSTS);
    assert_eq!(found.len(), NOT_IN_HOSTS.len(), "{found:?}");
}

#[test]
fn no_plugin_links_serde() {
    let metadata = metadata();
    let plugins = plugins(&metadata);
    assert!(plugins.contains(&"greet"), "{plugins:?}");
    for start in plugins.into_iter().chain(["keyway-sdk"]) {
        assert_eq!(linked(&metadata, start, NOT_IN_PLUGINS), Vec::<String>::new());
    }

    // The manifest crate is what plugins are kept from, and the way there is named.
    let found = linked(&metadata, "keyway-host", &["serde_path_to_error"]);
    assert_eq!(found, ["keyway-host -> keyway-manifest -> serde_path_to_error"]);
}
