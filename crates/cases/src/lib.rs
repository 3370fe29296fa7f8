//! Files that the gate must refuse, made from a real plugin, with the codes that it must give.
//!
//! The same list is used wherever the gate runs: against a plugin that the machine's own cargo
//! built, against the artifacts of images, and on Windows. So it is a library of its own, which only
//! tests depend on.
//!
//! Where a case is about what lies deeper than the manifest's checksum, the manifest is changed to
//! agree with the changed library: the checksum would catch all of them, and the deeper check would
//! never be seen to work.
#![forbid(unsafe_code)]

mod library;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_abi::stamp::{Stamp, StampError};
use keyway_host::code::Code;
use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Manifest, ManifestError, canonical};
use serde_json::{Value, json};
use thiserror::Error;

pub use library::{Library, LibraryError};

/// One file that the gate must judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// A word or two; also the name of the folder that it lies in.
    pub name: String,
    /// The library.
    pub library: PathBuf,
    /// What the gate must say.
    pub expected: Expected,
    /// Whether it can only be told on Unix: links, pipes, modes.
    pub unix_only: bool,
}

/// What the gate must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// These codes and no other, in this order; with none, it is admitted.
    Exactly(Vec<Code>),
    /// These codes and perhaps others: when a library is cut, what else is missing depends on it.
    AtLeast(Vec<Code>),
}

impl Expected {
    /// Whether the gate said it.
    pub fn accepts(&self, codes: &[Code]) -> bool {
        match self {
            Self::Exactly(expected) => {
                let mut codes = codes.to_vec();
                codes.dedup();
                codes == *expected
            }
            Self::AtLeast(expected) => expected.iter().all(|code| codes.contains(code)),
        }
    }
}

/// Why the cases were not made.
#[derive(Debug, Error)]
pub enum CaseError {
    /// A file could not be read or written.
    #[error("`{path}` could not be read or written", path = .path.shown())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The plugin's manifest is none.
    #[error("`{path}` is no manifest to make cases from", path = .path.shown())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Why.
        source: ManifestError,
    },
    /// The plugin's library can't be changed as a case needs it.
    #[error("`{path}` is no library to make cases from", path = .path.shown())]
    Library {
        /// The library.
        path: PathBuf,
        /// Why.
        source: LibraryError,
    },
    /// The plugin's stamp can't be read.
    #[error("`{path}` has no stamp to make cases from", path = .path.shown())]
    Stamp {
        /// The library.
        path: PathBuf,
        /// Why.
        source: StampError,
    },
}

/// The plugin that cases are made from.
struct Plugin {
    file: String,
    library: Library,
    manifest: Manifest,
    manifest_file: String,
}

/// Writes every case for the plugin whose library and manifest are named, one folder each in `out`.
///
/// `other` is the manifest of another plugin. The plugin must be pinned, and one that the host
/// admits.
///
/// # Errors
///
/// The plugin can't be read, or a case not written.
pub fn write(
    library: &Path,
    manifest: &Path,
    other: &Path,
    out: &Path,
) -> Result<Vec<Case>, CaseError> {
    let plugin = Plugin::read(library, manifest)?;
    let other = read(other)?;
    let mut writer = Writer { out, plugin: &plugin, cases: Vec::new() };
    writer.manifests(&other)?;
    writer.libraries()?;
    writer.stamps()?;
    writer.cuts()?;
    #[cfg(unix)]
    writer.files()?;
    Ok(writer.cases)
}

fn read(path: &Path) -> Result<Vec<u8>, CaseError> {
    fs::read(path).map_err(|source| CaseError::Io { path: path.to_owned(), source })
}

