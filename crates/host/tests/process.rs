//! What a library brings into the process: symbols, mappings, search paths.

use std::fs;
use std::path::Path;

use keyway_host::{Check, Code, Expectation, ExportPolicy, Gate, ImportPolicy};
use snapbox::{assert_data_eq, str};
use tempfile::TempDir;

#[path = "refusals/c_library.rs"]
mod c_library;

/// Everything that is refused, a line each.
fn check(path: &Path, expectation: Expectation) -> String {
    let refusals = Gate::new(expectation).examine(path).refusals().to_vec();
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn codes(path: &Path, expectation: Expectation) -> Vec<Code> {
    Gate::new(expectation).examine(path).refusals().iter().map(|refusal| refusal.code).collect()
}

#[test]
fn symbols_of_no_library() {
    let codes = |source: &str, imports: &[&str]| {
        let imports = imports.iter().map(|&name| name.to_owned()).chain(["libc.so.6".to_owned()]);
        let bytes = c_library::build(source, &["-fPIC"]);
        let folder = TempDir::new().expect("a folder");
        let library = folder.path().join("library.so");
        fs::write(&library, bytes).expect("the library is written");
        let imports = ImportPolicy::Listed(imports.collect());
        let found = check(&library, Expectation { imports, ..Expectation::this_process() });
        found.lines().filter(|line| line.contains(" imports: ")).collect::<Vec<_>>().join("\n")
    };
    let module = "int PyLong(void), PyList(void); int answer(void) { return PyLong() + PyList(); }";
    assert_data_eq!(
        codes(module, &[]),
        str![
            "KW621 imports: it needs symbols that none of its libraries offers: found `PyList`, `PyLong`, expected no symbol without a library"
        ]
    );
    assert_data_eq!(
        codes(module, &["PyLo*"]),
        str![
            "KW621 imports: it needs symbols that none of its libraries offers: found `PyList`, expected no symbol without a library"
        ]
    );
    assert_eq!(codes(module, &["Py*"]), "");
    assert_ne!(codes(module, &["py*"]), "", "C knows upper case from lower case");
    // Without these a library works too.
    let weak =
        "__attribute__((weak)) int PyLong(void); int answer(void) { return PyLong ? 1 : 0; }";
    assert_eq!(codes(weak, &[]), "");
}

/// Code that was built with a sanitizer calls its runtime, which is a part of the program: a host of
/// the same kind has it.
#[test]
fn symbols_of_a_sanitizer() {
    let source = "int __asan_init(void), __sanitizer_cov_trace_pc(void), __tsan_init(void);
int answer(void) { return __asan_init() + __sanitizer_cov_trace_pc() + __tsan_init(); }";
    let folder = TempDir::new().expect("a folder");
    let library = folder.path().join("library.so");
    fs::write(&library, c_library::build(source, &["-fPIC"])).expect("the library is written");
    let unbound = |sanitizer: &str| {
        let mut expectation = Expectation::this_process();
        sanitizer.clone_into(&mut expectation.facts.sanitizer);
        let found = check(&library, expectation);
        let line = found.lines().find(|line| line.starts_with("KW621")).unwrap_or_default();
        line.split('`').skip(1).step_by(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(unbound(""), "__asan_init __sanitizer_cov_trace_pc __tsan_init");
    assert_eq!(unbound("address"), "__tsan_init");
    assert_eq!(unbound("thread"), "__asan_init");
    assert_eq!(unbound("address,thread"), "");
    assert_eq!(unbound("cfi"), "__asan_init __sanitizer_cov_trace_pc __tsan_init");
}

#[test]
fn exports() {
    let with = |exports| Expectation { exports, ..Expectation::this_process() };
    let contract =
        |more: &[&str]| ExportPolicy::Contract(more.iter().map(|&name| name.to_owned()).collect());
    // A fixture whose stamp has another name.
    let path = "../inspect/tests/libraries/elf-x86_64.so";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let folder = TempDir::new().expect("a folder");
    let library = folder.path().join("library.so");
    fs::copy(path, &library).expect("it is copied");
    let unexpected = |exports| {
        let found = check(&library, with(exports));
        found.lines().find(|line| line.starts_with("KW622")).unwrap_or_default().to_owned()
    };
    assert_data_eq!(
        unexpected(contract(&[])),
        str![
            "KW622 imports: it exports more than a plugin has to: found `keyway_stamp_v1`, expected its stamp and its entry"
        ]
    );
    assert_eq!(unexpected(contract(&["keyway_stamp_*"])), "");
    assert_eq!(unexpected(ExportPolicy::Any), "");
}

/// The codes of the last check on a library that was built with these flags.
fn mapping_codes(source: &str, flags: &[&str]) -> Vec<Code> {
    let bytes = c_library::build(source, flags);
    let folder = TempDir::new().expect("a folder");
    let library = folder.path().join("library.so");
    fs::write(&library, bytes).expect("the library is written");
    let mut codes =
        codes(&library, Expectation { imports: ImportPolicy::Any, ..Expectation::this_process() });
    codes.retain(|code| code.check() == Check::Imports);
    codes
}

#[test]
fn what_a_library_does_to_the_process() {
    const CODE: &str = "int answer(void) { return 42; }";
    assert_eq!(mapping_codes(CODE, &["-fPIC"]), []);
    assert_eq!(mapping_codes(CODE, &["-fPIC", "-Wl,-rpath,/opt"]), [Code::RunPath]);
    assert_eq!(mapping_codes(CODE, &["-fPIC", "-z", "execstack"]), [Code::ExecutableStack]);
    assert_eq!(mapping_codes(CODE, &["-fPIC", "-nostdlib", "-Wl,-N"]), [Code::WritableCode]);
    let text = "int answer; __asm__(\".text\\n.quad answer\\n\");";
    assert_eq!(mapping_codes(text, &["-fPIC", "-Wl,-z,notext"]), [Code::TextRelocations]);
}
