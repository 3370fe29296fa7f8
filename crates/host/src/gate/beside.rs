//! The manifest beside a library: which file it is, and whether it can be read.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use keyway_manifest::{Manifest, ManifestError};

use crate::code::Code;
use crate::file::OpenFile;
use crate::policy::PermissionPolicy;
use crate::refusal::Refusal;

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

/// What a manifest may require of this host; a later version may know of more.
const KNOWN_REQUIREMENTS: [&str; 0] = [];

/// Checks that this host knows of all that it has to.
pub(super) fn check_requirements(manifest: &Manifest, refusals: &mut Vec<Refusal>) {
    for entry in &manifest.requires {
        if !KNOWN_REQUIREMENTS.contains(&entry.as_str()) {
            let found = format!("`{entry}`");
            refusals.push(Refusal::new(Code::UnknownRequirement, found, "what this host knows of"));
        }
    }
}

/// `libgreet.so` has `libgreet.so.manifest.json`, so that nothing is guessed from a name.
fn find(library: &Path) -> Result<PathBuf, Refusal> {
    let name = Manifest::file_name_for(&file_name(library));
    let path = library.with_file_name(&name);
    if path.symlink_metadata().is_ok() {
        return Ok(path);
    }
    let folder = match library.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let found = format!("no manifest in `{}`", folder.to_string_lossy());
    Err(Refusal::new(Code::NoManifest, found, format!("`{name}`")))
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
