//! `cargo xtask images`: the toolchains that plugins are built in.

mod du;
mod export;
mod gc;
mod import;
mod push;
mod update;
mod verify;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::{fs, io};

use clap::{Args as ClapArgs, Subcommand};
use keyway_manifest::text::Show as _;
use serde::Serialize;

use crate::cache::{Cache, CacheError, write_atomically};
use crate::container::{Command, EngineName, Image, Runner};
use crate::engine::{self, Engine, EngineChoice};
use crate::failure::{Exit, Failure};
use crate::image::recipe::Reference;
use crate::image::registry::repository;
use crate::image::{ImageError, Images, Lock, tag, tools, trusted_set};
use crate::shell::{Shell, count};
use crate::targets::TargetSet;
use crate::workspace::Workspace;

/// Arguments of `images`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Resolve a new or edited recipe, assemble, and write `NAME.lock`; what was locked stays
    Lock(Selection),
    /// Assemble images from their locks
    Build(Build),
    /// Show the images and whether they are there
    List(Selection),
    /// Lock with the newest versions, and say what that changes
    Update(update::Args),
    /// Rebuild images from their locks in an empty store, and compare
    Verify(verify::Args),
    /// Show how many bytes images and the cache take
    Du(Selection),
    /// Remove what no lock needs any more
    Gc(gc::Args),
    /// Write images as one archive, for a machine without network
    Export(export::Args),
    /// Take the layers of such an archive
    Import(import::Args),
    /// Push images to a registry, from which other machines take layers
    Push(push::Args),
}

#[derive(Debug, ClapArgs)]
struct Selection {
    /// Names of recipes; all of them unless given
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Folder of recipes and locks
    #[arg(long, value_name = "DIR")]
    recipes: Option<PathBuf>,
    /// Address of a Debian mirror, tried before all others
    #[arg(long, value_name = "URL")]
    mirror: Vec<String>,
    /// What runs the commands that some layers need
    #[arg(long, value_enum, env = "KEYWAY_ENGINE", default_value_t = EngineChoice::Auto)]
    engine: EngineChoice,
}

#[derive(Debug, ClapArgs)]
struct Build {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, ClapArgs)]
struct Source {
    /// Where layers were pushed to, asked before any is assembled
    #[arg(long, env = "KEYWAY_REGISTRY", value_name = "REGISTRY/NAME", value_parser = repository)]
    registry: Option<Reference>,
}

/// Runs `images` in `workspace`.
pub(crate) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    match &args.action {
        Action::Lock(selection) => lock(selection, workspace, shell),
        Action::Build(args) => build(args, workspace, shell),
        Action::List(selection) => list(selection, workspace, shell),
        Action::Update(args) => update::run(args, workspace, shell),
        Action::Verify(args) => verify::run(args, workspace, shell),
        Action::Du(selection) => du::run(selection, workspace, shell),
        Action::Gc(args) => gc::run(args, workspace, shell),
        Action::Export(args) => export::run(args, workspace, shell),
        Action::Import(args) => import::run(args, workspace, shell),
        Action::Push(args) => push::run(args, workspace, shell),
    }
}

fn lock(selection: &Selection, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let images = open(selection, workspace)?;
    let names = names(selection, &images, workspace)?;
    let made = images.lock(&names, &OnDemand::new(selection.engine, workspace, shell)?, shell)?;
    write_trusted_set(&images, workspace, selection)?;
    report(&made, shell);
    finish("locked", &made, shell);
    Ok(())
}

fn build(args: &Build, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let selection = &args.selection;
    let images = open(selection, workspace)?.with_registry(args.source.registry.clone());
    let runner = OnDemand::new(selection.engine, workspace, shell)?;
    let names = names(selection, &images, workspace)?;
    let n_lanes = thread::available_parallelism().map_or(1, usize::from);
    let made = images.ensure_all(&names, n_lanes, &runner, shell)?;
    report(&made, shell);
    finish("ready", &made, shell);
    Ok(())
}

