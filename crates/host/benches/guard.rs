//! What it costs that a plugin can be reloaded while it is called: `cargo bench -p keyway-host --bench guard`.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::RwLock;

use keyway_abi::call::Context;
use keyway_host::{Expectation, Host, ImportPolicy, Plugin, Services, ToolchainPolicy};
use tempfile::TempDir;

#[expect(dead_code, reason = "what builds the canary is for tests")]
#[path = "../tests/refusals/canary.rs"]
mod canary;
#[path = "../tests/probe/interface.rs"]
pub mod interface;
mod pair;

use interface::{Counter, Probe};
use pair::compare;

/// Calls a round.
const N_CALLS: u32 = 20_000;

fn main() {
    let folder = TempDir::new().expect("a folder");
    let library = build(folder.path());
    let expectation = Expectation {
        toolchains: ToolchainPolicy::AnyWithMatchingAbi,
        imports: ImportPolicy::Any,
        ..Expectation::this_process()
    };
    let host = Host::new(expectation, Services::new(|_, _| ())).expect("a host");
    let load = || host.load(&library, b"").expect("it loads");
    shared_calls(load(), &load());
    exclusive_calls(load(), load());
}

/// The probe, with a manifest beside it.
fn build(folder: &Path) -> PathBuf {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", "keyway-host", "--example", "probe"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the plugin was not built");
    let file = libloading::library_filename("probe").into_string().expect("UTF-8");
    let release = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../release/examples");
    let bytes = fs::read(release.join(&file)).expect("the library");
    let manifest = canary::manifest(&bytes, &file);
    let library = folder.join(file);
    fs::write(&library, bytes).expect("it is written");
    fs::write(folder.join(manifest.file_name()), manifest.to_json()).expect("it is written");
    library
}

fn nanoseconds(elapsed: f64) -> f64 {
    elapsed * 1e9 / f64::from(N_CALLS)
}

/// A trivial function, each call with a guard of its own; beside the same with a lock in the guard's place, and beside
/// a plugin that is borrowed and can't be reloaded.
fn shared_calls(plugin: Plugin, other: &Plugin) {
    let shared = plugin.share();
    let handle = shared.handle::<dyn Probe>().expect("the interface");
    let guarded = |(): &()| {
        for number in 0..i64::from(N_CALLS) {
            let guard = shared.guard().expect("it is there");
            let probe = guard.interface::<dyn Probe>(Context::NONE).expect("the interface");
            black_box(probe.add(black_box(3), number).expect("a sum"));
        }
    };
    let in_one_guard = |(): &()| {
        let guard = shared.guard().expect("it is there");
        let probe = guard.interface::<dyn Probe>(Context::NONE).expect("the interface");
        for number in 0..i64::from(N_CALLS) {
            black_box(probe.add(black_box(3), number).expect("a sum"));
        }
    };
    let by_handle = |(): &()| {
        for number in 0..i64::from(N_CALLS) {
            let call = handle.call(Context::NONE).expect("it is there");
            let probe = call.interface().expect("the interface");
            black_box(probe.add(black_box(3), number).expect("a sum"));
        }
    };
    let borrowed = |(): &()| {
        let probe = other.shared_instance().shared_interface::<dyn Probe>(Context::NONE);
        let probe = probe.expect("the interface");
        for number in 0..i64::from(N_CALLS) {
            black_box(probe.add(black_box(3), number).expect("a sum"));
        }
    };
    let looked_up = |(): &()| {
        for number in 0..i64::from(N_CALLS) {
            let instance = black_box(other).shared_instance();
            let probe = instance.shared_interface::<dyn Probe>(Context::NONE);
            black_box(probe.expect("the interface").add(black_box(3), number).expect("a sum"));
        }
    };
    compare(|| (), guarded, borrowed).report("call, a guard each", "ns", "borrowed", nanoseconds);
    compare(|| (), guarded, looked_up).report(
        "call, a guard each",
        "ns",
        "borrowed, the interface looked up each time",
        nanoseconds,
    );
    let name = "call, one guard for all";
    compare(|| (), in_one_guard, borrowed).report(name, "ns", "borrowed", nanoseconds);
    compare(|| (), by_handle, borrowed).report("call by a handle", "ns", "borrowed", nanoseconds);
    let lock = RwLock::new(());
    let locked = |(): &()| {
        for number in 0..i64::from(N_CALLS) {
            let _lock = lock.read().expect("nobody panics");
            let instance = black_box(other).shared_instance();
            let probe = instance.shared_interface::<dyn Probe>(Context::NONE);
            black_box(probe.expect("the interface").add(black_box(3), number).expect("a sum"));
        }
    };
    let peer = "a reader's lock each";
    compare(|| (), guarded, locked).report("call, a guard each", "ns", peer, nanoseconds);
}

/// A function that takes the instance exclusively, beside a borrow.
fn exclusive_calls(plugin: Plugin, mut other: Plugin) {
    let shared = plugin.share();
    let alone = |(): &()| {
        for _ in 0..N_CALLS {
            let mut instance = shared.exclusive().expect("its turn");
            let counter = instance.interface::<dyn Counter>(Context::NONE);
            black_box(counter.expect("the interface").count().expect("a number"));
        }
    };
    let borrowed = |(): &()| {
        for _ in 0..N_CALLS {
            let counter = other.instance().interface::<dyn Counter>(Context::NONE);
            black_box(counter.expect("the interface").count().expect("a number"));
        }
    };
    let name = "call that has the instance alone";
    compare(|| (), alone, borrowed).report(name, "ns", "borrowed", nanoseconds);
}
