//! Archives written byte by byte, as no honest tool would write some of them.

use std::io::Write as _;
use std::path::PathBuf;

use keyway_xtask::image::deb;
use keyway_xtask::image::member::{Member, MemberError};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// An entry of a tar, with whatever path it is given.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) path: String,
    pub(crate) kind: EntryType,
    pub(crate) link: String,
    pub(crate) mode: u32,
    pub(crate) data: Vec<u8>,
}

pub(crate) fn file(path: &str, data: &str) -> Item {
    let (path, link, data) = (path.into(), String::new(), data.into());
    Item { path, kind: EntryType::Regular, link, mode: 0o644, data }
}

pub(crate) fn folder(path: &str) -> Item {
    Item { kind: EntryType::Directory, mode: 0o755, ..file(path, "") }
}

pub(crate) fn symlink(path: &str, target: &str) -> Item {
    Item { kind: EntryType::Symlink, link: target.into(), mode: 0o777, ..file(path, "") }
}

pub(crate) fn hard_link(path: &str, target: &str) -> Item {
    Item { kind: EntryType::Link, link: target.into(), ..file(path, "") }
}

/// A tar of `items`, all of the year 2020.
pub(crate) fn tar(items: &[Item]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for item in items {
        let mut header = Header::new_ustar();
        header.set_entry_type(item.kind);
        header.set_mode(item.mode);
        header.set_uid(1000);
        header.set_gid(1000);
        header.set_mtime(1_577_836_800);
        header.set_size(item.data.len() as u64);
        // Straight into the header: `set_path` would refuse what these tests are about.
        header.as_mut_bytes()[..item.path.len()].copy_from_slice(item.path.as_bytes());
        header.as_mut_bytes()[157..157 + item.link.len()].copy_from_slice(item.link.as_bytes());
        header.set_cksum();
        builder.append(&header, item.data.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A package file around a data archive of this name.
pub(crate) fn package(name: &str, data: &[u8]) -> Vec<u8> {
    let mut archive = ar::Builder::new(Vec::new());
    for (name, bytes) in
        [("debian-binary", &b"2.0\n"[..]), ("control.tar", &tar(&[])), (name, data)]
    {
        archive.append(&ar::Header::new(name.into(), bytes.len() as u64), bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// Whether images can be run here; says why not.
#[cfg(target_os = "linux")]
pub(crate) fn has_sandbox() -> bool {
    use keyway_xtask::cache::Cache;
    use keyway_xtask::engine::Sandbox;
    use keyway_xtask::shell::Shell;

    let quiet = Shell::silent();
    let place = tempfile::tempdir().unwrap();
    let cache = Cache::at(place.path().to_owned()).unwrap();
    let probed = Sandbox::new(env!("CARGO_BIN_EXE_xtask").into(), cache, &quiet).probe();
    probed.inspect_err(|error| println!("skipped: {error}")).is_ok()
}

/// A folder to open packages in.
pub(crate) struct Workbench(pub(crate) TempDir);

impl Workbench {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn open(&self, bytes: &[u8]) -> Result<Member, MemberError> {
        deb::open(&self.put("p.deb", bytes), "p 1", &|_| true, self.0.path(), 1 << 20)
    }

    /// A member of these entries, from a package of that name.
    pub(crate) fn member(&self, name: &str, items: &[Item]) -> Member {
        let path = self.put(&format!("{name}.deb"), &package("data.tar", &tar(items)));
        deb::open(&path, name, &|_| true, self.0.path(), 1 << 20).unwrap()
    }
}
