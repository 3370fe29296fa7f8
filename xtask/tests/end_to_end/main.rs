//! The whole of it, on real input: this workspace's plugins, built in its images by every engine that
//! works here, compared, loaded, called, and refused. Nothing is simulated.
//!
//! Slow (it may assemble the images), so it is behind the feature `end-to-end`; `cargo xtask ci` turns
//! that on.

mod any_workspace;
mod apple;
mod c_and_cpp;
mod dependencies;
mod flags;
mod fresh;
mod header;
mod kills;
mod native;
mod refusals;
mod remedies;
mod resources;
mod shows;
mod trials;
mod unloading;
mod workspace;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use keyway_manifest::Digest;
use keyway_xtask::cache::Cache;
use keyway_xtask::container::{Command, EngineName};
use keyway_xtask::engine::{self, Sandbox};
use keyway_xtask::image::Images;
use keyway_xtask::runner;
use keyway_xtask::shell::Shell;
use keyway_xtask::targets::{Target, TargetSet};
use serde_json::Value;
use workspace::{Copy, events, json};

/// A copy of the workspace that the sandbox has built for every tested target, and loaded where it can.
static BUILT: LazyLock<Copy> = LazyLock::new(|| {
    let copy = Copy::new("first");
    let events = events(copy.xtask(&built_for_tested()));
    assert_eq!(fresh(&events), vec![false; 3 * tested().len()], "{events:#?}");
    copy
});

/// The two whose bits are compared between engines: one through zig, one through MinGW.
const COMPARED: [&str; 2] = ["x86_64-unknown-linux-gnu", "x86_64-pc-windows-gnu"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn targets() -> TargetSet {
    TargetSet::read(&root().join("targets.toml")).expect("the shipped file")
}

/// A target for each object format, each linker, and each way to run programs.
const SAMPLE: [&str; 5] = [
    "aarch64-apple-darwin",
    "aarch64-unknown-linux-gnu",
    "x86_64-pc-windows-gnu",
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
];

/// The targets that are tested: [`SAMPLE`], or every one if `KEYWAY_TEST_TARGETS` is `all`, which takes
/// three times as long.
fn tested() -> &'static [Target] {
    static TESTED: LazyLock<Vec<Target>> = LazyLock::new(|| {
        let all = std::env::var_os("KEYWAY_TEST_TARGETS").is_some_and(|value| value == "all");
        let is_it = |target: &&Target| all || SAMPLE.contains(&target.triple.as_str());
        targets().iter().filter(is_it).cloned().collect()
    });
    &TESTED
}

/// Whether this target is tested; says so if not.
fn is_tested(triple: &str) -> bool {
    let is_it = tested().iter().any(|target| target.triple.as_str() == triple);
    if !is_it {
        println!("skipped: {triple} is tested with `KEYWAY_TEST_TARGETS=all`");
    }
    is_it
}

/// The command that builds for all tested targets.
fn built_for_tested() -> Vec<&'static str> {
    let of = tested().iter().flat_map(|target| ["--target", target.triple.as_str()]);
    ["build-plugins", "--check", "--engine", "sandbox"].into_iter().chain(of).collect()
}

/// The files that a copy has for the compared targets.
fn compared(copy: &Copy) -> BTreeMap<PathBuf, Digest> {
    let mut digests = copy.digests();
    digests.retain(|path, _| COMPARED.iter().any(|target| path.starts_with(target)));
    digests
}

/// Of what `targets` says, the rows of tested targets.
fn rows_of_tested(rows: &[Value]) -> Vec<&Value> {
    let tested = tested();
    let is_it = |row: &&Value| tested.iter().any(|target| row["triple"] == target.triple.as_str());
    let rows: Vec<_> = rows.iter().filter(|row| row["event"] == "target").filter(is_it).collect();
    assert_eq!(rows.len(), tested.len(), "{rows:#?}");
    rows
}

/// Of each artifact event, whether it was fresh.
fn fresh(events: &[Value]) -> Vec<bool> {
    let artifacts = events.iter().filter(|event| event["event"] == "artifact");
    artifacts.map(|event| event["fresh"].as_bool().expect("a truth")).collect()
}

/// The cache with all images, in which zig has not linked anything yet.
fn cache_without_zig(folder: &Path) {
    let cache = Cache::open().expect("a cache");
    for entry in fs::read_dir(cache.root()).expect("list") {
        let entry = entry.expect("list");
        if entry.file_name() != "zig" {
            symlink(entry.path(), folder.join(entry.file_name())).expect("a link");
        }
    }
}

