//! `images update`: locks images anew with the archive's newest versions, and says what that changes.

use serde::Serialize;

use super::{OnDemand, Selection, names, open, report, write_trusted_set};
use crate::failure::{Exit, Failure};
use crate::image::{Change, Outlook, Suites};
use crate::shell::{Shell, count};
use crate::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Change nothing; say whether there is something newer, and what the mirrors no longer have
    #[arg(long)]
    check: bool,
    /// Take packages from the suite of security updates too; the images do so from then on
    #[arg(long)]
    security: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    Change {
        image: &'a str,
        #[serde(flatten)]
        change: &'a Change,
    },
    Gone {
        image: &'a str,
        package: &'a str,
    },
    Summary {
        changes: usize,
        gone: usize,
        images: usize,
    },
}

pub(super) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let images = open(&args.selection, workspace)?;
    let names = names(&args.selection, &images, workspace)?;
    let (mut n_changes, mut n_gone) = (0, 0);
    let mut say = |image: &str, changes: &[Change]| {
        for change in changes {
            shell.data(format_args!("{image}: {change}"));
            shell.event(&Event::Change { image, change });
        }
        n_changes += changes.len();
    };
    let suites = if args.security { Suites::WithSecurity } else { Suites::AsLocked };
    if args.check {
        for Outlook { image, changes, gone } in &images.outlooks(&names, suites, shell)? {
            say(image, changes);
            for package in gone {
                shell.data(format_args!("{image}: no mirror has {package} any more"));
                shell.event(&Event::Gone { image, package });
            }
            n_gone += gone.len();
        }
    } else {
        let runner = OnDemand::new(args.selection.engine, workspace, shell)?;
        for (made, changes) in images.update(&names, suites, &runner, shell)? {
            say(&made.name, &changes);
            report(&[made], shell);
        }
        write_trusted_set(&images, workspace, &args.selection)?;
    }
    let (changes, images) = (count(n_changes, "change"), count(names.len(), "image"));
    let done = match (args.check, n_gone) {
        (true, gone) => format!("{changes} to take, {} gone, in {images}", count(gone, "file")),
        (false, _) => format!("{changes} in {images}"),
    };
    shell.finish(done, &Event::Summary { changes: n_changes, gone: n_gone, images: names.len() });
    if args.check && n_changes + n_gone > 0 {
        let message = format!("{n_changes} newer versions, {n_gone} files that no mirror has");
        return Err(Failure::new(Exit::Failed, message)
            .with_hint("run `cargo xtask images update` and review the locks' change"));
    }
    Ok(())
}
