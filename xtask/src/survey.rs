//! The state of a workspace before a run: what there is to build from, what was delivered, and so
//! the plan. It reads; it changes nothing but the stat cache.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyway_manifest::{Digest, Manifest, Source, Triple};
use thiserror::Error;

use crate::cache::CacheError;
use crate::configuration::{self, Configuration, Note};
use crate::dist::{DistError, Entry, Index};
use crate::failure::{Diagnose, Exit};
use crate::image::{ImageError, Images};
use crate::inputs::{InputError, Look, Snapshot, StatCache, Tree, Watch};
use crate::placement::Placement;
use crate::plan::{Freshness, Inputs, LeftOut, PinnedImage, Plan, Reason, Record, Step};
use crate::records::Records;
use crate::runner;
use crate::source::{self, Doubt, Provenance};
use crate::targets::Target;
use crate::vendor;
use crate::workspace::{Plugin, PluginSet, Purpose, Workspace, WorkspaceError, surroundings};

/// What a run begins from.
#[derive(Debug)]
pub struct Survey<'a> {
    workspace: &'a Workspace,
    images: &'a Images,
    watch: Arc<Watch>,
    snapshot: Arc<Snapshot>,
    /// The commit that is checked out.
    head: Option<String>,
    /// What git said of a plugin's sources, by their paths and content.
    provenances: BTreeMap<Sources, Provenance>,
    /// Whether artifacts were found to be fresh at another commit than the one of their records.
    has_news: bool,
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
    /// That, and what was never tried on its target though it can be.
    Untried,
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
    /// What was delivered can't be told.
    #[error(transparent)]
    Dist(#[from] DistError),
}

