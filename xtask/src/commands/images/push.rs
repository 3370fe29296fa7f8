//! `images push`: images into a registry, from which other machines take layers.

use serde::Serialize;

use super::{OnDemand, Selection, names, open};
use crate::failure::Failure;
use crate::image::http::Http;
use crate::image::recipe::Reference;
use crate::image::registry::{Access, Registry, repository};
use crate::shell::{Shell, count};
use crate::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to push: `REGISTRY/NAME`
    #[arg(value_name = "REGISTRY/NAME", value_parser = repository)]
    repository: Reference,
    #[command(flatten)]
    selection: Selection,
}

#[derive(Debug, Serialize)]
struct Push<'a> {
    event: &'static str,
    image: &'a str,
    tag: &'a str,
    manifest: String,
    sent: usize,
    known: usize,
}

#[derive(Debug, Serialize)]
struct Summary {
    event: &'static str,
    images: usize,
    sent: usize,
    known: usize,
}

pub(super) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    // A layer that is there already need not be made here.
    let images = open(&args.selection, workspace)?.with_registry(Some(args.repository.clone()));
    let runner = OnDemand::new(args.selection.engine, workspace, shell)?;
    let mut registry = Registry::new(&args.repository, Access::Push, &Http::new());
    let mut all = Summary { event: "summary", images: 0, sent: 0, known: 0 };
    for name in names(&args.selection, &images, workspace)? {
        let image = images.ensure(&name, &runner, shell)?;
        let pushed = registry.push(&image)?;
        let (tag, sent, known) = (&pushed.tag, pushed.sent, pushed.known);
        let to = &args.repository;
        shell.status("Pushed", format_args!("{to}:{tag} ({sent} blobs; {known} were there)"));
        let manifest = image.manifest.prefixed();
        shell.event(&Push { event: "push", image: &name, tag, manifest, sent, known });
        all.images += 1;
        all.sent += sent;
        all.known += known;
    }
    let done = format!("{} pushed, {} sent", count(all.images, "image"), count(all.sent, "blob"));
    shell.finish(done, &all);
    Ok(())
}
