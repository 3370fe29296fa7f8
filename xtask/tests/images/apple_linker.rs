//! `docker/files/keyway-apple-cc`, around a linker that shows how it was called.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use snapbox::str;
use tempfile::TempDir;

/// Links with `arguments` and what a workspace declares, by a linker that is `script`.
fn link(script: &str, arguments: &[&str], declared: &str) -> Output {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/files");
    let wrapper = folder.path().join("x86_64-apple-darwin-cc");
    symlink(fs::canonicalize(files.join("keyway-apple-cc")).unwrap(), &wrapper).unwrap();
    let linker = folder.path().join("ld64.lld-22");
    fs::write(&linker, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&linker, fs::Permissions::from_mode(0o755)).unwrap();
    Command::new("/bin/sh")
        .arg(&wrapper)
        .args(arguments)
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .env("KEYWAY_APPLE_STUBS", fs::canonicalize(files.join("apple")).unwrap())
        .env("KEYWAY_APPLE_SYMBOLS", declared)
        .output()
        .unwrap()
}

/// What a linker that shows its arguments was given, without the folders of this machine.
#[track_caller]
fn check(arguments: &[&str], expected: impl snapbox::IntoData) {
    let output = link("echo \"$@\"", arguments, "");
    assert!(output.status.success(), "{output:?}");
    let stubs =
        fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/files/apple"))
            .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text.replace(stubs.to_str().unwrap(), "STUBS");
    snapbox::assert_data_eq!(text.trim_end(), expected);
}

#[test]
fn libraries_and_frameworks_reach_the_linker() {
    check(
        &[
            "-framework",
            "AppKit",
            "-framework",
            "Network",
            "-weak_framework",
            "Metal",
            "-liconv",
            "-lc",
            "-lm",
            "-ldl",
            "a.o",
        ],
        str![
            "-arch x86_64 -platform_version macos 10.13 10.13 -syslibroot STUBS -S -x -adhoc_codesign -framework AppKit -weak_framework Network -weak_framework Metal -liconv a.o -lSystem"
        ],
    );
    check(
        &[
            "-dynamiclib",
            "-arch",
            "x86_64",
            "-fPIC",
            "-O2",
            "-o",
            "/t/liba.dylib",
            "-F",
            "/f",
            "a.o",
        ],
        str![
            "-arch x86_64 -platform_version macos 10.13 10.13 -syslibroot STUBS -S -x -adhoc_codesign -dylib -o /t/liba.dylib -F /f a.o -install_name @rpath/liba.dylib -lSystem"
        ],
    );
}

#[test]
fn what_no_stub_lists_can_be_declared() {
    let show = "while [ \"$1\" != -F ]; do shift; done\ncd $2\n\
                for stub in */*.tbd *.tbd; do\necho $stub:\nhead -n 4 $stub | tail -n 1\ntail -n 3 $stub\ndone";
    let declared = "CoreAudio:AudioNew AppKit:NSNew CoreAudio:AudioNewer z:inflateMore \
                    /usr/lib/libedit.3.dylib:readline";
    let output = link(show, &["a.o"], declared);
    assert!(output.status.success(), "{output:?}");
    snapbox::assert_data_eq!(
        String::from_utf8(output.stdout).unwrap(),
        str![[r#"
AppKit.framework/AppKit.tbd:
install-name: '/System/Library/Frameworks/AppKit.framework/Versions/C/AppKit'
  - targets: [ x86_64-macos, arm64-macos ]
    symbols: [ '_NSNew' ]
...
CoreAudio.framework/CoreAudio.tbd:
install-name: '/System/Library/Frameworks/CoreAudio.framework/Versions/A/CoreAudio'
  - targets: [ x86_64-macos, arm64-macos ]
    symbols: [ '_AudioNewer' ]
...
libedit.tbd:
install-name: '/usr/lib/libedit.3.dylib'
  - targets: [ x86_64-macos, arm64-macos ]
    symbols: [ '_readline' ]
...
libz.tbd:
install-name: '/usr/lib/libz.1.dylib'
  - targets: [ x86_64-macos, arm64-macos ]
    symbols: [ '_inflateMore' ]
...

"#]]
    );
    let output = link(show, &["a.o"], "CoreNothing:nothing");
    assert!(!output.status.success());
    snapbox::assert_data_eq!(
        String::from_utf8(output.stderr).unwrap(),
        str![[r#"
keyway: there is no stub of `CoreNothing`: name it by the path that the loader finds it at

"#]]
    );
}

#[test]
fn a_symbol_that_no_stub_knows_comes_with_what_to_write() {
    let fails = "echo 'ld64.lld: error: undefined symbol: _AudioNew' >&2\nexit 1";
    let output = link(fails, &["a.o"], "");
    assert_eq!(output.status.code(), Some(1));
    snapbox::assert_data_eq!(
        String::from_utf8(output.stderr).unwrap(),
        str![[r#"
ld64.lld: error: undefined symbol: _AudioNew
hint: no stub of macOS' libraries knows a symbol or library that is missing above. If a C source is
      missing from the build, add it. If every macOS from the target's oldest on has it, say so in the
      plugin's Cargo.toml, and which library has it, by its name or by the path it is loaded from:

      [package.metadata.keyway]
      apple-symbols = [{ library = "CoreAudio", name = "AudioNewFunction", reason = "since 10.13" }]


"#]]
    );
    // Other errors speak for themselves.
    let output = link("echo 'ld64.lld: error: duplicate symbol: _x' >&2; exit 1", &["a.o"], "");
    snapbox::assert_data_eq!(
        String::from_utf8(output.stderr).unwrap(),
        str![[r#"
ld64.lld: error: duplicate symbol: _x

"#]]
    );
}
