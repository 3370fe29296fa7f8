//! Libraries that a host can't unload without harm, and those that musl can't load.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::fs;

use keyway_host::{Code, Expectation, Gate};
use snapbox::{assert_data_eq, str};
use tempfile::TempDir;

#[path = "refusals/c_library.rs"]
mod c_library;

/// What the gate says of a C library's life in a process, a line each.
fn check(source: &str, flags: &[&str]) -> String {
    let folder = TempDir::new().expect("a folder");
    let library = folder.path().join("library.so");
    fs::write(&library, c_library::build(source, flags)).expect("it is written");
    let rejection =
        Gate::new(Expectation::this_process()).check(&library).expect_err("no manifest");
    let ours = |code| matches!(code, Code::LeftRegistered | Code::StaticTls);
    let lines = rejection.refusals.iter().filter(|refusal| ours(refusal.code));
    lines.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

const REGISTERS: &str = "int __cxa_atexit(void (*)(void *), void *, void *);
int register_it(void *library) { return __cxa_atexit(0, 0, library); }
";

#[test]
fn what_is_registered_is_taken_back() {
    assert_eq!(check("#include <stdlib.h>\nint f(void) { return atexit(0); }", &["-fPIC"]), "");
    assert_eq!(check("int f(void) { return 1; }", &["-nostartfiles"]), "");
    assert_data_eq!(
        check(REGISTERS, &["-fPIC", "-nostartfiles"]),
        str![
            "KW623 imports: it registers functions that are still called when it is gone: found `__cxa_atexit`, expected a call of `__cxa_finalize` when it is unloaded, which takes back all of it"
        ]
    );
    // It is never gone, or runs in a process that unloads nothing.
    assert_eq!(check(REGISTERS, &["-fPIC", "-nostartfiles", "-Wl,-z,nodelete"]), "");
    assert_eq!(check(REGISTERS, &musl(&TempDir::new().expect("a folder"))), "");
    // It could be taken back, but nothing does when it is unloaded.
    let unused = "void __cxa_finalize(void *); void give_up(void *of) { __cxa_finalize(of); }";
    let code = |text: String| text.split(' ').next().map(str::to_owned);
    let both = [REGISTERS, unused].concat();
    assert_eq!(code(check(&both, &["-fPIC", "-nostartfiles"])).as_deref(), Some("KW623"));
    let used = "__attribute__((destructor)) static void end(void) { give_up(0); }";
    assert_eq!(check(&[&both, used].concat(), &["-fPIC", "-nostartfiles"]), "");
}

/// glibc's function for old programs does not know which library called it.
#[cfg(target_arch = "x86_64")]
#[test]
fn what_has_no_name_is_not_taken_back() {
    let source = "int old(void (*)(void), void (*)(void), void (*)(void));
__asm__(\".symver old, pthread_atfork@GLIBC_2.2.5\");
int f(void) { return old(0, 0, 0); }";
    assert_data_eq!(
        check(source, &["-fPIC", "-lpthread"]),
        str![
            "KW623 imports: it registers functions that are still called when it is gone: found `pthread_atfork`, expected a call of `__cxa_finalize` when it is unloaded, which takes back all of it"
        ]
    );
}

#[test]
fn musl_has_no_room_for_static_thread_locals() {
    let folder = TempDir::new().expect("a folder");
    let of = |model: &str| {
        let source = format!(
            "__attribute__((tls_model(\"{model}\"))) static _Thread_local int n; int *f(void) {{ return &n; }}"
        );
        let flags = musl(&folder);
        (check(&source, &flags), check(&source, &["-fPIC"]))
    };
    let none = String::new();
    assert_eq!(of("global-dynamic"), (none.clone(), none.clone()));
    let (on_musl, on_glibc) = of("initial-exec");
    assert_eq!(on_glibc, none, "glibc keeps some room");
    assert_data_eq!(
        on_musl,
        str![
            "KW624 imports: its thread-local variables need a place that a running process can't give: found thread-local variables of the model `initial-exec`, expected none, since musl gives them a place only when a process starts"
        ]
    );
}

/// Flags for a library that says that it is for musl, since it needs a library of this name.
fn musl(folder: &TempDir) -> [&'static str; 6] {
    let libc = folder.path().join("libc.so");
    let bytes =
        c_library::build("int stub(void) { return 0; }", &["-nostdlib", "-Wl,-soname,libc.so"]);
    fs::write(&libc, bytes).expect("it is written");
    let libc = libc.to_str().expect("UTF-8").to_owned().leak();
    [
        "-fPIC",
        "-nostdlib",
        "-Wl,--no-as-needed",
        libc,
        "-Wl,--unresolved-symbols=ignore-all",
        "-Wl,-z,lazy",
    ]
}
