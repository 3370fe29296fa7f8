//! Reloading a manager's plugins when their files change (feature `watch`).
//!
//! The system says that something in a folder has changed, often several times and before all of it is there.
//! So a plugin is looked at when nothing has happened to its library and manifest for a while, and the gate decides: a
//! library that does not have the hash which its manifest names is being copied, and its next change is waited for.
//! What the gate admits is what is loaded, whatever happens to the files meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use keyway_manifest::Manifest;
use keyway_manifest::text::Show as _;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use thiserror::Error;

use super::{Event, Inner, Manager};
use crate::code::Code;
use crate::refusal::Rejection;
use crate::reload::ReloadError;
use crate::shared::lock;

/// Watches the files of a manager's plugins until it is dropped.
#[derive(Debug)]
pub struct Watch {
    /// Ends first: its end is what the thread waits for.
    watcher: Option<RecommendedWatcher>,
    thread: Option<JoinHandle<()>>,
}

/// Why files can't be watched.
#[derive(Debug, Error)]
#[error("the folder `{path}` can't be watched for changes; reload its plugins by hand, or raise the system's limits", path = .path.shown())]
pub struct WatchError {
    /// The folder.
    pub path: PathBuf,
    /// Why.
    pub source: notify::Error,
}

/// What the system says: paths that were changed, or that it lost count.
type Changed = Result<notify::Event, notify::Error>;

impl Manager {
    /// Reloads plugins whose files change, when they have not changed for `quiet`. Folders of plugins that are
    /// started later are not watched.
    ///
    /// # Errors
    /// The system can't watch one of the folders.
    pub fn watch(&self, quiet: Duration) -> Result<Watch, WatchError> {
        let (sender, changes): (Sender<Changed>, _) = std::sync::mpsc::channel();
        let error = |path: &Path| {
            let path = path.to_owned();
            move |source| WatchError { path, source }
        };
        let mut watcher = notify::recommended_watcher(sender).map_err(error(Path::new(".")))?;
        for folder in self.inner.folders() {
            watcher.watch(&folder, RecursiveMode::NonRecursive).map_err(error(&folder))?;
        }
        let manager = Arc::downgrade(&self.inner);
        let work = move || follow(&manager, &changes, quiet);
        let started = thread::Builder::new().name("keyway-watch".to_owned()).spawn(work);
        let thread = started.map_err(|source| WatchError {
            path: PathBuf::from("."),
            source: notify::Error::io(source),
        })?;
        Ok(Watch { watcher: Some(watcher), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.watcher.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was told when it happened.
            let _ = thread.join();
        }
    }
}

fn follow(manager: &Weak<Inner>, changes: &Receiver<Changed>, quiet: Duration) {
    /// As good as never.
    const IDLE: Duration = Duration::from_secs(3600);

    // When each plugin is to be looked at.
    let mut due: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        let next = due.values().min();
        let time = next.map_or(IDLE, |next| next.saturating_duration_since(Instant::now()));
        let change = changes.recv_timeout(time);
        let Some(manager) = manager.upgrade() else { return };
        match change {
            // Looking at a file is no change of it; the gate does that itself.
            Ok(Ok(event)) if event.kind.is_access() => {}
            Ok(Ok(event)) => {
                for name in manager.named(&event.paths) {
                    due.insert(name, Instant::now() + quiet);
                }
            }
            // The system lost count: any may have changed.
            Ok(Err(_)) => {
                let names = lock(&manager.plugins).order.clone();
                due.extend(names.into_iter().map(|name| (name, Instant::now() + quiet)));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        let ready: Vec<_> =
            due.iter().filter(|(_, at)| **at <= now).map(|(n, _)| n.clone()).collect();
        for name in ready {
            due.remove(&name);
            manager.look_at(&name);
        }
    }
}

impl Inner {
    /// The folders in which the plugins lie.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let plugins = lock(&self.plugins);
        let folder = |path: &PathBuf| match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        plugins.by_name.values().map(|entry| folder(&entry.path)).collect()
    }

    /// The plugins with one of these files.
    fn named(&self, paths: &[PathBuf]) -> Vec<String> {
        let plugins = lock(&self.plugins);
        let is_of = |library: &Path, path: &PathBuf| {
            let name =
                |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
            let (Some(library), Some(path)) = (name(library), name(path)) else { return false };
            path == library || path == Manifest::file_name_for(&library)
        };
        let changed = plugins.by_name.iter().filter(|(_, entry)| {
            // By name: the system's paths may be other ones of the same folder.
            paths.iter().any(|path| is_of(&entry.path, path))
        });
        changed.map(|(name, _)| name.clone()).collect()
    }

    /// Reloads a plugin if another one lies where it did.
    fn look_at(&self, name: &str) {
        let Ok(entry) = self.entry(name) else { return };
        let admission = match self.host.gate().check(&entry.path) {
            Ok(admission) => admission,
            Err(rejection) => {
                self.tell(match is_incomplete(&rejection) {
                    true => Event::Incomplete { name: name.to_owned() },
                    false => Event::not_reloaded(name, &ReloadError::Refused(rejection)),
                });
                return;
            }
        };
        let sha256 = |manifest: &Manifest| manifest.artifact.sha256;
        let current = entry.plugin.manifest();
        if current.is_some_and(|current| sha256(&current) == sha256(admission.manifest())) {
            return;
        }
        let reloaded = entry.plugin.reload_admitted(&self.host, admission, &self.options.reload);
        // It is told as an event; there is nobody else here.
        let _ = self.told(name, reloaded, |name, change| Event::Reloaded { name, change });
    }
}

/// Whether library and manifest don't belong together, as while one of them is being written.
fn is_incomplete(rejection: &Rejection) -> bool {
    let of_copies = [
        Code::NotFound,
        Code::Changed,
        Code::NoManifest,
        Code::NotJson,
        Code::SizeDiffers,
        Code::HashDiffers,
    ];
    rejection.refusals.iter().any(|refusal| of_copies.contains(&refusal.code))
}
