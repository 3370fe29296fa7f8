//! `gate`: what a library is, and whether a host would load it.

use std::fs;
use std::path::{Path, PathBuf};

use keyway_host::gate::{Examination, Gate};
use keyway_host::policy::Expectation;
use keyway_host::refusal::Verdict;
use keyway_inspect::{CodeSignature, Details, Stack};
use keyway_manifest::Triple;
use serde::Serialize;

use crate::build::count;
use crate::failure::{Exit, Failure};
use crate::shell::{Shell, Verbosity};

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
        let facts = examination.facts.clone();
        let outcome = examination.into_admission();
        shell.event(&Verdict::new(path, &outcome).with_facts(facts.as_ref()));
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
    let libc = facts.libc.as_ref().map(|libc| format!(", {libc}")).unwrap_or_default();
    shell.data(format_args!("  {}, {} bytes{libc}", facts.header.format, facts.size));
    if !facts.needed.is_empty() {
        shell.data(format_args!("  needs {}", facts.needed.join(", ")));
    }
    if shell.verbosity() < Verbosity::Verbose {
        return;
    }
    for (what, names) in [("unbound", &facts.unbound), ("exports", &facts.exports)] {
        if !names.is_empty() {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            shell.data(format_args!("  {what} {}", names.join(", ")));
        }
    }
    for (what, value) in traits(&facts.details) {
        shell.data(format_args!("  {what}: {value}"));
    }
}

/// How it is hardened, and what else only its object format has.
fn traits(details: &Details) -> Vec<(&'static str, String)> {
    let yes_no = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let or_none = |text: Option<&str>| text.unwrap_or("none").to_owned();
    match details {
        Details::Elf(elf) => {
            let relro = match (elf.relro, elf.bind_now) {
                (true, true) => "full",
                (true, false) => "partial, since functions are bound when they are called",
                (false, _) => "none",
            };
            let features: Vec<&str> = elf.control_flow.iter().map(|kind| kind.as_str()).collect();
            let features = Some(features.join(", ")).filter(|features| !features.is_empty());
            vec![
                ("relocated data read-only (RELRO)", relro.to_owned()),
                ("bound at load time (BIND_NOW)", yes_no(elf.bind_now)),
                ("control flow protected (CET, BTI)", or_none(features.as_deref())),
                ("stack for data only", yes_no(elf.stack == Stack::Data)),
                ("writes into its code (TEXTREL)", yes_no(elf.text_relocations)),
                ("code runs on loading", yes_no(elf.constructors)),
            ]
        }
        Details::Pe(pe) => vec![
            ("loaded at any address (ASLR)", yes_no(pe.aslr)),
            ("above 4 GiB too (HIGH_ENTROPY_VA)", yes_no(pe.high_entropy)),
            ("data can't be run (NX)", yes_no(pe.nx)),
            ("indirect calls checked (GUARD_CF)", yes_no(pe.control_flow_guard)),
            ("shadow stack (CET_COMPAT)", yes_no(pe.shadow_stack)),
            ("time stamp", pe.time_stamp.to_string()),
            ("code runs on loading", yes_no(pe.constructors)),
        ],
        Details::Macho(macho) => {
            let signature = match &macho.code_signature {
                CodeSignature::Absent => "none".to_owned(),
                CodeSignature::Valid => "valid".to_owned(),
                CodeSignature::Invalid(reason) => format!("invalid: {reason}"),
            };
            let version = macho.min_version.as_deref().unwrap_or_default();
            let platform = macho.platform.as_ref().map(|name| format!("{name} {version}"));
            vec![
                ("platform", or_none(platform.as_deref())),
                ("install name", or_none(macho.install_name.as_deref())),
                ("UUID", yes_no(macho.uuid)),
                ("code signature", signature),
            ]
        }
    }
}
