//! What came of one case for one target.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::Args;
use super::place::{Place, Said};
use super::table::Manifest;
use crate::cache::CacheError;
use crate::failure::Failure;

/// How the package of a case is called: this and its folder's name.
pub(super) const PREFIX: &str = "compat-";

/// What came of a case for a target; as text, what is kept of it. Where there is more to say than fits
/// into a table, that stands after a colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    /// Built twice with the same bytes; and whether it was loaded and called.
    Identical(Call),
    /// Its Cargo.toml says why it can't be had for that target.
    LeftOut(String),
    /// Built, and refused by the gate: the refusals.
    Refused(String),
    /// Built and called, but built again otherwise.
    Different,
    /// Loading or calling failed.
    CallFailed(String),
    /// It was not built: the crates that failed.
    NotBuilt(String),
}

/// Whether a plugin was loaded and called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// On the target's runner.
    Called,
    /// There is no runner.
    NoRunner,
}

/// What a cell means for the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Standing {
    /// It is as it should be.
    Good,
    /// It can't be had, for a reason that is given.
    Refused,
    /// It went wrong, or was refused where its Cargo.toml doesn't say so.
    Failed,
}

impl Cell {
    pub(super) fn standing(&self) -> Standing {
        match self {
            Self::Identical(_) => Standing::Good,
            Self::LeftOut(_) => Standing::Refused,
            Self::Refused(_) | Self::Different | Self::CallFailed(_) | Self::NotBuilt(_) => {
                Standing::Failed
            }
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identical(Call::Called) => f.write_str("called"),
            Self::Identical(Call::NoRunner) => f.write_str("built"),
            Self::LeftOut(why) => write!(f, "refused: {why}"),
            Self::Refused(why) => write!(f, "failed: the gate refuses it: {why}"),
            Self::Different => f.write_str("failed: other bytes the second time"),
            Self::CallFailed(why) => write!(f, "failed: when called: {why}"),
            Self::NotBuilt(why) => write!(f, "failed: not built: {why}"),
        }
    }
}

/// The commands for one target.
pub(super) struct Run<'a> {
    pub(super) program: &'a Path,
    pub(super) place: &'a Place,
    pub(super) target: &'a str,
    pub(super) args: &'a Args,
    /// Whether the target has a runner.
    pub(super) call: Call,
}

/// What the commands for one target said.
#[derive(Debug, Default)]
struct Told {
    built: Said,
    /// None where there is no runner.
    called: Option<Said>,
    again: Said,
}

impl Run<'_> {
    /// Builds, calls and builds again; what came of each case.
    pub(super) fn cells(&self, cases: &[String]) -> Result<BTreeMap<String, Cell>, Failure> {
        // Nothing is left to build; a build would call that a mistake.
        let left = |case: &String| {
            let reason = Manifest::read(&self.place.root, case)?.obstacle(self.target);
            Ok::<_, CacheError>(reason.map(|reason| (case.clone(), Cell::LeftOut(reason))))
        };
        let left: BTreeMap<String, Cell> =
            cases.iter().filter_map(|case| left(case).transpose()).collect::<Result<_, _>>()?;
        if left.len() == cases.len() {
            return Ok(left);
        }
        let mut told = Told { built: self.say("build-plugins", true)?, ..Told::default() };
        let is_any_built = !told.built.by_plugin("artifact").is_empty();
        if self.call == Call::Called {
            let called =
                if is_any_built { self.say("test-plugins", false)? } else { Said::default() };
            told.called = Some(called);
        }
        if is_any_built {
            told.again = self.say("verify", true)?;
        }
        let cell = |case: &String| {
            let plugin = format!("{PREFIX}{case}");
            let needs = self.place.needs.get(&plugin).cloned().unwrap_or_default();
            (case.clone(), told.cell(&plugin, &needs))
        };
        Ok(cases.iter().map(cell).collect())
    }

    fn say(&self, command: &str, compiles: bool) -> Result<Said, Failure> {
        let mut arguments = vec![command.to_owned(), "--target".into(), self.target.to_owned()];
        if let Some(engine) = self.args.engine.name() {
            arguments.extend(["--engine".into(), engine.to_string()]);
        }
        if compiles && let Some(jobs) = self.args.jobs {
            arguments.extend(["--jobs".into(), jobs.to_string()]);
        }
        self.place.say(self.program, &format!("{command}-{}.log", self.target), &arguments)
    }
}

