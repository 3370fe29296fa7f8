//! Rejection by the first bytes alone.

use keyway_inspect::{Header, HeaderError};
use keyway_manifest::{ObjectFormat, Triple};
use snapbox::{assert_data_eq, str};

fn library(file: &str) -> Vec<u8> {
    let path = format!("{}/tests/libraries/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect(file)
}

fn mismatches(file: &str, target: &str) -> String {
    let bytes = library(file);
    let prefix = &bytes[..bytes.len().min(Header::PREFIX)];
    let target: Triple = target.parse().expect("a triple");
    let all = Header::read(prefix).expect(file).mismatches(&target);
    let lines = all.iter().map(|mismatch| {
        format!("{}: {}, expected {}\n", mismatch.part, mismatch.found, mismatch.expected)
    });
    lines.collect()
}

#[test]
fn fits_its_own_target() {
    for (file, target) in [
        ("elf-x86_64.so", "x86_64-unknown-linux-gnu"),
        ("elf-x86_64.so", "x86_64-unknown-netbsd"),
        ("elf-musl.so", "x86_64-unknown-linux-musl"),
        ("elf-i686.so", "i686-unknown-linux-gnu"),
        ("elf-aarch64.so", "aarch64-unknown-linux-gnu"),
        ("elf-s390x.so", "s390x-unknown-linux-gnu"),
        ("pe-x86_64.dll", "x86_64-pc-windows-gnu"),
        ("pe-i686.dll", "i686-pc-windows-gnu"),
        ("macho-aarch64.dylib", "aarch64-apple-darwin"),
        ("macho-x86_64.dylib", "x86_64-apple-darwin"),
    ] {
        assert_eq!(mismatches(file, target), "", "{file} on {target}");
    }
}

#[test]
fn says_all_that_differs() {
    assert_data_eq!(
        mismatches("pe-i686.dll", "s390x-unknown-linux-gnu"),
        str![[r#"
format: pe, expected elf
machine: x86, expected s390
class: 32-bit, expected 64-bit
endian: little-endian, expected big-endian
os: windows, expected linux

"#]]
    );
    assert_data_eq!(
        mismatches("elf-x86_64.so", "aarch64-apple-darwin"),
        str![[r#"
format: elf, expected macho
machine: x86_64, expected aarch64

"#]]
    );
    assert_data_eq!(
        mismatches("elf-x86_64.so", "z80-unknown-none"),
        str![[r#"
machine: x86_64, expected an architecture that is known here

"#]]
    );
}

#[test]
fn tells_programs_and_systems_apart() {
    let mut bytes = library("elf-x86_64.so");
    bytes[7] = 9; // EI_OSABI
    bytes[16] = 2; // e_type
    bytes[18..20].copy_from_slice(&[0x34, 0x12]); // e_machine
    let target: Triple = "x86_64-unknown-linux-gnu".parse().expect("a triple");
    let all = Header::read(&bytes).expect("a header").mismatches(&target);
    assert_data_eq!(
        format!("{all:#?}"),
        str![[r#"
[
    Mismatch {
        part: "machine",
        found: "machine 0x1234",
        expected: "x86_64",
    },
    Mismatch {
        part: "kind",
        found: "executable",
        expected: "dynamic library",
    },
    Mismatch {
        part: "os",
        found: "freebsd",
        expected: "linux",
    },
]
"#]]
    );
}

#[test]
fn says_what_a_wrong_file_is() {
    let cases: [&[u8]; 10] = [
        b"",
        b"#!/bin/sh\nexit 0\n",
        b"!<arch>\n/ ",
        b"\0asm\x01\0\0\0",
        b"BC\xc0\xde",
        b"PK\x03\x04",
        b"\x1f\x8b\x08",
        b"\xca\xfe\xba\xbe\0\0\0\x34",
        b"{\"format\": 1}",
        b"\x80\x81\x82",
    ];
    let messages = cases.map(|bytes| Header::read(bytes).expect_err("no object").to_string());
    assert_data_eq!(
        messages.join("\n"),
        str![[r#"
the file is neither ELF, PE nor Mach-O: it begins like an empty file
the file is neither ELF, PE nor Mach-O: it begins like a script
the file is neither ELF, PE nor Mach-O: it begins like a static library
the file is neither ELF, PE nor Mach-O: it begins like WebAssembly
the file is neither ELF, PE nor Mach-O: it begins like LLVM bitcode
the file is neither ELF, PE nor Mach-O: it begins like a zip archive
the file is neither ELF, PE nor Mach-O: it begins like a gzip archive
the file is neither ELF, PE nor Mach-O: it begins like a Java class
the file is neither ELF, PE nor Mach-O: it begins like text
the file is neither ELF, PE nor Mach-O: it begins like none of the formats known here
"#]]
    );
    assert_eq!(Header::read(b"\xca\xfe\xba\xbe\0\0\0\x02"), Err(HeaderError::Universal));
}

#[test]
fn says_what_is_damaged() {
    let elf = library("elf-x86_64.so");
    let with = |index: usize, byte: u8, file: &str| {
        let mut bytes = library(file);
        bytes[index] = byte;
        bytes
    };
    let signature = library("pe-x86_64.dll").windows(4).position(|four| four == b"PE\0\0");
    let signature = signature.expect("a signature");
    let cases = [
        elf[..20].to_vec(),
        elf[..63].to_vec(),
        with(4, 3, "elf-x86_64.so"),
        with(5, 0, "elf-x86_64.so"),
        with(6, 0, "elf-x86_64.so"),
        with(6, 2, "elf-s390x.so"),
        with(20, 2, "elf-x86_64.so"),
        with(20, 1, "elf-s390x.so"),
        with(23, 0, "elf-s390x.so"),
        b"MZ".to_vec(),
        with(0x3e, 0xff, "pe-x86_64.dll"),
        with(signature, b'N', "pe-x86_64.dll"),
        with(signature + 24, 0x0c, "pe-x86_64.dll"),
        library("pe-x86_64.dll")[..signature + 25].to_vec(),
        library("macho-x86_64.dylib")[..31].to_vec(),
    ];
    let messages = cases.map(|bytes| Header::read(&bytes).expect_err("damaged").to_string());
    assert_data_eq!(
        messages.join("\n"),
        str![[r#"
the elf header is damaged: it ends early
the elf header is damaged: it ends early
the elf header is damaged: its class is neither 32 nor 64 bits
the elf header is damaged: its byte order is neither little nor big
the elf header is damaged: its version is not 1
the elf header is damaged: its version is not 1
the elf header is damaged: its version is not 1
the elf header is damaged: its version is not 1
the elf header is damaged: its version is not 1
the pe header is damaged: it ends early
the pe header is damaged: it says that the PE header is far away
the pe header is damaged: there is no PE signature, so it is a DOS program or cut
the pe header is damaged: its optional header is neither PE32 nor PE32+
the pe header is damaged: it ends early
the macho header is damaged: it ends early
"#]]
    );
}

/// A header that is cut anywhere is an error, never a panic, and never a header that fits.
#[test]
fn survives_every_cut() {
    for (file, least) in [("elf-i686.so", 52), ("pe-x86_64.dll", 146), ("macho-aarch64.dylib", 32)]
    {
        let bytes = library(file);
        for length in 0..200 {
            let header = Header::read(&bytes[..length]);
            assert_eq!(header.is_ok(), length >= least, "{file} cut at {length}: {header:?}");
        }
    }
    assert_eq!(Header::read(&library("elf-i686.so")).map(|h| h.format), Ok(ObjectFormat::Elf));
}
