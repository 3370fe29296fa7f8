//! The compiler wrappers under `docker/files`, around a `zig` that shows how it was called.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use keyway_inspect::Details;
use snapbox::str;
use tempfile::TempDir;

/// A folder with the wrapper under `name` and a `zig` that writes a line an argument.
fn folder(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/files");
    symlink(fs::canonicalize(files.join("keyway-cc")).unwrap(), folder.path().join(name)).unwrap();
    let zig = folder.path().join("zig");
    fs::write(&zig, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
    fs::set_permissions(&zig, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn call(name: &str, arguments: &[&str], zig_target: Option<&str>) -> Output {
    let folder = folder(name);
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let mut command = Command::new("/bin/sh");
    command.arg(folder.path().join(name)).args(arguments).env("PATH", path);
    match zig_target {
        Some(target) => command.env("KEYWAY_ZIG_TARGET", target),
        None => command.env_remove("KEYWAY_ZIG_TARGET"),
    };
    command.output().unwrap()
}

#[track_caller]
fn check(name: &str, arguments: &[&str], expected: impl snapbox::IntoData) {
    let output = call(name, arguments, None);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap().replace('\n', " ");
    snapbox::assert_data_eq!(text.trim_end(), expected);
}

#[test]
fn the_name_says_tool_and_target() {
    check("cc", &["-c", "a.c"], str!["cc -target x86_64-linux-gnu.2.17 -fno-sanitize=all -c a.c"]);
    check("c++", &["a.cc"], str!["c++ -target x86_64-linux-gnu.2.17 -O2 -fno-sanitize=all a.cc"]);
    check("ar", &["crs", "a.a", "b.o"], str!["ar crs a.a b.o"]);
    check(
        "x86_64-unknown-linux-gnu-cc",
        &["-c", "a.c"],
        str!["cc -target x86_64-linux-gnu.2.17 -fno-sanitize=all -c a.c"],
    );
    check(
        "aarch64-unknown-linux-musl-c++",
        &[],
        str!["c++ -target aarch64-linux-musl -O2 -fno-sanitize=all"],
    );
    check("riscv64gc-unknown-linux-gnu-ranlib", &["a.a"], str!["ranlib a.a"]);
    check("x86_64-unknown-linux-gnu-ar", &["t", "a.a"], str!["ar t a.a"]);
}

#[test]
fn what_contradicts_the_target_is_dropped() {
    check(
        "cc",
        &[
            "--target=x86_64-unknown-linux-gnu",
            "-m64",
            "-march=native",
            "-target",
            "x86_64-apple-darwin",
            "-arch",
            "arm64",
            "-isysroot",
            "/sdk",
            "-mmacosx-version-min=10.12",
            "-fuse-ld=lld",
            "-O2",
            "-Wl,/target/lib.def",
            "-Wl,--as-needed",
            "a b.c",
        ],
        str![
            "cc -target x86_64-linux-gnu.2.17 -O2 -fno-sanitize=all -O2 /target/lib.def -Wl,--as-needed a b.c"
        ],
    );
}

#[test]
fn arguments_keep_their_form() {
    let output = call("cc", &["", "a b", "*", "$HOME", "-DX=\"y\""], None);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        "cc\n-target\nx86_64-linux-gnu.2.17\n-O2\n-fno-sanitize=all\n\na b\n*\n$HOME\n-DX=\"y\"\n"
    );
}

#[test]
fn other_targets_need_to_be_named() {
    let output = call("mips-unknown-linux-gnu-cc", &[], None);
    assert_eq!(output.status.code(), Some(2));
    snapbox::assert_data_eq!(
        String::from_utf8(output.stderr).unwrap(),
        str![[r#"
mips-unknown-linux-gnu-cc: no zig target is known for mips-unknown-linux-gnu; set KEYWAY_ZIG_TARGET

"#]]
    );
    let output = call("mips-unknown-linux-gnu-cc", &["-c"], Some("mips-linux-gnueabi"));
    assert_eq!(output.stdout, b"cc\n-target\nmips-linux-gnueabi\n-fno-sanitize=all\n-c\n");
    let output = call("x-y-ld", &[], None);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_mac_library_is_stripped_and_named_as_it_links() {
    check(
        "aarch64-apple-darwin-cc",
        &["-dynamiclib", "-o", "/target/deps/libgreet.dylib", "a.o"],
        str![
            "cc -target aarch64-macos.11.0 -s -O2 -fvisibility=hidden -fno-sanitize=all -dynamiclib -o /target/deps/libgreet.dylib a.o -Wl,-install_name,@rpath/libgreet.dylib"
        ],
    );
    check(
        "x86_64-apple-darwin-cc",
        &["-arch", "x86_64", "-c", "a.c"],
        str!["cc -target x86_64-macos.10.13 -fvisibility=hidden -fno-sanitize=all -c a.c"],
    );
}

#[test]
fn a_windows_library_has_no_time_in_it() {
    let folder = folder("x86_64-pc-windows-gnullvm-cc");
    // A header at 0x80, as far as its time, made by a `zig` that links nothing.
    let dll = folder.path().join("a.dll");
    let mut bytes = vec![0xff_u8; 0x100];
    bytes[0x3c..0x40].copy_from_slice(&0x80_u32.to_le_bytes());
    fs::write(&dll, &bytes).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let mut command = Command::new("/bin/sh");
    command.arg(folder.path().join("x86_64-pc-windows-gnullvm-cc"));
    command.args(["-shared", "-lmsvcrt", "--unwindlib=none", "-o"]).arg(&dll);
    let output = command.env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains("msvcrt") && !said.contains("unwindlib"), "{said}");
    bytes[0x88..0x8c].fill(0);
    assert_eq!(fs::read(&dll).unwrap(), bytes);
}

#[test]
fn the_dll_that_wine_lacks_is_one_name_for_another() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/files");
    let output =
        Command::new("/bin/sh").arg(files.join("keyway-bcryptprimitives")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let dll = output.stdout;
    let found = keyway_inspect::inspect(&dll).unwrap();
    assert_eq!(found.violations, []);
    let target = "i686-pc-windows-gnu".parse().unwrap();
    assert_eq!(found.facts.header.mismatches(&target), []);
    assert_eq!(Vec::from_iter(&found.facts.exports), ["ProcessPrng"]);
    let Details::Pe(details) = &found.facts.details else { panic!("{found:#?}") };
    assert_eq!(details.name.as_deref(), Some("bcryptprimitives.dll"));
    assert!(!details.constructors && details.nx, "{details:#?}");
    // What follows in its one section is zeros.
    let text = b"ProcessPrng\0advapi32.SystemFunction036\0";
    assert!(dll.starts_with(b"MZ") && dll[0x249..].starts_with(text));
    assert!(dll[0x249 + text.len()..].iter().all(|byte| *byte == 0));
}
