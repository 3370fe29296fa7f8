//! A real plugin, loaded from its `.so` or DLL, called in every way that the contract has.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;

use keyway_abi::call::{CallContext, CallError, CallStatus, CancellationToken, Context, LogLevel};
use keyway_abi::memory::OwnedBuffer;
use keyway_abi::table::{ENTRY_SYMBOL, Entry};
use keyway_host::exports::{ContractError, Exports};
use keyway_host::instance::Instance;
use keyway_host::{LogLine, LogSink, SavedState, Services};

#[path = "refusals/built.rs"]
mod built;
#[path = "probe/interface.rs"]
pub mod interface;

use interface::{Color, Counter, Pixel, Probe, Quotes};

/// The library that `cargo build ARGUMENTS` makes of `name`.
fn build(arguments: &[&str], name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.arg("build").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    built::library(&mut cargo, name)
}

fn load(path: PathBuf) -> Exports {
    load_with(path, silent())
}

fn load_with(path: PathBuf, services: &'static Services) -> Exports {
    // SAFETY: the plugin was built from this workspace; its constructors do nothing.
    let exports = unsafe {
        let library = libloading::Library::new(path).expect("the plugin loads");
        let entry = *library.get::<Entry>(ENTRY_SYMBOL).expect("the entry symbol");
        Exports::new(entry, "a plugin", services, Arc::new(library))
    };
    exports.expect("the plugin keeps to the contract")
}

static PROBE_LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let arguments = ["--package", "keyway-host", "--example", "probe"];
    build(&arguments, "probe")
});

static PROBE: LazyLock<Exports> = LazyLock::new(|| load(PROBE_LIBRARY.clone()));

/// Services that drop what is logged.
fn silent() -> &'static Services {
    static SILENT: LazyLock<&Services> = LazyLock::new(|| Services::new(|_, _| ()));
    &SILENT
}

fn probe() -> Instance {
    PROBE.create(b"", Context::NONE).expect("an instance")
}

fn error<T>(result: Result<T, CallError>) -> (CallStatus, u32, String) {
    let error = result.err().expect("the call fails");
    (error.status, error.code, error.message)
}

#[test]
fn greet_greets() {
    let greet = load(build(&["--package", "greet"], "greet"));
    let methods: Vec<_> = greet.methods().iter().map(|method| &*method.name).collect();
    assert_eq!(methods, ["greet"]);
    assert_eq!(greet.interfaces().next(), None);
    assert!(!greet.stays_mapped());
    let mut instance = greet.create(b"", Context::NONE).expect("an instance");
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
    assert_eq!(probe.size(), Ok(7));
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
fn a_call_can_be_cancelled() {
    let mut instance = probe();
    let token = CancellationToken::new();
    let call = CallContext::new().with_trace_state("keyway=1").with_cancellation(&token);
    let mut ask = |call: &CallContext<'_>| {
        let answer = instance.invoke("cancelled", b"", Context::new(call));
        answer.map(|answer| String::from_utf8_lossy(&answer).into_owned())
    };
    assert_eq!(ask(&call).as_deref(), Ok("keyway=1"));
    assert_eq!(ask(&CallContext::new()).as_deref(), Ok(""));
    token.clone().cancel();
    let cancelled = (CallStatus::CANCELLED, 0, "the call was cancelled".to_owned());
    assert_eq!(error(ask(&call)), cancelled);
    assert_eq!(ask(&CallContext::new()).as_deref(), Ok(""), "another call is not");
}

/// A log that says which lines it wants.
struct Picky(Mutex<Vec<String>>);

impl LogSink for &'static Picky {
    fn enabled(&self, plugin: &str, level: LogLevel, target: &str) -> bool {
        (plugin, level, target) == ("a plugin", LogLevel::DEBUG, "probe")
    }

    fn write(&self, line: &LogLine<'_>) {
        let LogLine { plugin, level, target, message, fields } = line;
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(format!("{plugin} {level:?} {target}: {message} {fields:?}"));
        drop(lines);
        if *message == "the curtain falls" {
            std::panic::panic_any(PanicsAgain);
        }
    }
}

