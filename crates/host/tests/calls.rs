//! A real plugin, loaded from its `.so` or DLL, called in every way that the contract has.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

use keyway_abi::call::{CallContext, CallError, CallStatus, Context, LogLevel};
use keyway_abi::memory::OwnedBuffer;
use keyway_abi::table::{ENTRY_SYMBOL, Entry};
use keyway_host::exports::{ContractError, Exports};
use keyway_host::instance::Instance;
use keyway_host::services::{self, Services};

#[path = "probe/interface.rs"]
pub mod interface;

use interface::{Color, Pixel, Probe};

/// Builds `cargo build ARGUMENTS` and gives the path of `folder/lib{name}` in the target folder.
fn build(arguments: &[&str], folder: &str, name: &str) -> PathBuf {
    let status = Command::new(env!("CARGO"))
        .arg("build")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the plugin `{name}` was not built");
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let target = target.parent().expect("the target folder");
    target.join(folder).join(libloading::library_filename(name))
}

fn load(path: PathBuf) -> Exports {
    // SAFETY: the plugin was built from this workspace; its constructors do nothing.
    unsafe {
        let library = libloading::Library::new(path).expect("the plugin loads");
        let entry = *library.get::<Entry>(ENTRY_SYMBOL).expect("the entry symbol");
        Exports::new(entry, Arc::new(library)).expect("the plugin keeps to the contract")
    }
}

static PROBE: LazyLock<Exports> = LazyLock::new(|| {
    let arguments = ["--package", "keyway-host", "--example", "probe"];
    load(build(&arguments, "debug/examples", "probe"))
});

/// Services that drop what is logged.
fn silent() -> &'static Services {
    static SILENT: LazyLock<&Services> = LazyLock::new(|| Services::new(|_, _| ()));
    &SILENT
}

fn probe() -> Instance {
    PROBE.create(b"", silent()).expect("an instance")
}

fn error<T>(result: Result<T, CallError>) -> (CallStatus, u32, String) {
    let error = result.err().expect("the call fails");
    (error.status, error.code, error.message)
}

#[test]
fn greet_greets() {
    let greet = load(build(&["--package", "greet"], "debug", "greet"));
    assert_eq!(greet.methods().collect::<Vec<_>>(), ["greet"]);
    assert_eq!(greet.interface(), None);
    let mut instance = greet.create(b"", silent()).expect("an instance");
    let output = instance.invoke("greet", b"world", Context::NONE).expect("a greeting");
    drop(instance);
    drop(greet);
    // The output keeps the library loaded: it is freed by the library's code.
    assert_eq!(&*output, b"Hello, world!");
}

#[test]
fn every_kind_of_value_crosses() {
    let mut instance = probe();
    let mut probe = instance.interface::<dyn Probe>(Context::NONE).expect("the interface");
    assert_eq!(probe.add(255, -300), Ok(-45));
    assert_eq!(probe.half(5.0), Ok(2.5));
    assert_eq!(probe.not(true), Ok(false));
    assert_eq!(probe.next(Color::Red), Ok(Color::Orange));
    assert_eq!(probe.next(Color::Blue), Ok(Color::Red));
    let pixel = Pixel { lit: false, weight: 0.5, color: Color::Orange, rgb: [1, 2, 3] };
    let flipped = Pixel { lit: true, color: Color::Blue, ..pixel };
    assert_eq!(probe.flip(pixel), Ok(flipped));
    assert_eq!(probe.flips(), Ok(1));
    assert_eq!(probe.count_lit(&[pixel, flipped, flipped]), Ok(2));
    assert_eq!(probe.count_lit(&[]), Ok(0));
    let mut numbers = [1, 2, 3];
    assert_eq!(probe.double(&mut numbers), Ok(()));
    assert_eq!(numbers, [2, 4, 6]);
    assert_eq!(probe.upper("straße").as_deref(), Ok("STRASSE".as_bytes()));
    assert_eq!(probe.upper("").as_deref(), Ok(&b""[..]));
    assert_eq!(probe.sum(vec![200, 100].into()), Ok(300));
    assert_eq!(probe.sum(OwnedBuffer::new()), Ok(0));
    assert_eq!(probe.divide(7, 2), Ok(3));
    assert_eq!(error(probe.divide(7, 0)), (CallStatus::FAILED, 9, "a division by zero".into()));
}

