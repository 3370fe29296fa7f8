//! A ready image by digest, from a registry (OCI distribution): manifest, configuration, layers.
//!
//! Every document is checked against the digest that names it, and every layer, once unpacked, against
//! the configuration. A tag is resolved to be told, never to be used.

use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::Digest;
use serde::Deserialize;
use thiserror::Error;

use super::download::{DownloadError, Downloads};
use super::http::{Expected, Http, HttpError};
use super::oci;
use super::ready::{self, Blob, Configuration, LockedReady};
use super::recipe::Reference;
use super::registry::{Access, Registry};
use super::tarball;
use crate::container::Layer;
use crate::failure::{Diagnose, Exit};

/// Documents of images have some kilobytes.
const DOCUMENT_LIMIT: u64 = 8 << 20;
/// What a manifest may be.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// Why a ready image can't be had.
#[derive(Debug, Error)]
pub enum ReferenceError {
    /// It is named by a tag, which may mean another image tomorrow.
    #[error("`{reference}` is a tag, which may name another image tomorrow")]
    Tag {
        /// The reference.
        reference: Box<Reference>,
        /// The digest that it has now.
        digest: Digest,
    },
    /// The registry does not give it.
    #[error("could not get `{reference}`")]
    Unavailable {
        /// The reference.
        reference: Box<Reference>,
        /// Why.
        source: HttpError,
    },
    /// A document has another digest than its name says.
    #[error("the registry gives `{reference}` a document with sha256 {found}, expected {expected}")]
    Content {
        /// The reference.
        reference: Box<Reference>,
        /// The digest that names it.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// A document is not of the form.
    #[error("`{reference}` is no image that can be used here: {problem}")]
    Form {
        /// The reference.
        reference: Box<Reference>,
        /// What is wrong.
        problem: String,
    },
    /// A layer unpacks to another tar than the configuration says.
    #[error(
        "a layer of `{source_name}` unpacks to sha256 {found}, its configuration says {expected}"
    )]
    Layer {
        /// The reference.
        source_name: String,
        /// The digest in the configuration.
        expected: Digest,
        /// The digest that came out.
        found: Digest,
    },
    /// A layer does not unpack, or can't be written.
    #[error("could not unpack a layer of `{source_name}`")]
    Unpack {
        /// The reference.
        source_name: String,
        /// Why.
        source: io::Error,
    },
    /// A layer can't be had.
    #[error(transparent)]
    Download(#[from] DownloadError),
}

impl Diagnose for ReferenceError {
    fn exit(&self) -> Exit {
        match self {
            Self::Tag { .. } | Self::Form { .. } => Exit::Usage,
            Self::Content { .. } | Self::Layer { .. } => Exit::Refused,
            Self::Unavailable { .. } | Self::Unpack { .. } | Self::Download(_) => Exit::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Tag { reference, digest } => {
                let pinned = Reference { digest: Some(*digest), ..(**reference).clone() };
                Some(format!("what it names now: `reference = \"{pinned}\"`"))
            }
            Self::Unavailable { .. } | Self::Download(_) => {
                Some("does the registry answer here, and has it an image of that digest?".into())
            }
            _ => None,
        }
    }
}

/// A manifest, or an index of several.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Platform>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Platform {
    digest: String,
    platform: Option<Machine>,
}

#[derive(Deserialize)]
struct Machine {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
}

/// A registry, asked about one image.
struct Remote<'a> {
    reference: &'a Reference,
    registry: Registry,
}

impl<'a> Remote<'a> {
    fn new(reference: &'a Reference, http: &Http) -> Self {
        Self { reference, registry: Registry::new(reference, Access::Pull, http) }
    }

    fn unavailable(&self, source: HttpError) -> ReferenceError {
        ReferenceError::Unavailable { reference: Box::new(self.reference.clone()), source }
    }

    fn form(&self, problem: impl Into<String>) -> ReferenceError {
        ReferenceError::Form {
            reference: Box::new(self.reference.clone()),
            problem: problem.into(),
        }
    }

    fn document(&mut self, path: &str) -> Result<Vec<u8>, ReferenceError> {
        let document = self.registry.document(path, ACCEPT, DOCUMENT_LIMIT);
        document.map_err(|source| self.unavailable(source))
    }

    /// A document that its digest names.
    fn checked(&mut self, folder: &str, digest: Digest) -> Result<Vec<u8>, ReferenceError> {
        let bytes = self.document(&format!("{folder}/{}", digest.prefixed()))?;
        let found = Digest::of(&bytes);
        if found == digest {
            return Ok(bytes);
        }
        let reference = Box::new(self.reference.clone());
        Err(ReferenceError::Content { reference, expected: digest, found })
    }

