//! Plugins that go wrong where a life begins, ends, or takes too long.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keyway_abi::call::{CallContext, CallStatus, Context};
use keyway_host::{
    CallError, Deadlines, Ended, Hooks, Host, Life, LifeCause, LifeError, LifeState, Reload,
    SharedPlugin, StateMove, Step, Transition,
};
use tempfile::TempDir;

#[expect(dead_code, reason = "what builds the canary is for other tests")]
#[path = "refusals/canary.rs"]
mod canary;
#[path = "phoenix/editions.rs"]
mod editions;

const SOON: Duration = Duration::from_millis(150);
const LATE: Duration = Duration::from_secs(20);

/// What hooks were told.
#[derive(Default)]
struct Diary(Mutex<Vec<String>>);

impl Diary {
    fn write(&self, line: String) {
        self.0.lock().expect("it").push(line);
    }

    fn lines(&self) -> String {
        std::mem::take(&mut *self.0.lock().expect("it")).join("\n")
    }
}

impl Hooks for Diary {
    fn before(&self, transition: &Transition<'_>) {
        let Transition { generation, step, from, to, .. } = transition;
        self.write(format!("{generation}: {step}, {from} to {to}"));
    }

    fn after(&self, transition: &Transition<'_>, result: Result<(), &LifeError>) {
        if let Err(error) = result {
            self.write(format!("{}: {}", transition.generation, error.cause));
        }
    }

    fn failed(&self, _: &str, generation: u64, error: &CallError) {
        self.write(format!("{generation}: call {:?}", error.status));
    }

    fn quarantined(&self, _: &str, generation: u64) {
        self.write(format!("{generation}: call hangs"));
    }
}

fn load(host: &Host, folder: &Path, edition: u8, config: &[u8]) -> Result<SharedPlugin, LifeError> {
    load_with(host, folder, edition, config, Life { deadlines: LONG, hooks: None })
}

fn load_with(
    host: &Host,
    folder: &Path,
    edition: u8,
    config: &[u8],
    life: Life,
) -> Result<SharedPlugin, LifeError> {
    let file = format!("libphoenix-{}.so", char::from(edition));
    host.load_shared(&editions::write(folder, &file, edition), config, life)
}

/// Deadlines that only what hangs meets.
const LONG: Deadlines = Deadlines { drain: Some(SOON), ..Deadlines::all(LATE) };

fn told(diary: &Arc<Diary>) -> Life {
    Life { deadlines: LONG, hooks: Some(diary.clone()) }
}

fn hurried(deadlines: Deadlines) -> Life {
    Life { deadlines, hooks: None }
}

fn is_late<T>(result: &Result<T, LifeError>, step: Step) -> bool {
    matches!(result, Err(error) if error.step == step && matches!(error.cause, LifeCause::Late(_)))
}

/// Whether these editions are in memory, where the system can tell.
fn check_mapped(editions: &[u8], expected: bool) {
    if !cfg!(target_os = "linux") {
        return;
    }
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the mappings");
    for edition in editions {
        let file = format!("libphoenix-{}.so", char::from(*edition));
        assert_eq!(maps.lines().any(|line| line.contains(&file)), expected, "{file}");
    }
}

#[test]
fn a_life_is_told() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let diary = Arc::new(Diary::default());
    let plugin = load_with(&host, folder.path(), b'1', b"", told(&diary)).expect("it loads");
    assert_eq!(
        diary.lines(),
        "1: load, new to loaded\n1: initialize, loaded to initialized\n1: create, initialized to running"
    );
    plugin.pause().expect("it pauses");
    assert_eq!(plugin.state(), LifeState::Paused);
    let call = || plugin.invoke("edition", b"", Context::NONE);
    let error = call().expect_err("it is paused");
    assert_eq!(
        (error.status, &*error.message),
        (CallStatus::BUSY, "the plugin is paused; resume it first")
    );
    // What is no step from there runs nothing.
    let error = plugin.pause().expect_err("it is paused");
    assert_eq!(error.to_string(), "the step `pause` of `keyway-host`, generation 1, failed");
    assert_eq!(error.cause.to_string(), "it is paused, and this step is none from there");
    plugin.resume().expect("it goes on");
    assert!(call().is_ok() && plugin.resume().is_err());
    assert!(matches!(plugin.unload(), Ok(Ended::Destroyed)));
    assert!(plugin.pause().is_err() && plugin.unload().is_err());
    assert_eq!(
        diary.lines(),
        "1: pause, running to paused\n1: resume, paused to running\n1: destroy, running to destroyed"
    );
    check_mapped(b"1", false);
}

