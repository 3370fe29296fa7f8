//! The state of a workspace before a run: what there is to build from, what was delivered, and so
//! the plan. It reads; it changes nothing but the stat cache.

use std::path::{Path, PathBuf};

use keyway_manifest::{Digest, Source, Triple};
use thiserror::Error;

use crate::cache::CacheError;
use crate::configuration::{self, Configuration};
use crate::dist::{Entry, Index};
use crate::failure::{Diagnose, Exit};
use crate::image::{ImageError, Images};
use crate::inputs::{InputError, StatCache, Tree};
use crate::placement::Placement;
use crate::plan::{Freshness, Inputs, LeftOut, PinnedImage, Plan, Reason, Step};
use crate::records::Records;
use crate::source;
use crate::targets::Target;
use crate::workspace::{Plugin, PluginSet, Workspace, WorkspaceError};

/// What a run begins from.
#[derive(Debug)]
pub struct Survey<'a> {
    workspace: &'a Workspace,
    images: &'a Images,
    tree: Tree,
    stat: StatCache,
    /// What all steps share.
    pub inputs: Inputs,
    /// The plugins of the workspace.
    pub plugins: PluginSet,
    /// What is remembered of delivered artifacts.
    pub records: Records,
    /// What was delivered.
    pub index: Index,
}

/// Whether what is fresh is built again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuild {
    /// Only what is stale.
    Stale,
    /// Everything that was asked for.
    All,
}

/// Why there is no plan.
#[derive(Debug, Error)]
pub enum SurveyError {
    /// The workspace can't be built.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// A file can't be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A lock can't be used.
    #[error("no image for target `{target}`")]
    Image {
        /// The target.
        target: Triple,
        /// Why.
        source: Box<ImageError>,
    },
    /// An image's lock has no toolchain for a target.
    #[error("image `{image}` can't build for `{target}`: its lock has no toolchain for it")]
    NoToolchain {
        /// The image.
        image: String,
        /// The target.
        target: Triple,
    },
    /// A plugin's Cargo.toml says that it can't be built for any target that was asked for.
    #[error("plugin `{plugin}` can't be built for `{target}`: {reason}")]
    Unsupported {
        /// The plugin.
        plugin: String,
        /// One of the targets.
        target: Triple,
        /// Why.
        reason: String,
    },
    /// The stat cache can't be written.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Diagnose for SurveyError {
    fn exit(&self) -> Exit {
        match self {
            Self::Workspace(error) => error.exit(),
            Self::Input(error) => error.exit(),
            Self::Image { source, .. } => source.exit(),
            Self::NoToolchain { .. } | Self::Unsupported { .. } => Exit::Usage,
            Self::Cache(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Workspace(error) => error.hint(),
            Self::Input(error) => error.hint(),
            Self::Image { source, .. } => source.hint(),
            Self::NoToolchain { image, target } => Some(format!(
                "give `docker/{image}.toml` a `[[std]]` for `{target}`, then run `cargo xtask images lock {image}`"
            )),
            Self::Unsupported { .. } => Some(
                "ask for other targets; `unsupported` in the plugin's Cargo.toml lists those"
                    .into(),
            ),
            Self::Cache(error) => error.hint(),
        }
    }
}

impl<'a> Survey<'a> {
    /// Looks at the workspace as it is now.
    ///
    /// # Errors
    /// If a file can't be read or cargo can't answer.
    pub fn take(
        workspace: &'a Workspace,
        images: &'a Images,
        profile: &str,
    ) -> Result<Self, SurveyError> {
        let mut stat = StatCache::open(workspace.state_dir().join("stat.json"));
        let (tree, manifests, plugins) = look(workspace, &mut stat)?;
        let placement = Placement::new(workspace.root(), &plugins.outside);
        let configuration = Configuration::read(workspace.root(), |file| placement.shows(file));
        let inputs = Inputs {
            manifests,
            lock: stat.digest(&workspace.lock_file()?)?,
            commit: source::commit(workspace.root()),
            profile: profile.to_owned(),
            placement,
            configuration,
        };
        let records = Records::open(workspace);
        let index = Index::read(&workspace.dist_dir());
        Ok(Self { workspace, images, tree, stat, inputs, plugins, records, index })
    }

    /// What has to be done to deliver `plugins` for `targets`.
    ///
    /// # Errors
    /// If an image has no lock or can't build for its target, nothing that was asked for can be
    /// built, or a file can't be read.
    pub fn plan(
        &mut self,
        targets: &[&Target],
        plugins: &[String],
        rebuild: Rebuild,
    ) -> Result<Plan, SurveyError> {
        let mut steps = Vec::new();
        let mut left_out = Vec::new();
        let mut notes = self.inputs.configuration.notes.clone();
        let channel = configuration::channel(self.workspace.root());
        for target in targets {
            let (wanted, unsupported): (Vec<_>, Vec<_>) = self
                .plugins
                .select(plugins)?
                .into_iter()
                .partition(|plugin| plugin.obstacle(&target.triple).is_none());
            left_out.extend(unsupported.into_iter().filter_map(|plugin| {
                let reason = plugin.obstacle(&target.triple)?.to_owned();
                Some(LeftOut { target: target.triple.clone(), plugin: plugin.name.clone(), reason })
            }));
            if wanted.is_empty() {
                continue;
            }
            let image = self.image(target)?;
            let record =
                image.toolchains.get(&target.triple).ok_or_else(|| SurveyError::NoToolchain {
                    image: image.name.clone(),
                    target: target.triple.clone(),
                })?;
            if let Some(channel) = &channel {
                notes.extend(channel.note(&record.rustc.release));
            }
            let can_be = |plugin: &&Plugin| plugin.obstacle(&target.triple).is_none();
            let all: Vec<Plugin> = self.plugins.plugins.iter().filter(can_be).cloned().collect();
            let mut step = Step::new(target, &image, record, &all, &wanted, &self.inputs);
            for artifact in &mut step.artifacts {
                artifact.state = match rebuild {
                    Rebuild::All => Freshness::Stale(Reason::Forced),
                    Rebuild::Stale => self.judge(&target.triple, step.key, &artifact.plugin)?,
                };
            }
            steps.push(step);
        }
        self.stat.save()?;
        notes.dedup();
        let plan = Plan { notes, steps, left_out };
        match missing(&plan, plugins).cloned() {
            None => Ok(plan),
            Some(LeftOut { target, plugin, reason }) => {
                Err(SurveyError::Unsupported { plugin, target, reason })
            }
        }
    }

