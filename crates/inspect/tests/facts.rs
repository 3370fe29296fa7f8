//! The facts of real libraries, one snapshot each.

use std::path::Path;

use keyway_inspect::{Facts, inspect};
use keyway_manifest::canonical;
use snapbox::{Data, assert_data_eq};

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/libraries"))
}

fn facts(file: &str) -> (Vec<u8>, Facts) {
    let bytes = std::fs::read(folder().join(file)).expect(file);
    let inspection = inspect(&bytes).expect(file);
    assert_eq!(inspection.violations, [], "{file}");
    (bytes, inspection.facts)
}

fn check(file: &str) {
    let (bytes, facts) = facts(file);
    let stamp = &bytes[facts.stamp.clone().expect("a stamp")];
    assert!(stamp.starts_with(b"a stamp of sixty-four bytes"), "{stamp:?}");
    let snapshot = folder().join(file).with_extension("json");
    let json = canonical::document(&facts).expect("JSON");
    assert_data_eq!(json, Data::read_from(&snapshot, None).raw());
}

#[test]
fn elf_x86_64() {
    check("elf-x86_64.so");
}

#[test]
fn elf_i686() {
    check("elf-i686.so");
}

#[test]
fn elf_aarch64() {
    check("elf-aarch64.so");
}

#[test]
fn elf_armv7() {
    check("elf-armv7.so");
}

/// Big-endian.
#[test]
fn elf_s390x() {
    check("elf-s390x.so");
}

#[test]
fn elf_musl() {
    check("elf-musl.so");
}

#[test]
fn pe_x86_64() {
    check("pe-x86_64.dll");
}

#[test]
fn pe_i686() {
    check("pe-i686.dll");
}

#[test]
fn macho_aarch64() {
    check("macho-aarch64.dylib");
}

#[test]
fn macho_x86_64() {
    check("macho-x86_64.dylib");
}