impl Plugin {
    fn read(library: &Path, manifest: &Path) -> Result<Self, CaseError> {
        let bytes = read(library)?;
        let parsed = Manifest::parse(&read(manifest)?);
        let path = library.to_owned();
        Ok(Self {
            file: file_name(library),
            library: Library::new(bytes).map_err(|source| CaseError::Library { path, source })?,
            manifest: parsed
                .map_err(|source| CaseError::Manifest { path: manifest.to_owned(), source })?,
            manifest_file: file_name(manifest),
        })
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

struct Writer<'run> {
    out: &'run Path,
    plugin: &'run Plugin,
    cases: Vec<Case>,
}

impl Writer<'_> {
    /// Cases of what the manifest says.
    fn manifests(&mut self, other: &[u8]) -> Result<(), CaseError> {
        let plugin = self.plugin;
        let json = plugin.manifest.to_json();
        let edited = |edit: fn(&mut Value)| {
            let mut value = json!(plugin.manifest);
            edit(&mut value);
            canonical::document(&value).unwrap_or_default()
        };
        let remove = |value: &mut Value| {
            value["artifact"].as_object_mut().map(|artifact| artifact.remove("sha256"));
        };
        self.with_manifest("intact", json.as_bytes(), &[])?;
        self.with_manifest("broken-json", &json.as_bytes()[..json.len() / 2], &[Code::NotJson])?;
        let unknown = edited(|value| value["format"] = json!(2));
        self.with_manifest("unknown-format", unknown.as_bytes(), &[Code::UnknownFormat])?;
        self.with_manifest("missing-field", edited(remove).as_bytes(), &[Code::BadField])?;
        let added = edited(|value| value["artifact"]["revoked"] = json!(true));
        self.with_manifest("unknown-field", added.as_bytes(), &[Code::BadField])?;
        let contradiction = edited(|value| value["abi"] = Value::Null);
        self.with_manifest("contradiction", contradiction.as_bytes(), &[Code::Contradiction])?;
        let version = edited(|value| value["plugin"]["version"] = json!("99.0.0"));
        self.with_manifest("stamp-differs", version.as_bytes(), &[Code::StampDiffers])?;
        let format = edited(|value| {
            let is_elf = value["artifact"]["format"] == "elf";
            value["artifact"]["format"] = json!(if is_elf { "pe" } else { "elf" });
        });
        self.with_manifest("facts-differ", format.as_bytes(), &[Code::FactsDiffer])?;
        // What an earlier inspector read in it, and what nobody has to know of.
        let facts = edited(|value| {
            value["exports"] = json!(["other"]);
            value["imports"] = json!([]);
            value["libc"] = Value::Null;
            value["annotations"] = json!({"org.example.note": "any"});
            value["source"]["lock"] = Value::Null;
        });
        self.with_manifest("facts-for-people", facts.as_bytes(), &[])?;
        let requires = edited(|value| value["requires"] = json!(["signature"]));
        self.with_manifest("requires", requires.as_bytes(), &[Code::UnknownRequirement])?;
        let library = self.put("no-manifest", &plugin.file, plugin.library.bytes())?;
        self.case("no-manifest", library, Expected::Exactly(vec![Code::NoManifest]));
        let library = self.pair("other-manifest", plugin.library.bytes(), other)?;
        let expected = vec![Code::OtherLibrary, Code::HashDiffers, Code::StampDiffers];
        self.case("other-manifest", library, Expected::AtLeast(expected));
        Ok(())
    }

    /// Cases of what the library is.
    fn libraries(&mut self) -> Result<(), CaseError> {
        let library = &self.plugin.library;
        self.changed("wrong-machine", &library.with_machine(), &[Code::WrongMachine])?;
        self.changed("program", &library.as_program(), &[Code::NotALibrary])?;
        self.changed("text", b"#!/bin/sh\nexit 0\n", &[Code::NotAnObject])?;
        self.changed("bad-header", &library.bytes()[..10], &[Code::BadHeader])?;
        // What a loader looks at before all else; a later version may mean anything.
        for (name, bytes) in library.other_versions() {
            self.changed(name, &bytes, &[Code::BadHeader])?;
        }
        let manifest = self.plugin.manifest.to_json();
        let flipped =
            self.pair("flipped-byte", &library.with_flipped_code(), manifest.as_bytes())?;
        self.case("flipped-byte", flipped, Expected::Exactly(vec![Code::HashDiffers]));
        let mut longer = library.bytes().to_vec();
        longer.push(0);
        let longer = self.pair("appended-byte", &longer, manifest.as_bytes())?;
        let expected = vec![Code::SizeDiffers, Code::HashDiffers];
        self.case("appended-byte", longer, Expected::Exactly(expected));
        Ok(())
    }

