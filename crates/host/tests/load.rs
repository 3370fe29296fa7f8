//! Loading what the gate has admitted: staged under a name of its own, called, unloaded, and gone.

use std::fs;
use std::path::{Path, PathBuf};

use keyway_abi::call::Context;
use keyway_host::services::Services;
use keyway_host::{Expectation, Host, ImportPolicy, LoadError, ToolchainPolicy};
use keyway_manifest::Digest;
use tempfile::TempDir;

#[path = "refusals/canary.rs"]
mod canary;

fn plugin(folder: &Path, bytes: &[u8]) -> PathBuf {
    let file = canary::LIBRARY.file_name().and_then(|name| name.to_str()).expect("a name");
    let manifest = canary::manifest(bytes, file);
    let library = folder.join(file);
    fs::write(&library, bytes).expect("the library is written");
    fs::write(folder.join(manifest.file_name()), manifest.to_json()).expect("it is written");
    library
}

fn canary() -> Vec<u8> {
    fs::read(&*canary::LIBRARY).expect("the canary")
}

fn host(stage: &Path) -> Host {
    let expectation = Expectation {
        toolchains: ToolchainPolicy::AnyWithMatchingAbi,
        imports: ImportPolicy::Any,
        ..Expectation::this_process()
    };
    Host::staging_in(stage, expectation, Services::new(|_, _| ())).expect("a host")
}

fn sing(host: &Host, library: &Path) -> Vec<u8> {
    let mut plugin = host.load(library, b"").expect("it loads");
    let song = plugin.instance().invoke("sing", b"la", Context::NONE).expect("a song").to_vec();
    plugin.unload().expect("it unloads");
    song
}

/// Everything below a folder.
fn entries(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in folder.read_dir().expect("a folder").flatten() {
        names.push(entry.file_name().to_string_lossy().into_owned());
        if entry.path().is_dir() {
            names.extend(entries(&entry.path()));
        }
    }
    names
}

#[test]
fn calls_what_it_loads() {
    let (folder, stage) = (TempDir::new().expect("it"), TempDir::new().expect("it"));
    let library = plugin(folder.path(), &canary());
    let host = host(stage.path());
    assert_eq!(sing(&host, &library), b"la");
}

/// The loader knows a library by its path, so the second of two files of one name would be the
/// first again.
#[test]
fn loads_the_new_file_under_an_old_name() {
    let (folder, stage) = (TempDir::new().expect("it"), TempDir::new().expect("it"));
    let host = host(stage.path());
    let bytes = canary();
    let library = plugin(folder.path(), &bytes);
    let old = host.load(&library, b"").expect("it loads");
    // The stamp's version: the same length, another text.
    let section = keyway_inspect::inspect(&bytes).expect("it").facts.stamp.expect("a stamp");
    let mut newer = bytes.clone();
    let at = section.start + 68 + "canary".len();
    newer[at] = b'7';
    plugin(folder.path(), &newer);
    let new = host.load(&library, b"").expect("it loads");
    // Loading compares the stamp in memory with the one that was checked.
    assert_eq!(old.manifest().plugin.version, "0.1.0");
    assert_eq!(new.manifest().plugin.version, "7.1.0");
}

#[test]
fn loads_the_bytes_that_were_checked() {
    let (folder, stage) = (TempDir::new().expect("it"), TempDir::new().expect("it"));
    let host = host(stage.path());
    let library = plugin(folder.path(), &canary());
    let admission = host.gate().check(&library).expect("it is admitted");
    fs::write(&library, b"something else").expect("the file is changed");
    let mut plugin = host.load_admitted(&admission, b"").expect("it loads");
    assert!(plugin.instance().invoke("sing", b"la", Context::NONE).is_ok());
}

#[test]
fn leaves_nothing_behind() {
    let (folder, stage) = (TempDir::new().expect("it"), TempDir::new().expect("it"));
    let library = plugin(folder.path(), &canary());
    let first = host(stage.path());
    let loaded = first.load(&library, b"").expect("it loads");
    let staged = entries(stage.path());
    if cfg!(unix) {
        assert_eq!(staged.len(), 2, "the folder and its lock: {staged:?}");
    }
    drop(loaded);
    drop(first);
    assert_eq!(entries(stage.path()), [""; 0]);
}

/// What a process that was killed has left goes with the next one; what is in use stays.
#[test]
fn sweeps_what_others_left() {
    let stage = TempDir::new().expect("a folder");
    let left = stage.path().join("keyway-stage-left");
    fs::create_dir(&left).expect("a folder");
    fs::write(left.join("lock"), b"").expect("a lock");
    fs::write(left.join("0-libold.so"), b"old").expect("a library");
    let foreign = stage.path().join("keyway-stage-foreign");
    fs::create_dir(&foreign).expect("a folder");
    let first = host(stage.path());
    let second = host(stage.path());
    assert!(!left.exists());
    assert!(foreign.exists());
    let folders = stage.path().read_dir().expect("it").count();
    assert_eq!(folders, 3, "one each, and the one without a lock");
    drop((first, second));
}

#[cfg(unix)]
#[test]
fn the_stage_is_private() {
    use std::os::unix::fs::MetadataExt;

    let stage = TempDir::new().expect("a folder");
    let _host = host(stage.path());
    let folder = stage.path().read_dir().expect("it").flatten().next().expect("a folder");
    assert_eq!(folder.metadata().expect("it").mode() & 0o7777, 0o700);
}

fn message(error: &LoadError, folder: &Path) -> String {
    error.to_string().replace(&folder.display().to_string(), "[FOLDER]")
}

#[test]
fn says_why_it_did_not_load() {
    let (folder, stage) = (TempDir::new().expect("it"), TempDir::new().expect("it"));
    let host = host(stage.path());

    let missing = folder.path().join("libmissing.so");
    assert!(matches!(host.load(&missing, b""), Err(LoadError::Refused(_))));

    // The name of an exported symbol is changed, and the manifest agrees.
    for (symbol, other) in
        [("KEYWAY_STAMP", "KEYWAY_STAMQ"), ("keyway_plugin_v1", "keyway_plugin_v2")]
    {
        let mut bytes = canary();
        let name = [symbol.as_bytes(), b"\0"].concat();
        let at = bytes.windows(name.len()).position(|window| window == name).expect("a symbol");
        bytes[at..at + other.len()].copy_from_slice(other.as_bytes());
        let library = plugin(folder.path(), &bytes);
        let error = host.load(&library, b"").expect_err("a symbol is missing");
        let expected = format!("`[FOLDER]/libcanary.so` does not export `{symbol}`");
        assert_eq!(message(&error, folder.path()), expected);
    }

    // A needed library that is nowhere.
    let mut bytes = canary();
    let name = b"libc.so.6\0";
    let at = bytes.windows(name.len()).position(|window| window == name).expect("libc");
    bytes[at..at + 3].copy_from_slice(b"no-");
    let library = plugin(folder.path(), &bytes);
    let error = host.load(&library, b"").expect_err("a library is missing");
    let expected = "the system could not load `[FOLDER]/libcanary.so`";
    assert_eq!(message(&error, folder.path()), expected);
    assert!(Digest::of(&bytes) != Digest::of(canary()));
}

#[test]
fn says_why_there_is_no_stage() {
    let folder = TempDir::new().expect("a folder");
    let missing = folder.path().join("missing");
    let services = Services::new(|_, _| ());
    let error = Host::staging_in(&missing, Expectation::this_process(), services);
    let error = error.expect_err("there is no folder").to_string();
    assert!(error.starts_with("no private folder for plugins could be made in"), "{error}");
}
