//! All output of the tool goes through [`Shell`], which alone knows `--quiet`, `--verbose`,
//! `--json` and colour.
//!
//! Data goes to stdout, everything else to stderr. Under `--json` stdout carries one object a
//! line, each with an `event`, and nothing for people is written but errors and warnings.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use crate::failure::Failure;

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
        Self { verbosity, format, color, progress: MultiProgress::with_draw_target(target) }
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

    /// `    Verb message` on stderr, as cargo does; silent under `--quiet` and `--json`.
    pub fn status(&self, verb: &str, message: impl std::fmt::Display) {
        if self.verbosity > Verbosity::Quiet && self.format == Format::Text {
            self.line(&format!("{} {message}", self.paint("1;32", &format!("{verb:>12}"))));
        }
    }

    /// A line on stderr that only `--verbose` shows.
    pub fn detail(&self, verb: &str, message: impl std::fmt::Display) {
        if self.verbosity >= Verbosity::Verbose && self.format == Format::Text {
            self.line(&format!("{} {message}", self.paint("1;36", &format!("{verb:>12}"))));
        }
    }

    /// A warning on stderr.
    pub fn warn(&self, message: impl std::fmt::Display) {
        self.line(&format!("{}: {message}", self.paint("1;33", "warning")));
    }

    /// The end of a failed command, on stderr: the error, its causes, and the hint.
    pub fn failure(&self, failure: &Failure) {
        self.line(&format!("{}: {failure}", self.paint("1;31", "error")));
        if let Some(hint) = &failure.hint {
            self.line(&format!("{}: {hint}", self.paint("1;36", "hint")));
        }
    }

    /// Text for stderr that another program wrote, such as a compiler's diagnostics.
    pub fn passthrough(&self, text: &str) {
        self.line(text.trim_end_matches('\n'));
    }

    /// A compiler's diagnostic, rendered with colour codes; they are dropped where colour is off.
    pub fn diagnostic(&self, rendered: &str) {
        if self.color {
            self.passthrough(rendered);
        } else {
            self.passthrough(&console::strip_ansi_codes(rendered));
        }
    }

    /// A line of data on stdout, unless stdout carries JSON.
    pub fn data(&self, line: impl std::fmt::Display) {
        if self.format == Format::Text {
            self.stdout_line(&line.to_string());
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
    pub fn paint(&self, sgr: &str, text: &str) -> String {
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
        let written = self.progress.suspend(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        });
        if written.is_err() {
            // The reader is gone (`| head`): there is no one left to work for.
            std::process::exit(0);
        }
    }
}
