//! A Dockerfile built by docker or podman: whatever it runs, its bases are pinned by digest.
//!
//! What comes out is pinned by the lock, but nobody can promise to get it again: the lock says so, and
//! whoever verifies is told.

mod pins;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use keyway_manifest::Digest;
use keyway_manifest::text::Show as _;
use serde::Deserialize;
use tar::Archive;
use thiserror::Error;

pub use self::pins::check;
use super::ready::{self, Configuration};
use crate::container::Layer;
use crate::failure::{Diagnose, Exit};

/// The programs that are tried, in order.
const BUILDERS: [&str; 2] = ["docker", "podman"];

/// Why a Dockerfile can't be built.
#[derive(Debug, Error)]
pub enum DockerfileError {
    /// It can't be read.
    #[error("could not read `{path}`", path = .path.shown())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An image that it names may be another one tomorrow.
    #[error("`{path}`, line {line}: {named} `{base}` is not pinned by digest", path = .path.shown())]
    Unpinned {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What it is named for.
        named: Named,
        /// The image; of a base, arguments are put in.
        base: String,
    },
    /// A file that it adds may be another one tomorrow.
    #[error("`{path}`, line {line}: `ADD` of `{url}` has no `--checksum`", path = .path.shown())]
    Unchecked {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The address.
        url: String,
    },
    /// It has no base at all.
    #[error("`{path}` has no `FROM`", path = .path.shown())]
    NoBase {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to build with.
    #[error("`{path}` needs docker or podman to be built, and neither is there", path = .path.shown())]
    NoBuilder {
        /// The file.
        path: PathBuf,
    },
    /// Building failed.
    #[error("`{command}` failed{}", tail(said))]
    Build {
        /// The command.
        command: String,
        /// What it said.
        said: String,
    },
    /// What was built can't be taken over.
    #[error("could not take over what `{path}` was built to: {problem}", path = .path.shown())]
    Save {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

/// What a Dockerfile names something for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// `FROM`: what a stage is built on.
    Base,
    /// `--from`, `from=`: what files are taken from.
    Source,
    /// `# syntax=`: what reads the file.
    Frontend,
    /// `ADD`: what is fetched.
    Address,
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Base => "the base",
            Self::Source => "the image",
            Self::Frontend => "the frontend",
            Self::Address => "the address",
        })
    }
}

fn tail(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(20)).map(|line| format!("\n  | {line}")).collect()
}

impl Diagnose for DockerfileError {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. }
            | Self::Unpinned { .. }
            | Self::Unchecked { .. }
            | Self::NoBase { .. } => Exit::Usage,
            Self::Build { .. } => Exit::Failed,
            Self::NoBuilder { .. } | Self::Save { .. } => Exit::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unpinned { named: Named::Frontend, base, .. } => Some(format!(
                "leave the line out, and the builder's own frontend reads the file; or write \
                 `# syntax={base}@sha256:…`"
            )),
            Self::Unpinned { base, .. } if base.contains('$') => {
                Some("write the image out, with its digest: a variable pins nothing here".into())
            }
            Self::Unchecked { url, .. } => Some(format!(
                "write `ADD --checksum=sha256:… {url}`, or fetch it by `[[fetch]]` in a recipe of its own"
            )),
            Self::Unpinned { base, .. } => Some(format!(
                "write `{base}@sha256:…`; a recipe with `reference = \"HOST/{base}\"` says which digest it \
                 has, as does `docker buildx imagetools inspect {base}`"
            )),
            Self::NoBuilder { .. } => Some("install one, or use an image by `reference`".into()),
            _ => None,
        }
    }
}

