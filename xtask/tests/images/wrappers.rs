//! The compiler wrappers under `docker/files`, around a `zig` that shows how it was called.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use keyway_inspect::Details;
use snapbox::str;
use tempfile::TempDir;

/// A folder with the wrapper under `name` and a `zig` that writes a line an argument and makes what it is
/// told to.
fn folder(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/files");
    symlink(fs::canonicalize(files.join("keyway-cc")).unwrap(), folder.path().join(name)).unwrap();
    let zig = folder.path().join("zig");
    fs::write(&zig, ZIG).unwrap();
    fs::set_permissions(&zig, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

const ZIG: &str = r#"#!/bin/sh
printf '%s\n' "$@"
while [ $# -gt 1 ]; do
    case $1 in */cache/unload-*/unload.o) : > "$1" ;; esac
    shift
done
"#;

fn call(name: &str, arguments: &[&str], zig_target: Option<&str>) -> Output {
    let folder = folder(name);
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let mut command = Command::new("/bin/sh");
    command.arg(folder.path().join(name)).args(arguments).env("PATH", path);
    command.env("ZIG_GLOBAL_CACHE_DIR", folder.path());
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

/// Which arguments of a call for `triple` zig is given in the place of `arguments`, without those that it
/// is always given.
#[track_caller]
fn check_respelled(triple: &str, arguments: &str, expected: &str) {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let output = call(&format!("{triple}-cc"), &[&["-c"], &words[..]].concat(), None);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let usual = ["cc", "-target", "-fno-sanitize=all", "-fvisibility=hidden", "-c"];
    let mut given: Vec<&str> = text.lines().filter(|word| !usual.contains(word)).collect();
    given.remove(0); // the target
    assert_eq!(given.join(" "), expected, "{triple}: {arguments}");
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

/// By target, what compilers are told of the processor, and how zig says it: what the crates zstd-sys,
/// blake3, ring, libz-ng-sys, aws-lc-sys, crc32c, libvpx-like and ggml-like ones pass.
#[test]
fn processors_are_chosen_in_zigs_words() {
    let x86 = "x86_64-unknown-linux-gnu";
    for (arguments, expected) in [
        ("-mavx2 -mfma", "-mavx2 -mfma"),
        ("-march=haswell", "-mcpu=haswell"),
        ("-march=x86-64-v3", "-mcpu=x86_64_v3"),
        ("-march=skylake-avx512 -mtune=cascadelake", "-mcpu=skylake_avx512"),
        ("-march=core-avx2", "-mcpu=haswell"),
        ("-march=x86-64 -mtune=generic", ""),
        // The machine that builds says nothing of the one that runs it.
        ("-march=native -mtune=native", ""),
        ("-mcpu=haswell", ""),
        ("-march=haswell -march=native", ""),
    ] {
        check_respelled(x86, arguments, expected);
        check_respelled("x86_64-pc-windows-gnullvm", arguments, expected);
    }
    let arm = "aarch64-unknown-linux-gnu";
    for (arguments, expected) in [
        ("-march=armv8-a", "-mcpu=baseline+v8a"),
        ("-march=armv8-a+crc", "-mcpu=baseline+v8a+crc"),
        ("-march=armv8-a+crc+crypto", "-mcpu=baseline+v8a+crc+crypto"),
        ("-march=armv8-a+simd", "-mcpu=baseline+v8a+neon"),
        ("-march=armv8.2-a+dotprod+fp16", "-mcpu=baseline+v8_2a+dotprod+fullfp16"),
        ("-march=armv8.4-a+sha3", "-mcpu=baseline+v8_4a+sha3"),
        ("-march=armv8.6-a+i8mm+nosve", "-mcpu=baseline+v8_6a+i8mm-sve"),
        ("-march=armv9-a+sve2-bitperm", "-mcpu=baseline+v9a+sve2_bitperm"),
        ("-mcpu=cortex-a72+crypto", "-mcpu=cortex_a72+crypto"),
        ("-mcpu=generic+crc -mtune=cortex-a53", "-mcpu=baseline+crc"),
        ("-mcpu=native", ""),
    ] {
        check_respelled(arm, arguments, expected);
    }
    // Rust's target has no NEON; zig's has.
    let least = "-mcpu=baseline-d32-neon";
    for (arguments, expected) in [
        ("", least),
        ("-march=armv7-a -mfpu=vfpv3-d16 -mfloat-abi=hard", least),
        ("-mfpu=neon", "-mcpu=baseline+neon"),
        ("-march=armv7-a -mfpu=neon-vfpv4 -mfloat-abi=hard", "-mcpu=baseline+neon+vfp4"),
        ("-march=armv7-a+simd", "-mcpu=baseline+neon"),
        (
            "-march=armv8-a+crc -mfpu=crypto-neon-fp-armv8",
            "-mcpu=baseline+v8a+crc+neon+fp_armv8+crypto",
        ),
        ("-mcpu=cortex-a7 -mthumb", "-mcpu=cortex_a7 -mthumb"),
    ] {
        check_respelled("armv7-unknown-linux-gnueabihf", arguments, expected);
    }
    for (triple, arguments, expected) in [
        ("riscv64gc-unknown-linux-gnu", "-march=rv64gc -mabi=lp64d", ""),
        ("riscv64gc-unknown-linux-gnu", "-march=rv64gcv_zba_zbb", "-mcpu=baseline+v+zba+zbb"),
        ("s390x-unknown-linux-gnu", "", "-mcpu=z10"),
        ("s390x-unknown-linux-gnu", "-march=z13 -mzarch -mvx", "-mcpu=z13 -mvx"),
        ("powerpc64le-unknown-linux-gnu", "-mcpu=power9 -mtune=power10", "-mcpu=pwr9"),
        ("i686-unknown-linux-gnu", "-march=i686 -m32 -msse2", "-msse2"),
        ("aarch64-apple-darwin", "-march=armv8-a+crc", "-mcpu=baseline+v8a+crc"),
    ] {
        check_respelled(triple, arguments, expected);
    }
}

#[test]
fn what_code_is_compiled_for_is_not_asked_of_zigs_runtime() {
    check(
        "x86_64-unknown-linux-gnu-cc",
        &["-march=haswell", "a.o"],
        str!["cc -target x86_64-linux-gnu.2.17 -O2 -fno-sanitize=all a.o"],
    );
    check(
        "x86_64-unknown-linux-gnu-cc",
        &["-march=haswell", "probe.c"],
        str!["cc -target x86_64-linux-gnu.2.17 -O2 -fno-sanitize=all -mcpu=haswell probe.c"],
    );
}

#[test]
fn other_options_of_compilers() {
    let gnu = "x86_64-unknown-linux-gnu";
    check_respelled(gnu, "-fno-pic -Wp,-D_FORTIFY_SOURCE=2", "-D_FORTIFY_SOURCE=2");
    check_respelled(gnu, "-ftls-model=initial-exec", "-ftls-model=initial-exec");
    // Its loader has no room for them.
    check_respelled("x86_64-unknown-linux-musl", "-ftls-model=initial-exec", "");
}

#[test]
fn the_linker_is_told_what_it_knows() {
    for (arguments, expected) in [
        ("-Wl,--exclude-libs,ALL", ""),
        ("-Wl,--exclude-libs=ALL -Wl,-z,now", "-Wl,-z,now"),
        ("-Wl,--exclude-libs -Wl,ALL -Wl,--as-needed", "-Wl,--as-needed"),
        ("-Xlinker --exclude-libs -Xlinker ALL -Xlinker --gc-sections", "-Wl,--gc-sections"),
        ("-Wl,-z,text,-z,relro,-z,separate-code", "-Wl,-z,relro"),
        ("-Wl,-z -Wl,nodelete", "-Wl,-z,nodelete"),
        ("-Wl,--warn-common,-Bsymbolic-functions,--icf=all", "-Wl,-Bsymbolic"),
        ("-Wl,--undefined=f,-h,lib.so", "-Wl,-u,f,-soname,lib.so"),
        (
            "-Wl,--version-script=/t/list -Wl,-rpath,$ORIGIN",
            "-Wl,--version-script=/t/list -Wl,-rpath,$ORIGIN",
        ),
    ] {
        check_respelled("x86_64-unknown-linux-gnu", arguments, expected);
    }
    // Other formats have linkers with other words.
    let windows = "x86_64-pc-windows-gnullvm";
    check_respelled(windows, "-Wl,--icf=all -Xlinker -s", "-Wl,--icf=all -Xlinker -s");
}

/// Of an ELF library the first object is ours, made once.
#[test]
fn a_library_takes_back_what_it_registers() {
    let name = "x86_64-unknown-linux-musl-cc";
    let folder = folder(name);
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let link = |arguments: &[&str]| {
        let mut command = Command::new("/bin/sh");
        command.arg(folder.path().join(name)).args(arguments);
        command.env("PATH", &path).env("ZIG_GLOBAL_CACHE_DIR", folder.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap().replace('\n', " ");
        text.replace(&*folder.path().to_string_lossy(), "[FOLDER]")
    };
    let object = "[FOLDER]/cache/o/keyway-x86_64-linux-musl/unload.o";
    let linked =
        format!("cc -target x86_64-linux-musl -O2 {object} -fno-sanitize=all -shared -o a.so a.o ");
    let first = link(&["-shared", "-o", "a.so", "a.o"]);
    let (compiled, then) = first.split_at(first.find("cc -target x86_64-linux-musl -O2").unwrap());
    assert!(compiled.contains(" -c -o [FOLDER]/cache/unload-"), "{first}");
    assert!(compiled.ends_with(" /usr/local/lib/keyway/unload.c "), "{first}");
    assert_eq!(then, linked);
    assert_eq!(link(&["-shared", "-o", "a.so", "a.o"]), linked);
    for without in [&["-o", "a", "a.o"][..], &["-shared", "-nostdlib", "a.o"], &["-c", "a.c"]] {
        assert!(!link(without).contains("unload.o"), "{without:?}");
    }
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
    command.args(["-shared", "-lmsvcrt", "--unwindlib=none", "-Wl,-Bdynamic", "-lkey", "-o"]);
    command.arg(&dll);
    let output = command.env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains("msvcrt") && !said.contains("unwindlib"), "{said}");
    assert!(!said.contains("dynamic") && said.contains("-lkey"), "it may be no DLL: {said}");
    bytes[0x88..0x8c].fill(0);
    assert_eq!(fs::read(&dll).unwrap(), bytes);
}

#[test]
fn a_resource_compiler_knows_its_processor_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/files");
    let wrapper = fs::canonicalize(files.join("keyway-windres")).unwrap();
    let real = folder.path().join("llvm-windres-22");
    fs::write(&real, "#!/bin/sh\necho \"$*\"\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o755)).unwrap();
    let triple = "aarch64-pc-windows-gnullvm-windres";
    symlink(&wrapper, folder.path().join(triple)).unwrap();
    for name in ["aarch64-w64-mingw32-windres", "llvm-windres", "windres"] {
        symlink(triple, folder.path().join(name)).unwrap();
    }
    let call = |name: &str, arguments: &[&str]| {
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let mut command = Command::new("/bin/sh");
        command.arg(folder.path().join(name)).args(arguments).env("PATH", path);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    let preprocessor = "--preprocessor=aarch64-pc-windows-gnullvm-cc --preprocessor-arg=-E \
                        --preprocessor-arg=-xc --preprocessor-arg=-DRC_INVOKED";
    let own = "--target=aarch64-w64-mingw32 --codepage=1252";
    for name in [triple, "aarch64-w64-mingw32-windres", "llvm-windres", "windres"] {
        assert_eq!(
            call(name, &["a.rc", "a.o"]),
            format!("{preprocessor} {own} a.rc a.o"),
            "{name}"
        );
    }
    let text = "\u{feff}#pragma code_page( 65001 )\r\n1 ICON \"a.ico\"\r\n#pragma code_page(1252)";
    let file = folder.path().join("named.rc");
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    for input in [&[file, "a.o"][..], &["--input", file, "--output", "a.o"]] {
        assert!(call(triple, input).contains(" --codepage=65001 "), "{input:?}");
    }
    for said in [["-c", "65001"], ["--target", "pe-x86-64"]] {
        let line = call(triple, &said);
        assert!(line.ends_with(&said.join(" ")), "{line}");
        let is_said = |option: &str| line.matches(option).count();
        let (pages, targets) = (is_said("--codepage"), is_said("--target"));
        assert_eq!((pages, targets), if said[0] == "-c" { (0, 1) } else { (1, 1) }, "{line}");
    }
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
