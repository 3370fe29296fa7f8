//! All output of the tool goes through [`Shell`], which alone knows `--quiet`, `--verbose`,
//! `--json` and colour.
//!
//! Data goes to stdout, everything else to stderr. Under `--json` stdout carries one object a
//! line, each with an `event`, and nothing for people is written but errors and warnings.
//!
//! What reaches a terminal is escaped here, whoever made the message: of what others wrote, names and
//! paths above all, nothing moves a cursor or turns text around, and where one line is meant there is
//! one. Colours alone pass, those of this file and of compilers. JSON has the text itself.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use keyway_manifest::text::Show as _;
use serde::Serialize;

use crate::failure::{Exit, Failure};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors and warnings only.
    Quiet,
    /// A line an artifact.
    Normal,
    /// Command lines and reasons too.
    Verbose,
}

/// What stdout is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal that does not set `NO_COLOR`.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The one way to speak to the user.
#[derive(Debug)]
pub struct Shell {
    verbosity: Verbosity,
    format: Format,
    color: bool,
    progress: MultiProgress,
    /// The warnings that are said once only.
    warned: Mutex<BTreeSet<String>>,
    started: Instant,
    /// Why standard output takes no more, if it doesn't.
    closed: OnceLock<io::Error>,
}

/// An event `summary` as it is written: with the time that the command took.
#[derive(Serialize)]
struct Summary<'a, S> {
    #[serde(flatten)]
    summary: &'a S,
    seconds: f64,
}

impl Shell {
    /// A shell with the user's choices; whether a terminal is there is looked up here.
    pub fn new(verbosity: Verbosity, format: Format, color: ColorChoice) -> Self {
        let terminal = io::stderr().is_terminal();
        let color = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            }
        };
        let bars = terminal
            && verbosity > Verbosity::Quiet
            && format == Format::Text
            && std::env::var_os("CI").is_none();
        let target = if bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let (progress, warned) = (MultiProgress::with_draw_target(target), Mutex::default());
        let (started, closed) = (Instant::now(), OnceLock::new());
        Self { verbosity, format, color, progress, warned, started, closed }
    }

    /// A shell for tests: quiet, text, no colour.
    pub fn silent() -> Self {
        Self::new(Verbosity::Quiet, Format::Text, ColorChoice::Never)
    }

    /// How much the user wants to hear.
    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Whether stdout carries JSON.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Where progress bars are drawn; hidden unless stderr is a terminal outside CI.
    pub fn progress(&self) -> &MultiProgress {
        &self.progress
    }

    /// Whether progress bars are seen; if not, plain lines take their place.
    pub fn has_bars(&self) -> bool {
        !self.progress.is_hidden()
    }

    /// Progress through `n` things that are done one after the other.
    pub fn steps(&self, n: usize) -> Steps<'_> {
        let style = ProgressStyle::with_template(
            "{prefix:>28} [{bar:24}] {pos:>3}/{len:3} {elapsed:>4} {wide_msg}",
        )
        .expect("the template is right")
        .progress_chars("=> ");
        let bar = self.progress.add(ProgressBar::new(n as u64).with_style(style));
        bar.enable_steady_tick(Duration::from_millis(200));
        Steps { shell: self, bar, n, begun: AtomicUsize::new(0) }
    }

    /// `    Verb message` on stderr, as cargo does; silent under `--quiet` and `--json`.
    pub fn status(&self, verb: &str, message: impl std::fmt::Display) {
        if self.verbosity > Verbosity::Quiet && self.format == Format::Text {
            self.verb("1;32", verb, &message);
        }
    }

    /// A line on stderr that only `--verbose` shows.
    pub fn detail(&self, verb: &str, message: impl std::fmt::Display) {
        if self.verbosity >= Verbosity::Verbose && self.format == Format::Text {
            self.verb("1;36", verb, &message);
        }
    }

    fn verb(&self, sgr: &str, verb: &str, message: &dyn std::fmt::Display) {
        let message = message.to_string();
        self.line(&format!("{} {}", self.paint(sgr, &format!("{verb:>12}")), message.shown()));
    }

    /// The end of a command: one line that says what was done and in what time, and under `--json` its
    /// event `summary`. What failed is said after it.
    pub fn finish(&self, done: impl std::fmt::Display, summary: &impl Serialize) {
        let elapsed = self.started.elapsed();
        let seconds = (elapsed.as_secs_f64() * 1000.0).round() / 1000.0;
        self.event(&Summary { summary, seconds });
        self.status("Finished", format_args!("{done} in {}", time(elapsed)));
    }

    /// Why what was written to standard output did not arrive, if it did not.
    ///
    /// Work goes on without a reader: `build-plugins | head` still delivers what it was asked for. Only
    /// its status says that not all was read.
    pub fn unread(&self) -> Option<Failure> {
        let error = self.closed.get()?;
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Some(Failure::reported(Exit::Unread));
        }
        let message = format!("could not write to standard output: {error}");
        Some(
            Failure::new(Exit::Environment, message)
                .with_hint("all else was done; only what was to be written there is lost"),
        )
    }

    /// A warning on stderr, on one line.
    pub fn warn(&self, message: impl std::fmt::Display) {
        self.warn_lines(message.to_string().shown());
    }

    /// A warning of several lines, such as those to be pasted.
    pub fn warn_lines(&self, message: impl std::fmt::Display) {
        self.labelled("1;33", "warning", &message.to_string());
    }

    fn labelled(&self, sgr: &str, label: &str, message: &str) {
        self.line(&format!("{}: {}", self.paint(sgr, label), message.shown_lines()));
    }

    /// A warning that holds for all targets, and is said for the first of them.
    pub fn warn_once(&self, message: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.insert(message.to_owned()) {
            self.warn_lines(message);
        }
    }

    /// The end of a failed command, on stderr: the error, its causes, and the hint.
    pub fn failure(&self, failure: &Failure) {
        self.labelled("1;31", "error", &failure.to_string());
        if let Some(hint) = &failure.hint {
            self.labelled("1;36", "hint", hint);
        }
    }

    /// Text for stderr that another program wrote, such as a compiler's diagnostics. Its colours are
    /// dropped where colour is off.
    pub fn passthrough(&self, text: &str) {
        let text = text.trim_end_matches('\n');
        match self.color {
            true => self.line(&coloured(text)),
            false => self.line(&console::strip_ansi_codes(text).shown_lines().to_string()),
        }
    }

    /// A line of data on stdout, unless stdout carries JSON.
    pub fn data(&self, line: impl std::fmt::Display) {
        if self.format == Format::Text {
            self.stdout_line(&line.to_string().shown().to_string());
        }
    }

    /// The same with a word in it in the colour of an SGR code, where colour is on.
    pub fn marked(&self, before: &str, sgr: &str, word: &str, after: &str) {
        if self.format == Format::Text {
            let word = self.paint(sgr, word);
            let line = format!("{}{word}{}", before.shown(), after.shown());
            self.stdout_line(line.trim_end());
        }
    }

    /// Bytes of data on stdout as they are, unless stdout carries JSON.
    pub fn raw(&self, bytes: &[u8]) {
        if self.format == Format::Text {
            self.stdout(bytes);
        }
    }

    /// One JSON object on stdout, under `--json` only.
    pub fn event(&self, event: &impl Serialize) {
        if self.format == Format::Json {
            self.stdout_line(&serde_json::to_string(event).expect("events have string keys"));
        }
    }

    /// `text` in the colour of an SGR code, where colour is on.
    fn paint(&self, sgr: &str, text: &str) -> String {
        if self.color { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&self, line: &str) {
        self.progress.suspend(|| {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(io::stderr().lock(), "{line}");
        });
    }

    fn stdout_line(&self, line: &str) {
        self.stdout(format!("{line}\n").as_bytes());
    }

    fn stdout(&self, bytes: &[u8]) {
        if self.closed.get().is_some() {
            return;
        }
        let written = self.progress.suspend(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        });
        if let Err(error) = written {
            // Only the first error is kept.
            let _ = self.closed.set(error);
        }
    }
}

