//! `images gc`: removes what no lock needs, from the cache and, if asked, from Docker and Podman.

use std::collections::BTreeSet;

use duct::cmd;
use serde::Serialize;

use super::{Selection, open};
use crate::failure::Failure;
use crate::shell::Shell;
use crate::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Show what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Also remove the images that Docker and Podman were given and no lock names
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
    let images = open(&args.selection, workspace)?;
    let garbage = if args.dry_run { images.garbage()? } else { images.collect(shell)? };
    let verb = if args.dry_run { "Garbage" } else { "Removed" };
    for item in &garbage {
        shell.detail(verb, item.path.display());
        let what = item.path.display().to_string();
        shell.event(&Event::Removed { what: &what, size: Some(item.size) });
    }
    let needed = images.needed()?;
    let mut n_loaded = 0;
    let clients: &[&str] = if args.loaded { &["docker", "podman"] } else { &[] };
    for client in clients.iter().copied() {
        for (id, name) in loaded(client).into_iter().filter(|(id, _)| !is_needed(id, &needed)) {
            if args.dry_run
                || cmd!(client, "image", "rm", &id).stdout_null().stderr_null().run().is_ok()
            {
                n_loaded += 1;
                shell.detail(verb, format_args!("{name} from {client}"));
                shell.event(&Event::Removed { what: &format!("{client} {name}"), size: None });
            }
        }
    }
    let (removed, size) = (garbage.len() + n_loaded, garbage.iter().map(|item| item.size).sum());
    shell.status(verb, format_args!("{removed} items, {} MB of the cache", size / 1_000_000));
    shell.event(&Event::Summary { removed, size, dry_run: args.dry_run });
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
