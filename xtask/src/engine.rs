//! Engines: run a command inside an image, and nothing else on this machine.
//!
//! An engine has a pure half, which turns a [`Command`] into an [`Invocation`] (a plain process to
//! start), and an effect half, which puts the image where the engine finds it. Starting,
//! streaming, stopping are the same for all engines and live in `process`.
//!
//! Whatever the engine, a command sees the same: no network, a read-only root, an empty `/tmp`, the
//! host name `keyway`, umask 022, the caller's user id, and only the environment it is given. So
//! the engine is never part of what a build is keyed by. There is no engine that runs commands
//! with the machine's own compiler, on purpose.

mod docker;
mod error;
mod process;
#[cfg(target_os = "linux")]
pub mod sandbox;

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::cache::Cache;
use crate::container::{Command, Image, Runner};
use crate::shell::Shell;

pub use docker::{Daemon, Docker, Owner};
pub use error::{EngineError, Status, Unavailable};
#[cfg(target_os = "linux")]
pub use sandbox::Sandbox;

/// Which engine the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum EngineChoice {
    /// Docker if its daemon answers, else the sandbox
    #[default]
    Auto,
    /// Docker, through its command line
    Docker,
    /// Linux namespaces, without a daemon
    Sandbox,
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The command's standard output.
    Stdout,
    /// The command's standard error.
    Stderr,
}

/// An image as one engine knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The image's name, for messages.
    pub image: String,
    /// What the engine calls it: an image ID, or the folder of an unpacked root.
    pub location: OsString,
    /// The environment that commands in the image start with.
    pub env: BTreeMap<String, String>,
}

/// A process on this machine that runs a command inside an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The engine's name.
    pub engine: &'static str,
    /// The program to start.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// How to end it, with everything that it started.
    pub stop: Stop,
    /// The command line inside, for messages.
    pub command: String,
}

impl fmt::Display for Invocation {
    /// A line for a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", display(std::slice::from_ref(&self.program)), display(&self.args))
    }
}

/// How to end an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Close its standard input, which it watches. That also happens when this process is killed.
    CloseStdin,
    /// Run another program. When this process is killed, the invocation gets SIGTERM.
    Run(Vec<OsString>),
}

/// Runs commands inside images.
pub trait Engine: Send + Sync {
    /// Its name, as `--engine` takes it.
    fn name(&self) -> &'static str;

    /// Its name and version, for people.
    fn description(&self) -> String;

    /// Where it says what it does.
    fn shell(&self) -> &Shell;

    /// Puts the image where the engine finds it, once per process.
    ///
    /// # Errors
    /// If the image can't be loaded or unpacked.
    fn prepare(&self, image: &Image) -> Result<Prepared, EngineError>;

    /// What will be started for `command`; no effects.
    ///
    /// # Errors
    /// If a path or variable can't be passed to this engine.
    fn invocation(&self, image: &Prepared, command: &Command) -> Result<Invocation, EngineError>;

    /// Runs `command` in `image` to its end and hands over each line that it writes, as it comes.
    ///
    /// # Errors
    /// If it can't be started, ends with a status other than 0, or the user interrupts it; nothing
    /// is left running in any case.
    fn run(
        &self,
        image: &Image,
        command: &Command,
        on_line: &mut dyn FnMut(Stream, &str),
    ) -> Result<(), EngineError> {
        let invocation = self.invocation(&self.prepare(image)?, command)?;
        self.shell().detail("Running", &invocation);
        process::execute(&invocation, on_line)
    }
}

impl<E: Engine + ?Sized> Runner for &E {
    fn run(&self, image: &Image, command: &Command) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(Engine::run(*self, image, command, &mut |_, _| {})?)
    }
}

