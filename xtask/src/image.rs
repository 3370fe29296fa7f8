//! The image stage: a recipe and its lock in, an assembled image out.
//!
//! An image is assembled, not installed: every file that goes in is named by sha256 in the lock, no
//! maintainer script runs, and the bytes of each layer follow from the lock alone. This module owns
//! `docker/*.toml`, `docker/*.lock` and the layers in the cache; it refuses to guess: an edited recipe,
//! a moved base or a digest that does not come out is an error.
//!
//! `lock` looks at the world and writes; `ensure` only fulfils what is written.

pub mod archive;
mod assemble;
pub mod control;
mod credentials;
pub mod deb;
pub mod debian;
pub mod dockerfile;
pub mod download;
mod error;
pub mod fetched;
pub mod http;
pub mod layer;
pub mod lock;
mod locking;
pub mod member;
pub mod mirror;
pub mod oci;
pub mod ready;
pub mod recipe;
pub mod reference;
pub mod registry;
pub mod release;
mod renewal;
pub mod resolve;
pub mod run;
pub mod rust_dist;
pub mod rust_installer;
pub mod standard_library;
mod tarball;
pub mod toolchain;
pub mod transport;
pub mod tree;
pub mod usage;
pub mod verification;
pub mod version;
pub mod wheel;
pub mod zig_cache;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use keyway_manifest::Digest;

pub use self::error::ImageError;
pub use self::lock::{From, LayerContent, Lock, LockedLayer, LockedWheel, Package};
pub use self::oci::{tag, write_archive};
pub use self::renewal::{Change, Pins, Suites, changes};
pub use self::toolchain::{LockedToolchain, trusted_set};
pub use self::verification::{StandardLibraries, Verdict};

use self::assemble::Assembler;
use self::http::Http;
use self::recipe::{Recipe, Reference};
use self::registry::{Access, Registry};
use crate::cache::{self, Cache, CacheError};
use crate::container::{Image, Layer, Runner};
use crate::shell::Shell;

/// The images of one folder of recipes.
#[derive(Debug, Clone)]
pub struct Images {
    recipes: PathBuf,
    cache: Cache,
    mirrors: Vec<String>,
    registry: Option<Reference>,
}

/// What an update of an image would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// The image.
    pub image: String,
    /// Newer, new and dropped packages, sources and wheels.
    pub changes: Vec<Change>,
    /// Locked packages that no mirror has any more.
    pub gone: Vec<String>,
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// To the last layer.
    End,
    /// To the one before, if the last is a standard library.
    StandardLibrary,
}

/// Images of which only a standard library may be missing. Nobody else makes images meanwhile.
pub struct Assembly<'a> {
    images: &'a Images,
    runner: &'a (dyn Runner + Sync),
    shell: &'a Shell,
    _guard: Option<cache::Lock>,
}

impl Assembly<'_> {
    /// One of the images, its standard library compiled if it is not there yet. Several threads may
    /// complete one image each.
    ///
    /// # Errors
    /// Those of [`Images::ensure`].
    pub fn complete(&self, image: &str) -> Result<Image, ImageError> {
        match self.images.find(image)? {
            Some(found) => Ok(found),
            None => self.images.ensure_unlocked(image, self.runner, self.shell),
        }
    }
}

/// A recipe with its lock, both read and in agreement.
#[derive(Debug)]
struct Locked {
    recipe: Recipe,
    lock: Lock,
}

impl Images {
    /// The images whose recipes lie in `recipes`, with layers in `cache`.
    pub fn open(recipes: impl Into<PathBuf>, cache: Cache) -> Self {
        Self { recipes: recipes.into(), cache, mirrors: Vec::new(), registry: None }
    }

    /// The same with Debian mirrors to try first.
    #[must_use]
    pub fn with_mirrors(mut self, mirrors: Vec<String>) -> Self {
        self.mirrors = mirrors;
        self
    }