/// A panic's payload that panics when it is dropped.
struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        panic!("a panic of the panic");
    }
}

/// What a host offers beside its log.
struct Market;

impl Quotes for Market {
    fn quote(&self, symbol: &str) -> u64 {
        symbol.len() as u64 * 100
    }
}

#[test]
fn the_host_serves() {
    static PICKY: Picky = Picky(Mutex::new(vec![]));
    let services = Services::builder(&PICKY).offer::<dyn Quotes, _>(Market).build();
    let exports = load_with(PROBE_LIBRARY.clone(), services);
    let mut instance = exports.create(b"", Context::NONE).expect("an instance");
    let before = keyway_sdk::now_ns();
    let time = instance.invoke("time", b"", Context::NONE).expect("the time");
    let time = u64::from_le_bytes(time.as_ref().try_into().expect("eight bytes"));
    assert!(before <= time && time <= keyway_sdk::now_ns());
    let mut ask = |method: &str, input: &[u8]| {
        let answer = instance.invoke(method, input, Context::NONE).expect("an answer");
        String::from_utf8(answer.to_vec()).expect("text")
    };
    assert_eq!(ask("services", b""), "keyway.Log 1, keyway-host/Quotes 1");
    assert_eq!(ask("quote", b"abc"), "300");
    assert_eq!(ask("listens", b""), "true false");
    assert_eq!(ask("act", b"2"), "written out: 1");
    assert_eq!(instance.destroy(), Ok(()));
    let lines = std::mem::take(&mut *PICKY.0.lock().unwrap_or_else(PoisonError::into_inner));
    let expected = [
        "a plugin INFO : the curtain rises []",
        "a plugin DEBUG probe: act 2 begins [scene=\"1\", light=\"dim\"]",
        "a plugin DEBUG : the curtain falls []",
    ];
    assert_eq!(lines, expected);

    // A host without quotes.
    let mut instance = probe();
    let error = instance.invoke("quote", b"abc", Context::NONE).expect_err("there are none");
    assert_eq!(error.status, CallStatus::UNSUPPORTED);
}

