//! What is done about calls that panic or hang: one thread, which waits for notices and for the time at which
//! something is to be restarted.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{BackOff, FailurePolicy, Inner, is_over};

/// What the supervisor is told.
pub(super) enum Notice {
    /// A call ended a generation, or hangs in it.
    Failed {
        /// The plugin's name in the manager.
        name: String,
        generation: u64,
        reason: String,
    },
    /// The manager ends.
    Stop,
}

/// What is known of a plugin that went wrong.
#[derive(Default)]
struct Case {
    /// Restarts in a row.
    n_restarts: u32,
    /// When the last one was.
    last: Option<Instant>,
    /// When the next one is due.
    due: Option<Instant>,
    reason: String,
}

pub(super) fn start(manager: Weak<Inner>, notices: Receiver<Notice>) -> JoinHandle<()> {
    let supervise = move || supervise(&manager, &notices);
    let started = thread::Builder::new().name("keyway-supervisor".to_owned()).spawn(supervise);
    started.unwrap_or_else(|error| panic!("the supervisor's thread can't be started: {error}"))
}

fn supervise(manager: &Weak<Inner>, notices: &Receiver<Notice>) {
    /// As good as never.
    const IDLE: Duration = Duration::from_secs(3600);

    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    loop {
        let now = Instant::now();
        let due = cases.values().filter_map(|case| case.due).min();
        let notice =
            notices.recv_timeout(due.map_or(IDLE, |due| due.saturating_duration_since(now)));
        let Some(manager) = manager.upgrade() else { return };
        match notice {
            Ok(Notice::Failed { name, generation, reason }) => {
                let case = cases.entry(name.clone()).or_default();
                manager.failed(&name, generation, reason, case);
            }
            Ok(Notice::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = Instant::now();
        for (name, case) in &mut cases {
            if case.due.is_some_and(|due| due <= now) {
                manager.restart_due(name, case);
            }
        }
    }
}

impl Inner {
    fn failed(&self, name: &str, generation: u64, reason: String, case: &mut Case) {
        let Ok(entry) = self.entry(name) else { return };
        // Another one is called by now, or it is to be replaced already.
        if entry.plugin.generation() != generation || is_over(&entry.plugin) || case.due.is_some() {
            return;
        }
        match self.options.policy {
            FailurePolicy::FailTheCall => {}
            FailurePolicy::Retire => self.retire(name, reason),
            FailurePolicy::Restart(back_off) => {
                if case.last.is_some_and(|last| last.elapsed() > back_off.most) {
                    case.n_restarts = 0;
                }
                case.reason = reason;
                self.schedule(name, case, back_off);
            }
        }
    }

    fn schedule(&self, name: &str, case: &mut Case, back_off: BackOff) {
        if case.n_restarts >= back_off.n_restarts {
            case.due = None;
            let (n_restarts, reason) = (case.n_restarts, &case.reason);
            self.retire(name, format!("it went wrong again after {n_restarts} restarts: {reason}"));
            return;
        }
        case.due = Some(Instant::now() + back_off.time(case.n_restarts));
        case.n_restarts += 1;
    }

    fn restart_due(&self, name: &str, case: &mut Case) {
        case.due = None;
        case.last = Some(Instant::now());
        let FailurePolicy::Restart(back_off) = self.options.policy else { return };
        match self.entry(name) {
            Ok(entry) if !is_over(&entry.plugin) => {}
            _ => return,
        }
        if let Err(error) = self.restart(name) {
            case.reason = super::events::chain(&error);
            self.schedule(name, case, back_off);
        }
    }
}
