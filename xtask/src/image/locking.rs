//! A lock made: what the archive has, resolved and assembled by the very steps that fulfil it later.

use std::collections::BTreeMap;

use keyway_manifest::Digest;

use super::archive::{self, Archive};
use super::assemble::{Assembler, UNPACKED_LIMIT, description, mirrors};
use super::debian::DebianArchive;
use super::dockerfile;
use super::download::{Downloads, megabytes};
use super::error::ImageError;
use super::fetched;
use super::http::{Expected, Http};
use super::lock::{From, LayerContent, Lock, LockedLayer, LockedWheel, Package, VERSION};
use super::oci;
use super::ready::{self, Blob, LockedReady};
use super::recipe::{Fetch, Recipe, Wheel};
use super::reference;
use super::remembered::{Making, key_of};
use super::renewal::{self, Pins, Suites};
use super::resolve::Index;
use super::rust_dist;
use super::toolchain::{self, LockedToolchain};
use super::tools;
use super::wheel;
use super::{Images, Outlook, stored};
use crate::container::{Image, Layer, Runner};
use crate::shell::Shell;
use crate::time::timestamp;

/// Locks one image and writes its lock.
pub(super) fn lock(
    images: &Images,
    image: &str,
    pins: Pins,
    runner: &dyn Runner,
    shell: &Shell,
) -> Result<Image, ImageError> {
    let (recipe, digest) = images.recipe(image)?;
    let below = match &recipe.from {
        Some(below) => {
            images.ensure_unlocked(below, runner, shell)?;
            images.chain(below)?
        }
        None => Vec::new(),
    };
    let known = images.find_lock(image)?;
    let locks: Vec<&Lock> = below.iter().map(|locked| &locked.lock).collect();
    let known_lock = known.as_ref();
    let asked = Asked { image, recipe: &recipe, digest, below: &locks, known: known_lock, pins };
    let mut lock = resolve(images, &asked, shell)?;
    if let Some(below) = &recipe.from {
        let manifest = images.locked(below)?.manifest;
        lock.from = Some(From { image: below.clone(), manifest });
    }
    if let (Pins::Kept, Some(old)) = (pins, &known) {
        keep(old, &mut lock)?;
    }
    let mut layers = Vec::new();
    let store = images.cache.dir("layers")?;
    for layer in below.iter().flat_map(|locked| &locked.lock.layers) {
        let found = stored(&store, layer).expect("the image below was made just now");
        layers.push((layer.content.clone(), found));
    }
    for content in contents(&recipe, &lock) {
        let assembler = Assembler::new(images, &below, &recipe, &lock, runner, shell)?;
        let made = match &content {
            LayerContent::Std(target) if !recipe.compiles(target) => {
                assembler.layer(&content, &layers)?
            }
            _ if content.is_compiled() => {
                compiled(images, &lock, &assembler, &content, &layers, shell)?
            }
            _ => assembler.layer(&content, &layers)?,
        };
        let (diff_id, size) = (made.diff_id, made.size);
        layers.push((content.clone(), made));
        lock.layers.push(LockedLayer { content, diff_id, size });
    }
    let chain: Vec<(&Recipe, &Lock)> = below
        .iter()
        .map(|locked| (&locked.recipe, &locked.lock))
        .chain([(&recipe, &lock)])
        .collect();
    let made = oci::image(description(image, &chain), layers);
    (lock.config, lock.manifest) = (made.config, made.manifest);
    let locks: Vec<&Lock> = below.iter().map(|locked| &locked.lock).chain([&lock]).collect();
    lock.toolchains = toolchains(images, image, &recipe, &locks, &made, runner)?;
    lock.write(images.folder(image))?;
    let total = made.layers.iter().map(|layer| layer.size).sum();
    shell.status(
        "Locked",
        format_args!("{image} {} ({} MB)", made.config.short(), megabytes(total)),
    );
    Ok(made)
}