impl Told {
    /// What came of a plugin that is compiled of `needs`.
    fn cell(&self, plugin: &str, needs: &BTreeSet<String>) -> Cell {
        let Self { built, called, again } = self;
        if let Some(left) = built.by_plugin("left-out").get(plugin) {
            return Cell::LeftOut(left["reason"].as_str().unwrap_or_default().to_owned());
        }
        if let Some(failed) = built.by_plugin("failed").get(plugin) {
            return match failed["reason"].as_str() {
                Some("refused") => Cell::Refused(refusals(plugin, &built.stderr)),
                _ => Cell::NotBuilt(broken(needs, &built.stderr)),
            };
        }
        if !built.by_plugin("artifact").contains_key(plugin) {
            let line = built.stderr.lines().find_map(|line| line.strip_prefix("error: "));
            return Cell::NotBuilt(line.unwrap_or("nothing was said of it").to_owned());
        }
        if let Some(called) = called {
            match called.by_plugin("run").get(plugin) {
                None => return Cell::CallFailed(broken(needs, &called.stderr)),
                Some(run) => {
                    if let Some(why) = fault(run) {
                        return Cell::CallFailed(why);
                    }
                }
            }
        }
        match again.by_plugin("verified").get(plugin) {
            Some(verified) if verified["identical"] == true => {
                let is_called = called.is_some();
                Cell::Identical(if is_called { Call::Called } else { Call::NoRunner })
            }
            _ => Cell::Different,
        }
    }
}

