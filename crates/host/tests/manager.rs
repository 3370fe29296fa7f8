//! Several real plugins in one manager.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use keyway_abi::call::{CallStatus, Context};
use keyway_host::manager::{DEPENDS_ON, EndedAs, NotStartedReason, OrderError, discover};
use keyway_host::{
    BackOff, Deadlines, Ended, Event, FailurePolicy, Life, LifeState, Manager, ManagerOptions,
    Member,
};
use keyway_manifest::Manifest;
use tempfile::TempDir;

#[expect(dead_code, reason = "what builds the canary is for other tests")]
#[path = "refusals/canary.rs"]
mod canary;
#[path = "phoenix/editions.rs"]
mod editions;

const SOON: Duration = Duration::from_millis(150);
const LATE: Duration = Duration::from_secs(30);

fn member(name: &str, path: PathBuf, needs: &[&str]) -> Member {
    let depends_on = needs.iter().map(|&name| name.to_owned()).collect();
    Member { name: name.to_owned(), path, config: Vec::new(), depends_on }
}

fn manager(policy: FailurePolicy) -> (Manager, Receiver<Event>) {
    with_deadlines(policy, Deadlines::all(LATE))
}

fn with_deadlines(policy: FailurePolicy, deadlines: Deadlines) -> (Manager, Receiver<Event>) {
    let life = Life { deadlines, hooks: None };
    Manager::new(editions::host(), ManagerOptions { life, policy, ..ManagerOptions::default() })
}

fn names(events: &Receiver<Event>, of: fn(&Event) -> Option<String>) -> Vec<String> {
    events.try_iter().filter_map(|event| of(&event)).collect()
}

/// Waits for an event.
fn wait(events: &Receiver<Event>, is_it: impl Fn(&Event) -> bool) -> Event {
    let end = Instant::now() + LATE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let event = events.recv_timeout(left).expect("the event comes");
        if is_it(&event) {
            return event;
        }
    }
}

fn edition(manager: &Manager, name: &str) -> Result<u8, CallStatus> {
    let plugin = manager.plugin(name).expect("it is there");
    let edition = plugin.invoke("edition", b"", Context::NONE);
    edition.map(|edition| edition[0]).map_err(|error| error.status)
}

fn burn(manager: &Manager, name: &str) {
    let plugin = manager.plugin(name).expect("it is there");
    let error = plugin.invoke("burn", b"", Context::NONE).expect_err("it panics");
    assert_eq!(error.status, CallStatus::PANICKED);
}

#[test]
fn plugins_start_and_stop_in_the_order_of_their_dependencies() {
    let folder = TempDir::new().expect("a folder");
    let library = editions::write(folder.path(), "libphoenix.so", b'1');
    let (manager, events) = manager(FailurePolicy::FailTheCall);
    let of = |name, needs: &[&str]| member(name, library.clone(), needs);
    // Three instances of one library, each with a state of its own.
    let failed = manager.start(vec![
        of("web", &["cache", "store"]),
        of("store", &[]),
        of("cache", &["store"]),
    ]);
    assert!(failed.expect("an order").is_empty());
    assert_eq!(manager.names(), ["store", "cache", "web"]);
    let loaded = |event: &Event| match event {
        Event::Loaded { name, .. } => Some(name.clone()),
        _ => None,
    };
    assert_eq!(names(&events, loaded), ["store", "cache", "web"]);
    let add = |name: &str| {
        let plugin = manager.plugin(name).expect("it is there");
        plugin.invoke("add", b"1", Context::NONE).expect("a total").to_vec()
    };
    assert_eq!(
        (add("web"), add("web"), add("cache")),
        (b"1".to_vec(), b"2".to_vec(), b"1".to_vec())
    );
    let error = manager.plugin("sto\nre").expect_err("there is none").to_string();
    assert_eq!(error, r"this manager has no plugin `sto\nre`; it has `cache`, `store`, `web`");
    let stopped = manager.stop();
    let ended: Vec<_> = stopped.ended.iter().map(|(name, _)| &**name).collect();
    assert_eq!((ended, stopped.left().count()), (vec!["web", "cache", "store"], 0));
    let stopped = |event: &Event| match event {
        Event::Stopped { name, ended: EndedAs::Destroyed } => Some(name.clone()),
        _ => None,
    };
    assert_eq!(names(&events, stopped), ["web", "cache", "store"]);
}