/// What zig makes for any link, by its place in a cache of zig's.
fn made_by_zig(cache: &Path) -> BTreeSet<PathBuf> {
    const NAMES: [&str; 6] =
        ["Scrt1.o", "dllcrt2.obj", "libc.so", "libc.so.6", "libcompiler_rt.a", "libunwind.a"];
    let list = |path: PathBuf| fs::read_dir(path).expect("list").map(|e| e.expect("list").path());
    let files = list(cache.join("o")).flat_map(list);
    let is_it = |path: &PathBuf| NAMES.iter().any(|name| path.ends_with(name));
    files.filter(is_it).map(|file| file.strip_prefix(cache).expect("below").to_owned()).collect()
}

/// What was delivered in one folder is built again in another, from nothing; and no link waits for zig
/// to compile a libc's startup objects, its stubs or a runtime.
#[test]
fn every_target_is_the_same_again_in_another_folder() {
    let copy = Copy::new("again");
    let cache = tempfile::tempdir().expect("a temporary folder");
    for delivered in ["dist", "target/keyway/records.json"] {
        let to = copy.path(delivered);
        fs::create_dir_all(to.parent().expect("has one")).expect("create");
        duct::cmd!("cp", "-R", BUILT.path(delivered), to).run().expect("copied");
    }
    cache_without_zig(cache.path());
    let verify = copy.command(&["--json", "verify", "--engine", "sandbox"]);
    let events = self::events(verify.env("KEYWAY_CACHE", cache.path()).read().expect("verified"));
    let identical = events.iter().filter(|event| event["identical"] == true).count();
    assert_eq!(identical, 3 * tested().len(), "{events:#?}");
    let rows = self::events(copy.xtask(&["targets"]));
    for row in rows_of_tested(&rows) {
        assert_eq!(row["delivered"]["reproduced"], 3, "{row:#}");
    }
    let images = Images::open(copy.path("docker"), Cache::open().expect("a cache"));
    for target in tested() {
        let image = images.locked(&target.spec.image).expect("a lock").manifest;
        let root = cache.path().join("roots").join(image.to_string());
        let (has, used) = (root.join("usr/lib/zig-cache"), cache.path().join("zig"));
        let (has, used) = (made_by_zig(&has), made_by_zig(&used.join(image.short()).join("cache")));
        assert!(!has.is_empty() && has == used, "{}: {has:#?} {used:#?}", target.triple);
    }

    // A library that came from elsewhere is found out, and so is a source that changed since.
    let triple = "x86_64-unknown-linux-gnu";
    let library = format!("{triple}/greet/libgreet.so");
    let path = copy.path("dist").join(&library);
    let mut bytes = fs::read(&path).expect("read");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(&path, bytes).expect("write");
    let source = copy.path("plugins/zstd-codec/src/lib.rs");
    let text = fs::read_to_string(&source).expect("read");
    fs::write(&source, format!("{text}\n// A comment is a change of the sources.\n"))
        .expect("write");
    let arguments = ["--json", "verify", "--engine", "sandbox", "--target", triple];
    let run = copy.command(&arguments).unchecked().stdout_capture().stderr_null().run();
    let run = run.expect("the tool starts");
    assert_eq!(run.status.code(), Some(3));
    let events = json(&run.stdout);
    let of = |plugin: &str| events.iter().find(|event| event["plugin"] == plugin).expect("told");
    assert_eq!(of("order-match")["identical"], true, "{events:#?}");
    assert_eq!(of("greet")["file"], library.as_str(), "{events:#?}");
    let manifest = format!("{triple}/zstd-codec/libzstd_codec.so.manifest.json");
    assert_eq!(of("zstd-codec")["file"], manifest.as_str(), "the library is the same: {events:#?}");
    assert_eq!(of("zstd-codec")["reason"], "its sources changed", "{events:#?}");
}

