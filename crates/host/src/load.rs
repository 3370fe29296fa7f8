//! Loading: from an admission to a plugin that can be called.
//!
//! What is loaded are the bytes that the gate checked, staged as a file of their own (`stage.rs`).
//! [`Host`] does it all: check, stage, load, create.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyway_abi::call::CallError;
use keyway_abi::stamp;
use keyway_abi::table::{ENTRY_SYMBOL, Entry};
use keyway_manifest::Manifest;
use thiserror::Error;

use crate::exports::{ContractError, Exports};
use crate::gate::{Admission, Gate};
use crate::instance::Instance;
use crate::policy::Expectation;
use crate::refusal::Rejection;
use crate::services::Services;
use crate::stage::{Stage, StageError, Staged};

/// Checks, loads and creates plugins.
#[derive(Debug)]
pub struct Host {
    gate: Gate,
    stage: Stage,
    services: &'static Services,
}

/// A loaded plugin with one instance. Dropping it destroys the instance and unloads the library,
/// as soon as nothing that the plugin made is left.
#[derive(Debug)]
pub struct Plugin {
    manifest: Manifest,
    instance: Instance,
}

/// Why a plugin was not loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The gate refused it; nothing of it ran.
    #[error(transparent)]
    Refused(#[from] Rejection),
    /// The checked bytes could not be written for the loader.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The system's loader refused it.
    #[error("the system could not load `{path}`")]
    Library {
        /// The library.
        path: PathBuf,
        /// Why.
        source: libloading::Error,
    },
    /// The library does not export what every plugin exports.
    #[error("`{path}` does not export `{symbol}`")]
    Symbol {
        /// The library.
        path: PathBuf,
        /// The symbol.
        symbol: &'static str,
        /// What the system says.
        source: libloading::Error,
    },
    /// The stamp in memory is not the one that was checked.
    #[error("`{path}` was loaded with another stamp than the one in its file")]
    Stamp {
        /// The library.
        path: PathBuf,
    },
    /// The plugin's table can't be used.
    #[error("`{path}` breaks the contract")]
    Contract {
        /// The library.
        path: PathBuf,
        /// How.
        source: ContractError,
    },
    /// The plugin reported an error instead of an instance.
    #[error("`{path}` could not be created")]
    Create {
        /// The library.
        path: PathBuf,
        /// What it reported.
        source: CallError,
    },
}

impl Host {
    /// A host that expects this, and offers `services` to its plugins. Libraries are staged in the
    /// system's folder for temporary files.
    ///
    /// # Errors
    ///
    /// No private folder could be made there.
    pub fn new(expectation: Expectation, services: &'static Services) -> Result<Self, StageError> {
        Self::staging_in(&std::env::temp_dir(), expectation, services)
    }

    /// The same, for systems whose folder for temporary files does not allow to map code: libraries
    /// are staged in a new folder in `parent`.
    ///
    /// # Errors
    ///
    /// No private folder could be made there.
    pub fn staging_in(
        parent: &Path,
        expectation: Expectation,
        services: &'static Services,
    ) -> Result<Self, StageError> {
        Ok(Self { gate: Gate::new(expectation), stage: Stage::new(parent)?, services })
    }

    /// The gate that plugins pass.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Checks the library at `path`, loads it and creates an instance from `config`.
    ///
    /// # Errors
    ///
    /// The gate refused it, or something failed afterwards.
    pub fn load(&self, path: &Path, config: &[u8]) -> Result<Plugin, LoadError> {
        self.load_admitted(&self.gate.check(path)?, config)
    }

    /// Loads what the gate has admitted.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), but for the gate's.
    pub fn load_admitted(&self, admission: &Admission, config: &[u8]) -> Result<Plugin, LoadError> {
        let path = || admission.path().to_owned();
        let exports = self.open(admission)?;
        let instance = exports
            .create(config, self.services)
            .map_err(|source| LoadError::Create { path: path(), source })?;
        Ok(Plugin { manifest: admission.manifest().clone(), instance })
    }

