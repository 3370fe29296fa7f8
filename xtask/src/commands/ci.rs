//! `cargo xtask ci`: every check that a change has to pass, in order, each as a child process.
//!
//! It goes on after a failed check, so that one run shows all that is wrong. What a pipeline
//! calls is this command and nothing else, so a green run here is a green run there. The checks
//! themselves are a table in [`checks`].

mod checks;
mod sanitizers;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::Instant;

use clap::builder::PossibleValuesParser;
use serde::Serialize;
use thiserror::Error;

use crate::failure::{Diagnose, Exit, Failure};
use crate::shell::{Shell, Verbosity};
use crate::workspace::Workspace;

use checks::{CHECKS, Check, Installer, Step};

/// Which checks to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run these checks only
    #[arg(long, value_name = "NAME", num_args = 1.., value_parser = names())]
    only: Vec<String>,
    /// Leave these checks out
    #[arg(long, value_name = "NAME", num_args = 1.., value_parser = names())]
    skip: Vec<String>,
    /// List the checks and run none
    #[arg(long)]
    list: bool,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(CHECKS.iter().map(|check| check.name))
}

/// Why checks could not be run, or which failed.
#[derive(Debug, Error)]
enum CiError {
    /// Nothing on this machine installs Python packages.
    #[error(
        "check `pipelines` needs `python3` (3.10 or newer, with `venv`) or `uv`, and neither is here"
    )]
    NoInstaller,
    /// There is no toolchain that compiles with sanitizers.
    #[error(
        "check `sanitizers` needs a nightly toolchain with the source of its standard library, and there is none here"
    )]
    NoNightly,
    /// A check's program can't be started.
    #[error("could not start `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// A check's program says no.
    #[error("`{command}` ended with {status}")]
    Ended {
        /// The command line.
        command: String,
        /// Its status, in words.
        status: String,
    },
    /// The end of a run with failed checks.
    #[error("failed: {}", names.join(", "))]
    Failed {
        /// The checks.
        names: Vec<&'static str>,
    },
}

impl Diagnose for CiError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoInstaller | Self::NoNightly => Exit::Environment,
            Self::Start { .. } | Self::Ended { .. } | Self::Failed { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoInstaller => Some(
                "install one of them (on Debian `apt install python3-venv`), or pass `--skip pipelines`"
                    .into(),
            ),
            Self::NoNightly => Some(
                "`rustup toolchain install nightly --component rust-src` installs it".into(),
            ),
            Self::Failed { names } => {
                Some(format!("`cargo xtask ci --only {}` runs them alone", names.join(" ")))
            }
            Self::Start { .. } | Self::Ended { .. } => None,
        }
    }
}

/// What `--json` says.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event {
    Listed { name: &'static str, about: &'static str },
    Check { name: &'static str, passed: bool, seconds: f64 },
    Summary { passed: usize, failed: usize, skipped: usize },
}

/// A check and what it will run; no steps if it is left out.
struct Planned {
    check: &'static Check,
    steps: Option<Vec<Step>>,
}

/// How one check went.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Passed(f64),
    Failed(f64),
    Skipped,
}

/// Runs the chosen checks and says how each went; the last line of text is
/// `N passed, N failed, N skipped`.
pub(crate) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    if args.list {
        list(shell);
        return Ok(());
    }
    let root = workspace.root();
    let outcomes: Vec<(&Check, Outcome)> = plan(args, root, shell)?
        .iter()
        .map(|planned| (planned.check, outcome(planned, root, shell)))
        .collect();
    conclude(&outcomes, shell)
}

fn list(shell: &Shell) {
    for check in CHECKS {
        shell.data(format_args!("{:<12} {}", check.name, check.about));
        shell.event(&Event::Listed { name: check.name, about: check.about });
    }
    let skipped = CHECKS.len();
    shell.finish(
        format_args!("{skipped} checks"),
        &Event::Summary { passed: 0, failed: 0, skipped },
    );
}