    fn manifest(&mut self, digest: Digest) -> Result<Manifest, ReferenceError> {
        let bytes = self.checked("manifests", digest)?;
        serde_json::from_slice(&bytes).map_err(|error| self.form(error.to_string()))
    }

    fn digest(&self, text: &str) -> Result<Digest, ReferenceError> {
        let hex = text.strip_prefix("sha256:").and_then(|hex| hex.parse().ok());
        hex.ok_or_else(|| self.form(format!("`{text}` is no sha256")))
    }

    /// The manifest for an architecture of Debian's, with its configuration.
    fn resolve(
        &mut self,
        digest: Digest,
        architecture: &str,
    ) -> Result<(Vec<Descriptor>, Configuration), ReferenceError> {
        let architecture = oci::architecture_of(architecture);
        let mut manifest = self.manifest(digest)?;
        if !manifest.manifests.is_empty() {
            let fits = |platform: &&Platform| {
                let machine = platform.platform.as_ref();
                machine.is_some_and(|m| m.architecture == architecture && m.os == "linux")
            };
            let found = manifest.manifests.iter().find(fits);
            let found =
                found.ok_or_else(|| self.form(format!("it has none for {architecture}")))?;
            manifest = self.manifest(self.digest(&found.digest)?)?;
        }
        let config = manifest.config.ok_or_else(|| self.form("its manifest has no `config`"))?;
        let json = self.checked("blobs", self.digest(&config.digest)?)?;
        let config = Configuration::parse(&json).map_err(|problem| self.form(problem))?;
        if config.architecture != architecture {
            let found = &config.architecture;
            return Err(self.form(format!("it is for {found}, expected {architecture}")));
        }
        if config.diff_ids.len() != manifest.layers.len() {
            return Err(self.form("its manifest and its configuration differ in their layers"));
        }
        Ok((manifest.layers, config))
    }
}

/// Looks a reference up; gives what a lock says of it, and its time.
///
/// # Errors
/// If it is a tag, or the registry has no such image for the architecture.
pub(super) fn lock(
    reference: &Reference,
    architecture: &str,
    http: &Http,
) -> Result<(LockedReady, u64), ReferenceError> {
    let mut remote = Remote::new(reference, http);
    let Some(digest) = reference.digest else {
        let tag = reference.tag.as_deref().unwrap_or("latest");
        let bytes = remote.document(&format!("manifests/{tag}"))?;
        let digest = Digest::of(bytes);
        return Err(ReferenceError::Tag { reference: Box::new(reference.clone()), digest });
    };
    let (layers, config) = remote.resolve(digest, architecture)?;
    let mut blobs = Vec::new();
    for (layer, diff_id) in layers.iter().zip(config.diff_ids) {
        blobs.push(Blob { size: layer.size, sha256: remote.digest(&layer.digest)?, diff_id });
    }
    let source = reference.to_string();
    Ok((LockedReady { source, rebuildable: true, env: config.env, blobs }, config.epoch))
}

/// Downloads and unpacks one layer into the store.
///
/// # Errors
/// If the registry does not give it, or another one comes out.
pub(super) fn layer(
    reference: &Reference,
    blob: &Blob,
    limit: u64,
    (http, downloads): (&Http, &Downloads<'_>),
    (scratch, store): (&Path, &Path),
) -> Result<Layer, ReferenceError> {
    let path = fetch(reference, blob, http, downloads)?;
    let source_name = || reference.to_string();
    let unpack = |source| ReferenceError::Unpack { source_name: source_name(), source };
    let tar = tarball::reader(&path).map_err(unpack)?;
    ready::adopt(tar, blob.diff_id, limit, scratch, store).map_err(unpack)?.map_err(|found| {
        ReferenceError::Layer { source_name: source_name(), expected: blob.diff_id, found }
    })
}

fn fetch(
    reference: &Reference,
    blob: &Blob,
    http: &Http,
    downloads: &Downloads<'_>,
) -> Result<PathBuf, ReferenceError> {
    let expected = Expected { size: blob.size, sha256: blob.sha256 };
    if downloads.has(expected) {
        return Ok(downloads.path(blob.sha256));
    }
    let mut remote = Remote::new(reference, http);
    if let Some(digest) = reference.digest {
        // Asks for a token, if the registry wants one.
        remote.manifest(digest)?;
    }
    let url = remote.registry.url(&format!("blobs/{}", blob.sha256.prefixed()));
    let bar = downloads.bar(blob.size);
    let name = format!("layer of {reference}");
    let path = downloads.fetch(remote.registry.http(), &name, expected, [url].into_iter(), &bar);
    bar.finish_and_clear();
    Ok(path?)
}
