//! The workspace that the cases are copied into, and the commands that are run there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cell::PREFIX;
use crate::cache::{CacheError, write_atomically};
use crate::failure::{Exit, Failure};
use crate::paths::relative;
use crate::workspace::{Dependencies, Workspace};

/// A workspace of some cases.
pub(super) struct Place {
    /// Its folder.
    pub(super) root: PathBuf,
    /// By package of a case: the names of what is compiled for it, itself too.
    pub(super) needs: BTreeMap<String, BTreeSet<String>>,
}

/// What a command of this program wrote.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Its events.
    pub(super) events: Vec<Value>,
    /// Its standard error.
    pub(super) stderr: String,
}

impl Said {
    /// The events of a kind, by plugin.
    pub(super) fn by_plugin(&self, event: &str) -> BTreeMap<&str, &Value> {
        let named = |found: &'_ &Value| found["event"] == event;
        let events = self.events.iter().filter(named);
        events.filter_map(|event| Some((event["plugin"].as_str()?, event))).collect()
    }
}

impl Place {
    /// Copies `cases` out of `source` to below the state of `workspace`; what was built there before stays.
    pub(super) fn make(
        source: &Path,
        cases: &[String],
        workspace: &Workspace,
    ) -> Result<Self, Failure> {
        let root = workspace.state_dir().join("compat");
        fs::create_dir_all(&root).map_err(CacheError::io("create", &root))?;
        for entry in fs::read_dir(&root).map_err(CacheError::io("list", &root))?.flatten() {
            let name = entry.file_name();
            let kept = ["target", "dist"].iter().any(|kept| name == *kept);
            if !kept && entry.path().is_dir() {
                fs::remove_dir_all(entry.path())
                    .map_err(CacheError::io("remove", &entry.path()))?;
            }
        }
        let members = || cases.iter().map(String::as_str).chain(["host"]);
        for name in members() {
            copy_folder(&source.join(name), &root.join(name))?;
        }
        let put = |name: &str, text: &[u8]| write_atomically(&root.join(name), text);
        let crates = relative(&root, &workspace.root().join("crates"));
        put("Cargo.toml", manifest(members(), &crates).as_bytes())?;
        let lock = source.join("Cargo.lock");
        put("Cargo.lock", &fs::read(&lock).map_err(CacheError::io("read", &lock))?)?;
        // Of the workspace around it, this one would otherwise be a part.
        let targets = workspace.root().join("targets.toml");
        put("targets.toml", &fs::read(&targets).map_err(CacheError::io("read", &targets))?)?;
        // Takes out of the lock file what other cases need; what stays, stays as it is.
        let pruned =
            duct::cmd!("cargo", "metadata", "--format-version", "1").dir(&root).stdout_null();
        pruned.run().map_err(CacheError::io("prune Cargo.lock in", &root))?;
        let needs = needs(&root)?;
        Ok(Self { root, needs })
    }

    /// Runs a command of `program`, which is this one, and keeps what it writes in a log of that name.
    pub(super) fn say(
        &self,
        program: &Path,
        log: &str,
        arguments: &[String],
    ) -> Result<Said, Failure> {
        let manifest = self.root.join("Cargo.toml");
        let output = duct::cmd(program, arguments)
            .env_remove("KEYWAY_DIST")
            // Its state, and so what it built, is apart from that of the workspace around it.
            .env("CARGO_TARGET_DIR", self.root.join("target"))
            .before_spawn(move |command| {
                command.arg("--json").arg("--manifest-path").arg(&manifest);
                Ok(())
            })
            .stdin_null()
            .stdout_capture()
            .stderr_capture()
            .unchecked()
            .run()
            .map_err(CacheError::io("start", program))?;
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        write_atomically(&self.root.join(log), format!("{stdout}{stderr}").as_bytes())?;
        let events = stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        // What failed or was refused is what the table is about; anything else is no word on the cases.
        let is_said =
            |code| code == 0 || code == Exit::Failed as i32 || code == Exit::Refused as i32;
        match output.status.code() {
            Some(code) if is_said(code) => Ok(Said { events, stderr }),
            Some(code) if code == Exit::Interrupted as i32 => {
                Err(Failure::reported(Exit::Interrupted))
            }
            _ => {
                let message = format!("`{}` failed: {}", arguments.join(" "), stderr.trim_end());
                Err(Failure::new(Exit::Environment, message))
            }
        }
    }
}

fn manifest<'a>(members: impl Iterator<Item = &'a str>, crates: &Path) -> String {
    let list: Vec<String> = members.map(|name| format!("\"{name}\"")).collect();
    format!(
        "[workspace]\nresolver = \"3\"\nmembers = [{}]\n\n[workspace.dependencies]\nkeyway-host = {{ path = \"{1}/host\" }}\n\
         keyway-sdk = {{ path = \"{1}/sdk\" }}\n",
        list.join(", "),
        crates.to_string_lossy()
    )
}

/// What each case is compiled of.
fn needs(root: &Path) -> Result<BTreeMap<String, BTreeSet<String>>, Failure> {
    let place = Workspace::find(Some(&root.join("Cargo.toml")), None)?;
    let metadata = place.metadata(None)?;
    let graph = Dependencies::new(&metadata);
    let members = metadata.workspace_packages().into_iter();
    let of = |id| graph.closure(id).iter().map(|package| package.name.to_string()).collect();
    Ok(members
        .filter(|package| package.name.starts_with(PREFIX))
        .map(|package| (package.name.to_string(), of(&package.id)))
        .collect())
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), CacheError> {
    fs::create_dir_all(to).map_err(CacheError::io("create", to))?;
    for entry in fs::read_dir(from).map_err(CacheError::io("list", from))? {
        let path = entry.map_err(CacheError::io("list", from))?.path();
        let to = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &to)?;
        } else {
            fs::copy(&path, &to).map_err(CacheError::io("copy", &path))?;
        }
    }
    Ok(())
}
