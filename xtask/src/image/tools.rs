//! Tools on demand: an image with the programs that a workspace's build scripts ask for.
//!
//! A tool is a recipe below `docker/tools/` that stands on `base`, or on another tool that it needs. What a
//! target is built in is then composed: the layers of its image, and on top those of the tools that are
//! not there yet, in the order of their names. A tool's layers are made on `base` alone, so they are the
//! same for every target, and what two tools share is there once. Nothing of a composition is locked: its
//! documents follow from the locks of its parts.
//!
//! `debian:NAME` is any other package. Such packages are one more image, [`PACKAGES`], on top of `base` and
//! the tools; its recipe follows from the list, and its lock is `keyway.lock` in the workspace.
//!
//! A composition goes by its parts' names, as in `mingw + cmake + perl`, wherever an image's name is
//! expected.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Triple};
use thiserror::Error;

use super::lock::{LayerContent, Lock, LockError, LockedLayer};
use super::oci;
use super::recipe::{self, Recipe, RecipeError};
use super::{ImageError, Images, Locked, assemble};
use crate::cache::CacheError;
use crate::container::{Image, Layer};

/// The folder of tools, below that of the recipes; the names of their images begin with it.
pub const FOLDER: &str = "tools/";
/// The image of packages that a workspace names; it is locked in `keyway.lock`.
pub const PACKAGES: &str = "keyway";
/// That lock's file, in the workspace's folder.
pub const LOCK: &str = "keyway.lock";
/// How an entry of `tools` begins that names a package of Debian.
pub const DEBIAN: &str = "debian:";
/// The image that tools stand on, and that packages are resolved on.
const BASE: &str = "base";
/// What stands between the parts of a name.
const AND: &str = " + ";

/// An image and what stands on top of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composition {
    /// The image.
    pub image: String,
    /// Names of tools, and packages as `debian:NAME`, sorted.
    pub tools: Vec<String>,
}

/// What is known of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// Bytes of the layers that it adds to `base`, as their locks say.
    pub size: u64,
    /// Whether all of them are in the cache.
    pub is_here: bool,
}

/// Why an image can't be composed.
#[derive(Debug, Error)]
pub enum ToolError {
    /// No recipe has that name.
    #[error("there is no tool `{name}`")]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The image of a target does not stand on the image that the tool was locked on.
    #[error("tool `{tool}` was locked on `{base}`, which image `{image}` does not stand on")]
    OtherBase {
        /// The tool.
        tool: String,
        /// The image that it stands on.
        base: String,
        /// The image of the target.
        image: String,
    },
    /// Two parts have one package in two versions.
    #[error("package `{package}` is {} in `{}` and {} in `{}`", .found[0].1, .found[0].0, .found[1].1, .found[1].0)]
    TwoVersions {
        /// The package.
        package: String,
        /// Two parts, and its version in each.
        found: Vec<(String, String)>,
    },
    /// The packages that the workspace names were never locked, or others were.
    #[error("`{path}` does not lock what `tools` names: {}", .packages.join(", "), path = .path.shown())]
    NotLocked {
        /// The lock.
        path: PathBuf,
        /// The packages.
        packages: Vec<String>,
    },
}

impl ToolError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown { known, .. } if known.is_empty() => {
                "copy Keyway's `docker/tools` beside your recipes and run `cargo xtask images lock`"
                    .into()
            }
            Self::Unknown { known, .. } => format!(
                "there are {}; any other package of Debian is `\"debian:NAME\"`",
                known.join(", ")
            ),
            Self::OtherBase { .. } => {
                "copy Keyway's `docker/tools` beside your recipes and run `cargo xtask images lock`"
                    .into()
            }
            Self::TwoVersions { .. } => "run `cargo xtask images update`".into(),
            Self::NotLocked { .. } => {
                format!("run `cargo xtask images lock {PACKAGES}`, and commit `keyway.lock`")
            }
        }
    }
}

