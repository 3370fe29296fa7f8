//! The gate as this tool uses it: right after a build, and for the `gate` command.

use std::collections::BTreeSet;
use std::path::Path;

use keyway_host::gate::{Admission, Gate};
use keyway_host::policy::{
    Expectation, ImportPolicy, PermissionPolicy, StampPolicy, ToolchainPolicy,
};
use keyway_host::refusal::Rejection;

use crate::plan::{Step, Wanted};

/// Passes an artifact that `step` has just built through the gate of a host that is as `targets.toml`
/// describes it: the oldest libc that it promises to run on, and no library beyond its list.
///
/// A library without a stamp passes: it is delivered, and refused by the hosts that need one.
///
/// # Errors
/// Everything that is wrong with it.
pub fn of_build(step: &Step, wanted: &Wanted, path: &Path) -> Result<Admission, Rejection> {
    let spec = &step.target.spec;
    let imports = spec.imports.iter().chain(&wanted.plugin.allow_imports).cloned().collect();
    let expectation = Expectation {
        libc: spec.libc.clone(),
        stamp: StampPolicy::Optional,
        toolchains: ToolchainPolicy::Trusted(BTreeSet::from([step.toolchain.hash])),
        imports: ImportPolicy::Listed(imports),
        // Who may write to the workspace is the business of whoever builds in it.
        permissions: PermissionPolicy::Unchecked,
        ..Expectation::for_target(step.target.triple.clone())
    };
    Gate::new(expectation).check(path)
}
