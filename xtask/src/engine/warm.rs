//! A container that stays between commands: the image's shell, fed through its standard input.
//!
//! Starting a container takes a fraction of a second, a command in one that runs takes a few
//! milliseconds. The shell is process 1. It runs each command in the background and goes back to
//! reading, so it notices at any time that its input was closed, and ends; then the kernel ends all
//! others and the engine removes the container. That happens when this process lets go of it, is
//! interrupted, or is killed.
//!
//! What one command leaves, no later one sees: processes are killed and what is writable in the
//! container is emptied; a container that can't be cleaned is not used again. The end of a command
//! is a line that holds a random word, on both streams.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::time::Duration;

use super::error::{EngineError, Status};
use super::process::{Ending, Flow, Process};
use super::{Invocation, Stream};
use crate::container::Mount;

/// What an image must have besides `cat`, `cp`, `env` and `rm`.
pub(super) const SHELL: &str = "/bin/sh";

/// Read by the shell before any command. Its own complaints, such as `Killed`, go nowhere; file
/// descriptor 4 is the container's standard error.
const PRELUDE: &str = r#"
umask 022
exec 4>&2 2>/dev/null
# Commands in the background ignore Ctrl-C unless told otherwise; older programs can't be.
reset=; env --default-signal=INT,QUIT true && reset=--default-signal=INT,QUIT
keyway() {
    folder=$1; shift
    (
        cd -- "$folder" || { echo "keyway: could not change to the folder \`$folder\`" >&4; exit 125; }
        exec env -i $reset "$@"
    ) </dev/null 2>&4 4>&-
    status=$?
    kill -9 -1
    clean=clean
    $reuse && rm -rf /tmp/* /tmp/.[!.]* /tmp/..?* /dev/shm/* /dev/shm/.[!.]* || clean=dirty
    printf '%s %03d %s\n' "$word" $status $clean
    printf '%s %03d %s\n' "$word" $status $clean >&4
}
"#;
/// What follows the word in the last line of a command: the status, and whether all was cleaned.
const TAIL: usize = " 000 clean".len();

/// A running container.
#[derive(Debug)]
pub(super) struct Warm {
    process: Process,
    word: String,
}

/// How a command ended, and whether the container can be used again.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) status: i32,
    pub(super) ending: Ending,
    pub(super) is_clean: bool,
}

/// Whether a container may serve another command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reuse {
    Keep,
    /// Something of this machine lies in a folder that is emptied between commands.
    Never,
}

impl Reuse {
    pub(super) fn for_mounts(mounts: &[Mount]) -> Self {
        let emptied = |mount: &Mount| {
            ["/tmp", "/dev/shm"].iter().any(|folder| mount.guest.starts_with(folder))
        };
        if mounts.iter().any(emptied) { Self::Never } else { Self::Keep }
    }
}

/// How the last line of a command was understood.
struct Last {
    status: i32,
    is_clean: bool,
}

impl Warm {
    /// Starts a container and waits until its shell answers.
    ///
    /// # Errors
    /// If it can't be started, or the user asks to stop.
    pub(super) fn start(invocation: Invocation, reuse: Reuse) -> Result<Self, EngineError> {
        let word = random_word();
        let reuse = match reuse {
            Reuse::Keep => "true",
            Reuse::Never => "false",
        };
        let process = Process::start(invocation)?;
        let mut warm = Self { process, word };
        let hello = format!("word={}\nreuse={reuse}\n{PRELUDE}\nkeyway / true &\n", warm.word);
        let done = warm.follow(hello.as_bytes(), None, &mut |_, _| {})?;
        match done {
            Some(Done { status: 0, .. }) => Ok(warm),
            Some(done) => Err(warm.not_started(&done.ending)),
            None => {
                let (_, ending) = warm.process.end()?;
                Err(warm.not_started(&ending))
            }
        }
    }

    /// Runs one command to its end; nothing if the container went away under it.
    ///
    /// # Errors
    /// If the user asks to stop, or the command takes longer than it may; the container is then gone.
    pub(super) fn run(
        &mut self,
        argv: &[impl AsRef<OsStr>],
        env: &BTreeMap<String, String>,
        workdir: &Path,
        limit: Option<Duration>,
        on_line: &mut dyn FnMut(Stream, &str),
    ) -> Result<Option<Done>, EngineError> {
        // The last command's end was told by a process that may not have been collected yet.
        let mut script = b"wait\nkeyway".to_vec();
        let mut word = |text: &OsStr| {
            script.push(b' ');
            quote(text.as_encoded_bytes(), &mut script);
        };
        word(workdir.as_os_str());
        for (name, value) in env {
            word(format!("{name}={value}").as_ref());
        }
        argv.iter().for_each(|arg| word(arg.as_ref()));
        script.extend(b" &\n");
        self.follow(&script, limit, on_line)
    }

    /// What is said when the container went away.
    pub(super) fn lost(&mut self) -> Result<String, EngineError> {
        let (status, ending) = self.process.end()?;
        Ok(ending.loss().unwrap_or_else(|| format!("its container ended with {status}")))
    }

    /// What messages call the command that follows.
    pub(super) fn called(&mut self, command: String) {
        self.process.invocation.command = command;
    }

    /// Ends the container and waits until it is gone.
    pub(super) fn end(mut self) -> Result<(), EngineError> {
        self.process.end().map(drop)
    }

    fn follow(
        &mut self,
        script: &[u8],
        limit: Option<Duration>,
        on_line: &mut dyn FnMut(Stream, &str),
    ) -> Result<Option<Done>, EngineError> {
        self.process.write(script);
        let mut ending = Ending::default();
        let mut last: [Option<Last>; 2] = [None, None];
        let word = self.word.as_str();
        let ended = self.process.follow(limit, &mut |stream, line| {
            let (text, end) = match split_last(&line, word) {
                Some((text, end)) => (text, Some(end)),
                None => (line.as_slice(), None),
            };
            // A line without an end is a line; no line before the last is none.
            if end.is_none() || !text.is_empty() {
                let text = String::from_utf8_lossy(text);
                ending.note(stream, &text);
                on_line(stream, &text);
            }
            if end.is_some() {
                last[stream as usize] = end;
            }
            if last.iter().all(Option::is_some) { Flow::Stop } else { Flow::On }
        });
        if let Err(error) = ended {
            return Err(ending.add_to(error));
        }
        let [Some(out), Some(_)] = last else {
            self.process.keep(ending);
            return Ok(None);
        };
        Ok(Some(Done { status: out.status, ending, is_clean: out.is_clean }))
    }

    fn not_started(&self, ending: &Ending) -> EngineError {
        let Invocation { engine, command, .. } = &self.process.invocation;
        EngineError::NotStarted {
            engine,
            command: command.clone(),
            reason: ending.reason(engine).unwrap_or_else(|| {
                format!("the image has no `{SHELL}`, `cat`, `env` or `rm` that works")
            }),
        }
    }
}

impl Done {
    /// The command's own failure, told apart from the image's: what could not be started is said by
    /// `env` or by the shell's function.
    pub(super) fn judge(self, engine: &'static str, command: &str) -> Result<(), EngineError> {
        let Self { status, ending, .. } = self;
        if status == 0 {
            return Ok(());
        }
        let command = command.to_owned();
        if let (125..=127, Some(reason)) = (status, ending.last_from(&["env: ", "keyway: "])) {
            return Err(EngineError::NotStarted { engine, command, reason });
        }
        let status = Status::from_shell(status);
        Err(EngineError::CommandFailed { command, status, output: ending.lines() })
    }
}

/// The text before the word and what follows it, if the line is a command's last.
fn split_last<'a>(line: &'a [u8], word: &str) -> Option<(&'a [u8], Last)> {
    let (rest, tail) = line.split_at_checked(line.len().checked_sub(TAIL)?)?;
    let text = rest.strip_suffix(word.as_bytes())?;
    let mut fields = std::str::from_utf8(tail).ok()?.split_whitespace();
    let status = fields.next()?.parse().ok()?;
    Some((text, Last { status, is_clean: fields.next()? == "clean" }))
}

/// In single quotes a shell changes nothing.
fn quote(text: &[u8], into: &mut Vec<u8>) {
    into.push(b'\'');
    for byte in text {
        match byte {
            b'\'' => into.extend(br"'\''"),
            byte => into.push(*byte),
        }
    }
    into.push(b'\'');
}

/// No command writes it by accident.
fn random_word() -> String {
    let number = || RandomState::new().build_hasher().finish();
    format!("keyway-{:016x}{:016x}", number(), number())
}