    /// Cases of what the stamp says.
    fn stamps(&mut self) -> Result<(), CaseError> {
        let library = &self.plugin.library;
        self.changed("no-stamp", &library.without_stamp(), &[Code::NoStamp])?;
        self.changed("bad-stamp", &library.with_stamp(0, b"X"), &[Code::BadStamp])?;
        let path = || self.out.join(&self.plugin.file);
        let stamp = Stamp::parse(library.stamp())
            .map_err(|source| CaseError::Stamp { path: path(), source })?;
        let abi = with_other_offset(stamp.contract, "keyway.Library.invoke: offset ");
        let mut manifest = self.plugin.manifest.clone();
        if let Some(abi_of) = &mut manifest.abi {
            abi_of.contract = Some(Digest::of(&abi));
        }
        let at = library.stamp_offset(stamp.contract);
        let changed = library.with_stamp(at, abi.as_bytes());
        self.agreeing("abi-changed", &changed, manifest, &[Code::AbiDiffers])?;
        // As long as `unwind`, so that the record stays as it is.
        let at = library.stamp_offset(stamp.facts.panic);
        let aborting = library.with_stamp(at, &b"abort!"[..stamp.facts.panic.len()]);
        self.changed("panic-aborts", &aborting, &[Code::PanicAborts])?;

        let Some(hash) = stamp.toolchain else { return Ok(()) };
        let at = library.stamp_position(&hash);
        let mut manifest = self.plugin.manifest.clone();
        if let Some(toolchain) = &mut manifest.toolchain {
            toolchain.record.std = Digest::of("another standard library");
            toolchain.hash = toolchain.record.hash();
            let changed = library.with_stamp(at, toolchain.hash.as_bytes());
            self.agreeing("untrusted", &changed, manifest, &[Code::Untrusted])?;
        }
        let mut manifest = self.plugin.manifest.clone();
        manifest.toolchain = None;
        // Another tag, which no reader knows, so that the record is skipped.
        let changed = library.with_stamp(at - 12, &0xffff_u32.to_le_bytes());
        self.agreeing("unpinned", &changed, manifest, &[Code::Unpinned])
    }

    /// The library, cut where each of its parts ends, and at its last byte.
    fn cuts(&mut self) -> Result<(), CaseError> {
        let library = &self.plugin.library;
        for length in library.ends() {
            let name = format!("cut-{length}");
            let bytes = &library.bytes()[..length];
            let manifest = self.describing(bytes, self.plugin.manifest.clone());
            let path = self.pair(&name, bytes, manifest.to_json().as_bytes())?;
            let code = match keyway_inspect::inspect(bytes) {
                Ok(_) => Code::Malformed,
                Err(_) => Code::BadHeader,
            };
            self.case(&name, path, Expected::AtLeast(vec![code]));
        }
        Ok(())
    }

