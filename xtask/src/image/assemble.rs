//! Layers made of what a lock names, and the lock made of what came out.
//!
//! Over 500 lines, since a lock is made by the very steps that fulfil it later.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyway_manifest::{Digest, Hasher};

use super::archive::{self, Archive};
use super::deb;
use super::download::{Downloads, megabytes};
use super::error::ImageError;
use super::http::Http;
use super::layer;
use super::lock::{From, LayerContent, Lock, LockedLayer, LockedWheel, Package, VERSION};
use super::member::{Content, Data, Entries, Kind, Member, MemberError};
use super::mirror::{self, Mirrors};
use super::oci::{self, Description};
use super::recipe::{Glob, Recipe};
use super::release::timestamp;
use super::resolve::Index;
use super::run::Scratch;
use super::standard_library;
use super::toolchain::{self, LockedToolchain};
use super::tree::{Below, Filter, Tree};
use super::wheel;
use super::{Images, Locked, stored};
use crate::cache::write_atomically;
use crate::container::{Image, Layer, Runner};
use crate::shell::Shell;

/// Makes the layers of one image.
pub(super) struct Assembler<'a> {
    images: &'a Images,
    /// The recipe of the image, after those of the images below.
    recipes: Vec<&'a Recipe>,
    recipe: &'a Recipe,
    lock: &'a Lock,
    runner: &'a dyn Runner,
    shell: &'a Shell,
    http: Http,
    mirrors: Mirrors,
    downloads: Downloads<'a>,
    store: PathBuf,
    scratch: PathBuf,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(
        images: &'a Images,
        below: &'a [Locked],
        recipe: &'a Recipe,
        lock: &'a Lock,
        runner: &'a dyn Runner,
        shell: &'a Shell,
    ) -> Result<Self, ImageError> {
        Ok(Self {
            images,
            recipes: below.iter().map(|locked| &locked.recipe).chain([recipe]).collect(),
            recipe,
            lock,
            runner,
            shell,
            http: Http::new(),
            mirrors: mirrors(images, &lock.suite, Some(lock.epoch)),
            downloads: Downloads::open(&images.cache, shell)?,
            store: images.cache.dir("layers")?,
            scratch: images.cache.dir("tmp")?,
        })
    }

    /// Makes one layer on top of those `below`.
    pub(super) fn layer(
        &self,
        content: &LayerContent,
        below: &[(String, Layer)],
    ) -> Result<Layer, ImageError> {
        self.shell.status("Assembling", format_args!("{} ({content})", self.lock.image));
        match content {
            LayerContent::Packages => {
                let members = self.packages(&self.lock.packages.iter().collect::<Vec<_>>())?;
                self.write(members, below, self.filter())
            }
            LayerContent::Wheel(name) => {
                let members = vec![self.wheel(name)?];
                self.write(members, below, self.filter())
            }
            LayerContent::Files => self.write(vec![self.files()?], below, Filter::default()),
            LayerContent::Std(target) => {
                let source = self.source(below)?;
                let scratch = Scratch::create(&self.scratch)?;
                let member =
                    standard_library::compile(target, &source.image, self.runner, &scratch)?;
                self.write(vec![member], below, Filter::default())
            }
        }
    }

    /// An image of some layers that only serves to run something in.
    fn image(&self, layers: Vec<(String, Layer)>) -> Image {
        oci::image(description(&self.lock.image, &self.recipes, self.lock), layers)
    }

    fn filter(&self) -> Filter<'a> {
        Filter { drop: &self.recipe.drop, keep: &self.recipe.keep }
    }

    fn write(
        &self,
        mut members: Vec<Member>,
        below: &[(String, Layer)],
        filter: Filter<'_>,
    ) -> Result<Layer, ImageError> {
        let tree = self.merge(&members, below, filter)?;
        Ok(layer::write(&tree, &mut members, &self.store)?)
    }

    fn merge(
        &self,
        members: &[Member],
        below: &[(String, Layer)],
        filter: Filter<'_>,
    ) -> Result<Tree, ImageError> {
        let mut index = Below::default();
        for (_, layer) in below {
            index
                .add_layer(&layer.file)
                .map_err(|source| ImageError::Below { path: layer.file.clone(), source })?;
        }
        Ok(Tree::merge(members, &index, filter, self.lock.epoch)?)
    }

    /// Downloads and opens packages, several at once.
    fn packages(&self, packages: &[&Package]) -> Result<Vec<Member>, ImageError> {
        self.downloads.packages(&self.http, &self.mirrors, packages)?;
        let (downloads, scratch) = (&self.downloads, self.scratch.as_path());
        let next = AtomicUsize::new(0);
        let opened: Mutex<Vec<Option<Result<Member, MemberError>>>> =
            Mutex::new(packages.iter().map(|_| None).collect());
        // The largest packages first, or one of them is left to a single thread at the end.
        let mut order: Vec<usize> = (0..packages.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(packages[*at].size));
        let work = || {
            while let Some(at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                let package = packages[*at];
                let name = format!("{} {}", package.name, package.version);
                let member = deb::open(&downloads.path(package.sha256), &name, scratch);
                opened.lock().expect("no holder panics")[*at] = Some(member);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
        std::thread::scope(|scope| {
            (0..threads).for_each(|_| drop(scope.spawn(work)));
        });
        let opened = opened.into_inner().expect("no holder panics");
        let members = opened.into_iter().map(|member| member.expect("every package was opened"));
        Ok(members.collect::<Result<_, _>>()?)
    }

    fn wheel(&self, name: &str) -> Result<Member, ImageError> {
        let recipe = self.recipe.wheels.iter().find(|wheel| wheel.name == name);
        let locked = self.lock.wheels.iter().find(|wheel| wheel.name == name);
        let (Some(recipe), Some(locked)) = (recipe, locked) else {
            unreachable!("a wheel's layer comes from the recipe's and the lock's wheel")
        };
        wheel::fetch(recipe, Some(locked), &self.downloads, &self.http, &self.scratch)?;
        let path = self.downloads.path(locked.sha256);
        let title = format!("{} {}", locked.name, locked.version);
        Ok(wheel::open(&path, &title, &recipe.member, &recipe.into)?)
    }

    /// The recipe's files and links.
    fn files(&self) -> Result<Member, ImageError> {
        let name = format!("recipe {}", self.lock.image);
        let mut entries = Entries::of(&name);
        let mut pieces = Vec::new();
        for file in &self.recipe.files {
            let bytes = file.content(&self.images.recipes, &self.lock.image)?;
            let data = Data { at: pieces.len() as u64, size: bytes.len() as u64 };
            let mode = if file.executable { 0o755 } else { 0o644 };
            entries.add(entries.path(file.path.as_bytes())?, Kind::File(data), mode, u64::MAX)?;
            pieces.push(bytes);
        }
        for link in &self.recipe.links {
            let target = entries.link_target(&link.path, link.target.as_bytes())?;
            let path = entries.path(link.path.as_bytes())?;
            entries.add(path, Kind::Symlink(target), 0o777, u64::MAX)?;
        }
        Ok(Member { name, entries: entries.finish(), content: Content::Memory(pieces) })
    }

    /// The layers below with the source of the standard library on top, for as long as it is needed.
    fn source(&self, below: &[(String, Layer)]) -> Result<SourceImage, ImageError> {
        let mut members = self.packages(&self.lock.sources.iter().collect::<Vec<_>>())?;
        let keep = standard_library::SOURCE_PATHS.map(Glob::literal);
        let everything = [Glob::literal("*")];
        let filter = Filter { drop: &everything, keep: &keep };
        let tree = self.merge(&members, below, filter)?;
        let scratch = Scratch::create(&self.scratch)?;
        let layer = layer::write(&tree, &mut members, scratch.path())?;
        let mut layers = below.to_vec();
        layers.push(("source".into(), layer));
        Ok(SourceImage { image: self.image(layers), _scratch: scratch })
    }
}

/// An image with a layer that is deleted with it.
struct SourceImage {
    image: Image,
    _scratch: Scratch,
}

fn mirrors(images: &Images, suite: &str, epoch: Option<u64>) -> Mirrors {
    let machine = mirror::of_machine(std::path::Path::new("/etc/apt"));
    Mirrors::new(suite, &mirror::of_user(&images.mirrors), &machine, epoch)
}

/// What the documents of an image say; the environment is that of all images below, the upper ones
/// overriding.
pub(super) fn description(name: &str, recipes: &[&Recipe], lock: &Lock) -> Description {
    let env = recipes.iter().flat_map(|recipe| recipe.env.clone()).collect();
    let (architecture, epoch) = (lock.architecture.clone(), lock.epoch);
    Description { name: name.to_owned(), architecture, env, epoch }
}

/// The layers that a recipe makes, lowest first.
fn contents(recipe: &Recipe) -> Vec<LayerContent> {
    let mut contents = Vec::new();
    if !recipe.packages.is_empty() {
        contents.push(LayerContent::Packages);
    }
    contents.extend(recipe.wheels.iter().map(|wheel| LayerContent::Wheel(wheel.name.clone())));
    if !recipe.files.is_empty() || !recipe.links.is_empty() {
        contents.push(LayerContent::Files);
    }
    let libraries = recipe.standard_libraries.iter();
    contents.extend(libraries.map(|library| LayerContent::Std(library.target.clone())));
    contents
}

/// Locks one image and writes its lock.
pub(super) fn lock(
    images: &Images,
    image: &str,
    runner: &dyn Runner,
    shell: &Shell,
) -> Result<Image, ImageError> {
    let (recipe, digest) = Recipe::read(&images.recipes, image)?;
    let below = match &recipe.from {
        Some(below) => {
            images.ensure_unlocked(below, runner, shell)?;
            images.chain(below)?
        }
        None => Vec::new(),
    };
    shell.status("Locking", image);
    let mut lock = resolve(images, image, &recipe, digest, &below, shell)?;
    let mut layers = Vec::new();
    let store = images.cache.dir("layers")?;
    for layer in below.iter().flat_map(|locked| &locked.lock.layers) {
        let found = stored(&store, layer).expect("the image below was made just now");
        layers.push((layer.content.to_string(), found));
    }
    for content in contents(&recipe) {
        let assembler = Assembler::new(images, &below, &recipe, &lock, runner, shell)?;
        let made = match &content {
            LayerContent::Std(_) => remembered(&assembler, &content, &layers)?,
            _ => assembler.layer(&content, &layers)?,
        };
        let (diff_id, size) = (made.diff_id, made.size);
        layers.push((content.to_string(), made));
        lock.layers.push(LockedLayer { content, diff_id, size });
    }
    let mut recipes: Vec<&Recipe> = below.iter().map(|locked| &locked.recipe).collect();
    recipes.push(&recipe);
    let made = oci::image(description(image, &recipes, &lock), layers);
    (lock.config, lock.manifest) = (made.config, made.manifest);
    let locks: Vec<&Lock> = below.iter().map(|locked| &locked.lock).chain([&lock]).collect();
    lock.toolchains = toolchains(images, image, &recipe, &locks, &made, runner)?;
    lock.write(&images.recipes)?;
    let total = made.layers.iter().map(|layer| layer.size).sum();
    shell.status(
        "Locked",
        format_args!("{image} {} ({} MB)", made.config.short(), megabytes(total)),
    );
    Ok(made)
}

/// All of a lock that the archive and the recipe decide.
fn resolve(
    images: &Images,
    image: &str,
    recipe: &Recipe,
    digest: Digest,
    below: &[Locked],
    shell: &Shell,
) -> Result<Lock, ImageError> {
    let http = Http::new();
    let downloads = Downloads::open(&images.cache, shell)?;
    let mirrors = mirrors(images, &recipe.suite, None);
    let keyring = archive::keyring(&images.recipes.join("keyring"))?;
    let (suite, architecture) = (&recipe.suite, &recipe.architecture);
    let archive = Archive::fetch(&http, &mirrors, &keyring, &downloads, suite, architecture)?;
    let index = Index::parse(&archive.index, architecture)?;
    let installed: Vec<Package> =
        below.iter().flat_map(|locked| locked.lock.packages.iter().cloned()).collect();
    let packages = index.closure(&recipe.packages, &recipe.without, &installed)?;
    let mut sources: Vec<Package> = Vec::new();
    for library in &recipe.standard_libraries {
        if !sources.iter().any(|known| known.name == library.source) {
            sources.push(index.package(&library.source)?);
        }
    }
    let scratch = images.cache.dir("tmp")?;
    let fetch = |wheel| wheel::fetch(wheel, None, &downloads, &http, &scratch);
    let wheels: Vec<LockedWheel> = recipe.wheels.iter().map(fetch).collect::<Result<_, _>>()?;
    let from = below
        .last()
        .map(|locked| From { image: locked.lock.image.clone(), manifest: locked.lock.manifest });
    Ok(Lock {
        version: VERSION,
        image: image.to_owned(),
        suite: suite.clone(),
        architecture: architecture.clone(),
        snapshot: timestamp(archive.release.epoch),
        epoch: archive.release.epoch,
        recipe: digest,
        config: Digest::of(""),
        manifest: Digest::of(""),
        from,
        layers: Vec::new(),
        packages,
        wheels,
        sources,
        toolchains: Vec::new(),
    })
}

/// A standard library is compiled once for the same image, source and script; what came out is noted
/// in the cache, so that locking again costs no compilation.
fn remembered(
    assembler: &Assembler<'_>,
    content: &LayerContent,
    below: &[(String, Layer)],
) -> Result<Layer, ImageError> {
    let mut key = Hasher::new();
    let image = assembler.image(below.to_vec());
    let sources = assembler.lock.sources.iter().map(|source| source.sha256.to_string());
    let parts = [image.manifest.to_string(), content.to_string(), standard_library::SCRIPT.into()];
    for part in parts.into_iter().chain(sources) {
        // A `Hasher` takes all that is written to it.
        let _ = writeln!(key, "{} {part}", part.len());
    }
    let note = assembler.images.cache.dir("std")?.join(key.finish().to_string());
    let known = std::fs::read_to_string(&note).ok().and_then(|text| {
        let (diff_id, size) = text.trim().split_once(' ')?;
        let (diff_id, size) = (diff_id.parse().ok()?, size.parse().ok()?);
        stored(&assembler.store, &LockedLayer { content: content.clone(), diff_id, size })
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let made = assembler.layer(content, below)?;
    write_atomically(&note, format!("{} {}\n", made.diff_id, made.size).as_bytes())?;
    Ok(made)
}

fn toolchains(
    images: &Images,
    name: &str,
    recipe: &Recipe,
    locks: &[&Lock],
    image: &Image,
    runner: &dyn Runner,
) -> Result<Vec<LockedToolchain>, ImageError> {
    let scratch = images.cache.dir("tmp")?;
    let mut records = Vec::new();
    for toolchain in &recipe.toolchains {
        let std = match &toolchain.std {
            Some(package) => {
                let mut all = locks.iter().flat_map(|lock| &lock.packages);
                all.find(|known| known.name == *package).map(|package| package.sha256)
            }
            None => {
                let content = LayerContent::Std(toolchain.target.clone());
                let mut all = locks.iter().flat_map(|lock| &lock.layers);
                all.find(|layer| layer.content == content).map(|layer| layer.diff_id)
            }
        };
        let std = std.ok_or_else(|| ImageError::NoStandardLibrary {
            image: name.to_owned(),
            target: toolchain.target.clone(),
        })?;
        records.push(toolchain::record(image, toolchain, std, runner, &scratch)?);
    }
    Ok(records)
}
