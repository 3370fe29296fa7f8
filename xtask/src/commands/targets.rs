//! `targets`: what `targets.toml` describes.

use serde::Serialize;

use crate::failure::Failure;
use crate::shell::Shell;
use crate::targets::{Target, TargetSet};
use crate::workspace::Workspace;

/// Lists the targets that plugins can be built for.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    Target {
        #[serde(flatten)]
        target: &'a Target,
        default: bool,
    },
    Summary {
        targets: usize,
    },
}

pub(crate) fn run(_: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let set = TargetSet::open(workspace.targets_file().as_deref())?;
    for target in set.iter() {
        let default = set.is_default(&target.triple);
        shell.event(&Event::Target { target, default });
        shell.data(format_args!(
            "{:30} {:8} image {:8} runner {:8} {}",
            target.triple,
            if default { "default" } else { "" },
            target.spec.image,
            target.spec.runner.as_ref().map_or("none", |runner| {
                runner.command.first().map_or("native", String::as_str)
            }),
            target.spec.libc.as_ref().map(ToString::to_string).unwrap_or_default(),
        ));
    }
    shell.event(&Event::Summary { targets: set.iter().count() });
    Ok(())
}
