//! Members merged into one tree: links, conflicts, filters, layers below.

use keyway_xtask::image::layer;
use keyway_xtask::image::member::{Kind, Member};
use keyway_xtask::image::recipe::Glob;
use keyway_xtask::image::tree::{Below, Filter, Tree, TreeError};
use snapbox::str;

use crate::fixture::{Item, Workbench, file, folder, hard_link, symlink};

const EPOCH: u64 = 1_600_000_000;

/// Members of these entries, called `a`, `b` and so on.
fn members(all: &[&[Item]]) -> Vec<Member> {
    let bench = Workbench::new();
    let names = ["a", "b", "c"];
    all.iter().zip(names).map(|(items, name)| bench.member(name, items)).collect()
}

fn merge(all: &[&[Item]]) -> Result<Tree, TreeError> {
    Tree::merge(&members(all), &Below::default(), Filter::default(), EPOCH)
}

#[track_caller]
fn check(all: &[&[Item]], paths: &[&str]) {
    let tree = merge(all).unwrap();
    let found: Vec<&str> = tree.nodes.keys().map(String::as_str).collect();
    assert_eq!(found, paths);
}

#[track_caller]
fn check_error(all: &[&[Item]], expected: impl snapbox::IntoData) {
    snapbox::assert_data_eq!(merge(all).unwrap_err().to_string(), expected);
}

fn globs(patterns: &[&str]) -> Vec<Glob> {
    patterns.iter().map(|pattern| pattern.parse().unwrap()).collect()
}

#[test]
fn resolves_folders_through_links_whichever_member_brings_them() {
    let links = [symlink("lib", "usr/lib"), symlink("usr/lib64", "lib")];
    let files = [folder("lib"), file("lib/x", "1"), file("usr/lib64/y", "2")];
    let expected = ["lib", "usr", "usr/lib", "usr/lib/x", "usr/lib/y", "usr/lib64"];
    check(&[&links, &files], &expected);
    check(&[&files, &links], &expected);
}

#[test]
fn resolves_links_that_are_absolute_or_climb_inside_the_image() {
    check(
        &[
            &[symlink("opt/x", "/usr/share/x"), symlink("var/run", "../run")],
            &[file("opt/x/f", ""), file("var/run/g", "")],
        ],
        &[
            "opt",
            "opt/x",
            "run",
            "run/g",
            "usr",
            "usr/share",
            "usr/share/x",
            "usr/share/x/f",
            "var",
            "var/run",
        ],
    );
}

#[test]
fn refuses_links_that_leave_the_image() {
    check_error(
        &[&[symlink("usr/lib/x", "../../../etc/shadow")]],
        str!["`usr/lib/x` of `a` leads out of the image by the link `../../../etc/shadow`"],
    );
    check_error(
        &[&[symlink("x", "/../etc/shadow")]],
        str!["`x` of `a` leads out of the image by the link `/../etc/shadow`"],
    );
}

#[test]
fn refuses_links_in_a_circle() {
    check_error(
        &[&[symlink("x", "y"), symlink("y", "x"), file("x/f", "")]],
        str!["`x/f` of `a` passes through more than 40 links"],
    );
}

#[test]
fn refuses_a_path_through_a_file() {
    check_error(
        &[&[file("x", "")], &[file("x/f", "")]],
        str!["`x/f` of `b` passes through `x`, which is a file"],
    );
    check_error(
        &[&[file("x/f", "")], &[file("x", "")]],
        str!["`x/f` of `a` passes through `x`, which is a file"],
    );
}

#[test]
fn refuses_the_same_file_of_two_members() {
    check_error(&[&[file("x", "1")], &[file("x", "1")]], str!["`x` is both in `a` and in `b`"]);
    check_error(
        &[&[symlink("bin", "usr/bin"), file("bin/sh", "1")], &[file("usr/bin/sh", "1")]],
        str!["`usr/bin/sh` is both in `a` and in `b`"],
    );
    check_error(
        &[&[symlink("x", "y")], &[symlink("x", "z")]],
        str!["`x` is both in `a` and in `b`"],
    );
    check(&[&[symlink("x", "y"), folder("d")], &[symlink("x", "y"), folder("d")]], &["d", "x"]);
}

#[test]
fn drops_and_keeps_with_all_below() {
    let items = [
        file("usr/share/doc/p/changelog", ""),
        file("usr/share/doc/p/copyright", ""),
        file("usr/share/man/man1/x.1", ""),
        file("usr/bin/x", ""),
    ];
    let filter = Filter {
        drop: &globs(&["usr/share/doc", "usr/share/man", "usr/share/*/nothing"]),
        keep: &globs(&["usr/share/doc/*/copyright"]),
    };
    let tree = Tree::merge(&members(&[&items]), &Below::default(), filter, EPOCH).unwrap();
    let files: Vec<&str> = tree
        .nodes
        .iter()
        .filter(|(_, node)| node.kind != Kind::Directory)
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(files, ["usr/bin/x", "usr/share/doc/p/copyright"]);
    assert!(!tree.nodes.contains_key("usr/share/man"));
}

#[test]
fn takes_no_time_after_the_epoch() {
    let tree =
        Tree::merge(&members(&[&[file("x", "")]]), &Below::default(), Filter::default(), 1000)
            .unwrap();
    assert_eq!(tree.nodes["x"].mtime, 1000);
    let tree = merge(&[&[file("x", "")]]).unwrap();
    assert_eq!(tree.nodes["x"].mtime, 1_577_836_800);
}

#[test]
fn puts_a_layer_on_those_below() {
    let bench = Workbench::new();
    let folder_of = bench.0.path();
    let base =
        [symlink("lib", "usr/lib"), Item { mode: 0o1777, ..folder("tmp") }, file("usr/lib/x", "1")];
    let mut below = members(&[&base]);
    let tree = Tree::merge(&below, &Below::default(), Filter::default(), EPOCH).unwrap();
    let written = layer::write(&tree, &mut below, folder_of, folder_of).unwrap();
    let mut index = Below::default();
    index.add_layer(&written.file).unwrap();

    // Over the file, through the link, into the sticky folder.
    let upper = members(&[&[file("lib/x", "2"), file("lib/y", "3"), file("tmp/z", "4")]]);
    let tree = Tree::merge(&upper, &index, Filter::default(), EPOCH).unwrap();
    let found: Vec<(&str, u32)> =
        tree.nodes.iter().map(|(path, node)| (path.as_str(), node.mode)).collect();
    assert_eq!(
        found,
        [
            ("tmp", 0o1777),
            ("tmp/z", 0o644),
            ("usr", 0o755),
            ("usr/lib", 0o755),
            ("usr/lib/x", 0o644),
            ("usr/lib/y", 0o644)
        ]
    );
    let through = members(&[&[file("usr/lib/x/f", "")]]);
    let error = Tree::merge(&through, &index, Filter::default(), EPOCH).unwrap_err();
    assert!(matches!(error, TreeError::ThroughFile { .. }), "{error}");
}

#[test]
fn writes_shared_data_once() {
    let tree = merge(&[&[
        file("b", "data"),
        hard_link("a", "b"),
        hard_link("c", "b"),
        file("e", ""),
        file("f", ""),
    ]])
    .unwrap();
    let links = tree.hard_links();
    assert_eq!(links.len(), 2);
    assert_eq!((links["b"], links["c"]), ("a", "a"));
}
