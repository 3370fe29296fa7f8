//! The tables of a recipe that name what comes from outside of the Debian archive.

use keyway_manifest::{Digest, Triple};
use serde::Deserialize;

/// Rust as its project distributes it: compiler, cargo, and a standard library for each target.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rust {
    /// The release, such as `1.85.0`.
    pub version: String,
    /// Targets with a standard library, beside the image's own.
    #[serde(default)]
    pub targets: Vec<Triple>,
    /// Digest of the release's channel manifest, for whoever does not trust a server's word.
    pub manifest: Option<Digest>,
}

/// A file or archive from anywhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// Its address.
    pub url: String,
    /// Its digest; without one, the lock pins what was there when it was first locked.
    pub sha256: Option<Digest>,
    /// The folder that an archive is unpacked into, or the path of a file.
    pub into: String,
    /// What of an archive is unpacked: a folder, whose content goes `into`, or one file.
    pub member: Option<String>,
    /// What it is, where its name does not tell.
    pub unpack: Option<Unpack>,
    /// Whether a file is a program.
    #[serde(default)]
    pub executable: bool,
}

/// How a fetched file becomes part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unpack {
    /// A tar archive, plain or compressed by gzip, xz or zstd.
    Tar,
    /// A zip archive.
    Zip,
    /// Not at all: the file itself.
    No,
}

impl Fetch {
    /// The last part of its address, without what a query adds.
    pub fn file(&self) -> &str {
        let plain = self.url.split(['?', '#']).next().unwrap_or_default();
        plain.rsplit('/').next().unwrap_or_default()
    }

    /// How it becomes part of an image.
    pub fn unpack(&self) -> Unpack {
        self.unpack.unwrap_or_else(|| {
            let file = self.file().to_ascii_lowercase();
            let is = |endings: &[&str]| endings.iter().any(|ending| file.ends_with(ending));
            if is(&[".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tzst"]) {
                Unpack::Tar
            } else if is(&[".zip"]) {
                Unpack::Zip
            } else {
                Unpack::No
            }
        })
    }
}

/// A ready image in a registry: `host/name@sha256:…`, or by a tag, which only asks for the digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The registry, with its port if it names one.
    pub registry: String,
    /// The image's name there.
    pub name: String,
    /// A tag.
    pub tag: Option<String>,
    /// The digest of its manifest, or of the index of manifests for several platforms.
    pub digest: Option<Digest>,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.registry, self.name)?;
        match (&self.digest, &self.tag) {
            (Some(digest), _) => write!(f, "@{}", digest.prefixed()),
            (None, Some(tag)) => write!(f, ":{tag}"),
            (None, None) => Ok(()),
        }
    }
}

impl std::str::FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |problem: &str| Err(format!("reference `{text}` {problem}"));
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                match digest.strip_prefix("sha256:").and_then(|hex| hex.parse().ok()) {
                    Some(digest) => (rest, Some(digest)),
                    None => return refuse("has a digest that is no `sha256:` and 64 digits"),
                }
            }
        };
        let Some((registry, path)) = rest.split_once('/') else {
            return refuse("names no registry: `host/name@sha256:…`");
        };
        if !registry.contains(['.', ':']) && registry != "localhost" {
            return refuse("names no registry: `host/name@sha256:…`");
        }
        let (name, tag) = match path.split_once(':') {
            Some((name, tag)) => (name, Some(tag.to_owned())),
            None => (path, None),
        };
        let plain = |part: &str| {
            !part.is_empty()
                && part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !name.split('/').all(plain) || !tag.iter().all(|tag| plain(tag)) {
            return refuse("is no name of an image");
        }
        Ok(Self { registry: registry.to_owned(), name: name.to_owned(), tag, digest })
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
