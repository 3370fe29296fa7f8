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
mod assembly;
mod chain;
pub mod control;
mod credentials;
pub mod deb;
pub mod debian;
pub mod dockerfile;
pub mod download;
mod error;
pub mod fetched;
pub mod first_link;
pub mod http;
pub mod layer;
pub mod lock;
mod locking;
pub mod member;
pub mod mirror;
pub mod oci;
pub mod openpgp;
pub mod ready;
pub mod recipe;
pub mod reference;
pub mod registry;
pub mod release;
mod remembered;
mod renewal;
pub mod resolve;
pub mod run;
pub mod rust_dist;
pub mod rust_installer;
mod spool;
pub mod standard_library;
mod tarball;
pub mod toolchain;
pub mod tools;
pub mod transport;
pub mod tree;
mod turns;
pub mod usage;
pub mod verification;
pub mod version;
pub mod wheel;
pub mod zig_cache;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use keyway_manifest::Digest;

pub use self::error::ImageError;
pub use self::lock::{From, LayerContent, Lock, LockedLayer, LockedWheel, Package};
pub use self::oci::{tag, write_archive};
pub use self::renewal::{Change, Pins, Suites, changes};
pub use self::toolchain::{LockedToolchain, trusted_set};
pub use self::tools::Tool;
pub use self::verification::{StandardLibraries, Verdict};

use self::assembly::Until;
use self::recipe::{Recipe, Reference};
use crate::cache::{self, Cache, CacheError, OwnedDir};
use crate::container::{Image, Layer, Runner};
use crate::shell::Shell;

/// The images of one folder of recipes.
#[derive(Debug, Clone)]
pub struct Images {
    recipes: PathBuf,
    /// The folder of the workspace, for the lock of packages that it names.
    workspace: PathBuf,
    cache: Cache,
    mirrors: Vec<String>,
    registry: Option<Reference>,
    /// The folder for what is only needed meanwhile, once something is.
    scratch: Arc<Mutex<Option<OwnedDir>>>,
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

/// Images of which only what is compiled in them, and lies above that, may be missing. Nobody removes layers
/// meanwhile.
pub struct Prepared<'a> {
    images: &'a Images,
    runner: &'a (dyn Runner + Sync),
    shell: &'a Shell,
    _kept: Option<cache::Lock>,
}

