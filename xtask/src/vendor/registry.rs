//! A crate of a registry: unpacked from the archive that the user's cargo has fetched, once its SHA-256
//! is that of Cargo.lock. Where cargo keeps no archive, a local registry or a folder of vendored crates,
//! what cargo itself would compile is copied.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use cargo_metadata::Package;
use flate2::read::GzDecoder;
use keyway_manifest::Digest;
use keyway_manifest::text::Show as _;

use super::files::{self, Found};
use super::{Content, VendorError, manifest_folder, stub};

/// Where cargo looks for the checksums of a package's files.
pub(super) const CHECKSUMS: &str = ".cargo-checksum.json";
/// Cargo's note that it has unpacked a package whole.
pub(super) const UNPACKED: &str = ".cargo-ok";

/// By path, the SHA-256 of a file.
type Sums = BTreeMap<String, String>;

/// Lays out `package` at `to`.
pub(super) fn lay_out(
    package: &Package,
    content: Content,
    checksum: Option<&str>,
    to: &Path,
) -> Result<(), VendorError> {
    let id = &package.id.repr;
    if content == Content::Whole {
        return whole(id, &manifest_folder(package), checksum, to);
    }
    let failed = |source| VendorError::Crate { package: id.clone(), source };
    stub(package, to).map_err(failed)?;
    files::write(&to.join(CHECKSUMS), &checksums(&Sums::new(), checksum)).map_err(failed)
}

/// Whether cargo has fetched the package that it unpacks, or would unpack, into the folder `from`.
pub(super) fn is_there(from: &Path) -> bool {
    from.is_dir() || archive(from).is_some_and(|archive| archive.is_file())
}

/// Lays out all of the package that cargo unpacks into the folder `from`.
pub(super) fn whole(
    id: &str,
    from: &Path,
    checksum: Option<&str>,
    to: &Path,
) -> Result<(), VendorError> {
    let failed = |source| VendorError::Crate { package: id.to_owned(), source };
    let archive = archive(from).filter(|archive| archive.is_file());
    let sums = match (archive, checksum) {
        (Some(archive), Some(checksum)) => {
            let bytes = fs::read(&archive).map_err(failed)?;
            if Digest::of(&bytes).to_string() != checksum {
                return Err(VendorError::Checksum { archive, expected: checksum.to_owned() });
            }
            unpack(&bytes, to).map_err(failed)?
        }
        _ => copy(from, to).map_err(failed)?,
    };
    if from.join(CHECKSUMS).is_file() {
        // Whoever vendored it wrote down what it was.
        return files::copy(&from.join(CHECKSUMS), &to.join(CHECKSUMS)).map_err(failed);
    }
    files::write(&to.join(CHECKSUMS), &checksums(&sums, checksum)).map_err(failed)
}

/// What cargo expects to find: of each file of a package, and of the archive that they came in.
pub(super) fn checksums(files: &Sums, archive: Option<&str>) -> Vec<u8> {
    serde_json::json!({ "files": files, "package": archive }).to_string().into_bytes()
}

/// Where cargo keeps the archive of a package that it has unpacked: `registry/cache/R/P.crate` of
/// `registry/src/R/P`.
fn archive(unpacked: &Path) -> Option<PathBuf> {
    let (package, registry) = (unpacked.file_name()?, unpacked.parent()?.file_name()?);
    let sources = unpacked.ancestors().nth(2).filter(|folder| folder.ends_with("src"))?;
    let mut name = package.to_owned();
    name.push(".crate");
    Some(sources.parent()?.join("cache").join(registry).join(name))
}

/// Unpacks a package's archive, whose entries all lie in one folder.
fn unpack(archive: &[u8], to: &Path) -> io::Result<Sums> {
    let mut sums = Sums::new();
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let mut parts = path.components();
        parts.next();
        let below = parts.as_path().to_owned();
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if below.as_os_str().is_empty() || below == Path::new(UNPACKED) {
            continue;
        }
        if !path.components().all(is_plain) {
            return Err(io::Error::other(format!("`{}` leads out of the package", path.shown())));
        }
        let at = to.join(&below);
        match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                files::write(&at, &bytes)?;
                if entry.header().mode()? & 0o111 != 0 {
                    files::set_executable(&at)?;
                }
                sums.insert(name(&below), Digest::of(&bytes).to_string());
            }
            tar::EntryType::Symlink => {
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                files::link(&target, &at)?;
            }
            _ => {}
        }
    }
    Ok(sums)
}

/// Copies an unpacked package.
fn copy(from: &Path, to: &Path) -> io::Result<Sums> {
    let mut sums = Sums::new();
    files::visit(from, &mut |below, found| {
        let (file, at) = (from.join(below), to.join(below));
        if found == Found::Link {
            return files::link(&fs::read_link(&file)?, &at);
        }
        if [CHECKSUMS, UNPACKED].iter().any(|name| below == Path::new(name)) {
            return Ok(());
        }
        files::copy(&file, &at)?;
        sums.insert(name(below), Digest::of(&fs::read(&file)?).to_string());
        Ok(())
    })?;
    Ok(sums)
}

/// A path as cargo writes it.
fn name(below: &Path) -> String {
    let parts = below.components().map(|part| part.as_os_str().to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}
