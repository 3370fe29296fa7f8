//! Real libraries that take each other's place while they are called.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keyway_abi::call::{CallStatus, Context};
use keyway_host::{
    Deadlines, Ended, Host, Life, LifeCause, LifeState, Reload, ReloadError, SharedPlugin,
    StateMove, StateMoved,
};
use tempfile::TempDir;

#[path = "refusals/canary.rs"]
mod canary;
#[path = "phoenix/editions.rs"]
mod editions;
#[path = "phoenix/interface.rs"]
pub mod interface;

use interface::Phoenix;

const LIBRARY: &str = "libphoenix.so";

fn life() -> Life {
    Life { deadlines: Deadlines::all(Duration::from_secs(30)), hooks: None }
}

fn load(host: &Host, folder: &Path, edition: u8) -> SharedPlugin {
    let library = editions::write(folder, LIBRARY, edition);
    host.load_shared(&library, b"", life()).expect("it loads")
}

/// The edition that is called, as two calls of one generation say.
fn edition(plugin: &SharedPlugin) -> char {
    let guard = plugin.guard().expect("it is there");
    let phoenix = guard.interface::<dyn Phoenix>(Context::NONE).expect("the interface");
    let (first, second) = (phoenix.edition().expect("it"), phoenix.edition().expect("it"));
    assert_eq!(first, second);
    char::from_u32(first).expect("a character")
}

fn add(plugin: &SharedPlugin, number: u64) -> u64 {
    let output = plugin.invoke("add", number.to_string().as_bytes(), Context::NONE);
    String::from_utf8_lossy(&output.expect("a total")).parse().expect("a number")
}

fn total(plugin: &SharedPlugin) -> u64 {
    let both = plugin.call::<dyn Phoenix, _>(Context::NONE, |phoenix| {
        Ok((phoenix.edition()?, phoenix.total()?))
    });
    both.expect("a total").1
}

#[test]
fn another_generation_takes_over_with_the_state() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let plugin = load(&host, folder.path(), b'1');
    let handle = plugin.handle::<dyn Phoenix>().expect("the interface");
    assert_eq!((edition(&plugin), add(&plugin, 5), plugin.generation()), ('1', 5, 1));
    let library = editions::write(folder.path(), LIBRARY, b'2');
    let reloaded = plugin.reload(&host, &library, &Reload::default()).expect("it is reloaded");
    assert_eq!((reloaded.from, reloaded.to, &*reloaded.version), (1, 2, "2.1.0"));
    assert_eq!(reloaded.state, StateMoved::Moved { format: 1, n_bytes: 8 });
    assert!(matches!(reloaded.ended, Ended::Destroyed), "{:?}", reloaded.ended);
    assert_eq!((edition(&plugin), add(&plugin, 2), plugin.generation()), ('2', 7, 2));
    // A handle goes along.
    let call = handle.call(Context::NONE).expect("it is there");
    assert_eq!(call.interface().expect("the interface").total(), Ok(7));
    drop(call);
    // And back, and there again.
    let back = plugin.roll_back(&host, &Reload::default()).expect("it goes back");
    assert_eq!((back.to, edition(&plugin), total(&plugin)), (3, '1', 7));
    let again = plugin.roll_back(&host, &Reload::default()).expect("it goes back");
    assert_eq!((again.to, edition(&plugin), total(&plugin)), (4, '2', 7));
    assert!(matches!(plugin.unload(), Ok(Ended::Destroyed)));
    let error = plugin.reload(&host, &library, &Reload::default()).expect_err("it is gone");
    assert_eq!(error.to_string(), "`keyway-host` is destroyed, and can't be reloaded");
}

#[test]
fn a_generation_without_state_says_so() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let plugin = load(&host, folder.path(), b'1');
    add(&plugin, 5);
    let reload = |edition, state| {
        let library = editions::write(folder.path(), LIBRARY, edition);
        let reload = Reload { state, health: None };
        plugin.reload(&host, &library, &reload).map(|reloaded| reloaded.state)
    };
    let state = reload(b'S', StateMove::IfSupported).expect("it is reloaded");
    assert_eq!(state, StateMoved::NotRestored);
    let state = reload(b'2', StateMove::IfSupported).expect("it is reloaded");
    assert_eq!(state, StateMoved::NotSaved);
    let state = reload(b'3', StateMove::Discard).expect("it is reloaded");
    assert_eq!(state, StateMoved::Discarded);
    assert!(reload(b'S', StateMove::Required).is_err());
    assert_eq!((edition(&plugin), add(&plugin, 1)), ('3', 1));
}

