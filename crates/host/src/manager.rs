//! Many plugins, by name: found in folders, started in the order of their dependencies, watched over
//! when they go wrong, and stopped in the reverse order.
//!
//! A manager owns no more than names, order and policy; each plugin is a [`SharedPlugin`], and is called as
//! one. What happens is told on a channel, and how things are is data ([`Status`]).
//!
//! ```no_run
//! use std::path::Path;
//!
//! use keyway_host::manager::discover;
//! use keyway_host::{BackOff, Expectation, FailurePolicy, Host, Manager, ManagerOptions, Services};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Host::new(Expectation::this_process(), Services::new(|_, _| ()))?;
//! let policy = FailurePolicy::Restart(BackOff::default());
//! let (manager, events) = Manager::new(host, ManagerOptions { policy, ..ManagerOptions::default() });
//! for failed in manager.start(discover(Path::new("plugins"))?)? {
//!     eprintln!("{} was not started: {}", failed.name, failed.reason);
//! }
//! let greet = manager.plugin("greet")?;
//! print!("{}", manager.status());
//! for name in manager.stop().left() {
//!     eprintln!("{name} did not end in time");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | module | owns |
//! | --- | --- |
//! | `discovery` | which plugins lie in a folder |
//! | `order` | dependencies |
//! | `hooks` | what a plugin's life and calls tell the manager |
//! | `supervisor` | what is done about calls that panic or hang |
//! | `watch` | files that change (feature `watch`) |
//! | `events`, `status` | what happened, and how things are |

mod discovery;
mod events;
mod hooks;
mod order;
mod status;
mod supervisor;
#[cfg(feature = "watch")]
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use keyway_manifest::text::Show as _;
use thiserror::Error;

use crate::generation::Ended;
use crate::lifecycle::{Deadlines, Life, LifeCause, LifeError, LifeState};
use crate::load::Host;
use crate::reload::{Reload, ReloadError, Reloaded};
use crate::shared::{SharedPlugin, lock};

pub use discovery::{DEPENDS_ON, DiscoveryError, Member, discover};
pub use events::{Change, EndedAs, Event};
use hooks::ManagerHooks;
pub use order::OrderError;
pub use status::{LastFailure, PluginStatus, Status};
use supervisor::Notice;
#[cfg(feature = "watch")]
pub use watch::{Watch, WatchError};

/// How a manager leads the life of its plugins.
#[derive(Debug, Clone)]
pub struct ManagerOptions {
    /// Deadlines, and the host's own hooks. A step without a deadline that hangs keeps whoever asked for it, and
    /// the supervisor may be one who does.
    pub life: Life,
    /// What is done when a call panics or hangs.
    pub policy: FailurePolicy,
    /// How plugins are reloaded; the check looks at restarted instances too.
    pub reload: Reload,
}

impl Default for ManagerOptions {
    /// 30 seconds for each step, and a failed call is no more than that.
    fn default() -> Self {
        let life = Life { deadlines: Deadlines::all(Duration::from_secs(30)), hooks: None };
        Self { life, policy: FailurePolicy::FailTheCall, reload: Reload::default() }
    }
}

/// What is done when a call of a plugin panics, or does not end by its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    /// Nothing: the call fails. An instance that panicked answers `POISONED` from then on.
    FailTheCall,
    /// Another generation of the same library takes its place, without its state, after a while; it is retired when
    /// that was done too often.
    Restart(BackOff),
    /// It is not called any more: calls answer `DISCONNECTED`.
    Retire,
}

/// How long to wait before a plugin is restarted: twice as long each time, until it has run for `most`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    /// The first time.
    pub first: Duration,
    /// At most.
    pub most: Duration,
    /// How many restarts in a row there are before it is retired.
    pub n_restarts: u32,
}

impl Default for BackOff {
    fn default() -> Self {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(30));
        Self { first, most, n_restarts: 5 }
    }
}

impl BackOff {
    fn time(&self, n_before: u32) -> Duration {
        self.first.saturating_mul(2_u32.saturating_pow(n_before)).min(self.most)
    }
}

/// Why a manager did not do what it was asked for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// There is no such plugin.
    #[error("this manager has no plugin `{name}`; it has {known}", name = .name.shown())]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are, as text.
        known: String,
    },
    /// It was not reloaded, restarted or rolled back.
    #[error(transparent)]
    Reload(#[from] ReloadError),
    /// A step of its life failed.
    #[error(transparent)]
    Life(Box<LifeError>),
}

impl From<LifeError> for ManagerError {
    fn from(error: LifeError) -> Self {
        Self::Life(Box::new(error))
    }
}

/// What was not started, and why.
#[derive(Debug)]
pub struct NotStarted {
    /// What it is called in this manager.
    pub name: String,
    /// Why.
    pub reason: NotStartedReason,
}

/// Why a plugin was not started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NotStartedReason {
    /// It was not loaded.
    #[error(transparent)]
    Life(#[from] LifeError),
    /// It depends on one that was not started.
    #[error("it depends on `{0}`, which was not started")]
    Needs(String),
}