impl Prepared<'_> {
    /// One of the images, its standard library and first link compiled if they are not there yet. Several
    /// threads may complete one image each; they compile different standard libraries side by side.
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
        let recipes = recipes.into();
        let workspace = recipes.parent().unwrap_or(&recipes).to_owned();
        let (mirrors, scratch) = (Vec::new(), Arc::default());
        Self { recipes, workspace, cache, mirrors, registry: None, scratch }
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

    /// The names of all recipes, sorted; those of tools at the end.
    ///
    /// # Errors
    /// If the folder can't be read.
    pub fn names(&self) -> Result<Vec<String>, ImageError> {
        let error = |source| ImageError::Folder { path: self.recipes.clone(), source };
        let images = recipe::list(&self.recipes).map_err(error)?;
        let tools = tools::list(&self.recipes).map_err(error)?;
        Ok([images, tools].concat())
    }

    /// The lock of an image, without looking at the store: digests and toolchain records.
    ///
    /// # Errors
    /// If there is no lock, or its recipe or the image below was changed since.
    pub fn locked(&self, image: &str) -> Result<Lock, ImageError> {
        let mut chain = self.chain(image)?;
        if tools::is_composed(image) {
            return Ok(tools::lock(image, &chain.iter().collect::<Vec<_>>()));
        }
        Ok(chain.pop().expect("a chain ends with its image").lock)
    }

    /// The lock of an image as it is written, whether or not it still fits its recipe; none if there is none.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn written(&self, image: &str) -> Result<Option<Lock>, ImageError> {
        Ok(self.find_lock(image)?)
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
                    Some(found) => layers.push((layer.content.clone(), found)),
                    None => return Ok(None),
                }
            }
        }
        let found = finish(image, &chain, layers)?;
        if tools::is_composed(image) {
            self.note(&found)?;
        }
        Ok(Some(found))
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
        let _kept = self.cache.keep(shell)?;
        self.ensure_unlocked(image, runner, shell)
    }

    /// Begins to make several images: what downloads and unpacks is done, one after the other. The
    /// standard libraries, which take a core a minute each, and first links are left to
    /// [`Prepared::complete`].
    ///
    /// # Errors
    /// Those of [`Images::ensure`].
    pub fn prepare<'a>(
        &'a self,
        images: &[String],
        runner: &'a (dyn Runner + Sync),
        shell: &'a Shell,
    ) -> Result<Prepared<'a>, ImageError> {
        self.sign_in()?;
        let mut missing = Vec::new();
        for image in images.iter().flat_map(|image| tools::parts(image)) {
            if !missing.contains(&image) && self.find(&image)?.is_none() {
                missing.push(image);
            }
        }
        let kept = match missing.is_empty() {
            true => None,
            false => Some(self.cache.keep(shell)?),
        };
        for image in missing {
            self.assemble(&self.chain(&image)?, Until::Compilation, runner, shell)?;
        }
        Ok(Prepared { images: self, runner, shell, _kept: kept })
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
        let prepared = self.prepare(images, runner, shell)?;
        let next = AtomicUsize::new(0);
        let complete = || {
            let mut made = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(image) = images.get(at) else {
                    return Ok(made);
                };
                let image = prepared.complete(image).inspect_err(|_| {
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

    /// [`Images::ensure`] for a caller that keeps the cache.
    fn ensure_unlocked(
        &self,
        image: &str,
        runner: &dyn Runner,
        shell: &Shell,
    ) -> Result<Image, ImageError> {
        if tools::is_composed(image) {
            // Each by itself, since its layers are made on what it stands on and nothing else.
            for part in tools::parts(image) {
                self.ensure_unlocked(&part, runner, shell)?;
            }
            return Ok(self.find(image)?.expect("all its parts were made just now"));
        }
        let chain = self.chain(image)?;
        let layers = self.assemble(&chain, Until::End, runner, shell)?;
        finish(image, &chain, layers)
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
        let _kept = self.cache.keep(shell)?;
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
        let _kept = self.cache.keep(shell)?;
        let _turn = self.locking_turn(shell)?;
        let mut names: Vec<String> = Vec::new();
        for image in images {
            for name in self.below_first(image)? {
                if images.contains(&name) && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        // Before anything is made: a lock that can't be read would only be found when its turn comes.
        let old = names.iter().map(|name| self.find_lock(name));
        let old = old.collect::<Result<Vec<_>, _>>()?;
        let progress = shell.steps(names.len());
        let mut made = Vec::new();
        for (name, old) in names.iter().zip(old) {
            progress.begin("Locking", name);
            let image = locking::lock(self, name, pins, runner, shell)?;
            let new = self.read_lock(name)?;
            let changes = old.map(|old| changes(&old, &new)).unwrap_or_default();
            made.push((image, changes));
        }
        Ok(made)
    }
}

/// A layer of the store; its content was checked when it was written there.
fn stored(store: &Path, layer: &LockedLayer) -> Option<Layer> {
    find(store, layer.diff_id, layer.size)
}

fn find(store: &Path, diff_id: Digest, size: u64) -> Option<Layer> {
    let file = store.join(format!("{diff_id}.tar"));
    let found = fs::metadata(&file).ok().filter(|file| file.len() == size)?;
    found.is_file().then_some(Layer { diff_id, size, file })
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
fn finish(
    name: &str,
    chain: &[Locked],
    layers: Vec<(LayerContent, Layer)>,
) -> Result<Image, ImageError> {
    if tools::is_composed(name) {
        return Ok(tools::finish(name, &chain.iter().collect::<Vec<_>>(), layers));
    }
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
