//! What git says of sources: the last commit that changed them, and whether they differ from it.
//!
//! Two commits that leave a plugin's sources alone say the same of it, so its manifest does not depend
//! on when it was built. What is not known is not said: where git refuses to look, where a flag of the
//! index hides changes, where history is cut off, a [`Doubt`] says so and what to do.

mod git;
pub mod readers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use git::{Flag, Git};
use keyway_manifest::text::Show as _;

use crate::paths::normal;

/// How a file begins that Git LFS put in the place of another, see its specification.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
/// A pointer is smaller than this.
const LFS_POINTER_MAX: u64 = 1024;

/// How many paths are put on a command line.
const N_QUESTIONS: usize = 1000;

/// Files that are sources of every plugin of a workspace.
const ALWAYS: [&str; 4] = [".cargo/config", ".cargo/config.toml", "Cargo.lock", "Cargo.toml"];

/// Where sources come from, as far as git knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// The last commit that changed them; none outside of a repository or where it is not known.
    pub commit: Option<String>,
    /// Whether they differ from that commit; none if there is none, or that is not known.
    pub dirty: Option<bool>,
    /// What is not known or not as it seems.
    pub doubts: BTreeSet<Doubt>,
}

/// What can't be said of sources, or has to be said beside commit and difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// Git does not look into the repository of another user.
    Refused {
        /// The repository.
        repository: PathBuf,
    },
    /// There is a repository, and no git.
    NoGit {
        /// The repository.
        repository: PathBuf,
    },
    /// Git fails in another way.
    Failed {
        /// The repository.
        repository: PathBuf,
        /// What it says.
        reason: String,
    },
    /// History is cut off before the last commit that changed the sources.
    Shallow {
        /// The repository.
        repository: PathBuf,
    },
    /// The index leaves files of the commit out of the working tree.
    Sparse {
        /// One of them.
        file: PathBuf,
        /// How many they are.
        n_files: usize,
    },
    /// Git was told not to look for changes of files.
    AssumedUnchanged {
        /// One of them.
        file: PathBuf,
        /// How many they are.
        n_files: usize,
    },
    /// A file is Git LFS's pointer and not what it points to.
    LfsPointer {
        /// One of them.
        file: PathBuf,
        /// How many they are.
        n_files: usize,
    },
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let others = |n_files: &usize| match n_files {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        match self {
            Self::Refused { repository } => write!(
                f,
                "git does not look into `{}`, which belongs to another user, so the manifest has neither \
                 commit nor difference; `git config --global --add safe.directory {}` allows it",
                repository.shown(),
                repository.shown()
            ),
            Self::NoGit { repository } => write!(
                f,
                "`{}` is a repository and there is no git, so the manifest has neither commit nor \
                 difference; install git",
                repository.shown()
            ),
            Self::Failed { repository, reason } => write!(
                f,
                "git could not say which commit of `{}` is checked out, so the manifest has neither commit \
                 nor difference: {reason}",
                repository.shown()
            ),
            Self::Shallow { repository } => write!(
                f,
                "`{}` is a shallow clone, so the manifest names the commit that is checked out and not the \
                 last one that changed the sources; `git fetch --unshallow` (in GitHub Actions \
                 `fetch-depth: 0`, in GitLab `GIT_DEPTH: 0`) fetches what is missing",
                repository.shown()
            ),
            Self::Sparse { file, n_files } => write!(
                f,
                "a sparse checkout leaves out `{}`{}, so the sources differ from their commit; \
                 `git sparse-checkout add` brings files back",
                file.shown(),
                others(n_files)
            ),
            Self::AssumedUnchanged { file, n_files } => write!(
                f,
                "git was told to take `{}`{} for unchanged, so the manifest does not say whether the \
                 sources differ from their commit; `git update-index --no-assume-unchanged` takes that back",
                file.shown(),
                others(n_files)
            ),
            Self::LfsPointer { file, n_files } => write!(
                f,
                "`{}`{} is a pointer of Git LFS and not the file itself, and that is what was built; \
                 `git lfs pull` fetches it",
                file.shown(),
                others(n_files)
            ),
        }
    }
}

/// The commit that is checked out at `root`; none where there is none or git does not say.
pub fn head(root: &Path) -> Option<String> {
    Git::at(root).line(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).ok()
}

/// What git says of `files`, which are all there is in and at `paths`; relative to `root`, both.
pub fn provenance<'p>(
    root: &Path,
    paths: impl IntoIterator<Item = &'p Path>,
    files: &BTreeSet<&Path>,
) -> Provenance {
    let mut doubts: BTreeSet<Doubt> = lfs_pointers(root, files).into_iter().collect();
    let top = match Git::at(root).line(&["rev-parse", "--show-toplevel"]) {
        Ok(top) => PathBuf::from(top),
        Err(why) => {
            doubts.extend(why.doubt(root));
            return Provenance { doubts, ..Provenance::default() };
        }
    };
    let paths: BTreeSet<&Path> = paths.into_iter().chain(ALWAYS.map(Path::new)).collect();
    let repositories = Repositories::of(root, &paths, files);
    let Some(commit) = last_commit(&top, &repositories, &mut doubts) else {
        return Provenance { doubts, ..Provenance::default() };
    };
    let dirty = repositories.differ(&top, &mut doubts);
    Provenance { commit: Some(commit), dirty, doubts }
}

