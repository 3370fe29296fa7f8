//! The base contract's descriptor is reviewed: it changes only with the committed file.
//!
//! After a change that is meant, `KEYWAY_BLESS=1 cargo test -p keyway-abi --test descriptor`
//! rewrites the file of the target that the test runs on.

use std::fs;
use std::path::Path;

use keyway_abi::{descriptor, stamp};

#[test]
fn the_base_contract_is_the_committed_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("descriptor")
        .join(format!("{}.txt", stamp::TARGET));
    if std::env::var_os("KEYWAY_BLESS").is_some() {
        fs::write(&file, descriptor::BASE).expect("the descriptor's folder is writable");
    }
    let committed = fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("could not read `{}`: {error}", file.display()));
    let differences = descriptor::differences(&committed, descriptor::BASE);
    let report: String = differences.iter().map(|line| format!("  {line}\n")).collect();
    assert!(
        differences.is_empty(),
        "the base contract changed (host: committed, plugin: this code):\n{report}\
         plugins built before will be refused; if that is meant, run this test with KEYWAY_BLESS=1"
    );
}
