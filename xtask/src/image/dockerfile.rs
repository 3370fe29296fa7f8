//! A Dockerfile built by docker or podman: whatever it runs, its bases are pinned by digest.
//!
//! What comes out is pinned by the lock, but nobody can promise to get it again: the lock says so, and
//! whoever verifies is told.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use keyway_manifest::Digest;
use serde::Deserialize;
use tar::Archive;
use thiserror::Error;

use super::ready::{self, Configuration};
use crate::container::Layer;
use crate::failure::{Diagnose, Exit};

/// The programs that are tried, in order.
const BUILDERS: [&str; 2] = ["docker", "podman"];

/// Why a Dockerfile can't be built.
#[derive(Debug, Error)]
pub enum DockerfileError {
    /// It can't be read.
    #[error("could not read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A base may be another image tomorrow.
    #[error("`{path}`, line {line}: the base `{base}` is not pinned by digest")]
    Unpinned {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The base, its arguments put in.
        base: String,
    },
    /// It has no base at all.
    #[error("`{path}` has no `FROM`")]
    NoBase {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to build with.
    #[error("`{path}` needs docker or podman to be built, and neither is there")]
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
    #[error("could not take over what `{path}` was built to: {problem}")]
    Save {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

fn tail(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(20)).map(|line| format!("\n  | {line}")).collect()
}

impl Diagnose for DockerfileError {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } | Self::Unpinned { .. } | Self::NoBase { .. } => Exit::Usage,
            Self::Build { .. } => Exit::Failed,
            Self::NoBuilder { .. } | Self::Save { .. } => Exit::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unpinned { base, .. } => Some(format!(
                "write `{base}@sha256:…`; a recipe with `reference = \"HOST/{base}\"` says which digest it \
                 has, as does `docker buildx imagetools inspect {base}`"
            )),
            Self::NoBuilder { .. } => Some("install one, or use an image by `reference`".into()),
            _ => None,
        }
    }
}

/// Checks that every base is an image by digest, `scratch`, or an earlier stage.
///
/// # Errors
/// The first base that is not.
pub fn check(path: &Path, text: &str) -> Result<(), DockerfileError> {
    let mut arguments: BTreeMap<String, String> = BTreeMap::new();
    let mut stages: Vec<String> = Vec::new();
    let mut bases = 0;
    for (line, instruction) in instructions(text) {
        let mut words = instruction.split_whitespace();
        match words.next().map(str::to_ascii_uppercase).as_deref() {
            Some("ARG") if bases == 0 => {
                for argument in words {
                    let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
                    arguments.insert(name.to_owned(), value.trim_matches(['"', '\'']).to_owned());
                }
            }
            Some("FROM") => {
                bases += 1;
                let words: Vec<&str> = words.filter(|word| !word.starts_with("--")).collect();
                let base = expand(words.first().copied().unwrap_or_default(), &arguments);
                let known = stages.iter().any(|stage| stage.eq_ignore_ascii_case(&base));
                if !known && base != "scratch" && !is_pinned(&base) {
                    return Err(DockerfileError::Unpinned { path: path.to_owned(), line, base });
                }
                if let [_, "as" | "AS" | "As", stage] = words[..] {
                    stages.push(stage.to_owned());
                }
            }
            // An image may also be named where files are copied from.
            Some("COPY" | "ADD" | "RUN") => {
                for base in words.filter_map(copied_from) {
                    let base = expand(base, &arguments);
                    let stage = base.parse::<usize>().is_ok()
                        || stages.iter().any(|stage| stage.eq_ignore_ascii_case(&base));
                    if !stage && !is_pinned(&base) {
                        return Err(DockerfileError::Unpinned {
                            path: path.to_owned(),
                            line,
                            base,
                        });
                    }
                }
            }
            _ => {}
        }
    }
    if bases == 0 { Err(DockerfileError::NoBase { path: path.to_owned() }) } else { Ok(()) }
}

/// `x` of `--from=x` and of `--mount=type=bind,from=x`.
fn copied_from(word: &str) -> Option<&str> {
    let options = word.strip_prefix("--mount=");
    options.map_or_else(
        || word.strip_prefix("--from="),
        |options| options.split(',').find_map(|option| option.strip_prefix("from=")),
    )
}

fn is_pinned(base: &str) -> bool {
    let digest = base.split_once("@sha256:").map(|(_, hex)| hex.parse::<Digest>());
    digest.is_some_and(|digest| digest.is_ok())
}

/// Instructions with the number of their first line, comments left out and continued lines joined.
fn instructions(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match found.last_mut().filter(|_| open) {
            Some((_, instruction)) => *instruction = format!("{instruction} {part}"),
            None => found.push((at + 1, part.to_owned())),
        }
        open = goes_on;
    }
    found
}

/// Puts the arguments before the first `FROM` in: `$NAME`, `${NAME}`, `${NAME:-default}`.
fn expand(text: &str, arguments: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, default, after) = match rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
            Some((inside, after)) => {
                let (name, default) = inside.split_once(":-").unwrap_or((inside, ""));
                (name, default, after)
            }
            None => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
                (name, "", after)
            }
        };
        let value = arguments.get(name).map(String::as_str).filter(|value| !value.is_empty());
        out.push_str(value.unwrap_or(default));
        rest = after;
    }
    out + rest
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