    /// Cases of what kind of file it is, and who can write to it.
    #[cfg(unix)]
    fn files(&mut self) -> Result<(), CaseError> {
        use std::os::unix::fs::PermissionsExt;

        use rustix::fs::{CWD, FileType, Mode};

        let plugin = self.plugin;
        let manifest = plugin.manifest.to_json();
        let mut unix = |name: &str, code, change: &dyn Fn(&Path) -> io::Result<()>| {
            let library = self.pair(name, plugin.library.bytes(), manifest.as_bytes())?;
            change(&library).map_err(|source| CaseError::Io { path: library.clone(), source })?;
            self.case(name, library, Expected::Exactly(vec![code]));
            let case = self.cases.last_mut();
            case.into_iter().for_each(|case| case.unix_only = true);
            Ok(())
        };
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        unix("world-writable", Code::Writable, &|library| mode(library, 0o666))?;
        unix("writable-manifest", Code::Writable, &|library| {
            mode(&library.with_file_name(&plugin.manifest_file), 0o664)
        })?;
        unix("writable-folder", Code::FolderWritable, &|library| {
            mode(library.parent().unwrap_or(library), 0o775)
        })?;
        unix("symlink", Code::Symlink, &|library| {
            let target = library.with_extension("real");
            fs::rename(library, &target)?;
            std::os::unix::fs::symlink(target, library)
        })?;
        unix("pipe", Code::NotRegular, &|library| {
            fs::remove_file(library)?;
            Ok(rustix::fs::mknodat(CWD, library, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?)
        })?;
        unix("folder", Code::NotRegular, &|library| {
            fs::remove_file(library)?;
            fs::create_dir(library)
        })?;
        unix("missing", Code::NotFound, &|library| fs::remove_file(library))
    }

    fn case(&mut self, name: &str, library: PathBuf, expected: Expected) {
        let name = name.to_owned();
        self.cases.push(Case { name, library, expected, unix_only: false });
    }

    /// The plugin's own library with another manifest.
    fn with_manifest(
        &mut self,
        name: &str,
        manifest: &[u8],
        codes: &[Code],
    ) -> Result<(), CaseError> {
        let library = self.pair(name, self.plugin.library.bytes(), manifest)?;
        self.case(name, library, Expected::Exactly(codes.to_vec()));
        Ok(())
    }

    /// Another library with the plugin's manifest, made to agree on size and checksum.
    fn changed(&mut self, name: &str, bytes: &[u8], codes: &[Code]) -> Result<(), CaseError> {
        self.agreeing(name, bytes, self.plugin.manifest.clone(), codes)
    }

    fn agreeing(
        &mut self,
        name: &str,
        bytes: &[u8],
        manifest: Manifest,
        codes: &[Code],
    ) -> Result<(), CaseError> {
        let manifest = self.describing(bytes, manifest);
        let library = self.pair(name, bytes, manifest.to_json().as_bytes())?;
        self.case(name, library, Expected::Exactly(codes.to_vec()));
        Ok(())
    }

    fn describing(&self, bytes: &[u8], mut manifest: Manifest) -> Manifest {
        manifest.artifact.size = bytes.len() as u64;
        manifest.artifact.sha256 = Digest::of(bytes);
        manifest
    }

    fn pair(&self, name: &str, library: &[u8], manifest: &[u8]) -> Result<PathBuf, CaseError> {
        self.put(name, &self.plugin.manifest_file, manifest)?;
        self.put(name, &self.plugin.file, library)
    }

    fn put(&self, name: &str, file: &str, bytes: &[u8]) -> Result<PathBuf, CaseError> {
        let folder = self.out.join(name);
        let path = folder.join(file);
        let write = || {
            fs::create_dir_all(&folder)?;
            fs::write(&path, bytes)?;
            restrict(&folder, &path)
        };
        write().map_err(|source| CaseError::Io { path: path.clone(), source })?;
        Ok(path)
    }
}

/// Modes that the gate accepts, whatever the umask is.
#[cfg(unix)]
fn restrict(folder: &Path, file: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn restrict(_: &Path, _: &Path) -> io::Result<()> {
    Ok(())
}

/// The descriptor with another first digit in the offset that comes after `field`.
fn with_other_offset(descriptor: &str, field: &str) -> String {
    match descriptor.split_once(field) {
        Some((before, after)) => {
            let digit = if after.starts_with('9') { '8' } else { '9' };
            format!("{before}{field}{digit}{}", after.get(1..).unwrap_or_default())
        }
        None => descriptor.to_owned(),
    }
}
