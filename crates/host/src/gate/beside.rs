//! The manifest beside a library: which file it is, and whether it can be read.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use keyway_manifest::{Manifest, ManifestError};

use crate::code::Code;
use crate::file::OpenFile;
use crate::policy::PermissionPolicy;
use crate::refusal::Refusal;

/// How many entries of a folder are looked at for a manifest whose name cargo has changed.
const MAX_ENTRIES: usize = 10_000;

/// Finds the manifest, checks who could have written it, and reads it.
pub(super) fn read(
    library: &Path,
    policy: PermissionPolicy,
    refusals: &mut Vec<Refusal>,
) -> Result<Manifest, Refusal> {
    let path = find(library)?;
    let mut file = OpenFile::open(&path, Manifest::MAX_SIZE)?;
    file.check_permissions(policy, refusals);
    let mut bytes = Vec::new();
    file.read(&mut bytes, u64::MAX)?;
    file.finish()?;
    Manifest::parse(&bytes).map_err(|error| refuse(&path, &error))
}

/// Checks that the manifest is about a file of this name and size.
pub(super) fn check_names(
    library: &Path,
    size: u64,
    manifest: &Manifest,
    refusals: &mut Vec<Refusal>,
) {
    let artifact = &manifest.artifact;
    if library.file_name() != Some(OsStr::new(artifact.file.as_str())) {
        let found = format!("a manifest of `{}`", artifact.file);
        let expected = format!("one of `{}`", file_name(library));
        refusals.push(Refusal::new(Code::OtherLibrary, found, expected));
    }
    if size != artifact.size {
        let (found, expected) = (format!("{size} bytes"), format!("{} bytes", artifact.size));
        refusals.push(Refusal::new(Code::SizeDiffers, found, expected));
    }
}

/// `libgreet.so`, `greet.dll` and `libgreet.dylib` have `greet.manifest.json`. Cargo turns the `-`
/// of a package's name into `_`, so that is not told apart; the exact name comes first.
fn find(library: &Path) -> Result<PathBuf, Refusal> {
    let stem = library.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let is_dll = library.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("dll"));
    let stem = if is_dll { stem } else { stem.strip_prefix("lib").unwrap_or(stem) };
    let folder = match library.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let wanted = stem.replace('-', "_");
    let exact = format!("{stem}{}", Manifest::FILE_SUFFIX);
    let is_wanted = |name: &str| {
        let plugin = name.strip_suffix(Manifest::FILE_SUFFIX);
        plugin.is_some_and(|plugin| plugin.replace('-', "_") == wanted)
    };
    if folder.join(&exact).symlink_metadata().is_ok() {
        return Ok(folder.join(exact));
    }
    let entries = folder.read_dir().into_iter().flatten().flatten().take(MAX_ENTRIES);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let name = names.filter(|name| is_wanted(name)).min();
    let name = name.ok_or_else(|| {
        let found = format!("no manifest in `{}`", folder.display());
        Refusal::new(Code::NoManifest, found, format!("`{exact}`"))
    })?;
    Ok(folder.join(name))
}

fn refuse(path: &Path, error: &ManifestError) -> Refusal {
    let (code, expected) = match error {
        ManifestError::TooLarge { .. } => (Code::TooLarge, "a smaller file"),
        ManifestError::Json(_) => (Code::NotJson, "JSON"),
        ManifestError::UnknownFormat { .. } => (Code::UnknownFormat, "a format that is known here"),
        ManifestError::Field { .. } | ManifestError::NotCanonical { .. } => {
            (Code::BadField, "what the schema says")
        }
        ManifestError::Contradiction { .. } => (Code::Contradiction, "fields that agree"),
    };
    let cause = std::error::Error::source(error);
    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
    Refusal::new(code, format!("in `{}`: {error}{cause}", file_name(path)), expected)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
