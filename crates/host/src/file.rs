//! Files that a plugin comes in: opened once, looked at through that one handle, read whole.
//!
//! Whatever is checked here is checked on the open file, so it can't be exchanged for another
//! between the check and the reading.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::code::Code;
use crate::permissions;
use crate::policy::PermissionPolicy;
use crate::refusal::Refusal;

/// The largest library that is read, in bytes.
pub const MAX_LIBRARY_SIZE: u64 = 512 << 20;

/// A regular file that is open for reading.
#[derive(Debug)]
pub(crate) struct OpenFile<'path> {
    path: &'path Path,
    file: File,
    size: u64,
}

impl<'path> OpenFile<'path> {
    /// Opens a regular file of at most `limit` bytes, never through a link and never waiting.
    pub(crate) fn open(path: &'path Path, limit: u64) -> Result<Self, Refusal> {
        let file = open(path).map_err(|error| refuse_error(path, &error))?;
        let metadata = file.metadata().map_err(|error| refuse_error(path, &error))?;
        if is_link(&metadata) {
            return Err(refuse_link(path));
        }
        if !metadata.is_file() {
            let found = format!("`{}`, {}", path.to_string_lossy(), kind(&metadata));
            return Err(Refusal::new(Code::NotRegular, found, "a regular file"));
        }
        let size = metadata.len();
        if size > limit {
            let found = format!("`{}` with {size} bytes", path.to_string_lossy());
            return Err(Refusal::new(Code::TooLarge, found, format!("at most {limit} bytes")));
        }
        Ok(Self { path, file, size })
    }

    /// Its size when it was opened.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Who could have written it.
    pub(crate) fn check_permissions(&self, policy: PermissionPolicy, refusals: &mut Vec<Refusal>) {
        if policy == PermissionPolicy::Strict {
            permissions::check(self.path, &self.file, refusals);
        }
    }

    /// Appends what is left of the file to `bytes`, but `limit` bytes at most.
    pub(crate) fn read(&mut self, bytes: &mut Vec<u8>, limit: u64) -> Result<(), Refusal> {
        let limit = limit.min(self.size.saturating_sub(bytes.len() as u64));
        // The size is the file system's word, not the file's own, and below the limit of `open`.
        if bytes.try_reserve_exact(limit as usize).is_err() {
            let found = format!("`{}` with {} bytes", self.path.to_string_lossy(), self.size);
            return Err(Refusal::new(Code::TooLarge, found, "a file that fits into memory"));
        }
        let read = (&mut self.file).take(limit).read_to_end(bytes);
        let read = read.map_err(|error| refuse_error(self.path, &error))?;
        if read as u64 == limit { Ok(()) } else { Err(self.changed(bytes.len())) }
    }

    /// Checks that nothing comes after what was read.
    pub(crate) fn finish(mut self) -> Result<(), Refusal> {
        match self.file.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.changed(self.size as usize + 1)),
            Err(error) => Err(refuse_error(self.path, &error)),
        }
    }

    fn changed(&self, read: usize) -> Refusal {
        let path = self.path.to_string_lossy();
        let found = format!("`{path}` with {read} bytes or more at the end of reading");
        Refusal::new(Code::Changed, found, format!("{} bytes as at the beginning", self.size))
    }
}

fn refuse_link(path: &Path) -> Refusal {
    Refusal::new(
        Code::Symlink,
        format!("`{}`, a symbolic link", path.to_string_lossy()),
        "a regular file",
    )
}

fn refuse_error(path: &Path, error: &io::Error) -> Refusal {
    let found = format!("`{}`: {error}", path.to_string_lossy());
    if is_link_error(error) {
        return refuse_link(path);
    }
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Refusal::new(Code::NotFound, found, "a file")
        }
        _ if is_special_error(error) => {
            let found = format!("`{}`, a socket or device", path.to_string_lossy());
            Refusal::new(Code::NotRegular, found, "a regular file")
        }
        _ => Refusal::new(Code::Unreadable, found, "a file that can be read"),
    }
}

/// `O_NONBLOCK`, or opening a pipe would wait for its writer; it changes nothing for regular files.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};

    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

#[cfg(unix)]
fn is_link_error(error: &io::Error) -> bool {
    use rustix::io::Errno;

    // FreeBSD says EMLINK.
    matches!(Errno::from_io_error(error), Some(Errno::LOOP | Errno::MLINK))
}

/// Sockets and devices without a driver can't be opened at all.
#[cfg(unix)]
fn is_special_error(error: &io::Error) -> bool {
    use rustix::io::Errno;

    matches!(Errno::from_io_error(error), Some(Errno::NXIO | Errno::NODEV | Errno::OPNOTSUPP))
}

#[cfg(unix)]
fn is_link(metadata: &std::fs::Metadata) -> bool {
    metadata.is_symlink()
}

/// Opens a link itself instead of what it points to, and lets nobody write meanwhile.
#[cfg(windows)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::windows::fs::OpenOptionsExt;

    const FILE_SHARE_READ: u32 = 1;
    const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    // Without it a folder can't be opened, and would be reported as unreadable.
    const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
    std::fs::OpenOptions::new()
        .read(true)
        .share_mode(FILE_SHARE_READ)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS)
        .open(path)
}

#[cfg(windows)]
fn is_link_error(_: &io::Error) -> bool {
    false
}

#[cfg(windows)]
fn is_special_error(_: &io::Error) -> bool {
    false
}

/// Any reparse point, since junctions and cloud files lead elsewhere too.
#[cfg(windows)]
fn is_link(metadata: &std::fs::Metadata) -> bool {
    use std::os::windows::fs::MetadataExt;

    const FILE_ATTRIBUTE_REPARSE_POINT: u32 = 0x400;
    metadata.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0
}

fn kind(metadata: &std::fs::Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;

        let kind = metadata.file_type();
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if metadata.is_dir() { "a folder" } else { "a special file" }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn notices_a_file_that_grows_or_shrinks_while_it_is_read() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("plugin.so");
        std::fs::write(&path, b"plugin").expect("the file is written");

        let mut open = OpenFile::open(&path, 100).expect("it opens");
        let mut file = File::options().append(true).open(&path).expect("it opens");
        file.write_all(b"more").expect("it grows");
        let mut bytes = Vec::new();
        open.read(&mut bytes, u64::MAX).expect("what was there is read");
        assert_eq!(bytes, b"plugin");
        assert_eq!(open.finish().expect_err("it grew").code, Code::Changed);

        let mut open = OpenFile::open(&path, 100).expect("it opens");
        file.set_len(3).expect("it shrinks");
        let refusal = open.read(&mut Vec::new(), u64::MAX).expect_err("it shrank");
        assert_eq!(refusal.code, Code::Changed);
    }

    #[test]
    fn says_what_the_system_says() {
        let name = "a".repeat(300);
        let refusal = OpenFile::open(Path::new(&name), 100).expect_err("no name is that long");
        assert_eq!(refusal.code, Code::Unreadable);
    }
}
