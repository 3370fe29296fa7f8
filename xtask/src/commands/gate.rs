//! `gate`: what a library is, and whether a host would load it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use keyway_abi::stamp::Stamp;
use keyway_host::code::Code;
use keyway_host::gate::{Examination, Gate};
use keyway_host::policy::{Expectation, KnownInterface, SignaturePolicy};
use keyway_host::refusal::{Refusal, Verdict};
use keyway_inspect::{CodeSignature, Details, Stack};
use keyway_manifest::Triple;
use keyway_manifest::text::Show as _;
use serde::Serialize;

use crate::commands::table::aligned;
use crate::failure::{Exit, Failure};
use crate::shell::{Shell, Verbosity, count};

/// Looks at libraries and says whether a host would load them, and if not, why.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Libraries, or folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The host's target; the target of this machine unless given
    #[arg(long, value_name = "TRIPLE")]
    host_target: Option<Triple>,
    /// Compare typed interfaces with those that this library was built with: an earlier build, or
    /// another plugin for the same host
    #[arg(long, value_name = "LIBRARY")]
    interfaces_of: Option<PathBuf>,
    /// Refuse interfaces whose parameters have other names or places too
    #[arg(long, requires = "interfaces_of")]
    strict_signatures: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event {
    Summary { admitted: usize, refused: usize },
}

pub(crate) fn run(args: &Args, shell: &Shell) -> Result<(), Failure> {
    let mut expectation = match &args.host_target {
        Some(target) => Expectation::for_target(target.clone()),
        None => Expectation::this_process(),
    };
    if let Some(library) = &args.interfaces_of {
        expectation.interfaces = interfaces_of(library)?;
    }
    if args.strict_signatures {
        expectation.signatures = SignaturePolicy::Refuse;
    }
    let gate = Gate::new(expectation);
    let mut paths = Vec::new();
    let mut empty = Vec::new();
    for path in &args.paths {
        let n_before = paths.len();
        collect(path, &mut paths)?;
        if paths.len() == n_before {
            empty.push(format!("`{}`", path.shown()));
        }
    }
    // Of one file all is shown; of several, what tells them apart, unless all is asked for.
    let in_full = args.paths.iter().all(|path| !path.is_dir()) && paths.len() < 2
        || shell.verbosity() == Verbosity::Verbose;
    let mut refused = 0;
    let mut rows = vec![HEADS.map(str::to_owned).to_vec()];
    let mut reasons: BTreeMap<Code, Refusal> = BTreeMap::new();
    for path in &paths {
        let examination = gate.examine(path);
        let mut row = cells(&examination);
        if in_full {
            describe(&examination, shell);
        }
        let facts = examination.facts().cloned();
        let warnings = examination.warnings().to_vec();
        let outcome = examination.into_admission();
        let verdict = Verdict::new(path, &outcome).with_warnings(&warnings);
        shell.event(&verdict.with_facts(facts.as_ref()));
        for warning in &warnings {
            shell.warn(format_args!("`{}`: {warning}", path.shown()));
        }
        match outcome {
            Ok(_) if in_full => shell.data("  admitted"),
            Ok(_) => row.push("admitted".to_owned()),
            Err(rejection) => {
                refused += 1;
                let codes = rejection.refusals.iter().map(|refusal| refusal.code.to_string());
                row.push(codes.collect::<Vec<_>>().join(" "));
                for refusal in rejection.refusals {
                    if in_full {
                        shell.data(format_args!("  {refusal}"));
                        shell.data(format_args!("    remedy: {}", refusal.remedy));
                    }
                    reasons.entry(refusal.code).or_insert(refusal);
                }
            }
        }
        rows.push(row);
    }
    if !in_full && !paths.is_empty() {
        for line in aligned(&rows) {
            shell.data(line);
        }
        for (code, refusal) in &reasons {
            let (check, title, remedy) = (code.check(), code.title(), &refusal.remedy);
            shell.data(format_args!("{code} {check}: {title}"));
            shell.data(format_args!("  remedy: {remedy}"));
        }
    }
    let (admitted, target) = (paths.len() - refused, &gate.expectation().target);
    let done = match refused {
        0 => format!("{admitted} admitted by a host for {target}"),
        _ => format!("{admitted} admitted, {refused} refused by a host for {target}"),
    };
    shell.finish(done, &Event::Summary { admitted, refused });
    let nothing = format!("there is no library in {}", empty.join(", "));
    match (refused, empty.is_empty()) {
        (0, true) => return Ok(()),
        // A script that asks for a verdict is not told that all is well.
        (0, false) => {
            return Err(Failure::new(Exit::Refused, format!("{nothing}: nothing was looked at"))
                .with_hint("libraries are files that end with `.so`, `.dll` or `.dylib`"));
        }
        (_, true) => {}
        (_, false) => shell.warn(nothing),
    }
    let message =
        format!("a host for {target} refuses {refused} of {}", count(paths.len(), "file"));
    let hint = match in_full {
        true => "`cargo xtask explain CODE` says more about a code",
        false => {
            "`--verbose` shows what was found; `cargo xtask explain CODE` says more about a code"
        }
    };
    Err(Failure::new(Exit::Refused, message).with_hint(hint))
}

