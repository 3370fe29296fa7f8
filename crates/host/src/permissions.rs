//! Who could have written a file: on Unix its owner and mode, and those of every folder above it.
//!
//! Code is loaded only from files that nobody but root and the host's own user can change. Folders
//! count as much as the file, since whoever can write to one can put another file under the name.
//! A folder that everybody can write to is accepted when it has the sticky bit (`/tmp`): there only
//! the owner of an entry can replace it, and the entry's owner is checked too.
//!
//! On Windows nothing is checked here yet: who can write is said by access control lists, and
//! reading them is a check of its own.

use std::fs::File;
use std::path::Path;

use crate::refusal::Refusal;

/// Checks the open `file` and the folders above `path`.
#[cfg(unix)]
pub(crate) fn check(path: &Path, file: &File, refusals: &mut Vec<Refusal>) {
    unix::check(path, file, refusals);
}

/// Checks nothing; see the module's documentation.
#[cfg(windows)]
pub(crate) fn check(_: &Path, _: &File, _: &mut Vec<Refusal>) {}

#[cfg(unix)]
mod unix {
    use std::fs::{File, Metadata};
    use std::io;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use crate::code::Code;
    use crate::refusal::Refusal;

    const OTHERS_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;

    pub(super) fn check(path: &Path, file: &File, refusals: &mut Vec<Refusal>) {
        match file.metadata() {
            Ok(metadata) => {
                check_owner(Code::Owner, path, &metadata, refusals);
                let mode = metadata.mode();
                if mode & OTHERS_WRITE != 0 {
                    refuse_mode(Code::Writable, path, mode, refusals);
                }
            }
            Err(error) => refuse_error(path, &error, refusals),
        }
        if let Err(error) = check_folders(path, refusals) {
            refuse_error(path, &error, refusals);
        }
    }

    /// Links among the folders are followed: what counts is where the file really lies.
    fn check_folders(path: &Path, refusals: &mut Vec<Refusal>) -> io::Result<()> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let folder = folder.canonicalize()?;
        for folder in folder.ancestors() {
            let metadata = folder.symlink_metadata()?;
            check_owner(Code::FolderOwner, folder, &metadata, refusals);
            let mode = metadata.mode();
            if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
                refuse_mode(Code::FolderWritable, folder, mode, refusals);
            }
        }
        Ok(())
    }

    fn check_owner(code: Code, path: &Path, metadata: &Metadata, refusals: &mut Vec<Refusal>) {
        let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
        if owner != user && owner != 0 {
            let found = format!("`{}` of user {owner}", path.to_string_lossy());
            refusals.push(Refusal::new(code, found, format!("user {user} or root")));
        }
    }

    fn refuse_mode(code: Code, path: &Path, mode: u32, refusals: &mut Vec<Refusal>) {
        let found = format!("`{}` with mode {:04o}", path.to_string_lossy(), mode & 0o7777);
        let expected = format!("mode {:04o} or less", mode & 0o7777 & !OTHERS_WRITE);
        refusals.push(Refusal::new(code, found, expected));
    }

    fn refuse_error(path: &Path, error: &io::Error, refusals: &mut Vec<Refusal>) {
        let found = format!("`{}`: {error}", path.to_string_lossy());
        refusals.push(Refusal::new(Code::Unreadable, found, "folders that can be looked at"));
    }
}