    /// The same with a registry that is asked for layers before they are assembled.
    #[must_use]
    pub fn with_registry(mut self, registry: Option<Reference>) -> Self {
        self.registry = registry;
        self
    }

    /// The names of all recipes, sorted.
    ///
    /// # Errors
    /// If the folder can't be read.
    pub fn names(&self) -> Result<Vec<String>, ImageError> {
        recipe::list(&self.recipes)
            .map_err(|source| ImageError::Folder { path: self.recipes.clone(), source })
    }

    /// The lock of an image, without looking at the store: digests and toolchain records.
    ///
    /// # Errors
    /// If there is no lock, or its recipe or the image below was changed since.
    pub fn locked(&self, image: &str) -> Result<Lock, ImageError> {
        let mut chain = self.chain(image)?;
        Ok(chain.pop().expect("a chain ends with its image").lock)
    }

    /// The image, if all its layers are in the store.
    ///
    /// # Errors
    /// Those of [`Images::locked`], and if the documents do not come out as the lock says.
    pub fn find(&self, image: &str) -> Result<Option<Image>, ImageError> {
        let chain = self.chain(image)?;
        let store = self.cache.dir("layers")?;
        let mut layers = Vec::new();
        for locked in &chain {
            for layer in &locked.lock.layers {
                match stored(&store, layer) {
                    Some(found) => layers.push((layer.content.to_string(), found)),
                    None => return Ok(None),
                }
            }
        }
        finish(image, &chain, layers).map(Some)
    }

    /// The image; layers that are missing are assembled from the lock.
    ///
    /// # Errors
    /// If something that goes in can't be had, or anything else comes out than the lock says.
    pub fn ensure(
        &self,
        image: &str,
        runner: &dyn Runner,
        shell: &Shell,
    ) -> Result<Image, ImageError> {
        self.sign_in()?;
        if let Some(found) = self.find(image)? {
            return Ok(found);
        }
        let _guard = self.guard(shell)?;
        self.ensure_unlocked(image, runner, shell)
    }

