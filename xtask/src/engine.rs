//! Engines: run a command inside an image, and nothing else on this machine.
//!
//! An engine has a pure half, which makes an [`Invocation`] (a plain process to start), and an effect
//! half, which puts the image where the engine finds it. Starting, streaming, stopping are the same
//! for all engines and live in `process`. What an engine can and can't do is asked of its
//! [`Capabilities`], never of its name.
//!
//! Whatever the engine, a command sees the same: no network, a read-only root, an empty `/tmp`, the
//! host name `keyway`, umask 022, the caller's user id, and only the environment it is given. So
//! the engine is never part of what a build is keyed by. There is no engine that runs commands
//! with the machine's own compiler, on purpose.

mod capabilities;
mod client;
mod containers;
mod error;
mod limits;
mod listing;
mod options;
mod owner;
mod process;
#[cfg(target_os = "linux")]
pub mod sandbox;
mod sight;
mod transfer;
mod view;
mod volumes;
mod warm;

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::cache::Cache;
use crate::container::{Command, EngineName, Image, Runner};
use crate::shell::Shell;

pub use capabilities::{Between, Capabilities, Folders, Labels, Privilege};
pub use client::{Client, Kind, Service};
pub use containers::Containers;
pub use error::{EngineError, Status, Unavailable};
pub use owner::Owner;
#[cfg(target_os = "linux")]
pub use sandbox::Sandbox;
pub use volumes::abandoned as abandoned_volumes;

/// Which engine the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum EngineChoice {
    /// The first that works, in the order of `targets.toml`
    #[default]
    Auto,
    /// Docker, here or through `DOCKER_HOST`
    Docker,
    /// Podman, as root or rootless
    Podman,
    /// Linux namespaces, without a daemon
    Sandbox,
}

impl EngineChoice {
    /// The engine, if one was named.
    pub fn name(self) -> Option<EngineName> {
        match self {
            Self::Auto => None,
            Self::Docker => Some(EngineName::Docker),
            Self::Podman => Some(EngineName::Podman),
            Self::Sandbox => Some(EngineName::Sandbox),
        }
    }
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
    /// A command line that ends it if closing its standard input does not; none if killing it does.
    pub force: Vec<OsString>,
    /// The command line inside, for messages.
    pub command: String,
}

impl fmt::Display for Invocation {
    /// A line for a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", display(std::slice::from_ref(&self.program)), display(&self.args))
    }
}

/// Runs commands inside images.
pub trait Engine: Send + Sync {
    /// Its name, as `--engine` takes it.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Its name and version, for people.
    fn description(&self) -> String;

    /// Where it says what it does.
    fn shell(&self) -> &Shell;

    /// Puts the image where the engine finds it, once per process.
    ///
    /// # Errors
    /// If the image can't be loaded or unpacked.
    fn prepare(&self, image: &Image) -> Result<Prepared, EngineError>;

    /// Runs `command` in `image` to its end and hands over each line that it writes, as it comes.
    ///
    /// # Errors
    /// If it can't be started, ends with a status other than 0, or the user interrupts it; nothing
    /// of it is left running in any case.
    fn run(
        &self,
        image: &Image,
        command: &Command,
        on_line: &mut dyn FnMut(Stream, &str),
    ) -> Result<(), EngineError>;

    /// Runs a command whose folders no later command uses; when it is done, all that it made there
    /// is on this machine.
    ///
    /// # Errors
    /// As [`Self::run`]; or if what it made can't be fetched.
    fn run_once(&self, image: &Image, command: &Command) -> Result<(), EngineError> {
        self.run(image, command, &mut |_, _| {})
    }

    /// Brings files that `command` made in its read-write folders to this machine, if they are not
    /// there already; they are named by their paths inside, and one that is not there is left out.
    ///
    /// # Errors
    /// If they can't be fetched.
    fn collect(
        &self,
        image: &Image,
        command: &Command,
        files: &[PathBuf],
    ) -> Result<(), EngineError> {
        let _ = (image, command, files);
        Ok(())
    }
}

impl<E: Engine + ?Sized> Runner for &E {
    fn run(&self, image: &Image, command: &Command) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(Engine::run_once(*self, image, command)?)
    }
}

/// The engine that `choice` stands for on this machine, the first in `order` that works if it is
/// free; says which, and why not another.
///
/// # Errors
/// If the one that was asked for, or every one, does not work here; says what to do about each.
pub fn select<'a>(
    choice: EngineChoice,
    order: &[EngineName],
    cache: &Cache,
    shell: &'a Shell,
) -> Result<Box<dyn Engine + 'a>, EngineError> {
    let engine = match choice.name() {
        Some(name) => open(name, cache, shell)?,
        None => first(order, cache, shell).map_err(EngineError::NoneAvailable)?,
    };
    shell.status("Using", format_args!("engine {}", engine.description()));
    Ok(engine)
}

fn first<'a>(
    order: &[EngineName],
    cache: &Cache,
    shell: &'a Shell,
) -> Result<Box<dyn Engine + 'a>, Vec<Unavailable>> {
    let mut reasons = Vec::new();
    for name in order {
        match open(*name, cache, shell) {
            Ok(engine) => return Ok(engine),
            Err(reason) => {
                shell.detail("Skipping", &reason);
                reasons.push(reason);
            }
        }
    }
    Err(reasons)
}

/// Every engine with its description, or why it does not work here; for `doctor`.
pub fn survey(cache: &Cache, shell: &Shell) -> Vec<(EngineName, Result<String, Unavailable>)> {
    let describe = |engine: Box<dyn Engine + '_>| engine.description();
    EngineName::ORDER.map(|name| (name, open(name, cache, shell).map(describe))).into()
}

/// The engine of that name.
///
/// # Errors
/// If it does not work here.
pub fn open<'a>(
    name: EngineName,
    cache: &Cache,
    shell: &'a Shell,
) -> Result<Box<dyn Engine + 'a>, Unavailable> {
    let kind = match name {
        EngineName::Docker => Kind::Docker,
        EngineName::Podman => Kind::Podman,
        EngineName::Sandbox => return sandbox(cache, shell),
    };
    let service = Service::find(Client::of(kind))?;
    Ok(Box::new(Containers::new(service, Owner::this_process(), cache.clone(), shell)))
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
        hint: "use Docker or Podman".into(),
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

/// The status with which the sandbox says that it, not the command, failed.
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
        value: path.to_string_lossy().into_owned(),
        reason: "a path inside an image is absolute and has no `..`",
    })
}
