//! What can go wrong between an image and the end of a command in it.

use std::fmt;
use std::io;
use std::time::Duration;

use thiserror::Error;

#[cfg(target_os = "linux")]
use super::sandbox::TreeError;
use crate::failure::{Diagnose, Exit};

/// Why a command did not run inside an image, or how it failed there.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The engine that was asked for does not work on this machine.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// No engine works on this machine.
    #[error("no engine works on this machine{}", reasons(.0))]
    NoneAvailable(Vec<Unavailable>),
    /// The engine's own program could not be started.
    #[error("{engine}: could not start `{program}`")]
    Spawn {
        /// The engine.
        engine: &'static str,
        /// The program on this machine.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The engine works, but could not start the command.
    #[error("{engine}: could not start `{command}` in the image: {reason}")]
    NotStarted {
        /// The engine.
        engine: &'static str,
        /// The command line inside the image.
        command: String,
        /// What the engine said.
        reason: String,
    },
    /// The command ran and failed.
    #[error("`{command}` {status}{}", ending(.output))]
    CommandFailed {
        /// The command line inside the image.
        command: String,
        /// How it ended.
        status: Status,
        /// The last lines that it wrote.
        output: Vec<String>,
    },
    /// The command took longer than it may; nothing of it is left running.
    #[error("`{command}` did not end within {limit:?}{}", ending(.output))]
    TooLong {
        /// The command line inside the image.
        command: String,
        /// How long it may take.
        limit: Duration,
        /// The last lines that it wrote.
        output: Vec<String>,
    },
    /// The engine went away while the command ran.
    #[error("{engine}: the engine stopped while `{command}` ran: {reason}")]
    Lost {
        /// The engine.
        engine: &'static str,
        /// The command line inside the image.
        command: String,
        /// What its client said.
        reason: String,
    },
    /// The user asked to stop; nothing is left running.
    #[error("interrupted while `{command}` ran")]
    Interrupted {
        /// The command line inside the image.
        command: String,
    },
    /// A path or a variable that the engine has no way to express.
    #[error("{engine}: can't pass `{value}`: {reason}")]
    Unsupported {
        /// The engine.
        engine: &'static str,
        /// The value, lossily.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Files could not be brought to the engine or back.
    #[error("{engine}: could not transfer files: {reason}")]
    Transfer {
        /// The engine.
        engine: &'static str,
        /// What failed, and how.
        reason: String,
    },
    /// The image could not be handed to the engine.
    #[error("{engine}: could not load image `{image}`: {reason}")]
    Load {
        /// The engine.
        engine: &'static str,
        /// The image's name.
        image: String,
        /// What the engine said.
        reason: String,
    },
    /// The image could not be unpacked.
    #[cfg(target_os = "linux")]
    #[error("could not unpack image `{image}`")]
    Unpack {
        /// The image's name.
        image: String,
        /// Why.
        source: TreeError,
    },
    /// A pipe to the engine's program broke.
    #[error("{engine}: lost the connection to `{program}`")]
    Pipe {
        /// The engine.
        engine: &'static str,
        /// The program on this machine.
        program: String,
        /// Why.
        source: io::Error,
    },
}

/// Why one engine does not work on this machine, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{engine} is not available: {reason}")]
pub struct Unavailable {
    /// The engine.
    pub engine: &'static str,
    /// What was tried and what came of it.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

/// How a command inside an image ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It ended with this status.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
}

impl Status {
    /// From the status that an engine passes on, where `128 + n` stands for signal `n`.
    pub(super) fn from_shell(code: i32) -> Self {
        if (129..=192).contains(&code) { Self::Signal(code - 128) } else { Self::Code(code) }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "failed with status {code}"),
            // The kernel ends the largest process when memory runs out, and so does a user.
            Self::Signal(9) => write!(f, "was killed by signal 9 (out of memory?)"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

/// How Docker says that it can't find a folder to mount.
const NO_SOURCE: &str = "bind source path does not exist";

fn reasons(all: &[Unavailable]) -> String {
    all.iter().map(|one| format!("\n  {}: {}", one.engine, one.reason)).collect()
}

fn ending(output: &[String]) -> String {
    output.iter().map(|line| format!("\n  | {line}")).collect()
}

impl Diagnose for EngineError {
    fn exit(&self) -> Exit {
        match self {
            Self::CommandFailed { .. } | Self::TooLong { .. } => Exit::Failed,
            Self::Interrupted { .. } => Exit::Interrupted,
            Self::Unsupported { .. } => Exit::Usage,
            Self::Unavailable(_)
            | Self::NoneAvailable(_)
            | Self::Spawn { .. }
            | Self::NotStarted { .. }
            | Self::Lost { .. }
            | Self::Transfer { .. }
            | Self::Load { .. }
            | Self::Pipe { .. } => Exit::Environment,
            #[cfg(target_os = "linux")]
            Self::Unpack { .. } => Exit::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unavailable(one) => Some(one.hint.clone()),
            Self::NoneAvailable(all) => {
                Some(all.iter().map(|one| one.hint.as_str()).collect::<Vec<_>>().join("; or "))
            }
            #[cfg(target_os = "linux")]
            Self::Unpack { source, .. } => source.hint(),
            Self::Transfer { .. } => {
                Some("look whether the daemon still runs, then repeat the command".into())
            }
            Self::NotStarted { reason, .. } if reason.contains(NO_SOURCE) => Some(
                "the daemon sees other files than this machine: set `KEYWAY_DOCKER_MOUNTS=copy`"
                    .into(),
            ),
            Self::Lost { .. } => Some("start the engine again, then repeat the command".into()),
            Self::Unsupported { .. } => {
                Some("move the workspace or the cache, or use another engine".into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_does_not_see_a_folder_has_a_way_out() {
        let said = |reason: &str| {
            let (command, reason) = ("cargo build".to_owned(), reason.to_owned());
            EngineError::NotStarted { engine: "docker", command, reason }.hint()
        };
        let reason = "invalid mount config for type \"bind\": bind source path does not exist: /w";
        assert!(said(reason).is_some_and(|hint| hint.contains("KEYWAY_DOCKER_MOUNTS=copy")));
        assert_eq!(said("no such image"), None);
    }
}