    /// Whether something delivered is of a plugin that the workspace no longer has, or no longer builds
    /// for that target.
    pub fn is_obsolete(&self, entry: &Entry) -> bool {
        let plugin = self.plugins.plugins.iter().find(|plugin| plugin.name == entry.plugin);
        plugin.is_none_or(|plugin| plugin.obstacle(&entry.target).is_some())
    }

    /// The digest of a plugin's sources; `extra` are files beyond its folders that its build read.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn sources(&mut self, plugin: &Plugin, extra: &[PathBuf]) -> Result<Digest, SurveyError> {
        Ok(self.tree.sources(&plugin.folders, extra, &mut self.stat)?)
    }

    /// The sources of a plugin as its manifest records them.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn source(&mut self, plugin: &Plugin, extra: &[PathBuf]) -> Result<Source, SurveyError> {
        let folders = plugin.folders.iter().map(PathBuf::as_path);
        let files = extra.iter().map(PathBuf::as_path);
        Ok(Source {
            commit: self.inputs.commit.clone(),
            dirty: self.inputs.commit.is_some()
                && source::is_dirty(self.workspace.root(), folders.chain(files)),
            tree: self.sources(plugin, extra)?,
            lock: self.inputs.lock,
        })
    }

    fn image(&self, target: &Target) -> Result<PinnedImage, SurveyError> {
        let lock = self.images.locked(&target.spec.image).map_err(|source| SurveyError::Image {
            target: target.triple.clone(),
            source: Box::new(source),
        })?;
        let toolchains = lock.toolchains.into_iter();
        Ok(PinnedImage {
            name: lock.image,
            config: lock.config,
            manifest: lock.manifest,
            epoch: lock.epoch,
            toolchains: toolchains.map(|t| (t.record.target.clone(), t.record)).collect(),
        })
    }

    fn judge(
        &mut self,
        target: &Triple,
        key: Digest,
        plugin: &Plugin,
    ) -> Result<Freshness, SurveyError> {
        let dist = self.workspace.dist_dir();
        let entry = self.index.find(target, &plugin.name).cloned();
        let record = self.records.get(target, &plugin.name).cloned();
        let Self { tree, stat, .. } = self;
        let stat = std::cell::RefCell::new(stat);
        let judged = Freshness::judge(
            record.as_ref(),
            key,
            |record| tree.sources(&plugin.folders, &record.extra, &mut stat.borrow_mut()),
            |record| {
                let Some(entry) = &entry else { return Ok(false) };
                let is = |relative: &str, expected: Digest| {
                    let found = digest_if_there(&dist.join(relative), &mut stat.borrow_mut());
                    found.map(|found| found == Some(expected))
                };
                Ok(is(&entry.library, record.library)? && is(&entry.manifest, record.manifest)?)
            },
        );
        Ok(judged.map_err(|error: InputError| error)?)
    }
}

/// The files of the workspace and of what it needs outside, the digest of all manifests, and the plugins.
/// Cargo is only asked when its answer may have changed.
fn look(
    workspace: &Workspace,
    stat: &mut StatCache,
) -> Result<(Tree, Digest, PluginSet), SurveyError> {
    let mut tree = Tree::walk(workspace.root())?;
    let add = |tree: &mut Tree, set: &PluginSet| {
        let mut there = set.outside.iter().filter(|outside| outside.folder.is_dir());
        there.try_for_each(|outside| tree.add(&outside.folder))
    };
    let remembered = workspace.remembered();
    if let Some(known) = &remembered {
        add(&mut tree, &known.set)?;
    }
    let manifests = tree.manifests(stat)?;
    if let Some(known) = remembered.filter(|known| known.manifests == manifests) {
        return Ok((tree, manifests, known.set));
    }
    let set = workspace.plugins()?;
    add(&mut tree, &set)?;
    let manifests = tree.manifests(stat)?;
    workspace.remember(manifests, &set)?;
    Ok((tree, manifests, set))
}

/// What was asked for and comes of no step: each plugin that was named must, and of all any.
fn missing<'a>(plan: &'a Plan, named: &[String]) -> Option<&'a LeftOut> {
    let artifacts = || plan.steps.iter().flat_map(|step| &step.artifacts);
    let is_built = |left: &LeftOut| artifacts().any(|wanted| wanted.plugin.name == left.plugin);
    let mut left_out = plan.left_out.iter();
    left_out.find(|left| if named.is_empty() { plan.steps.is_empty() } else { !is_built(left) })
}

/// The digest of a file that may be gone.
fn digest_if_there(path: &Path, stat: &mut StatCache) -> Result<Option<Digest>, InputError> {
    if path.is_file() { stat.digest(path).map(Some) } else { Ok(None) }
}
