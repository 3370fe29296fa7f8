//! Facts that the libraries in `libraries/` don't show: protections that their compiler left out, and
//! the odder ways to export and to import.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use keyway_inspect::{ControlFlow, Details, Facts, Inspection, inspect};
use tempfile::TempDir;

fn library(file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/libraries").join(file);
    fs::read(path).expect(file)
}

fn facts(bytes: &[u8]) -> Facts {
    let Inspection { facts, violations } = inspect(bytes).expect("a header");
    assert_eq!(violations, []);
    facts
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("four bytes"))
}

/// A library of the machine's C compiler.
fn build_c(source: &str, flags: &[&str]) -> Vec<u8> {
    let folder = TempDir::new().expect("a folder");
    let (input, output) = (folder.path().join("library.c"), folder.path().join("library.so"));
    fs::write(&input, source).expect("the source is written");
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-nostdlib", "-o"]).args([&output, &input]).args(flags);
    let run = command.output().expect("a C compiler");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    fs::read(output).expect("the library")
}

#[cfg(target_arch = "x86_64")]
#[test]
fn elf_control_flow() {
    let found =
        |flag: &str| match facts(&build_c("int answer(void) { return 42; }", &[flag])).details {
            Details::Elf(elf) => elf.control_flow,
            other => panic!("{other:?}"),
        };
    let (ibt, shstk) = (ControlFlow::Ibt, ControlFlow::Shstk);
    assert_eq!(found("-fcf-protection=full"), BTreeSet::from([ibt, shstk]));
    assert_eq!(found("-fcf-protection=branch"), BTreeSet::from([ibt]));
    assert_eq!(found("-fcf-protection=return"), BTreeSet::from([shstk]));
    assert_eq!(found("-fcf-protection=none"), BTreeSet::new());
}

#[test]
fn elf_life_in_a_process() {
    let found = |source: &str| match facts(&build_c(source, &[])).details {
        Details::Elf(elf) => (elf.constructors, elf.destructors, elf.static_tls),
        other => panic!("{other:?}"),
    };
    assert_eq!(found("int answer(void) { return 42; }"), (false, false, false));
    let both =
        "__attribute__((constructor)) void f(void) {} __attribute__((destructor)) void g(void) {}";
    assert_eq!(found(both), (true, true, false));
    let local = |model: &str| {
        let attribute = format!("__attribute__((tls_model(\"{model}\")))");
        found(&format!("{attribute} _Thread_local int n; int *f(void) {{ return &n; }}"))
    };
    assert_eq!(local("global-dynamic"), (false, false, false));
    assert_eq!(local("initial-exec"), (false, false, true));
}

#[test]
fn elf_unbound_symbols() {
    let unbound = |source: &str, flags: &[&str]| facts(&build_c(source, flags)).unbound;
    let strong = "int other(void); int answer(void) { return other(); }";
    assert_eq!(unbound(strong, &[]), BTreeSet::from(["other".to_owned()]));
    // glibc gives each of its symbols a version, so this one is not from there.
    let two = "int puts(const char *); int other(void); int answer(void) { return other() + puts(\"\"); }";
    assert_eq!(unbound(two, &["-lc"]), BTreeSet::from(["other".to_owned()]));
    // A library without versions may have it.
    let folder = TempDir::new().expect("a folder");
    let plain = folder.path().join("libplain.so");
    fs::write(&plain, build_c("int unrelated(void) { return 1; }", &[])).expect("it is written");
    let flags = ["-Wl,--no-as-needed", plain.to_str().expect("UTF-8")];
    assert_eq!(unbound(strong, &flags), BTreeSet::new());
    let weak = "__attribute__((weak)) int other(void); int answer(void) { return other ? 1 : 0; }";
    assert_eq!(unbound(weak, &[]), BTreeSet::new());
}

