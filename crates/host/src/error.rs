//! One error for all that a host does with a plugin, so that a function which loads and calls has one
//! result type.

use keyway_abi::call::CallError;
use thiserror::Error;

use crate::exports::ContractError;
use crate::lifecycle::LifeError;
use crate::load::LoadError;
use crate::refusal::Rejection;
use crate::reload::ReloadError;
use crate::stage::StageError;

/// What can go wrong between a plugin's file and the result of a call; `?` makes it from each error
/// of this crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// It was not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It was loaded, and can't be called by the interface that was asked for.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// It was called, and gave no result.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A step of its life failed.
    #[error(transparent)]
    Life(Box<LifeError>),
    /// It was not reloaded.
    #[error(transparent)]
    Reload(#[from] ReloadError),
}

impl From<LifeError> for Error {
    fn from(error: LifeError) -> Self {
        Self::Life(Box::new(error))
    }
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        LoadError::from(rejection).into()
    }
}

impl From<StageError> for Error {
    fn from(error: StageError) -> Self {
        LoadError::from(error).into()
    }
}
