//! The plan: everything that a run of `build-plugins` will do, computed before anything is done.
//!
//! A step is one cargo run for one target. It always names every plugin of the workspace, since
//! cargo unifies the features of what one run names: were only the plugin that changed named, its
//! bits would depend on what else was stale. Cargo skips what is fresh, so this costs nothing.
//!
//! An artifact is fresh when its [`Step::key`] and its sources are those of the record that was made
//! with it, and the delivered files are still the ones in the record. Contents decide, never times.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keyway_manifest::{Digest, Libc, LibcFamily, Toolchain, ToolchainRecord, Triple, canonical};
use serde::{Deserialize, Serialize};

use crate::configuration::{Configuration, Note};
use crate::paths::relative;
use crate::placement::{Placement, WORK};
use crate::targets::Target;
use crate::workspace::{DefaultFeatures, Plugin};

/// Cargo's target folder inside an image.
pub const TARGET: &str = "/target";
/// Cargo's home inside an image.
pub const CARGO: &str = "/cargo";
/// Zig's caches inside an image.
pub const ZIG: &str = "/zig";

/// What the manifests of plugins are; counted up when a newer tool writes other bytes for the same
/// inputs, so that what an older one built is not taken for fresh.
const PIPELINE_VERSION: u32 = 2;

/// Every step, by target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What of the workspace's and the machine's configuration is not honoured, and why.
    pub notes: Vec<Note>,
    /// The steps; none for a target that no plugin can be built for.
    pub steps: Vec<Step>,
    /// What was asked for and can't be built.
    pub left_out: Vec<LeftOut>,
}

/// A plugin whose Cargo.toml says that it can't be built for a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The target.
    pub target: Triple,
    /// The plugin.
    pub plugin: String,
    /// Why.
    pub reason: String,
}

/// An image as its lock pins it, known without the image being there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PinnedImage {
    /// The recipe's name.
    pub name: String,
    /// Digest of its config document.
    pub config: Digest,
    /// Digest of its OCI manifest.
    pub manifest: Digest,
    /// Seconds since 1970; `SOURCE_DATE_EPOCH` of builds.
    pub epoch: u64,
    /// What the lock says of the toolchain for each target that the image can build.
    #[serde(skip)]
    pub toolchains: BTreeMap<Triple, ToolchainRecord>,
}

/// What all steps of a run share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// Digest of all manifests, the lock file and cargo's configuration.
    pub manifests: Digest,
    /// SHA-256 of Cargo.lock.
    pub lock: Digest,
    /// The git commit, where there is one.
    pub commit: Option<String>,
    /// The cargo profile.
    pub profile: String,
    /// Where folders of this machine are seen inside.
    pub placement: Placement,
    /// What cargo is configured to do.
    pub configuration: Configuration,
}

/// One cargo run for one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it builds for.
    pub target: Target,
    /// What it builds in.
    pub image: PinnedImage,
    /// The toolchain whose hash goes into the stamps.
    pub toolchain: Toolchain,
    /// The cargo profile.
    pub profile: String,
    /// Arguments for rustc.
    pub rustflags: Vec<String>,
    /// The build's environment, on top of the image's.
    pub env: BTreeMap<String, String>,
    /// The packages that cargo is told to build: every plugin of the workspace that can be.
    pub packages: Vec<String>,
    /// Cargo's arguments that choose features of these packages.
    pub features: Vec<String>,
    /// The artifacts that were asked for.
    pub artifacts: Vec<Wanted>,
    /// Digest of all of the above but the sources.
    pub key: Digest,
}

/// One artifact that a step is to deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// The plugin.
    pub plugin: Plugin,
    /// Whether it has to be built, and why.
    pub state: Freshness,
}

/// Whether an artifact has to be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "why")]
pub enum Freshness {
    /// What was delivered is what a build would deliver.
    Fresh,
    /// It has to be built.
    Stale(Reason),
}

/// Why an artifact has to be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The user said `--force`.
    Forced,
    /// It was never built here.
    New,
    /// Image, toolchain, flags, manifests, lock file or commit are others.
    Configuration,
    /// Its sources are others.
    Sources,
    /// What was delivered is gone or altered.
    Delivered,
}

impl Reason {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forced => "forced",
            Self::New => "not built yet",
            Self::Configuration => {
                "image, toolchain, flags, a Cargo.toml, Cargo.lock or the commit changed"
            }
            Self::Sources => "its sources changed",
            Self::Delivered => "the delivered files are missing or altered",
        }
    }
}