/// The typed interfaces that a library was built with.
fn interfaces_of(library: &Path) -> Result<Vec<KnownInterface>, Failure> {
    let name = library.shown();
    let bytes = fs::read(library).map_err(|source| {
        Failure::new(Exit::Environment, format!("could not read `{name}`: {source}"))
    })?;
    let of_none = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Refused, format!("`{name}` has no interfaces to compare with: {why}"))
            .with_hint("name a plugin's library, as it lies in `dist/`")
    };
    let inspection = keyway_inspect::inspect(&bytes).map_err(|error| of_none(&error))?;
    let section = inspection.facts.stamp.and_then(|section| bytes.get(section));
    let section = section.ok_or_else(|| of_none(&"it has no stamp"))?;
    let stamp = Stamp::parse(section).map_err(|error| of_none(&error))?;
    let known = KnownInterface::in_stamp(&stamp);
    if known.is_empty() {
        return Err(of_none(&"its plugin has named methods alone"));
    }
    Ok(known)
}

/// The heads of the table of several files.
const HEADS: [&str; 6] = ["library", "plugin", "for", "bytes", "needs", "verdict"];

/// The cells of a file but its verdict.
fn cells(examination: &Examination) -> Vec<String> {
    let (manifest, facts) = (examination.manifest(), examination.facts());
    let plugin = manifest.map(|m| format!("{} {}", m.plugin.name, m.plugin.version.shown()));
    let target = manifest.map(|manifest| manifest.target.to_string());
    let size = facts.map(|facts| facts.size.to_string());
    let libc = facts.and_then(|facts| Some(facts.libc.as_ref()?.to_string()));
    let cells = [Some(examination.path().shown().to_string()), plugin, target, size, libc];
    cells.map(Option::unwrap_or_default).to_vec()
}

/// `path` itself, or every library below it if it is a folder. Links to folders in it are not followed: they
/// may lead anywhere, and in circles.
fn collect(path: &Path, paths: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if !path.is_dir() {
        paths.push(path.to_owned());
        return Ok(());
    }
    let failed = |source: std::io::Error| {
        Failure::new(Exit::Environment, format!("could not list `{}`: {source}", path.shown()))
    };
    let entries = fs::read_dir(path).map_err(failed)?.collect::<Result<Vec<_>, _>>();
    let mut entries = entries.map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if entry.file_type().map_err(failed)?.is_dir() {
            collect(&path, paths)?;
        } else if matches!(extension, Some("so" | "dll" | "dylib")) {
            paths.push(path);
        }
    }
    Ok(())
}

fn describe(examination: &Examination, shell: &Shell) {
    shell.data(examination.path().shown());
    if let Some(manifest) = examination.manifest() {
        let plugin = &manifest.plugin;
        shell.data(format_args!("  {} {} for {}", plugin.name, plugin.version, manifest.target));
    }
    let Some(facts) = examination.facts() else { return };
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
                ("code runs on unloading", yes_no(elf.destructors)),
                ("static thread-local variables", yes_no(elf.static_tls)),
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