impl Diagnose for SurveyError {
    fn exit(&self) -> Exit {
        match self {
            Self::Workspace(error) => error.exit(),
            Self::Input(error) => error.exit(),
            Self::Image { source, .. } => source.exit(),
            Self::NoToolchain { .. } | Self::Unsupported { .. } => Exit::Usage,
            Self::Cache(error) => error.exit(),
            Self::Dist(error) => error.exit(),
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
            Self::Dist(error) => error.hint(),
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
        let (mut tree, manifests, plugins) = look(workspace, &mut stat)?;
        let mut outside = plugins.outside.clone();
        outside.extend(surroundings(workspace.root(), &plugins.outside));
        let placement = Placement::new(workspace.root(), &outside);
        let configuration = Configuration::read(workspace.root(), |file| placement.shows(file));
        let inputs = Inputs {
            manifests,
            lock: stat.digest(&workspace.lock_file()?)?,
            profile: profile.to_owned(),
            placement,
            host: plugins.host.clone(),
            configuration,
        };
        let records = Records::open(workspace);
        let index = Index::read(&workspace.dist_dir())?;
        let root = workspace.root().to_owned();
        // All that a build is shown, which may be more than the packages there.
        let shown = inputs.placement.shown.iter().map(|shown| shown.host.clone());
        let outside: Vec<PathBuf> = shown.filter(|host| *host != root).collect();
        outside.iter().try_for_each(|folder| tree.add(folder))?;
        let watch = Watch::new(root, outside, workspace.outputs(), stat);
        let folders = plugins.plugins.iter().flat_map(|plugin| &plugin.folders);
        let paths = folders.chain(records.beyond()).map(PathBuf::as_path);
        let snapshot = watch.read(tree, paths.collect::<BTreeSet<_>>(), Look::Asked)?;
        let (watch, snapshot) = (Arc::new(watch), Arc::new(snapshot));
        let head = source::head(workspace.root());
        let provenances = BTreeMap::new();
        Ok(Self {
            workspace,
            images,
            watch,
            snapshot,
            head,
            provenances,
            has_news: false,
            inputs,
            plugins,
            records,
            index,
        })
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
        let readers = source::readers::note(&self.workspace.lock_file()?);
        notes.extend(readers.map(|why| Note {
            setting: ".git".to_owned(),
            file: None,
            honoured: false,
            why,
        }));
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
                    Rebuild::Untried => {
                        match self.judge(&target.triple, step.key, &artifact.plugin)? {
                            Freshness::Fresh | Freshness::Stale(Reason::Commit)
                                if self.is_untried(target, &artifact.plugin) =>
                            {
                                Freshness::Stale(Reason::Untried)
                            }
                            other => other,
                        }
                    }
                };
            }
            steps.push(step);
        }
        self.watch.save()?;
        notes.dedup();
        let shown = self.inputs.placement.shown.clone();
        let plan = Plan { notes, shown, steps, left_out };
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

    /// What cargo runs are told of the workspace.
    pub fn ground(&self) -> Ground {
        Ground {
            watch: Arc::clone(&self.watch),
            plugins: self.plugins.clone(),
            placement: self.inputs.placement.clone(),
            lock: self.inputs.lock,
            env: self.inputs.configuration.env.clone(),
        }
    }

    /// Keeps what was found out for a plan, so that it need not be again.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn remember(&mut self) -> Result<(), CacheError> {
        if std::mem::take(&mut self.has_news) { self.records.save() } else { Ok(()) }
    }

    /// What no build is shown of its folders.
    pub fn hidden(&self) -> Vec<PathBuf> {
        self.snapshot.tree().repositories().iter().cloned().collect()
    }

    /// The commit that is checked out.
    pub fn head(&self) -> Option<&String> {
        self.head.as_ref()
    }

    /// What git says of the sources of a plugin in a `snapshot`; `beyond` are those that are in none of
    /// its packages.
    fn provenance(
        &mut self,
        plugin: &Plugin,
        beyond: &[PathBuf],
        snapshot: &Snapshot,
    ) -> Provenance {
        let paths: BTreeSet<PathBuf> = plugin.folders.iter().chain(beyond).cloned().collect();
        let known = (paths, snapshot.sources(plugin.paths(beyond)));
        let root = self.workspace.root();
        let ask = || {
            let files = snapshot.files(plugin.paths(beyond));
            source::provenance(root, plugin.paths(beyond), &files)
        };
        self.provenances.entry(known).or_insert_with(ask).clone()
    }

    /// The sources of a plugin as a manifest records them, and what to say beside: as they were `after`
    /// its build, else as the survey saw them.
    pub fn source(
        &mut self,
        plugin: &Plugin,
        beyond: &[PathBuf],
        after: Option<&Snapshot>,
    ) -> (Source, BTreeSet<Doubt>) {
        let now = Arc::clone(&self.snapshot);
        let snapshot = after.unwrap_or(&now);
        let Provenance { commit, dirty, doubts } = self.provenance(plugin, beyond, snapshot);
        let tree = Some(snapshot.sources(plugin.paths(beyond)));
        (Source { commit, dirty, tree, lock: Some(self.inputs.lock) }, doubts)
    }

    /// Whether a delivered artifact could be loaded on its target here, and was not since it was built.
    fn is_untried(&self, target: &Target, plugin: &Plugin) -> bool {
        let was_run = self.records.get(&target.triple, &plugin.name).is_some_and(|one| one.run);
        // One without a stamp is for another program's loader.
        let has_stamp = || {
            let entry = self.index.find(&target.triple, &plugin.name)?;
            let bytes = fs::read(self.workspace.dist_dir().join(&entry.manifest)).ok()?;
            Some(Manifest::parse(&bytes).ok()?.abi.is_some())
        };
        !was_run && runner::obstacle(target).is_none() && has_stamp() == Some(true)
    }

    /// What to ask for, to have the crates that are needed for a purpose.
    pub fn crates(&self, purpose: Purpose) -> vendor::Request<'_> {
        let Inputs { lock, configuration, .. } = &self.inputs;
        vendor::Request { needs: self.plugins.needs.of(purpose), lock: *lock, configuration }
    }

    fn image(&self, target: &Target) -> Result<PinnedImage, SurveyError> {
        let error =
            |source| SurveyError::Image { target: target.triple.clone(), source: Box::new(source) };
        let tools = Vec::from_iter(self.plugins.tools.clone());
        let name = self.images.with_tools(&target.spec.image, &tools).map_err(error)?;
        let lock = self.images.locked(&name).map_err(error)?;
        let env = self.images.tool_environment(&name, &target.triple).map_err(error)?;
        let toolchains = lock.toolchains.into_iter();
        Ok(PinnedImage {
            name: lock.image,
            config: lock.config,
            manifest: lock.manifest,
            epoch: lock.epoch,
            env: env.into_iter().collect(),
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
        let Some(record) = self.records.get(target, &plugin.name).cloned() else {
            return Ok(Freshness::Stale(Reason::New));
        };
        let sources = self.snapshot.sources(plugin.paths(&record.extra));
        let judged = Freshness::judge(&record, key, sources, || {
            let Some(entry) = &entry else { return Ok(false) };
            let is = |relative: &str, expected: Digest| {
                let found = self.watch.digest(&dist.join(relative));
                found.map(|found| found == Some(expected))
            };
            Ok(is(&entry.library, record.library)? && is(&entry.manifest, record.manifest)?)
        });
        let judged = judged.map_err(|error: InputError| error)?;
        if judged != Freshness::Fresh || self.head.is_none() || self.head == record.head {
            return Ok(judged);
        }
        self.judge_commit(target, plugin, record)
    }

    /// Another commit is checked out than when an artifact was delivered: that may be one that changed
    /// nothing of it.
    fn judge_commit(
        &mut self,
        target: &Triple,
        plugin: &Plugin,
        record: Record,
    ) -> Result<Freshness, SurveyError> {
        let snapshot = Arc::clone(&self.snapshot);
        let Provenance { commit, dirty, .. } = self.provenance(plugin, &record.extra, &snapshot);
        if (&commit, dirty) != (&record.commit, record.dirty) {
            return Ok(Freshness::Stale(Reason::Commit));
        }
        let record = Record { head: self.head.clone(), ..record };
        self.records.set(target, &plugin.name, record);
        self.has_news = true;
        Ok(Freshness::Fresh)
    }
}

/// Sources by their paths and content.
type Sources = (BTreeSet<PathBuf>, Digest);

/// What cargo runs are told of the workspace.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Looks at its files.
    pub watch: Arc<Watch>,
    /// Its plugins and packages.
    pub plugins: PluginSet,
    /// Where folders of this machine are seen inside.
    pub placement: Placement,
    /// SHA-256 of Cargo.lock.
    pub lock: Digest,
    /// What cargo's configuration sets in the environment.
    pub env: Vec<String>,
}

/// Folders outside of the workspace that its build reads.
fn outside(set: &PluginSet) -> impl Iterator<Item = &Path> {
    let there = set.outside.iter().filter(|outside| outside.folder.is_dir());
    there.map(|outside| outside.folder.as_path())
}

/// The files of the workspace and of what it needs outside, the digest of all manifests, and the plugins.
/// Cargo is only asked when its answer may have changed.
fn look(
    workspace: &Workspace,
    stat: &mut StatCache,
) -> Result<(Tree, Digest, PluginSet), SurveyError> {
    let mut tree = Tree::walk(workspace.root(), &workspace.outputs())?;
    let add =
        |tree: &mut Tree, set: &PluginSet| outside(set).try_for_each(|folder| tree.add(folder));
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
