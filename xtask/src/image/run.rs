//! Scripts run inside an image, with one folder of the host to write into.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use thiserror::Error;

use crate::cache::CacheError;
use crate::container::{Access, Command, Image, Mount, Runner};

/// Where a script finds its folder.
const OUT: &str = "/out";

/// Why a script gave no result.
#[derive(Debug, Error)]
pub enum RunError {
    /// It failed, or could not be started.
    #[error("a command in image `{image}` failed")]
    Failed {
        /// The image.
        image: String,
        /// The command line, its status and the end of its output.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Its folder can't be made.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// A folder of the host that one script writes into; deleted afterwards.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// A new folder below `folder`.
    ///
    /// # Errors
    /// If it can't be created.
    pub fn create(folder: &Path) -> Result<Self, CacheError> {
        let made = tempfile::Builder::new().prefix("run-").tempdir_in(folder);
        made.map(Self).map_err(CacheError::io("create a folder in", folder))
    }

    /// Where it lies on the host.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Runs a shell script with its arguments; `out` is at `/out`, its home and its working directory.
///
/// # Errors
/// If it can't be started or fails.
pub fn script(
    runner: &dyn Runner,
    image: &Image,
    text: &str,
    arguments: &[&str],
    out: &Scratch,
) -> Result<(), RunError> {
    let mut argv: Vec<OsString> = ["/bin/sh", "-c", text, "sh"].map(OsString::from).into();
    argv.extend(arguments.iter().map(OsString::from));
    let epoch = image.epoch.to_string();
    let env = [("HOME", OUT), ("LC_ALL", "C.UTF-8"), ("SOURCE_DATE_EPOCH", &epoch), ("TZ", "UTC")];
    let command = Command {
        argv,
        env: env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        workdir: PathBuf::from(OUT),
        mounts: vec![Mount {
            host: out.path().to_owned(),
            guest: PathBuf::from(OUT),
            access: Access::ReadWrite,
        }],
        limit: None,
        hidden: Vec::new(),
    };
    runner
        .run(image, &command)
        .map_err(|source| RunError::Failed { image: image.name.clone(), source })
}
