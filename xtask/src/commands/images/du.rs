//! `images du`: bytes of each image, and of the cache's folders.

use serde::Serialize;

use super::{Selection, names, open};
use crate::failure::Failure;
use crate::shell::Shell;
use crate::workspace::Workspace;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    Usage { image: &'a str, total: u64, shared: u64, own: u64, there: bool },
    Folder { folder: &'a str, size: u64 },
    Summary { size: u64 },
}

pub(super) fn run(
    selection: &Selection,
    workspace: &Workspace,
    shell: &Shell,
) -> Result<(), Failure> {
    let images = open(selection, workspace)?;
    shell.data("image                             total MB   shared      own");
    for (image, usage) in images.usage(&names(selection, &images, workspace)?)? {
        let (total, shared, own) = (usage.total, usage.shared, usage.total - usage.shared);
        let there = if usage.is_there { "" } else { "  not assembled" };
        shell.data(format_args!(
            "{image:32} {:>9} {:>8} {:>8}{there}",
            mb(total),
            mb(shared),
            mb(own)
        ));
        shell.event(&Event::Usage { image: &image, total, shared, own, there: usage.is_there });
    }
    let mut size = 0;
    for (folder, bytes) in images.folders()? {
        size += bytes;
        shell.data(format_args!("{folder:32} {:>9}", mb(bytes)));
        shell.event(&Event::Folder { folder: &folder, size: bytes });
    }
    shell.data(format_args!("{:32} {:>9}", "the cache", mb(size)));
    shell.finish(format_args!("{} MB", mb(size)), &Event::Summary { size });
    Ok(())
}

/// Megabytes with one decimal.
fn mb(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10)
}