/// The last commit of the workspace's repository that changed one of the paths there. A submodule is
/// changed by the commit that takes another of its commits.
fn last_commit(
    top: &Path,
    repositories: &Repositories,
    doubts: &mut BTreeSet<Doubt>,
) -> Option<String> {
    let git = Git::at(top);
    let mut paths = BTreeSet::new();
    for (folder, part) in &repositories.all {
        match folder {
            Some(folder) if folder == top => paths.extend(part.questions(top)),
            Some(folder) if folder.starts_with(top) => {
                paths.insert(folder.clone());
            }
            _ => {}
        }
    }
    let commit = git.log(&paths)?;
    let is_shallow = || git.line(&["rev-parse", "--is-shallow-repository"]);
    if is_shallow().is_ok_and(|answer| answer == "true") && git.is_cut_off_at(&commit) {
        doubts.insert(Doubt::Shallow { repository: top.to_owned() });
        return head(top);
    }
    Some(commit)
}

/// Sources by the repository that they belong to, without links in their paths; those under no `.git`
/// come from none.
struct Repositories {
    all: BTreeMap<Option<PathBuf>, Part>,
}

#[derive(Default)]
struct Part {
    paths: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
}

impl Repositories {
    fn of(root: &Path, paths: &BTreeSet<&Path>, files: &BTreeSet<&Path>) -> Self {
        let mut known = BTreeMap::new();
        let mut all: BTreeMap<_, Part> = BTreeMap::new();
        let real = |path: &Path| {
            let path = normal(&root.join(path));
            path.canonicalize().unwrap_or(path)
        };
        for path in paths.iter().map(|path| real(path)) {
            let folder = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(root) };
            let repository = repository(folder, &mut known);
            all.entry(repository).or_default().paths.insert(path);
        }
        for file in files.iter().map(|file| real(file)) {
            let repository = repository(file.parent().unwrap_or(root), &mut known);
            all.entry(repository).or_default().files.insert(file);
        }
        Self { all }
    }

    /// Whether one of them differs from its commit; none if that is not known.
    fn differ(&self, top: &Path, doubts: &mut BTreeSet<Doubt>) -> Option<bool> {
        let mut all = Some(false);
        for (folder, part) in &self.all {
            let differs = match folder {
                None => Some(!part.files.is_empty()),
                Some(folder) => part.differs(folder, doubts),
            };
            // A submodule at another commit than the one that the workspace's repository names.
            let is_submodule = folder.as_ref().is_some_and(|f| f != top && f.starts_with(top));
            let moved = match folder {
                Some(folder) if is_submodule => Git::at(top).has_moved(folder),
                _ => Some(false),
            };
            all = match (all, differs, moved) {
                (Some(true), ..) | (_, Some(true), _) | (.., Some(true)) => Some(true),
                (Some(false), Some(false), Some(false)) => Some(false),
                _ => None,
            };
        }
        all
    }
}

impl Part {
    fn differs(&self, repository: &Path, doubts: &mut BTreeSet<Doubt>) -> Option<bool> {
        let paths = self.questions(repository);
        let git = Git::at(repository);
        let answers =
            git.tracked(&paths).and_then(|tracked| Ok((tracked, git.is_changed(&paths)?)));
        let (tracked, is_changed) = match answers {
            Ok(answers) => answers,
            Err(why) => {
                doubts.extend(why.doubt(repository));
                return None;
            }
        };
        let with = |flag| -> Vec<&PathBuf> {
            tracked.iter().filter(|(_, f)| **f == Some(flag)).map(|(file, _)| file).collect()
        };
        let (left_out, assumed) = (with(Flag::LeftOut), with(Flag::AssumedUnchanged));
        if let [file, ..] = left_out[..] {
            doubts.insert(Doubt::Sparse { file: file.clone(), n_files: left_out.len() });
        }
        if let [file, ..] = assumed[..] {
            let n_files = assumed.len();
            doubts.insert(Doubt::AssumedUnchanged { file: file.clone(), n_files });
        }
        let is_untracked = |file: &PathBuf| !tracked.contains_key(file);
        if is_changed || !left_out.is_empty() || self.files.iter().any(is_untracked) {
            return Some(true);
        }
        if assumed.is_empty() { Some(false) } else { None }
    }

    /// The paths to ask git about; the whole repository where they would be too many for a command line.
    fn questions(&self, repository: &Path) -> BTreeSet<PathBuf> {
        let is_inside = |file: &&PathBuf| self.paths.iter().any(|path| file.starts_with(path));
        let others = self.files.iter().filter(|file| !is_inside(file));
        let all: BTreeSet<PathBuf> = self.paths.iter().chain(others).cloned().collect();
        if all.len() > N_QUESTIONS { BTreeSet::from([repository.to_owned()]) } else { all }
    }
}

/// The folder at or above `folder` that has a `.git`.
fn repository(folder: &Path, known: &mut BTreeMap<PathBuf, Option<PathBuf>>) -> Option<PathBuf> {
    if let Some(answer) = known.get(folder) {
        return answer.clone();
    }
    let answer = match folder.join(".git").exists() {
        true => Some(folder.to_owned()),
        false => folder.parent().and_then(|parent| repository(parent, known)),
    };
    known.insert(folder.to_owned(), answer.clone());
    answer
}

fn lfs_pointers(root: &Path, files: &BTreeSet<&Path>) -> Option<Doubt> {
    let is_pointer = |file: &&&Path| {
        let read = || {
            let mut start = [0; LFS_POINTER.len()];
            let mut file = File::open(root.join(file))?;
            let is_small = file.metadata()?.len() < LFS_POINTER_MAX;
            file.read_exact(&mut start)?;
            std::io::Result::Ok(is_small && start == *LFS_POINTER)
        };
        read().unwrap_or(false)
    };
    let found: Vec<_> = files.iter().filter(is_pointer).collect();
    let file = found.first()?.to_path_buf();
    Some(Doubt::LfsPointer { file, n_files: found.len() })
}

#[cfg(test)]
mod tests;
