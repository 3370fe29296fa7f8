//! The process `xtask sandbox …`: makes namespaces, builds the file system, runs one command.
//!
//! It is two processes. The outer one unshares, starts the inner one and passes its status on. The
//! inner one is process 1 of the new PID namespace: when it ends, the kernel ends all others. It
//! ends with the command, or when its standard input closes, which it does when the tool that
//! started it is gone, however that happened.
//!
//! Nothing here goes through the `Shell`: its stderr is the command's.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use keyway_manifest::text::Show as _;
use rustix::process::{Pid, WaitOptions, WaitStatus};
use rustix::thread::UnshareFlags;
use thiserror::Error;

use super::layout::{self, Bind};
use super::privileges;
use crate::container::Access;
use crate::engine::{ENGINE_FAILED, HOST_NAME};

/// A sandbox and the command to run in it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder that becomes `/`
    #[arg(long, value_name = "FOLDER", required_unless_present = "probe")]
    root: Option<PathBuf>,
    /// Working directory inside
    #[arg(long, value_name = "PATH", default_value = "/")]
    workdir: PathBuf,
    /// `ro` or `rw`, a path of this machine, the path where it is seen inside
    #[arg(long, num_args = 3, value_names = ["ACCESS", "HOST", "GUEST"])]
    mount: Vec<OsString>,
    /// A variable of the command's environment
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// End when standard input is closed
    #[arg(long)]
    watch_stdin: bool,
    /// Only try whether the namespaces can be made
    #[arg(long)]
    probe: bool,
    /// Already inside the namespaces
    #[arg(long, hide = true)]
    inner: bool,
    /// The command
    #[arg(last = true, required_unless_present = "probe")]
    argv: Vec<OsString>,
}

/// What was tried, and why it failed.
#[derive(Debug, Error)]
#[error("could not {action}: {source}")]
pub(super) struct SetupError {
    pub(super) action: String,
    pub(super) source: io::Error,
}

/// For `map_err`.
pub(super) fn failed<E: Into<io::Error>>(
    action: impl Into<String>,
) -> impl FnOnce(E) -> SetupError {
    let action = action.into();
    move |source| SetupError { action, source: source.into() }
}

/// Runs the sandbox to its end and exits with the command's status, 128 + n after signal n, 125 if
/// the sandbox itself failed, 127 or 126 if the command could not be started.
pub fn enter(args: &Args) -> ! {
    let result = if args.inner { inner(args) } else { outer() };
    let Err((status, error)) = result;
    eprintln!("{}: {}", super::NAME, error.to_string().shown_lines());
    std::process::exit(status)
}

type Never = Result<Infallible, (i32, SetupError)>;

/// Makes the namespaces and waits.
fn outer() -> Never {
    let setup = || {
        let flags = UnshareFlags::NEWNS
            | UnshareFlags::NEWPID
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWUTS;
        privileges::unshare(flags)?;
        // The inner process gets the same arguments; what it does with the rest is its business.
        Command::new("/proc/self/exe")
            .arg0("keyway-sandbox")
            .args([super::NAME, "--inner"])
            .args(std::env::args_os().skip_while(|arg| arg != super::NAME).skip(1))
            .status()
            .map_err(failed("start the first process of the sandbox"))
    };
    let status = setup().map_err(|error| (ENGINE_FAILED, error))?;
    std::process::exit(shell_status(status))
}

/// Builds the file system, gives up every privilege, runs the command.
fn inner(args: &Args) -> Never {
    let setup = || {
        rustix::system::sethostname(HOST_NAME.as_bytes()).map_err(failed("set the host name"))?;
        privileges::raise_loopback().map_err(failed("bring up the loopback interface"))?;
        match &args.root {
            Some(root) => layout::build(root, &binds(&args.mount)?)?,
            None => layout::probe()?,
        }
        // A session of its own: the caller's terminal is out of reach.
        rustix::process::setsid().map_err(failed("start a session"))?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        privileges::drop_all()
    };
    setup().map_err(|error| (ENGINE_FAILED, error))?;
    if args.probe {
        std::process::exit(0);
    }
    if args.watch_stdin {
        std::thread::spawn(|| {
            let _ = io::stdin().lock().read(&mut [0]);
            std::process::exit(128 + 9);
        });
    }
    let command = start(args)?;
    let status = reap_until(command).map_err(|error| (ENGINE_FAILED, error))?;
    std::process::exit(status)
}

fn start(args: &Args) -> Result<Pid, (i32, SetupError)> {
    let [program, rest @ ..] = args.argv.as_slice() else {
        let source = io::Error::from(io::ErrorKind::InvalidInput);
        return Err((ENGINE_FAILED, failed("find a command to run")(source)));
    };
    std::env::set_current_dir(&args.workdir).map_err(|source| {
        let action = format!("change to the folder `{}`", args.workdir.shown());
        (ENGINE_FAILED, failed(action)(source))
    })?;
    let env = args.env.iter().map(split_pair);
    let child = Command::new(program)
        .args(rest)
        .env_clear()
        .envs(env)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|source| {
            let status = if source.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
            (status, failed(format!("run `{}`", program.shown()))(source))
        })?;
    Ok(Pid::from_child(&child))
}

fn split_pair(pair: &OsString) -> (&std::ffi::OsStr, &std::ffi::OsStr) {
    use std::os::unix::ffi::OsStrExt;
    let bytes = pair.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
    let value = bytes.get(at + 1..).unwrap_or_default();
    (std::ffi::OsStr::from_bytes(&bytes[..at]), std::ffi::OsStr::from_bytes(value))
}

/// Process 1 collects every orphan; it is done when the command is.
fn reap_until(command: Pid) -> Result<i32, SetupError> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == command => return Ok(raw_status(status)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed("wait for the command")(error)),
        }
    }
}

fn raw_status(status: WaitStatus) -> i32 {
    shell_status(ExitStatus::from_raw(status.as_raw()))
}

fn shell_status(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Host paths are resolved now, since later the host's links would lead elsewhere.
fn binds(mounts: &[OsString]) -> Result<Vec<Bind>, SetupError> {
    let (triples, []) = mounts.as_chunks::<3>() else {
        let source = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(failed("read `--mount`")(source));
    };
    let bind = |[access, host, guest]: &[OsString; 3]| {
        let access = if access == "rw" { Access::ReadWrite } else { Access::ReadOnly };
        let host = Path::new(host)
            .canonicalize()
            .map_err(failed(format!("find `{}` on this machine", host.shown())))?;
        Ok(Bind { host, guest: PathBuf::from(guest), access })
    };
    triples.iter().map(bind).collect()
}
