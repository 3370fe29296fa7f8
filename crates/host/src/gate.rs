//! The gate: every check before a plugin is loaded. It reads, compares and refuses; nothing of the
//! plugin runs.
//!
//! The order is that of cost. A file whose first bytes can't be for this host is not read any
//! further. Beyond that, checks that don't need each other go on after one has failed, so that one
//! look tells everything that is wrong; those that need what another could not find are left out.
//!
//! What comes out is an [`Admission`], which owns the bytes that were checked. Whoever loads the
//! plugin loads those bytes, never the file again.

mod abi;
mod beside;
mod exports;
mod facts;
mod imports;
mod lifetime;
mod macho;
mod mappings;
mod object;
mod stamp;
mod toolchain;

use std::path::{Path, PathBuf};

use keyway_abi::stamp::Stamp;
use keyway_inspect::{Facts, Header};
use keyway_manifest::{Digest, Manifest};

use crate::code::Code;
use crate::file::{MAX_LIBRARY_SIZE, OpenFile};
use crate::policy::{Expectation, SignaturePolicy};
use crate::refusal::{Refusal, Rejection};

/// Checks plugins against what a host expects.
#[derive(Debug, Clone)]
pub struct Gate {
    expectation: Expectation,
}

/// A plugin that passed every check: the bytes to load, and what they are.
#[derive(Debug, Clone)]
pub struct Admission {
    path: PathBuf,
    bytes: Vec<u8>,
    facts: Facts,
    manifest: Manifest,
    warnings: Vec<Refusal>,
}

/// All that the gate learned about a library, refused or not.
///
/// It can be looked at and not be changed, since it becomes an [`Admission`]:
///
/// ```compile_fail,E0616
/// # use keyway_host::{Expectation, Gate};
/// let mut examination = Gate::new(Expectation::this_process()).examine("libgreet.so".as_ref());
/// examination.refusals.clear();
/// ```
///
/// ```compile_fail,E0616
/// # use keyway_host::{Expectation, Gate};
/// let mut examination = Gate::new(Expectation::this_process()).examine("libgreet.so".as_ref());
/// examination.bytes = None;
/// ```
#[derive(Debug, Clone)]
pub struct Examination {
    path: PathBuf,
    bytes: Option<Vec<u8>>,
    facts: Option<Facts>,
    manifest: Option<Manifest>,
    refusals: Vec<Refusal>,
    warnings: Vec<Refusal>,
}

impl Gate {
    /// A gate for a host that expects this.
    pub fn new(expectation: Expectation) -> Self {
        Self { expectation }
    }

    /// What it compares plugins with.
    pub fn expectation(&self) -> &Expectation {
        &self.expectation
    }

    /// Checks the library at `path` and the manifest beside it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn check(&self, path: &Path) -> Result<Admission, Rejection> {
        self.examine(path).into_admission()
    }

    /// The same, keeping what was learned about a library that is refused.
    pub fn examine(&self, path: &Path) -> Examination {
        let mut examination = Examination {
            path: path.to_owned(),
            bytes: None,
            facts: None,
            manifest: None,
            refusals: Vec::new(),
            warnings: Vec::new(),
        };
        if let Err(refusal) = examination.fill(&self.expectation) {
            examination.refusals.push(refusal);
        }
        examination.refusals.sort_by_key(|refusal| refusal.check);
        // Library and manifest lie in the same folders.
        let mut seen = Vec::new();
        examination.refusals.retain(|refusal| {
            let is_new = !seen.contains(refusal);
            if is_new {
                seen.push(refusal.clone());
            }
            is_new
        });
        examination
    }

    /// Checks what a plugin that is compiled into this program says of itself: the contract and the
    /// interfaces. What its compiler knew is known of the program.
    #[cfg(feature = "compiled-in")]
    pub(crate) fn check_compiled_in(&self, stamp: &Stamp<'_>) -> Result<(), Rejection> {
        let mut refusals = Vec::new();
        abi::check(stamp, &self.expectation, &mut refusals);
        if self.expectation.signatures == SignaturePolicy::Refuse {
            refusals.extend(abi::check_signatures(stamp, &self.expectation));
        }
        match refusals.is_empty() {
            true => Ok(()),
            false => Err(Rejection { path: stamp.name.into(), refusals }),
        }
    }
}

