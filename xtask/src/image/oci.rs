//! The documents of an image, and the one archive that every engine can load.
//!
//! Canonical JSON, times clamped to the epoch, layers uncompressed: so a layer's digest is its diffID,
//! and all digests follow from the lock. Docker 20.10 knows no OCI layout, hence `manifest.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, canonical};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::container::{Image, Layer};
use crate::time::rfc3339;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What an archive holds beside blobs.
pub(super) const DOCUMENTS: [&str; 3] = ["oci-layout", "index.json", "manifest.json"];
/// Where the blobs of an archive lie, each under its digest.
pub(super) const BLOBS: &str = "blobs/sha256/";

/// What the documents of an image say beside its layers.
#[derive(Debug, Clone)]
pub struct Description {
    /// The recipe's name.
    pub name: String,
    /// The architecture, as Debian names it.
    pub architecture: String,
    /// Environment of commands.
    pub env: BTreeMap<String, String>,
    /// Every time in the image.
    pub epoch: u64,
}

/// What OCI calls an architecture that Debian names: by Go's names, where most are the same.
pub(super) fn architecture_of(debian: &str) -> &str {
    match debian {
        "armhf" => "arm",
        "i386" => "386",
        "ppc64el" => "ppc64le",
        same => same,
    }
}

/// An image of `layers`, lowest first, each with what it holds.
pub fn image<T: Display>(description: Description, layers: Vec<(T, Layer)>) -> Image {
    let Description { name, architecture, env, epoch } = description;
    let created = rfc3339(epoch);
    let history: Vec<Value> = layers
        .iter()
        .map(|(content, _)| json!({ "created": created, "created_by": format!("keyway: {content}") }))
        .collect();
    let variables: Vec<String> =
        env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let diff_ids: Vec<String> = layers.iter().map(|(_, layer)| layer.diff_id.prefixed()).collect();
    let config_json = document(&json!({
        "architecture": architecture_of(&architecture),
        "config": { "Env": variables },
        "created": created,
        "history": history,
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    }));
    let config = Digest::of(&config_json);
    let layers: Vec<Layer> = layers.into_iter().map(|(_, layer)| layer).collect();
    let blobs: Vec<Value> =
        layers.iter().map(|layer| descriptor(LAYER, layer.diff_id, layer.size)).collect();
    let manifest_json = document(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config, config_json.len() as u64),
        "layers": blobs,
    }));
    let manifest = Digest::of(&manifest_json);
    Image { name, config, manifest, config_json, manifest_json, layers, env, epoch }
}

/// The tag that an engine shows for an image; only for people, since it is found by digest.
pub fn tag(image: &Image) -> String {
    // What stands on top has no place in a repository's name.
    let name = image.name.split_once(' ').map_or(image.name.as_str(), |(name, _)| name);
    let more = if name == image.name { "" } else { "-with-tools" };
    format!("keyway/{name}{more}:{}", image.config.short())
}

/// Writes images as one tar that is an OCI layout and a Docker archive; what several share is in it
/// once.
///
/// # Errors
/// If a layer can't be read, or is not of its size, or `out` fails.
pub fn write_archive(images: &[&Image], out: &mut dyn Write) -> io::Result<()> {
    let index = document(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": images.iter().map(|image| named(image)).collect::<Vec<_>>(),
    }));
    let docker = document(&images.iter().map(|image| for_docker(image)).collect());
    let layout = document(&json!({ "imageLayoutVersion": "1.0.0" }));
    let mut archive = Builder::new(out);
    for (path, bytes) in DOCUMENTS.into_iter().zip([layout, index, docker]) {
        archive.append(&header(path, bytes.len() as u64)?, bytes.as_slice())?;
    }
    let mut written = BTreeSet::new();
    for image in images {
        append_blobs(&mut archive, image, &mut written)?;
    }
    archive.finish()
}

/// An image as the index lists it.
fn named(image: &Image) -> Value {
    let mut named = descriptor(MANIFEST, image.manifest, image.manifest_json.len() as u64);
    named["annotations"] = json!({ "org.opencontainers.image.ref.name": tag(image) });
    named
}

/// An image as Docker's `manifest.json` lists it.
fn for_docker(image: &Image) -> Value {
    let layers: Vec<String> = image.layers.iter().map(|layer| blob(layer.diff_id)).collect();
    json!({ "Config": blob(image.config), "RepoTags": [tag(image)], "Layers": layers })
}

/// Appends documents and layers that are not `written` yet.
fn append_blobs(
    archive: &mut Builder<&mut dyn Write>,
    image: &Image,
    written: &mut BTreeSet<Digest>,
) -> io::Result<()> {
    let documents = [(image.manifest, &image.manifest_json), (image.config, &image.config_json)];
    for (digest, bytes) in documents {
        if written.insert(digest) {
            archive.append(&header(&blob(digest), bytes.len() as u64)?, bytes.as_slice())?;
        }
    }
    for layer in &image.layers {
        if !written.insert(layer.diff_id) {
            continue;
        }
        let file = File::open(&layer.file)?;
        if file.metadata()?.len() != layer.size {
            let path = layer.file.shown();
            return Err(io::Error::other(format!("layer `{path}` is not of its size any more")));
        }
        archive.append(&header(&blob(layer.diff_id), layer.size)?, file)?;
    }
    Ok(())
}

fn blob(digest: Digest) -> String {
    format!("{BLOBS}{digest}")
}

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest.prefixed(), "size": size })
}

fn document(value: &Value) -> Vec<u8> {
    canonical::compact(value).expect("no document holds a float").into_bytes()
}

fn header(path: &str, size: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_path(path)?;
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}
