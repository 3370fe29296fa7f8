//! A lock made: what the archive has, resolved and assembled by the very steps that fulfil it later.

use std::fs;
use std::io::Write as _;

use keyway_manifest::{Digest, Hasher};

use super::archive::{self, Archive};
use super::assemble::{Assembler, UNPACKED_LIMIT, description, mirrors};
use super::dockerfile;
use super::download::{Downloads, megabytes};
use super::error::ImageError;
use super::fetched;
use super::http::Http;
use super::lock::{From, LayerContent, Lock, LockedLayer, LockedWheel, Package, VERSION};
use super::oci;
use super::ready::{self, Blob, LockedReady};
use super::recipe::{Fetch, Recipe};
use super::reference;
use super::release::timestamp;
use super::renewal::{self, Pins};
use super::resolve::Index;
use super::rust_dist;
use super::standard_library;
use super::toolchain::{self, LockedToolchain};
use super::wheel;
use super::{Images, Locked, Outlook, stored};
use crate::cache::write_atomically;
use crate::container::{Image, Layer, Runner};
use crate::shell::Shell;

/// Locks one image and writes its lock.
pub(super) fn lock(
    images: &Images,
    image: &str,
    pins: Pins,
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
    if let (Pins::Kept, Ok(old)) = (pins, Lock::read(&images.recipes, image)) {
        keep(&old, &mut lock)?;
    }
    let mut layers = Vec::new();
    let store = images.cache.dir("layers")?;
    for layer in below.iter().flat_map(|locked| &locked.lock.layers) {
        let found = stored(&store, layer).expect("the image below was made just now");
        layers.push((layer.content.to_string(), found));
    }
    for content in contents(&recipe, &lock) {
        let assembler = Assembler::new(images, &below, &recipe, &lock, runner, shell)?;
        let made = match &content {
            LayerContent::Std(target) if recipe.compiles(target) => {
                remembered(images, &lock, &assembler, &content, &layers, shell)?
            }
            _ => assembler.layer(&content, &layers)?,
        };
        let (diff_id, size) = (made.diff_id, made.size);
        layers.push((content.to_string(), made));
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
    lock.write(&images.recipes)?;
    let total = made.layers.iter().map(|layer| layer.size).sum();
    shell.status(
        "Locked",
        format_args!("{image} {} ({} MB)", made.config.short(), megabytes(total)),
    );
    Ok(made)
}

/// What an update of an image would change.
pub(super) fn outlook(images: &Images, image: &str, shell: &Shell) -> Result<Outlook, ImageError> {
    let (recipe, digest) = Recipe::read(&images.recipes, image)?;
    let old = Lock::read(&images.recipes, image)?;
    let below = recipe.from.as_ref().map(|below| images.chain(below)).transpose()?;
    let new = resolve(images, image, &recipe, digest, &below.unwrap_or_default(), shell)?;
    let mirrors = mirrors(images, &old.suite, Some(old.epoch));
    let gone = renewal::gone(&old, &new, &mirrors, &Http::new());
    Ok(Outlook { changes: renewal::versions(&old, &new), gone })
}

/// Holds a lock to what was locked before: the same versions, and so the same time.
fn keep(old: &Lock, new: &mut Lock) -> Result<(), ImageError> {
    let moved = renewal::versions(old, new).into_iter();
    let moved: Vec<String> = moved
        .filter(|change| change.old.is_some() && change.new.is_some())
        .map(|change| change.to_string())
        .collect();
    // A wheel's version is in the recipe, so its editor moved it.
    let moved: Vec<String> =
        moved.into_iter().filter(|change| !change.starts_with("wheel ")).collect();
    if !moved.is_empty() {
        return Err(ImageError::PinsMove { image: new.image.clone(), moved });
    }
    if old.suite == new.suite {
        new.snapshot.clone_from(&old.snapshot);
        new.epoch = old.epoch;
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
    if !recipe.files.is_empty() || !recipe.links.is_empty() {
        contents.push(LayerContent::Files);
    }
    let libraries = recipe.standard_libraries.iter();
    contents.extend(libraries.map(|library| LayerContent::Std(library.target.clone())));
    contents
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
    if recipe.reference.is_some() || recipe.dockerfile.is_some() {
        return resolve_ready(images, image, recipe, digest);
    }
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
        for package in [&library.source].into_iter().chain(&library.bootstrap) {
            if !sources.iter().any(|known| known.name == *package) {
                sources.push(index.package(package)?);
            }
        }
    }
    let scratch = images.scratch()?;
    let fetch = |wheel| wheel::fetch(wheel, None, &downloads, &http, &scratch);
    let wheels: Vec<LockedWheel> = recipe.wheels.iter().map(fetch).collect::<Result<_, _>>()?;
    let known = Lock::read(&images.recipes, image).ok();
    let known = |url: &str| known.as_ref()?.fetches.iter().find(|fetch| fetch.url == url);
    let fetch = |fetch: &Fetch| fetched::lock(fetch, known(&fetch.url), &http, &downloads);
    let fetches = recipe.fetches.iter().map(fetch).collect::<Result<_, _>>()?;
    let rust = |rust| rust_dist::lock(rust, architecture, &http, &downloads);
    let rust = recipe.rust.first().map(rust).transpose()?;
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
        fetches,
        rust,
        ready: None,
        sources,
        toolchains: Vec::new(),
    })
}

/// The lock of an image that others made.
fn resolve_ready(
    images: &Images,
    image: &str,
    recipe: &Recipe,
    digest: Digest,
) -> Result<Lock, ImageError> {
    let (ready, epoch) = match (&recipe.reference, &recipe.dockerfile) {
        (Some(reference), _) => reference::lock(reference, &recipe.architecture, &Http::new())?,
        (None, path) => {
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

/// A standard library is compiled once for the same image, source and script; what came out is noted
/// in the cache, so that locking again costs no compilation.
fn remembered(
    images: &Images,
    lock: &Lock,
    assembler: &Assembler<'_>,
    content: &LayerContent,
    below: &[(String, Layer)],
    shell: &Shell,
) -> Result<Layer, ImageError> {
    let mut key = Hasher::new();
    let image = assembler.image(below.to_vec());
    let sources = lock.sources.iter().map(|source| source.sha256.to_string());
    let parts = [image.manifest.to_string(), content.to_string(), standard_library::SCRIPT.into()];
    for part in parts.into_iter().chain(sources) {
        // A `Hasher` takes all that is written to it.
        let _ = writeln!(key, "{} {part}", part.len());
    }
    let note = images.cache.dir("std")?.join(key.finish().to_string());
    let store = images.cache.dir("layers")?;
    let known = fs::read_to_string(&note).ok().and_then(|text| {
        let (diff_id, size) = text.trim().split_once(' ')?;
        let (diff_id, size) = (diff_id.parse().ok()?, size.parse().ok()?);
        stored(&store, &LockedLayer { content: content.clone(), diff_id, size })
    });
    if let Some(known) = known {
        return Ok(known);
    }
    shell.detail("Compiling", format_args!("{content}, to be noted in `{}`", note.display()));
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
