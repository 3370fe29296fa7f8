//! Plugins whose files change on disk (feature `watch`).
#![cfg(feature = "watch")]

use std::fs;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use keyway_abi::call::Context;
use keyway_host::{Event, Manager, ManagerOptions, Member};
use keyway_manifest::Manifest;
use tempfile::TempDir;

#[expect(dead_code, reason = "what builds the canary is for other tests")]
#[path = "refusals/canary.rs"]
mod canary;
#[path = "phoenix/editions.rs"]
mod editions;

const QUIET: Duration = Duration::from_millis(100);
const LIBRARY: &str = "libphoenix.so";

/// What happens next, but for steps of lives.
fn next(events: &Receiver<Event>) -> Event {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let event = events.recv_timeout(left).expect("something happens");
        if !matches!(event, Event::State { .. } | Event::StepFailed { .. }) {
            return event;
        }
    }
}

#[test]
fn files_that_change_are_reloaded_when_they_are_whole() {
    let folder = TempDir::new().expect("a folder");
    let path = editions::write(folder.path(), LIBRARY, b'1');
    let (manager, events) = Manager::new(editions::host(), ManagerOptions::default());
    let (name, config, depends_on) = ("bird".to_owned(), Vec::new(), [].into());
    let member = Member { name, path: path.clone(), config, depends_on };
    assert!(manager.start(vec![member]).expect("an order").is_empty());
    assert!(matches!(next(&events), Event::Loaded { .. }));
    let watch = manager.watch(QUIET).expect("it is watched");
    let edition = || {
        let plugin = manager.plugin("bird").expect("it is there");
        plugin.invoke("edition", b"", Context::NONE).expect("it runs")[0]
    };

    editions::write(folder.path(), LIBRARY, b'2');
    let event = next(&events);
    assert!(matches!(event, Event::Reloaded { .. }), "{event:?}");
    assert_eq!(edition(), b'2');

    // A copy that takes its time, in place: half of the library, all of it, then the manifest.
    let bytes = editions::bytes(b'3');
    fs::write(&path, &bytes[..bytes.len() / 2]).expect("it is written");
    let event = next(&events);
    assert!(matches!(event, Event::Incomplete { .. }), "{event:?}");
    assert_eq!(edition(), b'2');
    fs::write(&path, &bytes).expect("it is written");
    let event = next(&events);
    assert!(matches!(event, Event::Incomplete { .. }), "{event:?}");
    let manifest = canary::manifest(&bytes, LIBRARY);
    fs::write(folder.path().join(manifest.file_name()), manifest.to_json()).expect("it is written");
    let event = next(&events);
    assert!(matches!(event, Event::Reloaded { .. }), "{event:?}");
    assert_eq!(edition(), b'3');

    // A whole one that is refused.
    let manifest = fs::read_to_string(folder.path().join(Manifest::file_name_for(LIBRARY)));
    let mut manifest: serde_json::Value =
        serde_json::from_str(&manifest.expect("it")).expect("JSON");
    manifest["requires"] = serde_json::json!(["a later host"]);
    let text = manifest.to_string();
    fs::write(folder.path().join(Manifest::file_name_for(LIBRARY)), text).expect("it is written");
    let event = next(&events);
    let Event::NotReloaded { codes, .. } = &event else { panic!("{event:?}") };
    assert!(!codes.is_empty());

    // What has not changed is not reloaded, however often it is written; nor one that is not watched any more.
    editions::write(folder.path(), LIBRARY, b'3');
    std::thread::sleep(QUIET * 5);
    drop(watch);
    editions::write(folder.path(), LIBRARY, b'4');
    std::thread::sleep(QUIET * 5);
    let more: Vec<_> = events.try_iter().collect();
    assert_eq!((edition(), more), (b'3', vec![]));
}
