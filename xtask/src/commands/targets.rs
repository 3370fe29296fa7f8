//! `targets`: what `targets.toml` describes, and where each target stands.

use serde::Serialize;

use crate::cache::Cache;
use crate::dist::Index;
use crate::failure::Failure;
use crate::image::Images;
use crate::shell::Shell;
use crate::standing::{self, HEADS, Standing};
use crate::survey::{Rebuild, Survey};
use crate::targets::{Target, TargetSet};
use crate::workspace::Workspace;

/// Lists the targets that plugins can be built for, and what was built, audited and run of each.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write the table of README.md
    #[arg(long)]
    markdown: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    Target {
        #[serde(flatten)]
        target: &'a Target,
        default: bool,
        /// Whether its image can be made again from its lock; `null` if there is no lock that fits.
        rebuildable: Option<bool>,
        delivered: &'a Standing,
    },
    Summary {
        targets: usize,
    },
}

pub(crate) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let set = TargetSet::open(workspace.targets_file().as_deref())?;
    let images = Images::open(workspace.recipes_dir(), Cache::open()?);
    let standings = standings(workspace, &set, &images)?;
    let mut rows = vec![HEADS.map(str::to_owned).to_vec()];
    for (target, standing) in set.iter().zip(&standings) {
        let default = set.is_default(&target.triple);
        let lock = images.locked(&target.spec.image).ok();
        let rebuildable = lock.map(|lock| lock.is_rebuildable());
        shell.event(&Event::Target { target, default, rebuildable, delivered: standing });
        let cells = standing::described(target, default).into_iter();
        rows.push(cells.chain(standing::seen(target, rebuildable, standing)).collect());
    }
    for line in if args.markdown { markdown(&rows) } else { text(&rows) } {
        shell.data(line);
    }
    shell.event(&Event::Summary { targets: standings.len() });
    Ok(())
}

/// Where each target stands, in the order of the set.
fn standings(
    workspace: &Workspace,
    set: &TargetSet,
    images: &Images,
) -> Result<Vec<Standing>, Failure> {
    let dist = workspace.dist_dir();
    if Index::read(&dist).artifacts.is_empty() {
        // There may be no lock and no plugin yet; targets there are all the same.
        return Ok(set.iter().map(|_| Standing::default()).collect());
    }
    let mut survey = Survey::take(workspace, images, "release")?;
    let targets: Vec<&Target> = set.iter().collect();
    let plan = survey.plan(&targets, &[], Rebuild::Stale)?;
    let of = |target: &&Target| {
        let step = plan.steps.iter().find(|step| step.target.triple == target.triple);
        let of = |step| Standing::of(step, &survey.index, &survey.records, &dist);
        step.map(of).unwrap_or_default()
    };
    Ok(targets.iter().map(of).collect())
}

fn markdown(rows: &[Vec<String>]) -> Vec<String> {
    let mut lines: Vec<_> =
        rows.iter().map(|cells| standing::row(cells.iter().map(String::as_str))).collect();
    lines.insert(1, standing::row(HEADS.map(|_| "---")));
    lines
}

/// Each column as wide as its widest cell.
fn text(rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|cells| cells[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
