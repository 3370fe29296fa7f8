//! The gate as this tool uses it: right after a build, and for the `gate` command.

use std::collections::BTreeSet;
use std::path::Path;

use keyway_host::gate::{Admission, Gate};
use keyway_host::policy::{
    Expectation, ExportPolicy, ImportPolicy, PermissionPolicy, StampPolicy, ToolchainPolicy,
};
use keyway_host::refusal::Rejection;
use keyway_manifest::{LibcVersion, Manifest};

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
    let spec = &step.target.spec;
    let plugin = &wanted.plugin;
    let allowed = plugin.allow_imports.iter().map(|import| &import.name);
    let imports = spec.imports.iter().chain(allowed).cloned().collect();
    let exports = plugin.allow_exports.iter().map(|export| export.name.clone()).collect();
    let expectation = Expectation {
        libc: spec.libc.clone(),
        stamp: StampPolicy::Optional,
        toolchains: ToolchainPolicy::Trusted(BTreeSet::from([step.toolchain.hash])),
        imports: ImportPolicy::Listed(imports),
        exports: ExportPolicy::Contract(exports),
        // Who may write to the workspace is the business of whoever builds in it.
        permissions: PermissionPolicy::Unchecked,
        ..Expectation::for_target(step.target.triple.clone())
    };
    Gate::new(expectation).check(path)
}

/// A line for each symbol that is newer than the target's floor and each object that needs it, where
/// that can be told.
pub fn floor_breakers(step: &Step, manifest: &Manifest, artifact: &Artifact) -> Vec<String> {
    let floor = step.target.spec.libc.as_ref().and_then(|libc| libc.floor);
    let Some(floor) = floor else { return Vec::new() };
    let imported = manifest.imports.iter().flat_map(|import| &import.symbols);
    let newer: BTreeSet<&str> = imported
        .filter_map(|symbol| {
            let (name, version) = symbol.split_once("@GLIBC_")?;
            (version.parse::<LibcVersion>().ok()? > floor).then_some(name)
        })
        .collect();
    if newer.is_empty() {
        return Vec::new();
    }
    let found = origin::of(&newer, &artifact.folder);
    let lines = found.into_iter().map(|(symbol, objects)| {
        let objects: Vec<_> = objects.iter().map(|object| format!("`{object}`")).collect();
        format!("`{symbol}` is needed by {}", objects.join(", "))
    });
    lines.collect()
}