#[test]
fn what_can_not_begin_is_released() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    for (edition, step) in [(b'F', Step::Initialize), (b'C', Step::Create), (b'P', Step::Create)] {
        let error = load(&host, folder.path(), edition, b"").expect_err("it fails");
        assert!(error.step == step && !matches!(error.cause, LifeCause::Late(_)), "{error:?}");
    }
    // Of one whose `init` failed nobody ends the library, so it is unmapped at once.
    check_mapped(b"FCP", false);
}

#[test]
fn what_hangs_when_it_begins_is_quarantined() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let start = Instant::now();
    let life = hurried(Deadlines { initialize: Some(SOON), ..LONG });
    let result = load_with(&host, folder.path(), b'H', b"", life);
    assert!(is_late(&result, Step::Initialize), "{result:?}");
    let life = hurried(Deadlines { create: Some(SOON), ..LONG });
    let result = load_with(&host, folder.path(), b'7', b"hang in create", life);
    assert!(is_late(&result, Step::Create), "{result:?}");
    assert!(start.elapsed() < LATE);
    check_mapped(b"H7", true);
}

#[test]
fn what_fails_to_pause_goes_on() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let plugin = load(&host, folder.path(), b'2', b"fail in pause").expect("it loads");
    let error = plugin.pause().expect_err("it fails");
    assert!(matches!(&error.cause, LifeCause::Call(error) if error.code == 6), "{error:?}");
    assert_eq!(plugin.state(), LifeState::Running);
    assert!(plugin.invoke("edition", b"", Context::NONE).is_ok());
}

#[test]
fn what_hangs_later_is_quarantined() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let life = hurried(Deadlines { pause: Some(SOON), destroy: Some(SOON), ..LONG });
    let load = |edition, config: &[u8]| {
        load_with(&host, folder.path(), edition, config, life.clone()).expect("it loads")
    };
    let plugin = load(b'q', b"hang in pause");
    assert!(is_late(&plugin.pause(), Step::Pause));
    assert_eq!(plugin.state(), LifeState::Quarantined);
    // It can be replaced; its state can't be asked for.
    let library = editions::write(folder.path(), "libphoenix-3.so", b'3');
    let reloaded = plugin.reload(&host, &library, &Reload::default()).expect("it is reloaded");
    assert_eq!(reloaded.state, keyway_host::StateMoved::NotAsked);
    assert!(matches!(reloaded.ended, Ended::Quarantined { .. }));
    assert_eq!(plugin.invoke("edition", b"", Context::NONE).as_deref(), Ok(&b"3"[..]));
    let plugin = load(b'r', b"hang at the end");
    let ended = plugin.unload().expect("it is taken away");
    assert!(matches!(ended, Ended::Quarantined { .. }), "{ended:?}");
    check_mapped(b"qr", true);
}

#[test]
fn a_call_ends_by_its_deadline() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let diary = Arc::new(Diary::default());
    let mut life = told(&diary);
    // However busy this machine is.
    life.deadlines.grace = LATE;
    let plugin = load_with(&host, folder.path(), b'4', b"", life).expect("it loads");
    diary.lines();
    let call = |method: &str, input: &[u8], time| {
        plugin.call_with_deadline(method, input, time, Context::NONE)
    };
    assert_eq!(call("edition", b"", LATE).as_deref(), Ok(&b"4"[..]));
    assert_eq!(call("add", b"3", LATE).as_deref(), Ok(&b"3"[..]));
    let mut trace = CallContext::new();
    trace.trace_id = [9; 16];
    let answer = plugin.call_with_deadline("deadline", b"", LATE, Context::new(&trace));
    assert_eq!(answer.as_deref(), Ok(&b"9 true"[..]));
    // It heeds the cancellation, so nothing is left.
    let error = call("obey", b"", SOON).expect_err("it is late");
    assert_eq!(error.status, CallStatus::DEADLINE_EXCEEDED);
    assert_eq!(error.message, "`obey` did not end within 150ms");
    assert_eq!(
        (plugin.state(), &*diary.lines()),
        (LifeState::Running, "1: call DEADLINE_EXCEEDED")
    );
}

