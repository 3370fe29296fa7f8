//! What can be wrong with a recipe.

use std::io;
use std::path::PathBuf;

use keyway_manifest::text::Show as _;
use thiserror::Error;

/// Why a recipe can't be used.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// A file of it can't be read.
    #[error("could not read `{path}` of the recipe of image `{image}`", path = .path.shown())]
    Read {
        /// The image.
        image: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no recipe of that name.
    #[error("no recipe for image `{image}`: `{path}` does not exist", path = .path.shown())]
    Missing {
        /// The image.
        image: String,
        /// Where it would lie.
        path: PathBuf,
    },
    /// It is not of the form.
    #[error("`{path}` is no recipe", path = .path.shown())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        source: Box<toml::de::Error>,
    },
    /// A field holds what it must not.
    #[error("`{path}`: {field} `{value}` {problem}", path = .path.shown())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An image stands on itself.
    #[error("image `{image}` stands on itself: {chain}")]
    Cycle {
        /// The image.
        image: String,
        /// The `from` fields, in order.
        chain: String,
    },
}