/// How a manager stopped.
#[derive(Debug)]
pub struct Stopped {
    /// How each plugin ended, in the order in which they did.
    pub ended: Vec<(String, Ended)>,
}

impl Stopped {
    /// The names of those that did not end in time, and stay in memory until the process ends.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        let left = |(_, ended): &&(String, Ended)| matches!(ended, Ended::Quarantined { .. });
        self.ended.iter().filter(left).map(|(name, _)| &**name)
    }
}

/// Runs plugins. When it is dropped it stops them.
pub struct Manager {
    inner: Arc<Inner>,
    supervisor: Option<JoinHandle<()>>,
}

struct Inner {
    host: Host,
    options: ManagerOptions,
    plugins: Mutex<Plugins>,
    events: Sender<Event>,
    notices: Sender<Notice>,
}

#[derive(Default)]
struct Plugins {
    by_name: BTreeMap<String, Entry>,
    /// In which they were started.
    order: Vec<String>,
}

#[derive(Clone)]
struct Entry {
    plugin: SharedPlugin,
    /// What it is reloaded from.
    path: PathBuf,
    needs: BTreeSet<String>,
}

impl Manager {
    /// A manager without plugins, and what it tells of them from then on. Whoever does not listen drops
    /// the receiver.
    pub fn new(host: Host, options: ManagerOptions) -> (Self, Receiver<Event>) {
        let (events, heard) = std::sync::mpsc::channel();
        let (notices, noticed) = std::sync::mpsc::channel();
        let plugins = Mutex::default();
        let inner = Arc::new(Inner { host, options, plugins, events, notices });
        let supervisor = supervisor::start(Arc::downgrade(&inner), noticed);
        (Self { inner, supervisor: Some(supervisor) }, heard)
    }

    /// The host that checks and loads.
    pub fn host(&self) -> &Host {
        &self.inner.host
    }

    /// Starts plugins, each after those that it depends on, which may run already. What fails is told, and so
    /// is what depends on it; all others run afterwards.
    ///
    /// # Errors
    /// There is no order in which they could be started; then none is.
    pub fn start(&self, members: Vec<Member>) -> Result<Vec<NotStarted>, OrderError> {
        let mut needs: BTreeMap<_, _> = {
            let plugins = lock(&self.inner.plugins);
            let running = plugins.by_name.iter();
            running.map(|(name, entry)| (name.clone(), entry.needs.clone())).collect()
        };
        let mut by_name = BTreeMap::new();
        for member in members {
            let name = member.name.clone();
            if needs.insert(name.clone(), member.depends_on.clone()).is_some() {
                return Err(OrderError::Twice { name });
            }
            by_name.insert(name, member);
        }
        let mut failed: Vec<NotStarted> = Vec::new();
        for name in order::order(&needs)? {
            let Some(member) = by_name.remove(&name) else { continue };
            let missing = failed.iter().find(|other| member.depends_on.contains(&other.name));
            let missing = missing.map(|other| other.name.clone());
            let result = match missing {
                Some(missing) => Err(NotStartedReason::Needs(missing)),
                None => self.inner.start(&name, member).map_err(NotStartedReason::Life),
            };
            if let Err(reason) = result {
                self.inner.tell(match &reason {
                    NotStartedReason::Life(error) => Event::refused(&name, error),
                    NotStartedReason::Needs(_) => {
                        let (codes, error) = (Vec::new(), reason.to_string());
                        Event::Refused { name: name.clone(), codes, error }
                    }
                });
                failed.push(NotStarted { name, reason });
            }
        }
        Ok(failed)
    }

    /// The plugin of this name, to call it. Keep it: it is cheap to clone, and goes along with reloads. A call that
    /// goes wrong is noticed here if it is one that is [counted](crate::Counted::n_calls).
    ///
    /// # Errors
    /// There is none.
    pub fn plugin(&self, name: &str) -> Result<SharedPlugin, ManagerError> {
        self.inner.entry(name).map(|entry| entry.plugin)
    }

    /// The names, in the order in which they were started.
    pub fn names(&self) -> Vec<String> {
        lock(&self.inner.plugins).order.clone()
    }

    /// Reloads a plugin from where it lay, or from `path`, which is where it lies from then on.
    ///
    /// # Errors
    /// Why not. It is called as before.
    pub fn reload(&self, name: &str, path: Option<&Path>) -> Result<Reloaded, ManagerError> {
        let entry = self.inner.entry(name)?;
        let path = path.unwrap_or(&entry.path);
        let reloaded = entry.plugin.reload(&self.inner.host, path, &self.inner.options.reload);
        if reloaded.is_ok()
            && let Some(entry) = lock(&self.inner.plugins).by_name.get_mut(name)
        {
            path.clone_into(&mut entry.path);
        }
        self.inner.told(name, reloaded, |name, change| Event::Reloaded { name, change })
    }