#[test]
fn the_same_bits_come_from_another_engine() {
    let first = compared(&BUILT);
    assert_eq!(first.len(), 6 * 2, "libraries and manifests: {first:#?}");
    let daemon = duct::cmd!("docker", "version").stdout_null().stderr_null().unchecked().run();
    if !daemon.is_ok_and(|output| output.status.success()) {
        println!("skipped: no Docker daemon answers here, so engines can't be compared");
        return;
    }
    let copy = Copy::new("another folder");
    let of = ["--target", COMPARED[0], "--target", COMPARED[1]];
    copy.xtask(&[&["build-plugins", "--engine", "docker"], &of[..]].concat());
    assert_eq!(compared(&copy), first);
    // The same daemon, without a look at this machine's folders; one target will do.
    fs::remove_dir_all(copy.path("dist")).expect("delete");
    let arguments = ["build-plugins", "--engine", "docker", "--target", COMPARED[0]];
    copy.command(&arguments).env("KEYWAY_DOCKER_MOUNTS", "copy").run().expect("it builds");
    let sent = compared(&copy);
    assert_eq!(sent.len(), 3 * 2, "{sent:#?}");
    assert!(sent.iter().all(|(path, digest)| first[path] == *digest), "{sent:#?}");
    copy.delete_volumes();
}

