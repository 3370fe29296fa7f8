//! The file system that a sandboxed command sees, built mount by mount in a new mount namespace.
//!
//! The root is a tmpfs with one bind mount per entry of the image's root, so that mount points can
//! be added without touching the image; where a mount point lies deeper, the same is done for each
//! folder on the way. Everything is read-only but `/tmp`, `/dev/shm` and the mounts that are
//! asked for. `/proc` is the namespace's own, with the kernel's settings read-only.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::enter::{SetupError, failed};
use super::relative;
use crate::container::Access;

/// A host path seen inside.
#[derive(Debug)]
pub(super) struct Bind {
    /// Absolute, without links.
    pub(super) host: PathBuf,
    pub(super) guest: PathBuf,
    pub(super) access: Access,
}

/// Where the new root is built, before it becomes `/`.
const NEW: &str = "/new";
/// Where the old root is seen meanwhile.
const OLD: &str = "/old";
/// What an image has at these places is not seen.
const OWN: [&str; 3] = ["dev", "proc", "tmp"];
/// Settings of the running kernel, which root could change even without a capability.
const KERNEL: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

/// Makes `root`, with `binds` in it, the root of this process.
pub(super) fn build(root: &Path, binds: &[Bind]) -> Result<(), SetupError> {
    let root = root.canonicalize().map_err(failed(format!("find the root `{}`", root.shown())))?;
    stand_aside(&root)?;
    mount_tmpfs(Path::new(NEW), "mode=755")?;
    let points: Vec<Point<'_>> = binds
        .iter()
        .filter(|bind| !is_below_another(bind, binds))
        .map(|bind| Point { path: relative(&bind.guest), is_folder: old(&bind.host).is_dir() })
        .collect();
    expose(&old(&root), Path::new(NEW), &points, &OWN)?;
    mount_proc()?;
    mount_devices()?;
    let tmp = Path::new(NEW).join("tmp");
    make_folder(&tmp)?;
    mount_tmpfs(&tmp, "mode=1777")?;
    for bind in binds {
        let guest = Path::new(NEW).join(relative(&bind.guest));
        if bind.guest.starts_with("/tmp") && !guest.exists() {
            // That folder was empty until now, so its points are made last.
            let is_folder = old(&bind.host).is_dir();
            let folder = if is_folder { Some(guest.as_path()) } else { guest.parent() };
            folder.map_or(Ok(()), make_folder)?;
            if !is_folder {
                make_file(&guest)?;
            }
        }
        let action = || format!("mount `{}` at `{}`", bind.host.shown(), bind.guest.shown());
        rustix::mount::mount_bind_recursive(old(&bind.host), &guest).map_err(failed(action()))?;
    }
    seal(binds)?;
    switch_to(Path::new(NEW))
}

/// Tries the two things that a kernel refuses in some containers.
pub(super) fn probe() -> Result<(), SetupError> {
    stand_aside(Path::new("/proc"))?;
    make_folder(Path::new(NEW))?;
    mount_proc()
}

/// Makes a tmpfs the root of this process, with the old root at [`OLD`]. `at` is any folder; it
/// can be seen again afterwards.
fn stand_aside(at: &Path) -> Result<(), SetupError> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(failed("make the mounts private"))?;
    mount_tmpfs(at, "mode=755")?;
    make_folder(&at.join(relative(Path::new(OLD))))?;
    make_folder(&at.join(relative(Path::new(NEW))))?;
    std::env::set_current_dir(at).map_err(failed("enter the new root"))?;
    rustix::process::pivot_root(".", relative(Path::new(OLD)))
        .map_err(failed("move the old root"))?;
    std::env::set_current_dir("/").map_err(failed("enter the new root"))
}

fn old(path: &Path) -> PathBuf {
    Path::new(OLD).join(relative(path))
}

fn is_below_another(bind: &Bind, binds: &[Bind]) -> bool {
    binds.iter().any(|other| bind.guest != other.guest && bind.guest.starts_with(&other.guest))
}

/// A place that must exist for something to be mounted there.
#[derive(Debug, Clone, Copy)]
struct Point<'a> {
    path: &'a Path,
    is_folder: bool,
}

/// Shows what is in the folder `source` in the folder `target`, with `points` added.
fn expose(
    source: &Path,
    target: &Path,
    points: &[Point<'_>],
    hidden: &[&str],
) -> Result<(), SetupError> {
    let reading = || failed(format!("read `{}`", source.shown()));
    for entry in fs::read_dir(source).map_err(reading())? {
        let entry = entry.map_err(reading())?;
        let name = entry.file_name();
        if hidden.iter().any(|hidden| name == *hidden) {
            continue;
        }
        let from = entry.path();
        let to = target.join(&name);
        let inside: Vec<Point<'_>> = points
            .iter()
            .filter_map(|point| {
                let path = point.path.strip_prefix(&name).ok()?;
                Some(Point { path, ..*point })
            })
            .collect();
        let kind = entry.file_type().map_err(reading())?;
        if kind.is_symlink() {
            let link = fs::read_link(&from).map_err(reading())?;
            symlink(&link, &to).map_err(failed(format!("make the link `{}`", to.shown())))?;
        } else if kind.is_dir() {
            make_folder(&to)?;
            if inside.iter().all(|point| from.join(point.path).exists()) {
                bind(&from, &to)?;
            } else {
                expose(&from, &to, &inside, &[])?;
            }
        } else if kind.is_file() {
            make_file(&to)?;
            bind(&from, &to)?;
        }
    }
    for point in points {
        let path = target.join(point.path);
        if point.is_folder {
            make_folder(&path)?;
        } else if !path.exists() {
            if let Some(folder) = path.parent() {
                make_folder(folder)?;
            }
            make_file(&path)?;
        }
    }
    Ok(())
}

fn mount_proc() -> Result<(), SetupError> {
    let proc = Path::new(NEW).join("proc");
    make_folder(&proc)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", &proc, "proc", flags, None).map_err(failed("mount `/proc`"))?;
    for name in KERNEL {
        let path = proc.join(name);
        if path.exists() {
            bind(&path, &path)?;
            let flags = flags | MountFlags::RDONLY | MountFlags::BIND;
            rustix::mount::mount_remount(&path, flags, "")
                .map_err(failed(format!("make `/proc/{name}` read-only")))?;
        }
    }
    Ok(())
}

fn mount_devices() -> Result<(), SetupError> {
    let dev = Path::new(NEW).join("dev");
    make_folder(&dev)?;
    mount_tmpfs(&dev, "mode=755")?;
    for name in DEVICES {
        let device = old(Path::new("/dev")).join(name);
        if device.exists() {
            make_file(&dev.join(name))?;
            bind(&device, &dev.join(name))?;
        }
    }
    for (name, link) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        symlink(format!("/proc/self/fd{link}"), dev.join(name))
            .map_err(failed(format!("make the link `/dev/{name}`")))?;
    }
    make_folder(&dev.join("shm"))?;
    mount_tmpfs(&dev.join("shm"), "mode=1777")
}