    /// Goes back to what the plugin was loaded from before.
    ///
    /// # Errors
    /// Why not. It is called as before.
    pub fn roll_back(&self, name: &str) -> Result<Reloaded, ManagerError> {
        let entry = self.inner.entry(name)?;
        let reloaded = entry.plugin.roll_back(&self.inner.host, &self.inner.options.reload);
        self.inner.told(name, reloaded, |name, change| Event::RolledBack { name, change })
    }

    /// How all plugins are.
    pub fn status(&self) -> Status {
        let plugins = lock(&self.inner.plugins);
        let entries: Vec<_> = plugins
            .order
            .iter()
            .filter_map(|name| Some((name.clone(), plugins.by_name.get(name)?.plugin.clone())))
            .collect();
        drop(plugins);
        let plugins = entries.iter().map(|(name, plugin)| PluginStatus::of(name, plugin));
        Status { plugins: plugins.collect() }
    }

    /// Stops one plugin. Those that depend on it are not asked.
    ///
    /// # Errors
    /// There is none, it was stopped before, or this thread is in a call of it.
    pub fn stop_one(&self, name: &str) -> Result<Ended, ManagerError> {
        let entry = self.inner.entry(name)?;
        let ended = entry.plugin.unload()?;
        self.inner.forget(name);
        self.inner.tell(Event::Stopped { name: name.to_owned(), ended: (&ended).into() });
        Ok(ended)
    }

    /// Stops all plugins, each before those that it depends on, and each with its deadlines. What was
    /// retired has ended before.
    pub fn stop(mut self) -> Stopped {
        self.end()
    }

    fn end(&mut self) -> Stopped {
        // First, so that nothing is restarted meanwhile.
        let _ = self.inner.notices.send(Notice::Stop);
        if let Some(supervisor) = self.supervisor.take() {
            let _ = supervisor.join();
        }
        let names = self.names();
        let stop = |name: String| match self.stop_one(&name) {
            Ok(ended) => Some((name, ended)),
            // It is this thread that uses it: it stays until its end.
            Err(ManagerError::Life(error)) if matches!(error.cause, LifeCause::Unavailable(_)) => {
                Some((name, Ended::Quarantined { n_calls: 1 }))
            }
            Err(_) => None,
        };
        Stopped { ended: names.into_iter().rev().filter_map(stop).collect() }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if self.supervisor.is_some() {
            self.end();
        }
    }
}

impl Inner {
    fn start(self: &Arc<Self>, name: &str, member: Member) -> Result<(), LifeError> {
        let Member { name: _, path, config, depends_on: needs } = member;
        let own = ManagerHooks {
            name: name.to_owned(),
            host: self.options.life.hooks.clone(),
            events: self.events.clone(),
            notices: self.notices.clone(),
        };
        let deadlines = self.options.life.deadlines;
        let life = Life { deadlines, hooks: Some(Arc::new(own)) };
        let plugin = self.host.load_shared(&path, &config, life)?;
        let (version, generation) = (plugin.version(), plugin.generation());
        let mut plugins = lock(&self.plugins);
        plugins.by_name.insert(name.to_owned(), Entry { plugin, path, needs });
        plugins.order.push(name.to_owned());
        drop(plugins);
        self.tell(Event::Loaded { name: name.to_owned(), version, generation });
        Ok(())
    }

    fn entry(&self, name: &str) -> Result<Entry, ManagerError> {
        let plugins = lock(&self.plugins);
        plugins.by_name.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> =
                plugins.by_name.keys().map(|name| format!("`{}`", name.shown())).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            ManagerError::Unknown { name: name.to_owned(), known }
        })
    }

    fn forget(&self, name: &str) {
        let mut plugins = lock(&self.plugins);
        plugins.by_name.remove(name);
        plugins.order.retain(|other| other != name);
    }

    /// Nobody may listen.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn told(
        &self,
        name: &str,
        result: Result<Reloaded, ReloadError>,
        event: fn(String, Change) -> Event,
    ) -> Result<Reloaded, ManagerError> {
        self.tell(match &result {
            Ok(reloaded) => event(name.to_owned(), reloaded.into()),
            Err(error) => Event::not_reloaded(name, error),
        });
        Ok(result?)
    }

    fn restart(&self, name: &str) -> Result<Reloaded, ManagerError> {
        let entry = self.entry(name)?;
        let options =
            Reload { state: crate::reload::StateMove::Discard, ..self.options.reload.clone() };
        let reloaded = entry.plugin.restart(&self.host, &options);
        self.told(name, reloaded, |name, change| Event::Restarted { name, change })
    }

    fn retire(&self, name: &str, reason: String) {
        let Ok(entry) = self.entry(name) else { return };
        // It may have been unloaded meanwhile; it is not called any more in any case.
        let _ = entry.plugin.unload();
        self.tell(Event::Retired { name: name.to_owned(), reason });
    }
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager").field("names", &self.names()).finish_non_exhaustive()
    }
}

/// Whether a plugin is over, whatever its policy.
fn is_over(plugin: &SharedPlugin) -> bool {
    plugin.state() == LifeState::Destroyed
}