/// What is remembered of a delivered artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The step's key when it was built.
    pub key: Digest,
    /// Digest of its sources.
    pub sources: Digest,
    /// Files beyond its folders that the build read, relative to the root.
    pub extra: Vec<PathBuf>,
    /// Digest of the library.
    pub library: Digest,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Whether it has since been loaded and called on its target.
    #[serde(default)]
    pub run: bool,
    /// Whether it has since been built again from nothing, with the same bytes.
    #[serde(default)]
    pub reproduced: bool,
}

impl Step {
    /// The step that builds `plugins` for `target`; every artifact is [`Reason::New`] until it is
    /// compared with its record.
    pub fn new(
        target: &Target,
        image: &PinnedImage,
        toolchain: &ToolchainRecord,
        plugins: &[Plugin],
        wanted: &[&Plugin],
        inputs: &Inputs,
    ) -> Self {
        let toolchain = Toolchain::from(toolchain.clone());
        let rustflags = rustflags(target, inputs);
        let mut env = environment(target, image, toolchain.hash);
        env.extend(inputs.configuration.overridden.clone());
        let packages: Vec<String> = plugins.iter().map(|plugin| plugin.name.clone()).collect();
        let features = features(plugins);
        let key = canonical::compact(&serde_json::json!({
            "pipeline": PIPELINE_VERSION,
            "target": target,
            "image": image,
            "toolchain": toolchain.hash,
            "profile": inputs.profile,
            "rustflags": rustflags,
            "env": env,
            "packages": packages,
            "features": features,
            "manifests": inputs.manifests,
            "commit": inputs.commit,
        }))
        .expect("strings, digests and integers are always JSON");
        Self {
            target: target.clone(),
            image: image.clone(),
            toolchain,
            profile: inputs.profile.clone(),
            rustflags,
            env,
            packages,
            features,
            artifacts: wanted
                .iter()
                .map(|plugin| Wanted {
                    plugin: (*plugin).clone(),
                    state: Freshness::Stale(Reason::New),
                })
                .collect(),
            key: Digest::of(key),
        }
    }

    /// Whether nothing has to be built.
    pub fn is_fresh(&self) -> bool {
        self.artifacts.iter().all(|wanted| wanted.state == Freshness::Fresh)
    }

    /// The cargo command line that the step runs inside its image.
    /// Cargo takes its jobs from a jobserver unless their number is given.
    pub fn cargo(&self, n_jobs: Option<usize>) -> Vec<String> {
        let mut argv = self.cargo_command("build", n_jobs);
        argv.extend(["--keep-going".into(), "--lib".into()]);
        argv.extend(self.plugins());
        argv
    }

    /// The cargo command line that builds the plugins' unit tests and runs none.
    pub fn cargo_tests(&self, n_jobs: Option<usize>) -> Vec<String> {
        let mut argv = self.cargo_command("test", n_jobs);
        // What compiles is tested, whatever else does not.
        argv.extend(["--no-run", "--no-fail-fast", "--lib"].map(str::to_owned));
        argv.extend(self.plugins());
        argv
    }

    /// The cargo command line for a program of the workspace, with the step's toolchain and flags.
    pub fn cargo_program(
        &self,
        package: &str,
        program: &str,
        n_jobs: Option<usize>,
    ) -> Vec<String> {
        let mut argv = self.cargo_command("build", n_jobs);
        argv.extend(["--package", package, "--bin", program].map(str::to_owned));
        argv
    }

    /// Cargo's arguments that name every plugin and its features.
    fn plugins(&self) -> impl Iterator<Item = String> {
        let packages = self.packages.iter();
        let packages = packages.flat_map(|name| ["--package".to_owned(), name.clone()]);
        self.features.iter().cloned().chain(packages)
    }

    fn cargo_command(&self, command: &str, n_jobs: Option<usize>) -> Vec<String> {
        let mut argv = ["cargo", command, "--offline", "--locked"].map(str::to_owned).to_vec();
        argv.extend(["--profile".into(), self.profile.clone()]);
        argv.extend(["--target".into(), self.target.triple.to_string()]);
        argv.extend(n_jobs.into_iter().flat_map(|n| ["--jobs".into(), n.to_string()]));
        argv.extend(["--message-format".into(), "json-diagnostic-rendered-ansi".into()]);
        argv.extend(["--config".into(), format!("{CARGO}/{}", crate::vendor::CONFIG)]);
        let flags = serde_json::to_string(&self.rustflags).expect("strings are JSON");
        argv.extend([
            "--config".into(),
            format!("target.{}.rustflags={flags}", self.target.triple),
        ]);
        argv
    }
}

