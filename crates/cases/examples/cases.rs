//! Writes the cases of a plugin to a folder and lists them, one JSON object a line: `name`,
//! `library`, `unix_only`, `codes`, and `exactly`, whether no other code may come.
//!
//!     cargo run -p keyway-cases --example cases -- LIBRARY MANIFEST OTHER_MANIFEST FOLDER

use std::error::Error;
use std::path::PathBuf;

use keyway_cases::Expected;
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<_> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [library, manifest, other, folder] = &paths[..] else {
        return Err("expected LIBRARY MANIFEST OTHER_MANIFEST FOLDER".into());
    };
    for case in keyway_cases::write(library, manifest, other, folder)? {
        let (codes, exactly) = match &case.expected {
            Expected::Exactly(codes) => (codes, true),
            Expected::AtLeast(codes) => (codes, false),
        };
        let codes: Vec<_> = codes.iter().map(ToString::to_string).collect();
        let line = json!({
            "name": case.name,
            "library": case.library,
            "unix_only": case.unix_only,
            "codes": codes,
            "exactly": exactly,
        });
        println!("{line}");
    }
    Ok(())
}