    /// Begins to make several images: what downloads and unpacks is done, one after the other. The
    /// standard libraries on top, which take a core a minute each, are left to
    /// [`Assembly::complete`].
    ///
    /// # Errors
    /// Those of [`Images::ensure`].
    pub fn prepare<'a>(
        &'a self,
        images: &[String],
        runner: &'a (dyn Runner + Sync),
        shell: &'a Shell,
    ) -> Result<Assembly<'a>, ImageError> {
        self.sign_in()?;
        let mut missing = Vec::new();
        for image in images {
            if !missing.contains(&image) && self.find(image)?.is_none() {
                missing.push(image);
            }
        }
        let guard = match missing.is_empty() {
            true => None,
            false => Some(self.guard(shell)?),
        };
        for image in missing {
            self.assemble(&self.chain(image)?, Until::StandardLibrary, runner, shell)?;
        }
        Ok(Assembly { images: self, runner, shell, _guard: guard })
    }

    /// Several images, their standard libraries compiled side by side on up to `n_lanes` threads.
    ///
    /// # Errors
    /// Those of [`Images::ensure`], the first that happens; compilations that go on are waited for.
    pub fn ensure_all(
        &self,
        images: &[String],
        n_lanes: usize,
        runner: &(dyn Runner + Sync),
        shell: &Shell,
    ) -> Result<Vec<Image>, ImageError> {
        let assembly = self.prepare(images, runner, shell)?;
        let next = AtomicUsize::new(0);
        let complete = || {
            let mut made = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(image) = images.get(at) else {
                    return Ok(made);
                };
                let image = assembly.complete(image).inspect_err(|_| {
                    next.store(images.len(), Ordering::Relaxed);
                })?;
                made.push((at, image));
            }
        };
        let lanes: Vec<Result<Vec<(usize, Image)>, ImageError>> = thread::scope(|scope| {
            let lanes: Vec<_> = (0..n_lanes.max(1)).map(|_| scope.spawn(complete)).collect();
            lanes.into_iter().map(|lane| lane.join().expect("a lane does not panic")).collect()
        });
        let mut made = lanes.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        made.sort_by_key(|(at, _)| *at);
        Ok(made.into_iter().map(|(_, image)| image).collect())
    }

    /// [`Images::ensure`] for a caller that holds the lock.
    fn ensure_unlocked(
        &self,
        image: &str,
        runner: &dyn Runner,
        shell: &Shell,
    ) -> Result<Image, ImageError> {
        let chain = self.chain(image)?;
        let layers = self.assemble(&chain, Until::End, runner, shell)?;
        finish(image, &chain, layers)
    }

    /// The layers of a chain, those that are missing made.
    fn assemble(
        &self,
        chain: &[Locked],
        until: Until,
        runner: &dyn Runner,
        shell: &Shell,
    ) -> Result<Vec<(String, Layer)>, ImageError> {
        let store = self.cache.dir("layers")?;
        let registry = self.registry.as_ref();
        let mut registry = registry.map(|at| Registry::new(at, Access::Pull, &Http::new()));
        let mut layers: Vec<(String, Layer)> = Vec::new();
        let last = chain.last().and_then(|locked| locked.lock.layers.last());
        let is_last = |layer: &LockedLayer| {
            matches!(layer.content, LayerContent::Std(_))
                && last.is_some_and(|last| last.diff_id == layer.diff_id)
        };
        for (at, Locked { recipe, lock }) in chain.iter().enumerate() {
            let assembler = Assembler::new(self, &chain[..at], recipe, lock, runner, shell)?;
            for expected in &lock.layers {
                let found = match stored(&store, expected) {
                    None => self.pull(&mut registry, (&lock.image, expected), shell)?,
                    found => found,
                };
                let layer = match found {
                    Some(found) => found,
                    None if is_last(expected) && until == Until::StandardLibrary => {
                        assembler.fetch_sources()?;
                        return Ok(layers);
                    }
                    None => {
                        let made = assembler.layer(&expected.content, &layers)?;
                        compare(&lock.image, &expected.content, expected.diff_id, &made)?;
                        made
                    }
                };
                layers.push((expected.content.to_string(), layer));
            }
        }
        Ok(layers)
    }

    /// Locks images anew, those below first, and writes their locks.
    ///
    /// # Errors
    /// If the suite's index can't be had or trusted, a package is missing, or assembling fails. Locks
    /// that are written by then stay.
    pub fn lock(
        &self,
        images: &[String],
        runner: &dyn Runner,
        shell: &Shell,
    ) -> Result<Vec<Image>, ImageError> {
        let made = self.lock_all(images, Pins::Kept, runner, shell)?;
        Ok(made.into_iter().map(|(image, _)| image).collect())
    }

    /// Locks images with the archive's newest versions, those below first; with each, what changed.
    ///
    /// # Errors
    /// Those of [`Images::lock`].
    pub fn update(
        &self,
        images: &[String],
        suites: Suites,
        runner: &dyn Runner,
        shell: &Shell,
    ) -> Result<Vec<(Image, Vec<Change>)>, ImageError> {
        self.lock_all(images, Pins::Moved(suites), runner, shell)
    }

    /// What an update of images would change, in their order. Nothing is assembled or written.
    ///
    /// # Errors
    /// If one has no lock, or a suite's index can't be had or trusted.
    pub fn outlooks(
        &self,
        images: &[String],
        suites: Suites,
        shell: &Shell,
    ) -> Result<Vec<Outlook>, ImageError> {
        let _guard = self.guard(shell)?;
        locking::outlooks(self, images, suites, shell)
    }

    fn lock_all(
        &self,
        images: &[String],
        pins: Pins,
        runner: &dyn Runner,
        shell: &Shell,
    ) -> Result<Vec<(Image, Vec<Change>)>, ImageError> {
        self.sign_in()?;
        let _guard = self.guard(shell)?;
        let mut done = Vec::new();
        let mut made = Vec::new();
        for image in images {
            for name in self.below_first(image)? {
                let wanted = images.contains(&name) && !done.contains(&name);
                if wanted {
                    let old = Lock::read(&self.recipes, &name).ok();
                    let image = locking::lock(self, &name, pins, runner, shell)?;
                    let new = Lock::read(&self.recipes, &name)?;
                    let changes = old.map(|old| changes(&old, &new)).unwrap_or_default();
                    made.push((image, changes));
                    done.push(name);
                }
            }
        }
        Ok(made)
    }

    /// A folder for what is only needed meanwhile.
    fn scratch(&self) -> Result<PathBuf, CacheError> {
        self.cache.dir("tmp/images")
    }

    /// Takes the lock between processes, and clears away what a run that was killed left behind.
    fn guard(&self, shell: &Shell) -> Result<cache::Lock, CacheError> {
        let guard = self.cache.lock("images", shell)?;
        let scratch = self.scratch()?;
        fs::remove_dir_all(&scratch).map_err(CacheError::io("clear", &scratch))?;
        Ok(guard)
    }

    /// The image's recipe and lock and those of the images below, lowest first.
    fn chain(&self, image: &str) -> Result<Vec<Locked>, ImageError> {
        let mut chain: Vec<Locked> = Vec::new();
        for name in self.below_first(image)? {
            let (recipe, digest) = Recipe::read(&self.recipes, &name)?;
            let lock = Lock::read(&self.recipes, &name)?;
            if lock.recipe != digest {
                return Err(lock::LockError::RecipeChanged { image: name }.into());
            }
            lock.check_below(chain.last().map(|below| &below.lock))?;
            chain.push(Locked { recipe, lock });
        }
        Ok(chain)
    }

    /// The names of an image and of those below it, lowest first.
    fn below_first(&self, image: &str) -> Result<Vec<String>, ImageError> {
        let mut names = vec![image.to_owned()];
        let mut at = image.to_owned();
        while let Some(below) = Recipe::read(&self.recipes, &at)?.0.from {
            let cycle = names.contains(&below);
            names.push(below.clone());
            if cycle {
                let (image, chain) = (image.to_owned(), names.join(" -> "));
                return Err(recipe::RecipeError::Cycle { image, chain }.into());
            }
            at = below;
        }
        names.reverse();
        Ok(names)
    }
}

