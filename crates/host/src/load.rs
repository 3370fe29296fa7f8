//! Loading: from an admission to a plugin that can be called.
//!
//! What is loaded are the bytes that the gate checked, staged as a file of their own (`stage.rs`).
//! [`Host`] does it all: check, stage, load, create. Plugins that are part of the program are in
//! `compiled_in.rs`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyway_abi::call::{CallError, Context};
use keyway_abi::stamp::{self, Stamp};
use keyway_abi::table::{ENTRY_SYMBOL, Entry};
use keyway_manifest::text::Show as _;
use thiserror::Error;

use crate::exports::{ContractError, Exports};
use crate::gate::{Admission, Gate};
use crate::plugin::{Origin, Plugin};
use crate::policy::Expectation;
use crate::refusal::Rejection;
use crate::services::Services;
use crate::stage::{Stage, StageError, Staged};

/// Checks, loads and creates plugins.
#[derive(Debug)]
pub struct Host {
    gate: Gate,
    /// None in a host that loads nothing.
    stage: Option<Stage>,
    pub(crate) services: &'static Services,
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
    #[error("the system could not load `{path}`", path = .path.shown())]
    Library {
        /// The library.
        path: PathBuf,
        /// Why.
        source: libloading::Error,
    },
    /// The library does not export what every plugin exports.
    #[error("`{path}` does not export `{symbol}`", path = .path.shown())]
    Symbol {
        /// The library.
        path: PathBuf,
        /// The symbol.
        symbol: &'static str,
        /// What the system says.
        source: libloading::Error,
    },
    /// The stamp in memory is not the one that was checked.
    #[error("`{path}` was loaded with another stamp than the one in its file", path = .path.shown())]
    Stamp {
        /// The library.
        path: PathBuf,
    },
    /// The plugin's table can't be used.
    #[error("`{path}` breaks the contract", path = .path.shown())]
    Contract {
        /// The library, or the name of a plugin that is compiled in.
        path: PathBuf,
        /// How.
        source: ContractError,
    },
    /// The plugin reported an error instead of an instance.
    #[error("`{path}` could not be created", path = .path.shown())]
    Create {
        /// The library, or the name of a plugin that is compiled in.
        path: PathBuf,
        /// What it reported.
        source: CallError,
    },
    /// No plugin of this name is compiled in.
    #[cfg(feature = "compiled-in")]
    #[error("no plugin `{name}` is compiled in; this program has {known}", name = .name.shown())]
    NotCompiledIn {
        /// The name that was asked for.
        name: String,
        /// Those that there are, as text.
        known: String,
    },
    /// Several plugins of this name are compiled in.
    #[cfg(feature = "compiled-in")]
    #[error("several plugins `{name}` are compiled in, with the versions {versions}", name = .name.shown())]
    CompiledInTwice {
        /// The name.
        name: String,
        /// Their versions, as text.
        versions: String,
    },
    /// The plugin is compiled in and was ended, or could not be prepared: that can be once in a process.
    #[cfg(feature = "compiled-in")]
    #[error("`{name}` is compiled in and was ended, or could not be prepared, before", name = .name.shown())]
    Ended {
        /// The plugin's name.
        name: String,
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

    /// The same, with libraries staged in a new folder in `parent`: for systems whose folder for temporary
    /// files allows no code, where Linux has no files in memory either.
    ///
    /// # Errors
    ///
    /// No private folder could be made there.
    pub fn staging_in(
        parent: &Path,
        expectation: Expectation,
        services: &'static Services,
    ) -> Result<Self, StageError> {
        let stage = Some(Stage::new(parent)?);
        Ok(Self { gate: Gate::new(expectation), stage, services })
    }

    #[cfg(feature = "compiled-in")]
    pub(crate) fn without_stage(expectation: Expectation, services: &'static Services) -> Self {
        Self { gate: Gate::new(expectation), stage: None, services }
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
            .create(config, Context::NONE)
            .map_err(|source| LoadError::Create { path: path(), source })?;
        let origin = Origin::Loaded(Box::new(admission.manifest().clone()));
        Ok(Plugin { origin, instance })
    }

    /// Loads the library that was admitted, without making an instance.
    ///
    /// # Errors
    ///
    /// It could not be staged or loaded, or does not export what a plugin exports.
    pub fn open(&self, admission: &Admission) -> Result<Exports, LoadError> {
        self.loader().map(admission)?.prepare()
    }

    /// What loads libraries, for a thread that may outlive the host.
    pub(crate) fn loader(&self) -> Loader {
        Loader { stage: self.stage.clone(), services: self.services }
    }
}

/// Loads libraries that were admitted.
#[derive(Clone)]
pub(crate) struct Loader {
    stage: Option<Stage>,
    services: &'static Services,
}

/// A library that is mapped and not prepared yet.
pub(crate) struct Mapped {
    path: PathBuf,
    plugin: String,
    entry: Entry,
    library: Arc<Library>,
    services: &'static Services,
}

impl Loader {
    /// Maps a library, by which its constructors run.
    pub(crate) fn map(&self, admission: &Admission) -> Result<Mapped, LoadError> {
        let path = || admission.path().to_owned();
        let stage = self.stage.as_ref().ok_or(StageError::Nowhere)?;
        let staged = stage.write(&admission.manifest().artifact.file, admission.bytes())?;
        let library = Library::load(staged).map_err(|source| {
            if is_no_code(&source) {
                return StageError::NoCode { path: stage.parent().to_owned() }.into();
            }
            LoadError::Library { path: path(), source }
        })?;
        let symbol = |symbol| move |source| LoadError::Symbol { path: path(), symbol, source };
        // SAFETY: every plugin exports its stamp under this name, as bytes.
        let found = unsafe { library.symbol::<*const u8>(stamp::SYMBOL) };
        let found = found.map_err(symbol(stamp::SYMBOL))?;
        let checked = admission.facts().stamp.clone().and_then(|at| admission.bytes().get(at));
        // What follows the stamp in its section is padding, which need not be in memory.
        let checked = checked.and_then(|section| {
            let (_, length) = Stamp::read(section).ok()?;
            section.get(..length)
        });
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
        let plugin = admission.manifest().plugin.name.as_str().to_owned();
        let (library, services) = (Arc::new(library), self.services);
        Ok(Mapped { path: path(), plugin, entry, library, services })
    }
}

impl Mapped {
    /// Checks the library's table and calls its `init`.
    pub(crate) fn prepare(self) -> Result<Exports, LoadError> {
        let Self { path, plugin, entry, library, services } = self;
        // SAFETY: the gate has compared the contract that the plugin was built against; the library
        // lives as long as its keeper.
        let exports = unsafe { Exports::new(entry, &plugin, services, library) };
        exports.map_err(|source| LoadError::Contract { path, source })
    }
}

/// Whether the loader could read a library and not map its code: the mount or a policy forbids that.
fn is_no_code(error: &libloading::Error) -> bool {
    let text = error.to_string();
    text.contains("failed to map segment") && text.contains("not permitted")
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
