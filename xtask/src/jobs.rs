//! One jobserver for all cargo runs of a build: as many compilations as the user allows, wherever
//! there is work, though targets are built side by side.
//!
//! GNU make's protocol, with a named pipe: whoever takes a byte out of it may start a job, and puts it
//! back when the job has ended; beside those, each run has one job without a token. Cargo, rustc, make
//! and the cc crate all follow it.
//! <https://www.gnu.org/software/make/manual/html_node/POSIX-Jobserver.html>

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Where the folder with the pipe is seen inside an image.
pub const GUEST: &str = "/jobs";
const PIPE: &str = "tokens";

/// Jobs that several cargo runs share.
#[derive(Debug)]
pub struct Jobs {
    n_jobs: NonZeroUsize,
    n_lanes: usize,
    pipe: Option<Pipe>,
}

#[derive(Debug)]
struct Pipe {
    folder: tempfile::TempDir,
    /// Open for reading too, so that the pipe keeps its tokens while no run has it open.
    file: File,
}

/// Whether the runs of a build can reach a named pipe of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// They run on this machine's kernel and see its folders.
    Shared,
    /// They do not; each gets its part of the jobs.
    Apart,
}

impl Jobs {
    /// `n_jobs` jobs for up to `n_runs` cargo runs at once, with the pipe in a folder below `folder`.
    ///
    /// # Errors
    /// If the pipe can't be made.
    pub fn share(
        n_jobs: NonZeroUsize,
        n_runs: usize,
        reach: Reach,
        folder: &Path,
    ) -> io::Result<Self> {
        let n_lanes = n_runs.clamp(1, n_jobs.get());
        let pipe = if n_lanes > 1 && reach == Reach::Shared {
            let mut pipe = Pipe::create(folder)?;
            pipe.put(n_jobs.get() - n_lanes)?;
            Some(pipe)
        } else {
            None
        };
        Ok(Self { n_jobs, n_lanes, pipe })
    }

    /// Jobs for one run at a time.
    pub fn alone(n_jobs: NonZeroUsize) -> Self {
        Self { n_jobs, n_lanes: 1, pipe: None }
    }

    /// How many runs go on side by side.
    pub fn n_lanes(&self) -> usize {
        self.n_lanes
    }

    /// How many jobs a run may have without asking; none if it takes tokens.
    pub fn n_jobs(&self) -> Option<usize> {
        self.pipe.is_none().then(|| (self.n_jobs.get() / self.n_lanes).max(1))
    }

    /// The folder to show at [`GUEST`], and `MAKEFLAGS` for a run.
    pub fn pipe(&self) -> Option<(PathBuf, String)> {
        let folder = self.pipe.as_ref()?.folder.path().to_owned();
        Some((folder, format!("-j --jobserver-auth=fifo:{GUEST}/{PIPE}")))
    }

    /// Gives the job of a lane that has no more runs to the others.
    ///
    /// # Errors
    /// If the pipe can't be written.
    pub fn leave(&self) -> io::Result<()> {
        match &self.pipe {
            Some(pipe) => (&pipe.file).write_all(b"+"),
            None => Ok(()),
        }
    }
}

impl Pipe {
    #[cfg(unix)]
    fn create(parent: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("jobs-").tempdir_in(parent)?;
        let path = folder.path().join(PIPE);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)?;
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Self { folder, file })
    }

    #[cfg(not(unix))]
    fn create(_: &Path) -> io::Result<Self> {
        let _ = OpenOptions::new();
        Err(io::Error::new(io::ErrorKind::Unsupported, "named pipes with a path are Unix's"))
    }

    fn put(&mut self, n_tokens: usize) -> io::Result<()> {
        self.file.write_all(&vec![b'+'; n_tokens])
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Read;

    fn share(n_jobs: usize, n_runs: usize, reach: Reach) -> (Jobs, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let n_jobs = NonZeroUsize::new(n_jobs).expect("not zero");
        (Jobs::share(n_jobs, n_runs, reach, dir.path()).expect("made"), dir)
    }

    #[test]
    fn a_lane_has_one_job_and_the_rest_are_tokens() {
        let (jobs, _dir) = share(8, 3, Reach::Shared);
        assert_eq!((jobs.n_lanes(), jobs.n_jobs()), (3, None));
        let (folder, flags) = jobs.pipe().expect("a pipe");
        assert_eq!(flags, "-j --jobserver-auth=fifo:/jobs/tokens");
        let mut pipe =
            OpenOptions::new().read(true).write(true).open(folder.join(PIPE)).expect("open");
        let mut tokens = [0; 5];
        pipe.read_exact(&mut tokens).expect("five tokens");
        jobs.leave().expect("put");
        pipe.read_exact(&mut tokens[..1]).expect("a sixth");
        assert_eq!(tokens, *b"+++++");
    }

    #[test]
    fn without_a_pipe_each_run_gets_its_part() {
        assert_eq!(share(8, 3, Reach::Apart).0.n_jobs(), Some(2));
        assert_eq!(share(8, 1, Reach::Shared).0.n_jobs(), Some(8));
        assert_eq!(share(2, 5, Reach::Apart).0.n_lanes(), 2);
    }
}
