//! `images verify`: each image rebuilt from its lock in an empty store, and compared.

use serde::Serialize;

use super::{OnDemand, Selection, names, open};
use crate::failure::{Exit, Failure};
use crate::image::{StandardLibraries, Verdict};
use crate::shell::{Shell, count};
use crate::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Leave out the standard libraries, which take minutes to compile; the verdict says so
    #[arg(long)]
    without_std: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    Verification {
        image: &'a str,
        #[serde(flatten)]
        verdict: &'a Verdict,
    },
    Summary {
        verified: usize,
        in_part: usize,
        different: usize,
    },
}

pub(super) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let images = open(&args.selection, workspace)?;
    let runner = OnDemand::new(args.selection.engine, workspace, shell)?;
    let libraries = match args.without_std {
        true => StandardLibraries::LeftOut,
        false => StandardLibraries::Compiled,
    };
    let (mut verified, mut in_part, mut different) = (0, 0, 0);
    images.verify(
        &names(&args.selection, &images, workspace)?,
        libraries,
        &runner,
        shell,
        |image, verdict| {
            match verdict {
                Verdict::Verified { layers } => {
                    verified += 1;
                    shell.data(format_args!("{image}: verified, {layers} layers"));
                }
                Verdict::InPart { left_out } => {
                    in_part += 1;
                    shell.data(format_args!(
                        "{image}: verified in part, without {}",
                        left_out.join(", ")
                    ));
                }
                Verdict::Different { part, expected, found, difference } => {
                    different += 1;
                    shell.data(format_args!(
                        "{image}: {part} came out as {found}, the lock expects {expected}"
                    ));
                    shell.data(format_args!("  {difference}"));
                }
            }
            shell.event(&Event::Verification { image, verdict });
        },
    )?;
    let counts = [
        Some(format!("{verified} verified")),
        (in_part > 0).then(|| format!("{in_part} in part")),
        (different > 0).then(|| format!("{different} different")),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let of = count(verified + in_part + different, "image");
    let summary = Event::Summary { verified, in_part, different };
    shell.finish(format_args!("{} of {of}", counts.join(", ")), &summary);
    if different > 0 {
        let message = format!(
            "{different} of {} images came out differently",
            verified + in_part + different
        );
        return Err(Failure::new(Exit::Refused, message).with_hint(
            "a lock that nobody can rebuild proves nothing: find the cause, or lock the image again",
        ));
    }
    Ok(())
}
