//! The plan: everything that a run of `build-plugins` will do, computed before anything is done.
//!
//! A step is one cargo run for one target. It always names every plugin of the workspace, since
//! cargo unifies the features of what one run names: were only the plugin that changed named, its
//! bits would depend on what else was stale. Cargo skips what is fresh, so this costs nothing.
//!
//! An artifact is fresh when its [`Step::key`] and its sources are those of the record that was made
//! with it, and the delivered files are still the ones in the record. Contents decide, never times.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use keyway_manifest::{Digest, Libc, LibcFamily, Toolchain, ToolchainRecord, Triple, canonical};
use serde::{Deserialize, Serialize};

use crate::configuration::{Configuration, Note};
use crate::package_id::PackageId;
use crate::paths::relative;
use crate::placement::{Placement, Shown, WORK};
use crate::targets::Target;
use crate::workspace::{DefaultFeatures, Located, Plugin};

/// Cargo's target folder inside an image.
pub const TARGET: &str = "/target";
/// Cargo's home inside an image.
pub const CARGO: &str = "/cargo";
/// Zig's caches inside an image.
pub const ZIG: &str = "/zig";

/// What the manifests of plugins are; counted up when a newer tool writes other bytes for the same
/// inputs, so that what an older one built is not taken for fresh.
const PIPELINE_VERSION: u32 = 4;

/// Every step, by target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What of the workspace's and the machine's configuration is not honoured, and why.
    pub notes: Vec<Note>,
    /// What builds are shown of this machine.
    pub shown: Vec<Shown>,
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
    /// What the tools on top of it set for a build.
    #[serde(skip)]
    pub env: BTreeMap<String, String>,
    /// What the lock says of the toolchain for each target that the image can build.
    #[serde(skip)]
    pub toolchains: BTreeMap<Triple, ToolchainRecord>,
}

/// What all steps of a run share.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Digest of all manifests, the lock file and cargo's configuration.
    pub manifests: Digest,
    /// SHA-256 of Cargo.lock.
    pub lock: Digest,
    /// The cargo profile.
    pub profile: String,
    /// Where folders of this machine are seen inside.
    pub placement: Placement,
    /// The package of the program that loads plugins, if the workspace can build it.
    pub host: Option<Located>,
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
    /// The workspace's flags for rustc, as an argument for cargo, where the image decides whether they count.
    pub conditional_rustflags: Option<String>,
    /// The build's environment, on top of the image's.
    pub env: BTreeMap<String, String>,
    /// Those of them that the workspace's configuration would force to be others.
    pub forced: BTreeMap<String, String>,
    /// The packages that cargo is told to build: every plugin of the workspace that can be.
    pub packages: Vec<PackageId>,
    /// Cargo's arguments that choose features of these packages.
    pub features: Vec<String>,
    /// The package of the program that loads plugins; no artifact depends on it.
    #[serde(skip)]
    pub host: Option<PackageId>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
    /// Image, toolchain, flags, manifests or lock file are others.
    Configuration,
    /// Another commit was the last one to change its sources, or they differ from it no longer: only the
    /// manifest is another.
    Commit,
    /// Its sources are others.
    Sources,
    /// What was delivered is gone or altered.
    Delivered,
    /// It was not tried on its target since it was built.
    Untried,
}

