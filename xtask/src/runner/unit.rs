//! Runs the unit tests of a plugin: the program that cargo made of them, on the target's runner.
//!
//! It runs where cargo would run it, in the package's folder, which is seen read-only at the place
//! that it has in builds. The program's status decides; its last line is only read for the counts,
//! since a harness of the plugin's own may print anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::container::{Access, Command, Image, Mount};
use crate::engine::{Engine, EngineError};
use crate::placement::Placement;
use crate::run::Tests;
use crate::shell::Shell;
use crate::targets::Runner;

/// What came of the unit tests of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// All passed.
    Passed {
        /// How many ran.
        tests: u64,
        /// How many are ignored by their own attribute.
        ignored: u64,
    },
    /// Some did not, or the program ended otherwise.
    Failed {
        /// How it ended.
        message: String,
        /// All that it wrote.
        output: String,
    },
    /// They do not compile; cargo has said why.
    NotCompiled,
}

/// Where the folder with the program is seen inside.
const FOLDER: &str = "/tests";

/// The command that runs `tests`, whose program lies at `program` on this machine. Pure: it reads
/// nothing.
pub fn command(
    runner: &Runner,
    tests: &Tests,
    program: &Path,
    placement: &Placement,
    hidden: &[PathBuf],
) -> Command {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let mut argv = runner.command.clone();
    argv.push(runner.guest(&format!("{FOLDER}/{name}")));
    let mut mounts = placement.mounts();
    mounts.push(Mount {
        host: program.parent().unwrap_or(program).to_owned(),
        guest: PathBuf::from(FOLDER),
        access: Access::ReadOnly,
    });
    // The one variable of cargo's that tests read when they run: they find their files by it.
    let folder = runner.guest(&tests.package.to_string_lossy());
    Command {
        argv: argv.into_iter().map(Into::into).collect(),
        env: BTreeMap::from([("CARGO_MANIFEST_DIR".to_owned(), folder)]),
        workdir: tests.package.clone(),
        mounts,
        limit: None,
        hidden: hidden.to_vec(),
    }
}

/// Runs a plugin's unit tests.
///
/// # Errors
/// If the program could not be run at all.
pub fn run(
    engine: &dyn Engine,
    image: &Image,
    command: &Command,
    shell: &Shell,
) -> Result<Outcome, EngineError> {
    let mut output = String::new();
    let mut counts = Counts::default();
    let ended = engine.run(image, command, &mut |_, line| {
        let line = line.trim_end_matches('\r');
        shell.detail("Test", line);
        counts.add(line);
        output.push_str(line);
        output.push('\n');
    });
    let Counts { passed, failed, ignored } = counts;
    match ended {
        Ok(()) => Ok(Outcome::Passed { tests: passed, ignored }),
        Err(EngineError::CommandFailed { status, .. }) => {
            let message = match failed {
                0 => format!("the test program {status}"),
                _ => format!("{failed} of {} tests failed", passed + failed),
            };
            Ok(Outcome::Failed { message, output })
        }
        Err(error) => Err(error),
    }
}

/// What the harness of Rust's standard library counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// Adds those of a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split("; ") {
            let Some((number, what)) = part.split_once(' ') else { continue };
            let count = match what {
                "passed" => &mut self.passed,
                "failed" => &mut self.failed,
                "ignored" => &mut self.ignored,
                _ => continue,
            };
            *count += number.parse().unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_the_harness_says() {
        let mut counts = Counts::default();
        for line in [
            "test tests::one ... ok",
            "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s",
            "test result: who knows",
        ] {
            counts.add(line);
        }
        assert_eq!(counts, Counts { passed: 3, failed: 2, ignored: 1 });
    }
}
