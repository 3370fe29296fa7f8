//! What zig compiles for the first link for a target, compiled in the image beforehand: what programs
//! start with, stubs of the libc, zig's own runtime.
//!
//! It stands above the compilers of the image, since it is they who link; so an edit of one of them costs
//! this layer, and not the standard library below.

use keyway_manifest::Triple;
use thiserror::Error;

use super::member::{Member, MemberError};
use super::run::{self, RunError, Scratch};
use super::zig_cache::{self, ZigCacheError};
use crate::cache::CacheError;
use crate::container::{Image, Runner};

/// What is linked, and how.
pub const SCRIPT: &str = include_str!("first_link.sh");

/// The same for build scripts of a standard library, without the compilers of the recipes.
pub const HOST_SCRIPT: &str = include_str!("host_link.sh");

/// The target of those build scripts.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// Why what a first link needs can't be compiled.
#[derive(Debug, Error)]
pub enum FirstLinkError {
    /// A link failed.
    #[error("could not link a first program for `{target}`")]
    Link {
        /// The target.
        target: Triple,
        /// Why.
        source: RunError,
    },
    /// A build script of a standard library was not linked.
    #[error("could not link a build script of standard libraries")]
    HostLink {
        /// Why.
        source: RunError,
    },
    /// Nothing was left of it.
    #[error("the first link for `{target}` left nothing in zig's cache")]
    Nothing {
        /// The target.
        target: Triple,
    },
    /// Zig's cache can't be used.
    #[error(transparent)]
    Zig(#[from] ZigCacheError),
    /// A file of it has a name that no layer may have.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The cache can't be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Links for `target` in `image` and returns what zig compiled for that.
///
/// # Errors
/// If a link fails, or zig keeps nothing of it.
pub fn compile(
    target: &Triple,
    image: &Image,
    runner: &dyn Runner,
    scratch: &Scratch,
) -> Result<Member, FirstLinkError> {
    run::script(runner, image, SCRIPT, &[target.as_str()], scratch)
        .map_err(|source| FirstLinkError::Link { target: target.clone(), source })?;
    left(target, scratch)
}

/// Links a build script of a standard library in `image`, which has the source, and returns what zig
/// compiled for that.
///
/// # Errors
/// Those of [`compile`].
pub fn compile_host(
    image: &Image,
    runner: &dyn Runner,
    scratch: &Scratch,
) -> Result<Member, FirstLinkError> {
    run::script(runner, image, HOST_SCRIPT, &[], scratch)
        .map_err(|source| FirstLinkError::HostLink { source })?;
    left(&HOST.parse().expect("it is a triple"), scratch)
}

/// What a script left in zig's cache.
fn left(target: &Triple, scratch: &Scratch) -> Result<Member, FirstLinkError> {
    let files = zig_cache::detach(&scratch.path().join("zig/cache"))?;
    if files.is_empty() {
        return Err(FirstLinkError::Nothing { target: target.clone() });
    }
    let placed = |(file, path)| (format!("{}/{file}", zig_cache::PLACE), path);
    Ok(Member::of_files(&format!("first link for {target}"), files.into_iter().map(placed))?)
}
