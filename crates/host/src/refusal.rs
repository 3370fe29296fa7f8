//! Refusals: what a check found, what it expected, and what to do.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use keyway_inspect::Facts;
use keyway_manifest::text::Show as _;
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

    /// The same with another remedy than the code's own.
    pub(crate) fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }
}

impl fmt::Display for Refusal {
    /// One line without the remedy: `KW304 header: it is for another processor: found …`. What came
    /// from the file or its name is escaped; the fields have it as it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, check, .. } = self;
        let (found, expected) = (self.found.shown(), self.expected.shown());
        write!(f, "{code} {check}: {}: found {found}, expected {expected}", code.title())
    }
}

/// A plugin that was refused, with every reason that could be told.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Rejection {
    /// The library, or the name of a plugin that is compiled in.
    pub path: PathBuf,
    /// The reasons, in the gate's order; at least one.
    pub refusals: Vec<Refusal>,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is refused", self.path.shown())?;
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
    /// The library; what of its path is no text can't be told in JSON.
    pub path: Cow<'a, str>,
    /// Whether it may be loaded.
    pub admitted: bool,
    /// Why not.
    pub refusals: &'a [Refusal],
    /// What a stricter host would refuse it for.
    pub warnings: &'a [Refusal],
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
        let path = path.to_string_lossy();
        let admitted = refusals.is_empty();
        Self { event: "verdict", path, admitted, refusals, warnings: &[], facts: None }
    }

    /// The same, with what a stricter host would refuse it for.
    pub fn with_warnings(self, warnings: &'a [Refusal]) -> Self {
        Self { warnings, ..self }
    }

    /// The same, with what was read from the bytes.
    pub fn with_facts(self, facts: Option<&'a Facts>) -> Self {
        Self { facts, ..self }
    }
}