#[test]
fn a_call_that_hangs_is_left_alone() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let diary = Arc::new(Diary::default());
    let plugin = load_with(&host, folder.path(), b'0', b"", told(&diary)).expect("it loads");
    diary.lines();
    let call = |method: &str, input: &[u8], time| {
        plugin.call_with_deadline(method, input, time, Context::NONE)
    };
    // It heeds nothing.
    let start = Instant::now();
    let error = call("hang", b"4000", SOON).expect_err("it is late");
    assert_eq!(error.status, CallStatus::DEADLINE_EXCEEDED);
    assert!(start.elapsed() >= SOON && start.elapsed() < Duration::from_millis(3900));
    assert_eq!(plugin.state(), LifeState::Quarantined);
    // Those that wait for it don't wait for longer than they said, and never begin.
    let error = call("add", b"100", SOON).expect_err("its turn does not come");
    assert_eq!(error.status, CallStatus::DEADLINE_EXCEEDED);
    let lines = diary.lines();
    assert_eq!(lines, "1: call hangs\n1: call DEADLINE_EXCEEDED");
    // When it ends after all, it can be called; it stays in memory all the same.
    assert_eq!(call("add", b"1", LATE).as_deref(), Ok(&b"1"[..]));
    assert!(matches!(plugin.unload(), Ok(Ended::Quarantined { .. })));
    check_mapped(b"0", true);
}

#[test]
fn a_caller_gives_up() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let plugin = load(&host, folder.path(), b'5', b"").expect("it loads");
    let token = keyway_host::CancellationToken::new();
    token.cancel();
    let call = CallContext::new().with_cancellation(&token);
    let error = plugin.call_with_deadline("obey", b"", LATE, Context::new(&call));
    assert_eq!(error.expect_err("it is cancelled").status, CallStatus::CANCELLED);
    assert_eq!(plugin.state(), LifeState::Running);
}

#[test]
fn a_hung_call_does_not_hold_up_its_successor() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let plugin = load(&host, folder.path(), b'6', b"").expect("it loads");
    let error = plugin.call_with_deadline("hang", b"5000", SOON, Context::NONE);
    assert_eq!(error.expect_err("it hangs").status, CallStatus::DEADLINE_EXCEEDED);
    // A call that waits for its turn goes on with the next generation.
    let waiting = {
        let plugin = plugin.clone();
        std::thread::spawn(move || plugin.invoke("edition", b"", Context::NONE).map(|o| o.to_vec()))
    };
    let library = editions::write(folder.path(), "libphoenix-8.so", b'8');
    let discard = Reload { state: StateMove::Discard, health: None };
    plugin.reload(&host, &library, &discard).expect("it is reloaded");
    assert_eq!(waiting.join().expect("it ends"), Ok(b"8".to_vec()));
}

#[test]
fn panics_are_counted() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let diary = Arc::new(Diary::default());
    let plugin = load_with(&host, folder.path(), b'9', b"", told(&diary)).expect("it loads");
    diary.lines();
    let status = |method: &str| plugin.invoke(method, b"", Context::NONE).expect_err("it").status;
    assert_eq!(
        [status("fail"), status("burn"), status("burn")],
        [CallStatus::FAILED, CallStatus::PANICKED, CallStatus::POISONED]
    );
    let counted = plugin.counted();
    assert_eq!((counted.n_calls, counted.n_errors, counted.n_panics), (3, 3, 1));
    let last = counted.last_error.expect("one").error;
    assert_eq!(last.status, CallStatus::POISONED);
    assert_eq!(diary.lines(), "1: call FAILED\n1: call PANICKED\n1: call POISONED");
    plugin.report(&last);
    assert_eq!(plugin.counted().n_errors, 4);
    // A new one of the same library, which counts on.
    plugin.restart(&host, &Reload { state: StateMove::Discard, health: None }).expect("a new one");
    assert!(plugin.invoke("edition", b"", Context::NONE).is_ok());
    assert_eq!((plugin.counted().n_calls, plugin.generation()), (4, 2));
}
