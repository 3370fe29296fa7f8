//! A process on this machine: starts it, hands its lines over as they come, and ends it when the
//! user asks.
//!
//! A command that has a time limit is ended in the same way when that is over.
//!
//! Two threads read, one loop decides; the loop owns the child, so nothing is signalled that has
//! already ended. The child gets a process group of its own: a Ctrl-C in the terminal reaches this
//! process alone, which then closes the child's standard input. Whatever an engine starts ends at
//! that, and the kernel closes it as well when this process is killed.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use super::error::{EngineError, Status};
use super::{ENGINE_FAILED, Invocation, Stream};
use crate::interrupt;

/// How often an interrupt is looked for while nothing is written.
const TICK: Duration = Duration::from_millis(50);
/// How long a child may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(10);
/// How much of the output an error keeps.
const KEPT_LINES: usize = 40;
/// How much of one line an error keeps.
const KEPT_CHARS: usize = 400;

/// Whether to go on reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    Stop,
}

/// A process and its lines.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) invocation: Invocation,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Line>,
    kept: Ending,
}

/// Runs `invocation` to its end, which must come within `limit` if there is one.
pub(super) fn execute(
    invocation: Invocation,
    limit: Option<Duration>,
    on_line: &mut dyn FnMut(Stream, &str),
) -> Result<(), EngineError> {
    let mut process = Process::start(invocation)?;
    let mut ending = Ending::default();
    let followed = process.follow(limit, &mut |stream, line| {
        let line = String::from_utf8_lossy(&line);
        ending.note(stream, &line);
        on_line(stream, &line);
        Flow::On
    });
    if let Err(error) = followed {
        return Err(ending.add_to(error));
    }
    let (status, _) = process.end()?;
    judge(&process.invocation, status, ending)
}

impl Process {
    /// Starts a process.
    pub(super) fn start(invocation: Invocation) -> Result<Self, EngineError> {
        let mut command = Command::new(&invocation.program);
        command.args(&invocation.args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|source| EngineError::Spawn {
            engine: invocation.engine,
            program: invocation.program.to_string_lossy().into_owned(),
            source,
        })?;
        let (stdin, lines) = (child.stdin.take(), read_lines(&mut child));
        Ok(Self { invocation, child, stdin, lines, kept: Ending::default() })
    }

