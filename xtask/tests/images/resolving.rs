//! Dependency closures.

use std::fmt::Write as _;

use keyway_xtask::image::Package;
use keyway_xtask::image::debian::DebianArchive;
use keyway_xtask::image::recipe::Omission;
use keyway_xtask::image::resolve::{Index, ResolveError};
use snapbox::str;

/// An index from lines `NAME VERSION [FIELD: VALUE;…]`.
fn index(lines: &[&str]) -> String {
    let mut text = String::new();
    for line in lines {
        let mut words = line.splitn(3, ' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap());
        let fields = words.next().unwrap_or_default().replace("; ", "\n");
        let _ = write!(
            text,
            "Package: {name}\nVersion: {version}\nArchitecture: all\nFilename: pool/{name}\nSize: 1\n\
             SHA256: {}\n{fields}\n\n",
            "0".repeat(64)
        );
    }
    text
}

fn closure(
    lines: &[&str],
    roots: &[&str],
    without: &[&str],
    below: &[(&str, &str)],
) -> Result<Vec<String>, ResolveError> {
    let text = index(lines);
    let index = Index::parse(&[(DebianArchive::Main, &text)], "amd64")?;
    let roots: Vec<String> = roots.iter().map(|name| (*name).to_owned()).collect();
    let without: Vec<Omission> =
        without.iter().map(|name| Omission { package: (*name).into(), why: "x".into() }).collect();
    let below: Vec<Package> = below
        .iter()
        .map(|(name, version)| Package {
            version: (*version).into(),
            ..index.package(name).unwrap()
        })
        .collect();
    let packages = index.closure(&roots, &without, &below)?;
    Ok(packages.into_iter().map(|package| package.name).collect())
}

#[track_caller]
fn check(lines: &[&str], roots: &[&str], expected: &[&str]) {
    assert_eq!(closure(lines, roots, &[], &[]).unwrap(), expected);
}

#[track_caller]
fn check_error(
    lines: &[&str],
    roots: &[&str],
    without: &[&str],
    below: &[(&str, &str)],
    expected: impl snapbox::IntoData,
) {
    let error = closure(lines, roots, without, below).unwrap_err();
    snapbox::assert_data_eq!(error.to_string(), expected);
}

#[test]
fn follows_depends_and_pre_depends() {
    check(
        &[
            "a 1 Depends: b, c (>= 2); Recommends: e",
            "b 1 Pre-Depends: d",
            "c 2",
            "d 1 Depends: a",
            "e 1",
        ],
        &["a"],
        &["a", "b", "c", "d"],
    );
}

#[test]
fn takes_the_first_alternative_that_can_be_had() {
    check(&["a 1 Depends: b | c", "b 1", "c 1"], &["a"], &["a", "b"]);
    check(&["a 1 Depends: b | c", "c 1"], &["a"], &["a", "c"]);
    check(&["a 1 Depends: b (>= 2) | c", "b 1", "c 1"], &["a"], &["a", "c"]);
    check(&["a 1 Depends: b | c", "b 1", "c 1"], &["a", "c"], &["a", "c"]);
}

#[test]
fn takes_providers_of_a_virtual_package() {
    check(&["a 1 Depends: v", "b 1 Provides: v", "c 1"], &["a"], &["a", "b"]);
    check(
        &[
            "a 1 Depends: v",
            "b 1 Provides: v; Priority: optional",
            "z 1 Provides: v; Priority: required",
        ],
        &["a"],
        &["a", "z"],
    );
    check(
        &["a 1 Depends: v (>= 2)", "b 1 Provides: v", "c 1 Provides: v (= 3)"],
        &["a"],
        &["a", "c"],
    );
}

#[test]
fn takes_the_latest_of_several_versions() {
    let text = index(&["a 2", "a 10", "a 9"]);
    let index = Index::parse(&[(DebianArchive::Main, &text)], "amd64").unwrap();
    assert_eq!(index.package("a").unwrap().version, "10");
}

#[test]
fn leaves_out_what_the_recipe_says() {
    let lines = ["a 1 Depends: gcc | clang, b", "b 1", "gcc 1", "clang 1"];
    assert_eq!(closure(&lines, &["a"], &["gcc"], &[]).unwrap(), ["a", "b"]);
    check_error(
        &lines,
        &["a"],
        &["gcc", "perl"],
        &[],
        str!["`without` names `perl`, which no package of the closure depends on"],
    );
}

#[test]
fn leaves_out_what_is_below() {
    let lines = ["a 1 Depends: b, c", "b 1", "c 1"];
    assert_eq!(closure(&lines, &["a"], &[], &[("b", "1")]).unwrap(), ["a", "c"]);
    // Unless it is named, for files that are left out there.
    assert_eq!(closure(&lines, &["a", "b"], &[], &[("b", "1")]).unwrap(), ["a", "b", "c"]);
    check_error(
        &lines,
        &["a"],
        &[],
        &[("b", "0.9")],
        str!["package `b` is in the image below as version `0.9`, the suite has `1`"],
    );
}

#[test]
fn names_the_chain_to_what_is_missing() {
    check_error(&["a 1"], &["b"], &[], &[], str!["package `b` is not in the suite"]);
    check_error(
        &["a 1 Depends: b", "b 1 Depends: c", "c 1 Depends: d (>= 2) | e", "d 1"],
        &["a"],
        &[],
        &[],
        str!["nothing in the suite fulfils `d (>= 2) | e`, which `a` -> `b` -> `c` depends on"],
    );
}

#[test]
fn refuses_an_index_that_is_damaged() {
    check_error(
        &["a 1 Depends: b (>= 1"],
        &["a"],
        &[],
        &[],
        str!["could not read the dependencies of `a`"],
    );
    let check = |text: &str, expected: &str| {
        let read = Index::parse(&[(DebianArchive::Main, text)], "amd64")
            .and_then(|index| index.package("a"));
        assert_eq!(read.unwrap_err().to_string(), expected);
    };
    check("Version: 1\n", "the index entry of `?` has no usable field `Package`");
    check("Package: a\n", "the index entry of `a` has no usable field `Version`");
    check("Package: a\nVersion: 1\n", "the index entry of `a` has no usable field `SHA256`");
    let text = index(&["a 1"]);
    check(&text.replace("Size: 1", "Size: x"), "the index entry of `a` has no usable field `Size`");
}