/// An engine of containers needs more of an image than the program that it runs.
#[test]
fn every_runner_starts_in_a_container() {
    let (cache, shell) = (Cache::open().expect("a cache"), Shell::silent());
    let images = Images::open(root().join("docker"), cache.clone());
    let docker = match engine::open(EngineName::Docker, &cache, &shell) {
        Ok(docker) => docker,
        Err(reason) => {
            println!("skipped: {reason}, so no runner can be started in it");
            return;
        }
    };
    let sandbox = Sandbox::new(env!("CARGO_BIN_EXE_xtask").into(), cache.clone(), &shell);
    let command = Command {
        argv: vec!["true".into()],
        env: BTreeMap::new(),
        workdir: "/".into(),
        mounts: Vec::new(),
        limit: None,
        hidden: Vec::new(),
    };
    let runners = tested().iter().filter_map(|target| {
        let image = target.spec.runner.as_ref()?.image.as_deref();
        Some(image.unwrap_or(&target.spec.image))
    });
    for name in runners.collect::<BTreeSet<_>>() {
        let image = images.ensure(name, &&sandbox, &shell).expect("the image");
        docker
            .run(&image, &command, &mut |_, _| {})
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn nothing_to_do_is_known_from_contents() {
    let again = || fresh(&events(BUILT.xtask(&built_for_tested())));
    assert_eq!(again(), vec![true; 3 * tested().len()]);
    // A new time stamp is no change.
    let source = BUILT.path("plugins/greet/src/lib.rs");
    let text = std::fs::read(&source).expect("read");
    std::fs::write(&source, text).expect("write");
    assert_eq!(again(), vec![true; 3 * tested().len()]);
}

/// Each was, before it was delivered.
#[test]
fn every_plugin_runs_on_its_target() {
    let events = events(BUILT.xtask(&built_for_tested()));
    assert_eq!(fresh(&events), vec![true; 3 * tested().len()], "{events:#?}");
    for target in tested() {
        // What can't be run is said, and nothing of it counts as run.
        let is_it = |e: &Value| e["event"] == "skipped" && e["target"] == target.triple.as_str();
        let is_skipped = runner::obstacle(target).is_some();
        assert_eq!(events.iter().any(is_it), is_skipped, "{}", target.triple);
    }
    // What was seen is what the table of targets says.
    let rows = self::events(BUILT.xtask(&["targets"]));
    for row in rows_of_tested(&rows) {
        let delivered = |what: &str| row["delivered"][what].as_u64();
        let run = if row.get("runner").is_some() { 3 } else { 0 };
        assert_eq!(["built", "audited", "run"].map(delivered), [3, 3, run].map(Some), "{row:#}");
        assert!(delivered("size") > Some(100_000) && row["rebuildable"] == true, "{row:#}");
    }
    assert_eq!(rows.len(), targets().iter().count() + 1, "{rows:#?}");
}

/// A target for each way to run a program: natively, by another libc's loader, by an emulator whose
/// bytes are in the other order, and under Wine for each width of programs.
const UNIT_TESTED: [&str; 5] = [
    "i686-pc-windows-gnu",
    "s390x-unknown-linux-gnu",
    "x86_64-pc-windows-gnu",
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
];

#[test]
fn unit_tests_run_on_the_target() {
    let targets = UNIT_TESTED.iter().filter(|target| is_tested(target));
    let targets = targets.flat_map(|target| ["--target", *target]);
    let arguments = ["test-plugins", "--unit", "--engine", "sandbox"].into_iter().chain(targets);
    let events = events(BUILT.xtask(&arguments.collect::<Vec<_>>()));
    for target in UNIT_TESTED.into_iter().filter(|target| is_tested(target)) {
        let of = |plugin: &str| {
            let is_it =
                |e: &&Value| e["unit"] == true && e["target"] == target && e["plugin"] == plugin;
            let run = events.iter().find(is_it).unwrap_or_else(|| panic!("{plugin}: {events:#?}"));
            assert_eq!(run["passed"], true, "{run:#?}");
            run["tests"].as_u64().expect("a number")
        };
        assert!(of("order-match") >= 3 && of("zstd-codec") >= 4, "{target}: {events:#?}");
        assert_eq!(of("greet"), 0, "it has none: {events:#?}");
    }
}

/// In a root of nothing but its C library: what target and libc it has, a host finds out by itself.
#[test]
fn plugins_for_glibc_run_on_the_oldest_debian() {
    let copy = Copy::new("oldest");
    let targets = copy.path("targets.toml");
    let text = fs::read_to_string(&targets).expect("read");
    let own = "runner = {} # the image that builds it runs it";
    assert!(text.contains(own), "the target's runner is described in other words");
    fs::write(&targets, text.replace(own, "runner = { image = \"oldest\" }")).expect("write");
    let of = ["--engine", "sandbox", "--target", "x86_64-unknown-linux-gnu"];
    let built = events(copy.xtask(&[&["build-plugins"], &of[..]].concat()));
    let tested = events(copy.xtask(&[&["test-plugins"], &of[..]].concat()));
    let passed = tested.iter().filter(|event| event["passed"] == true).count();
    assert_eq!(passed, fresh(&built).len(), "{tested:#?}");
}

#[test]
fn no_path_of_a_build_is_in_a_library() {
    let root = BUILT.path("");
    let home = std::env::var("HOME").expect("a home");
    let cache = Cache::open().expect("a cache");
    let host = [root.to_string_lossy().into_owned(), cache.root().to_string_lossy().into_owned()];
    let guest = ["/work/", "/target/", "/cargo/", "/zig/", "/out/", "/tmp/"].map(str::to_owned);
    // A home right below `/` is root's, which programs name for reasons of their own.
    let is_users = Path::new(&home).components().count() > 2;
    let home = is_users.then(|| format!("{home}/"));
    let paths: Vec<String> = host.into_iter().chain(guest).chain(home).collect();
    let mut n_libraries = 0;
    for file in BUILT.digests().into_keys().filter(|file| file.extension() != Some("json".as_ref()))
    {
        let bytes = fs::read(BUILT.path("dist").join(&file)).expect("read");
        for path in &paths {
            let found = bytes.windows(path.len()).any(|window| window == path.as_bytes());
            assert!(!found, "{} names `{path}`", file.display());
        }
        n_libraries += 1;
    }
    assert_eq!(n_libraries, 3 * tested().len());
}

#[test]
fn a_plugin_is_called_here() {
    let library = BUILT.path("dist/x86_64-unknown-linux-gnu/greet/libgreet.so");
    let library = library.to_str().expect("UTF-8");
    let output = BUILT.command(&["run-plugin", library, "greet", "World"]).read();
    assert_eq!(output.expect("admitted and called"), "Hello, World!");
}

#[test]
fn the_gate_refuses_the_other_target_by_its_header() {
    let library = BUILT.path("dist/x86_64-pc-windows-gnu/greet/greet.dll");
    let library = library.to_str().expect("UTF-8");
    let output = BUILT
        .command(&["--json", "gate", library])
        .unchecked()
        .stdout_capture()
        .stderr_null()
        .run();
    let output = output.expect("the tool starts");
    assert_eq!(output.status.code(), Some(3));
    let verdict = json(&output.stdout).into_iter().find(|event| event["event"] == "verdict");
    let codes = verdict.expect("a verdict")["refusals"].as_array().cloned().unwrap_or_default();
    assert!(codes.iter().any(|refusal| refusal["code"] == "KW303"), "{codes:#?}");
}

/// A parameter that has another name in the library that a host's interfaces are taken from.
#[test]
fn the_gate_compares_what_an_interface_s_author_wrote() {
    let library = BUILT.path("dist/x86_64-unknown-linux-gnu/order-match/liborder_match.so");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let known = folder.path().join("known.so");
    let bytes = fs::read(&library).expect("read");
    let (old, new) = (b"outcomes: ", b"answers_: ");
    let places = bytes.windows(old.len()).enumerate().filter(|(_, window)| window == old);
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the parameter has another name");
    let mut bytes = bytes;
    for at in places {
        bytes[at..at + new.len()].copy_from_slice(new);
    }
    fs::write(&known, bytes).expect("write");
    let (library, known) = (library.to_str().expect("UTF-8"), known.to_str().expect("UTF-8"));
    let gate = |arguments: &[&str]| {
        let command = BUILT.command(&[&["--json", "gate", library], arguments].concat());
        let output =
            command.unchecked().stdout_capture().stderr_capture().run().expect("it starts");
        let verdict = json(&output.stdout).into_iter().find(|event| event["event"] == "verdict");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), verdict.expect("a verdict"), said)
    };
    let (status, verdict, said) = gate(&["--interfaces-of", library, "--strict-signatures"]);
    assert_eq!((status, &verdict["warnings"]), (Some(0), &serde_json::json!([])), "{said}");
    let (status, verdict, said) = gate(&["--interfaces-of", known]);
    assert_eq!((status, &verdict["warnings"][0]["code"]), (Some(0), &"KW414".into()), "{said}");
    assert!(said.contains("KW414") && said.contains("answers_"), "{said}");
    let (status, verdict, _) = gate(&["--interfaces-of", known, "--strict-signatures"]);
    assert_eq!((status, &verdict["refusals"][0]["code"]), (Some(3), &"KW414".into()));
}

