//! `gate`: what a library is, and whether a host would load it.

use std::fs;
use std::path::{Path, PathBuf};

use keyway_host::gate::{Examination, Gate};
use keyway_host::policy::Expectation;
use keyway_host::refusal::Verdict;
use keyway_manifest::Triple;
use serde::Serialize;

use crate::build::count;
use crate::failure::{Exit, Failure};
use crate::shell::Shell;

/// Looks at libraries and says whether a host would load them, and if not, why.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Libraries, or folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The host's target; the target of this machine unless given
    #[arg(long, value_name = "TRIPLE")]
    host_target: Option<Triple>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event {
    Summary { admitted: usize, refused: usize },
}

pub(crate) fn run(args: &Args, shell: &Shell) -> Result<(), Failure> {
    let expectation = match &args.host_target {
        Some(target) => Expectation::for_target(target.clone()),
        None => Expectation::this_process(),
    };
    let gate = Gate::new(expectation);
    let mut paths = Vec::new();
    for path in &args.paths {
        collect(path, &mut paths)?;
    }
    let mut refused = 0;
    for path in &paths {
        let examination = gate.examine(path);
        describe(&examination, shell);
        let outcome = examination.into_admission();
        shell.event(&Verdict::new(path, &outcome));
        match outcome {
            Ok(_) => shell.data("  admitted"),
            Err(rejection) => {
                refused += 1;
                for refusal in &rejection.refusals {
                    shell.data(format_args!("  {refusal}\n    remedy: {}", refusal.remedy));
                }
            }
        }
    }
    shell.event(&Event::Summary { admitted: paths.len() - refused, refused });
    if refused == 0 {
        return Ok(());
    }
    let target = &gate.expectation().target;
    let message =
        format!("a host for {target} refuses {refused} of {}", count(paths.len(), "file"));
    Err(Failure::new(Exit::Refused, message)
        .with_hint("`cargo xtask explain CODE` says more about a code"))
}

/// `path` itself, or every library below it if it is a folder.
fn collect(path: &Path, paths: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if !path.is_dir() {
        paths.push(path.to_owned());
        return Ok(());
    }
    let failed = |source: std::io::Error| {
        Failure::new(Exit::Environment, format!("could not list `{}`: {source}", path.display()))
    };
    let entries = fs::read_dir(path).map_err(failed)?.collect::<Result<Vec<_>, _>>();
    let mut entries: Vec<PathBuf> =
        entries.map_err(failed)?.iter().map(fs::DirEntry::path).collect();
    entries.sort();
    for entry in entries {
        let extension = entry.extension().and_then(|extension| extension.to_str());
        if entry.is_dir() || matches!(extension, Some("so" | "dll" | "dylib")) {
            collect(&entry, paths)?;
        }
    }
    Ok(())
}

fn describe(examination: &Examination, shell: &Shell) {
    shell.data(examination.path.display());
    if let Some(manifest) = &examination.manifest {
        let plugin = &manifest.plugin;
        shell.data(format_args!("  {} {} for {}", plugin.name, plugin.version, manifest.target));
    }
    let Some(facts) = &examination.facts else { return };
    let libc = facts.libc.as_ref().and_then(|libc| libc.floor);
    let libc = libc.map(|floor| format!(", libc {floor} or newer")).unwrap_or_default();
    shell.data(format_args!("  {}, {} bytes{libc}", facts.header.format, facts.size));
    if !facts.needed.is_empty() {
        shell.data(format_args!("  needs {}", facts.needed.join(", ")));
    }
}