/// One image of `list`, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    event: &'static str,
    image: &'a str,
    state: &'static str,
    config: Option<String>,
    manifest: Option<String>,
    /// Bytes of all its layers, if they are there.
    size: Option<u64>,
    /// Bytes of its own layers, as the lock says: what it adds to the image that it stands on.
    own: Option<u64>,
    snapshot: Option<&'a str>,
    rebuildable: Option<bool>,
}

fn list(selection: &Selection, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let images = open(selection, workspace)?;
    let (mut n, mut built) = (0, 0);
    for name in names(selection, &images, workspace)? {
        let lock = images.locked(&name);
        let (state, found) = match &lock {
            Err(ImageError::Lock(error)) if error.is_settled_by_locking() => ("unlocked", None),
            Err(ImageError::Tool(_)) => ("unlocked", None),
            Err(_) => return Err(lock.expect_err("looked at just now").into()),
            Ok(_) => match images.find(&name)? {
                Some(image) => ("built", Some(image)),
                None => ("locked", None),
            },
        };
        let lock = lock.ok();
        let size = found.as_ref().map(|image| image.layers.iter().map(|layer| layer.size).sum());
        let own = lock.as_ref().map(|lock| lock.layers.iter().map(|layer| layer.size).sum());
        let name = tools::name_in_lock(&name);
        shell.data(format_args!(
            "{name:<29} {state:<8} {:<12} {:>6} {:>11} {}{}",
            lock.as_ref().map_or(String::new(), |lock| lock.config.short()),
            size.map_or(String::new(), |size: u64| format!("{} MB", size.div_ceil(1_000_000))),
            own.map_or(String::new(), |own: u64| format!("own {} MB", own.div_ceil(1_000_000))),
            lock.as_ref().map_or("", |lock| lock.snapshot.as_str()),
            if lock.as_ref().is_none_or(Lock::is_rebuildable) { "" } else { " not rebuildable" },
        ));
        shell.event(&Listed {
            event: "image",
            image: name,
            state,
            config: lock.as_ref().map(|lock| lock.config.prefixed()),
            manifest: lock.as_ref().map(|lock| lock.manifest.prefixed()),
            size,
            own,
            snapshot: lock.as_ref().map(|lock| lock.snapshot.as_str()),
            rebuildable: lock.as_ref().map(Lock::is_rebuildable),
        });
        n += 1;
        built += usize::from(found.is_some());
    }
    let done = format!("{}, {built} of them here", count(n, "image"));
    shell.finish(done, &Listing { event: "summary", images: n, built });
    Ok(())
}

/// The end of `list`.
#[derive(Debug, Serialize)]
struct Listing {
    event: &'static str,
    images: usize,
    built: usize,
}

/// The end of `lock` and `build`.
#[derive(Debug, Serialize)]
struct Summary {
    event: &'static str,
    images: usize,
    size: u64,
}

/// Says how many images there are and how large they are together, each layer counted once.
fn finish(what: &str, made: &[Image], shell: &Shell) {
    let layers = made.iter().flat_map(|image| &image.layers);
    let layers: BTreeMap<_, _> = layers.map(|layer| (layer.diff_id, layer.size)).collect();
    let (images, size) = (made.len(), layers.values().sum::<u64>());
    let (n, megabytes) = (count(images, "image"), size.div_ceil(1_000_000));
    let summary = Summary { event: "summary", images, size };
    shell.finish(format_args!("{n} {what}, {megabytes} MB"), &summary);
}

fn open(selection: &Selection, workspace: &Workspace) -> Result<Images, Failure> {
    Ok(open_in(Cache::open()?, selection, workspace))
}

fn open_in(cache: Cache, selection: &Selection, workspace: &Workspace) -> Images {
    let recipes = selection.recipes.clone().unwrap_or_else(|| workspace.recipes_dir());
    Images::open(recipes, cache)
        .with_workspace(workspace.root())
        .with_mirrors(selection.mirror.clone())
}

