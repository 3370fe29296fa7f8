//! Git's command line, asked about one repository; it changes nothing there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Output;

use super::Doubt;

/// Git in one folder.
pub(super) struct Git<'a> {
    folder: &'a Path,
}

/// Why git gave no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// It is not installed.
    NotInstalled,
    /// It failed; what it said.
    Failed(String),
}

/// What keeps git from seeing that a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    /// The file is not checked out.
    LeftOut,
    /// Its owner promised not to change it.
    AssumedUnchanged,
}

type Result<T> = std::result::Result<T, NoAnswer>;

impl NoAnswer {
    /// What that leaves open about `folder`; nothing if it is in no repository.
    pub(super) fn doubt(self, folder: &Path) -> Option<Doubt> {
        let is_repository = |folder: &&Path| folder.join(".git").exists();
        let repository = folder.ancestors().find(is_repository)?.to_owned();
        Some(match self {
            Self::NotInstalled => Doubt::NoGit { repository },
            Self::Failed(said) if said.contains("dubious ownership") => {
                Doubt::Refused { repository }
            }
            Self::Failed(said) => {
                let first = said.lines().next().unwrap_or("it does not say why");
                let reason = first.trim_start_matches("fatal: ").to_owned();
                Doubt::Failed { repository, reason }
            }
        })
    }
}

impl<'a> Git<'a> {
    pub(super) fn at(folder: &'a Path) -> Self {
        Self { folder }
    }

    /// The one line that a command answers.
    pub(super) fn line(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ask(arguments, &[])?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The last commit that changed one of `paths`; none if none did.
    pub(super) fn log(&self, paths: &BTreeSet<PathBuf>) -> Option<String> {
        let output = self.ask(&["log", "-1", "--format=%H", "--"], paths).ok()?;
        let commit = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (!commit.is_empty()).then_some(commit)
    }

    /// Whether the parents of a commit are not here.
    pub(super) fn is_cut_off_at(&self, commit: &str) -> bool {
        let path = self.line(&["rev-parse", "--git-path", "shallow"]);
        let list = path.ok().and_then(|path| fs::read_to_string(self.folder.join(path)).ok());
        list.is_none_or(|list| list.lines().any(|line| line.trim() == commit))
    }

    /// Whether one of the files in `paths` that git tracks is not as in the commit.
    pub(super) fn is_changed(&self, paths: &BTreeSet<PathBuf>) -> Result<bool> {
        let status =
            ["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all", "--"];
        Ok(!self.ask(&status, paths)?.stdout.is_empty())
    }

    /// Whether a submodule is at another commit than this repository says, or is none of it.
    pub(super) fn has_moved(&self, submodule: &Path) -> Option<bool> {
        let paths = [submodule.to_owned()];
        let status = ["status", "--porcelain", "--ignore-submodules=dirty", "--"];
        Some(!self.ask(&status, &paths).ok()?.stdout.is_empty())
    }

    /// The files in `paths` that git tracks, by their absolute paths.
    pub(super) fn tracked(
        &self,
        paths: &BTreeSet<PathBuf>,
    ) -> Result<BTreeMap<PathBuf, Option<Flag>>> {
        let list = self.ask(&["ls-files", "-v", "-z", "--full-name", "--"], paths)?;
        let top = PathBuf::from(self.line(&["rev-parse", "--show-toplevel"])?);
        let entry = |entry: &[u8]| {
            let (tag, name) = (*entry.first()?, entry.get(2..)?);
            let flag = match tag {
                b'S' | b's' => Some(Flag::LeftOut),
                tag if tag.is_ascii_lowercase() => Some(Flag::AssumedUnchanged),
                _ => None,
            };
            Some((top.join(path(name)), flag))
        };
        Ok(list.stdout.split(|byte| *byte == 0).filter_map(entry).collect())
    }

    fn ask<'p>(
        &self,
        arguments: &[&str],
        paths: impl IntoIterator<Item = &'p PathBuf>,
    ) -> Result<Output> {
        // Paths are no patterns.
        let all = ["--literal-pathspecs"].iter().chain(arguments).map(OsString::from);
        let all = all.chain(paths.into_iter().map(Into::into));
        let output = duct::cmd("git", all.collect::<Vec<_>>())
            .dir(self.folder)
            // Git sets these for what its hooks run, and they name its own repository.
            .env_remove("GIT_DIR")
            .env_remove("GIT_INDEX_FILE")
            .env_remove("GIT_WORK_TREE")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("LC_ALL", "C")
            .stdin_null()
            .stdout_capture()
            .stderr_capture()
            .unchecked()
            .run()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => NoAnswer::NotInstalled,
                _ => NoAnswer::Failed(error.to_string()),
            })?;
        if output.status.success() {
            return Ok(output);
        }
        Err(NoAnswer::Failed(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

#[cfg(unix)]
fn path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    OsStr::from_bytes(bytes).into()
}

#[cfg(not(unix))]
fn path(bytes: &[u8]) -> PathBuf {
    OsStr::new(&*String::from_utf8_lossy(bytes)).into()
}