/// Whatever goes wrong, the generation that is called is called as before.
#[test]
fn a_reload_that_fails_changes_nothing() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let plugin = load(&host, folder.path(), b'1');
    add(&plugin, 3);
    let cause = |edition: u8, reload: &Reload| {
        let library = editions::write(folder.path(), LIBRARY, edition);
        let error = plugin.reload(&host, &library, reload).expect_err("it fails");
        let is_1 = edition_of(&plugin) == '1' && total(&plugin) == 3 && plugin.generation() == 1;
        assert!(is_1 && plugin.state() == LifeState::Running, "{error}");
        let mut said = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(next) = source {
            said = format!("{said}: {next}");
            source = next.source();
        }
        said.replace(&folder.path().display().to_string(), "[FOLDER]")
    };
    let start = "`keyway-host` was not reloaded, and generation 1 goes on: the step";
    let plain = Reload::default();
    assert_eq!(
        cause(b'F', &plain),
        format!(
            "{start} `initialize` of `keyway-host`, generation 2, failed: `[FOLDER]/libphoenix.so` breaks the \
             contract: the plugin's library could not be prepared: plugin error 3: no ashes"
        )
    );
    assert_eq!(
        cause(b'C', &plain),
        format!(
            "{start} `create` of `keyway-host`, generation 3, failed: `[FOLDER]/libphoenix.so` could not be \
             created: plugin error 5: no egg"
        )
    );
    assert!(cause(b'P', &plain).contains("a broken egg"));
    assert!(cause(b'X', &plain).contains(
        "`restore state` of `keyway-host`, generation 5, failed: plugin error 7: another"
    ));
    let check = |instance: &mut keyway_host::Instance| {
        let edition = instance.invoke("edition", b"", Context::NONE);
        let edition = edition.map_err(|error| error.to_string())?;
        Err(format!("edition {} is not for us", char::from(edition[0])))
    };
    let picky = Reload { health: Some(Arc::new(check)), ..Reload::default() };
    assert_eq!(
        cause(b'2', &picky),
        format!(
            "{start} `check` of `keyway-host`, generation 6, failed: the host's check refused it: edition 2 is \
             not for us"
        )
    );
    // A copy that is cut off.
    let bytes = editions::bytes(b'2');
    std::fs::write(folder.path().join(LIBRARY), &bytes[..bytes.len() / 2]).expect("it is written");
    let error = plugin.reload(&host, &folder.path().join(LIBRARY), &plain);
    assert!(matches!(error, Err(ReloadError::Refused(_))));
    assert!(matches!(plugin.roll_back(&host, &plain), Err(ReloadError::NoPrevious { .. })));
    // Saving fails.
    let saver = load(&host, folder.path(), b'V');
    let library = editions::write(folder.path(), LIBRARY, b'2');
    let error = saver.reload(&host, &library, &plain).expect_err("it fails");
    let ReloadError::Step { source, .. } = error else { panic!("{error}") };
    assert!(matches!(source.cause, LifeCause::Call(error) if error.code == 8));
    assert_eq!((edition_of(&saver), add(&saver, 1)), ('V', 1));
}

fn edition_of(plugin: &SharedPlugin) -> char {
    edition(plugin)
}

#[test]
fn a_guard_keeps_its_generation() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let plugin = load(&host, folder.path(), b'1');
    let library = editions::write(folder.path(), LIBRARY, b'2');
    let (entered, go) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let guard = plugin.guard().expect("it is there");
            let phoenix = guard.interface::<dyn Phoenix>(Context::NONE).expect("the interface");
            entered.store(true, Ordering::Release);
            while !go.load(Ordering::Acquire) {
                assert_eq!(phoenix.edition(), Ok(u32::from(b'1')));
                thread::yield_now();
            }
            // A guard within it is of the generation that is current now.
            assert_eq!(edition(&plugin), '2');
            assert_eq!((phoenix.edition(), guard.generation()), (Ok(u32::from(b'1')), 1));
        });
        while !entered.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let reloading = scope.spawn(|| {
            plugin.reload(&host, &library, &Reload { state: StateMove::Discard, health: None })
        });
        while edition(&plugin) == '1' {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(20));
        assert!(!reloading.is_finished(), "the old generation is used");
        go.store(true, Ordering::Release);
        let reloaded = reloading.join().expect("it ends").expect("it is reloaded");
        assert!(matches!(reloaded.ended, Ended::Destroyed));
    });
}

/// The thread that reloads holds a guard itself.
#[test]
fn a_guard_is_held_across_a_reload() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let plugin = load(&host, folder.path(), b'1');
    let guard = plugin.guard().expect("it is there");
    let library = editions::write(folder.path(), LIBRARY, b'2');
    // Its state can't be asked for meanwhile, which is said at once.
    let start = Instant::now();
    let error = plugin.reload(&host, &library, &Reload::default()).expect_err("it would wait");
    assert!(error.is_busy() && start.elapsed() < Duration::from_secs(20), "{error}");
    let discard = Reload { state: StateMove::Discard, health: None };
    let reloaded = plugin.reload(&host, &library, &discard).expect("it is reloaded");
    assert!(matches!(reloaded.ended, Ended::Later));
    assert_eq!(guard.invoke("edition", b"", Context::NONE).as_deref(), Ok(&b"1"[..]));
    assert_eq!(edition(&plugin), '2');
}

