//! Turns: what two runs would make at once, one makes and the other waits for.
//!
//! A turn is named after what is made, so that nobody waits for anything else. Its lock file is there
//! only while somebody has it or waits for it.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::CacheError;
use crate::shell::Shell;

/// The lock files that threads of this process have or wait for. Whatever lock one of them has is
/// counted here at every moment, so that no other takes it for another process's.
static OURS: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());

/// The turn of this process at making something; over when dropped or when the process ends.
#[derive(Debug)]
pub struct Turn {
    // Unlocked before it is no longer counted: fields are dropped in order.
    file: File,
    counted: Counted,
}

impl Turn {
    /// Waits for the turn whose lock file is `path`, and says that it waits for another run that
    /// `does` it.
    ///
    /// # Errors
    /// If the lock file can't be created or locked.
    pub fn take(
        path: &Path,
        shell: &Shell,
        does: impl std::fmt::Display,
    ) -> Result<Self, CacheError> {
        let say = || shell.status("Waiting", format_args!("for another run that {does}"));
        Self::take_after(path, say)
    }

    /// The same, calling `say` before it waits for another process.
    fn take_after(path: &Path, say: impl FnOnce()) -> Result<Self, CacheError> {
        let mut say = Some(say);
        loop {
            let (file, counted) = match begin(path, open(path)?)? {
                Begun::Turn(turn) => return Ok(turn),
                Begun::Gone => continue,
                Begun::Taken(file, counted) => (file, counted),
            };
            if let Some(say) = say.take_if(|_| counted.is_first) {
                say();
            }
            file.lock().map_err(CacheError::io("lock", path))?;
            if is_at(&file, path) {
                return Ok(Self { file, counted });
            }
            // While it is counted, for the same reasons as in `begin`.
            let _ = file.unlock();
        }
    }

    /// The turn whose lock file is `path`, unless somebody has it.
    ///
    /// # Errors
    /// If the lock file can't be created or locked.
    pub fn try_take(path: &Path) -> Result<Option<Self>, CacheError> {
        loop {
            match begin(path, open(path)?)? {
                Begun::Turn(turn) => return Ok(Some(turn)),
                Begun::Gone => {}
                Begun::Taken(..) => return Ok(None),
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Before the lock is released, or it could be the next one's file. Where an open file can't be
        // removed, it stays and is used again.
        let _ = fs::remove_file(&self.counted.path);
        let _ = self.file.unlock();
    }
}

/// How an attempt at a turn ended.
enum Begun {
    Turn(Turn),
    /// Somebody has it.
    Taken(File, Counted),
    /// Whoever had it removed the file; by now there may be another of that name.
    Gone,
}

/// Tries to lock `file`, which is at `path`. Trying and counting are one step, so that of the threads that
/// find another process's lock one is the first.
fn begin(path: &Path, file: File) -> Result<Begun, CacheError> {
    let mut ours = ours();
    let taken = match file.try_lock() {
        Ok(()) if is_at(&file, path) => false,
        Ok(()) => {
            // While nobody else tries, since another thread may have this file open too; and by itself,
            // since a process that is being started has it open for a moment.
            let _ = file.unlock();
            return Ok(Begun::Gone);
        }
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(error)) => return Err(CacheError::io("lock", path)(error)),
    };
    let n = ours.entry(path.to_owned()).or_default();
    let counted = Counted { path: path.to_owned(), is_first: *n == 0 };
    *n += 1;
    Ok(if taken { Begun::Taken(file, counted) } else { Begun::Turn(Turn { file, counted }) })
}

/// A thread of this process that has a lock file or waits for it.
#[derive(Debug)]
struct Counted {
    path: PathBuf,
    /// No other thread had it or waited for it.
    is_first: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut ours = ours();
        if let Some(n) = ours.get_mut(&self.path) {
            *n -= 1;
            if *n == 0 {
                ours.remove(&self.path);
            }
        }
    }
}

fn ours() -> MutexGuard<'static, BTreeMap<PathBuf, usize>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(path: &Path) -> Result<File, CacheError> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    file.map_err(CacheError::io("open", path))
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let of = |found: std::io::Result<fs::Metadata>| found.map(|it| (it.dev(), it.ino())).ok();
    of(file.metadata()) == of(fs::metadata(path))
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_turn_that_somebody_has_is_not_taken() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("turn.lock");
        let first = Turn::try_take(&path).expect("no error").expect("nobody has it");
        assert!(Turn::try_take(&path).expect("no error").is_none());
        drop(first);
        assert!(Turn::try_take(&path).expect("no error").is_some());
    }

    #[test]
    fn one_at_a_time_and_nothing_is_left() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("turn.lock");
        let (shell, at_work) = (Shell::silent(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _turn = Turn::take(&path, &shell, "counts").expect("a turn");
                        assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        assert_eq!(at_work.fetch_sub(1, Ordering::SeqCst), 1);
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 0);
    }

    #[test]
    fn a_thread_does_not_take_another_for_another_run() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("turn.lock");
        let said = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let say = || _ = said.fetch_add(1, Ordering::SeqCst);
                        drop(Turn::take_after(&path, say).expect("a turn"));
                    }
                });
            }
        });
        assert_eq!(said.into_inner(), 0);
    }

    #[test]
    fn another_process_is_waited_for_aloud() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("turn.lock");
        // Another open file is what another process would have.
        let other = open(&path).expect("a lock file");
        other.lock().expect("a lock");
        let said = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let say = || _ = said.fetch_add(1, Ordering::SeqCst);
                Turn::take_after(&path, say).map(drop)
            });
            while said.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            drop(other);
            waits.join().expect("it ends").expect("a turn");
        });
        assert_eq!(said.into_inner(), 1);
    }
}
