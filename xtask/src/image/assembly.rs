//! The layers of an image and of those below it, made as far as they are missing.
//!
//! In three steps: what is downloaded and unpacked; the standard libraries, of which none needs another,
//! so that several threads or runs each compile a different one; then what needs all that lies below.

use std::path::PathBuf;

use super::assemble::Assembler;
use super::http::Http;
use super::lock::{LayerContent, LockedLayer};
use super::registry::{Access, Registry};
use super::{ImageError, Images, Locked, compare, stored};
use crate::container::{Layer, Runner};
use crate::shell::Shell;

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// To the last layer.
    End,
    /// All but what has to be compiled; what that starts from is downloaded.
    Compilation,
}

/// A chain of images and the layers of it that are there.
struct Assembly<'a> {
    images: &'a Images,
    shell: &'a Shell,
    store: PathBuf,
    registry: Option<Registry>,
    /// One for each image, lowest first.
    assemblers: Vec<Assembler<'a>>,
    /// All layers, lowest first.
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    /// The image's place in the chain.
    image: usize,
    expected: &'a LockedLayer,
    layer: Option<Layer>,
}

impl Images {
    /// The layers of a chain, those that are missing made; until what is compiled, those that are there then.
    pub(super) fn assemble(
        &self,
        chain: &[Locked],
        until: Until,
        runner: &dyn Runner,
        shell: &Shell,
    ) -> Result<Vec<(LayerContent, Layer)>, ImageError> {
        let mut assembly = Assembly::begin(self, chain, runner, shell)?;
        assembly.make_all(|content| !content.is_compiled())?;
        match until {
            Until::Compilation => assembly.fetch_sources()?,
            Until::End => {
                assembly.make_standard_libraries()?;
                assembly.make_all(|_| true)?;
            }
        }
        Ok(assembly.below(assembly.parts.len()))
    }
}

impl<'a> Assembly<'a> {
    fn begin(
        images: &'a Images,
        chain: &'a [Locked],
        runner: &'a dyn Runner,
        shell: &'a Shell,
    ) -> Result<Self, ImageError> {
        let store = images.cache.dir("layers")?;
        let registry = images.registry.as_ref();
        let registry = registry.map(|at| Registry::new(at, Access::Pull, &Http::new()));
        let mut assemblers = Vec::new();
        let mut parts = Vec::new();
        for (at, Locked { recipe, lock }) in chain.iter().enumerate() {
            assemblers.push(Assembler::new(images, &chain[..at], recipe, lock, runner, shell)?);
            parts.extend(lock.layers.iter().map(|expected| Part {
                image: at,
                expected,
                layer: stored(&store, expected),
            }));
        }
        Ok(Self { images, shell, store, registry, assemblers, parts })
    }

    /// Makes the missing layers of some contents, lowest first.
    fn make_all(&mut self, wanted: impl Fn(&LayerContent) -> bool) -> Result<(), ImageError> {
        for at in 0..self.parts.len() {
            let Part { expected, layer, .. } = &self.parts[at];
            if layer.is_none() && wanted(&expected.content) {
                let does = self.does(at);
                let _turn = self.images.turn(expected, self.shell, does)?;
                self.make(at)?;
            }
        }
        Ok(())
    }

    /// Makes the missing standard libraries. One that another run or thread is making is left to it
    /// until there is nothing else to do.
    fn make_standard_libraries(&mut self) -> Result<(), ImageError> {
        let is_missing = |part: &Part<'_>| {
            part.layer.is_none() && matches!(part.expected.content, LayerContent::Std(_))
        };
        loop {
            let missing: Vec<usize> =
                (0..self.parts.len()).filter(|at| is_missing(&self.parts[*at])).collect();
            let Some(first) = missing.first() else {
                return Ok(());
            };
            let mut free = None;
            for at in &missing {
                if let Some(turn) = self.images.try_turn(self.parts[*at].expected)? {
                    free = Some((*at, turn));
                    break;
                }
            }
            let (at, _turn) = match free {
                Some(free) => free,
                None => {
                    let (expected, does) = (self.parts[*first].expected, self.does(*first));
                    (*first, self.images.turn(expected, self.shell, does)?)
                }
            };
            self.make(at)?;
        }
    }

    /// Makes a layer, unless it is there by now. The caller has the turn.
    fn make(&mut self, at: usize) -> Result<(), ImageError> {
        let Part { image, expected, .. } = self.parts[at];
        let assembler = &self.assemblers[image];
        let name = &assembler.lock().image;
        let found = match stored(&self.store, expected) {
            None => self.images.pull(&mut self.registry, (name, expected), self.shell)?,
            found => found,
        };
        let layer = match found {
            Some(found) => found,
            None => {
                let made = assembler.layer(&expected.content, &self.below(at))?;
                compare(name, &expected.content, expected.diff_id, &made)?;
                made
            }
        };
        self.parts[at].layer = Some(layer);
        Ok(())
    }

    fn fetch_sources(&self) -> Result<(), ImageError> {
        let compiles = |part: &&Part<'_>| part.layer.is_none() && self.registry.is_none();
        for part in self.parts.iter().filter(compiles) {
            self.assemblers[part.image].fetch_sources()?;
        }
        Ok(())
    }

    /// The layers below one, as far as they are there.
    fn below(&self, at: usize) -> Vec<(LayerContent, Layer)> {
        let parts = self.parts[..at].iter();
        parts
            .filter_map(|part| Some((part.expected.content.clone(), part.layer.clone()?)))
            .collect()
    }

    fn does(&self, at: usize) -> String {
        let Part { image, expected, .. } = &self.parts[at];
        format!("makes {} ({})", self.assemblers[*image].lock().image, expected.content)
    }
}