impl Examination {
    /// Runs the checks. An error ends them; whatever else is wrong is in `refusals`.
    fn fill(&mut self, expectation: &Expectation) -> Result<(), Refusal> {
        let path = self.path.clone();
        let mut library = OpenFile::open(&path, MAX_LIBRARY_SIZE)?;
        library.check_permissions(expectation.permissions, &mut self.refusals);
        match beside::read(&path, expectation.permissions, &mut self.refusals) {
            Ok(manifest) => self.manifest = Some(manifest),
            Err(refusal) => self.refusals.push(refusal),
        }
        if let Some(manifest) = &self.manifest {
            beside::check_names(&path, library.size(), manifest, &mut self.refusals);
            beside::check_requirements(manifest, &mut self.refusals);
            object::check_target(manifest, expectation, &mut self.refusals);
        }
        let mut bytes = Vec::new();
        library.read(&mut bytes, Header::PREFIX as u64)?;
        let header = Header::read(&bytes).map_err(|error| object::refuse_header(&error))?;
        let mismatches = object::header_refusals(header, &expectation.target);
        if !mismatches.is_empty() {
            self.refusals.extend(mismatches);
            return Ok(());
        }
        library.read(&mut bytes, u64::MAX)?;
        library.finish()?;
        let bytes = self.bytes.insert(bytes);
        if let Some(manifest) = &self.manifest {
            check_content(bytes, manifest, &mut self.refusals);
        }
        let inspection = keyway_inspect::inspect(bytes);
        let inspection = inspection.map_err(|error| object::refuse_header(&error))?;
        let facts = self.facts.insert(inspection.facts);
        let (manifest, refusals) = (self.manifest.as_ref(), &mut self.refusals);
        refusals.extend(inspection.violations.iter().map(object::refuse_violation));
        if let Some(manifest) = manifest {
            object::check_format(facts, manifest, refusals);
        }
        imports::check(facts, expectation, refusals);
        mappings::check(&facts.details, refusals);
        lifetime::check(facts, refusals);
        macho::check(facts, &expectation.target, refusals);
        exports::check(&path, facts, &expectation.exports, refusals);
        if let Some(stamp) = stamp::read(bytes, facts, expectation.stamp, refusals) {
            if let Some(manifest) = manifest {
                stamp::check(&stamp, manifest, refusals);
            }
            abi::check(&stamp, expectation, refusals);
            let signatures = abi::check_signatures(&stamp, expectation);
            match expectation.signatures {
                SignaturePolicy::Warn => self.warnings = signatures,
                SignaturePolicy::Refuse => refusals.extend(signatures),
            }
            facts::check(&stamp, expectation, refusals);
            match toolchain::retired(&stamp, &expectation.toolchains) {
                Some(refusal) => refusals.push(refusal),
                None => {
                    abi::check_toolchain(&stamp, manifest, &expectation.toolchains, refusals);
                }
            }
        }
        Ok(())
    }

    /// The library.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is, if it is an object.
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// Its manifest, if there is one that can be read.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Why it is refused, in the gate's order; empty if it is not.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// What a stricter host would refuse it for.
    pub fn warnings(&self) -> &[Refusal] {
        &self.warnings
    }

    /// The admission, if nothing was refused.
    ///
    /// # Errors
    ///
    /// Everything that was.
    pub fn into_admission(self) -> Result<Admission, Rejection> {
        match self {
            Self {
                path,
                bytes: Some(bytes),
                facts: Some(facts),
                manifest: Some(manifest),
                refusals,
                warnings,
            } if refusals.is_empty() => Ok(Admission { path, bytes, facts, manifest, warnings }),
            Self { path, refusals, .. } => Err(Rejection { path, refusals }),
        }
    }
}

impl Admission {
    /// Where the library lay when it was checked.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes that were checked.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What inspection found.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What a stricter host would have refused it for.
    pub fn warnings(&self) -> &[Refusal] {
        &self.warnings
    }

    /// The stamp; `None` for a library without one, which only a lenient policy admits.
    pub fn stamp(&self) -> Option<Stamp<'_>> {
        Stamp::parse(self.bytes.get(self.facts.stamp.clone()?)?).ok()
    }
}

fn check_content(bytes: &[u8], manifest: &Manifest, refusals: &mut Vec<Refusal>) {
    let (found, expected) = (Digest::of(bytes), manifest.artifact.sha256);
    if found != expected {
        refusals.push(Refusal::new(
            Code::HashDiffers,
            format!("SHA-256 `{found}`"),
            format!("`{expected}`"),
        ));
    }
}