impl fmt::Display for Composition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.image)?;
        self.tools.iter().try_for_each(|tool| write!(f, "{AND}{tool}"))
    }
}

impl FromStr for Composition {
    type Err = std::convert::Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut parts = name.split(AND).map(str::to_owned);
        let image = parts.next().unwrap_or_default();
        Ok(Self { image, tools: parts.collect() })
    }
}

impl Composition {
    /// The images that it is made of, each of which can be assembled by itself.
    fn parts(&self) -> Vec<String> {
        let mut parts = vec![self.image.clone()];
        parts.extend(self.recipes().map(|tool| format!("{FOLDER}{tool}")));
        if self.packages().next().is_some() {
            parts.push(Self { image: PACKAGES.to_owned(), tools: self.tools.clone() }.to_string());
        }
        parts
    }

    /// The tools that have a recipe.
    fn recipes(&self) -> impl Iterator<Item = &String> {
        self.tools.iter().filter(|tool| !tool.starts_with(DEBIAN))
    }

    /// The names of the packages among the tools.
    fn packages(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().filter_map(|tool| tool.strip_prefix(DEBIAN))
    }

    /// The recipe of the packages, a function of the list and of the image that they are resolved on.
    fn recipe(&self, base: &Recipe) -> (Recipe, Digest) {
        let tools = self.recipes().cloned().collect();
        let from = Self { image: BASE.to_owned(), tools }.to_string();
        let strings = |values: &mut dyn Iterator<Item = &str>| {
            toml::Value::from(values.collect::<Vec<_>>()).to_string()
        };
        let string = |value: &str| toml::Value::from(value).to_string();
        let text = format!(
            "summary = \"Packages that the workspace names\"\nsuite = {}\narchitecture = {}\n\
             from = {}\npackages = {}\ndrop = {}\nkeep = [\"usr/share/doc/*/copyright\"]\n",
            string(&base.suite),
            string(&base.architecture),
            string(&from),
            strings(&mut self.packages()),
            strings(&mut DROPPED.into_iter()),
        );
        let digest = Digest::of(&text);
        (toml::from_str(&text).expect("the text is a recipe"), digest)
    }
}

/// The packages that a name of [`PACKAGES`] stands for.
pub(super) fn packages(name: &str) -> Option<Composition> {
    let composition: Composition = name.parse().expect("every name is one");
    (composition.image == PACKAGES && !composition.tools.is_empty()).then_some(composition)
}

/// Whether a name is that of a composition.
pub(super) fn is_composed(name: &str) -> bool {
    name.contains(AND) && packages(name).is_none()
}

/// The images that an image is made of; itself, if it is no composition.
pub(super) fn parts(name: &str) -> Vec<String> {
    if !is_composed(name) {
        return vec![name.to_owned()];
    }
    name.parse::<Composition>().expect("every name is one").parts()
}

/// What an image's lock calls it, and its file.
pub fn name_in_lock(name: &str) -> &str {
    if packages(name).is_some() { PACKAGES } else { name }
}

