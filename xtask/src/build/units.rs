//! How much there is to compile, for progress bars.

use super::Build;
use crate::plan::Step;
use crate::workspace::Dependencies;

impl Build<'_> {
    /// About how many compilations a step takes: what its progress bar counts to.
    pub(super) fn n_units(&self, step: &Step) -> u64 {
        if !self.shell.has_bars() {
            return 0;
        }
        // Without an answer the bar grows as compilations come; it is no reason to fail.
        let Ok(metadata) = self.workspace.metadata(Some(step.target.triple.as_str())) else {
            return 0;
        };
        let dependencies = Dependencies::new(&metadata);
        let plugins = metadata.workspace_packages().into_iter();
        let plugins = plugins.filter(|package| step.package(&package.name).is_some());
        let mut closure: Vec<_> =
            plugins.flat_map(|plugin| dependencies.closure(&plugin.id)).collect();
        closure.sort_by_key(|package| &package.id);
        closure.dedup_by_key(|package| &package.id);
        // A build script is compiled and run, besides the library.
        let units = closure.iter().map(|package| {
            1 + 2 * package.targets.iter().filter(|target| target.is_custom_build()).count()
        });
        units.sum::<usize>() as u64
    }
}
