//! How a command fails: one report type at the edge, and the exit status that scripts rely on.
//!
//! A stage has its own error type and says through [`Diagnose`] which status it ends with and what
//! the user can do; the command line prints it once, with its causes.

use std::error::Error;
use std::fmt;

use thiserror::Error as ThisError;

/// The exit statuses, a contract with scripts and pipelines. Success is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// The work itself failed: a compile error, a failed test.
    Failed = 1,
    /// The command line or a file that the user wrote is wrong.
    Usage = 2,
    /// Something was checked and refused: gate, audit, verify.
    Refused = 3,
    /// The environment lacks something: an engine, a mirror, disk space.
    Environment = 4,
    /// The user interrupted it.
    Interrupted = 130,
    /// Whoever read standard output left before its end; what a program has that a closed pipe ends.
    Unread = 141,
}

/// What a stage's error knows beyond its message.
pub trait Diagnose: Error + Send + Sync + 'static {
    /// The status the process ends with.
    fn exit(&self) -> Exit;

    /// What to do next, as a sentence fragment without a final dot.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// A command's failure: the error, its exit status and a hint.
#[derive(Debug)]
pub struct Failure {
    /// The status the process ends with.
    pub exit: Exit,
    /// What went wrong; causes are its `source` chain.
    pub error: Box<dyn Error + Send + Sync>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure that no stage's error type describes.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, error: message.into().into(), hint: None }
    }

    /// The end of a command that has said itself what failed; nothing more is printed.
    pub fn reported(exit: Exit) -> Self {
        Self { exit, error: Box::new(Reported), hint: None }
    }

    /// Whether the user knows already.
    pub fn is_reported(&self) -> bool {
        self.error.is::<Reported>()
    }

    /// The same failure with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The error of [`Failure::reported`].
#[derive(Debug, ThisError)]
#[error("said above")]
struct Reported;

impl<E: Diagnose> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: error.exit(), hint: error.hint(), error: Box::new(error) }
    }
}

impl fmt::Display for Failure {
    /// The error, then each cause on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&below_each_other(&self.error.to_string()))?;
        let mut cause = self.error.source();
        while let Some(error) = cause {
            write!(f, "\n  caused by: {}", below_each_other(&error.to_string()))?;
            cause = error.source();
        }
        Ok(())
    }
}

/// An error's text with all lines but the first indented, so that none of them looks like a message of
/// its own, whatever a file's text in it is.
fn below_each_other(text: &str) -> String {
    let is_flush = |line: &str| !line.is_empty() && !line.starts_with("  ");
    let text = text.trim_end_matches('\n');
    match text.lines().skip(1).any(is_flush) {
        true => text.replace('\n', "\n  ").replace("\n  \n", "\n\n"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_an_error_looks_like_one_of_its_own() {
        #[derive(Debug, ThisError)]
        #[error("no lock")]
        struct Error(#[source] Cause);
        #[derive(Debug, ThisError)]
        #[error("line 1\n  |\n1 | x\nok: admitted\n\nend\n")]
        struct Cause;

        let said = |error| Failure { exit: Exit::Failed, error, hint: None }.to_string();
        let expected = "no lock\n  caused by: line 1\n    |\n  1 | x\n  ok: admitted\n\n  end";
        assert_eq!(said(Box::new(Error(Cause))), expected);
        // What is indented already stays.
        assert_eq!(said("it failed\n  | last line".into()), "it failed\n  | last line");
    }
}
