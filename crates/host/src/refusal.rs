//! Refusals: what a check found, what it expected, and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use keyway_inspect::Facts;
use serde::Serialize;
use thiserror::Error;

use crate::code::{Check, Code};

/// One failed check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The reason.
    pub code: Code,
    /// The check that failed.
    pub check: Check,
    /// What was found.
    pub found: String,
    /// What the host expects.
    pub expected: String,
    /// What to do.
    pub remedy: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            code,
            check: code.check(),
            found: found.into(),
            expected: expected.into(),
            remedy: code.remedy().to_owned(),
        }
    }
}

impl fmt::Display for Refusal {
    /// One line without the remedy: `KW304 header: it is for another processor: found …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, check, found, expected, .. } = self;
        write!(f, "{code} {check}: {}: found {found}, expected {expected}", code.title())
    }
}

/// A plugin that was refused, with every reason that could be told.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Rejection {
    /// The library.
    pub path: PathBuf,
    /// The reasons, in the gate's order; at least one.
    pub refusals: Vec<Refusal>,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is refused", self.path.display())?;
        for refusal in &self.refusals {
            write!(f, "\n  {refusal}\n    remedy: {}", refusal.remedy)?;
        }
        Ok(())
    }
}

/// The outcome of the gate as one JSON object, the line that scripts read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict<'a> {
    /// Always `verdict`.
    event: &'static str,
    /// The library.
    pub path: &'a Path,
    /// Whether it may be loaded.
    pub admitted: bool,
    /// Why not.
    pub refusals: &'a [Refusal],
    /// What was read from its bytes, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<&'a Facts>,
}

impl<'a> Verdict<'a> {
    /// The verdict on `path`, from what the gate gave.
    pub fn new<T>(path: &'a Path, outcome: &'a Result<T, Rejection>) -> Self {
        let refusals = match outcome {
            Ok(_) => &[],
            Err(rejection) => &*rejection.refusals,
        };
        Self { event: "verdict", path, admitted: refusals.is_empty(), refusals, facts: None }
    }

    /// The same, with what was read from the bytes.
    pub fn with_facts(self, facts: Option<&'a Facts>) -> Self {
        Self { facts, ..self }
    }
}
