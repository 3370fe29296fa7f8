//! Packages and wheels that attack, or are damaged.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use keyway_xtask::image::member::{Kind, Member};
use keyway_xtask::image::wheel;
use snapbox::str;
use tar::EntryType;

use crate::fixture::{Item, Workbench, file, folder, hard_link, package, symlink, tar, xz};

/// What opening a package of these entries ends with.
#[track_caller]
fn check(items: &[Item], expected: impl snapbox::IntoData) {
    let opened = Workbench::new().open(&package("data.tar", &tar(items)));
    snapbox::assert_data_eq!(opened.unwrap_err().to_string(), expected);
}

#[track_caller]
fn check_bytes(bytes: &[u8], expected: impl snapbox::IntoData) {
    let error = Workbench::new().open(bytes).unwrap_err();
    let text = match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    snapbox::assert_data_eq!(text, expected);
}

fn paths(member: &Member) -> Vec<&str> {
    member.entries.iter().map(|entry| entry.path.as_str()).collect()
}

#[test]
fn refuses_paths_that_leave_the_root() {
    check(&[file("../evil", "")], str!["`p 1`: entry `../evil` has `..` in its path"]);
    check(
        &[file("./usr/../../evil", "")],
        str!["`p 1`: entry `./usr/../../evil` has `..` in its path"],
    );
    check(&[file("/etc/passwd", "")], str!["`p 1`: entry `/etc/passwd` has an absolute path"]);
    check(&[folder("usr/..")], str!["`p 1`: entry `usr/..` has `..` in its path"]);
}

#[test]
fn refuses_what_is_no_file_folder_or_link() {
    let special = |kind| Item { kind, ..file("dev/x", "") };
    check(
        &[special(EntryType::Char)],
        str!["`p 1`: entry `dev/x` is of tar type `3`, which no layer can hold"],
    );
    check(
        &[special(EntryType::Block)],
        str!["`p 1`: entry `dev/x` is of tar type `4`, which no layer can hold"],
    );
    check(
        &[special(EntryType::Fifo)],
        str!["`p 1`: entry `dev/x` is of tar type `6`, which no layer can hold"],
    );
}

#[test]
fn refuses_a_sparse_file_whatever_size_it_claims() {
    let mut bytes = tar(&[file("x", "abc")]);
    bytes[156] = b'S';
    // The real size, in octal at its place in a GNU header: 8 exabytes.
    bytes[483..495].copy_from_slice(b"777777777777");
    bytes[257..265].copy_from_slice(b"ustar  \0");
    checksum(&mut bytes);
    let error = Workbench::new().open(&package("data.tar", &bytes)).unwrap_err().to_string();
    assert!(error.contains("sparse") || error.contains("could not read"), "{error}");
}

fn checksum(tar: &mut [u8]) {
    let header = tar::Header::from_byte_slice(&tar[..512]).clone();
    let mut header = header;
    header.set_cksum();
    tar[..512].copy_from_slice(header.as_bytes());
}

#[test]
fn refuses_names_that_are_no_text() {
    let mut bytes = tar(&[file("xy", "")]);
    bytes[1] = 0xff;
    checksum(&mut bytes);
    check_bytes(&package("data.tar", &bytes), str!["`p 1`: entry `x�` has a name that is no text"]);
    check(&[symlink("x", "")], str!["`p 1`: entry `x` has a name that is no text"]);
}

#[test]
fn refuses_the_same_path_twice() {
    check(&[file("a", "1"), file("./a", "2")], str!["`p 1`: entry `a` is there twice"]);
    check(&[folder("a"), file("a", "2")], str!["`p 1`: entry `a` is there twice"]);
    check(&[symlink("a", "b"), symlink("a", "c")], str!["`p 1`: entry `a` is there twice"]);
}

#[test]
fn refuses_hard_links_to_what_is_not_in_the_archive() {
    check(
        &[hard_link("a", "../../etc/shadow")],
        str![
            "`p 1`: entry `a` is a hard link to `../../etc/shadow`, which is no file before it in the same archive"
        ],
    );
    check(
        &[hard_link("a", "/etc/shadow")],
        str![
            "`p 1`: entry `a` is a hard link to `/etc/shadow`, which is no file before it in the same archive"
        ],
    );
    check(
        &[symlink("b", "/etc/shadow"), hard_link("a", "b")],
        str![
            "`p 1`: entry `a` is a hard link to `b`, which is no file before it in the same archive"
        ],
    );
}

#[test]
fn drops_setuid_and_setgid() {
    let items = [Item { mode: 0o6755, ..file("a", "") }, Item { mode: 0o1777, ..folder("tmp") }];
    let member = Workbench::new().open(&package("data.tar", &tar(&items))).unwrap();
    let modes: Vec<u32> = member.entries.iter().map(|entry| entry.mode).collect();
    assert_eq!(modes, [0o755, 0o1777]);
}

