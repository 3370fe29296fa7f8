//! What moves when an image is locked anew, and whether it is time to: package by package, toolchain by
//! toolchain.
//!
//! Only `update` moves a pin. `lock` resolves an edited recipe too, but refuses another version of
//! anything that was locked before.

use std::collections::BTreeMap;

use serde::Serialize;

use super::http::Http;
use super::lock::{Lock, Package};
use super::mirror::Mirrors;
use super::rust_dist::LockedRust;

/// Whether versions that are locked may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pins {
    /// They stay.
    Kept,
    /// The newest of these suites are taken.
    Moved(Suites),
}

/// Which suites packages are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suites {
    /// Those that the lock names already; without a lock the main one.
    AsLocked,
    /// Also that of security updates.
    WithSecurity,
}

/// One thing that an update changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `package`, `source`, `wheel`, `rust`, `layer` or `toolchain`.
    pub kind: &'static str,
    /// The package, or the target of a toolchain.
    pub name: String,
    /// The version or toolchain hash before; none if it is new.
    pub old: Option<String>,
    /// The one afterwards; none if it is no longer there.
    pub new: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
        write!(f, "{} {}: {} -> {}", self.kind, self.name, of(&self.old), of(&self.new))
    }
}

/// What differs between two locks of an image: packages, sources and wheels by version, Rust's own
/// distribution by version and digest, toolchains by hash.
pub fn changes(old: &Lock, new: &Lock) -> Vec<Change> {
    let mut changes = versions(old, new);
    let toolchains = |lock: &Lock| {
        let toolchains = lock.toolchains.iter();
        toolchains.map(|t| (t.record.target.to_string(), t.hash.short())).collect()
    };
    changes.extend(compare("toolchain", &toolchains(old), &toolchains(new)));
    changes
}

/// What of `old` would be another thing in `new` though no recipe asks for that: packages and sources of
/// other versions, a release of Rust of the same version with other files, and a Dockerfile that gave
/// other layers.
pub(super) fn moved(old: &Lock, new: &Lock) -> Vec<Change> {
    let is_pinned_by_recipe = |change: &Change| match change.kind {
        // Its version is in the recipe, so its editor moved it.
        "wheel" => true,
        "rust" => {
            old.rust.as_ref().map(|rust| &rust.version) != new.rust.as_ref().map(|r| &r.version)
        }
        _ => false,
    };
    let mut moved = versions(old, new);
    if old.recipe == new.recipe {
        moved.extend(compare("layer", &blobs(old), &blobs(new)));
    }
    moved.retain(|change| change.old.is_some() && change.new.is_some());
    moved.retain(|change| !is_pinned_by_recipe(change));
    moved
}

/// The layers of an image that others made.
fn blobs(lock: &Lock) -> BTreeMap<String, String> {
    let ready = lock.ready.iter().flat_map(|ready| &ready.blobs).enumerate();
    ready.map(|(at, blob)| (format!("{}", at + 1), blob.diff_id.short())).collect()
}

/// The files of a release of Rust, each by its version and digest.
fn components(lock: &Lock) -> BTreeMap<String, String> {
    let of = |rust: &LockedRust| {
        let version = rust.version.clone();
        let components = rust.components.iter();
        let components = components.map(move |component| {
            let name = format!("{} for {}", component.name, component.target);
            (name, format!("{version} ({})", component.sha256.short()))
        });
        components.collect::<Vec<_>>()
    };
    lock.rust.iter().flat_map(of).collect()
}

/// The part of [`changes`] that is known before anything is assembled.
pub(super) fn versions(old: &Lock, new: &Lock) -> Vec<Change> {
    let packages = |packages: &[Package]| -> BTreeMap<String, String> {
        packages.iter().map(|package| (package.name.clone(), package.version.clone())).collect()
    };
    let wheels = |lock: &Lock| -> BTreeMap<String, String> {
        lock.wheels.iter().map(|wheel| (wheel.name.clone(), wheel.version.clone())).collect()
    };
    let mut changes = compare("package", &packages(&old.packages), &packages(&new.packages));
    changes.extend(compare("source", &packages(&old.sources), &packages(&new.sources)));
    changes.extend(compare("wheel", &wheels(old), &wheels(new)));
    changes.extend(compare("rust", &components(old), &components(new)));
    changes
}

fn compare(
    kind: &'static str,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Vec<Change> {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let change = |name: &String| Change {
        kind,
        name: name.clone(),
        old: old.get(name).cloned(),
        new: new.get(name).cloned(),
    };
    names.into_iter().map(change).filter(|change| change.old != change.new).collect()
}

/// The packages of `old` that no mirror has any more. What the archive's present index lists is there.
pub(super) fn gone(old: &Lock, new: &Lock, mirrors: &Mirrors, http: &Http) -> Vec<String> {
    let listed = |package: &&Package| {
        let mut all = new.packages.iter().chain(&new.sources);
        all.any(|other| other.sha256 == package.sha256)
    };
    let is_there = |package: &&Package| {
        mirrors
            .addresses(http, package.archive, &package.path)
            .any(|address| http.size(&address).is_ok())
    };
    let all = old.packages.iter().chain(&old.sources);
    let lost = all.filter(|package| !listed(package) && !is_there(package));
    lost.map(|package| format!("{} {}", package.name, package.version)).collect()
}