#[test]
fn what_depends_on_one_that_is_refused_is_not_started() {
    let folder = TempDir::new().expect("a folder");
    let library = editions::write(folder.path(), "libphoenix.so", b'1');
    let broken = folder.path().join("libbroken.so");
    std::fs::write(&broken, b"no library").expect("it is written");
    let (manager, events) = manager(FailurePolicy::FailTheCall);
    let failed = manager.start(vec![
        member("base", broken, &[]),
        member("top", library.clone(), &["base"]),
        member("alone", library.clone(), &[]),
    ]);
    let failed = failed.expect("an order");
    assert_eq!(failed.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["base", "top"]);
    assert!(matches!(&failed[1].reason, NotStartedReason::Needs(name) if name == "base"));
    assert_eq!(manager.names(), ["alone"]);
    let refused = wait(&events, |event| matches!(event, Event::Refused { .. }));
    let Event::Refused { name, codes, .. } = &refused else { panic!("{refused:?}") };
    assert!(name == "base" && !codes.is_empty(), "{refused:?}");
    let json = serde_json::to_value(&refused).expect("JSON");
    assert!(
        json["event"] == "refused"
            && json["codes"][0].as_str().is_some_and(|c| c.starts_with("KW")),
        "{json}"
    );
    // There is no order for these.
    let twice = manager.start(vec![member("alone", library.clone(), &[])]);
    assert!(matches!(twice, Err(OrderError::Twice { .. })));
    let missing = manager.start(vec![member("other", library, &["base"])]);
    assert!(matches!(missing, Err(OrderError::Missing { .. })));
    // The manager's own end stops it.
    drop(manager);
    wait(&events, |event| matches!(event, Event::Stopped { .. }));
}

#[test]
fn plugins_are_found_with_what_their_manifests_say() {
    let folder = TempDir::new().expect("a folder");
    let library = editions::write(folder.path(), "libphoenix.so", b'1');
    annotate(folder.path(), "libphoenix.so", " store, cache,");
    std::fs::write(folder.path().join("liblonely.so"), b"no manifest").expect("it is written");
    std::fs::write(folder.path().join("libodd.so.manifest.json"), b"{}").expect("it is written");
    let found = discover(folder.path()).expect("the folder is there");
    let needs: BTreeSet<_> = ["cache", "store"].map(str::to_owned).into();
    let expected = [
        member("keyway-host", library, &["cache", "store"]),
        member("libodd.so", folder.path().join("libodd.so"), &[]),
    ];
    assert_eq!((found.as_slice(), &found[0].depends_on), (&expected[..], &needs));
    let error = discover(&folder.path().join("none")).expect_err("there is none").to_string();
    assert!(error.starts_with("the folder `") && error.ends_with("none` can't be read"), "{error}");
}

fn annotate(folder: &Path, library: &str, needs: &str) {
    let path = folder.join(Manifest::file_name_for(library));
    let mut manifest = Manifest::parse(&std::fs::read(&path).expect("it")).expect("a manifest");
    manifest.annotations.insert(DEPENDS_ON.to_owned(), needs.to_owned());
    std::fs::write(path, manifest.to_json()).expect("it is written");
}

#[test]
fn a_manager_reloads_and_rolls_back() {
    let folder = TempDir::new().expect("a folder");
    let library = editions::write(folder.path(), "libphoenix.so", b'1');
    let (manager, events) = manager(FailurePolicy::FailTheCall);
    assert!(manager.start(vec![member("bird", library, &[])]).expect("an order").is_empty());
    editions::write(folder.path(), "libphoenix.so", b'2');
    manager.reload("bird", None).expect("it is reloaded");
    assert_eq!(edition(&manager, "bird"), Ok(b'2'));
    let reloaded = wait(&events, |event| matches!(event, Event::Reloaded { .. }));
    let json = serde_json::to_value(&reloaded).expect("JSON");
    let expected = serde_json::json!({
        "event": "reloaded", "name": "bird", "from": 1, "to": 2, "version": "2.1.0",
        "state": {"moved": {"format": 1, "n_bytes": 8}}, "ended": "destroyed",
    });
    assert_eq!(json, expected);
    editions::write(folder.path(), "libphoenix.so", b'C');
    assert!(manager.reload("bird", None).is_err());
    wait(&events, |event| matches!(event, Event::NotReloaded { codes, .. } if codes.is_empty()));
    assert_eq!(edition(&manager, "bird"), Ok(b'2'));
    manager.roll_back("bird").expect("it goes back");
    assert_eq!(edition(&manager, "bird"), Ok(b'1'));
    wait(&events, |event| matches!(event, Event::RolledBack { .. }));
}

#[test]
fn a_panic_is_no_more_than_a_failed_call() {
    let folder = TempDir::new().expect("a folder");
    let library = editions::write(folder.path(), "libphoenix.so", b'1');
    let (manager, events) = manager(FailurePolicy::FailTheCall);
    assert!(manager.start(vec![member("bird", library, &[])]).expect("an order").is_empty());
    burn(&manager, "bird");
    wait(&events, |event| matches!(event, Event::Panicked { generation: 1, .. }));
    assert_eq!(edition(&manager, "bird"), Err(CallStatus::POISONED));
    let status = manager.status();
    let bird = &status.plugins[0];
    assert_eq!((bird.calls, bird.errors, bird.panics, bird.generation), (2, 2, 1, 1));
    let table = status.to_string();
    let mut lines = table.lines();
    assert_eq!(
        lines.next(),
        Some("NAME  VERSION  STATE    GENERATION  CALLS  RUNNING  ERRORS  UP  LAST ERROR")
    );
    let line = lines.next().expect("a row");
    assert!(
        line.starts_with("bird  1.1.0    running  1           2      0        2       "),
        "{line}"
    );
    let json = serde_json::to_value(&status).expect("JSON");
    let json = &json["plugins"][0];
    assert!(
        json["abi"].is_string() && json["target"].is_string() && json["state"] == "running",
        "{json}"
    );
    assert!(json["mapped_since_ms"].as_u64().is_some_and(|ms| ms > 1_000_000_000_000), "{json}");
}

