//! Whether a daemon sees this machine's folders under their names, where that has to be tried.
//!
//! A process in a container may have the socket of a daemon outside, which sees other files: none of the
//! job's, or those of `/tmp` alone, or an older checkout at the same place. So for each file system of the
//! folders that a command needs, the daemon is asked for a file of a random name in one of them. What can't
//! be tried, since nothing can be written there, counts as not seen: copying is always right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::capabilities::Folders;
use crate::container::{Access, Mount};

/// What a daemon was found to see.
#[derive(Debug, Default)]
pub(super) struct Sight(Mutex<BTreeMap<Place, bool>>);

/// Folders that are seen together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// What is on one mounted file system of this process.
    Mount(u64),
    /// A folder, where it is not known on which it lies.
    Folder(PathBuf),
}

impl Sight {
    /// How a command gets at `mounts`; `is_found` asks whether the daemon finds a file of ours.
    pub(super) fn of(&self, mounts: &[Mount], is_found: impl Fn(&Path) -> bool) -> Folders {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places: BTreeMap<Place, Vec<&Mount>> = BTreeMap::new();
        for mount in mounts {
            places.entry(place(&mount.host)).or_default().push(mount);
        }
        for (place, mut folders) in places {
            // A folder of ours before one of the user's.
            folders.sort_by_key(|mount| mount.access == Access::ReadOnly);
            let is_seen = known.entry(place).or_insert_with(|| {
                let file = folders.iter().find_map(|mount| {
                    let mut builder = tempfile::Builder::new();
                    builder.prefix(".keyway-probe-").tempfile_in(folder(&mount.host)).ok()
                });
                file.is_some_and(|file| is_found(file.path()))
            });
            if !*is_seen {
                return Folders::Copied;
            }
        }
        Folders::Mounted
    }

    /// What was found so far: mounted if all was seen that was asked for.
    pub(super) fn so_far(&self) -> Option<Folders> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all_seen = known.values().all(|is_seen| *is_seen);
        (!known.is_empty()).then_some(if all_seen { Folders::Mounted } else { Folders::Copied })
    }
}

fn folder(path: &Path) -> &Path {
    if path.is_dir() { path } else { path.parent().unwrap_or(path) }
}

#[cfg(target_os = "linux")]
fn place(path: &Path) -> Place {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let asked = statx(CWD, folder(path), AtFlags::empty(), StatxFlags::MNT_ID);
    // Known to Linux since 5.8.
    let known = asked.ok().filter(|found| found.stx_mask & StatxFlags::MNT_ID.bits() != 0);
    known.map_or_else(
        || Place::Folder(folder(path).to_owned()),
        |found| Place::Mount(found.stx_mnt_id),
    )
}

#[cfg(not(target_os = "linux"))]
fn place(path: &Path) -> Place {
    Place::Folder(folder(path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn each_file_system_is_asked_for_once() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folders = ["work", "state"].map(|name| dir.path().join(name));
        folders.iter().for_each(|folder| std::fs::create_dir(folder).expect("create"));
        let mount = |host: &Path, access| Mount { host: host.into(), guest: "/x".into(), access };
        let asked = RefCell::new(Vec::new());
        let ask = |answer: bool| {
            let asked = &asked;
            move |file: &Path| {
                assert!(file.is_file());
                asked.borrow_mut().push(file.parent().expect("has one").to_owned());
                answer
            }
        };
        let sight = Sight::default();
        assert_eq!(sight.so_far(), None);
        let all = [mount(&folders[0], Access::ReadOnly), mount(&folders[1], Access::ReadWrite)];
        assert_eq!(sight.of(&all, ask(true)), Folders::Mounted);
        assert_eq!(sight.of(&all[..1], ask(false)), Folders::Mounted, "it is known");
        assert_eq!(*asked.borrow(), [folders[1].clone()], "nothing is written among the sources");
        assert_eq!(std::fs::read_dir(&folders[1]).expect("list").count(), 0);
        // A file system that can't be written to, and that no file is found in.
        let proc = mount(Path::new("/proc"), Access::ReadOnly);
        let with_proc = [all[1].clone(), proc];
        assert_eq!(sight.of(&with_proc, ask(true)), Folders::Copied);
        assert_eq!(sight.of(&all, ask(true)), Folders::Mounted, "whatever others need");
        assert_eq!(sight.so_far(), Some(Folders::Copied));
    }
}