/// What an update of images would change, each on top of what it would make of those below.
pub(super) fn outlooks(
    images: &Images,
    names: &[String],
    suites: Suites,
    shell: &Shell,
) -> Result<Vec<Outlook>, ImageError> {
    let mut resolved: BTreeMap<String, (Lock, Lock)> = BTreeMap::new();
    let progress = shell.steps(names.len());
    for name in names {
        progress.begin("Resolving", name);
        let chain = images.below_first(name)?;
        for image in &chain {
            if resolved.contains_key(image) {
                continue;
            }
            let (recipe, digest) = images.recipe(image)?;
            let old = images.read_lock(image)?;
            let below = images.below_first(image)?.into_iter().filter(|below| below != image);
            let below: Vec<&Lock> = below.map(|below| &resolved[&below].1).collect();
            let (known, pins) = (Some(&old), Pins::Moved(suites));
            let asked = Asked { image, recipe: &recipe, digest, below: &below, known, pins };
            let new = resolve(images, &asked, shell)?;
            resolved.insert(image.clone(), (old, new));
        }
    }
    let http = Http::new();
    let outlook = |name: &String| {
        let (old, new) = &resolved[name];
        let gone = renewal::gone(old, new, &mirrors(images, &old.suite, &old.states()), &http);
        Outlook { image: name.clone(), changes: renewal::versions(old, new), gone }
    };
    Ok(names.iter().map(outlook).collect())
}

/// Holds a lock to what was locked before: the same versions, and so the same time.
fn keep(old: &Lock, new: &mut Lock) -> Result<(), ImageError> {
    let moved: Vec<String> = renewal::moved(old, new).iter().map(ToString::to_string).collect();
    if !moved.is_empty() {
        return Err(ImageError::PinsMove { image: new.image.clone(), moved });
    }
    if old.suite == new.suite {
        new.snapshot.clone_from(&old.snapshot);
        new.epoch = old.epoch;
        new.security_epoch = old.security_epoch.or(new.security_epoch);
    }
    Ok(())
}

/// The layers that a recipe makes, lowest first.
fn contents(recipe: &Recipe, lock: &Lock) -> Vec<LayerContent> {
    let mut contents = Vec::new();
    let ready = lock.ready.iter().flat_map(|ready| 1..=ready.blobs.len());
    if recipe.reference.is_some() {
        contents.extend(ready.map(LayerContent::Reference));
    } else {
        contents.extend(ready.map(LayerContent::Dockerfile));
    }
    if !recipe.packages.is_empty() {
        contents.push(LayerContent::Packages);
    }
    contents.extend(recipe.wheels.iter().map(|wheel| LayerContent::Wheel(wheel.name.clone())));
    for rust in &recipe.rust {
        contents.push(LayerContent::Rust(rust.version.clone()));
        let targets = rust_dist::targets(rust, &recipe.architecture).into_iter();
        // One that is no triple has failed before.
        contents.extend(targets.filter_map(|target| target.parse().ok()).map(LayerContent::Std));
    }
    contents.extend(recipe.fetches.iter().map(|fetch| LayerContent::Fetch(fetch.url.clone())));
    let early: Vec<bool> = (recipe.files.iter().map(|file| file.early))
        .chain(recipe.folders.iter().map(|_| false))
        .chain(recipe.links.iter().map(|link| link.early))
        .collect();
    if early.contains(&true) {
        contents.push(LayerContent::EarlyFiles);
    }
    let libraries = recipe.standard_libraries.iter();
    contents.extend(libraries.map(|library| LayerContent::Std(library.target.clone())));
    if early.contains(&false) {
        contents.push(LayerContent::Files);
    }
    let links = recipe.first_links.iter();
    contents.extend(links.map(|link| LayerContent::FirstLink(link.target.clone())));
    contents
}

/// An image that is to be locked.
struct Asked<'a> {
    image: &'a str,
    recipe: &'a Recipe,
    digest: Digest,
    /// The locks of the images below, lowest first.
    below: &'a [&'a Lock],
    /// Its lock so far.
    known: Option<&'a Lock>,
    pins: Pins,
}

