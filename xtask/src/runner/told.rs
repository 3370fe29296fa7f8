//! What the host program said of a plugin, and how it ended: together they are the outcome.

use std::collections::VecDeque;

use serde::Deserialize;

use super::{Outcome, Round};
use crate::engine::{EngineError, Status};
use crate::shell::Shell;

/// A line of the host program's output.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event {
    Doing { path: String, what: String },
    Exercise { path: String, calls: u64, errors: u64 },
    Verdict { path: String, refusals: Vec<Refusal> },
    Failure { message: String },
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
}

/// What was said so far.
pub(super) struct Told {
    /// The library, as the program names it.
    path: String,
    /// What it did last.
    doing: Option<String>,
    outcome: Option<Outcome>,
    /// The first line that is not the program's.
    stray: Option<String>,
    /// The last lines of standard error.
    errors: VecDeque<String>,
}

/// How many lines of standard error are kept.
const KEPT_LINES: usize = 20;

impl Told {
    /// Nothing yet, of the library at `path`.
    pub(super) fn of(path: String) -> Self {
        Self { path, doing: None, outcome: None, stray: None, errors: VecDeque::new() }
    }

    /// Takes a line of standard output.
    pub(super) fn line(&mut self, line: &str, shell: &Shell) {
        match serde_json::from_str(line) {
            Ok(Event::Doing { path, what }) if path == self.path => self.doing = Some(what),
            Ok(Event::Exercise { path, calls, errors }) if path == self.path => {
                self.outcome = Some(Outcome::Passed { calls, errors });
            }
            // Of the plugin, or of what the program needs before it looks at one.
            Ok(Event::Failure { message }) => self.outcome = Some(Outcome::Failed { message }),
            Ok(Event::Verdict { path, refusals }) if path == self.path => {
                let codes = refusals.into_iter().map(|refusal| refusal.code).collect();
                self.outcome = Some(Outcome::Refused { codes });
            }
            Ok(_) | Err(_) => {
                shell.detail("Host", line);
                self.stray.get_or_insert_with(|| line.to_owned());
            }
        }
    }

    /// Takes a line of standard error: the plugin's log, and what it says when it breaks.
    pub(super) fn error(&mut self, line: &str, shell: &Shell) {
        shell.detail("Host", line);
        if self.errors.len() == KEPT_LINES {
            self.errors.pop_front();
        }
        self.errors.push_back(line.to_owned());
    }

    /// What came of the plugin, now that the program has ended.
    ///
    /// # Errors
    /// If the program could not be run at all.
    pub(super) fn outcome(
        self,
        ended: Result<(), EngineError>,
        round: Round,
    ) -> Result<Outcome, EngineError> {
        let Self { doing, outcome, stray, errors, .. } = self;
        let passed = matches!(outcome, Some(Outcome::Passed { .. }));
        let when = match doing {
            _ if passed => round.end().to_owned(),
            Some(doing) => format!("when {doing}"),
            None => "before it did anything".to_owned(),
        };
        let broke = |how: String| {
            let errors: String = errors.iter().map(|line| format!("\n  | {line}")).collect();
            Outcome::Failed { message: format!("its host {how} {when}{errors}") }
        };
        Ok(match (ended, outcome, stray) {
            // It has said what went wrong, and that is its status.
            (
                Ok(()) | Err(EngineError::CommandFailed { status: Status::Code(_), .. }),
                Some(outcome),
                _,
            ) if !passed => outcome,
            (Err(EngineError::CommandFailed { status, .. }), ..) => broke(status.to_string()),
            (Err(EngineError::TooLong { limit, .. }), ..) => {
                broke(format!("was stopped after {limit:?},"))
            }
            (Err(error), ..) => return Err(error),
            (Ok(()), _, Some(line)) => Outcome::Failed {
                message: format!("it wrote to standard output, which is its host's: `{line}`"),
            },
            // A plugin can end its host.
            (Ok(()), None, None) => broke("ended early, with status 0,".to_owned()),
            (Ok(()), Some(outcome), None) => outcome,
        })
    }
}