/// The debug directory and the entry of `CET_COMPAT`, written over the stamp.
#[test]
fn pe_shadow_stack() {
    let mut bytes = library("pe-x86_64.dll");
    let find = |bytes: &[u8], what: &[u8]| {
        bytes.windows(what.len()).position(|window| window == what).expect("the anchor")
    };
    let section = find(&bytes, b".keyway\0");
    let (address, offset) = (number(&bytes, section + 12), number(&bytes, section + 20) as usize);
    // The data directories begin 136 bytes after the signature; debug is the seventh.
    let directory = find(&bytes, b"PE\0\0") + 136 + 6 * 8;
    put(&mut bytes, directory, address);
    put(&mut bytes, directory + 4, 28);
    bytes[offset..offset + 32].fill(0);
    put(&mut bytes, offset + 12, 20); // IMAGE_DEBUG_TYPE_EX_DLLCHARACTERISTICS
    put(&mut bytes, offset + 16, 4);
    put(&mut bytes, offset + 20, address + 28);
    let shadow_stack = |bytes: &[u8]| match facts(bytes).details {
        Details::Pe(pe) => pe.shadow_stack,
        other => panic!("{other:?}"),
    };
    assert!(!shadow_stack(&bytes), "the flag is not set yet");
    put(&mut bytes, offset + 28, 1); // IMAGE_DLLCHARACTERISTICS_EX_CET_COMPAT
    assert!(shadow_stack(&bytes));
    put(&mut bytes, offset + 20, 0x00ff_ffff);
    assert!(!shadow_stack(&bytes), "what it names is not there");
}

/// A function without a name is offered by its number.
#[test]
fn pe_exports_by_number() {
    let mut bytes = library("pe-x86_64.dll");
    let names = facts(&bytes).exports;
    assert_eq!(names.len(), 2);
    let signature = bytes.windows(4).position(|four| four == b"PE\0\0").expect("a signature");
    // The export directory lies in `.rdata`; 24 bytes into it, the number of names.
    let section = bytes.windows(7).position(|name| name == b".rdata\0").expect("a section");
    let directory = number(&bytes, signature + 136) - number(&bytes, section + 12)
        + number(&bytes, section + 20);
    put(&mut bytes, directory as usize + 24, 1);
    let base = number(&bytes, directory as usize + 16);
    let exports = facts(&bytes).exports;
    let numbers: Vec<_> = exports.iter().filter(|name| name.starts_with('#')).collect();
    let expected = [format!("#{base}"), format!("#{}", base + 1)];
    assert_eq!((exports.len(), numbers.len()), (2, 1), "{exports:?}");
    assert!(expected.contains(numbers[0]), "{exports:?}");
}

/// The loader reads the trie, not the symbol table.
#[test]
fn macho_exports_of_the_trie() {
    let mut bytes = library("macho-x86_64.dylib");
    let mut at = 32;
    // LC_DYLD_INFO_ONLY
    while number(&bytes, at) != 0x8000_0022 && at < 4096 {
        at += number(&bytes, at + 4) as usize;
    }
    let before = facts(&bytes).exports;
    // A root with one child, `_late`, which is exported, and has no children.
    let trie = [0, 1, b'_', b'l', b'a', b't', b'e', 0, 9, 2, 0, 0, 0];
    put(&mut bytes, at + 40, 0);
    let start = u32::try_from(bytes.len()).expect("a small file");
    bytes.extend(trie);
    put(&mut bytes, at + 40, start);
    put(&mut bytes, at + 44, u32::try_from(trie.len()).expect("a small table"));
    let added: Vec<_> = facts(&bytes).exports.difference(&before).cloned().collect();
    assert_eq!(added, ["_late"]);

    // A node that is its own child: the budget ends the walk.
    let end = bytes.len();
    bytes[end - trie.len()..].copy_from_slice(&[0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let violations = inspect(&bytes).expect("a header").violations;
    let said = violations.iter().map(ToString::to_string).find(|said| said.contains("exports"));
    let expected =
        "the table of exports is malformed: its names are 4 times as long as the whole file";
    assert_eq!(said.as_deref(), Some(expected));
}
