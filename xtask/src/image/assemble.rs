//! Layers made of what a lock names: packages, a wheel, files, or a standard library.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyway_manifest::Digest;

use super::deb;
use super::debian::DebianArchive;
use super::dockerfile;
use super::download::Downloads;
use super::error::ImageError;
use super::fetched;
use super::first_link;
use super::http::Http;
use super::layer;
use super::lock::{LayerContent, Lock, LockError, LockedLayer, Package};
use super::member::{Content, Data, Entries, Kind, Member, MemberError};
use super::mirror::{self, Mirrors};
use super::oci::{self, Description};
use super::recipe::{Glob, Recipe};
use super::reference;
use super::remembered::{Making, key_of};
use super::run::Scratch;
use super::rust_dist::{self, Component};
use super::rust_installer;
use super::standard_library;
use super::tree::{Below, Filter, Tree};
use super::wheel;
use super::{Images, Locked, stored};
use crate::container::{Image, Layer, Runner};
use crate::shell::Shell;

/// More than the largest package of the archive unpacks to.
pub(super) const UNPACKED_LIMIT: u64 = 8 << 30;

/// Makes the layers of one image.
pub(super) struct Assembler<'a> {
    images: &'a Images,
    /// The image, after those below.
    chain: Vec<(&'a Recipe, &'a Lock)>,
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
    /// The lock of the image.
    pub(super) fn lock(&self) -> &'a Lock {
        self.lock
    }

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
            chain: below
                .iter()
                .map(|locked| (&locked.recipe, &locked.lock))
                .chain([(recipe, lock)])
                .collect(),
            recipe,
            lock,
            runner,
            shell,
            http: Http::new(),
            mirrors: mirrors(images, &lock.suite, &lock.states()),
            downloads: Downloads::open(&images.cache, shell)?,
            store: images.cache.dir("layers")?,
            scratch: images.scratch()?,
        })
    }

    /// Makes one layer on top of those `below`.
    pub(super) fn layer(
        &self,
        content: &LayerContent,
        below: &[(LayerContent, Layer)],
    ) -> Result<Layer, ImageError> {
        self.shell.status("Assembling", format_args!("{} ({content})", self.lock.image));
        let below = &self.seen_by(content, below);
        match content {
            LayerContent::Packages => {
                let packages: Vec<_> = self.lock.packages.iter().collect();
                let (tree, mut members) =
                    self.packages(&packages, &index(below)?, self.filter())?;
                Ok(layer::write(&tree, &mut members, &self.scratch, &self.store)?)
            }
            LayerContent::Wheel(name) => {
                let members = vec![self.wheel(name)?];
                self.write(members, below, self.filter())
            }
            LayerContent::EarlyFiles => {
                self.write(vec![self.files(Early::Yes)?], below, Filter::default())
            }
            LayerContent::Files => {
                self.write(vec![self.files(Early::No)?], below, Filter::default())
            }
            LayerContent::Reference(at) | LayerContent::Dockerfile(at) => self.ready(content, *at),
            LayerContent::Fetch(url) => {
                let members = vec![self.fetched(url)?];
                self.write(members, below, self.filter())
            }
            LayerContent::Rust(_) => {
                let wanted = |c: &Component| c.name != "rust-std";
                self.write(self.components(content, wanted)?, below, self.filter())
            }
            LayerContent::Std(target) if !self.recipe.compiles(target) => {
                let wanted = |c: &Component| c.name == "rust-std" && c.target == *target;
                self.write(self.components(content, wanted)?, below, self.filter())
            }
            LayerContent::Std(target) => {
                let source = self.source()?;
                let host_link = self.host_link(below, &source)?;
                let more = [("host link", host_link), ("source", source)];
                let image = self.image(&self.chain, below, more);
                let scratch = Scratch::create(&self.scratch)?;
                let member = standard_library::compile(target, &image, self.runner, &scratch)?;
                self.write(vec![member], below, Filter::default())
            }
            LayerContent::FirstLink(target) => {
                let scratch = Scratch::create(&self.scratch)?;
                let image = self.image(&self.chain, below, []);
                let member = first_link::compile(target, &image, self.runner, &scratch)?;
                self.write(vec![member], below, Filter::default())
            }
        }
    }

    /// Downloads what compiling a standard library starts from.
    pub(super) fn fetch_sources(&self) -> Result<(), ImageError> {
        Ok(self.downloads.packages(&self.http, &self.mirrors, &self.sources())?)
    }

    /// An image of some layers of a chain, and of some that no lock names, that only serves to run
    /// something in. Engines show its name.
    fn image<const N: usize>(
        &self,
        chain: &[(&Recipe, &Lock)],
        layers: &[(LayerContent, Layer)],
        more: [(&str, Layer); N],
    ) -> Image {
        let (_, lock) = chain.last().expect("a chain ends with its image");
        let name = format!("{}.unfinished", lock.image);
        let layers = layers.iter().map(|(content, layer)| (content.to_string(), layer.clone()));
        let more = more.into_iter().map(|(title, layer)| (title.to_owned(), layer));
        oci::image(description(&name, chain), layers.chain(more).collect())
    }

    fn filter(&self) -> Filter<'a> {
        Filter { drop: &self.recipe.drop, keep: &self.recipe.keep }
    }

    fn write(
        &self,
        mut members: Vec<Member>,
        below: &[(LayerContent, Layer)],
        filter: Filter<'_>,
    ) -> Result<Layer, ImageError> {
        let tree = Tree::merge(&members, &index(below)?, filter, self.lock.epoch)?;
        Ok(layer::write(&tree, &mut members, &self.scratch, &self.store)?)
    }

    /// The content of packages, merged. What the filter leaves out is kept nowhere on the way.
    fn packages(
        &self,
        packages: &[&Package],
        below: &Below,
        filter: Filter<'_>,
    ) -> Result<(Tree, Vec<Member>), ImageError> {
        self.downloads.packages(&self.http, &self.mirrors, packages)?;
        let mut members = self.open(packages, filter)?;
        let tree = Tree::merge(&members, below, filter, self.lock.epoch)?;
        // A link may have led a path that was to be dropped to one that was not.
        for at in tree.lacking(&members) {
            let whole = self.open(&packages[at..=at], Filter::default())?;
            members.splice(at..=at, whole);
        }
        Ok((tree, members))
    }

    /// Opens packages, several at once.
    fn open(&self, packages: &[&Package], filter: Filter<'_>) -> Result<Vec<Member>, ImageError> {
        let (downloads, scratch) = (&self.downloads, self.scratch.as_path());
        let is_wanted = |path: &str| filter.admits(path);
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
                let path = downloads.path(package.sha256);
                let member = deb::open(&path, &name, &is_wanted, scratch, UNPACKED_LIMIT);
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
            return Err(self.incomplete(&LayerContent::Wheel(name.to_owned())));
        };
        wheel::fetch(recipe, Some(locked), &self.downloads, &self.http, &self.scratch)?;
        let path = self.downloads.path(locked.sha256);
        let title = format!("{} {}", locked.name, locked.version);
        Ok(wheel::open(&path, &title, &recipe.member, &recipe.into, UNPACKED_LIMIT)?)
    }

    fn fetched(&self, url: &str) -> Result<Member, ImageError> {
        let recipe = self.recipe.fetches.iter().find(|fetch| fetch.url == url);
        let locked = self.lock.fetches.iter().find(|fetch| fetch.url == url);
        let (Some(recipe), Some(locked)) = (recipe, locked) else {
            return Err(self.incomplete(&LayerContent::Fetch(url.to_owned())));
        };
        let path = fetched::fetch(locked, &self.http, &self.downloads)?;
        Ok(fetched::open(&path, recipe, &self.scratch, UNPACKED_LIMIT)?)
    }

    /// Those components of Rust's distribution that make up a layer.
    fn components(
        &self,
        content: &LayerContent,
        wanted: impl Fn(&Component) -> bool,
    ) -> Result<Vec<Member>, ImageError> {
        let rust = self.lock.rust.as_ref().ok_or_else(|| self.incomplete(content))?;
        let components: Vec<_> = rust.components.iter().filter(|c| wanted(c)).collect();
        if components.is_empty() {
            return Err(self.incomplete(content));
        }
        let paths = rust_dist::fetch(rust, &components, &self.http, &self.downloads)?;
        let members = components.iter().zip(paths).map(|(component, path)| {
            let name = format!("{} {} for {}", component.name, rust.version, component.target);
            rust_installer::open(&path, &name, &self.scratch, UNPACKED_LIMIT)
        });
        Ok(members.collect::<Result<_, _>>()?)
    }

    /// A layer of an image that others made; it may be there already, since they come together.
    fn ready(&self, content: &LayerContent, at: usize) -> Result<Layer, ImageError> {
        let ready = self.lock.ready.as_ref();
        let blob = ready.and_then(|ready| ready.blobs.get(at.checked_sub(1)?));
        let blob = blob.ok_or_else(|| self.incomplete(content))?;
        if let Some(reference) = &self.recipe.reference {
            let (from, to) = ((&self.http, &self.downloads), (&*self.scratch, &*self.store));
            return Ok(reference::layer(reference, blob, UNPACKED_LIMIT, from, to)?);
        }
        let expected =
            LockedLayer { content: content.clone(), diff_id: blob.diff_id, size: blob.size };
        if let Some(layer) = stored(&self.store, &expected) {
            return Ok(layer);
        }
        let path = self.recipe.dockerfile.as_ref().ok_or_else(|| self.incomplete(content))?;
        let path = self.images.recipes.join(path);
        let built = dockerfile::build(&path, UNPACKED_LIMIT, &self.scratch, &self.store)?;
        stored(&self.store, &expected).ok_or_else(|| ImageError::NotRebuildable {
            image: self.lock.image.clone(),
            part: content.to_string(),
            expected: blob.diff_id,
            found: built.layers.get(at - 1).map_or_else(|| Digest::of(""), |layer| layer.diff_id),
        })
    }

    fn incomplete(&self, content: &LayerContent) -> ImageError {
        let (image, content) = (self.lock.image.clone(), content.clone());
        LockError::Incomplete { image, content }.into()
    }

    /// What decides a layer that is compiled: the image it is compiled in, and the script.
    pub(super) fn compiled_from(
        &self,
        content: &LayerContent,
        below: &[(LayerContent, Layer)],
    ) -> (Digest, &'static str) {
        let image = self.image(&self.chain, &self.seen_by(content, below), []);
        let script = match content {
            LayerContent::Std(_) => standard_library::SCRIPT,
            _ => first_link::SCRIPT,
        };
        (image.manifest, script)
    }

    /// What standard libraries are compiled from: the lock's own packages, and those of images below that
    /// the recipe does not name again.
    pub(super) fn sources(&self) -> Vec<&'a Package> {
        let mut sources: Vec<&Package> = Vec::new();
        for package in self.chain.iter().rev().flat_map(|(_, lock)| &lock.sources) {
            if !sources.iter().any(|known| known.name == package.name) {
                sources.push(package);
            }
        }
        sources
    }

    /// Those of the layers below that a layer is made on. What is unpacked does not depend on what is
    /// compiled, nor a standard library on another one, so that they may be made in any order; and an edit
    /// of what links and compiles C does not compile a standard library again.
    fn seen_by(
        &self,
        content: &LayerContent,
        below: &[(LayerContent, Layer)],
    ) -> Vec<(LayerContent, Layer)> {
        // Without one to bootstrap it, what is compiled for this machine has the library of an image below.
        let bootstraps = self.chain.iter().flat_map(|(recipe, _)| &recipe.standard_libraries);
        let bootstraps = bootstraps.clone().any(|library| library.bootstrap.is_some());
        let is_seen = |lower: &LayerContent| match (content, lower) {
            (LayerContent::FirstLink(_), _) => true,
            (LayerContent::Std(_), LayerContent::Std(_)) => !bootstraps,
            (LayerContent::Std(_), LayerContent::Files) => false,
            _ => !lower.is_compiled(),
        };
        below.iter().filter(|(lower, _)| is_seen(lower)).cloned().collect()
    }

    /// Those of the recipe's files, folders and links that lie below or above its standard library.
    fn files(&self, early: Early) -> Result<Member, ImageError> {
        let wanted = |is_early: bool| is_early == (early == Early::Yes);
        let name = format!("recipe {}", self.lock.image);
        let mut entries = Entries::of(&name);
        let mut pieces = Vec::new();
        for file in self.recipe.files.iter().filter(|file| wanted(file.early)) {
            let bytes = file.content(&self.images.recipes, &self.lock.image)?;
            let data = Data { at: pieces.len() as u64, size: bytes.len() as u64 };
            let mode = if file.executable { 0o755 } else { 0o644 };
            entries.add(entries.path(file.path.as_bytes())?, Kind::File(data), mode, u64::MAX)?;
            pieces.push(bytes);
        }
        if early == Early::No {
            for folder in &self.recipe.folders {
                for (path, bytes) in folder.files(&self.images.recipes, &self.lock.image)? {
                    let data = Data { at: pieces.len() as u64, size: bytes.len() as u64 };
                    entries.add(
                        entries.path(path.as_bytes())?,
                        Kind::File(data),
                        0o644,
                        u64::MAX,
                    )?;
                    pieces.push(bytes);
                }
            }
        }
        for link in self.recipe.links.iter().filter(|link| wanted(link.early)) {
            let target = entries.link_target(&link.path, link.target.as_bytes())?;
            let path = entries.path(link.path.as_bytes())?;
            entries.add(path, Kind::Symlink(target), 0o777, u64::MAX)?;
        }
        Ok(Member { name, entries: entries.finish(), content: Content::Memory(pieces) })
    }

    /// The source of the standard library, which is in no image that builds plugins. It is the same for
    /// all targets, so the layer stays in the store for the next.
    fn source(&self) -> Result<Layer, ImageError> {
        let sources = self.sources();
        let parts = sources.iter().map(|source| source.sha256.to_string());
        let paths = standard_library::SOURCE_PATHS.map(str::to_owned);
        let key = key_of(parts.chain(paths).chain([self.lock.epoch.to_string()]));
        let does = "unpacks the source of the standard library".to_owned();
        self.images.remembered(&Making { key, does }, self.shell, || {
            let glob =
                |pattern: &str| pattern.parse::<Glob>().expect("the tool's own are well-formed");
            let keep = standard_library::SOURCE_PATHS.map(glob);
            let everything = [glob("*")];
            let filter = Filter { drop: &everything, keep: &keep };
            let (tree, mut members) = self.packages(&sources, &Below::default(), filter)?;
            Ok(layer::write(&tree, &mut members, &self.scratch, &self.store)?)
        })
    }

    /// What zig compiles to link the build scripts of a standard library. It depends on no target, so it is
    /// made once; beside each library it would take six seconds.
    fn host_link(
        &self,
        below: &[(LayerContent, Layer)],
        source: &Layer,
    ) -> Result<Layer, ImageError> {
        // The lowest images, up to the first that compiles one: it has zig.
        let compiles = |(recipe, _): &(&Recipe, &Lock)| !recipe.standard_libraries.is_empty();
        let last = self.chain.iter().position(compiles).unwrap_or_default();
        let lowest = self.chain[..=last].iter().flat_map(|(_, lock)| &lock.layers);
        let lowest: Vec<Digest> = lowest.map(|layer| layer.diff_id).collect();
        let mut layers = below.to_vec();
        layers.retain(|(_, layer)| lowest.contains(&layer.diff_id));
        let image = self.image(&self.chain[..=last], &layers, [("source", source.clone())]);
        let parts = [image.manifest.to_string(), first_link::HOST_SCRIPT.to_owned()];
        let does = "compiles what build scripts of standard libraries are linked with".to_owned();
        self.images.remembered(&Making { key: key_of(parts), does }, self.shell, || {
            let scratch = Scratch::create(&self.scratch)?;
            let member = first_link::compile_host(&image, self.runner, &scratch)?;
            self.write(vec![member], below, Filter::default())
        })
    }
}

