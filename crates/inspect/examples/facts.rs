//! Prints the facts of the libraries that are named, as JSON, and what is wrong with them.

use std::process::ExitCode;

use keyway_manifest::text::Show as _;

fn main() -> ExitCode {
    let mut sound = true;
    for path in std::env::args_os().skip(1) {
        let path = std::path::Path::new(&path);
        let inspected = std::fs::read(path)
            .map_err(|error| error.to_string())
            .and_then(|bytes| keyway_inspect::inspect(&bytes).map_err(|error| error.to_string()));
        match inspected {
            Ok(inspection) => {
                match keyway_manifest::canonical::document(&inspection.facts) {
                    Ok(json) => print!("{json}"),
                    Err(error) => eprintln!("{}: {error}", path.shown()),
                }
                for violation in &inspection.violations {
                    eprintln!("{}: {violation}", path.shown());
                }
                sound &= inspection.violations.is_empty();
            }
            Err(error) => {
                eprintln!("{}: {error}", path.shown());
                sound = false;
            }
        }
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