/// A library whose thread runs on after everything of it was dropped.
#[test]
fn a_library_whose_thread_runs_stays_mapped() {
    let exports = load(PROBE_LIBRARY.clone());
    assert!(exports.stays_mapped());
    let mut instance = exports.create(b"", Context::NONE).expect("an instance");
    let place = instance.invoke("thread", b"", Context::NONE).expect("where it counts");
    let place = usize::from_le_bytes(place.as_ref().try_into().expect("an address"));
    assert_eq!(instance.destroy(), Ok(()));
    drop(exports);
    // SAFETY: the library stays mapped, and with it its counter.
    let count = unsafe { &*std::ptr::with_exposed_provenance::<AtomicUsize>(place) };
    let before = count.load(Ordering::Relaxed);
    let start = std::time::Instant::now();
    while count.load(Ordering::Relaxed) < before + 3 {
        assert!(start.elapsed().as_secs() < 60, "the thread does not run");
        thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn a_method_is_called_by_its_place() {
    let mut instance = probe();
    let echo = PROBE.method("echo").expect("the method");
    assert_eq!(instance.invoke_index(echo, b"again", Context::NONE).as_deref(), Ok(&b"again"[..]));
    let refused = instance.invoke_shared(echo, b"", Context::NONE);
    assert_eq!(refused.err().map(|error| error.status), Some(CallStatus::UNSUPPORTED));
    let reverse = PROBE.method("reverse").expect("a shared method");
    let answer = instance.invoke_shared(reverse, b"abc", Context::NONE);
    assert_eq!(answer.as_deref(), Ok(&b"cba"[..]));
    assert_eq!(instance.invoke("reverse", b"ab", Context::NONE).as_deref(), Ok(&b"ba"[..]));
    assert_eq!(PROBE.method("sing"), None);
    // The place of a method of another plugin.
    let greet = load(build(&["--package", "greet"], "greet"));
    let mut greet = greet.create(b"", Context::NONE).expect("an instance");
    let unknown = greet.invoke_index(reverse, b"", Context::NONE).expect_err("it has one only");
    assert_eq!(unknown.status, CallStatus::UNKNOWN_METHOD);
}

#[test]
fn a_plugin_offers_several_interfaces() {
    let offered: Vec<_> = PROBE.interfaces().collect();
    assert_eq!(offered, [("keyway-host/Probe", 4), ("keyway-host/Counter", 1)]);
    let mut instance = probe();
    for round in 1..4 {
        let counter = instance.interface::<dyn Counter>(Context::NONE);
        assert_eq!(counter.expect("the second").count(), Ok(round));
        let probe = instance.interface::<dyn Probe>(Context::NONE).expect("the first");
        assert_eq!(probe.add(1, 1), Ok(2));
    }
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
    assert_eq!(error(first.pause(Context::NONE)), poisoned);
    assert_eq!(error(first.save_state(Context::NONE)), poisoned);
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
    assert_eq!(instance.pause(Context::NONE), Ok(()));
    assert!(paused(&mut instance));
    assert_eq!(
        error(instance.pause(Context::NONE)),
        (CallStatus::FAILED, 1, "paused already".into())
    );
    assert_eq!(instance.resume(Context::NONE), Ok(()));
    assert!(!paused(&mut instance));
    let first = SavedState { format: 7, bytes: b"act one", plugin: "puppet", version: "0.9" };
    assert_eq!(instance.restore_state(&first, Context::NONE), Ok(()));
    let state = instance.save_state(Context::NONE).expect("a state");
    assert_eq!((state.format, &*state.bytes), (2, &b"act one+puppet 0.9 7"[..]));
    let mut next = probe();
    let second = SavedState { format: 2, bytes: &state.bytes, plugin: "", version: "" };
    assert_eq!(next.restore_state(&second, Context::NONE), Ok(()));
    let state = next.save_state(Context::NONE).expect("a state");
    assert_eq!(&*state.bytes, b"act one+puppet 0.9 7+  2");
}

#[test]
fn what_goes_wrong_at_the_ends_of_a_life() {
    let create = |config: &[u8]| PROBE.create(config, Context::NONE);
    assert_eq!(error(create(b"refuse")), (CallStatus::FAILED, 5, "no such show".into()));
    assert_eq!(error(create(b"panic")), (CallStatus::PANICKED, 0, "stage fright".into()));
    let instance = create(b"panic at the end").expect("an instance");
    assert_eq!(error(instance.destroy()), (CallStatus::PANICKED, 0, "an encore".into()));
    drop(create(b"panic at the end"));
}

#[test]
fn a_plugin_without_state_says_so() {
    let greet = load(build(&["--package", "greet"], "greet"));
    let mut instance = greet.create(b"", Context::NONE).expect("an instance");
    let unsupported = (CallStatus::UNSUPPORTED, 0, "this plugin saves no state".to_owned());
    assert_eq!(error(instance.save_state(Context::NONE)), unsupported);
    let unsupported = (CallStatus::UNSUPPORTED, 0, "this plugin restores no state".to_owned());
    let state = SavedState { format: 1, bytes: b"", plugin: "", version: "" };
    assert_eq!(error(instance.restore_state(&state, Context::NONE)), unsupported);
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
    let greet = load(build(&["--package", "greet"], "greet"));
    let mut instance = greet.create(b"", Context::NONE).expect("an instance");
    let error = instance.interface::<dyn Probe>(Context::NONE).err().expect("it has none");
    let found = "no interface".to_owned();
    let expected = "keyway-host/Probe";
    assert_eq!(error, ContractError::OtherInterface { found, expected, version: 4 });
    let message =
        "the plugin offers no interface, expected interface `keyway-host/Probe` version 4";
    assert_eq!(error.to_string(), message);
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
            "the plugin was built against another `keyway-host/Probe`: interface Probe: host size 16, \
             plugin size 120; Probe.add: host fn(*mut keyway.Instance, *const keyway.CallContext, \
             u16, i64, *mut keyway.ErrorReport) -> keyway.Reply<i64>, plugin fn(*mut \
             keyway.Instance, *const keyway.CallContext, u8, i64, "
        ),
        "{message}"
    );
}
