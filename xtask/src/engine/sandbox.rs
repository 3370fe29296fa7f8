//! The sandbox: an image's layers unpacked once into a folder, and Linux namespaces around a
//! process that sees that folder as its root. No daemon, no setuid helper, root or plain user.
//!
//! The process that sets the namespaces up is this tool itself, started again as `xtask sandbox …`
//! (`enter`): a fresh process has one thread, which the kernel asks for, and needs no code between
//! fork and exec. The whole description is in its arguments, so `--verbose` shows a line that a
//! person can repeat by hand.

mod enter;
mod layout;
mod privileges;
mod tree;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;

use super::capabilities::{Between, Capabilities, Folders, Labels};
use super::{Engine, EngineError, Invocation, Prepared, Shelf, Stream, Unavailable, process};
use crate::cache::Cache;
use crate::container::{Access, Command, Image};
use crate::shell::Shell;

pub use enter::{Args, enter};
pub use tree::TreeError;

const NAME: &str = "sandbox";

/// The sandbox engine.
#[derive(Debug)]
pub struct Sandbox<'a> {
    program: PathBuf,
    cache: Cache,
    shell: &'a Shell,
    shelf: Shelf,
}

/// This program. The link stays valid when the file is replaced or deleted while it runs.
pub(super) fn this_program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

impl<'a> Sandbox<'a> {
    /// The engine, given the `xtask` program that sets the namespaces up.
    pub fn new(program: PathBuf, cache: Cache, shell: &'a Shell) -> Self {
        Self { program, cache, shell, shelf: Shelf::default() }
    }

    /// Makes the namespaces once, with nothing in them.
    ///
    /// # Errors
    /// If the kernel refuses; says which setting decides that.
    pub fn probe(&self) -> Result<(), Unavailable> {
        let unavailable = |reason: String| {
            let hint = privileges::hint();
            Err(Unavailable { engine: NAME, reason, hint })
        };
        let tried = duct::cmd!(&self.program, "sandbox", "--probe")
            .stdin_null()
            .stdout_null()
            .stderr_capture()
            .unchecked()
            .run();
        match tried {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let last = said.lines().last().unwrap_or("it ended without a word");
                unavailable(last.trim_start_matches("sandbox: ").to_owned())
            }
            Err(error) => {
                unavailable(format!("could not start `{}`: {error}", self.program.shown()))
            }
        }
    }
}

impl Sandbox<'_> {
    /// What is started for `command`; no effects.
    ///
    /// # Errors
    /// If a path has no place in a root.
    pub fn invocation(
        &self,
        image: &Prepared,
        command: &Command,
    ) -> Result<Invocation, EngineError> {
        Ok(Invocation {
            engine: NAME,
            program: self.program.clone().into_os_string(),
            args: arguments(image, command)?,
            force: Vec::new(),
            command: super::display(&command.argv),
        })
    }
}

impl Engine for Sandbox<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            folders: Folders::Mounted,
            privilege: privileges::own(),
            labels: Labels::Absent,
            between: Between::Anew,
        }
    }

    fn description(&self) -> String {
        "sandbox (Linux namespaces)".to_owned()
    }

    fn shell(&self) -> &Shell {
        self.shell
    }

    fn prepare(&self, image: &Image) -> Result<Prepared, EngineError> {
        self.shelf.get_or(image, || {
            tree::root(&self.cache, image, self.shell)
                .map(PathBuf::into_os_string)
                .map_err(|source| EngineError::Unpack { image: image.name.clone(), source })
        })
    }

    fn run(
        &self,
        image: &Image,
        command: &Command,
        on_line: &mut dyn FnMut(Stream, &str),
    ) -> Result<(), EngineError> {
        let command = super::view::of(NAME, command, &self.cache)?;
        let invocation = self.invocation(&self.prepare(image)?, &command)?;
        self.shell.detail("Running", &invocation);
        process::execute(invocation, command.limit, on_line)
    }
}

fn arguments(image: &Prepared, command: &Command) -> Result<Vec<OsString>, EngineError> {
    let mut args: Vec<OsString> = vec!["sandbox".into(), "--watch-stdin".into()];
    args.extend(["--root".into(), image.location.clone()]);
    let workdir = super::guest_path(NAME, &command.workdir)?;
    args.extend(["--workdir".into(), workdir.into_os_string()]);
    let mut mounts: Vec<_> = command.mounts.iter().collect();
    // A folder before what is mounted below it.
    mounts.sort_by_key(|mount| mount.guest.components().count());
    for mount in mounts {
        let access = match mount.access {
            Access::ReadOnly => "ro",
            Access::ReadWrite => "rw",
        };
        let guest = super::guest_path(NAME, &mount.guest)?;
        let host = mount.host.clone();
        args.extend(["--mount".into(), access.into(), host.into(), guest.into_os_string()]);
    }
    for (name, value) in super::environment(image, command) {
        args.extend(["--env".into(), format!("{name}={value}").into()]);
    }
    args.push("--".into());
    args.extend(command.argv.iter().cloned());
    Ok(args)
}

/// `path` without its leading `/`, to join to another root.
fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
