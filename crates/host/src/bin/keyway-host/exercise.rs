//! `exercise`: uses plugins in every way that the contract has, and compares what they return.

use std::path::{Path, PathBuf};

use keyway_abi::call::{CallError, CallStatus, Context};
use keyway_host::load::{Host, Plugin};
use serde_json::json;

use crate::arguments::Arguments;
use crate::{Output, Status};

/// How deep libraries are looked for in a folder: `dist/TARGET/PLUGIN/` needs three.
const MAX_DEPTH: usize = 4;

/// What is known of a plugin: an input that goes through methods one after the other, and what
/// comes out at the end.
struct Sample {
    plugin: &'static str,
    methods: &'static [&'static str],
    input: &'static str,
    output: &'static str,
}

const TEXT: &str = "a keyway is the slot that lets only the right key in, and no other key in";

const SAMPLES: &[Sample] = &[
    Sample { plugin: "greet", methods: &["greet"], input: "world", output: "Hello, world!" },
    Sample { plugin: "canary", methods: &["sing"], input: TEXT, output: TEXT },
    Sample {
        plugin: "order-match",
        methods: &["run"],
        input: "limit sell 5 at 101\nlimit buy 3 at 102\n",
        output: "order 1: filled 0, resting 5\norder 2: filled 3, resting 0\n",
    },
    Sample {
        plugin: "zstd-codec",
        methods: &["compress", "decompress"],
        input: TEXT,
        output: TEXT,
    },
];

pub(crate) fn run(arguments: &Arguments, paths: &[PathBuf], output: &Output) -> Status {
    let host = match crate::host(arguments, output) {
        Ok(host) => host,
        Err(status) => return status,
    };
    let mut libraries = Vec::new();
    for path in paths {
        if path.is_dir() {
            find(path, MAX_DEPTH, &mut libraries);
        } else {
            libraries.push(path.clone());
        }
    }
    libraries.sort();
    if libraries.is_empty() {
        output.event(&json!({ "event": "failure", "message": "there is no library to exercise" }));
        output.text("error: there is no library to exercise");
        return Status::Failed;
    }
    let statuses = libraries.iter().map(|path| exercise(&host, path, arguments, output));
    statuses.max().unwrap_or(Status::Done)
}

fn find(folder: &Path, depth: usize, libraries: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let path = entry.path();
        let is_library = path
            .extension()
            .is_some_and(|extension| ["so", "dll", "dylib"].iter().any(|&name| extension == name));
        if is_library {
            libraries.push(path);
        } else if depth > 1 && path.is_dir() {
            find(&path, depth - 1, libraries);
        }
    }
}

fn exercise(host: &Host, path: &Path, arguments: &Arguments, output: &Output) -> Status {
    let plugin = match crate::load(host, path, &arguments.config, output) {
        Ok(plugin) => plugin,
        Err(status) => return status,
    };
    let name = plugin.manifest().plugin.name.to_string();
    match use_plugin(host, path, plugin, &arguments.config) {
        Ok(calls) => {
            let event =
                json!({ "event": "exercise", "path": path, "plugin": name, "calls": calls });
            output.event(&event);
            output.text(format_args!("`{name}` was loaded, called {calls} times and unloaded"));
            Status::Done
        }
        Err(error) => {
            output.failure(path, &*error);
            Status::Failed
        }
    }
}

/// Everything that the contract has, and how many calls returned what they should.
fn use_plugin(
    host: &Host,
    path: &Path,
    mut plugin: Plugin,
    config: &[u8],
) -> Result<usize, Box<dyn std::error::Error>> {
    let mut calls = call_samples(&mut plugin)?;
    plugin.instance().pause()?;
    plugin.instance().resume()?;
    let unknown = plugin.instance().invoke("no such method", b"", Context::NONE);
    match unknown {
        Err(CallError { status: CallStatus::UNKNOWN_METHOD, .. }) => {}
        other => return Err(format!("a method that is not there gave {other:?}").into()),
    }
    match plugin.instance().save_state() {
        Ok(state) => {
            let mut successor = host.load(path, config)?;
            successor.instance().restore_state(&state)?;
            let again = successor.instance().save_state()?;
            if *again != *state {
                return Err("a restored state was saved differently".into());
            }
            successor.unload()?;
        }
        Err(CallError { status: CallStatus::UNSUPPORTED, .. }) => {}
        Err(error) => return Err(error.into()),
    }
    plugin.unload()?;
    // Once more, since what was left behind shows at the second time.
    let mut plugin = host.load(path, config)?;
    calls += call_samples(&mut plugin)?;
    plugin.unload()?;
    Ok(calls)
}

fn call_samples(plugin: &mut Plugin) -> Result<usize, Box<dyn std::error::Error>> {
    let name = plugin.manifest().plugin.name.clone();
    let mut calls = 0;
    for sample in SAMPLES.iter().filter(|sample| sample.plugin == name.as_str()) {
        let mut bytes = sample.input.as_bytes().to_vec();
        for method in sample.methods {
            bytes = plugin.instance().invoke(method, &bytes, Context::NONE)?.to_vec();
            calls += 1;
        }
        if bytes != sample.output.as_bytes() {
            let (found, expected) = (String::from_utf8_lossy(&bytes), sample.output);
            return Err(
                format!("`{:?}` gave `{found}`, expected `{expected}`", sample.methods).into()
            );
        }
    }
    Ok(calls)
}
