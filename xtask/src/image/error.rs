//! What can go wrong with images: the errors of the parts, and what to do about each.

use std::io;
use std::path::PathBuf;

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Triple};
use thiserror::Error;

use super::archive::ArchiveError;
use super::dockerfile::DockerfileError;
use super::download::DownloadError;
use super::fetched::FetchError;
use super::first_link::FirstLinkError;
use super::layer::LayerError;
use super::lock::LockError;
use super::member::MemberError;
use super::recipe::RecipeError;
use super::reference::ReferenceError;
use super::release::ReleaseError;
use super::resolve::ResolveError;
use super::rust_dist::RustDistError;
use super::standard_library::StandardLibraryError;
use super::toolchain::ToolchainError;
use super::tools::ToolError;
use super::transport::TransportError;
use super::tree::TreeError;
use super::wheel::WheelError;
use crate::cache::CacheError;
use crate::failure::{Diagnose, Exit};

/// Why an image can't be locked or assembled.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The recipes can't be listed.
    #[error("could not read the recipes in `{path}`", path = .path.shown())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else came out than the lock says.
    #[error("{part} of image `{image}` came out as {found}, the lock expects {expected}")]
    OtherDigest {
        /// The image.
        image: String,
        /// The layer or document.
        part: String,
        /// The digest in the lock.
        expected: Digest,
        /// The one that came out.
        found: Digest,
    },
    /// Locking an edited recipe would change what was locked before.
    #[error("what image `{image}` is locked to has changed since: {}", .moved.join(", "))]
    PinsMove {
        /// The image.
        image: String,
        /// What would move, from which version to which.
        moved: Vec<String>,
    },
    /// A Dockerfile was built to something else than the lock says, which none can help.
    #[error(
        "image `{image}` is not rebuildable: {part} came out as {found}, the lock expects {expected}"
    )]
    NotRebuildable {
        /// The image.
        image: String,
        /// The layer.
        part: String,
        /// The digest in the lock.
        expected: Digest,
        /// The one that came out.
        found: Digest,
    },
    /// A toolchain's standard library is nowhere.
    #[error("image `{image}` has no standard library for `{target}`")]
    NoStandardLibrary {
        /// The image.
        image: String,
        /// The target.
        target: Triple,
    },
    /// A layer below can't be read back.
    #[error("could not read the layer `{path}`", path = .path.shown())]
    Below {
        /// The layer's tar.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Tools that do not go together, or are not there.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The distribution's index.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The closure.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A package that can't be had.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// A wheel that can't be had.
    #[error(transparent)]
    Wheel(#[from] WheelError),
    /// A ready image that can't be had.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A Dockerfile that can't be built.
    #[error(transparent)]
    Dockerfile(#[from] DockerfileError),
    /// A file or archive that can't be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A release of Rust that can't be had.
    #[error(transparent)]
    RustDist(#[from] RustDistError),
    /// A package, archive or wheel that is refused.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// Members that do not merge.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A layer that can't be written.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A standard library that does not compile.
    #[error(transparent)]
    StandardLibrary(#[from] StandardLibraryError),
    /// A first link that fails.
    #[error(transparent)]
    FirstLink(#[from] FirstLinkError),
    /// A toolchain that can't be recorded.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// An archive of images that is refused.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Diagnose for ImageError {
    fn exit(&self) -> Exit {
        match self {
            Self::Folder { .. }
            | Self::Tool(_)
            | Self::Recipe(_)
            | Self::Resolve(_)
            | Self::NoStandardLibrary { .. } => Exit::Usage,
            Self::Lock(LockError::Write(_)) => Exit::Environment,
            Self::Lock(_) => Exit::Usage,
            Self::Archive(ArchiveError::Release(ReleaseError::Unread { .. })) => Exit::Environment,
            Self::OtherDigest { .. }
            | Self::NotRebuildable { .. }
            | Self::PinsMove { .. }
            | Self::Member(
                MemberError::Format { .. }
                | MemberError::TooLarge { .. }
                | MemberError::Entry { .. },
            )
            | Self::Tree(_)
            | Self::Wheel(WheelError::Content { .. })
            | Self::Archive(ArchiveError::Release(_) | ArchiveError::Index { .. }) => Exit::Refused,
            Self::StandardLibrary(_) | Self::FirstLink(_) | Self::Toolchain(_) => Exit::Failed,
            Self::Fetch(error) => error.exit(),
            Self::Reference(error) => error.exit(),
            Self::Dockerfile(error) => error.exit(),
            Self::RustDist(error) => error.exit(),
            Self::Transport(error) => error.exit(),
            Self::Archive(_)
            | Self::Download(_)
            | Self::Wheel(_)
            | Self::Layer(_)
            | Self::Member(MemberError::Cache(_))
            | Self::Below { .. }
            | Self::Cache(_) => Exit::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Recipe(RecipeError::Missing { .. }) => {
                Some("`cargo xtask images list` shows the images there are".into())
            }
            Self::Lock(
                LockError::Missing { image, .. }
                | LockError::RecipeChanged { image }
                | LockError::BelowChanged { image, .. }
                | LockError::Incomplete { image, .. },
            ) => Some(format!("run `cargo xtask images lock {image}` and review the lock's change")),
            Self::PinsMove { .. } => {
                Some("`cargo xtask images update` takes them, and shows what else changes".into())
            }
            Self::Lock(LockError::OtherVersion { path, .. }) => Some(format!(
                "use the version of this tool that wrote it; without `{}`, `cargo xtask images lock` \
                 chooses every version anew",
                path.shown()
            )),
            Self::Lock(
                LockError::Parse { path, .. }
                | LockError::OtherImage { path, .. }
                | LockError::Read { path, .. },
            ) => Some(format!(
                "bring it back from version control, as by `git checkout -- {0}`; without `{0}`, `cargo \
                 xtask images lock` chooses every version anew",
                path.shown()
            )),
            Self::Download(DownloadError::Unavailable { .. }) => Some(
                "name a mirror with `--mirror` or `KEYWAY_DEBIAN_MIRROR`; if the file is gone for good, \
                 `cargo xtask images update` locks what there is now"
                    .into(),
            ),
            Self::Archive(ArchiveError::NoMirror { .. }) => {
                Some("name a mirror with `--mirror` or `KEYWAY_DEBIAN_MIRROR`".into())
            }
            Self::Archive(ArchiveError::Release(ReleaseError::Untrusted { .. })) => {
                Some("the keys that are trusted lie in `keyring/` beside the recipes".into())
            }
            Self::Archive(ArchiveError::Release(ReleaseError::Unsigned { .. })) => Some(
                "what does that address show in a browser? A network that wants a login answers for \
                 everyone; else name another mirror with `--mirror`"
                    .into(),
            ),
            Self::Archive(ArchiveError::Release(ReleaseError::Unread { .. })) => Some(
                "run it through cargo, or this program with the feature: `cargo run --package \
                 keyway-xtask --features openpgp -- images lock`"
                    .into(),
            ),
            Self::Archive(ArchiveError::Release(ReleaseError::Expired { .. })) => Some(
                "name another mirror with `--mirror`, and look at this machine's clock".into(),
            ),
            Self::Resolve(ResolveError::OtherVersionBelow { .. }) => {
                Some("lock the image below in the same command".into())
            }
            Self::Wheel(WheelError::Unavailable { .. }) => Some(
                "install pip or uv, or set `KEYWAY_PYPI_INDEX` to the address of a simple index".into(),
            ),
            Self::OtherDigest { .. } => Some(
                "the lock was written by another version of this tool, or a file it needs was changed; \
                 `cargo xtask images lock` writes it anew"
                    .into(),
            ),
            Self::NotRebuildable { image, .. } => Some(format!(
                "bring the layers from a machine that has them, or build anew and review what changed: \
                 `cargo xtask images update {image}`"
            )),
            Self::Tool(error) => Some(error.hint()),
            Self::Reference(error) => error.hint(),
            Self::Dockerfile(error) => error.hint(),
            Self::Fetch(error) => error.hint(),
            Self::RustDist(error) => error.hint(),
            Self::Transport(error) => error.hint(),
            Self::Cache(error)
            | Self::Member(MemberError::Cache(error))
            | Self::Layer(LayerError::Cache(error))
            | Self::Download(DownloadError::Cache(error))
            | Self::StandardLibrary(StandardLibraryError::Cache(error))
            | Self::FirstLink(FirstLinkError::Cache(error)) => error.hint(),
            _ => None,
        }
    }
}