/// Makes every mount below [`NEW`] read-only that is not meant to be written. A bind mount takes
/// its flags from the mount it shows, and only those may be added to it in a user namespace, so
/// each is remounted with its own.
fn seal(binds: &[Bind]) -> Result<(), SetupError> {
    let table = Path::new(NEW).join("proc/self/mountinfo");
    let table = fs::read_to_string(&table).map_err(failed("read the mount table"))?;
    for line in table.lines() {
        let Some(mount) = MountEntry::parse(line) else {
            continue;
        };
        let Ok(guest) = mount.point.strip_prefix(NEW) else {
            continue;
        };
        let guest = Path::new("/").join(guest);
        let is_own = OWN.iter().any(|name| guest.starts_with(Path::new("/").join(name)));
        let bind = binds
            .iter()
            .filter(|bind| guest.starts_with(&bind.guest))
            .max_by_key(|bind| bind.guest.components().count());
        let flags = match bind {
            Some(Bind { access: Access::ReadWrite, .. }) => mount.flags,
            Some(Bind { access: Access::ReadOnly, .. }) => mount.flags | MountFlags::RDONLY,
            None if is_own => continue,
            None => mount.flags | MountFlags::RDONLY,
        };
        let flags = flags | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::BIND;
        rustix::mount::mount_remount(&mount.point, flags, "")
            .map_err(failed(format!("set the mount flags of `{}`", guest.shown())))?;
    }
    Ok(())
}

/// A line of `/proc/self/mountinfo`, see proc(5).
struct MountEntry {
    point: PathBuf,
    flags: MountFlags,
}

impl MountEntry {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ').skip(4);
        let (point, options) = (fields.next()?, fields.next()?);
        let flag = |option| match option {
            "ro" => MountFlags::RDONLY,
            "nosuid" => MountFlags::NOSUID,
            "nodev" => MountFlags::NODEV,
            "noexec" => MountFlags::NOEXEC,
            "noatime" => MountFlags::NOATIME,
            "nodiratime" => MountFlags::NODIRATIME,
            "relatime" => MountFlags::RELATIME,
            _ => MountFlags::empty(),
        };
        let flags = options.split(',').map(flag).collect();
        Some(Self { point: PathBuf::from(unescape(point)), flags })
    }
}

/// Undoes the octal escapes of space, tab, newline and backslash.
fn unescape(text: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let escape = tail.get(..3).filter(|_| *byte == b'\\');
        let code = escape
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    std::ffi::OsString::from_vec(bytes)
}

/// Makes `root` the root and lets go of everything else.
fn switch_to(root: &Path) -> Result<(), SetupError> {
    std::env::set_current_dir(root).map_err(failed("enter the root"))?;
    // The new root is put on top of the old one, which is then taken away from under it.
    rustix::process::pivot_root(".", ".").map_err(failed("change the root"))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(failed("let go of the old root"))?;
    std::env::set_current_dir("/").map_err(failed("enter the root"))
}

fn mount_tmpfs(path: &Path, options: &str) -> Result<(), SetupError> {
    let options = std::ffi::CString::new(options).unwrap_or_default();
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", path, "tmpfs", flags, options.as_c_str())
        .map_err(failed(format!("mount a tmpfs at `{}`", path.shown())))
}

fn bind(from: &Path, to: &Path) -> Result<(), SetupError> {
    rustix::mount::mount_bind(from, to).map_err(failed(format!(
        "mount `{}` at `{}`",
        from.shown(),
        to.shown()
    )))
}

fn make_folder(path: &Path) -> Result<(), SetupError> {
    fs::create_dir_all(path).map_err(failed(format!("make the folder `{}`", path.shown())))
}

fn make_file(path: &Path) -> Result<(), SetupError> {
    File::create_new(path)
        .map(drop)
        .or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })
        .map_err(failed(format!("make the file `{}`", path.shown())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table() {
        let line = r"36 35 98:0 /mnt1 /new/a\040b\134c rw,noatime,nodev master:1 - ext3 /dev/x rw";
        let entry = MountEntry::parse(line).unwrap();
        assert_eq!(entry.point, Path::new(r"/new/a b\c"));
        assert_eq!(entry.flags, MountFlags::NOATIME | MountFlags::NODEV);
        assert!(MountEntry::parse("36 35").is_none());
    }
}
