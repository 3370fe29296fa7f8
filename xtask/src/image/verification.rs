//! An image rebuilt from its lock in an empty store, and compared with what the lock says.
//!
//! Only downloads are used again, each hashed anew; no layer and no compiled std of the store counts
//! as evidence. A digest that does not come out is explained by the first file that differs, as long as
//! the store still has the layer that the lock was written for.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use keyway_manifest::{Digest, Hasher};
use serde::Serialize;
use tar::{Archive, Entry};

use super::assemble::Assembler;
use super::lock::{LayerContent, LockedLayer};
use super::{ImageError, Images, Locked, finish, stored};
use crate::cache::{Cache, CacheError, OwnedDir};
use crate::container::{Layer, Runner};
use crate::shell::Shell;

/// What the names of empty stores begin with.
const FRESH: &str = "store-";

/// What becomes of layers that take minutes to compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandardLibraries {
    /// They are compiled again.
    Compiled,
    /// They are left out, which the verdict says.
    LeftOut,
}

/// What came of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// Every layer, the config and the manifest came out as the lock says.
    Verified {
        /// How many layers.
        layers: usize,
    },
    /// All that was rebuilt came out as the lock says, but some layers were not.
    InPart {
        /// The layers that were left out.
        left_out: Vec<String>,
    },
    /// Something came out otherwise.
    Different {
        /// The layer or document.
        part: String,
        /// What the lock says.
        expected: Digest,
        /// What came out.
        found: Digest,
        /// The first file and attribute that differ, or why they can't be told.
        difference: String,
    },
}

impl Images {
    /// Rebuilds images in an empty store and hands over a verdict for each.
    ///
    /// # Errors
    /// If something that goes in can't be had, or can't be assembled.
    pub fn verify(
        &self,
        images: &[String],
        libraries: StandardLibraries,
        runner: &dyn Runner,
        shell: &Shell,
        mut hand_over: impl FnMut(&str, &Verdict),
    ) -> Result<(), ImageError> {
        let _kept = self.cache.keep(shell)?;
        let parent = self.cache.dir("tmp/verify")?;
        // What a run that was killed left behind.
        drop(OwnedDir::abandoned(&parent, FRESH)?);
        let folder = OwnedDir::create(&parent, FRESH)?;
        let empty = Cache::at(folder.path().to_owned())?;
        let fresh = Self { cache: empty, scratch: Arc::default(), ..self.clone() };
        let progress = shell.steps(images.len());
        for image in images {
            progress.begin("Verifying", image);
            let chain = self.chain(image)?;
            for locked in &chain {
                lend(&self.cache, &fresh.cache, &locked.lock.to_text())?;
            }
            let verdict = self.rebuild(image, &chain, &fresh, libraries, runner, shell)?;
            hand_over(image, &verdict);
        }
        Ok(())
    }

    fn rebuild(
        &self,
        image: &str,
        chain: &[Locked],
        fresh: &Self,
        libraries: StandardLibraries,
        runner: &dyn Runner,
        shell: &Shell,
    ) -> Result<Verdict, ImageError> {
        let (store, kept) = (fresh.cache.dir("layers")?, self.cache.dir("layers")?);
        let (mut layers, mut left_out) = (Vec::new(), Vec::new());
        for (at, Locked { recipe, lock }) in chain.iter().enumerate() {
            let assembler = Assembler::new(fresh, &chain[..at], recipe, lock, runner, shell)?;
            for expected in &lock.layers {
                let layer = if let Some(found) = stored(&store, expected) {
                    found
                } else if is_left_out(&expected.content, libraries) {
                    left_out.push(format!("{} of {}", expected.content, lock.image));
                    // What lies above needs it, so it is borrowed; if it is not there, nothing above
                    // can be made either.
                    match stored(&kept, expected) {
                        Some(borrowed) => borrowed,
                        None => return Ok(Verdict::InPart { left_out }),
                    }
                } else {
                    let made = assembler.layer(&expected.content, &layers)?;
                    if made.diff_id != expected.diff_id {
                        return Ok(explain(expected, &made, &kept));
                    }
                    made
                };
                layers.push((expected.content.clone(), layer));
            }
        }
        let n_layers = layers.len();
        match finish(image, chain, layers) {
            Ok(_) if left_out.is_empty() => Ok(Verdict::Verified { layers: n_layers }),
            Ok(_) => Ok(Verdict::InPart { left_out }),
            Err(ImageError::OtherDigest { part, expected, found, .. }) => Ok(Verdict::Different {
                part,
                expected,
                found,
                difference: "the layers agree; environment, epoch or order differ".to_owned(),
            }),
            Err(error) => Err(error),
        }
    }
}

