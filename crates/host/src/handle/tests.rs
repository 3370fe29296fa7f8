//! Handles of a plugin that is part of this test, so that Miri sees both sides.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use keyway_sdk::{OwnedBuffer, Plugin, PluginError, export_plugin, interface};

use super::*;
use crate::services::Services;

/// What the plugin offers.
#[interface]
trait Turns {
    /// Counts who is in it at once.
    fn enter(&self) -> u64;
    /// Its name.
    fn name(&self) -> OwnedBuffer;
    /// Another name.
    fn rename(&mut self, name: &str);
}

struct Turnstile {
    name: String,
    inside: AtomicUsize,
}

/// How many instances were destroyed.
static DESTROYED: AtomicUsize = AtomicUsize::new(0);

impl Plugin for Turnstile {
    fn create(config: &[u8], _: keyway_sdk::Host) -> Result<Self, PluginError> {
        let name = String::from_utf8_lossy(config).into_owned();
        Ok(Self { name, inside: AtomicUsize::new(0) })
    }
}

impl Turns for Turnstile {
    fn enter(&self) -> u64 {
        self.inside.fetch_add(1, Ordering::Relaxed);
        thread::yield_now();
        self.inside.fetch_sub(1, Ordering::Relaxed);
        self.name.len() as u64
    }

    fn name(&self) -> OwnedBuffer {
        self.name.clone().into_bytes().into()
    }

    fn rename(&mut self, name: &str) {
        assert_eq!(*self.inside.get_mut(), 0, "somebody is in it");
        self.name = name.to_owned();
    }
}

impl Drop for Turnstile {
    fn drop(&mut self) {
        assert_eq!(*self.inside.get_mut(), 0, "somebody is in it");
        DESTROYED.fetch_add(1, Ordering::Relaxed);
    }
}

export_plugin!(Turnstile: dyn Turns);

fn shared(name: &str) -> SharedPlugin {
    unsafe extern "C" {
        safe fn keyway_plugin_v1() -> *const table::Library;
    }
    unsafe extern "C" fn entry() -> *const table::Library {
        keyway_plugin_v1()
    }
    let services = Services::new(|_, _| ());
    // SAFETY: it is the plugin above, which nothing unloads.
    let exports = unsafe { Exports::new(entry, "turnstile", services, Arc::new(())) };
    let exports = exports.expect("it keeps to the contract");
    let instance = exports.create(name.as_bytes(), Context::NONE).expect("an instance");
    SharedPlugin::new(Origin::CompiledIn { name: "turnstile", version: "1.0.0" }, instance)
}

fn handle(plugin: &SharedPlugin) -> Handle<dyn Turns> {
    plugin.handle().expect("the interface")
}

fn gone<T>(result: Result<T, CallError>) -> bool {
    result.is_err_and(|error| error.status == CallStatus::DISCONNECTED)
}

#[test]
fn threads_go_on_calling_while_a_plugin_is_unloaded() {
    const THREADS: usize = 3;
    let plugin = shared("three");
    let start = Arc::new(Barrier::new(THREADS + 1));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (handle, start) = (handle(&plugin), start.clone());
            thread::spawn(move || {
                start.wait();
                let mut n_calls = 0;
                while let Ok(call) = handle.call(Context::NONE) {
                    assert_eq!(call.enter(), Ok(5));
                    drop(call);
                    if number == 0 {
                        let Ok(mut call) = handle.call_exclusively(Context::NONE) else { break };
                        assert_eq!(call.interface().rename("seven"), Ok(()));
                        assert_eq!(call.interface().rename("three"), Ok(()));
                    }
                    n_calls += 1;
                }
                n_calls
            })
        })
        .collect();
    start.wait();
    assert_eq!(handle(&plugin).call(Context::NONE).expect("it is there").enter(), Ok(5));
    assert_eq!(plugin.n_handles(), THREADS);
    let destroyed = DESTROYED.load(Ordering::Relaxed);
    assert_eq!(plugin.unload(), Ok(()));
    assert!(DESTROYED.load(Ordering::Relaxed) > destroyed, "it is gone when this returns");
    for thread in threads {
        let _: usize = thread.join().expect("no call saw another one's middle");
    }
}

#[test]
fn a_handle_keeps_the_instance() {
    let plugin = shared("kept");
    assert_eq!((plugin.name(), plugin.version()), ("turnstile", "1.0.0"));
    assert!(plugin.manifest().is_none() && plugin.stays_mapped());
    let first = handle(&plugin);
    drop(plugin);
    let second = first.clone();
    drop(first);
    let answer = thread::spawn(move || {
        second.call(Context::NONE).expect("it is there").name().map(|name| name.to_vec())
    });
    assert_eq!(answer.join().expect("it ends"), Ok(b"kept".to_vec()));
}

#[test]
fn what_was_returned_outlives_the_instance() {
    let plugin = shared("left");
    let handle = handle(&plugin);
    let name = handle.call(Context::NONE).expect("it is there").name().expect("a name");
    assert_eq!(plugin.unload(), Ok(()));
    assert_eq!(&*name, b"left");
    assert!(gone(handle.call(Context::NONE)) && gone(handle.call_exclusively(Context::NONE)));
    assert!(handle.exports().interfaces().next().is_some());
}

#[test]
fn the_instance_can_be_had_alone() {
    let plugin = shared("old");
    let handle = handle(&plugin);
    let mut instance = plugin.instance();
    let mut turns = instance.interface::<dyn Turns>(Context::NONE).expect("the interface");
    assert_eq!(turns.rename("new one"), Ok(()));
    drop(instance);
    assert_eq!(handle.call(Context::NONE).expect("it is there").enter(), Ok(7));
}

/// A table is that of one library in memory, whatever instance is put in the place of another.
#[test]
fn a_handle_calls_no_other_library() {
    let (first, second) = (shared("first"), shared("second one"));
    let handle = handle(&first);
    std::mem::swap(&mut *first.instance(), &mut *second.instance());
    assert!(gone(handle.call(Context::NONE)));
}
