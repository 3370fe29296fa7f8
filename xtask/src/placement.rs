//! Where folders of this machine are seen inside an image.
//!
//! The workspace is seen at `/work`, whatever its place here, so no path of this machine reaches a
//! build. Folders outside of it that its manifests name by relative paths keep their place beside it:
//! then `/work` is the lowest folder that holds them all, and the workspace lies below. Pure.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::container::{Access, Mount};
use crate::package_id::PackageId;
use crate::paths::{normal, relative, shared};
use crate::workspace::{Located, Outside, Place, Plugin, Why, is_reserved};

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
    /// Why it is shown.
    pub why: Why,
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
        let own = Shown { host: root.to_owned(), guest: work.clone(), why: Why::Workspace };
        let mut shown = vec![own];
        shown.extend(outside.iter().map(|outside| {
            let guest = match outside.place {
                Place::Relative => place(&outside.named),
                Place::Absolute => outside.named.clone(),
            };
            Shown { host: outside.folder.clone(), guest, why: outside.why }
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
    /// A path that leaves a folder again by `..` is one that does not lie in it.
    pub fn relative(&self, guest: &Path) -> Option<PathBuf> {
        let guest = normal(guest);
        let of = |shown: &Shown| {
            guest.strip_prefix(&shown.guest).ok().map(|below| shown.host.join(below))
        };
        // A folder within another comes after it.
        self.shown.iter().rev().find_map(of).map(|host| relative(&self.root, &host))
    }

    /// Where a path that something inside names lies on this machine, shown or not; none for a path of
    /// the image's own.
    pub fn on_host(&self, guest: &Path) -> Option<PathBuf> {
        // The way up is taken here: it may lead out of what is shown.
        let below = |shown: &Shown| Some(shown.host.join(guest.strip_prefix(&shown.guest).ok()?));
        if let Some(host) = self.shown.iter().rev().find_map(below) {
            return Some(normal(&host));
        }
        let first = guest.components().nth(1)?.as_os_str().to_str()?;
        if is_reserved(first) && !guest.starts_with(WORK) || first == "tmp" {
            return None;
        }
        Some(normal(&self.root.join(relative(&self.work, guest))))
    }

    /// Where cargo inside finds the folder that a way from the workspace's root leads to.
    pub fn inside(&self, way: &Path) -> PathBuf {
        let here = normal(&self.root.join(way));
        let is_as_here =
            |shown: &Shown| !shown.guest.starts_with(WORK) && here.starts_with(&shown.guest);
        if self.shown.iter().any(is_as_here) { here } else { normal(&self.work.join(way)) }
    }

    /// A plugin as cargo inside names it.
    pub fn plugin(&self, plugin: &Plugin) -> PackageId {
        PackageId::in_folder(&self.inside(&plugin.folder), &plugin.name, &plugin.version)
    }

    /// A package as cargo inside names it.
    pub fn package(&self, located: &Located) -> PackageId {
        match located {
            Located::Folder { folder, name, version } => {
                PackageId::in_folder(&self.inside(folder), name, version)
            }
            Located::Source(id) => PackageId::parse(id),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn outside(folder: &str, place: Place) -> Outside {
        Outside { folder: folder.into(), named: folder.into(), place, why: Why::Package }
    }

    fn shown(placement: &Placement) -> Vec<String> {
        let line = |shown: &Shown| {
            format!("{} {}", shown.host.to_string_lossy(), shown.guest.to_string_lossy())
        };
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
        let inside = |way: &str| placement.inside(Path::new(way));
        assert_eq!(inside("plugins/a"), Path::new("/work/native/plugins/a"));
        assert_eq!(inside("../shared/lib"), Path::new("/work/shared/lib"));
        assert_eq!(inside("../../opt/far/b"), Path::new("/opt/far/b"));
    }

    #[test]
    fn a_folder_that_holds_the_workspace_is_shown_once() {
        let placement =
            Placement::new(Path::new("/repo/native"), &[outside("/repo", Place::Relative)]);
        assert_eq!(placement.work, Path::new("/work/native"));
        assert_eq!(shown(&placement), ["/repo /work"]);
    }
}