impl<'a> Asked<'a> {
    /// The lock so far, where its pins are kept.
    fn kept(&self) -> Option<&'a Lock> {
        self.known.filter(|_| self.pins == Pins::Kept)
    }

    /// Whether security updates may go in: it is asked for, or they may go in here or below already.
    /// An image below that has them would otherwise have other versions than the suite above.
    fn takes_security(&self) -> bool {
        let mut locks = self.below.iter().copied().chain(self.known);
        self.pins == Pins::Moved(Suites::WithSecurity)
            || locks.any(|lock| lock.security_epoch.is_some())
    }
}

/// All of a lock that the archive and the recipe decide.
fn resolve(images: &Images, asked: &Asked<'_>, shell: &Shell) -> Result<Lock, ImageError> {
    let Asked { image, recipe, digest, below, known, .. } = *asked;
    if recipe.reference.is_some() || recipe.dockerfile.is_some() {
        return resolve_ready(images, asked);
    }
    let http = Http::new();
    let downloads = Downloads::open(&images.cache, shell)?;
    let mirrors = mirrors(images, &recipe.suite, &[]);
    let keyring = archive::keyring(&images.recipes.join("keyring"))?;
    let (suite, architecture) = (&recipe.suite, &recipe.architecture);
    let fetch = |name| Archive::fetch(&http, &mirrors, &keyring, &downloads, name, architecture);
    let archive = fetch(DebianArchive::Main)?;
    let security = asked.takes_security().then(|| fetch(DebianArchive::Security)).transpose()?;
    let mut indexes = vec![(DebianArchive::Main, archive.index.as_str())];
    indexes.extend(security.iter().map(|found| (DebianArchive::Security, found.index.as_str())));
    let index = Index::parse(&indexes, architecture)?;
    let installed: Vec<Package> =
        below.iter().flat_map(|lock| lock.packages.iter().cloned()).collect();
    let packages = index.closure(&recipe.packages, &recipe.without, &installed)?;
    let mut sources: Vec<Package> = Vec::new();
    for library in &recipe.standard_libraries {
        for package in [&library.source].into_iter().chain(&library.bootstrap) {
            if !sources.iter().any(|known| known.name == *package) {
                sources.push(index.package(package)?);
            }
        }
    }
    let scratch = images.scratch()?;
    // A file of an index never changes; one that is here need not be brought again.
    let kept = |wheel: &Wheel| {
        let mut wheels = known.into_iter().flat_map(|known| &known.wheels);
        wheels.find(|LockedWheel { file, size, sha256, .. }| {
            let (size, sha256) = (*size, *sha256);
            wheel::fits(file, wheel) && downloads.has(Expected { size, sha256 })
        })
    };
    let fetch = |wheel| wheel::fetch(wheel, kept(wheel), &downloads, &http, &scratch);
    let wheels: Vec<LockedWheel> = recipe.wheels.iter().map(fetch).collect::<Result<_, _>>()?;
    let known = |url: &str| known?.fetches.iter().find(|fetch| fetch.url == url);
    let fetch = |fetch: &Fetch| fetched::lock(fetch, known(&fetch.url), &http, &downloads);
    let fetches = recipe.fetches.iter().map(fetch).collect::<Result<_, _>>()?;
    let locked = asked.kept().and_then(|known| known.rust.as_ref());
    let rust = |rust| rust_dist::lock(rust, locked, architecture, &http, &downloads);
    let rust = recipe.rust.first().map(rust).transpose()?;
    Ok(Lock {
        version: VERSION,
        image: tools::name_in_lock(image).to_owned(),
        suite: suite.clone(),
        architecture: architecture.clone(),
        snapshot: timestamp(archive.release.epoch),
        epoch: archive.release.epoch,
        security_epoch: security.map(|found| found.release.epoch),
        recipe: digest,
        config: Digest::of(""),
        manifest: Digest::of(""),
        from: None,
        layers: Vec::new(),
        packages,
        wheels,
        fetches,
        rust,
        ready: None,
        sources,
        toolchains: Vec::new(),
    })
}

