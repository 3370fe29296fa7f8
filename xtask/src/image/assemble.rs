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
use super::http::Http;
use super::layer;
use super::lock::{LayerContent, Lock, LockError, LockedLayer, Package};
use super::member::{Content, Data, Entries, Kind, Member, MemberError};
use super::mirror::{self, Mirrors};
use super::oci::{self, Description};
use super::recipe::{Glob, Recipe};
use super::reference;
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
                let source = self.source(below)?;
                let scratch = Scratch::create(&self.scratch)?;
                let member =
                    standard_library::compile(target, &source.image, self.runner, &scratch)?;
                self.write(vec![member], below, Filter::default())
            }
        }
    }

    /// Downloads what compiling a standard library starts from.
    pub(super) fn fetch_sources(&self) -> Result<(), ImageError> {
        let sources: Vec<&Package> = self.lock.sources.iter().collect();
        Ok(self.downloads.packages(&self.http, &self.mirrors, &sources)?)
    }

    /// An image of some layers that only serves to run something in. Engines show its name.
    pub(super) fn image(&self, layers: Vec<(String, Layer)>) -> Image {
        let name = format!("{}.unfinished", self.lock.image);
        oci::image(description(&name, &self.chain), layers)
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
        Ok(layer::write(&tree, &mut members, &self.scratch, &self.store)?)
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
                let member =
                    deb::open(&downloads.path(package.sha256), &name, scratch, UNPACKED_LIMIT);
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
        let glob = |pattern: &str| pattern.parse::<Glob>().expect("the tool's own are well-formed");
        let keep = standard_library::SOURCE_PATHS.map(glob);
        let everything = [glob("*")];
        let filter = Filter { drop: &everything, keep: &keep };
        let tree = self.merge(&members, below, filter)?;
        let scratch = Scratch::create(&self.scratch)?;
        let layer = layer::write(&tree, &mut members, scratch.path(), scratch.path())?;
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