/// An image that a Dockerfile was built to, its layers in the store.
pub(super) struct Built {
    pub(super) config: Configuration,
    pub(super) layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Saved {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// Builds a Dockerfile with its folder as the context, and takes its layers into the store.
///
/// # Errors
/// If a base is not pinned, nothing can build it, or it does not build.
pub(super) fn build(
    path: &Path,
    limit: u64,
    scratch: &Path,
    store: &Path,
) -> Result<Built, DockerfileError> {
    let read = |source| DockerfileError::Read { path: path.to_owned(), source };
    check(path, &fs::read_to_string(path).map_err(read)?)?;
    let folder = tempfile::Builder::new().prefix("run-").tempdir_in(scratch).map_err(read)?;
    let id = folder.path().join("id");
    let builder = run_builder(path, &id)?;
    let id = fs::read_to_string(&id).map_err(read)?;
    let archive = folder.path().join("image.tar");
    let save = ["save", "--output", &archive.to_string_lossy(), id.trim()].map(str::to_owned);
    client(builder, &save)?;
    let problem = |problem: String| DockerfileError::Save { path: path.to_owned(), problem };
    take(&archive, limit, scratch, store).map_err(problem)
}

/// Runs the first builder that is there.
fn run_builder(path: &Path, id: &Path) -> Result<&'static str, DockerfileError> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let context = path.parent().unwrap_or(Path::new("."));
    let mut arguments = ["build", "--quiet", "--network", "default"].map(str::to_owned).to_vec();
    arguments.extend(["--iidfile".into(), text(id), "--file".into(), text(path), text(context)]);
    for builder in BUILDERS {
        let there = duct::cmd!(builder, "version").stdout_null().stderr_null().unchecked().run();
        if there.is_ok_and(|output| output.status.success()) {
            client(builder, &arguments)?;
            return Ok(builder);
        }
    }
    Err(DockerfileError::NoBuilder { path: path.to_owned() })
}

fn client(program: &str, arguments: &[String]) -> Result<(), DockerfileError> {
    let run = duct::cmd(program, arguments).stdin_null().stdout_null().stderr_capture();
    let command = || format!("{program} {}", arguments.join(" "));
    let failed = |said: String| DockerfileError::Build { command: command(), said };
    let output = run.unchecked().run().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Takes the layers of a saved image into the store, each checked against the configuration.
fn take(archive: &Path, limit: u64, scratch: &Path, store: &Path) -> Result<Built, String> {
    let text = |error: io::Error| error.to_string();
    let document = |name: &str| -> Result<Vec<u8>, String> {
        let mut archive = Archive::new(File::open(archive).map_err(text)?);
        for entry in archive.entries_with_seek().map_err(text)? {
            let mut entry = entry.map_err(text)?;
            if entry.path_bytes() == name.as_bytes() {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(text)?;
                return Ok(bytes);
            }
        }
        Err(format!("it has no `{name}`"))
    };
    let saved: Vec<Saved> =
        serde_json::from_slice(&document("manifest.json")?).map_err(|error| error.to_string())?;
    let saved = saved.into_iter().next().ok_or("it is empty")?;
    let config = Configuration::parse(&document(&saved.config)?)?;
    let mut found: BTreeMap<Digest, Layer> = BTreeMap::new();
    let mut tars = Archive::new(File::open(archive).map_err(text)?);
    for entry in tars.entries_with_seek().map_err(text)? {
        let entry = entry.map_err(text)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let at = saved.layers.iter().position(|layer| *layer == name);
        if let Some(diff_id) = at.and_then(|at| config.diff_ids.get(at)) {
            let layer = ready::adopt(entry, *diff_id, limit, scratch, store).map_err(text)?;
            let layer =
                layer.map_err(|found| format!("a layer has sha256 {found}, not {diff_id}"))?;
            found.insert(*diff_id, layer);
        }
    }
    let layer = |diff_id: &Digest| {
        found.get(diff_id).cloned().ok_or_else(|| format!("it has no layer {diff_id}"))
    };
    let layers = config.diff_ids.iter().map(layer).collect::<Result<_, _>>()?;
    Ok(Built { config, layers })
}
