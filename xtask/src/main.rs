//! The thin binary behind `cargo xtask`; everything is in the library, so that another workspace
//! can have the same command in one line.
use std::process::ExitCode;

fn main() -> ExitCode {
    keyway_xtask::main()
}