/// The target's own flags, and those that keep paths out of what is built: panics name files by
/// where they lie inside the image, which says nothing to whoever reads the message.
fn rustflags(target: &Target, inputs: &Inputs) -> Vec<String> {
    let mut flags = target.spec.rustflags.clone();
    flags.extend(inputs.configuration.rustflags(&target.triple).iter().cloned());
    flags.push(format!("--remap-path-prefix={CARGO}/vendor/=crates/"));
    flags.push(format!("--remap-path-prefix={WORK}/="));
    flags.push(format!("--remap-path-prefix={TARGET}/=target/"));
    let Placement { work, shown, .. } = &inputs.placement;
    for shown in shown.iter().filter(|shown| shown.guest != *work) {
        // Beside the workspace: the way from there. Elsewhere: its name.
        let name = match shown.guest.starts_with(WORK) {
            true => relative(work, &shown.guest),
            false => shown.guest.file_name().map(PathBuf::from).unwrap_or_default(),
        };
        flags.push(format!("--remap-path-prefix={}/={}/", shown.guest.display(), name.display()));
    }
    if work != Path::new(WORK) {
        flags.push(format!("--remap-path-prefix={}/=", work.display()));
    }
    flags
}

/// Cargo's arguments for the features of `plugins`, each as its own manifest has them.
fn features(plugins: &[Plugin]) -> Vec<String> {
    let mut arguments = Vec::new();
    let some_off = plugins.iter().any(|p| p.default_features == DefaultFeatures::Off);
    if some_off {
        // It counts for all packages of a run; the others get theirs back by name.
        arguments.push("--no-default-features".to_owned());
    }
    for plugin in plugins {
        let default = some_off && plugin.default_features == DefaultFeatures::On;
        let default = default.then_some("default");
        for feature in plugin.features.iter().map(String::as_str).chain(default) {
            arguments.extend(["--features".to_owned(), format!("{}/{feature}", plugin.name)]);
        }
    }
    arguments
}

fn environment(
    target: &Target,
    image: &PinnedImage,
    toolchain: Digest,
) -> BTreeMap<String, String> {
    let spec = &target.spec;
    let triple = target.triple.underscored();
    let mut env = BTreeMap::from([
        ("CARGO_HOME".to_owned(), CARGO.to_owned()),
        ("CARGO_INCREMENTAL".to_owned(), "0".to_owned()),
        ("CARGO_TARGET_DIR".to_owned(), TARGET.to_owned()),
        ("CARGO_TERM_COLOR".to_owned(), "never".to_owned()),
        (format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase()), spec.linker.clone()),
        (format!("CC_{triple}"), spec.cc.clone()),
        (format!("AR_{triple}"), spec.ar.clone()),
        ("KEYWAY_TOOLCHAIN_HASH".to_owned(), toolchain.to_string()),
        // A pkg-config that the image has finds what is in the image, so crossing is no danger.
        ("PKG_CONFIG_ALLOW_CROSS".to_owned(), "1".to_owned()),
        ("PKG_CONFIG_ALL_STATIC".to_owned(), "1".to_owned()),
        ("SOURCE_DATE_EPOCH".to_owned(), image.epoch.to_string()),
        ("ZIG_GLOBAL_CACHE_DIR".to_owned(), ZIG.to_owned()),
        ("ZIG_LOCAL_CACHE_DIR".to_owned(), ZIG.to_owned()),
    ]);
    let prefixes = format!(
        "-ffile-prefix-map={CARGO}/vendor/=crates/ -ffile-prefix-map={WORK}/= \
         -ffile-prefix-map={TARGET}/=target/"
    );
    env.insert(format!("CFLAGS_{triple}"), prefixes.clone());
    env.insert(format!("CXXFLAGS_{triple}"), prefixes);
    if let Some(cxx) = &spec.cxx {
        env.insert(format!("CXX_{triple}"), cxx.clone());
    }
    if let Some(Libc { family: LibcFamily::Libsystem, floor: Some(floor) }) = &spec.libc {
        env.insert("MACOSX_DEPLOYMENT_TARGET".to_owned(), floor.to_string());
    }
    env.extend(spec.env.clone());
    env
}

impl Freshness {
    /// Compares an artifact's record with what a build would be made from. `sources` and `delivered`
    /// are only asked for when all that is cheaper agrees.
    ///
    /// # Errors
    /// Those of `sources` and `delivered`.
    pub fn judge<E>(
        record: Option<&Record>,
        key: Digest,
        sources: impl FnOnce(&Record) -> Result<Digest, E>,
        delivered: impl FnOnce(&Record) -> Result<bool, E>,
    ) -> Result<Self, E> {
        let Some(record) = record else {
            return Ok(Self::Stale(Reason::New));
        };
        Ok(if record.key != key {
            Self::Stale(Reason::Configuration)
        } else if sources(record)? != record.sources {
            Self::Stale(Reason::Sources)
        } else if !delivered(record)? {
            Self::Stale(Reason::Delivered)
        } else {
            Self::Fresh
        })
    }
}

#[cfg(test)]
mod tests;