#[test]
fn refuses_archives_that_are_cut() {
    let whole = tar(&[file("a", &"x".repeat(2000))]);
    check_bytes(
        &package("data.tar", &whole[..1024]),
        str!["`p 1`: entry `a` is cut off: its 2000 bytes end after the archive does"],
    );
    check_bytes(
        &package("data.tar", &whole[..100]),
        str!["could not read `p 1` as a tar archive: failed to read entire block"],
    );
    let compressed = xz(&whole);
    let cut = &compressed[..compressed.len() - 20];
    assert!(Workbench::new().open(&package("data.tar.xz", cut)).is_err());
    let bytes = package("data.tar", &whole);
    for end in [0, 4, 8, 60, 70, 140, bytes.len() - 2100] {
        assert!(Workbench::new().open(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn refuses_what_is_no_package() {
    check_bytes(
        b"",
        str!["could not read `p 1` as a Debian package: failed to read global header"],
    );
    check_bytes(
        &package("data.txt", b""),
        str!["could not read `p 1` as a Debian package: it has no `data.tar`"],
    );
    check_bytes(
        &package("data.tar.lz9", b""),
        str![
            "could not read `p 1` as a Debian package: `data.tar.lz9` is compressed in a way not known here"
        ],
    );
    let mut archive = ar::Builder::new(Vec::new());
    archive.append(&ar::Header::new(b"control.tar".to_vec(), 0), std::io::empty()).unwrap();
    check_bytes(
        &archive.into_inner().unwrap(),
        str![
            "could not read `p 1` as a Debian package: its first member is not `debian-binary` of version 2"
        ],
    );
}

#[test]
fn refuses_what_unpacks_to_too_much() {
    let bomb = xz(&vec![0; 2 << 20]);
    check_bytes(&package("data.tar.xz", &bomb), str!["`p 1` unpacks to more than 1048576 bytes"]);
}

#[test]
fn never_panics_whatever_the_bytes_are() {
    let items =
        [folder("usr"), file("usr/a", "content"), symlink("usr/l", "a"), hard_link("b", "usr/a")];
    let bench = Workbench::new();
    for whole in [package("data.tar", &tar(&items)), package("data.tar.xz", &xz(&tar(&items)))] {
        for at in (0..whole.len()).step_by(23) {
            for value in [b'7', 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                if let Ok(member) = bench.open(&bytes) {
                    let plain = |path: &str| !path.starts_with('/') && !path.contains("..");
                    assert!(paths(&member).into_iter().all(plain), "byte {at}");
                }
            }
        }
    }
}

#[test]
fn reads_every_compression_that_debian_uses() {
    let data = tar(&[folder("./"), folder("./usr/"), file("./usr/a", "content")]);
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(&data).unwrap();
    let zst = ruzstd::encoding::compress_to_vec(
        data.as_slice(),
        ruzstd::encoding::CompressionLevel::Fastest,
    );
    let forms = [
        ("data.tar", data.clone()),
        ("data.tar.gz", gz.finish().unwrap()),
        ("data.tar.xz", xz(&data)),
        ("data.tar.zst", zst),
    ];
    for (name, bytes) in forms {
        let mut member = Workbench::new().open(&package(name, &bytes)).unwrap();
        assert_eq!(paths(&member), ["usr", "usr/a"], "{name}");
        let Kind::File(content) = member.entries[1].kind else { panic!("{name}") };
        let mut out = Vec::new();
        member.content.copy(content, &mut out).unwrap();
        assert_eq!(out, b"content", "{name}");
    }
}

/// A wheel of these members, each with its Unix mode.
fn wheel_of(members: &[(&str, u32, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, mode, data) in members {
        let options = zip::write::SimpleFileOptions::default().unix_permissions(*mode);
        zip.start_file(*name, options).unwrap();
        zip.write_all(data.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn takes_one_folder_of_a_wheel() {
    let bench = Workbench::new();
    let bytes = wheel_of(&[
        ("zig/zig", 0o775, "program"),
        ("zig/lib/a.h", 0o666, "header"),
        ("zig-1.dist-info/RECORD", 0o644, ""),
    ]);
    let path = bench.put("a.whl", &bytes);
    let mut member = wheel::open(&path, "zig 1", "zig", "usr/lib/zig", 1 << 20).unwrap();
    let found: Vec<(&str, u32)> =
        member.entries.iter().map(|entry| (entry.path.as_str(), entry.mode)).collect();
    assert_eq!(found, [("usr/lib/zig/zig", 0o755), ("usr/lib/zig/lib/a.h", 0o644)]);
    let Kind::File(content) = member.entries[0].kind else { panic!("a file") };
    let mut out = Vec::new();
    member.content.copy(content, &mut out).unwrap();
    assert_eq!(out, b"program");
}

#[test]
fn refuses_wheels_that_attack_or_are_none() {
    let bench = Workbench::new();
    let check = |bytes: &[u8], expected: &str| {
        let error =
            wheel::open(&bench.put("a.whl", bytes), "zig 1", "zig", "usr", 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(
        &wheel_of(&[("zig/../../evil", 0o644, "")]),
        "`zig 1`: entry `zig/../../evil` has `..` in its path",
    );
    check(&wheel_of(&[("/evil", 0o644, "")]), "`zig 1`: entry `/evil` has an absolute path");
    check(b"no zip", "could not read `zig 1` as a wheel");
    let whole = wheel_of(&[("zig/zig", 0o755, "program")]);
    check(&whole[..whole.len() - 30], "could not read `zig 1` as a wheel");
    let mut linked = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    linked.add_symlink("zig/link", "/etc", zip::write::SimpleFileOptions::default()).unwrap();
    check(
        &linked.finish().unwrap().into_inner(),
        "`zig 1`: entry `zig/link` is of mode `120000`, which no layer can hold",
    );
}
