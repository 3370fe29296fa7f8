//! A plugin with one instance, as a host keeps it, wherever it came from.

use keyway_abi::call::CallError;
use keyway_manifest::Manifest;

use crate::instance::Instance;
use crate::shared::SharedPlugin;

/// A plugin with one instance. Dropping it destroys the instance and ends the library, as soon as
/// nothing that the plugin made is left.
///
/// Whether it was loaded or is compiled in makes no difference to how it is called.
#[derive(Debug)]
pub struct Plugin {
    pub(crate) origin: Origin,
    pub(crate) instance: Instance,
}

/// Where a plugin came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A library, which the gate has admitted with this manifest.
    Loaded(Box<Manifest>),
    /// This program, with the feature `compiled-in`.
    CompiledIn {
        /// The plugin's name.
        name: &'static str,
        /// Its version.
        version: &'static str,
    },
}

impl Origin {
    /// The plugin's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Loaded(manifest) => manifest.plugin.name.as_str(),
            Self::CompiledIn { name, .. } => name,
        }
    }

    /// The plugin's version.
    pub fn version(&self) -> &str {
        match self {
            Self::Loaded(manifest) => &manifest.plugin.version,
            Self::CompiledIn { version, .. } => version,
        }
    }

    /// Its manifest; none if it is compiled in.
    pub fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Loaded(manifest) => Some(manifest),
            Self::CompiledIn { .. } => None,
        }
    }
}

impl Plugin {
    /// Its name: its package's.
    pub fn name(&self) -> &str {
        self.origin.name()
    }

    /// Its version: its package's.
    pub fn version(&self) -> &str {
        self.origin.version()
    }

    /// Its manifest; none if it is compiled in.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.origin.manifest()
    }

    /// Where it came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its instance, to call it.
    pub fn instance(&mut self) -> &mut Instance {
        &mut self.instance
    }

    /// Its instance, for calls that need no exclusive access.
    pub fn shared_instance(&self) -> &Instance {
        &self.instance
    }

    /// Whether the library stays in memory until the process ends, even after
    /// [`unload`](Self::unload): it does not declare that nothing of it is left then, or is compiled in.
    pub fn stays_mapped(&self) -> bool {
        self.instance.exports().stays_mapped()
    }

    /// The same plugin for many threads, with handles that any of them may keep. It may be reloaded too, without
    /// configuration, since its own is not known here; [`Host::load_shared`](crate::Host::load_shared) keeps that.
    pub fn share(self) -> SharedPlugin {
        SharedPlugin::of_plugin(self)
    }

    /// Destroys the instance, says how that went, and ends the library. It is unmapped if it declares
    /// that it may be, as soon as nothing that the plugin made is left.
    ///
    /// # Errors
    ///
    /// What the plugin reports. It is gone all the same.
    pub fn unload(self) -> Result<(), CallError> {
        self.instance.destroy()
    }
}