#[test]
fn what_can_not_be_used_is_not_delivered_and_holds_nothing_back() {
    let copy = Copy::new("broken");
    let broken = copy.path("plugins/greet/src/lib.rs");
    let good = fs::read_to_string(&broken).expect("read");
    fs::write(&broken, "//! Broken.\nfn broken() -> u8 { \"text\" }\n").expect("write");
    let source = copy.path("plugins/zstd-codec/src/lib.rs");
    let text = fs::read_to_string(&source).expect("read");
    let create = "fn create(config: &[u8], _: Host) -> Result<Self, PluginError> {";
    assert!(text.contains(create), "`create` is written in other words");
    let ends = format!("{create} std::process::exit(0);");
    fs::write(&source, text.replace(create, &ends)).expect("write");
    let linux = "x86_64-unknown-linux-gnu";
    let build = |more: &[&str]| {
        let arguments = ["--json", "build-plugins", "--engine", "sandbox", "--target", linux];
        let run = copy.command(&[&arguments, more].concat());
        let run = run.unchecked().stdout_capture().stderr_capture().run().expect("it starts");
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(1), "{said}");
        (json(&run.stdout), said)
    };
    let delivered = |plugin: &str| copy.path("dist").join(linux).join(plugin).exists();

    let (events, said) = build(&["--check"]);
    assert!(said.contains("mismatched types"), "cargo's own diagnostics: {said}");
    assert!(said.contains("2 of 3 artifacts") || said.contains("of 3 artifacts, 1"), "{said}");
    assert_eq!(fresh(&events), [false], "the other one is delivered: {events:#?}");
    let failed = |plugin: &str| {
        let is_it = |e: &&Value| e["event"] == "failed" && e["plugin"] == plugin;
        events.iter().find(is_it).unwrap_or_else(|| panic!("{plugin}: {events:#?}"))
    };
    assert_eq!(failed("greet")["reason"], "not-compiled");
    let unusable = failed("zstd-codec");
    assert_eq!(unusable["reason"], "unusable", "{unusable:#}");
    let expected = "its host ended early, with status 0, when it was loaded";
    assert_eq!(unusable["message"], expected, "{unusable:#}");
    assert_eq!(["order-match", "zstd-codec"].map(delivered), [true, false]);

    // Unless it is asked for, nothing is loaded; and what is then found to be of no use is taken away.
    fs::write(&broken, good).expect("write");
    let unchecked = copy.xtask(&["build-plugins", "--engine", "sandbox", "--target", linux]);
    assert_eq!(fresh(&self::events(unchecked)).len(), 3);
    assert!(delivered("zstd-codec"));
    let (events, said) = build(&["--check"]);
    assert!(said.contains("1 of 3 artifacts can't be used"), "{said}");
    assert_eq!(fresh(&events).len(), 2, "{events:#?}");
    assert_eq!(["greet", "order-match", "zstd-codec"].map(delivered), [true, true, false]);
}
