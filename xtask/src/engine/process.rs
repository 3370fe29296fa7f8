//! Starts an [`Invocation`], hands over its lines as they come, and ends it when the user asks.
//!
//! Two threads read, one loop decides; the loop owns the child, so nothing is signalled that has
//! already ended. The child gets a process group of its own: a Ctrl-C in the terminal reaches this
//! process alone, which then ends the child in the way its engine needs.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use super::error::{EngineError, Status};
use super::{ENGINE_FAILED, Invocation, Stop, Stream};
use crate::interrupt;

/// How often an interrupt is looked for while nothing is written.
const TICK: Duration = Duration::from_millis(50);
/// How long a child may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(10);
/// How much of the output an error keeps.
const KEPT_LINES: usize = 40;
/// How much of one line an error keeps.
const KEPT_CHARS: usize = 400;

/// Runs `invocation` to its end.
pub(super) fn execute(
    invocation: &Invocation,
    on_line: &mut dyn FnMut(Stream, &str),
) -> Result<(), EngineError> {
    let pipe = |source| EngineError::Pipe {
        engine: invocation.engine,
        program: invocation.program.to_string_lossy().into_owned(),
        source,
    };
    let _waiting = interrupt::Waiting::begin();
    let mut child = spawn(invocation)?;
    let lines = read_lines(&mut child);
    let mut ending = Ending::default();
    let mut stopped = None;
    loop {
        match lines.recv_timeout(TICK) {
            Ok(Ok((stream, line))) => {
                ending.note(stream, &line);
                on_line(stream, &line);
            }
            Ok(Err(source)) => {
                stop(invocation, &mut child);
                let _ = child.wait();
                return Err(pipe(source));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        match stopped {
            None if interrupt::requested() => {
                stop(invocation, &mut child);
                stopped = Some(Instant::now());
            }
            Some(since) if Instant::now() - since > GRACE => {
                let _ = child.kill();
                break;
            }
            _ => {}
        }
    }
    let status = child.wait().map_err(pipe)?;
    if stopped.is_some() || interrupt::requested() {
        return Err(EngineError::Interrupted { command: invocation.command.clone() });
    }
    judge(invocation, status, ending)
}

fn spawn(invocation: &Invocation) -> Result<Child, EngineError> {
    let mut command = Command::new(&invocation.program);
    command.args(&invocation.args).stdout(Stdio::piped()).stderr(Stdio::piped());
    match invocation.stop {
        Stop::CloseStdin => command.stdin(Stdio::piped()),
        Stop::Run(_) => command.stdin(Stdio::null()),
    };
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    #[cfg(target_os = "linux")]
    if let Stop::Run(_) = invocation.stop {
        end_with_parent(&mut command);
    }
    command.spawn().map_err(|source| EngineError::Spawn {
        engine: invocation.engine,
        program: invocation.program.to_string_lossy().into_owned(),
        source,
    })
}

/// Has the kernel send SIGTERM to the child when the thread that spawned it is gone, which is this
/// one and waits for it: so a `kill -9` of this process still stops the container.
#[cfg(target_os = "linux")]
fn end_with_parent(command: &mut Command) {
    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
    use std::os::unix::process::CommandExt;

    let parent = getpid();
    let hook = move || {
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // The parent may have ended before the line above.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: between fork and exec the hook makes three system calls; it does not allocate, lock
    // or touch memory that another thread of the parent may have left in between.
    unsafe { command.pre_exec(hook) };
}

fn stop(invocation: &Invocation, child: &mut Child) {
    match &invocation.stop {
        Stop::CloseStdin => drop(child.stdin.take()),
        Stop::Run(argv) => {
            if let [program, args @ ..] = argv.as_slice() {
                // If it fails, the next run sweeps what is left; the child is killed after GRACE.
                let _ = duct::cmd(program, args)
                    .stdin_null()
                    .stdout_null()
                    .stderr_null()
                    .unchecked()
                    .run();
            }
        }
    }
}

type Line = io::Result<(Stream, String)>;

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
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let line = match reader.read_until(b'\n', &mut bytes) {
            Ok(0) => return,
            Ok(_) => {
                if bytes.last() == Some(&b'\n') {
                    bytes.pop();
                }
                Ok((stream, String::from_utf8_lossy(&bytes).into_owned()))
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
#[derive(Default)]
struct Ending {
    stdout: VecDeque<String>,
    stderr: VecDeque<String>,
}

impl Ending {
    fn note(&mut self, stream: Stream, line: &str) {
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

    fn lines(self) -> Vec<String> {
        if self.stderr.is_empty() { self.stdout.into() } else { self.stderr.into() }
    }
}

/// Tells apart the engine's failures from the command's: statuses 125 to 127 are the engine's if
/// the line that its client then writes is there too.
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
    let find = |is_it: &dyn Fn(&String) -> bool| ending.stderr.iter().find(|line| is_it(line));
    // The client's words when the daemon's socket closes under it.
    const LOST: &str = "error waiting for container: ";
    let lost = |line: &String| line.contains(LOST);
    if let (Stop::Run(_), Some(line)) = (&invocation.stop, find(&lost)) {
        let reason = line.rsplit(LOST).next().unwrap_or(line).trim_end_matches('"').to_owned();
        return Err(EngineError::Lost { engine, command, reason });
    }
    // The second is what Docker's own process 1 says when it can't execute the command.
    let prefix = format!("{engine}: ");
    let own = |line: &String| line.starts_with(&prefix) || line.starts_with("[FATAL tini ");
    if let (Status::Code(ENGINE_FAILED..=127), Some(line)) = (status, find(&own)) {
        let reason = line
            .trim_start_matches(&prefix)
            .trim_start_matches("Error response from daemon: ")
            .to_owned();
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
