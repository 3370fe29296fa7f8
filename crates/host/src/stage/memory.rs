//! Files in memory, for a system whose folder for temporary files allows no code.
//!
//! The kernel keeps such a file on a file system of its own, from which code may be mapped whatever the
//! mounts of the system say, unless an administrator forbids that too (`vm.memfd_noexec`). Its only name is
//! that of a descriptor, `/proc/self/fd/7`, which the next library may get again: so a loader is given a link
//! to it that has a name of its own.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{
    MemfdFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, memfd_create, statvfs,
};
use rustix::io::Errno;

/// Whether code may be mapped from files in `folder`; yes where that can't be told.
pub(super) fn allows_code(folder: &Path) -> bool {
    statvfs(folder).map_or(true, |system| !system.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

/// Whether files in memory can be made and found by name here.
pub(super) fn is_there() -> bool {
    create("keyway").is_ok_and(|file| Path::new(&path_of(&file)).exists())
}

/// Writes `bytes` to a file in memory that nobody can change any more, with a link to it at `link`.
pub(super) fn write(link: &Path, name: &str, bytes: &[u8]) -> io::Result<File> {
    let mut file = create(name)?;
    file.write_all(bytes)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals)?;
    symlink(path_of(&file), link)?;
    Ok(file)
}

fn create(name: &str) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = match memfd_create(name, flags | MemfdFlags::EXEC) {
        // A kernel before 6.3, where every such file may hold code.
        Err(Errno::INVAL) => memfd_create(name, flags),
        made => made,
    };
    Ok(File::from(made?))
}

fn path_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