#[test]
fn one_that_panics_is_restarted_and_then_retired() {
    let folder = TempDir::new().expect("a folder");
    let library = editions::write(folder.path(), "libphoenix.so", b'1');
    let back_off = BackOff { first: Duration::from_millis(5), most: LATE, n_restarts: 2 };
    let (manager, events) = manager(FailurePolicy::Restart(back_off));
    assert!(manager.start(vec![member("bird", library, &[])]).expect("an order").is_empty());
    for round in 1..3 {
        burn(&manager, "bird");
        let restarted = wait(&events, |event| matches!(event, Event::Restarted { .. }));
        let Event::Restarted { change, .. } = restarted else { unreachable!() };
        assert_eq!((change.from, change.to), (round, round + 1));
        assert_eq!(edition(&manager, "bird"), Ok(b'1'));
    }
    burn(&manager, "bird");
    let retired = wait(&events, |event| matches!(event, Event::Retired { .. }));
    let Event::Retired { reason, .. } = retired else { unreachable!() };
    assert_eq!(reason, "it went wrong again after 2 restarts: the plugin panicked: it is on fire");
    assert_eq!(edition(&manager, "bird"), Err(CallStatus::DISCONNECTED));
    assert_eq!(manager.status().plugins[0].state, LifeState::Destroyed);
}

#[test]
fn one_that_hangs_is_replaced() {
    let folder = TempDir::new().expect("a folder");
    let library = editions::write(folder.path(), "libphoenix.so", b'1');
    let back_off = BackOff { first: Duration::from_millis(5), ..BackOff::default() };
    let (manager, events) = manager(FailurePolicy::Restart(back_off));
    assert!(manager.start(vec![member("bird", library, &[])]).expect("an order").is_empty());
    let bird = manager.plugin("bird").expect("it is there");
    let error = bird.call_with_deadline("hang", b"20000", SOON, Context::NONE);
    assert_eq!(error.expect_err("it hangs").status, CallStatus::DEADLINE_EXCEEDED);
    wait(&events, |event| matches!(event, Event::Quarantined { generation: 1, .. }));
    let restarted = wait(&events, |event| matches!(event, Event::Restarted { .. }));
    let Event::Restarted { change, .. } = restarted else { unreachable!() };
    assert_eq!((change.from, change.to, change.ended), (1, 2, EndedAs::Quarantined));
    assert_eq!(bird.invoke("add", b"1", Context::NONE).as_deref(), Ok(&b"1"[..]));
}

#[test]
fn one_that_goes_wrong_is_retired() {
    let folder = TempDir::new().expect("a folder");
    let library = editions::write(folder.path(), "libphoenix.so", b'1');
    let (manager, events) = manager(FailurePolicy::Retire);
    let members = vec![member("bird", library.clone(), &[]), member("other", library, &[])];
    assert!(manager.start(members).expect("an order").is_empty());
    burn(&manager, "bird");
    wait(&events, |event| matches!(event, Event::Retired { .. }));
    assert_eq!(edition(&manager, "bird"), Err(CallStatus::DISCONNECTED));
    assert_eq!(edition(&manager, "other"), Ok(b'1'));
    // What has ended before is not stopped again.
    let stopped = manager.stop().ended;
    assert_eq!(stopped.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["other"]);
}

#[test]
fn what_does_not_end_is_named() {
    let folder = TempDir::new().expect("a folder");
    let library = editions::write(folder.path(), "libphoenix.so", b'1');
    let second = Some(Duration::from_secs(1));
    let deadlines = Deadlines { drain: second, destroy: second, ..Deadlines::all(LATE) };
    let (manager, _events) = with_deadlines(FailurePolicy::FailTheCall, deadlines);
    let slow =
        Member { config: b"hang at the end".to_vec(), ..member("slow", library.clone(), &[]) };
    let members =
        vec![member("first", library.clone(), &[]), slow, member("used", library, &["slow"])];
    assert!(manager.start(members).expect("an order").is_empty());
    let used = manager.plugin("used").expect("it is there");
    let start = Instant::now();
    let stopped = std::thread::scope(|scope| {
        let (entered, is_entered) = std::sync::mpsc::channel();
        let (go, goes) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            let guard = used.guard().expect("it is there");
            entered.send(()).expect("it waits");
            goes.recv().expect("it is told");
            assert!(guard.invoke("edition", b"", Context::NONE).is_ok());
        });
        is_entered.recv().expect("it is in");
        let stopped = manager.stop();
        go.send(()).expect("it waits");
        stopped
    });
    assert_eq!(stopped.left().collect::<Vec<_>>(), ["used", "slow"]);
    assert!(matches!(stopped.ended[2], (ref name, Ended::Destroyed) if name == "first"));
    assert!(start.elapsed() < LATE);
}