/// The engine that `choice` stands for on this machine; says which, and why not another.
///
/// # Errors
/// If the one that was asked for, or every one, does not work here; says what to do about each.
pub fn select<'a>(
    choice: EngineChoice,
    cache: &Cache,
    shell: &'a Shell,
) -> Result<Box<dyn Engine + 'a>, EngineError> {
    let engine = match choice {
        EngineChoice::Docker => docker(shell)?,
        EngineChoice::Sandbox => sandbox(cache, shell)?,
        EngineChoice::Auto => match docker(shell) {
            Ok(engine) => engine,
            Err(no_docker) => {
                shell.detail("Skipping", &no_docker);
                sandbox(cache, shell)
                    .map_err(|no_sandbox| EngineError::NoneAvailable(vec![no_docker, no_sandbox]))?
            }
        },
    };
    shell.status("Using", format_args!("engine {}", engine.description()));
    Ok(engine)
}

/// Every engine with its description, or why it does not work here; for `doctor`.
pub fn survey(cache: &Cache, shell: &Shell) -> Vec<(&'static str, Result<String, Unavailable>)> {
    let describe = |engine: Box<dyn Engine + '_>| engine.description();
    vec![("docker", docker(shell).map(describe)), ("sandbox", sandbox(cache, shell).map(describe))]
}

fn docker<'a>(shell: &'a Shell) -> Result<Box<dyn Engine + 'a>, Unavailable> {
    Ok(Box::new(Docker::new(Daemon::find()?, Owner::this_process(), shell)))
}

#[cfg(target_os = "linux")]
fn sandbox<'a>(cache: &Cache, shell: &'a Shell) -> Result<Box<dyn Engine + 'a>, Unavailable> {
    let sandbox = Sandbox::new(sandbox::this_program(), cache.clone(), shell);
    sandbox.probe()?;
    Ok(Box::new(sandbox))
}

#[cfg(not(target_os = "linux"))]
fn sandbox<'a>(_: &Cache, _: &'a Shell) -> Result<Box<dyn Engine + 'a>, Unavailable> {
    Err(Unavailable {
        engine: "sandbox",
        reason: "it is made of Linux namespaces, and this is no Linux".into(),
        hint: "use Docker".into(),
    })
}

/// The whole environment of a command: a base that programs expect, the image's, the command's.
fn environment(image: &Prepared, command: &Command) -> BTreeMap<String, String> {
    let base = [
        ("HOME", "/tmp"),
        ("HOSTNAME", HOST_NAME),
        ("LC_ALL", "C.UTF-8"),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("TZ", "UTC"),
    ];
    let mut all: BTreeMap<String, String> =
        base.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    all.extend(image.env.clone());
    all.extend(command.env.clone());
    all
}

/// The host name inside.
const HOST_NAME: &str = "keyway";

/// The status with which `docker run` and the sandbox say that they, not the command, failed.
const ENGINE_FAILED: i32 = 125;

/// A command line for messages, quoted where a shell would need it.
fn display(argv: &[OsString]) -> String {
    let quote = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
        if !arg.is_empty() && arg.chars().all(plain) {
            arg.into_owned()
        } else {
            format!("'{}'", arg.replace('\'', r"'\''"))
        }
    };
    argv.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// Images that one engine has prepared, so that each is looked for once.
#[derive(Debug, Default)]
struct Shelf(std::sync::Mutex<BTreeMap<keyway_manifest::Digest, Prepared>>);

impl Shelf {
    /// The prepared image, made by `make` the first time; others wait meanwhile.
    fn get_or(
        &self,
        image: &Image,
        make: impl FnOnce() -> Result<OsString, EngineError>,
    ) -> Result<Prepared, EngineError> {
        let mut known = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(prepared) = known.get(&image.manifest) {
            return Ok(prepared.clone());
        }
        let prepared =
            Prepared { image: image.name.clone(), location: make()?, env: image.env.clone() };
        known.insert(image.manifest, prepared.clone());
        Ok(prepared)
    }
}

/// An absolute path inside the image.
fn guest_path(engine: &'static str, path: &std::path::Path) -> Result<PathBuf, EngineError> {
    let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    if path.has_root() && plain {
        return Ok(path.to_owned());
    }
    Err(EngineError::Unsupported {
        engine,
        value: path.display().to_string(),
        reason: "a path inside an image is absolute and has no `..`",
    })
}
