//! What images and engines say to each other: an assembled image, and a command to run in one.
//!
//! Only types; no effects. The image stage makes an [`Image`], an engine runs a [`Command`] in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use keyway_manifest::Digest;
use serde::{Deserialize, Serialize};

/// An assembled image in the local store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The recipe's name, such as `mingw`.
    pub name: String,
    /// Digest of the image's config document; what Docker 20.10 calls the image ID.
    pub config: Digest,
    /// Digest of the image's OCI manifest document.
    pub manifest: Digest,
    /// The config document's bytes.
    pub config_json: Vec<u8>,
    /// The OCI manifest document's bytes.
    pub manifest_json: Vec<u8>,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// The environment that commands in the image start with.
    pub env: BTreeMap<String, String>,
    /// Seconds since 1970 that every time in the image is clamped to; `SOURCE_DATE_EPOCH` of builds.
    pub epoch: u64,
}

/// One layer: an uncompressed, sorted tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the tar, which is also its OCI diffID.
    pub diff_id: Digest,
    /// Size of the tar in bytes.
    pub size: u64,
    /// Where the tar lies.
    pub file: PathBuf,
}

/// A command to run inside an image. Nothing of the caller's environment reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// Program and arguments; the program is looked up in the image's `PATH`.
    pub argv: Vec<OsString>,
    /// Environment, on top of the image's.
    pub env: BTreeMap<String, String>,
    /// Working directory inside.
    pub workdir: PathBuf,
    /// Folders and files of the host that are seen inside.
    pub mounts: Vec<Mount>,
    /// How long it may take; as long as it wants unless given.
    pub limit: Option<Duration>,
    /// What of read-only mounts is not seen, as paths of the host; no `.git` is ever sent elsewhere.
    pub hidden: Vec<PathBuf>,
}

/// A host path seen inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path on the host; it must exist.
    pub host: PathBuf,
    /// Absolute path inside.
    pub guest: PathBuf,
    /// What the command may do there.
    pub access: Access,
}

/// What a command may do with a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    ReadOnly,
    /// Read and write it; what is written is owned by the caller.
    ReadWrite,
}

/// An engine that there is, whether or not it works here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineName {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// Linux namespaces.
    Sandbox,
}

impl EngineName {
    /// The order in which they are tried unless `targets.toml` says another.
    pub const ORDER: [Self; 3] = [Self::Docker, Self::Podman, Self::Sandbox];

    /// The name, as `--engine` takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Sandbox => "sandbox",
        }
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Runs a command inside an image, to its end. The image stage uses it to compile a std; an engine
/// provides it.
pub trait Runner {
    /// Runs `command` in `image` with no network; its output is only seen if it fails.
    ///
    /// # Errors
    /// If it can't be started or ends with a status other than 0; the error carries the command line,
    /// the status and the end of the output.
    fn run(
        &self,
        image: &Image,
        command: &Command,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}
