//! `exercise`: uses plugins in every way that the contract has.
//!
//! What a method expects is its author's business, so each is called with no bytes, on an instance of
//! its own: an error is an answer, and so is a panic that was caught. Of this repository's plugins it is
//! known what they return for what.
//!
//! A plugin can also break a process that ends. One process ends after the plugin was unloaded, another
//! ([`Last::Loaded`]) with the plugin loaded, for the second time; whoever started them sees how they
//! end. What is being done is said before it is done, for the case that nothing can be said afterwards.

use std::path::{Path, PathBuf};

use keyway_abi::call::{CallError, CallStatus, Context};
use keyway_host::{Host, Plugin, SavedState};
use serde_json::json;

use crate::arguments::Arguments;
use crate::{Output, Status};

/// How deep libraries are looked for in a folder: `dist/TARGET/PLUGIN/` needs three.
const MAX_DEPTH: usize = 4;

/// What has become of a plugin when the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    /// It was unloaded.
    Unloaded,
    /// It was unloaded, loaded again, and still is.
    Loaded,
}

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

pub(crate) fn run(arguments: &Arguments, paths: &[PathBuf], last: Last, output: &Output) -> Status {
    let services = crate::services();
    let host = match crate::host(arguments, services, output) {
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
    let config = &arguments.config;
    let statuses =
        libraries.iter().map(|path| Exercise { host: &host, config, path, output }.run(last));
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

/// One plugin and what it is used with.
struct Exercise<'a> {
    host: &'a Host,
    config: &'a [u8],
    path: &'a Path,
    output: &'a Output,
}

/// Calls of methods, and how many of them were answered with an error.
#[derive(Default)]
struct Calls {
    made: usize,
    errors: usize,
}

type Failed = Box<dyn std::error::Error>;

impl Exercise<'_> {
    fn run(&self, last: Last) -> Status {
        self.doing("it was loaded");
        let plugin = match crate::load(self.host, self.path, self.config, self.output) {
            Ok(plugin) => plugin,
            Err(status) => return status,
        };
        let name = plugin.name().to_owned();
        let stays_mapped = plugin.stays_mapped();
        let used = match last {
            Last::Unloaded => self.use_and_unload(plugin),
            Last::Loaded => self.use_twice(plugin),
        };
        match used {
            Ok(Calls { made, errors }) => {
                self.output.event(&json!({
                    "event": "exercise",
                    "path": self.path.to_string_lossy(),
                    "plugin": name,
                    "calls": made,
                    "errors": errors,
                    "stays_mapped": stays_mapped,
                }));
                let last = match last {
                    Last::Unloaded => "and unloaded",
                    Last::Loaded => "unloaded and loaded again",
                };
                self.output.text(format_args!(
                    "`{name}` was loaded, called {made} times ({errors} errors) {last}"
                ));
                Status::Done
            }
            Err(error) => {
                self.output.failure(self.path, &*error);
                Status::Failed
            }
        }
    }

    /// Everything that the contract has.
    fn use_and_unload(&self, mut plugin: Plugin) -> Result<Calls, Failed> {
        let calls = self.call(&mut plugin)?;
        self.doing("it was paused and resumed");
        plugin.instance().pause(Context::NONE)?;
        plugin.instance().resume(Context::NONE)?;
        self.doing("a method was called that it has not");
        let unknown = plugin.instance().invoke("no such method", b"", Context::NONE);
        match unknown {
            Err(CallError { status: CallStatus::UNKNOWN_METHOD, .. }) => {}
            other => return Err(format!("a method that is not there gave {other:?}").into()),
        }
        self.doing("its state was saved");
        match plugin.instance().save_state(Context::NONE) {
            Ok(state) => {
                self.doing("its state was restored in another copy of it");
                let mut successor = self.host.load(self.path, self.config)?;
                let saved = SavedState {
                    format: state.format,
                    bytes: &state.bytes,
                    plugin: plugin.name(),
                    version: plugin.version(),
                };
                successor.instance().restore_state(&saved, Context::NONE)?;
                let again = successor.instance().save_state(Context::NONE)?;
                if *again.bytes != *state.bytes {
                    return Err("a restored state was saved differently".into());
                }
                successor.unload()?;
            }
            Err(CallError { status: CallStatus::UNSUPPORTED, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.unload(plugin)?;
        Ok(calls)
    }

    /// What was left behind by the first time shows at the second.
    fn use_twice(&self, mut plugin: Plugin) -> Result<Calls, Failed> {
        let mut calls = self.call(&mut plugin)?;
        self.unload(plugin)?;
        self.doing("it was loaded again");
        let mut plugin = self.host.load(self.path, self.config)?;
        calls += self.call(&mut plugin)?;
        // Most hosts end with their plugins loaded.
        std::mem::forget(plugin);
        Ok(calls)
    }

    fn unload(&self, plugin: Plugin) -> Result<(), CallError> {
        self.doing("it was unloaded");
        plugin.unload()
    }

    /// Calls every method that the plugin has with no bytes, and those that are known with more.
    fn call(&self, plugin: &mut Plugin) -> Result<Calls, Failed> {
        let mut calls = Calls::default();
        let exports = plugin.shared_instance().exports().clone();
        for method in exports.methods() {
            let method = method.name.as_str();
            self.doing(&format!("`{method}` was called with no bytes"));
            let mut instance = exports.create(self.config, Context::NONE)?;
            let answer = instance.invoke(method, b"", Context::NONE);
            calls += Calls { made: 1, errors: usize::from(answer.is_err()) };
            if let Err(CallError { status: CallStatus::UNKNOWN_METHOD, .. }) = answer {
                return Err(format!("it has a method `{method}`, and does not know it").into());
            }
            instance.destroy()?;
        }
        let name = plugin.name().to_owned();
        for sample in SAMPLES.iter().filter(|sample| sample.plugin == name) {
            let mut bytes = sample.input.as_bytes().to_vec();
            for method in sample.methods {
                self.doing(&format!("`{method}` was called"));
                bytes = plugin.instance().invoke(method, &bytes, Context::NONE)?.to_vec();
                calls.made += 1;
            }
            if bytes != sample.output.as_bytes() {
                let (found, expected) = (String::from_utf8_lossy(&bytes), sample.output);
                return Err(format!(
                    "`{:?}` gave `{found}`, expected `{expected}`",
                    sample.methods
                )
                .into());
            }
        }
        Ok(calls)
    }

    /// Says what is done next, as what was being done when it went wrong.
    fn doing(&self, what: &str) {
        self.output
            .event(&json!({ "event": "doing", "path": self.path.to_string_lossy(), "what": what }));
    }
}

impl std::ops::AddAssign for Calls {
    fn add_assign(&mut self, other: Self) {
        self.made += other.made;
        self.errors += other.errors;
    }
}
