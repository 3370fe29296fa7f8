//! `contract`: the contract's committed files, made from its definitions: the descriptor on each
//! target, and the C header.

use std::fs;
use std::path::{Path, PathBuf};

use keyway_abi::header;
use keyway_abi::layout::Model;
use keyway_manifest::text::Show as _;
use serde::Serialize;

use crate::cache::write_if_other;
use crate::failure::{Exit, Failure};
use crate::shell::{Shell, count};
use crate::targets::TargetSet;
use crate::workspace::Workspace;

/// Writes the files in `crates/abi/` that say what the contract is: the descriptor of each target and
/// the C header. Both are made from the Rust definitions.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write nothing, and fail if a file is not what it would be
    #[arg(long)]
    check: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    File { path: &'a Path, current: bool },
    Summary { files: usize, changed: usize },
}

pub(crate) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let files = files(workspace)?;
    let mut changed = Vec::new();
    for (path, text) in &files {
        let current = fs::read(path).is_ok_and(|found| found == text.as_bytes());
        shell.event(&Event::File { path, current });
        if current {
            continue;
        }
        changed.push(path.shown().to_string());
        if !args.check {
            write_if_other(path, text.as_bytes())?;
            shell.data(format_args!("wrote `{}`", path.shown()));
        }
    }
    if args.check && !changed.is_empty() {
        let error = format!("not what the definitions say: {}", changed.join(", "));
        return Err(Failure::new(Exit::Failed, error)
            .with_hint("`cargo xtask contract` writes them; read the difference"));
    }
    let done = count(files.len(), "file");
    shell.finish(done, &Event::Summary { files: files.len(), changed: changed.len() });
    Ok(())
}

/// Each file and what it is to say.
fn files(workspace: &Workspace) -> Result<Vec<(PathBuf, String)>, Failure> {
    let folder = workspace.root().join("crates").join("abi");
    let set = TargetSet::open(workspace.targets_file().as_deref())?;
    let mut files = vec![(folder.join("include").join("keyway.h"), header::text())];
    for target in set.iter() {
        let triple = target.triple.as_str();
        let model = Model::of(triple).ok_or_else(|| {
            Failure::new(Exit::Failed, format!("the layout of `{triple}` is not known"))
                .with_hint("`Model::of` in crates/abi/src/layout.rs lists the architectures")
        })?;
        let path = folder.join("descriptor").join(format!("{triple}.txt"));
        files.push((path, model.contract()));
    }
    Ok(files)
}
