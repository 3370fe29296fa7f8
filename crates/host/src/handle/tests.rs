//! Handles of a plugin that is part of this test, so that Miri sees both sides.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use keyway_abi::table;
use keyway_sdk::{OwnedBuffer, Plugin, PluginError, export_plugin, interface};

use super::*;
use crate::exports::Exports;
use crate::generation::Ended;
use crate::plugin::{Origin, Plugin as LoadedPlugin};
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
    let origin = Origin::CompiledIn { name: "turnstile", version: "1.0.0" };
    LoadedPlugin { origin, instance }.share()
}

fn handle(plugin: &SharedPlugin) -> Handle<dyn Turns> {
    plugin.handle().expect("the interface")
}

fn enter(handle: &Handle<dyn Turns>) -> Result<u64, CallError> {
    handle.call(Context::NONE)?.interface()?.enter()
}

fn busy<T>(result: Result<T, CallError>) -> bool {
    result.is_err_and(|error| error.status == CallStatus::BUSY)
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
                    let turns = call.interface().expect("the interface");
                    assert_eq!((turns.enter(), turns.enter()), (Ok(5), Ok(5)));
                    drop(call);
                    if number == 0 {
                        let Ok(mut call) = handle.call_exclusively(Context::NONE) else { break };
                        let mut turns = call.interface().expect("the interface");
                        assert_eq!(turns.rename("seven"), Ok(()));
                        assert_eq!(turns.rename("three"), Ok(()));
                    }
                    n_calls += 1;
                }
                n_calls
            })
        })
        .collect();
    start.wait();
    assert_eq!(enter(&handle(&plugin)), Ok(5));
    assert_eq!(plugin.n_handles(), THREADS);
    let destroyed = DESTROYED.load(Ordering::Relaxed);
    assert!(matches!(plugin.unload(), Ok(Ended::Destroyed)));
    assert!(DESTROYED.load(Ordering::Relaxed) > destroyed, "it is gone when this returns");
    for thread in threads {
        let _: usize = thread.join().expect("no call saw another one's middle");
    }
}

#[test]
fn a_handle_keeps_the_instance() {
    let plugin = shared("kept");
    assert_eq!((&*plugin.name(), &*plugin.version()), ("turnstile", "1.0.0"));
    assert!(plugin.manifest().is_none() && plugin.stays_mapped() == Ok(true));
    let first = handle(&plugin);
    drop(plugin);
    let second = first.clone();
    drop(first);
    let answer = thread::spawn(move || {
        let call = second.call(Context::NONE).expect("it is there");
        let turns = call.interface().expect("the interface");
        turns.name().map(|name| name.to_vec())
    });
    assert_eq!(answer.join().expect("it ends"), Ok(b"kept".to_vec()));
}

/// Whoever unloads waits for whoever still has what a call returned.
#[test]
fn what_was_returned_keeps_the_instance() {
    let plugin = shared("left");
    let handle = handle(&plugin);
    let call = handle.call(Context::NONE).expect("it is there");
    let turns = call.interface().expect("the interface");
    let name = turns.name().expect("a name");
    let unloading = {
        let plugin = plugin.clone();
        thread::spawn(move || plugin.unload())
    };
    while !gone(handle.plugin().exclusive()) {
        // This thread is in a call.
        thread::yield_now();
    }
    assert!(!unloading.is_finished());
    assert_eq!((&*name, turns.enter()), (&b"left"[..], Ok(4)));
    drop((name, turns));
    drop(call);
    assert!(matches!(unloading.join().expect("it ends"), Ok(Ended::Destroyed)));
    assert!(gone(handle.call(Context::NONE)) && gone(handle.call_exclusively(Context::NONE)));
}

#[test]
fn the_instance_can_be_had_alone() {
    let plugin = shared("old");
    let handle = handle(&plugin);
    let mut instance = plugin.exclusive().expect("its turn");
    let mut turns = instance.interface::<dyn Turns>(Context::NONE).expect("the interface");
    assert_eq!(turns.rename("new one"), Ok(()));
    assert!(busy(plugin.guard()) && busy(plugin.exclusive()), "it would wait for itself");
    drop(instance);
    assert_eq!(enter(&handle), Ok(7));
}

#[test]
fn a_thread_does_not_wait_for_itself() {
    let plugin = shared("own");
    // More than a thread's record has room for.
    let guards: Vec<_> = (0..20).map(|_| plugin.guard().expect("it is there")).collect();
    assert_eq!(plugin.n_calls_in_flight(), 20);
    assert!(busy(plugin.exclusive()));
    assert!(plugin.unload().is_err());
    drop(guards);
    assert_eq!(plugin.n_calls_in_flight(), 0);
    assert!(plugin.exclusive().is_ok());
    assert!(matches!(plugin.unload(), Ok(Ended::Destroyed)));
    assert!(plugin.unload().is_err() && gone(plugin.guard()));
}

/// Somebody who waits to have the instance alone does not stop one who is in it from going on.
#[test]
fn guards_are_nested_while_another_one_waits() {
    let plugin = shared("nested");
    let outer = plugin.guard().expect("it is there");
    let waiting = {
        let plugin = plugin.clone();
        thread::spawn(move || drop(plugin.exclusive().expect("its turn")))
    };
    // Seen by the way that it shuts: a second guard then takes the slow one.
    for _ in 0..100 {
        let inner = plugin.guard().expect("it is there");
        assert_eq!(outer.generation(), inner.generation());
        thread::yield_now();
    }
    assert!(!waiting.is_finished());
    drop(outer);
    waiting.join().expect("it ends");
}

/// After it was had alone, the way without a lock opens again.
#[test]
fn many_calls_in_a_row_are_quick_again() {
    let plugin = shared("quick");
    let handle = handle(&plugin);
    for _ in 0..3 {
        drop(plugin.exclusive().expect("its turn"));
        for _ in 0..100 {
            assert_eq!(enter(&handle), Ok(5));
        }
    }
    assert_eq!(plugin.n_calls_in_flight(), 0);
}

/// A thread's record is another thread's when it has ended, and what it forgot stays.
#[test]
fn records_outlive_threads() {
    let plugin = shared("records");
    for _ in 0..4 {
        let plugin = plugin.clone();
        let call = move || drop(plugin.guard().expect("it is there"));
        thread::spawn(call).join().expect("it ends");
    }
    let forgetful = plugin.clone();
    let forget = move || std::mem::forget(forgetful.guard().expect("it is there"));
    thread::spawn(forget).join().expect("it ends");
    assert_eq!(plugin.n_calls_in_flight(), 1);
    let later = plugin.clone();
    thread::spawn(move || drop(later.guard())).join().expect("it ends");
    assert_eq!(plugin.n_calls_in_flight(), 1);
}

/// Whatever instance is put in the place of another, it is called by its own table.
#[test]
fn instances_can_change_places() {
    let (first, second) = (shared("first"), shared("second one"));
    let handle = handle(&first);
    {
        let (mut first, mut second) =
            (first.exclusive().expect("its turn"), second.exclusive().expect("its turn"));
        std::mem::swap(&mut *first, &mut *second);
    }
    assert_eq!(enter(&handle), Ok(10));
}
