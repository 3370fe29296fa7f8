//! Files on their way into a container and out of it, as tars through the client's `cp`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::containers::Containers;
use super::listing::{Entry, slashed};
use super::volumes::Parcel;
use super::{Engine, EngineError};
use crate::container::Access;

type Result<T> = std::result::Result<T, EngineError>;

/// Writes entries that are owned by the caller.
pub(super) struct Writer<'t, W: io::Write> {
    pub(super) tar: &'t mut tar::Builder<W>,
    /// When everything was last changed, in seconds since 1970.
    pub(super) time: u64,
    /// Who owns it.
    pub(super) user: u32,
    pub(super) group: u32,
}

impl<W: io::Write> Writer<'_, W> {
    pub(super) fn parcel(&mut self, parcel: &Parcel<'_>) -> io::Result<()> {
        if parcel.send.is_empty() {
            return Ok(());
        }
        let guest = slashed(parcel.mount.guest.strip_prefix("/").unwrap_or(&parcel.mount.guest));
        self.folder(&guest)?;
        let is_shared = parcel.mount.access == Access::ReadWrite;
        for path in &parcel.send {
            let to = format!("{guest}/{path}");
            let from = parcel.mount.host.join(path);
            match &parcel.found[path] {
                Entry::Folder => self.folder(&to)?,
                Entry::Link { to: link } => {
                    let mut header = self.header(tar::EntryType::Symlink, 0o777, 0);
                    self.tar.append_link(&mut header, &to, link)?;
                }
                Entry::File { is_executable, .. } => {
                    let file = match File::open(&from) {
                        // Other runs use such a folder too, zig's cache for one: what is gone since
                        // it was listed is not there.
                        Err(error) if is_shared && error.kind() == io::ErrorKind::NotFound => {
                            continue;
                        }
                        file => file?,
                    };
                    let size = file.metadata()?.len();
                    let mode = if *is_executable { 0o755 } else { 0o644 };
                    let mut header = self.header(tar::EntryType::Regular, mode, size);
                    self.tar.append_data(&mut header, &to, file.take(size))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn folder(&mut self, path: &str) -> io::Result<()> {
        let mut header = self.header(tar::EntryType::Directory, 0o755, 0);
        self.tar.append_data(&mut header, format!("{path}/"), io::empty())
    }

    fn header(&self, kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(self.time);
        header.set_uid(self.user.into());
        header.set_gid(self.group.into());
        header
    }
}

/// Has the engine unpack a tar in a container.
pub(super) fn upload(
    engine: &Containers<'_>,
    container: &OsString,
    fill: impl FnOnce(&mut tar::Builder<io::PipeWriter>) -> io::Result<()>,
) -> Result<()> {
    let run = || -> io::Result<()> {
        let (reader, writer) = io::pipe()?;
        let mut place = container.clone();
        place.push(":/");
        let client = &engine.service().client;
        let copying = client
            .command([OsString::from("cp"), "-".into(), place])
            .stdin_file(reader)
            .stdout_null()
            .stderr_capture()
            .unchecked()
            .start()?;
        let mut tar = tar::Builder::new(writer);
        let filled = fill(&mut tar).and_then(|()| tar.into_inner().map(drop));
        let output = copying.wait()?;
        if output.status.success() {
            return filled;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(client.reason(said.trim())))
    };
    run().map_err(|error| transfer(engine, &error))
}

/// Fetches a path of a container as a tar and writes the files that `place` has a place for.
pub(super) fn unpack(
    engine: &Containers<'_>,
    container: &OsString,
    path: &str,
    place: &dyn Fn(&Path) -> Option<PathBuf>,
) -> Result<Vec<PathBuf>> {
    let run = || -> io::Result<Vec<PathBuf>> {
        let mut from = container.clone();
        from.push(format!(":/{path}"));
        let client = &engine.service().client;
        let reader =
            client.command([OsString::from("cp"), from, "-".into()]).stdin_null().reader()?;
        let mut archive = tar::Archive::new(reader);
        let mut written = Vec::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let inside = entry.path()?.into_owned();
            let (true, Some(to)) = (entry.header().entry_type().is_file(), place(&inside)) else {
                continue;
            };
            let folder = to.parent().unwrap_or(&to);
            fs::create_dir_all(folder)?;
            let mut file = tempfile::Builder::new().prefix(".keyway-").tempfile_in(folder)?;
            io::copy(&mut entry, &mut file)?;
            set_mode(file.as_file(), entry.header().mode()? & 0o111 != 0)?;
            file.persist(&to).map_err(|error| error.error)?;
            written.push(to);
        }
        // The rest of the stream, and with it the client's status.
        io::copy(&mut archive.into_inner(), &mut io::sink())?;
        Ok(written)
    };
    run().map_err(|error| transfer(engine, &error))
}

#[cfg(unix)]
fn set_mode(file: &File, is_executable: bool) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = if is_executable { 0o755 } else { 0o644 };
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &File, _: bool) -> io::Result<()> {
    Ok(())
}

/// For `map_err`.
pub(super) fn transfer(engine: &Containers<'_>, error: &dyn std::fmt::Display) -> EngineError {
    EngineError::Transfer { engine: engine.name(), reason: error.to_string() }
}