/// A layer of the store; its content was checked when it was written there.
fn stored(store: &Path, layer: &LockedLayer) -> Option<Layer> {
    let file = store.join(format!("{}.tar", layer.diff_id));
    let found = fs::metadata(&file).ok().filter(|file| file.len() == layer.size)?;
    found.is_file().then_some(Layer { diff_id: layer.diff_id, size: layer.size, file })
}

fn compare(
    image: &str,
    content: &LayerContent,
    expected: Digest,
    made: &Layer,
) -> Result<(), ImageError> {
    if made.diff_id == expected {
        return Ok(());
    }
    // Nothing refers to it; a leftover would only take up space.
    let _ = fs::remove_file(&made.file);
    Err(ImageError::OtherDigest {
        image: image.to_owned(),
        part: format!("layer `{content}`"),
        expected,
        found: made.diff_id,
    })
}

/// The image of `chain` with its documents, which must come out as the lock says.
fn finish(name: &str, chain: &[Locked], layers: Vec<(String, Layer)>) -> Result<Image, ImageError> {
    let documents: Vec<(&Recipe, &Lock)> =
        chain.iter().map(|locked| (&locked.recipe, &locked.lock)).collect();
    let lock = &chain.last().expect("a chain ends with its image").lock;
    let image = oci::image(assemble::description(name, &documents), layers);
    for (part, expected, found) in
        [("config", lock.config, image.config), ("manifest", lock.manifest, image.manifest)]
    {
        if expected != found {
            let (image, part) = (name.to_owned(), part.to_owned());
            return Err(ImageError::OtherDigest { image, part, expected, found });
        }
    }
    Ok(image)
}
