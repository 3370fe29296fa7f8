//! `images import`: layers out of an archive that `images export` wrote elsewhere.

use std::path::PathBuf;

use keyway_manifest::text::Show as _;
use serde::Serialize;

use crate::cache::Cache;
use crate::failure::Failure;
use crate::image::{ImageError, Images};
use crate::shell::{Shell, count};
use crate::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The archive
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Folder of recipes and locks
    #[arg(long, value_name = "DIR")]
    recipes: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    Completeness { image: &'a str, complete: bool, missing: usize },
    Import { added: usize, known: usize },
    Summary { added: usize, known: usize },
}

pub(super) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let recipes = args.recipes.clone().unwrap_or_else(|| workspace.recipes_dir());
    let images = Images::open(recipes, Cache::open()?);
    let imported = images.import(&args.file, shell)?;
    let (added, known) = (imported.added, imported.known);
    let file = args.file.shown();
    shell.status("Imported", format_args!("{added} layers from {file}; {known} were here"));
    for image in &images.names()? {
        let missing = match images.missing(image) {
            // Not locked, or to be locked again: an import says nothing about it.
            Err(ImageError::Lock(error)) if error.is_settled_by_locking() => continue,
            missing => missing?,
        };
        match missing {
            0 => shell.data(format_args!("{image:<12} complete")),
            missing => shell.data(format_args!("{image:<12} lacks {missing} layers")),
        }
        shell.event(&Event::Completeness { image, complete: missing == 0, missing });
    }
    shell.event(&Event::Import { added, known });
    let done = format!("{} added, {known} known", count(added, "layer"));
    shell.finish(done, &Event::Summary { added, known });
    Ok(())
}