/// The images that were asked for, else all of them: also that of the packages which the workspace names.
fn names(
    selection: &Selection,
    images: &Images,
    workspace: &Workspace,
) -> Result<Vec<String>, Failure> {
    let mut known = images.names()?;
    let is_packages = |name: &String| name == tools::PACKAGES;
    let packages = match selection.images.iter().any(is_packages) {
        true => packages(workspace)?,
        // Without plugins there are images all the same.
        false if selection.images.is_empty() && selection.recipes.is_none() => {
            packages(workspace).ok().flatten()
        }
        false => None,
    };
    known.extend(packages.clone());
    if selection.images.is_empty() {
        return Ok(known);
    }
    let full = |name: &String| packages.clone().filter(|_| is_packages(name));
    let asked = selection.images.iter().map(|name| full(name).unwrap_or_else(|| name.clone()));
    let asked: Vec<String> = asked.collect();
    match asked.iter().find(|name| !known.contains(name)) {
        None => Ok(asked),
        Some(unknown) => Err(Failure::new(Exit::Usage, format!("there is no image `{unknown}`"))
            .with_hint(format!("there are recipes of {}", known.join(", ")))),
    }
}

/// The image of the packages that the workspace's `tools` name.
fn packages(workspace: &Workspace) -> Result<Option<String>, Failure> {
    let tools = Vec::from_iter(workspace.plugins()?.tools);
    Ok(Images::packages(&tools))
}

/// The toolchains of all locks become the set that this workspace's host trusts. Recipes of another
/// folder are no part of it.
fn write_trusted_set(
    images: &Images,
    workspace: &Workspace,
    selection: &Selection,
) -> Result<(), Failure> {
    let host = workspace.root().join("crates").join("host");
    if selection.recipes.is_some() || !host.is_dir() {
        return Ok(());
    }
    let mut toolchains = Vec::new();
    for name in images.names()? {
        // An image that is not locked yet builds nothing. One that has to be locked again, since it or the
        // one below was edited, has built plugins that are trusted until it is.
        toolchains.extend(images.written(&name)?.into_iter().flat_map(|lock| lock.toolchains));
    }
    let file = host.join("toolchains.txt");
    let known = match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(CacheError::io("read", &file))?,
    };
    let list = trusted_set(toolchains.iter(), &known).map_err(|error| {
        let message = format!("`{}` can't be read: {error}", file.shown());
        Failure::new(Exit::Usage, message)
            .with_hint("put it back from git: what it says of earlier images stands nowhere else")
    })?;
    write_atomically(&file, list.as_bytes())?;
    Ok(())
}

/// One image that is there, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Built<'a> {
    event: &'static str,
    image: &'a str,
    config: String,
    manifest: String,
    size: u64,
}

fn report(made: &[Image], shell: &Shell) {
    for image in made {
        let size: u64 = image.layers.iter().map(|layer| layer.size).sum();
        let megabytes = size.div_ceil(1_000_000);
        shell.status("Ready", format_args!("{} ({megabytes} MB)", tag(image)));
        shell.event(&Built {
            event: "image",
            image: &image.name,
            config: image.config.prefixed(),
            manifest: image.manifest.prefixed(),
            size,
        });
    }
}

/// The engine that the user wants, looked for when a command has to run: most builds run none.
pub(super) struct OnDemand<'a> {
    choice: EngineChoice,
    order: Vec<EngineName>,
    cache: Cache,
    shell: &'a Shell,
    engine: OnceLock<Box<dyn Engine + 'a>>,
    /// Held while it is looked for, so that it is looked for once.
    looking: Mutex<()>,
}

impl<'a> OnDemand<'a> {
    pub(super) fn new(
        choice: EngineChoice,
        workspace: &Workspace,
        shell: &'a Shell,
    ) -> Result<Self, Failure> {
        let order = TargetSet::open(workspace.targets_file().as_deref())?.engines().to_vec();
        let (cache, engine, looking) = (Cache::open()?, OnceLock::new(), Mutex::new(()));
        Ok(Self { choice, order, cache, shell, engine, looking })
    }
}

impl Runner for OnDemand<'_> {
    fn run(&self, image: &Image, command: &Command) -> Result<(), Box<dyn Error + Send + Sync>> {
        let looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = match self.engine.get() {
            Some(engine) => engine,
            None => {
                let selected = engine::select(self.choice, &self.order, &self.cache, self.shell)?;
                self.engine.get_or_init(|| selected)
            }
        };
        drop(looking);
        Runner::run(&engine.as_ref(), image, command)
    }
}