#[test]
fn a_context_reaches_the_plugin() {
    let mut instance = probe();
    let mut call = CallContext::new();
    call.trace_id[0] = 3;
    call.span_id[0] = 4;
    call.deadline_ns = 1000;
    let context = Context::new(&call);
    let with = instance.interface::<dyn Probe>(context).expect("the interface");
    assert_eq!(with.context(1), Ok(1008));
    let without = instance.interface::<dyn Probe>(Context::NONE).expect("the interface");
    assert_eq!(without.context(1), Ok(1));
    assert_eq!(instance.invoke("deadline", b"", context).as_deref(), Ok(&b"1000"[..]));
    assert_eq!(instance.invoke("deadline", b"", Context::NONE).as_deref(), Ok(&b"0"[..]));
}

#[test]
fn the_host_serves() {
    static LINES: Mutex<Vec<(LogLevel, String)>> = Mutex::new(vec![]);
    let services = Services::new(|level, line| {
        LINES.lock().expect("no test panics here").push((level, line.to_owned()));
        assert_ne!(line, "the curtain falls", "a panic of the host's log");
    });
    let mut instance = PROBE.create(b"", services).expect("an instance");
    let before = services::now_ns();
    let time = instance.invoke("time", b"", Context::NONE).expect("the time");
    let time = u64::from_le_bytes(time.as_ref().try_into().expect("eight bytes"));
    assert!(before <= time && time <= services::now_ns());
    assert_eq!(instance.destroy(), Ok(()));
    let lines =
        std::mem::take(&mut *LINES.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let expected = [(LogLevel::INFO, "the curtain rises"), (LogLevel::DEBUG, "the curtain falls")];
    assert_eq!(lines, expected.map(|(level, line)| (level, line.to_owned())));
}

#[test]
fn named_methods_answer_or_fail() {
    let mut instance = probe();
    let mut invoke = |method: &str, input: &[u8]| {
        instance.invoke(method, input, Context::NONE).map(|output| output.to_vec())
    };
    assert_eq!(invoke("echo", b"\0\xff"), Ok(b"\0\xff".to_vec()));
    assert_eq!(invoke("echo", b""), Ok(vec![]));
    assert_eq!(error(invoke("fail", b"why not")), (CallStatus::FAILED, 42, "why not".into()));
    let (status, code, message) = error(invoke("sing", b""));
    assert_eq!((status, code), (CallStatus::UNKNOWN_METHOD, 0));
    assert!(message.starts_with("no method `sing`; this plugin has `echo`, `fail`,"), "{message}");
}

#[test]
fn a_panic_poisons_one_instance() {
    let (mut first, mut second) = (probe(), probe());
    let panicked = (CallStatus::PANICKED, 0, "the strings are cut".to_owned());
    let poisoned = (CallStatus::POISONED, 0, "the instance panicked in an earlier call".to_owned());
    assert_eq!(error(first.invoke("panic", b"", Context::NONE)), panicked);
    assert_eq!(error(first.invoke("echo", b"", Context::NONE)), poisoned);
    assert_eq!(error(first.pause()), poisoned);
    assert_eq!(error(first.save_state()), poisoned);
    let proxy = first.interface::<dyn Probe>(Context::NONE).expect("the interface");
    assert_eq!(error(proxy.add(1, 1)), poisoned);
    assert_eq!(first.destroy(), Ok(()));

    let proxy = second.interface::<dyn Probe>(Context::NONE).expect("the interface");
    assert_eq!(proxy.add(1, 1), Ok(2));
    let panicked = (CallStatus::PANICKED, 0, "typed".to_owned());
    assert_eq!(error(proxy.panic("typed")), panicked);
    assert_eq!(error(proxy.add(1, 1)), poisoned);

    let payload = (CallStatus::PANICKED, 0, "a value that is no text".to_owned());
    assert_eq!(error(probe().invoke("panic with a number", b"", Context::NONE)), payload);
}

#[test]
fn the_life_of_an_instance() {
    let mut instance = probe();
    let paused = |instance: &mut Instance| {
        instance.invoke("paused", b"", Context::NONE).expect("an answer")[0] == 1
    };
    assert_eq!(instance.pause(), Ok(()));
    assert!(paused(&mut instance));
    assert_eq!(error(instance.pause()), (CallStatus::FAILED, 1, "paused already".into()));
    assert_eq!(instance.resume(), Ok(()));
    assert!(!paused(&mut instance));
    assert_eq!(instance.restore_state(b"act one"), Ok(()));
    let state = instance.save_state().expect("a state");
    let mut next = probe();
    assert_eq!(next.restore_state(&state), Ok(()));
    assert_eq!(next.save_state().as_deref(), Ok(&b"act one++"[..]));
}

#[test]
fn what_goes_wrong_at_the_ends_of_a_life() {
    let create = |config: &[u8]| PROBE.create(config, silent());
    assert_eq!(error(create(b"refuse")), (CallStatus::FAILED, 5, "no such show".into()));
    assert_eq!(error(create(b"panic")), (CallStatus::PANICKED, 0, "stage fright".into()));
    let instance = create(b"panic at the end").expect("an instance");
    assert_eq!(error(instance.destroy()), (CallStatus::PANICKED, 0, "an encore".into()));
    drop(create(b"panic at the end"));
}

#[test]
fn a_plugin_without_state_says_so() {
    let greet = load(build(&["--package", "greet"], "debug", "greet"));
    let mut instance = greet.create(b"", silent()).expect("an instance");
    let unsupported = (CallStatus::UNSUPPORTED, 0, "this plugin saves no state".to_owned());
    assert_eq!(error(instance.save_state()), unsupported);
    let unsupported = (CallStatus::UNSUPPORTED, 0, "this plugin restores no state".to_owned());
    assert_eq!(error(instance.restore_state(b"")), unsupported);
}

#[test]
fn shared_functions_run_on_several_threads() {
    let instance = probe();
    let sum = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (instance, sum) = (&instance, &sum);
            scope.spawn(move || {
                let probe =
                    instance.shared_interface::<dyn Probe>(Context::NONE).expect("the interface");
                for number in 0..1000 {
                    let result = probe.add(thread, number).expect("a sum");
                    sum.fetch_add(result as usize, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(sum.into_inner(), 4 * 499_500 + 6000);
}

#[test]
fn another_interface_is_refused() {
    let greet = load(build(&["--package", "greet"], "debug", "greet"));
    let mut instance = greet.create(b"", silent()).expect("an instance");
    let error = instance.interface::<dyn Probe>(Context::NONE).err().expect("it has none");
    let found = String::new();
    assert_eq!(error, ContractError::OtherInterface { found, expected: "Probe" });
    assert_eq!(error.to_string(), "the plugin offers no interface, expected interface `Probe`");
}

/// The same interface with one argument's type changed.
pub mod other {
    /// A name that the plugin knows, with other functions.
    #[keyway_sdk::interface(version = 4)]
    pub trait Probe {
        /// Takes `u16` where the plugin takes `u8`.
        fn add(&self, left: u16, right: i64) -> i64;
    }
}

#[test]
fn another_version_of_an_interface_is_refused() {
    let mut instance = probe();
    let error = instance.interface::<dyn other::Probe>(Context::NONE).err().expect("it differs");
    let message = error.to_string();
    assert!(
        message.starts_with(
            "the plugin was built against another `Probe`: interface Probe: host size 16, \
             plugin size 112; Probe.add: host fn(&self, u16, i64) -> i64, plugin fn(&self, u8, i64) \
             -> i64; "
        ),
        "{message}"
    );
}
