//! `doctor`: whether this machine has what the other commands need, and what to do if not; and the tools
//! that the workspace asks for.

use std::io;
use std::path::Path;

use keyway_manifest::text::Show as _;
use serde::Serialize;

use crate::cache::Cache;
use crate::container::EngineName;
use crate::engine::{self, EngineChoice};
use crate::failure::{Diagnose, Exit, Failure};
use crate::image::{ImageError, Images, Tool};
use crate::shell::Shell;
use crate::workspace::Workspace;

/// Checks what this machine has: engines, cargo, git, space, and the tools that the workspace asks for.
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
    name: String,
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

/// Looks at the machine, and at `workspace`, if there is one.
pub(crate) fn run(
    args: &Args,
    workspace: Option<&Workspace>,
    shell: &Shell,
) -> Result<(), Failure> {
    let mut checks = vec![machine(std::env::consts::OS, std::env::consts::ARCH)];
    match Cache::open() {
        Ok(cache) => {
            checks.push(space(&cache));
            checks.extend(engines(args.engine, &cache, shell));
            checks.extend(
                workspace.into_iter().flat_map(|workspace| tools(workspace, cache.clone())),
            );
        }
        Err(error) => {
            let (found, hint) = (error.to_string(), error.hint());
            checks.push(Check { name: "cache".into(), state: State::Missing, found, hint });
        }
    }
    let rustup = "install Rust: cargo resolves and vendors the crates that plugins use";
    checks.push(program("cargo", State::Missing, rustup));
    let git = "install git, if manifests are to name the commit that plugins were built from";
    checks.push(program("git", State::Absent, git));
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    for check in &checks {
        show(check, width, shell);
    }
    let failed = checks.iter().filter(|check| check.state == State::Missing).count();
    let done = format!("{} checks, {failed} failed", checks.len());
    shell.finish(done, &Event::Summary { failed });
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
            Check { name: name.to_string(), state: State::Works, found, hint: None }
        }
        Err(error) => {
            let state = if is_needed(name) { State::Missing } else { State::Absent };
            Check { name: name.to_string(), state, found: error.reason, hint: Some(error.hint) }
        }
    };
    survey.into_iter().map(check).collect()
}

/// Images hold programs for x86_64 Linux.
fn machine(system: &str, architecture: &str) -> Check {
    let found = format!("{architecture} {system}");
    let hint = match (system, architecture) {
        ("linux", "x86_64") => {
            return Check { name: "machine".into(), state: State::Works, found, hint: None };
        }
        ("linux", _) => {
            "images hold x86_64 programs: Docker or Podman run them where an emulator such as qemu-user is \
             registered (binfmt_misc), several times slower; the sandbox can't"
        }
        _ => "Docker's virtual machine runs the images; the sandbox is Linux's alone",
    };
    Check { name: "machine".into(), state: State::Absent, found, hint: Some(hint.to_owned()) }
}

/// The tools that the workspace's plugins ask for, and whether their layers are here.
fn tools(workspace: &Workspace, cache: Cache) -> Vec<Check> {
    let plugins = match workspace.plugins() {
        Ok(plugins) => plugins,
        Err(error) => {
            let (found, hint) = (format!("not known: {error}"), error.hint());
            return vec![Check { name: "tools".into(), state: State::Absent, found, hint }];
        }
    };
    let tools = Vec::from_iter(plugins.tools);
    let images = Images::open(workspace.recipes_dir(), cache).with_workspace(workspace.root());
    let check = |(tool, found): (String, Result<Tool, ImageError>)| {
        let name = format!("tool {tool}");
        match found {
            Ok(Tool { is_here: true, size }) => {
                let found = format!("{} MB, here", size.div_ceil(1_000_000));
                Check { name, state: State::Works, found, hint: None }
            }
            Ok(Tool { is_here: false, size }) => {
                let found = format!("{} MB, not here yet", size.div_ceil(1_000_000));
                let hint = "the first build fetches it".to_owned();
                Check { name, state: State::Absent, found, hint: Some(hint) }
            }
            Err(error) => {
                let (found, hint) = (error.to_string(), error.hint());
                Check { name, state: State::Missing, found, hint }
            }
        }
    };
    images.look_for(&tools).into_iter().map(check).collect()
}

fn program(name: &str, otherwise: State, hint: &str) -> Check {
    let check = |state, found, hint| Check { name: name.to_owned(), state, found, hint };
    match duct::cmd!(name, "--version").stderr_null().read() {
        Ok(version) => check(State::Works, version, None),
        Err(error) => {
            let found = match error.kind() {
                io::ErrorKind::NotFound => format!("there is no `{name}` program"),
                _ => error.to_string(),
            };
            check(otherwise, found, Some(hint.to_owned()))
        }
    }
}

fn space(cache: &Cache) -> Check {
    let path = cache.root().shown();
    let check = |state, found, hint| Check { name: "cache".into(), state, found, hint };
    match free_gib(cache.root()) {
        Ok(free) if free < NEEDED_GIB => check(
            State::Absent,
            format!("`{path}` has {free} GiB free; a first build needs about {NEEDED_GIB}"),
            Some("free some space, or set `KEYWAY_CACHE` to a larger disk".to_owned()),
        ),
        Ok(free) => check(State::Works, format!("`{path}`, {free} GiB free"), None),
        Err(error) => {
            let found = format!("`{path}`; its free space can't be told: {error}");
            check(State::Works, found, None)
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

/// One line, with names padded to `width`.
fn show(check: &Check, width: usize, shell: &Shell) {
    shell.event(&Event::Check(check));
    let (state, sgr) = match check.state {
        State::Works => ("works", "32"),
        State::Absent => ("absent", "33"),
        State::Missing => ("MISSING", "31"),
    };
    let found = format!(" {:width$} {}", check.name, check.found);
    shell.marked("", sgr, &format!("{state:8}"), &found);
    if let Some(hint) = &check.hint {
        shell.data(format_args!("{:1$} hint: {hint}", "", width + 9));
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