/// What the layers below have.
fn index(below: &[(LayerContent, Layer)]) -> Result<Below, ImageError> {
    let mut index = Below::default();
    for (_, layer) in below {
        index
            .add_layer(&layer.file)
            .map_err(|source| ImageError::Below { path: layer.file.clone(), source })?;
    }
    Ok(index)
}

/// Which of a recipe's files and links.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Early {
    Yes,
    No,
}

pub(super) fn mirrors(images: &Images, suite: &str, states: &[(DebianArchive, u64)]) -> Mirrors {
    let machine = mirror::of_machine(Path::new("/etc/apt"));
    Mirrors::new(suite, &mirror::of_user(&images.mirrors), &machine, states)
}

/// What the documents of an image say; the environment is that of all images below, the upper ones
/// overriding.
pub(super) fn description(name: &str, chain: &[(&Recipe, &Lock)]) -> Description {
    let mut env = BTreeMap::new();
    for (recipe, lock) in chain {
        env.extend(lock.ready.iter().flat_map(|ready| ready.env.clone()));
        env.extend(recipe.env.clone());
    }
    let (_, lock) = chain.last().expect("a chain ends with its image");
    let (architecture, epoch) = (lock.architecture.clone(), lock.epoch);
    Description { name: name.to_owned(), architecture, env, epoch }
}
