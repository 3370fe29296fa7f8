//! Plugins that are part of this program: found without a list, checked and called as loaded ones are.
//!
//! They are there with the feature `compiled-in`, by which `export_plugin!` registers a plugin with
//! the program instead of exporting symbols, of which a program can have each only once. The linker
//! takes a crate only if something names it, so the program says `use greet as _;` for each plugin,
//! and no more.
//!
//! Of a library that was loaded twice there are two copies, each with its own statics; of a plugin
//! that is compiled in there is one. So it is prepared once in a process, by whichever host is
//! first, and ended once, by [`Host::end_compiled_in`] if at all. Its code is never unmapped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyway_abi::call::Context;
use keyway_sdk::__private::CompiledIn;

use crate::exports::Exports;
use crate::load::{Host, LoadError};
use crate::plugin::{Origin, Plugin};
use crate::policy::Expectation;
use crate::services::Services;

/// A plugin that is compiled into this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledInPlugin {
    /// Its name: its package's.
    pub name: &'static str,
    /// Its version: its package's.
    pub version: &'static str,
    /// The id and the version of each interface that it offers.
    pub interfaces: Vec<(&'static str, u32)>,
}

/// How far a plugin has come in this process.
#[derive(Default)]
enum State {
    #[default]
    New,
    Prepared(Exports),
    /// Or it could not be prepared.
    Ended,
}

/// The state of the plugin of this name, with a lock of its own: while it is prepared its code runs,
/// and may lead to another one.
fn state(name: &'static str) -> Arc<Mutex<State>> {
    static STATES: Mutex<BTreeMap<&str, Arc<Mutex<State>>>> = Mutex::new(BTreeMap::new());
    locked(&STATES).entry(name).or_default().clone()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    /// A host for plugins that are compiled in and no others: it needs no folder for files.
    pub fn of_compiled_in(expectation: Expectation, services: &'static Services) -> Self {
        Self::without_stage(expectation, services)
    }

    /// The plugins that are compiled into this program, by name and version; checked when they are loaded.
    pub fn compiled_in(&self) -> Vec<CompiledInPlugin> {
        let all = CompiledIn::all().into_iter().map(CompiledIn::stamp);
        all.map(|stamp| CompiledInPlugin {
            name: stamp.name,
            version: stamp.version,
            interfaces: stamp.interfaces.as_slice().iter().map(|it| (it.id, it.version)).collect(),
        })
        .collect()
    }

    /// Checks the plugin of this name that is compiled in, prepares it if that was not done yet,
    /// and creates an instance from `config`.
    ///
    /// Compared are the contract and the interfaces, as for a library: one program may have two
    /// versions of the crate of an interface. What is about files, toolchains and processors can't
    /// differ.
    ///
    /// # Errors
    ///
    /// There is no such plugin or several, it is refused, or something failed afterwards.
    pub fn load_compiled_in(&self, name: &str, config: &[u8]) -> Result<Plugin, LoadError> {
        let plugin = find(name)?;
        let stamp = plugin.stamp();
        self.gate().check_compiled_in(stamp)?;
        let exports = self.prepare(plugin)?;
        let instance = exports
            .create(config, Context::NONE)
            .map_err(|source| LoadError::Create { path: stamp.name.into(), source })?;
        let origin = Origin::CompiledIn { name: stamp.name, version: stamp.version };
        Ok(Plugin { origin, instance })
    }

    /// Ends a plugin that is compiled in, whichever host prepared it: its `deinit` is called as
    /// soon as its last instance has gone. It can't be loaded again in this process.
    ///
    /// Without this it ends with the process, of which it is a part.
    ///
    /// # Errors
    ///
    /// There is no such plugin, or several.
    pub fn end_compiled_in(&self, name: &str) -> Result<(), LoadError> {
        let state = state(find(name)?.stamp().name);
        let ended = std::mem::replace(&mut *locked(&state), State::Ended);
        // Here, where no lock is held any more: it may run the plugin's code.
        drop(ended);
        Ok(())
    }

    fn prepare(&self, plugin: &'static CompiledIn) -> Result<Exports, LoadError> {
        let name = plugin.stamp().name;
        let state = state(name);
        let mut state = locked(&state);
        match &*state {
            State::Prepared(exports) => return Ok(exports.with_services(name, self.services)),
            State::Ended => return Err(LoadError::Ended { name: name.to_owned() }),
            State::New => {}
        }
        // Should preparing it panic, it is not tried again.
        *state = State::Ended;
        // SAFETY: the gate has compared the contract that it was compiled with; only one is
        // prepared under its name, and once.
        let exports = unsafe { Exports::of_compiled_in(plugin.entry(), name, self.services) };
        let exports =
            exports.map_err(|source| LoadError::Contract { path: name.into(), source })?;
        *state = State::Prepared(exports.clone());
        Ok(exports)
    }
}

fn find(name: &str) -> Result<&'static CompiledIn, LoadError> {
    let all = CompiledIn::all();
    let of_name: Vec<_> = all.iter().filter(|plugin| plugin.stamp().name == name).collect();
    match of_name[..] {
        [plugin] => Ok(plugin),
        [] => {
            let known = listed(all.iter().map(|plugin| plugin.stamp().name));
            Err(LoadError::NotCompiledIn { name: name.to_owned(), known })
        }
        _ => {
            let versions = listed(of_name.iter().map(|plugin| plugin.stamp().version));
            Err(LoadError::CompiledInTwice { name: name.to_owned(), versions })
        }
    }
}

fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let all = words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    if all.is_empty() { "none".to_owned() } else { all }
}