    /// Writes to its standard input. If it has ended, following it says so.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(bytes).and_then(|()| stdin.flush());
        }
    }

    /// Hands over lines until `on_line` stops it or both streams have ended.
    ///
    /// # Errors
    /// If a pipe breaks, the user asks to stop, or it takes longer than `limit`; the process has ended
    /// then.
    pub(super) fn follow(
        &mut self,
        limit: Option<Duration>,
        on_line: &mut dyn FnMut(Stream, Vec<u8>) -> Flow,
    ) -> Result<(), EngineError> {
        let _waiting = interrupt::Waiting::begin();
        let begun = Instant::now();
        let mut stopped = None;
        let mut is_over = false;
        loop {
            match self.lines.recv_timeout(TICK) {
                Ok(Ok((stream, line))) => {
                    if on_line(stream, line) == Flow::Stop {
                        break;
                    }
                }
                Ok(Err(source)) => {
                    let _ = self.end();
                    return Err(self.pipe(source));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            match stopped {
                None => {
                    is_over = limit.is_some_and(|limit| begun.elapsed() > limit);
                    if is_over || interrupt::requested() {
                        self.stdin = None;
                        stopped = Some(Instant::now());
                    }
                }
                Some(since) if Instant::now() - since > GRACE => {
                    self.force();
                    break;
                }
                _ => {}
            }
        }
        if stopped.is_none() && !interrupt::requested() {
            return Ok(());
        }
        let _ = self.end();
        let command = self.invocation.command.clone();
        Err(match limit {
            Some(limit) if is_over => EngineError::TooLong { command, limit, output: Vec::new() },
            _ => EngineError::Interrupted { command },
        })
    }

    /// Closes its standard input and waits; by force if it takes too long.
    pub(super) fn end(&mut self) -> Result<(ExitStatus, Ending), EngineError> {
        self.stdin = None;
        let deadline = Instant::now() + GRACE;
        loop {
            match self.lines.recv_timeout(TICK) {
                Ok(Ok((stream, line))) => self.kept.note(stream, &String::from_utf8_lossy(&line)),
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                    self.force();
                    break;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        let status = self.child.wait().map_err(|source| self.pipe(source))?;
        Ok((status, std::mem::take(&mut self.kept)))
    }

    /// Keeps what was read, for [`Self::end`] to return.
    pub(super) fn keep(&mut self, ending: Ending) {
        self.kept = ending;
    }

    fn force(&mut self) {
        if let [program, args @ ..] = self.invocation.force.as_slice() {
            // If it fails, the next run sweeps what is left.
            let command = duct::cmd(program, args).stdin_null().stdout_null().stderr_null();
            let _ = command.unchecked().run();
        }
        let _ = self.child.kill();
    }

    fn pipe(&self, source: io::Error) -> EngineError {
        EngineError::Pipe {
            engine: self.invocation.engine,
            program: self.invocation.program.to_string_lossy().into_owned(),
            source,
        }
    }
}

type Line = io::Result<(Stream, Vec<u8>)>;

fn read_lines(child: &mut Child) -> Receiver<Line> {
    // Bounded, so that a slow reader of ours slows the child instead of filling memory.
    let (sender, receiver) = mpsc::sync_channel(1024);
    let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    for (stream, pipe) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
        let (Some(pipe), sender) = (pipe, sender.clone()) else {
            continue;
        };
        thread::spawn(move || read_stream(stream, pipe, &sender));
    }
    receiver
}

fn read_stream(stream: Stream, pipe: impl Read, sender: &SyncSender<Line>) {
    let mut reader = BufReader::with_capacity(1 << 16, pipe);
    loop {
        let mut bytes = Vec::new();
        let line = match reader.read_until(b'\n', &mut bytes) {
            Ok(0) => return,
            Ok(_) => {
                if bytes.last() == Some(&b'\n') {
                    bytes.pop();
                }
                Ok((stream, bytes))
            }
            Err(error) => Err(error),
        };
        let last = line.is_err();
        if sender.send(line).is_err() || last {
            return;
        }
    }
}

/// The end of both streams. What a person needs is on stderr nearly always; stdout may be JSON.
#[derive(Debug, Default)]
pub(super) struct Ending {
    stdout: VecDeque<String>,
    stderr: VecDeque<String>,
}

impl Ending {
    pub(super) fn note(&mut self, stream: Stream, line: &str) {
        let kept = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(match line.char_indices().nth(KEPT_CHARS) {
            Some((at, _)) => format!("{}…", &line[..at]),
            None => line.to_owned(),
        });
    }

    /// Adds what was kept to an error that shows it.
    pub(super) fn add_to(self, error: EngineError) -> EngineError {
        match error {
            EngineError::TooLong { command, limit, .. } => {
                EngineError::TooLong { command, limit, output: self.lines() }
            }
            other => other,
        }
    }

    pub(super) fn lines(self) -> Vec<String> {
        if self.stderr.is_empty() { self.stdout.into() } else { self.stderr.into() }
    }

    /// The last line of stderr that begins with one of `prefixes`, without it.
    pub(super) fn last_from(&self, prefixes: &[&str]) -> Option<String> {
        self.stderr.iter().rev().find_map(|line| {
            prefixes.iter().find_map(|prefix| line.strip_prefix(prefix)).map(str::to_owned)
        })
    }

    /// Why a client could not start a container, in its own words.
    pub(super) fn reason(&self, engine: &str) -> Option<String> {
        let own = format!("{engine}: ");
        let line = self.last_from(&[&own, "Error: "]).or_else(|| self.stderr.back().cloned())?;
        let line = line.strip_prefix("Error response from daemon: ").unwrap_or(&line);
        Some(line.trim_end_matches(&format!("See '{engine} run --help'.")).trim().to_owned())
    }

    /// What a client says when its daemon goes away under it.
    pub(super) fn loss(&self) -> Option<String> {
        const LOST: &str = "error waiting for container: ";
        let line = self.stderr.iter().rev().find(|line| line.contains(LOST))?;
        let reason = line.rsplit(LOST).next().unwrap_or(line);
        Some(reason.trim_end_matches('"').to_owned())
    }
}

/// Tells apart the sandbox's failures from the command's: statuses 125 to 127 are its own if the
/// line that it then writes is there too.
fn judge(invocation: &Invocation, status: ExitStatus, ending: Ending) -> Result<(), EngineError> {
    if status.success() {
        return Ok(());
    }
    let engine = invocation.engine;
    let command = invocation.command.clone();
    let status = match status.code() {
        Some(code) => Status::from_shell(code),
        None => Status::Signal(signal(status)),
    };
    let own = ending.last_from(&[&format!("{engine}: ")]);
    if let (Status::Code(ENGINE_FAILED..=127), Some(reason)) = (status, own) {
        return Err(EngineError::NotStarted { engine, command, reason });
    }
    Err(EngineError::CommandFailed { command, status, output: ending.lines() })
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> i32 {
    std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0)
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> i32 {
    0
}
