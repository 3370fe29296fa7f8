//! Which plugins lie in a folder. Nothing here decides whether one is good: the gate does, when it is started.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::Manifest;
use keyway_manifest::text::Show as _;
use thiserror::Error;

use crate::file::OpenFile;

/// The annotation of a manifest in which a plugin says which ones must run before it: their names, with
/// commas between them.
pub const DEPENDS_ON: &str = "keyway.depends-on";

/// A plugin that a manager is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it is called in this manager. One library may be there under several names, each an instance of its own.
    pub name: String,
    /// Its library.
    pub path: PathBuf,
    /// What its instance is created from.
    pub config: Vec<u8>,
    /// The names of members that start before it and stop after it.
    pub depends_on: BTreeSet<String>,
}

/// Why a folder was not looked through.
#[derive(Debug, Error)]
#[error("the folder `{path}` can't be read", path = .path.shown())]
pub struct DiscoveryError {
    /// The folder.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Each library in `folder` that has a manifest beside it, by the plugin's name, without configuration, and with
/// the dependencies that its manifest declares. A manifest that can't be read gives one by the file's
/// name, so that the gate says what is wrong with it.
///
/// # Errors
/// The folder can't be read.
pub fn discover(folder: &Path) -> Result<Vec<Member>, DiscoveryError> {
    let error = |source| DiscoveryError { path: folder.to_owned(), source };
    let mut members = Vec::new();
    for entry in folder.read_dir().map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        let library = name.to_str().and_then(|name| name.strip_suffix(Manifest::FILE_SUFFIX));
        let Some(library) = library.filter(|name| !name.is_empty() && !name.starts_with('.'))
        else {
            continue;
        };
        let manifest = read(&folder.join(&name));
        let declared = manifest.as_ref().and_then(|manifest| manifest.annotations.get(DEPENDS_ON));
        let depends_on = declared.into_iter().flat_map(|names| names.split(','));
        members.push(Member {
            name: manifest.as_ref().map_or(library, |it| it.plugin.name.as_str()).to_owned(),
            path: folder.join(library),
            config: Vec::new(),
            depends_on: depends_on
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect(),
        });
    }
    members.sort_by(|left, right| (&left.name, &left.path).cmp(&(&right.name, &right.path)));
    Ok(members)
}

fn read(path: &Path) -> Option<Manifest> {
    let mut file = OpenFile::open(path, Manifest::MAX_SIZE).ok()?;
    let mut bytes = Vec::new();
    file.read(&mut bytes, u64::MAX).ok()?;
    Manifest::parse(&bytes).ok()
}
