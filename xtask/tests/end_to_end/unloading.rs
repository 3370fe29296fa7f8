//! What a plugin registers with the C library is taken back when it is unloaded: destructors of static
//! objects in C++, `atexit`, what a thread ends with. Each says on stderr that it ran; a host that jumps to
//! a library that is gone dies.

use std::path::Path;
use std::time::Duration;

use keyway_manifest::{Digest, Triple};
use keyway_xtask::build::Build;
use keyway_xtask::build::trial::Trial;
use keyway_xtask::cache::Cache;
use keyway_xtask::dist::Entry;
use keyway_xtask::engine::{Engine, Sandbox, Stream};
use keyway_xtask::image::Images;
use keyway_xtask::plan::Plan;
use keyway_xtask::runner::{Round, Subject};
use keyway_xtask::shell::Shell;
use keyway_xtask::survey::{Rebuild, Survey};
use keyway_xtask::vendor;
use keyway_xtask::workspace::{Purpose, Workspace};

use crate::workspace::Copy;
use crate::{BUILT, is_tested, targets};

pub(crate) const PLUGIN: &str = "with-exit";

/// No library of C++ is needed for it, so that it is there for every target.
const SOURCE: &str = r#"#include <stdio.h>
#include <stdlib.h>

static void say(const char *what) { fprintf(stderr, "%s\n", what); }

struct Last {
    const char *name;
    explicit Last(const char *name) : name(name) {}
    ~Last() { say(name); }
};

static Last first("first"), second("second");

static void at_exit(void) { say("atexit"); }

static void (*of_thread)(void);

#ifdef _WIN32
#include <windows.h>
static DWORD WINAPI work(LPVOID) { of_thread(); return 0; }
static void run_thread(void) {
    HANDLE thread = CreateThread(0, 0, work, 0, 0, 0);
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}
#else
#include <pthread.h>
static void *work(void *) { of_thread(); return 0; }
static void run_thread(void) {
    pthread_t thread;
    if (pthread_create(&thread, 0, work, 0) == 0) pthread_join(thread, 0);
}
#endif

extern "C" void register_all(void (*in_a_thread)(void)) {
    static Last third("third");
    atexit(at_exit);
    of_thread = in_a_thread;
    run_thread();
}

extern "C" void say_thread(void) { say("thread"); }

__attribute__((destructor)) static void at_unload(void) { say("unload"); }
"#;

const LIBRARY: &str = r#"use keyway_sdk::{Host, Plugin, PluginError, export_plugin};

unsafe extern "C" {
    fn register_all(in_a_thread: extern "C" fn());
    fn say_thread();
}

struct OfThread;

impl Drop for OfThread {
    fn drop(&mut self) {
        unsafe { say_thread() };
    }
}

thread_local!(static LOCAL: OfThread = const { OfThread });

/// Called by a thread of C: what the standard library notes of a thread that it starts itself would keep
/// the library in memory.
extern "C" fn of_thread() {
    LOCAL.with(|_| ());
}

struct Own;

impl Plugin for Own {
    fn create(_config: &[u8], _host: Host) -> Result<Self, PluginError> {
        unsafe { register_all(of_thread) };
        Ok(Self)
    }
}

export_plugin!(Own, unsafe(unloadable));
"#;

/// Adds the plugin to a workspace.
pub(crate) fn add(copy: &Copy) {
    copy.plugin(PLUGIN, "[build-dependencies]\ncc = \"1\"\n");
    let build = "fn main() { cc::Build::new().cpp(true).cpp_link_stdlib(None).file(\"src/exit.cpp\")\
                 .flag(\"-fno-threadsafe-statics\").flag(\"-fno-exceptions\").compile(\"exit\"); }\n";
    copy.write(&format!("plugins/{PLUGIN}/build.rs"), build);
    copy.write(&format!("plugins/{PLUGIN}/src/exit.cpp"), SOURCE);
    copy.write(&format!("plugins/{PLUGIN}/src/lib.rs"), LIBRARY);
}

/// In which order it ends: what glibc runs when it unloads a library. musl unloads nothing and runs all at
/// the end of the process; MinGW has one list for all but threads.
const ENDS: [&str; 6] = ["thread", "unload", "atexit", "third", "second", "first"];

