//! Plugins that break their hosts, on Linux and under Wine: each in its own way, and each is told of.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::BUILT;
use crate::workspace::{Copy, events, json};

/// One for each way to run programs: natively, and under Wine.
const TARGETS: [&str; 2] = ["x86_64-pc-windows-gnu", "x86_64-unknown-linux-gnu"];

/// By name: what a plugin does when it is created, and when it is dropped.
const PLUGINS: [(&str, &str, &str); 6] = [
    ("good", "", ""),
    // A handler in the library that nothing takes back when it is unloaded.
    ("breaks-the-exit", "at_exit();", ""),
    ("breaks-the-second", "second();", ""),
    ("ends-the-host", "", "std::process::exit(0);"),
    ("writes", "println!(\"hello\");", ""),
    ("overflows", "overflow(&[0; 100]);", ""),
];

const CODE: &str = r#"#![allow(dead_code, unconditional_recursion)]
use keyway_sdk::{Context, Host, Method, Plugin, PluginError, export_plugin};

struct Own;

impl Plugin for Own {
    const METHODS: &'static [Method<Self>] = &[("one", Self::one), ("two", Self::two)];

    fn create(_: &[u8], _: Host) -> Result<Self, PluginError> {
        CREATE
        Ok(Self)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        DROP
    }
}

impl Own {
    fn one(&mut self, input: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        Ok(input.to_vec())
    }

    fn two(&mut self, input: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        let first = input.first().ok_or_else(|| PluginError::new(1, "empty"))?;
        Ok(vec![*first])
    }
}

#[cfg(unix)]
fn at_exit() {
    unsafe extern "C" {
        fn __cxa_atexit(f: extern "C" fn(*mut u8), arg: *mut u8, dso: *mut u8) -> i32;
    }
    extern "C" fn handler(_: *mut u8) {
        std::hint::black_box(0);
    }
    unsafe { __cxa_atexit(handler, std::ptr::null_mut(), std::ptr::null_mut()) };
}

#[cfg(windows)]
fn at_exit() {
    std::process::exit(77);
}

/// Whether another copy was here is known to the process alone.
fn second() {
    static SEEN: std::sync::Once = std::sync::Once::new();
    let mut is_first = false;
    SEEN.call_once(|| is_first = true);
    if is_first && std::env::var_os("SECOND").is_some() {
        std::process::abort();
    }
    unsafe { std::env::set_var("SECOND", "yes") };
}

fn overflow(bytes: &[u8; 100]) -> u8 {
    let mut more = *bytes;
    more[0] = more[0].wrapping_add(1);
    std::hint::black_box(overflow(std::hint::black_box(&more))) ^ more[99]
}

// What is unmapped shows what was left behind.
export_plugin!(Own, unsafe(unloadable));
"#;

fn workspace() -> Copy {
    let copy = Copy::of_the_sdk("trials");
    for (name, create, drop) in PLUGINS {
        copy.plugin(name, "");
        let code = CODE.replace("CREATE", create).replace("DROP", drop);
        copy.write(&format!("plugins/{name}/src/lib.rs"), &code);
    }
    copy.resolve();
    copy
}

#[test]
fn what_breaks_its_host_does_not_pass() {
    let copy = workspace();
    let targets: Vec<_> = TARGETS.iter().flat_map(|target| ["--target", *target]).collect();
    events(copy.xtask(&[&["build-plugins", "--engine", "sandbox"], &targets[..]].concat()));

    // The host programs of the other workspace load what this one has.
    let dist = copy.path("dist");
    let arguments = ["--json", "test-plugins", "--engine", "sandbox", "--dist"];
    let arguments = [&arguments[..], &[dist.to_str().expect("UTF-8")], &targets[..]].concat();
    let run = BUILT.command(&arguments).unchecked().stdout_capture().stderr_capture().run();
    let run = run.expect("it starts");
    assert_eq!(run.status.code(), Some(1), "{}", String::from_utf8_lossy(&run.stderr));
    let events = json(&run.stdout);
    for target in TARGETS {
        let is_of = |e: &&Value| e["event"] == "run" && e["target"] == target;
        let told: BTreeMap<_, _> = events
            .iter()
            .filter(is_of)
            .map(|e| (e["plugin"].as_str().expect("a name"), e))
            .collect();
        assert_eq!(told.len(), PLUGINS.len(), "{events:#?}");
        // Three times two methods, of which one wants more than nothing.
        assert_eq!(told["good"]["passed"], true, "{target}: {:#}", told["good"]);
        assert_eq!((&told["good"]["calls"], &told["good"]["errors"]), (&6.into(), &3.into()));
        let failed = |plugin: &str, expected: &str| {
            let event = told[plugin];
            assert_eq!(event["outcome"], "failed", "{target}: {event:#}");
            let message = event["message"].as_str().expect("a message");
            assert!(message.contains(expected), "{target}: {message}");
        };
        let at_exit = match target {
            "x86_64-unknown-linux-gnu" => "its host was killed by signal 11 at its end",
            _ => "its host failed with status 77 when it was loaded",
        };
        failed("breaks-the-exit", at_exit);
        failed("breaks-the-second", "when it was loaded again");
        failed("ends-the-host", "its host ended early, with status 0,");
        failed("writes", "it wrote to standard output, which is its host's: `hello`");
        failed("overflows", "when it was loaded");
    }
}