/// Every check with its steps; what a chosen one lacks on this machine is found here, before the
/// first one runs.
fn plan(args: &Args, root: &Path, shell: &Shell) -> Result<Vec<Planned>, CiError> {
    let chosen = |check: &Check| {
        let named = |list: &[String]| list.iter().any(|name| name == check.name);
        (args.only.is_empty() || named(&args.only)) && !named(&args.skip)
    };
    CHECKS
        .iter()
        .map(|check| {
            if !chosen(check) {
                return Ok(Planned { check, steps: None });
            }
            let steps = match check.steps {
                checks::Steps::OnRequest(_) | checks::Steps::Sanitizers(_)
                    if args.only.is_empty() =>
                {
                    return Ok(Planned { check, steps: None });
                }
                checks::Steps::Cargo(commands) | checks::Steps::OnRequest(commands) => {
                    commands.iter().map(checks::cargo).collect()
                }
                checks::Steps::Miri(_) if !checks::has_miri() => {
                    shell.warn(format_args!(
                        "check `{}` is left out: there is no Miri here; `rustup component add \
                         --toolchain nightly miri rust-src` installs it",
                        check.name
                    ));
                    return Ok(Planned { check, steps: None });
                }
                checks::Steps::Miri(commands) => commands.iter().map(checks::miri).collect(),
                checks::Steps::Sanitizers(_) if !sanitizers::has_toolchain() => {
                    return Err(CiError::NoNightly);
                }
                checks::Steps::Sanitizers(commands) => {
                    commands.iter().map(checks::sanitized).collect()
                }
                checks::Steps::Python(steps) => {
                    let installer = Installer::find().ok_or(CiError::NoInstaller)?;
                    steps(installer, root)
                }
            };
            Ok(Planned { check, steps: Some(steps) })
        })
        .collect()
}

fn outcome(planned: &Planned, root: &Path, shell: &Shell) -> Outcome {
    let check = planned.check;
    let Some(steps) = &planned.steps else {
        return Outcome::Skipped;
    };
    let started = Instant::now();
    shell.status("Checking", format_args!("{}: {}", check.name, check.about));
    let result = steps.iter().try_for_each(|step| execute(step, root, shell));
    let seconds = seconds_since(started);
    shell.event(&Event::Check { name: check.name, passed: result.is_ok(), seconds });
    match result {
        Ok(()) => Outcome::Passed(seconds),
        Err(error) => {
            shell.failure(&error.into());
            Outcome::Failed(seconds)
        }
    }
}

/// Runs one step. What it writes is seen as it comes, on stderr; under `--quiet` at the end, and
/// only if it failed.
fn execute(step: &Step, root: &Path, shell: &Shell) -> Result<(), CiError> {
    shell.detail("Running", step);
    let mut child = duct::cmd(&step.program, &step.args).dir(root).unchecked();
    for (name, value) in &step.env {
        child = child.env(name, value);
    }
    let quiet = shell.verbosity() == Verbosity::Quiet;
    child =
        if quiet { child.stderr_to_stdout().stdout_capture() } else { child.stdout_to_stderr() };
    let output = child
        .stdin_null()
        .run()
        .map_err(|source| CiError::Start { command: step.to_string(), source })?;
    if output.status.success() {
        return Ok(());
    }
    if quiet {
        shell.passthrough(&String::from_utf8_lossy(&output.stdout));
    }
    Err(CiError::Ended { command: step.to_string(), status: output.status.to_string() })
}

/// The table, the failed checks by name, and the counts.
fn conclude(outcomes: &[(&Check, Outcome)], shell: &Shell) -> Result<(), Failure> {
    let width = outcomes.iter().map(|(check, _)| check.name.len()).max().unwrap_or(0);
    for (check, outcome) in outcomes {
        let ((sgr, word), time) = match outcome {
            Outcome::Passed(seconds) => (("32", "passed "), format!(" {seconds:>8.1} s")),
            Outcome::Failed(seconds) => (("31", "failed "), format!(" {seconds:>8.1} s")),
            Outcome::Skipped => (("33", "skipped"), String::new()),
        };
        shell.marked(&format!("{:<width$}  ", check.name), sgr, word, &time);
    }
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_)))
        .map(|(check, _)| check.name)
        .collect();
    let skipped = outcomes.iter().filter(|(_, o)| matches!(o, Outcome::Skipped)).count();
    let passed = outcomes.len() - failed.len() - skipped;
    let counts = format!("{passed} passed, {} failed, {skipped} skipped", failed.len());
    shell.finish(&counts, &Event::Summary { passed, failed: failed.len(), skipped });
    if failed.is_empty() {
        shell.data(counts);
        return Ok(());
    }
    // Before the counts, which are the last line whatever happens.
    shell.failure(&CiError::Failed { names: failed }.into());
    shell.data(counts);
    Err(Failure::reported(Exit::Failed))
}

fn seconds_since(start: Instant) -> f64 {
    (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}

/// Whether a program runs here and says yes.
fn succeeds(program: impl AsRef<OsStr>, args: &[&str]) -> bool {
    duct::cmd(program.as_ref(), args).stdin_null().stdout_null().stderr_null().run().is_ok()
}
