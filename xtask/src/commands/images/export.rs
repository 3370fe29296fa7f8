//! `images export`: images as one archive, for a machine without network.

use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;
use serde::Serialize;

use super::{OnDemand, Selection, Source, Summary, names, open};
use crate::container::Image;
use crate::failure::Failure;
use crate::image::transport;
use crate::shell::{Shell, count};
use crate::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    source: Source,
    /// The archive to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Serialize)]
struct Exported<'a> {
    event: &'static str,
    file: &'a Path,
    images: Vec<&'a str>,
    size: u64,
}

pub(super) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let images = open(&args.selection, workspace)?.with_registry(args.source.registry.clone());
    let runner = OnDemand::new(args.selection.engine, workspace, shell)?;
    let mut made = Vec::new();
    for name in names(&args.selection, &images, workspace)? {
        made.push(images.ensure(&name, &runner, shell)?);
    }
    let size = transport::export(&made.iter().collect::<Vec<&Image>>(), &args.output)?;
    let names: Vec<&str> = made.iter().map(|image| image.name.as_str()).collect();
    let (file, megabytes) = (args.output.shown(), size.div_ceil(1_000_000));
    shell.status("Exported", format_args!("{} to {file} ({megabytes} MB)", names.join(", ")));
    let images = names.len();
    shell.event(&Exported { event: "export", file: &args.output, images: names, size });
    let summary = Summary { event: "summary", images, size };
    shell.finish(format_args!("{} exported", count(images, "image")), &summary);
    Ok(())
}
