//! `compat`: builds small plugins around crates that are hard to cross-compile, calls them where a runner
//! is, builds them again, and writes what came of it into `docs/compat.md`.
//!
//! The cases lie in `xtask/compat/`, a workspace of its own with one Cargo.lock. Those that are asked for are
//! copied into a workspace below `target/`, which is then built as a stranger's is: by this program's own
//! commands, with no knowledge of what is inside. What was not asked for keeps what an earlier run found.
//!
//! A case that can't be had for a target says so in its Cargo.toml, with the reason. All else that is not
//! built, called and built again with the same bytes is a failure of this command.

mod cell;
mod place;
mod table;

use std::collections::BTreeMap;
use std::env;
use std::path::Path;

use keyway_manifest::text::Show as _;
use serde::Serialize;

use self::cell::{Call, Cell, Run, Standing};
use self::place::Place;
use self::table::{Page, Results};
use crate::cache::{CacheError, write_atomically};
use crate::engine::EngineChoice;
use crate::failure::{Exit, Failure};
use crate::runner;
use crate::shell::{Shell, count};
use crate::targets::TargetSet;
use crate::workspace::Workspace;

/// Builds and calls plugins around crates that are hard to cross-compile, and writes docs/compat.md.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of cases; all of them unless given
    #[arg(value_name = "NAME")]
    cases: Vec<String>,
    /// This target only; may be given several times
    #[arg(long, value_name = "TRIPLE")]
    target: Vec<String>,
    /// What runs the images
    #[arg(long, value_enum, env = "KEYWAY_ENGINE", default_value_t = EngineChoice::Auto)]
    engine: EngineChoice,
    /// Compilations at once; the number of processors unless given
    #[arg(long, short, value_name = "N")]
    jobs: Option<std::num::NonZeroUsize>,
    /// Leave docs/compat.md and what it is made of as they are
    #[arg(long)]
    check: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    Case { case: &'a str, target: &'a str, standing: Standing, outcome: &'a str },
    Summary(Tally),
}

/// How many cases, each counted for each target, stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Tally {
    good: usize,
    refused: usize,
    failed: usize,
}

impl Tally {
    fn count(&mut self, standing: Standing) {
        *match standing {
            Standing::Good => &mut self.good,
            Standing::Refused => &mut self.refused,
            Standing::Failed => &mut self.failed,
        } += 1;
    }

    /// The end of the command.
    fn verdict(self, logs: &Path) -> Result<(), Failure> {
        if self.failed == 0 {
            return Ok(());
        }
        let n = self.good + self.refused + self.failed;
        let message = format!("{} of {} came to no good end", self.failed, count(n, "case"));
        Err(Failure::new(Exit::Failed, message).with_hint(format!(
            "what the commands said is in `{}`; a case that can't be had for a target says so with \
             `unsupported` in its Cargo.toml",
            logs.join("*.log").shown()
        )))
    }
}

pub(crate) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let source = workspace.root().join("xtask").join("compat");
    let cases = select(&args.cases, &table::cases(&source)?)?;
    let set = TargetSet::open(workspace.targets_file().as_deref())?;
    let targets = set.select(&args.target)?;
    let place = Place::make(&source, &cases, workspace)?;
    let program = env::current_exe().map_err(CacheError::io("find", Path::new("this program")))?;
    let mut results = Results::read(&source)?;
    let mut tally = Tally::default();
    for target in targets {
        let triple = target.triple.as_str();
        shell.status("Trying", format_args!("{} for {triple}", count(cases.len(), "case")));
        let call = if runner::obstacle(target).is_none() { Call::Called } else { Call::NoRunner };
        let run = Run { program: &program, place: &place, target: triple, args, call };
        let cells = run.cells(&cases)?;
        report(triple, &cells, &mut tally, shell);
        if args.check {
            continue;
        }
        // After each target, so that what a stopped run has found is kept.
        for (case, cell) in &cells {
            results.set(case, triple, cell);
        }
        results.write(&source)?;
        let page = Page::new(&source, set.select(&[])?, &results)?.to_string();
        let path = workspace.root().join("docs").join("compat.md");
        write_atomically(&path, page.as_bytes())?;
    }
    let Tally { good, refused, failed } = tally;
    let done = format!("{good} good, {refused} refused, {failed} failed");
    shell.finish(done, &Event::Summary(tally));
    tally.verdict(&workspace.shown(&place.root))
}

fn report(triple: &str, cells: &BTreeMap<String, Cell>, tally: &mut Tally, shell: &Shell) {
    for (case, cell) in cells {
        let (standing, outcome) = (cell.standing(), cell.to_string());
        shell.event(&Event::Case { case, target: triple, standing, outcome: &outcome });
        let word = match standing {
            Standing::Good => "Good",
            Standing::Refused => "Refused",
            Standing::Failed => "Failed",
        };
        let said = outcome.split_once(": ").map_or(outcome.as_str(), |(_, why)| why);
        shell.status(word, format_args!("{case} for {triple}: {said}"));
        tally.count(standing);
    }
}

/// Of the cases that there are those that were asked for; all unless one was.
fn select(asked: &[String], known: &[String]) -> Result<Vec<String>, Failure> {
    if let Some(unknown) = asked.iter().find(|name| !known.contains(name)) {
        return Err(Failure::new(Exit::Usage, format!("there is no case `{unknown}`"))
            .with_hint(format!("cases are: {}", known.join(", "))));
    }
    let is_asked = |name: &&String| asked.is_empty() || asked.contains(name);
    Ok(known.iter().filter(is_asked).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn all_cases_or_those_that_are_asked_for_each_once() {
        let known = names(&["a", "b", "c"]);
        assert_eq!(select(&[], &known).unwrap(), known);
        assert_eq!(select(&names(&["c", "a", "c"]), &known).unwrap(), names(&["a", "c"]));
    }

    #[test]
    fn a_case_that_there_is_not_is_an_error_that_names_those_that_there_are() {
        let failure = select(&names(&["a", "d"]), &names(&["a", "b"])).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.to_string(), "there is no case `d`");
        assert_eq!(failure.hint.as_deref(), Some("cases are: a, b"));
    }

    #[test]
    fn one_failed_case_fails_the_command() {
        let mut tally = Tally::default();
        [Standing::Good, Standing::Refused].into_iter().for_each(|standing| tally.count(standing));
        assert!(tally.verdict(Path::new("x")).is_ok());
        tally.count(Standing::Failed);
        assert_eq!(tally, Tally { good: 1, refused: 1, failed: 1 });
        let failure = tally.verdict(Path::new("target/x")).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert_eq!(failure.to_string(), "1 of 3 cases came to no good end");
        assert!(failure.hint.is_some_and(|hint| hint.contains("`target/x/*.log`")));
    }
}
