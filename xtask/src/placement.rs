//! Where folders of this machine are seen inside an image.
//!
//! The workspace is seen at `/work`, whatever its place here, so no path of this machine reaches a
//! build. Folders outside of it that its manifests name by relative paths keep their place beside it:
//! then `/work` is the lowest folder that holds them all, and the workspace lies below. Pure.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::container::{Access, Mount};
use crate::paths::relative;
use crate::workspace::{Outside, Place};

/// Where the workspace is seen inside an image, read-only.
pub const WORK: &str = "/work";

/// Where folders of this machine are seen inside an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The workspace's root here.
    pub root: PathBuf,
    /// The workspace's root inside.
    pub work: PathBuf,
    /// What is shown, all of it read-only.
    pub shown: Vec<Shown>,
}

/// One folder here, and where it is seen inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The folder here.
    pub host: PathBuf,
    /// Where it is seen.
    pub guest: PathBuf,
}

impl Placement {
    /// The places of a workspace at `root` and of what it needs `outside`.
    pub fn new(root: &Path, outside: &[Outside]) -> Self {
        let beside = || outside.iter().filter(|outside| outside.place == Place::Relative);
        let top = beside().fold(root.to_owned(), |top, outside| shared(&top, &outside.named));
        let place = |path: &Path| match path.strip_prefix(&top) {
            Ok(below) if below.as_os_str().is_empty() => PathBuf::from(WORK),
            Ok(below) => Path::new(WORK).join(below),
            Err(_) => path.to_owned(),
        };
        let work = place(root);
        let mut shown = vec![Shown { host: root.to_owned(), guest: work.clone() }];
        shown.extend(outside.iter().map(|outside| {
            let guest = match outside.place {
                Place::Relative => place(&outside.named),
                Place::Absolute => outside.named.clone(),
            };
            Shown { host: outside.folder.clone(), guest }
        }));
        shown.sort_by(|a, b| a.guest.cmp(&b.guest));
        let mut all: Vec<Shown> = Vec::new();
        for folder in shown {
            // What another one holds is seen there already.
            let is_seen =
                all.iter().any(|other| other.guest_of(&folder.host) == Some(folder.guest.clone()));
            if !is_seen {
                all.push(folder);
            }
        }
        Self { root: root.to_owned(), work, shown: all }
    }

    /// The mounts that show it all, read-only.
    pub fn mounts(&self) -> Vec<Mount> {
        let mount = |shown: &Shown| Mount {
            host: shown.host.clone(),
            guest: shown.guest.clone(),
            access: Access::ReadOnly,
        };
        self.shown.iter().map(mount).collect()
    }

    /// What lies at `guest` inside, relative to the workspace's root; none if it is not of this machine.
    pub fn relative(&self, guest: &Path) -> Option<PathBuf> {
        let of = |shown: &Shown| {
            guest.strip_prefix(&shown.guest).ok().map(|below| shown.host.join(below))
        };
        // A folder within another comes after it.
        self.shown.iter().rev().find_map(of).map(|host| relative(&self.root, &host))
    }

    /// Whether a file here is seen inside, at its place beside the workspace.
    pub fn shows(&self, host: &Path) -> bool {
        self.shown.iter().any(|shown| host.starts_with(&shown.host))
    }
}

impl Shown {
    fn guest_of(&self, host: &Path) -> Option<PathBuf> {
        let below = host.strip_prefix(&self.host).ok()?;
        Some(if below.as_os_str().is_empty() { self.guest.clone() } else { self.guest.join(below) })
    }
}

/// The lowest folder that holds both.
fn shared(a: &Path, b: &Path) -> PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(part, _)| part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside(folder: &str, place: Place) -> Outside {
        Outside { folder: folder.into(), named: folder.into(), place }
    }

    fn shown(placement: &Placement) -> Vec<String> {
        let line = |shown: &Shown| format!("{} {}", shown.host.display(), shown.guest.display());
        placement.shown.iter().map(line).collect()
    }

    #[test]
    fn a_workspace_that_is_complete_is_seen_at_work() {
        let placement = Placement::new(Path::new("/home/a b/ws"), &[]);
        assert_eq!(shown(&placement), ["/home/a b/ws /work"]);
        assert_eq!(placement.relative(Path::new("/work/a/lib.rs")), Some("a/lib.rs".into()));
        assert_eq!(placement.relative(Path::new("/cargo/vendor/x")), None);
    }

    #[test]
    fn folders_beside_it_keep_their_place() {
        let near = outside("/repo/shared/lib", Place::Relative);
        let far = outside("/opt/far", Place::Absolute);
        let placement = Placement::new(Path::new("/repo/native"), &[near, far]);
        assert_eq!(placement.work, Path::new("/work/native"));
        assert_eq!(
            shown(&placement),
            ["/opt/far /opt/far", "/repo/native /work/native", "/repo/shared/lib /work/shared/lib"]
        );
        let relative = |guest: &str| placement.relative(Path::new(guest));
        assert_eq!(relative("/work/shared/lib/src/a.rs"), Some("../shared/lib/src/a.rs".into()));
        assert_eq!(relative("/opt/far/b.rs"), Some("../../opt/far/b.rs".into()));
    }

    #[test]
    fn a_folder_that_holds_the_workspace_is_shown_once() {
        let placement =
            Placement::new(Path::new("/repo/native"), &[outside("/repo", Place::Relative)]);
        assert_eq!(placement.work, Path::new("/work/native"));
        assert_eq!(shown(&placement), ["/repo /work"]);
    }
}
