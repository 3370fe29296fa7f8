//! Work that must end by a deadline, and what becomes of it if it does not.
//!
//! Nobody can stop a thread that runs a plugin's code. So such work has a thread of its own; at its
//! deadline whoever waits gets an answer, and the thread is left alone with all that it uses, which is never
//! freed or unmapped: not even if the work ends later. The thread is a new one each time and is joined: one that
//! is kept would keep the plugin's thread-local variables, and with them its library.
//!
//! Work without a deadline runs on the thread that asks for it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use keyway_abi::call::{CallContext, CancellationToken, Context};
use keyway_sdk::now_ns;

use crate::exports::Exports;
use crate::generation::Info;

/// How long work may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Until it is cancelled, and whoever waits for it stops waiting.
    pub(crate) time: Duration,
    /// How much longer whoever waits does so, for a plugin that heeds the deadline to say so.
    pub(crate) grace: Duration,
}

/// It did not end in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Late {
    /// The generation whose code it had begun to run, which is quarantined now.
    pub(crate) generation: Option<u64>,
}

/// Work that is under way, as the work sees it.
pub(crate) struct Attempt {
    trace: Trace,
    /// When it is to end: on this process' clock, and as contexts have it; none, and 0, if never.
    until: Option<Instant>,
    deadline_ns: u64,
    token: CancellationToken,
    used: Arc<Mutex<Used>>,
}

/// Whose code the work runs.
#[derive(Default)]
struct Used {
    by: Option<(Arc<Info>, Option<Exports>)>,
    /// Nobody waits for the work any more.
    is_abandoned: bool,
}

/// What of a caller's context can be handed to another thread, which may go on when the caller does not.
#[derive(Default)]
struct Trace {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    trace_flags: u32,
    trace_state: String,
}

impl Trace {
    fn of(context: Context<'_>) -> Self {
        Self {
            trace_id: context.trace_id().unwrap_or_default(),
            span_id: context.span_id().unwrap_or_default(),
            trace_flags: context.trace_flags(),
            trace_state: context.trace_state().to_owned(),
        }
    }
}

impl Attempt {
    /// Says whose code is about to run. False if nobody waits for that any more; then it must not run.
    pub(crate) fn begin(&self, info: Arc<Info>, exports: Option<Exports>) -> bool {
        let mut used = lock(&self.used);
        if used.is_abandoned {
            return false;
        }
        used.by = Some((info, exports));
        true
    }

    /// When it is to end.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Runs `call` with the context for the plugin's code: the caller's trace, the deadline, and the
    /// cancellation that is signalled when it has passed.
    pub(crate) fn with_context<R>(&self, call: impl FnOnce(Context<'_>) -> R) -> R {
        let Trace { trace_id, span_id, trace_flags, trace_state } = &self.trace;
        let mut context =
            CallContext::new().with_trace_state(trace_state).with_cancellation(&self.token);
        (context.trace_id, context.span_id) = (*trace_id, *span_id);
        (context.trace_flags, context.deadline_ns) = (*trace_flags, self.deadline_ns);
        call(Context::new(&context))
    }
}

/// How far the work has come.
enum Progress<T> {
    Running,
    Done(T),
    Abandoned,
}

/// Does `work`, on behalf of `caller`. With a limit it has a thread, named `name`; if it is late, what it
/// had begun to use is quarantined.
pub(crate) fn run<T: Send + 'static>(
    name: &str,
    limit: Option<Limit>,
    caller: Context<'_>,
    work: impl FnOnce(&Attempt) -> T + Send + 'static,
) -> Result<T, Late> {
    let now = Instant::now();
    let mut attempt = Attempt {
        trace: Trace::of(caller),
        until: None,
        deadline_ns: caller.deadline_ns().unwrap_or_default(),
        token: CancellationToken::new(),
        used: Arc::default(),
    };
    // A deadline that the clock can't tell is none.
    let end = limit.and_then(|limit| Some((now.checked_add(limit.time)?, limit)));
    let Some((until, limit)) = end else {
        return Ok(work(&attempt));
    };
    let time_ns = u64::try_from(limit.time.as_nanos()).unwrap_or(u64::MAX);
    let deadline_ns = now_ns().saturating_add(time_ns);
    attempt.deadline_ns = match attempt.deadline_ns {
        0 => deadline_ns,
        callers => callers.min(deadline_ns),
    };
    attempt.until = Some(until);
    let (token, used) = (attempt.token.clone(), attempt.used.clone());
    let shared = Arc::new((Mutex::new(Progress::Running), Condvar::new()));
    let theirs = shared.clone();
    let worker = thread::Builder::new().name(name.to_owned()).spawn(move || {
        // A panic is this program's own, of a host's closure for example; whoever waits goes on with it.
        let value = catch_unwind(AssertUnwindSafe(|| work(&attempt)));
        // Its end may run the library's, so it is part of the work.
        let used = lock(&attempt.used).by.take();
        drop(used);
        let (progress, changed) = &*theirs;
        let mut progress = lock(progress);
        match *progress {
            // Its destructor is the plugin's code.
            Progress::Abandoned => std::mem::forget(value),
            Progress::Running | Progress::Done(_) => *progress = Progress::Done(value),
        }
        drop(progress);
        changed.notify_all();
    });
    let worker = match worker {
        Ok(worker) => worker,
        Err(error) => panic!("the thread `{name}` can't be started: {error}"),
    };
    let Some(value) = wait(&shared, until, limit.grace, &token, caller) else {
        return Err(abandon(&used));
    };
    // Its own destructors are left, which the library may have some of.
    let _ = worker.join();
    value.map_err(|payload| resume_unwind(payload))
}

/// Waits for the value; cancels the work at its deadline, or when the caller's own is cancelled.
fn wait<T>(
    (progress, changed): &(Mutex<Progress<T>>, Condvar),
    until: Instant,
    grace: Duration,
    token: &CancellationToken,
    caller: Context<'_>,
) -> Option<T> {
    /// How long a caller's cancellation may go unseen.
    const PERIOD: Duration = Duration::from_millis(10);

    let last = until + grace;
    let mut progress = lock(progress);
    loop {
        if matches!(*progress, Progress::Done(_)) {
            let done = std::mem::replace(&mut *progress, Progress::Abandoned);
            return match done {
                Progress::Done(value) => Some(value),
                _ => None,
            };
        }
        let now = Instant::now();
        if now >= last {
            *progress = Progress::Abandoned;
            return None;
        }
        if now >= until || caller.is_cancelled() {
            token.cancel();
        }
        let next = if now < until { until } else { last };
        let mut time = next - now;
        if !caller.as_pointer().is_null() {
            time = time.min(PERIOD);
        }
        (progress, _) =
            changed.wait_timeout(progress, time).unwrap_or_else(PoisonError::into_inner);
    }
}

fn abandon(used: &Mutex<Used>) -> Late {
    let mut used = lock(used);
    used.is_abandoned = true;
    let Some((info, exports)) = used.by.take() else {
        return Late { generation: None };
    };
    info.quarantine();
    // So the library neither ends nor goes.
    std::mem::forget(exports);
    Late { generation: Some(info.number) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