/// What a Dockerfile was built to can't be rebuilt by anyone.
fn is_left_out(content: &LayerContent, libraries: StandardLibraries) -> bool {
    match content {
        LayerContent::Dockerfile(_) => true,
        _ => content.is_compiled() && libraries == StandardLibraries::LeftOut,
    }
}

/// Shows the downloads that a lock names to another cache, each by a hard link, if their content is
/// what their name says.
fn lend(from: &Cache, to: &Cache, lock: &str) -> Result<(), CacheError> {
    let (from, to) = (from.dir("downloads/sha256")?, to.dir("downloads/sha256")?);
    for digest in digests(lock) {
        let (source, target) = (from.join(digest), to.join(digest));
        if target.exists() || !source.is_file() {
            continue;
        }
        let mut hasher = Hasher::new();
        let mut file = File::open(&source).map_err(CacheError::io("open", &source))?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let n = file.read(&mut buffer).map_err(CacheError::io("read", &source))?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
        }
        if hasher.finish().to_string() == digest {
            fs::hard_link(&source, &target)
                .or_else(|_| fs::copy(&source, &target).map(drop))
                .map_err(CacheError::io("link", &target))?;
        }
    }
    Ok(())
}

/// Every sha256 in a lock's text.
pub(super) fn digests(lock: &str) -> impl Iterator<Item = &str> {
    let words = lock.split(|c: char| !c.is_ascii_hexdigit());
    words.filter(|word| word.len() == 64)
}

fn explain(expected: &LockedLayer, made: &Layer, kept: &Path) -> Verdict {
    let difference = match stored(kept, expected) {
        None => "the store does not have the layer that the lock means, so files can't be compared"
            .to_owned(),
        Some(original) => first_difference(&original.file, &made.file)
            .unwrap_or_else(|error| format!("the two can't be compared: {error}")),
    };
    Verdict::Different {
        part: format!("layer `{}`", expected.content),
        expected: expected.diff_id,
        found: made.diff_id,
        difference,
    }
}

/// The first file and attribute in which two layers differ. Both are sorted by path.
///
/// # Errors
/// If one of them can't be read.
pub fn first_difference(expected: &Path, found: &Path) -> io::Result<String> {
    let (mut expected, mut found) =
        (Archive::new(File::open(expected)?), Archive::new(File::open(found)?));
    let (mut expected, mut found) = (expected.entries()?, found.entries()?);
    loop {
        match (expected.next().transpose()?, found.next().transpose()?) {
            (None, None) => return Ok("the same files in another framing".to_owned()),
            (Some(entry), None) => return Ok(format!("`{}` is missing", path(&entry))),
            (None, Some(entry)) => return Ok(format!("`{}` is not in the lock's", path(&entry))),
            (Some(mut a), Some(mut b)) => {
                if let Some(difference) = differ(&mut a, &mut b)? {
                    return Ok(difference);
                }
            }
        }
    }
}

fn path<R: Read>(entry: &Entry<'_, R>) -> String {
    String::from_utf8_lossy(&entry.path_bytes()).into_owned()
}

fn differ<R: Read>(a: &mut Entry<'_, R>, b: &mut Entry<'_, R>) -> io::Result<Option<String>> {
    let name = path(a);
    if name != path(b) {
        return Ok(Some(format!("`{}` where the lock's has `{name}`", path(b))));
    }
    let (old, new) = (a.header(), b.header());
    let attributes = [
        ("type", format!("{:?}", old.entry_type()), format!("{:?}", new.entry_type())),
        ("mode", format!("{:o}", old.mode()?), format!("{:o}", new.mode()?)),
        (
            "owner",
            format!("{}:{}", old.uid()?, old.gid()?),
            format!("{}:{}", new.uid()?, new.gid()?),
        ),
        ("time", old.mtime()?.to_string(), new.mtime()?.to_string()),
        ("link", link(a), link(b)),
        ("size", old.size()?.to_string(), new.size()?.to_string()),
    ];
    for (attribute, old, new) in attributes {
        if old != new {
            return Ok(Some(format!("`{name}`: {attribute} {new}, the lock's has {old}")));
        }
    }
    let (mut old, mut new) = (Vec::new(), Vec::new());
    a.read_to_end(&mut old)?;
    b.read_to_end(&mut new)?;
    let at = old.iter().zip(&new).position(|(a, b)| a != b);
    Ok(at.map(|at| format!("`{name}`: content, from byte {at} on")))
}

fn link<R: Read>(entry: &Entry<'_, R>) -> String {
    let link = entry.link_name_bytes().unwrap_or_default();
    String::from_utf8_lossy(&link).into_owned()
}