    /// Loads the library that was admitted, without making an instance.
    ///
    /// # Errors
    ///
    /// It could not be staged or loaded, or does not export what a plugin exports.
    pub fn open(&self, admission: &Admission) -> Result<Exports, LoadError> {
        let path = || admission.path().to_owned();
        let staged = self.stage.write(&admission.manifest().artifact.file, admission.bytes())?;
        let library =
            Library::load(staged).map_err(|source| LoadError::Library { path: path(), source })?;
        let symbol = |symbol| move |source| LoadError::Symbol { path: path(), symbol, source };
        // SAFETY: every plugin exports its stamp under this name, as bytes.
        let found = unsafe { library.symbol::<*const u8>(stamp::SYMBOL) };
        let found = found.map_err(symbol(stamp::SYMBOL))?;
        let checked = admission.facts().stamp.clone().and_then(|at| admission.bytes().get(at));
        // What follows the stamp in its section is padding, which need not be in memory.
        let length = admission.stamp().map(|stamp| stamp.encoded_length());
        let checked = checked.zip(length).and_then(|(checked, length)| checked.get(..length));
        let checked = checked.filter(|checked| {
            // SAFETY: the gate found the stamp in a part of the file that the loader maps, as long
            // as it is in the file; what the symbol names is that part.
            let loaded = unsafe { std::slice::from_raw_parts(found, checked.len()) };
            loaded == *checked
        });
        if checked.is_none() {
            return Err(LoadError::Stamp { path: path() });
        }
        // SAFETY: every plugin exports its entry under this name, with this type.
        let entry = unsafe { library.symbol::<Entry>(ENTRY_SYMBOL) };
        let entry = entry.map_err(symbol(ENTRY_SYMBOL))?;
        // SAFETY: the gate has compared the contract that the plugin was built against; the library
        // lives as long as its keeper.
        let exports = unsafe { Exports::new(entry, Arc::new(library)) };
        exports.map_err(|source| LoadError::Contract { path: path(), source })
    }
}

impl Plugin {
    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its instance, to call it.
    pub fn instance(&mut self) -> &mut Instance {
        &mut self.instance
    }

    /// Its instance, for calls that need no exclusive access.
    pub fn shared_instance(&self) -> &Instance {
        &self.instance
    }

    /// Destroys the instance, says how that went, and unloads the library.
    ///
    /// # Errors
    ///
    /// What the plugin reports. It is gone all the same.
    pub fn unload(self) -> Result<(), CallError> {
        self.instance.destroy()
    }
}

/// A loaded library, and on Windows the file that it was loaded from.
struct Library {
    /// Unloaded before the file is deleted: fields are dropped in order.
    library: platform::Library,
    _staged: Option<Staged>,
}

impl Library {
    fn load(staged: Staged) -> Result<Self, libloading::Error> {
        // SAFETY: the gate has admitted these bytes, which is all that can be known about the code
        // that runs while it is loaded.
        let library = unsafe { platform::load(staged.path()) }?;
        // On Unix the mapping needs no name, and a file without a name can't be left behind.
        let staged = (!cfg!(unix)).then_some(staged);
        Ok(Self { library, _staged: staged })
    }

    /// # Safety
    ///
    /// The symbol must have the type `T`, and not be used after the library is gone.
    unsafe fn symbol<T: Copy>(&self, name: &str) -> Result<T, libloading::Error> {
        // SAFETY: the caller vouches for the type.
        unsafe { self.library.get::<T>(name) }.map(|symbol| *symbol)
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Library")
    }
}

#[cfg(unix)]
mod platform {
    use std::path::Path;

    pub(super) use libloading::os::unix::Library;
    use libloading::os::unix::{RTLD_LOCAL, RTLD_NOW};

    /// Every symbol is looked up now, so that a missing one fails here and not in a call; none
    /// becomes visible to other libraries.
    pub(super) unsafe fn load(path: &Path) -> Result<Library, libloading::Error> {
        // SAFETY: the caller vouches for the library's constructors.
        unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
    }
}

#[cfg(windows)]
mod platform {
    use std::path::Path;

    use libloading::os::windows::LOAD_LIBRARY_SEARCH_SYSTEM32;
    pub(super) use libloading::os::windows::Library;

    /// What it needs is looked for in the system's folder alone: neither the program's folder nor
    /// the current one nor PATH can slip it another library.
    pub(super) unsafe fn load(path: &Path) -> Result<Library, libloading::Error> {
        // SAFETY: the caller vouches for the library's `DllMain`.
        unsafe { Library::load_with_flags(path, LOAD_LIBRARY_SEARCH_SYSTEM32) }
    }
}
