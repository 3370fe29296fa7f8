//! Loading what the gate has admitted: staged under a name of its own, called, unloaded, and gone.

use std::fs;
use std::path::{Path, PathBuf};

use keyway_abi::call::Context;
use keyway_abi::stamp::Stamp;
use keyway_host::services::Services;
use keyway_host::{Expectation, Host, ImportPolicy, LoadError, ToolchainPolicy};
use keyway_manifest::Digest;
use tempfile::TempDir;

#[path = "refusals/canary.rs"]
mod canary;

fn plugin(folder: &Path, bytes: &[u8]) -> PathBuf {
    let file = canary::LIBRARY.file_name().and_then(|name| name.to_str()).expect("a name");
    plugin_of(folder, bytes, file)
}

fn plugin_of(folder: &Path, bytes: &[u8], file: &str) -> PathBuf {
    let manifest = canary::manifest(bytes, file);
    let library = folder.join(file);
    fs::write(&library, bytes).expect("the library is written");
    fs::write(folder.join(manifest.file_name()), manifest.to_json()).expect("it is written");
    library
}

fn canary() -> Vec<u8> {
    fs::read(&*canary::LIBRARY).expect("the canary")
}

/// The canary with another version in its stamp, of the same length.
fn newer(bytes: &[u8]) -> Vec<u8> {
    let section = keyway_inspect::inspect(bytes).expect("it").facts.stamp.expect("a stamp");
    let stamp = Stamp::parse(&bytes[section]).expect("a stamp");
    let at = stamp.version.as_ptr().addr() - bytes.as_ptr().addr();
    let mut newer = bytes.to_vec();
    newer[at] = b'7';
    newer
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
    let newer = newer(&bytes);
    plugin(folder.path(), &newer);
    let new = host.load(&library, b"").expect("it loads");
    // Loading compares the stamp in memory with the one that was checked.
    assert_eq!(old.version(), "0.1.0");
    assert_eq!(new.version(), "7.1.0");
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

/// The canary declares that it may be; a library that does not is in `calls.rs`.
#[cfg(target_os = "linux")]
#[test]
fn unmaps_what_declares_that_it_may_be() {
    let (folder, stage) = (TempDir::new().expect("it"), TempDir::new().expect("it"));
    let library = plugin_of(folder.path(), &canary(), "libunmapped.so");
    let is_mapped = || {
        let maps = fs::read_to_string("/proc/self/maps").expect("the mappings");
        maps.lines().any(|line| line.contains("libunmapped.so"))
    };
    let host = host(stage.path());
    let mut plugin = host.load(&library, b"").expect("it loads");
    assert!(is_mapped() && !plugin.stays_mapped());
    let song = plugin.instance().invoke("sing", b"la", Context::NONE).expect("a song");
    plugin.unload().expect("it ends");
    assert!(is_mapped(), "the song is freed by its code");
    drop(song);
    assert!(!is_mapped());
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

/// Names the part that this process plays in a mount namespace of its own.
#[cfg(target_os = "linux")]
const ROLE: &str = "KEYWAY_TEST_NO_CODE";

/// Runs the test `name` again where the folder for temporary files allows no code, in it the canary;
/// `more` is done there before.
#[cfg(target_os = "linux")]
fn where_no_code_is_allowed(name: &str, more: &str) {
    let folder = TempDir::new().expect("a folder");
    let script = format!(
        "mount -t tmpfs -o noexec none \"$1\" && cp \"$2\" \"$1/canary\" && {more} exec \"$3\" --exact \"$4\""
    );
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .args([folder.path(), &canary::LIBRARY, &std::env::current_exe().expect("a path")])
        .arg(name)
        .env("TMPDIR", folder.path())
        .env(ROLE, folder.path())
        .output()
        .expect("unshare starts");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[cfg(target_os = "linux")]
#[test]
fn loads_where_temporary_files_may_hold_no_code() {
    let Some(temporary) = std::env::var_os(ROLE) else {
        return where_no_code_is_allowed("loads_where_temporary_files_may_hold_no_code", "");
    };
    let folder = TempDir::new().expect("a folder");
    let bytes = fs::read(Path::new(&temporary).join("canary")).expect("the canary");
    let library = plugin_of(folder.path(), &bytes, "libcanary.so");
    // SAFETY: it is the canary, whose constructor does nothing here; and it is not loaded.
    let refused = unsafe { libloading::Library::new(&library) };
    assert!(refused.is_err(), "no code is allowed there");
    let host = host(&std::env::temp_dir());
    assert_eq!(sing(&host, &library), b"la");
    // Two at once under one name, each with its own code; and nothing is left of either.
    let old = host.load(&library, b"").expect("it loads");
    let newer = newer(&bytes);
    plugin_of(folder.path(), &newer, "libcanary.so");
    let new = host.load(&library, b"").expect("it loads");
    assert_eq!((old.version(), new.version()), ("0.1.0", "7.1.0"));
    let is_stage = |name: &String| name.starts_with("keyway-stage-");
    let staged = entries(Path::new(&temporary)).into_iter().filter(is_stage).count();
    assert_eq!(staged, 1, "the folder, and no link in it");
    drop((old, new, host));
    assert!(!entries(Path::new(&temporary)).iter().any(is_stage));
}

#[cfg(target_os = "linux")]
#[test]
fn names_the_folder_that_allows_no_code() {
    let Some(temporary) = std::env::var_os(ROLE) else {
        // Without `/proc` a file in memory has no name.
        let name = "names_the_folder_that_allows_no_code";
        return where_no_code_is_allowed(name, "mount -t tmpfs none /proc &&");
    };
    let error = Host::new(Expectation::this_process(), Services::new(|_, _| ()));
    let error = error.expect_err("no code is allowed there").to_string();
    let expected = format!("no code can be loaded from `{}`: ", temporary.display());
    assert!(error.starts_with(&expected) && error.contains("`TMPDIR`"), "{error}");
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
