//! `doctor`: whether this machine has what the other commands need, and what to do if not.

use std::io;
use std::path::Path;

use serde::Serialize;

use crate::cache::Cache;
use crate::container::EngineName;
use crate::engine::{self, EngineChoice};
use crate::failure::{Diagnose, Exit, Failure};
use crate::shell::Shell;

/// Checks what this machine has: engines, cargo, git, space.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The engine that has to work
    #[arg(long, value_enum, env = "KEYWAY_ENGINE", default_value_t = EngineChoice::Auto)]
    engine: EngineChoice,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    Check(&'a Check),
    Summary { failed: usize },
}

/// One look at the machine.
#[derive(Serialize)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It is there.
    Works,
    /// It is not there, and something else does in its place.
    Absent,
    /// It is not there, and nothing works without it.
    Missing,
}

/// What a first build of both default targets leaves on disk, with images, roots and crates.
const NEEDED_GIB: u64 = 6;

pub(crate) fn run(args: &Args, shell: &Shell) -> Result<(), Failure> {
    let mut checks = vec![machine(std::env::consts::OS, std::env::consts::ARCH)];
    match Cache::open() {
        Ok(cache) => {
            checks.push(space(&cache));
            checks.extend(engines(args.engine, &cache, shell));
        }
        Err(error) => {
            let (found, hint) = (error.to_string(), error.hint());
            checks.push(Check { name: "cache", state: State::Missing, found, hint });
        }
    }
    let rustup = "install Rust: cargo resolves and vendors the crates that plugins use";
    checks.push(program("cargo", State::Missing, rustup));
    let git = "install git, if manifests are to name the commit that plugins were built from";
    checks.push(program("git", State::Absent, git));
    for check in &checks {
        show(check, shell);
    }
    let failed = checks.iter().filter(|check| check.state == State::Missing).count();
    shell.event(&Event::Summary { failed });
    match failed {
        0 => Ok(()),
        n => Err(Failure::new(Exit::Environment, format!("{n} of {} checks failed", checks.len()))),
    }
}

fn engines(choice: EngineChoice, cache: &Cache, shell: &Shell) -> Vec<Check> {
    let survey = engine::survey(cache, shell);
    let any = survey.iter().any(|(_, found)| found.is_ok());
    let is_needed = |name: EngineName| choice.name().map_or(!any, |asked| asked == name);
    let check = |(name, found): (EngineName, Result<String, engine::Unavailable>)| match found {
        Ok(found) => {
            let found = found.trim_start_matches(name.as_str()).trim_start().to_owned();
            Check { name: name.as_str(), state: State::Works, found, hint: None }
        }
        Err(error) => {
            let state = if is_needed(name) { State::Missing } else { State::Absent };
            Check { name: name.as_str(), state, found: error.reason, hint: Some(error.hint) }
        }
    };
    survey.into_iter().map(check).collect()
}

/// Images hold programs for x86_64 Linux.
fn machine(system: &str, architecture: &str) -> Check {
    let found = format!("{architecture} {system}");
    let hint = match (system, architecture) {
        ("linux", "x86_64") => {
            return Check { name: "machine", state: State::Works, found, hint: None };
        }
        ("linux", _) => {
            "images hold x86_64 programs: Docker or Podman run them where an emulator such as qemu-user is \
             registered (binfmt_misc), several times slower; the sandbox can't"
        }
        _ => "Docker's virtual machine runs the images; the sandbox is Linux's alone",
    };
    Check { name: "machine", state: State::Absent, found, hint: Some(hint.to_owned()) }
}

fn program(name: &'static str, otherwise: State, hint: &str) -> Check {
    match duct::cmd!(name, "--version").stderr_null().read() {
        Ok(version) => Check { name, state: State::Works, found: version, hint: None },
        Err(error) => {
            let found = match error.kind() {
                io::ErrorKind::NotFound => format!("there is no `{name}` program"),
                _ => error.to_string(),
            };
            Check { name, state: otherwise, found, hint: Some(hint.to_owned()) }
        }
    }
}

fn space(cache: &Cache) -> Check {
    let path = cache.root().display();
    let name = "cache";
    match free_gib(cache.root()) {
        Ok(free) if free < NEEDED_GIB => Check {
            name,
            state: State::Absent,
            found: format!("`{path}` has {free} GiB free; a first build needs about {NEEDED_GIB}"),
            hint: Some("free some space, or set `KEYWAY_CACHE` to a larger disk".to_owned()),
        },
        Ok(free) => {
            let found = format!("`{path}`, {free} GiB free");
            Check { name, state: State::Works, found, hint: None }
        }
        Err(error) => {
            let found = format!("`{path}`; its free space can't be told: {error}");
            Check { name, state: State::Works, found, hint: None }
        }
    }
}

#[cfg(unix)]
fn free_gib(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize) >> 30)
}

#[cfg(not(unix))]
fn free_gib(_: &Path) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

fn show(check: &Check, shell: &Shell) {
    shell.event(&Event::Check(check));
    let (state, sgr) = match check.state {
        State::Works => ("works", "32"),
        State::Absent => ("absent", "33"),
        State::Missing => ("MISSING", "31"),
    };
    let state = shell.paint(sgr, &format!("{state:8}"));
    shell.data(format_args!("{state} {:8} {}", check.name, check.found));
    if let Some(hint) = &check.hint {
        shell.data(format_args!("{:17} hint: {hint}", ""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_works_on_another_architecture() {
        assert!(machine("linux", "x86_64").hint.is_none());
        let arm = machine("linux", "aarch64");
        assert!(arm.hint.is_some_and(|hint| hint.contains("binfmt_misc")));
        assert_ne!(machine("macos", "aarch64").state, State::Works);
    }
}