/// What went wrong in a run. A case has one method, which fails where its crate does not work.
fn fault(run: &Value) -> Option<String> {
    let text = |name: &str| run[name].as_str().map(str::to_owned);
    if run["passed"] != true {
        let codes = run["codes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let codes: Vec<&str> = codes.collect();
        return Some(text("message").unwrap_or_else(|| codes.join(", ")));
    }
    match (run["calls"].as_u64(), run["errors"].as_u64()) {
        (Some(1..), Some(0)) => None,
        (Some(0) | None, _) => Some("nothing of it was called".to_owned()),
        _ => Some("its method ends with an error".to_owned()),
    }
}

/// The refusals of a plugin, which stand below the line that names its library.
fn refusals(plugin: &str, stderr: &str) -> String {
    let below = stderr.lines().skip_while(|line| !line.contains(&format!("/{plugin}/"))).skip(1);
    let codes = below.map(str::trim_start).filter(|line| !line.starts_with("remedy"));
    let codes: Vec<&str> = codes.take_while(|line| line.starts_with("KW")).collect();
    codes.join("; ")
}

/// Of the crates that could not be built those that are needed.
fn broken(needs: &BTreeSet<String>, stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().collect();
    let starts = (0..lines.len()).filter(|&at| lines[at].starts_with("error"));
    let errors: Vec<&[&str]> = starts
        .map(|start| {
            let rest = lines[start + 1..].iter().position(|line| line.starts_with("error"));
            &lines[start..rest.map_or(lines.len(), |n| start + 1 + n)]
        })
        .collect();
    let is_broken = |name: &&String| errors.iter().any(|error| is_of(error, name));
    let names: Vec<&str> = needs.iter().filter(is_broken).map(String::as_str).collect();
    if names.is_empty() { "its log says more".to_owned() } else { names.join(", ") }
}

/// Whether an error, of cargo or rustc, is one of building that package.
fn is_of(error: &[&str], package: &str) -> bool {
    const SCRIPT: &str = "error: failed to run custom build command for `";
    const LINK: &str = "error: linking with ";
    if let Some(rest) = error[0].strip_prefix(SCRIPT) {
        return rest.split([' ', '`']).next() == Some(package);
    }
    if error[0].starts_with(LINK) {
        let library = format!("{}.", package.replace('-', "_"));
        let names = ["/lib", "/"].map(|before| format!("{before}{library}"));
        return error.iter().any(|line| names.iter().any(|name| line.contains(name.as_str())));
    }
    // Of the places that it names the first one: `NAME-VERSION/` or, of what a build script wrote,
    // `NAME-HASH/`; or the folder of a case.
    let place = error.iter().find_map(|line| line.trim_start().strip_prefix("--> "));
    let mut folders = place.unwrap_or_default().split('/');
    let is_versioned = |folder: &str| {
        let rest = folder.strip_prefix(package).and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(|rest| {
            let is_hash = rest.len() == 16 && rest.chars().all(|c| c.is_ascii_hexdigit());
            is_hash || rest.starts_with(|c: char| c.is_ascii_digit())
        })
    };
    let case = package.strip_prefix(PREFIX);
    folders.clone().next().is_some_and(|first| case == Some(first)) || folders.any(is_versioned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(events: Value, stderr: &str) -> Said {
        let Value::Array(events) = events else { panic!("a list") };
        Said { events, stderr: stderr.to_owned() }
    }

    fn event(event: &str, more: &Value) -> Value {
        let mut found = json!({ "event": event, "plugin": "compat-a" });
        found.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        found
    }

    /// A case that was built, called without an error and built again the same.
    fn good() -> Told {
        Told {
            built: said(json!([event("artifact", &json!({}))]), ""),
            called: Some(said(
                json!([event("run", &json!({ "passed": true, "calls": 2, "errors": 0 }))]),
                "",
            )),
            again: said(json!([event("verified", &json!({ "identical": true }))]), ""),
        }
    }

    #[track_caller]
    fn check(told: &Told, text: &str, standing: Standing) {
        let needs = ["compat-a", "a-sys"].map(str::to_owned).into();
        let cell = told.cell("compat-a", &needs);
        assert_eq!((cell.to_string().as_str(), cell.standing()), (text, standing));
    }

    #[test]
    fn what_was_called_and_built_twice_is_good() {
        check(&good(), "called", Standing::Good);
        check(&Told { called: None, ..good() }, "built", Standing::Good);
    }

    #[test]
    fn what_its_manifest_leaves_out_is_refused_with_the_reason() {
        let left = event("left-out", &json!({ "reason": "no such processor" }));
        let told = Told { built: said(json!([left]), ""), ..Told::default() };
        check(&told, "refused: no such processor", Standing::Refused);
    }

    #[test]
    fn what_the_gate_refuses_unannounced_failed() {
        let failed = event("failed", &json!({ "reason": "refused" }));
        let stderr = "error: x/compat-a/liba.so:\n  KW624 thread-local\n    remedy: none\n  KW611 z\nhint: b\n";
        let told = Told { built: said(json!([failed]), stderr), ..Told::default() };
        let text = "failed: the gate refuses it: KW624 thread-local; KW611 z";
        check(&told, text, Standing::Failed);
    }

    #[test]
    fn a_build_that_failed_is_told_of_the_crates_that_a_case_needs() {
        let failed = event("failed", &json!({ "reason": "not-compiled" }));
        let told = |stderr: &str| Told { built: said(json!([failed]), stderr), ..Told::default() };
        let blames = |stderr: &str, names: &str| {
            check(&told(stderr), &format!("failed: not built: {names}"), Standing::Failed);
        };
        let of_another = "error[E0433]: no `x`\n  --> crates/a-sys-more-1.0.0/src/lib.rs:1:2\n";
        blames(of_another, "its log says more");
        blames(
            &format!("{of_another}error: failed to run custom build command for `a-sys v1.0.0`\n"),
            "a-sys",
        );
        blames("error[E0433]: no `x`\n   --> crates/a-sys-1.0.0+3/src/lib.rs:1:2\n", "a-sys");
        let written = "target/t/release/build/compat-a-0123456789abcdef/out/b.rs:1:2";
        let note = "note: found\n  --> crates/a-sys-1.0.0/src/lib.rs:1:1";
        blames(&format!("error[E0433]: no `x`\n  --> {written}\n{note}\n"), "compat-a");
        blames("error[E0425]: no `x`\n --> a/src/lib.rs:1:2\n", "compat-a");
        let link = "error: linking with `cc` failed: exit status: 1\n  = note: \"-o\" \"/target/deps/libcompat_";
        blames(&format!("{link}a.so\"\n"), "compat-a");
        blames(&format!("{link}b.so\"\n"), "its log says more");
    }

    #[test]
    fn a_build_that_stopped_early_is_told_by_its_error() {
        let told = Told { built: said(json!([]), "warning: x\nerror: no lock\n"), ..good() };
        check(&told, "failed: not built: no lock", Standing::Failed);
    }

    #[test]
    fn a_call_has_to_be_made_and_to_succeed() {
        let told =
            |run: Value| Told { called: Some(said(json!([event("run", &run)]), "")), ..good() };
        let message = json!({ "passed": false, "outcome": "failed", "message": "signal 11" });
        check(&told(message), "failed: when called: signal 11", Standing::Failed);
        let refused = json!({ "passed": false, "outcome": "refused", "codes": ["KW321", "KW4"] });
        check(&told(refused), "failed: when called: KW321, KW4", Standing::Failed);
        let error = json!({ "passed": true, "calls": 1, "errors": 1 });
        check(&told(error), "failed: when called: its method ends with an error", Standing::Failed);
        let none = json!({ "passed": true, "calls": 0, "errors": 0 });
        check(&told(none), "failed: when called: nothing of it was called", Standing::Failed);
        let silent = Told { called: Some(Said::default()), ..good() };
        check(&silent, "failed: when called: its log says more", Standing::Failed);
    }

    #[test]
    fn other_bytes_or_none_the_second_time_is_a_failure() {
        let text = "failed: other bytes the second time";
        let again = said(json!([event("verified", &json!({ "identical": false }))]), "");
        check(&Told { again, ..good() }, text, Standing::Failed);
        check(&Told { again: Said::default(), ..good() }, text, Standing::Failed);
    }
}
