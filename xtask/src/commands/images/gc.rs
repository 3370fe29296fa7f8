//! `images gc`: removes what no lock and no workspace needs, from the cache and, if asked, from Docker and
//! Podman.

use std::collections::BTreeSet;

use duct::cmd;
use keyway_manifest::text::Show as _;
use serde::Serialize;

use super::{Selection, open_in};
use crate::cache::Cache;
use crate::engine::{Client, Kind, abandoned_volumes};
use crate::failure::Failure;
use crate::shell::{Shell, count};
use crate::vendor;
use crate::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Show what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Also remove what Docker and Podman were given: images that no lock names, and volumes of folders
    /// that are gone
    #[arg(long)]
    loaded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    Removed { what: &'a str, size: Option<u64> },
    Summary { removed: usize, size: u64, dry_run: bool },
}

pub(super) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    // A dry run changes nothing, not even by creating the cache.
    let cache = if args.dry_run { Cache::look()? } else { Cache::open()? };
    let images = open_in(cache.clone(), &args.selection, workspace);
    let garbage = if args.dry_run {
        [images.garbage()?, vendor::garbage(&cache)?].concat()
    } else {
        [images.collect(shell)?, vendor::collect(&cache, shell)?].concat()
    };
    let verb = if args.dry_run { "Garbage" } else { "Removed" };
    for item in &garbage {
        shell.detail(verb, item.path.shown());
        let what = item.path.to_string_lossy().into_owned();
        shell.event(&Event::Removed { what: &what, size: Some(item.size) });
    }
    let needed = images.needed()?;
    let mut n_loaded = 0;
    let kinds: &[Kind] = if args.loaded { &[Kind::Docker, Kind::Podman] } else { &[] };
    for kind in kinds.iter().copied() {
        let client = kind.name();
        let images = loaded(client).into_iter().filter(|(id, _)| !is_needed(id, &needed));
        let images = images.map(|(id, name)| ("image", id, name));
        let volumes = abandoned_volumes(&Client::of(kind), &cache).into_iter();
        let volumes = volumes.map(|name| ("volume", name.clone(), name));
        for (noun, id, name) in images.chain(volumes) {
            // One that is in use stays.
            if args.dry_run
                || cmd!(client, noun, "rm", &id).stdout_null().stderr_null().run().is_ok()
            {
                n_loaded += 1;
                shell.detail(verb, format_args!("{noun} {name} from {client}"));
                shell.event(&Event::Removed { what: &format!("{client} {name}"), size: None });
            }
        }
    }
    let (removed, size) = (garbage.len() + n_loaded, garbage.iter().map(|item| item.size).sum());
    let what = if args.dry_run { "to remove" } else { "removed" };
    let done = format!("{} {what}, {} MB of the cache", count(removed, "item"), size / 1_000_000);
    shell.finish(done, &Event::Summary { removed, size, dry_run: args.dry_run });
    Ok(())
}

/// The images that this tool has loaded into an engine, by id and name; none where there is no engine.
fn loaded(client: &str) -> Vec<(String, String)> {
    let format = "{{.ID}} {{.Repository}}:{{.Tag}}";
    let list = cmd!(client, "image", "ls", "--no-trunc", "--format", format);
    let list = list.stdin_null().stderr_null().read().unwrap_or_default();
    list.lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, name)| name.trim_start_matches("localhost/").starts_with("keyway/"))
        .map(|(id, name)| (id.to_owned(), name.to_owned()))
        .collect()
}

fn is_needed(id: &str, needed: &BTreeSet<String>) -> bool {
    needed.contains(id.trim_start_matches("sha256:"))
}