/// The lock of an image that others made.
fn resolve_ready(images: &Images, asked: &Asked<'_>) -> Result<Lock, ImageError> {
    let Asked { image, recipe, digest, .. } = *asked;
    let (ready, epoch) = match (&recipe.reference, &recipe.dockerfile) {
        (Some(reference), _) => reference::lock(reference, &recipe.architecture, &Http::new())?,
        (None, path) => {
            if let Some(known) = as_built(images, asked)? {
                return Ok(known);
            }
            let path = path.clone().unwrap_or_default();
            let (scratch, store) = (images.scratch()?, images.cache.dir("layers")?);
            let built =
                dockerfile::build(&images.recipes.join(&path), UNPACKED_LIMIT, &scratch, &store)?;
            let blobs = built.layers.iter().map(|layer| Blob {
                size: layer.size,
                sha256: layer.diff_id,
                diff_id: layer.diff_id,
            });
            let (env, blobs) = (built.config.env, blobs.collect());
            (LockedReady { source: path, rebuildable: false, env, blobs }, built.config.epoch)
        }
    };
    Ok(Lock {
        version: VERSION,
        image: image.to_owned(),
        suite: String::new(),
        architecture: recipe.architecture.clone(),
        snapshot: timestamp(epoch),
        epoch,
        security_epoch: None,
        recipe: digest,
        config: Digest::of(""),
        manifest: Digest::of(""),
        from: None,
        layers: Vec::new(),
        packages: Vec::new(),
        wheels: Vec::new(),
        fetches: Vec::new(),
        rust: None,
        ready: Some(ready),
        sources: Vec::new(),
        toolchains: Vec::new(),
    })
}

/// The lock of a Dockerfile's image without what follows from its layers, if nothing has changed since
/// it was built and its layers are here. A build now might give others.
fn as_built(images: &Images, asked: &Asked<'_>) -> Result<Option<Lock>, ImageError> {
    let store = images.cache.dir("layers")?;
    let is_here = |layer: &LockedLayer| stored(&store, layer).is_some();
    let known = asked.kept().filter(|known| known.recipe == asked.digest);
    Ok(known
        .filter(|known| known.ready.is_some() && known.layers.iter().all(is_here))
        .map(|known| Lock { layers: Vec::new(), toolchains: Vec::new(), ..known.clone() }))
}

/// What is compiled is compiled once for the same image, source and script; what came out is noted
/// in the cache, so that locking again costs no compilation.
fn compiled(
    images: &Images,
    lock: &Lock,
    assembler: &Assembler<'_>,
    content: &LayerContent,
    below: &[(LayerContent, Layer)],
    shell: &Shell,
) -> Result<Layer, ImageError> {
    let (image, script) = assembler.compiled_from(content, below);
    let sources = assembler.sources().into_iter().map(|source| source.sha256.to_string());
    let parts = [image.to_string(), content.to_string(), script.to_owned()];
    let key = key_of(parts.into_iter().chain(sources));
    let does = format!("compiles {content} of {}", lock.image);
    images.remembered(&Making { key, does }, shell, || {
        shell.detail("Compiling", format_args!("{content}, to be noted as `{key}`"));
        assembler.layer(content, below)
    })
}

fn toolchains(
    images: &Images,
    name: &str,
    recipe: &Recipe,
    locks: &[&Lock],
    image: &Image,
    runner: &dyn Runner,
) -> Result<Vec<LockedToolchain>, ImageError> {
    let scratch = images.scratch()?;
    let mut records = Vec::new();
    for toolchain in &recipe.toolchains {
        let std = match &toolchain.std {
            Some(package) => {
                let mut all = locks.iter().flat_map(|lock| &lock.packages);
                all.find(|known| known.name == *package).map(|package| package.sha256)
            }
            None => {
                let content = LayerContent::Std(toolchain.target.clone());
                // The uppermost is the one that is seen.
                let mut all = locks.iter().rev().flat_map(|lock| &lock.layers);
                all.find(|layer| layer.content == content).map(|layer| layer.diff_id)
            }
        };
        let std = match std {
            None if toolchain.std.is_none() => {
                ready::standard_library(&image.layers, &toolchain.target)?
            }
            std => std,
        };
        let std = std.ok_or_else(|| ImageError::NoStandardLibrary {
            image: name.to_owned(),
            target: toolchain.target.clone(),
        })?;
        records.push(toolchain::record(image, toolchain, std, runner, &scratch)?);
    }
    Ok(records)
}
