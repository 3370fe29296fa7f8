//! The contract is reviewed: it changes only with the committed files, its descriptor on each target
//! and its C header.
//!
//! After a change that is meant, `cargo xtask contract` rewrites them.

use std::fs;
use std::path::{Path, PathBuf};

use keyway_abi::layout::Model;
use keyway_abi::{descriptor, header, stamp};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("could not read `{}`: {error}", path.display()))
}

#[test]
fn the_contract_is_the_committed_one() {
    let committed = read(&root().join("descriptor").join(format!("{}.txt", stamp::TARGET)));
    let differences = descriptor::differences(&committed, descriptor::CONTRACT);
    let report: String = differences.iter().map(|line| format!("  {line}\n")).collect();
    assert!(
        differences.is_empty(),
        "the contract changed (host: committed, plugin: this code):\n{report}\
         if that is meant, run `cargo xtask contract`"
    );
}

#[test]
fn the_header_is_the_committed_one() {
    let committed = read(&root().join("include/keyway.h"));
    assert!(committed == header::text(), "the header changed: run `cargo xtask contract`");
}

/// Of this target the compiler knows; of each other one, what decides its layout.
#[test]
fn there_is_a_text_for_every_target() {
    let mut n_texts = 0;
    for entry in fs::read_dir(root().join("descriptor")).expect("the texts").flatten() {
        let name = entry.file_name().into_string().expect("a triple");
        let target = name.strip_suffix(".txt").expect("a text");
        let model = Model::of(target).expect("a known architecture");
        assert!(read(&entry.path()) == model.contract(), "{target}: run `cargo xtask contract`");
        n_texts += 1;
    }
    assert_eq!(n_texts, 16);
}
