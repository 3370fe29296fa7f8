//! `targets`: what `targets.toml` describes, and where each target stands.

use serde::Serialize;

use crate::cache::Cache;
use crate::commands::table::aligned;
use crate::dist::Index;
use crate::failure::Failure;
use crate::image::recipe::RecipeError;
use crate::image::{ImageError, Images};
use crate::shell::{Shell, count};
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
        /// What Cargo.toml puts on top of every image.
        tools: Vec<String>,
    },
}

pub(crate) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let set = TargetSet::open(workspace.targets_file().as_deref())?;
    let images =
        Images::open(workspace.recipes_dir(), Cache::open()?).with_workspace(workspace.root());
    let standings = standings(workspace, &set, &images)?;
    let mut rows = vec![HEADS.map(str::to_owned).to_vec()];
    for (target, standing) in set.iter().zip(&standings) {
        let default = set.is_default(&target.triple);
        let lock = match images.locked(&target.spec.image) {
            Err(ImageError::Lock(error)) if error.is_settled_by_locking() => None,
            Err(ImageError::Recipe(RecipeError::Missing { .. })) => None,
            lock => Some(lock?),
        };
        let rebuildable = lock.map(|lock| lock.is_rebuildable());
        shell.event(&Event::Target { target, default, rebuildable, delivered: standing });
        let cells = standing::described(target, default).into_iter();
        rows.push(cells.chain(standing::seen(target, rebuildable, standing)).collect());
    }
    for line in if args.markdown { markdown(&rows) } else { aligned(&rows) } {
        shell.data(line);
    }
    // Without plugins there are targets all the same.
    let tools = workspace.plugins().map_or_else(|_| Vec::new(), |set| Vec::from_iter(set.tools));
    if !tools.is_empty() && !args.markdown {
        shell.data(format_args!("tools on top of every image: {}", tools.join(", ")));
    }
    let targets = standings.len();
    shell.finish(count(targets, "target"), &Event::Summary { targets, tools });
    Ok(())
}

/// Where each target stands, in the order of the set.
fn standings(
    workspace: &Workspace,
    set: &TargetSet,
    images: &Images,
) -> Result<Vec<Standing>, Failure> {
    let dist = workspace.dist_dir();
    if Index::read(&dist)?.artifacts.is_empty() {
        // There may be no lock and no plugin yet; targets there are all the same.
        return Ok(set.iter().map(|_| Standing::default()).collect());
    }
    let mut survey = Survey::take(workspace, images, "release")?;
    let targets: Vec<&Target> = set.iter().collect();
    let plan = survey.plan(&targets, &[], Rebuild::Stale)?;
    let recipes = workspace.recipes_dir();
    let of = |target: &&Target| {
        let step = plan.steps.iter().find(|step| step.target.triple == target.triple);
        let of = |step| Standing::of(step, &recipes, &survey.index, &survey.records, &dist);
        step.map(of).transpose().map(Option::unwrap_or_default)
    };
    Ok(targets.iter().map(of).collect::<Result<_, _>>()?)
}

fn markdown(rows: &[Vec<String>]) -> Vec<String> {
    let mut lines: Vec<_> =
        rows.iter().map(|cells| standing::row(cells.iter().map(String::as_str))).collect();
    lines.insert(1, standing::row(HEADS.map(|_| "---")));
    lines
}