/// `text` with its colours and nothing else that a terminal takes for a command.
pub(crate) fn coloured(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut line = parts.next().unwrap_or_default().shown_lines().to_string();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(part.len());
        match part[end..].strip_prefix('m') {
            Some(rest) => line += &format!("\x1b[{}m{}", &part[..end], rest.shown_lines()),
            None => line += &format!("\x1b[{part}").shown_lines().to_string(),
        }
    }
    line
}

/// `1 plugin`, `3 plugins`.
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// How far a command is: a line where each thing begins, and a bar on a terminal.
#[derive(Debug)]
pub struct Steps<'a> {
    shell: &'a Shell,
    bar: ProgressBar,
    n: usize,
    begun: AtomicUsize,
}

impl Steps<'_> {
    /// Says that the next thing begins.
    pub fn begin(&self, verb: &str, what: impl std::fmt::Display) {
        let done = self.begun.fetch_add(1, Ordering::Relaxed);
        self.bar.set_position(done as u64);
        self.bar.set_prefix(verb.to_owned());
        self.bar.set_message(what.to_string().shown().to_string());
        match self.n {
            1 => self.shell.status(verb, what),
            n => self.shell.status(verb, format_args!("{what} ({} of {n})", done + 1)),
        }
    }
}

impl Drop for Steps<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A time for people: `0.03 s`, `12.3 s`, `2 min 05 s`.
fn time(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 1.0 {
        format!("{seconds:.2} s")
    } else if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else {
        let seconds = seconds.round() as u64;
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_pass_and_commands_do_not() {
        let text = "\x1b[1;31merror\x1b[0m: `\x1b[2J\x1b]0;x\x07\x1b[`\n\tlet x\x1b[m\x1b[38;5;9m";
        let expected = "\x1b[1;31merror\x1b[0m: `\\u{1b}[2J\\u{1b}]0;x\\u{7}\\u{1b}[`\n\tlet x\x1b[m\x1b[38;5;9m";
        assert_eq!(coloured(text), expected);
    }

    #[test]
    fn times_are_short() {
        let of = |ms| time(Duration::from_millis(ms));
        assert_eq!(of(4), "0.00 s");
        assert_eq!(of(999), "1.00 s");
        assert_eq!(of(12_340), "12.3 s");
        assert_eq!(of(59_960), "1 min 00 s");
        assert_eq!(of(125_400), "2 min 05 s");
        assert_eq!(of(3_723_000), "62 min 03 s");
    }
}