/// The names of all tools in a folder of recipes, as images; sorted.
pub(super) fn list(recipes: &Path) -> std::io::Result<Vec<String>> {
    let folder = recipes.join(FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let names = recipe::list(&folder)?.into_iter();
    Ok(names.map(|name| format!("{FOLDER}{name}")).collect())
}

/// What no build reads of a package.
const DROPPED: [&str; 8] = [
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
];

impl Images {
    /// The same for a workspace, in whose folder packages are locked.
    #[must_use]
    pub fn with_workspace(mut self, root: &Path) -> Self {
        root.clone_into(&mut self.workspace);
        self
    }

    /// The image of the packages among a workspace's tools, if there are any.
    pub fn packages(tools: &[String]) -> Option<String> {
        let composition = Composition { image: PACKAGES.to_owned(), tools: tools.to_vec() };
        composition.packages().next()?;
        Some(composition.to_string())
    }

    /// The names of the tools that there are recipes of.
    ///
    /// # Errors
    /// If the folder can't be read.
    pub fn tools(&self) -> Result<Vec<String>, ImageError> {
        let folder = self.recipes.join(FOLDER);
        let names =
            list(&self.recipes).map_err(|source| ImageError::Folder { path: folder, source })?;
        Ok(names.into_iter().map(|name| name[FOLDER.len()..].to_owned()).collect())
    }

    /// The name of `image` with tools on top.
    ///
    /// # Errors
    /// If there is no such tool.
    pub fn with_tools(&self, image: &str, tools: &[String]) -> Result<String, ImageError> {
        if tools.is_empty() {
            return Ok(image.to_owned());
        }
        let known = self.tools()?;
        let is_known = |tool: &&String| tool.starts_with(DEBIAN) || known.contains(tool);
        if let Some(name) = tools.iter().find(|tool| !is_known(tool)).cloned() {
            return Err(ToolError::Unknown { name, known }.into());
        }
        Ok(Composition { image: image.to_owned(), tools: tools.to_vec() }.to_string())
    }

    /// Looks for each of a workspace's tools. Its packages are one, as they are locked together on top of the
    /// others; so nothing is said of them where one of those is unknown.
    pub fn look_for(&self, tools: &[String]) -> Vec<(String, Result<Tool, ImageError>)> {
        let (packages, recipes): (Vec<&String>, Vec<&String>) =
            tools.iter().partition(|tool| tool.starts_with(DEBIAN));
        let image = |tool: &String| self.with_tools(BASE, std::slice::from_ref(tool));
        let mut images: Vec<(String, Result<String, ImageError>)> =
            recipes.into_iter().map(|tool| (tool.clone(), image(tool))).collect();
        if let Some(image) = Self::packages(tools)
            && images.iter().all(|(_, image)| image.is_ok())
        {
            let names: Vec<&str> = packages.into_iter().map(String::as_str).collect();
            images.push((names.join(", "), Ok(image)));
        }
        let found = |(name, image): (String, Result<String, ImageError>)| {
            (name, image.and_then(|image| self.tool(&image)))
        };
        images.into_iter().map(found).collect()
    }

    /// What is known of what an image adds to `base`; of packages, to `base` and the tools.
    fn tool(&self, image: &str) -> Result<Tool, ImageError> {
        let chain = self.chain(image)?;
        let store = self.cache.dir("layers")?;
        let adds = |locked: &&Locked| match packages(image) {
            Some(_) => locked.lock.image == PACKAGES,
            None => locked.lock.image != BASE,
        };
        let layers = || chain.iter().filter(adds).flat_map(|locked| &locked.lock.layers);
        let size = layers().map(|layer| layer.size).sum();
        Ok(Tool { size, is_here: layers().all(|layer| super::stored(&store, layer).is_some()) })
    }

    /// What the tools on top of an image set for builds for `target`.
    ///
    /// # Errors
    /// If a recipe can't be read.
    pub fn tool_environment(
        &self,
        image: &str,
        target: &Triple,
    ) -> Result<Vec<(String, String)>, ImageError> {
        let mut all = Vec::new();
        for name in self.below_first(image)? {
            all.extend(self.recipe(&name)?.0.environment_for(target));
        }
        Ok(all)
    }

    /// The folder that an image's recipe and lock lie below.
    pub(super) fn folder(&self, image: &str) -> &Path {
        if packages(image).is_some() { &self.workspace } else { &self.recipes }
    }

    /// The recipe of an image, and its digest.
    pub(super) fn recipe(&self, image: &str) -> Result<(Recipe, Digest), RecipeError> {
        match packages(image) {
            Some(packages) => Ok(packages.recipe(&Recipe::read(&self.recipes, BASE)?.0)),
            None => Recipe::read(self.folder(image), image),
        }
    }

    /// The lock of an image.
    pub(super) fn read_lock(&self, image: &str) -> Result<Lock, LockError> {
        Lock::read(self.folder(image), name_in_lock(image))
    }

    /// The lock of an image, if it has one.
    pub(super) fn find_lock(&self, image: &str) -> Result<Option<Lock>, LockError> {
        Lock::find(self.folder(image), name_in_lock(image))
    }
}

impl Composition {
    pub(super) fn not_locked(&self, path: PathBuf) -> ImageError {
        let packages = self.packages().map(str::to_owned).collect();
        ToolError::NotLocked { path, packages }.into()
    }
}

/// Whether the parts of a composition go together: all stand on one image, and a package that two of them
/// have is the same. (The same file in two layers does no harm.)
pub(super) fn check(name: &str, chain: &[Locked]) -> Result<(), ToolError> {
    let mut grounds = chain.iter().filter(|locked| locked.lock.from.is_none());
    let (image, other) = (grounds.next(), grounds.next());
    if let (Some(_), Some(other)) = (image, other) {
        let base = other.lock.image.clone();
        let on_it = |locked: &&Locked| locked.lock.from.as_ref().is_some_and(|f| f.image == base);
        let tool = chain.iter().find(on_it).map_or("", |locked| &locked.lock.image);
        let tool = tool.trim_start_matches(FOLDER).to_owned();
        let image = name.split(AND).next().unwrap_or(name).to_owned();
        return Err(ToolError::OtherBase { tool, base, image });
    }
    let mut known: BTreeMap<&str, (&Lock, &str)> = BTreeMap::new();
    for Locked { lock, .. } in chain {
        for package in &lock.packages {
            match known.insert(&package.name, (lock, &package.version)) {
                Some((first, version)) if version != package.version => {
                    let of = |lock: &Lock, version: &str| (lock.image.clone(), version.to_owned());
                    let found = vec![of(first, version), of(lock, &package.version)];
                    return Err(ToolError::TwoVersions { package: package.name.clone(), found });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The image of a composition: environment of all parts, architecture and time of the lowest one.
pub(super) fn finish(name: &str, chain: &[&Locked], layers: Vec<(LayerContent, Layer)>) -> Image {
    let documents: Vec<_> = chain.iter().map(|locked| (&locked.recipe, &locked.lock)).collect();
    let mut description = assemble::description(name, &documents);
    let lock = target_lock(name, chain);
    (description.epoch, description.architecture) = (lock.epoch, lock.architecture.clone());
    oci::image(description, layers)
}

/// The lock of a composition: that of the image which the tools stand on, with the composition's digests.
pub(super) fn lock(name: &str, chain: &[&Locked]) -> Lock {
    let layers = chain.iter().flat_map(|locked| &locked.lock.layers);
    let layer = |layer: &LockedLayer| {
        let made = Layer { diff_id: layer.diff_id, size: layer.size, file: PathBuf::new() };
        (layer.content.clone(), made)
    };
    let image = finish(name, chain, layers.map(layer).collect());
    let (config, manifest) = (image.config, image.manifest);
    Lock { image: name.to_owned(), config, manifest, ..target_lock(name, chain).clone() }
}

fn target_lock<'a>(name: &str, chain: &[&'a Locked]) -> &'a Lock {
    let image = name.split(AND).next().unwrap_or(name);
    let locked = chain.iter().find(|locked| locked.lock.image == image);
    &locked.expect("a chain holds the image that it is of").lock
}

impl Images {
    /// Notes a composition's digests in the cache, so that what engines made of it is kept while the
    /// recipes are there: no lock names them.
    pub(super) fn note(&self, image: &Image) -> Result<(), CacheError> {
        let recipes = std::path::absolute(&self.recipes).unwrap_or_else(|_| self.recipes.clone());
        let text = format!("{}\n{}\n{}\n", recipes.to_string_lossy(), image.config, image.manifest);
        let path = self.cache.dir(COMPOSED)?.join(image.manifest.short());
        if path.exists() { Ok(()) } else { crate::cache::write_atomically(&path, text.as_bytes()) }
    }
}

/// Where the digests of compositions are noted.
pub(super) const COMPOSED: &str = "composed";