/// How often the plugin is loaded and unloaded, by target.
const LOADS: [(&str, usize); 8] = [
    ("x86_64-unknown-linux-gnu", 1000),
    ("aarch64-unknown-linux-gnu", 100),
    ("armv7-unknown-linux-gnueabihf", 10),
    ("i686-unknown-linux-gnu", 10),
    ("s390x-unknown-linux-gnu", 10),
    ("x86_64-unknown-linux-musl", 100),
    ("x86_64-pc-windows-gnu", 100),
    ("x86_64-pc-windows-gnullvm", 10),
];

/// Loads and unloads the plugin in `dist` by the host programs of [`BUILT`].
pub(crate) fn check(dist: &Path) {
    let shell = Shell::silent();
    let cache = Cache::open().expect("a cache");
    let workspace = Workspace::find(Some(&BUILT.path("Cargo.toml")), None).expect("the copy");
    let images = Images::open(workspace.recipes_dir(), cache.clone());
    let engine = Sandbox::new(env!("CARGO_BIN_EXE_xtask").into(), cache.clone(), &shell);
    let mut survey = Survey::take(&workspace, &images, "release").expect("a workspace");
    let all = targets();
    let loads: Vec<_> = LOADS.into_iter().filter(|(target, _)| is_tested(target)).collect();
    let triples: Vec<_> = loads.iter().map(|(target, _)| (*target).to_owned()).collect();
    let selected = all.select(&triples).expect("targets");
    let Plan { steps, .. } = survey.plan(&selected, &[], Rebuild::Stale).expect("a plan");
    let build = Build::new(&workspace, &cache, &images, &engine, None, &shell);
    let crates = survey.crates(Purpose::Trial);
    let vendored = vendor::vendor(&workspace, &crates, &cache, &shell).expect("the crates");
    for (target, n_loads) in loads {
        let step = steps.iter().find(|step| step.target.triple.as_str() == target);
        let step = step.expect("a step for each");
        let trial = Trial { limit: Duration::from_secs(600) };
        let host = build.host(step, &vendored, &survey.ground(), trial);
        let host = host.expect("a host program");
        let entry = entry(dist, &step.target.triple);
        let subject = Subject { entry: &entry, toolchain: step.toolchain.hash, plugin: None };
        let mut command = host.command(dist, subject, Round::Unloaded);
        let library = command.argv.last().expect("the library").clone();
        command.argv.extend(vec![library; n_loads - 1]);
        let mut said = Vec::new();
        let ended = engine.run(&host.image, &command, &mut |stream, line| {
            let line = line.trim_end_matches('\r');
            if stream == Stream::Stderr && ENDS.contains(&line) {
                said.push(line.to_owned());
            }
        });
        ended.unwrap_or_else(|error| panic!("{target}: {error}"));
        check_ends(target, &said, n_loads);
    }
}

/// Each once for each load, in its order.
fn check_ends(target: &str, said: &[String], n_loads: usize) {
    for end in ENDS {
        let n = said.iter().filter(|line| *line == end).count();
        assert_eq!(n, n_loads, "{target}: {end}");
    }
    if target.ends_with("-gnu") && !target.contains("windows") || target.ends_with("-gnueabihf") {
        let in_order = said.chunks(ENDS.len()).all(|ends| ends == ENDS);
        assert!(in_order, "{target}: {said:#?}");
        return;
    }
    let registered = |line: &&String| ["atexit", "third", "second", "first"].contains(&&***line);
    let registered: Vec<_> = said.iter().filter(registered).collect();
    let in_order = registered.chunks(4).all(|ends| ends == &ENDS[2..]);
    assert!(in_order, "{target}: {said:#?}");
}

/// What `dist` has of the plugin.
fn entry(dist: &Path, target: &Triple) -> Entry {
    let folder = dist.join(target.as_str()).join(PLUGIN);
    let files = folder.read_dir().expect("delivered").filter_map(Result::ok);
    let mut files = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let library = files.find(|name| !name.ends_with(".json")).expect("a library");
    Entry {
        target: target.clone(),
        plugin: PLUGIN.to_owned(),
        library: format!("{target}/{PLUGIN}/{library}"),
        manifest: String::new(),
        sha256: Digest::of(""),
    }
}