impl Reason {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forced => "forced",
            Self::New => "not built yet",
            Self::Configuration => "image, toolchain, flags, a Cargo.toml or Cargo.lock changed",
            Self::Commit => "its sources were committed, so its manifest changes",
            Self::Sources => "its sources changed",
            Self::Delivered => "the delivered files are missing or altered",
            Self::Untried => "not loaded on its target yet",
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
    /// The commit that was checked out then.
    pub head: Option<String>,
    /// The commit in the manifest.
    pub commit: Option<String>,
    /// Whether the manifest says that the sources differ from it.
    pub dirty: Option<bool>,
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
        let conditional_rustflags = inputs.configuration.conditional_rustflags(&target.triple);
        let mut env = environment(target, image, toolchain.hash);
        env.extend(inputs.configuration.overridden.clone());
        let declared = plugins.iter().flat_map(|plugin| &plugin.apple_symbols);
        let declared = declared.map(|symbol| format!("{}:{}", symbol.library, symbol.name));
        let declared: BTreeSet<String> = declared.collect();
        if target.spec.stubs.is_some() && !declared.is_empty() {
            // All plugins are linked in one run of cargo; the linker adds them to its stubs.
            let declared: Vec<_> = declared.into_iter().collect();
            env.insert("KEYWAY_APPLE_SYMBOLS".to_owned(), declared.join(" "));
        }
        let placement = &inputs.placement;
        let inside = |folder: &Path| placement.inside(&relative(&placement.root, folder));
        let forced = inputs.configuration.variables.join(&target.triple, &mut env, inside);
        let packages: Vec<PackageId> =
            plugins.iter().map(|plugin| inputs.placement.plugin(plugin)).collect();
        let features = features(plugins);
        let key = canonical::compact(&serde_json::json!({
            "pipeline": PIPELINE_VERSION,
            "target": target,
            "image": image,
            "toolchain": toolchain.hash,
            "profile": inputs.profile,
            "rustflags": rustflags,
            "env": env,
            "forced": forced,
            "packages": packages,
            "features": features,
            "manifests": inputs.manifests,
        }))
        .expect("strings, digests and integers are always JSON");
        Self {
            target: target.clone(),
            image: image.clone(),
            toolchain,
            profile: inputs.profile.clone(),
            rustflags,
            conditional_rustflags,
            env,
            forced,
            packages,
            features,
            host: inputs.host.as_ref().map(|host| inputs.placement.package(host)),
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

    /// The package of a plugin that it builds.
    pub fn package(&self, plugin: &str) -> Option<&PackageId> {
        self.packages.iter().find(|package| package.name() == plugin)
    }

    /// Whether nothing has to be built.
    pub fn is_fresh(&self) -> bool {
        self.artifacts.iter().all(|wanted| wanted.state == Freshness::Fresh)
    }

    /// Whether cargo has to run.
    pub fn needs_cargo(&self) -> bool {
        let is_compiled = |state| matches!(state, Freshness::Stale(why) if why != Reason::Commit);
        self.artifacts.iter().any(|wanted| is_compiled(wanted.state))
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
        package: &PackageId,
        program: &str,
        n_jobs: Option<usize>,
    ) -> Vec<String> {
        let mut argv = self.cargo_command("build", n_jobs);
        argv.extend(["--package", package.as_str(), "--bin", program].map(str::to_owned));
        argv
    }

    /// Cargo's arguments that name every plugin and its features.
    fn plugins(&self) -> impl Iterator<Item = String> {
        let packages = self.packages.iter();
        let packages = packages.flat_map(|id| ["--package".to_owned(), id.to_string()]);
        self.features.iter().cloned().chain(packages)
    }

    fn cargo_command(&self, command: &str, n_jobs: Option<usize>) -> Vec<String> {
        let mut argv = ["cargo", command, "--offline", "--locked"].map(str::to_owned).to_vec();
        argv.extend(["--profile".into(), self.profile.clone()]);
        argv.extend(["--target".into(), self.target.triple.to_string()]);
        argv.extend(n_jobs.into_iter().flat_map(|n| ["--jobs".into(), n.to_string()]));
        argv.extend(["--message-format".into(), "json-diagnostic-rendered-ansi".into()]);
        argv.extend(["--config".into(), format!("{CARGO}/{}", crate::vendor::CONFIG)]);
        for (name, value) in &self.forced {
            let [name, value] = [name, value].map(|text| toml::Value::from(text.as_str()));
            // Cargo takes no table here; what the workspace says of each key is replaced.
            let keys = [format!("value={value}"), "force=true".into(), "relative=false".into()];
            let forced = keys.map(|key| format!("env.{name}.{key}"));
            argv.extend(forced.into_iter().flat_map(|forced| ["--config".into(), forced]));
        }
        let flags = serde_json::to_string(&self.rustflags).expect("strings are JSON");
        argv.extend([
            "--config".into(),
            format!("target.{}.rustflags={flags}", self.target.triple),
        ]);
        let conditional = self.conditional_rustflags.iter();
        argv.extend(conditional.flat_map(|flags| ["--config".to_owned(), flags.clone()]));
        argv
    }
}

/// The target's own flags, and those that keep paths out of what is built: panics name files by
/// where they lie inside the image, which says nothing to whoever reads the message.
fn rustflags(target: &Target, inputs: &Inputs) -> Vec<String> {
    let mut flags = target.spec.rustflags.clone();
    flags.extend(inputs.configuration.rustflags(&target.triple));
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
        flags.push(format!(
            "--remap-path-prefix={}/={}/",
            shown.guest.to_string_lossy(),
            name.to_string_lossy()
        ));
    }
    if work != Path::new(WORK) {
        flags.push(format!("--remap-path-prefix={}/=", work.to_string_lossy()));
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
    env.extend(image.env.clone());
    env.extend(spec.env.clone());
    env
}

impl Freshness {
    /// Compares an artifact's record with what a build would be made from. `delivered` is only asked if
    /// all that is cheaper agrees.
    ///
    /// # Errors
    /// Those of `delivered`.
    pub fn judge<E>(
        record: &Record,
        key: Digest,
        sources: Digest,
        delivered: impl FnOnce() -> Result<bool, E>,
    ) -> Result<Self, E> {
        Ok(if record.key != key {
            Self::Stale(Reason::Configuration)
        } else if sources != record.sources {
            Self::Stale(Reason::Sources)
        } else if !delivered()? {
            Self::Stale(Reason::Delivered)
        } else {
            Self::Fresh
        })
    }
}

#[cfg(test)]
mod tests;