#[test]
fn a_generation_that_is_not_left_is_quarantined() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let library = editions::write(folder.path(), LIBRARY, b'1');
    let mut life = life();
    life.deadlines.drain = Some(Duration::from_millis(50));
    let plugin = host.load_shared(&library, b"", life).expect("it loads");
    let (entered, go) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let guard = plugin.guard().expect("it is there");
            entered.store(true, Ordering::Release);
            while !go.load(Ordering::Acquire) {
                thread::yield_now();
            }
            assert_eq!(guard.invoke("edition", b"", Context::NONE).as_deref(), Ok(&b"1"[..]));
        });
        while !entered.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let library = editions::write(folder.path(), LIBRARY, b'2');
        let discard = Reload { state: StateMove::Discard, health: None };
        let reloaded = plugin.reload(&host, &library, &discard).expect("it is reloaded");
        let ended = reloaded.ended;
        assert!(matches!(ended, Ended::Quarantined { n_calls: 1 }), "{ended:?}");
        assert_eq!(edition(&plugin), '2');
        go.store(true, Ordering::Release);
    });
}

#[test]
fn another_plugin_does_not_take_the_place() {
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let plugin = load(&host, folder.path(), b'1');
    let bytes = std::fs::read(&*canary::LIBRARY).expect("the canary");
    let manifest = canary::manifest(&bytes, "libcanary.so");
    let library = folder.path().join("libcanary.so");
    std::fs::write(&library, bytes).expect("it is written");
    let beside = folder.path().join(manifest.file_name());
    std::fs::write(beside, manifest.to_json()).expect("it is written");
    let error = plugin.reload(&host, &library, &Reload::default()).expect_err("it is another");
    assert!(matches!(error, ReloadError::OtherPlugin { .. }), "{error}");
}

/// What the loader has mapped of this process.
#[cfg(target_os = "linux")]
fn n_mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the mappings");
    maps.lines().filter(|line| line.contains("phoenix")).count()
}

/// Two threads call, a third one changes the state, and a fourth one reloads without a pause; how long is
/// said by `KEYWAY_STRESS_SECONDS`, 3 if it is not there.
#[test]
fn calls_go_on_while_it_is_reloaded_again_and_again() {
    let seconds = std::env::var("KEYWAY_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(3));
    let (folder, host) = (TempDir::new().expect("a folder"), editions::host());
    let plugin = load(&host, folder.path(), b'1');
    let libraries = [b'1', b'2'].map(|edition| {
        let folder = folder.path().join(char::from(edition).to_string());
        std::fs::create_dir(&folder).expect("a folder");
        editions::write(&folder, LIBRARY, edition)
    });
    let (end, n_calls, n_added) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut n_reloads = 0_u64;
    thread::scope(|scope| {
        for typed in [true, false] {
            let (plugin, end, n_calls) = (&plugin, &end, &n_calls);
            scope.spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    if typed {
                        edition(plugin);
                    } else {
                        let guard = plugin.guard().expect("it is there");
                        let ask = || guard.invoke("edition", b"", Context::NONE).expect("it");
                        assert_eq!(*ask(), *ask(), "parts of two generations");
                    }
                    n_calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                let total = add(&plugin, 1);
                let before = n_added.fetch_add(1, Ordering::Relaxed);
                assert_eq!(total, before + 1, "nothing is lost when the state moves");
                thread::sleep(Duration::from_micros(200));
            }
        });
        let start = Instant::now();
        let mut most = 0;
        while start.elapsed() < time {
            let library = &libraries[(n_reloads as usize + 1) % 2];
            let reloaded = plugin.reload(&host, library, &Reload::default());
            let reloaded = reloaded.expect("it is reloaded");
            assert!(matches!(reloaded.ended, Ended::Destroyed), "{:?}", reloaded.ended);
            n_reloads += 1;
            #[cfg(target_os = "linux")]
            {
                most = most.max(n_mappings());
            }
        }
        end.store(true, Ordering::Relaxed);
        println!("{n_reloads} reloads, {most} mappings at most");
        // Not one more for each reload: of this library there are about five segments.
        assert!(most <= 40, "{most} mappings of the library");
    });
    let n_calls = n_calls.into_inner();
    println!("{n_calls} pairs of calls, {} changes", n_added.load(Ordering::Relaxed));
    assert!(n_reloads > 3 && n_calls > 100, "{n_reloads} reloads, {n_calls} calls");
    assert_eq!(total(&plugin), n_added.into_inner());
    assert_eq!(plugin.counted().n_errors, 0);
    assert_eq!(
        plugin.invoke("sing", b"", Context::NONE).err().map(|e| e.status),
        Some(CallStatus::UNKNOWN_METHOD)
    );
}
