//! A place with a value that many threads use and that is replaced while they do.
//!
//! There are two ways in. The quick one writes into the thread's record and takes no lock. It is shut
//! while somebody wants the value alone, and stays so until it has been entered by the other way
//! [`N_SLOW_ENTRIES`] times in a row: shutting it makes all threads of the process pass a barrier, and a value
//! that is mostly had alone should not pay for that each time. The slow way takes a mutex for the time of
//! entering, and a reference.
//!
//! Replacing waits for nobody. What was replaced is handed out, to be drained: after that nobody uses it.
//!
//! All unsafe code of the mechanism is here, but for the list of records.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::time::Instant;

use super::barrier;
use super::slots::Slot;
use super::sync::{
    self, Arc, AtomicPtr, Condvar, Mutex, MutexGuard, Ordering, PoisonError, ThreadId, this_thread,
};
use super::thread;

/// Entries by the slow way, with nobody alone in between, after which the quick one is open again.
const N_SLOW_ENTRIES: u32 = 64;

/// The bit of the pointer that says that the quick way is shut.
const SHUT: usize = 1;

/// A value that can be replaced while it is used.
pub(crate) struct Place<T> {
    /// What the quick way leads to: the node in `current`, and [`SHUT`]. Null, and shut, if there is none.
    pointer: AtomicPtr<Node<T>>,
    current: Mutex<Option<Arc<Node<T>>>>,
}

/// A value, and whose turn it is to use it.
pub(crate) struct Node<T> {
    value: UnsafeCell<T>,
    turns: Mutex<Turns>,
    changed: Condvar,
}

// SAFETY: the value is lent shared to those who entered, and exclusively to one who waited until all of
// them had left; the rest is for any thread by itself.
unsafe impl<T: Send + Sync> Sync for Node<T> {}

/// Who uses a value by the slow way, and who may.
#[derive(Default)]
struct Turns {
    /// The threads that have entered, once for each time.
    shared: Vec<ThreadId>,
    /// The thread that has it alone, or waits until the others have left.
    alone: Option<ThreadId>,
    /// Whether nobody is in by the quick way, and it is shut.
    is_shut: bool,
    n_entries: u32,
    /// Threads that wait for a change. Telling nobody would be a system call all the same.
    n_waiting: u32,
    access: Access,
}

/// What a value may be used for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Access {
    #[default]
    Open,
    /// Nobody is to have it alone: it is about to be replaced, and what is changed now would be lost.
    SharedOnly,
    /// Nobody may enter.
    Paused,
    /// It was replaced.
    Replaced,
}

/// Why a plugin can't be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unavailable {
    /// It was unloaded.
    Gone,
    /// It is paused.
    Paused,
    /// This thread uses it itself, and would wait for ever.
    Own,
    /// It did not become free in time.
    Late,
}

impl<T> Place<T> {
    pub(crate) fn new(value: T) -> Self {
        barrier::prepare();
        let node = Arc::new(Node::new(value));
        let pointer = AtomicPtr::new(node.address());
        Self { pointer, current: Mutex::new(Some(node)) }
    }

    /// What is there now.
    pub(crate) fn current(&self) -> Option<Arc<Node<T>>> {
        lock(&self.current).clone()
    }

    /// Enters the value that is there now, together with others. Does not wait for a replacement; waits for
    /// one who has the value alone.
    #[inline]
    pub(crate) fn enter(&self) -> Result<Entered<'_, T>, Unavailable> {
        self.enter_until(None)
    }

    /// The same, and waits no longer than until then.
    #[inline]
    pub(crate) fn enter_until(
        &self,
        until: Option<Instant>,
    ) -> Result<Entered<'_, T>, Unavailable> {
        if let Some(slot) = thread::record().and_then(|record| record.free()) {
            let pointer = self.pointer.load(Ordering::Relaxed);
            if pointer.addr() & SHUT == 0 {
                slot.enter(pointer.cast_const().cast());
                barrier::light();
                if self.pointer.load(Ordering::Acquire) == pointer {
                    // SAFETY: the pointer is that of a node that was current after the slot was
                    // written. Who replaces it, or wants it alone, changes the pointer first, passes
                    // the other side of the barrier, and then waits for the slot.
                    let node = unsafe { NonNull::new_unchecked(pointer) };
                    return Ok(Entered { node, way: Way::Quick(slot), place: PhantomData });
                }
                slot.leave();
            }
        }
        self.enter_slowly(until)
    }

    #[cold]
    fn enter_slowly(&self, until: Option<Instant>) -> Result<Entered<'_, T>, Unavailable> {
        let me = this_thread();
        loop {
            let node = self.current().ok_or(Unavailable::Gone)?;
            let mut turns = lock(&node.turns);
            // Who waits to be alone waits for this thread, if it is in already: so it may go on.
            let is_in = turns.shared.contains(&me) || node.is_entered_by_this_thread();
            while turns.alone.is_some() && !is_in && turns.access != Access::Replaced {
                if turns.alone == Some(me) {
                    return Err(Unavailable::Own);
                }
                let is_early;
                (turns, is_early) = node.wait(turns, until);
                if !is_early {
                    return Err(Unavailable::Late);
                }
            }
            match turns.access {
                Access::Replaced => continue,
                Access::Paused => return Err(Unavailable::Paused),
                Access::Open | Access::SharedOnly => {}
            }
            turns.shared.push(me);
            turns.n_entries = turns.n_entries.saturating_add(1);
            if turns.alone.is_none() && turns.n_entries >= N_SLOW_ENTRIES {
                (turns.is_shut, turns.n_entries) = (false, 0);
                self.set_shut(&node, false);
            }
            drop(turns);
            let at = NonNull::from(&*node);
            return Ok(Entered { node: at, way: Way::Slow(node), place: PhantomData });
        }
    }

    /// The value that is there now, alone: waits until others have left, and keeps them out.
    pub(crate) fn alone(&self, until: Option<Instant>) -> Result<Alone<T>, Unavailable> {
        loop {
            let node = self.current().ok_or(Unavailable::Gone)?;
            if let Some(alone) = self.alone_in(&node, &[Access::Open], until)? {
                return Ok(alone);
            }
        }
    }

    /// The same for one value, if its access is one of `allowed`; none if it was replaced.
    pub(crate) fn alone_in(
        &self,
        node: &Arc<Node<T>>,
        allowed: &[Access],
        until: Option<Instant>,
    ) -> Result<Option<Alone<T>>, Unavailable> {
        let me = this_thread();
        let mut turns = lock(&node.turns);
        if turns.alone == Some(me) || turns.shared.contains(&me) || node.is_entered_by_this_thread()
        {
            return Err(Unavailable::Own);
        }
        loop {
            match turns.access {
                Access::Replaced => return Ok(None),
                access if turns.alone.is_none() && allowed.contains(&access) => break,
                Access::Paused if turns.alone.is_none() => return Err(Unavailable::Paused),
                Access::Open | Access::Paused | Access::SharedOnly => {}
            }
            let is_early;
            (turns, is_early) = node.wait(turns, until);
            if !is_early {
                return Err(Unavailable::Late);
            }
        }
        turns.alone = Some(me);
        turns.n_entries = 0;
        let was_shut = turns.is_shut;
        drop(turns);
        // From here on its end gives the turn back.
        let turn = Turn(node.clone());
        if !was_shut {
            self.set_shut(node, true);
            if !node.wait_for_slots(until) {
                return Err(Unavailable::Late);
            }
        }
        let mut turns = lock(&node.turns);
        turns.is_shut = true;
        while !turns.shared.is_empty() {
            let is_early;
            (turns, is_early) = node.wait(turns, until);
            if !is_early {
                return Err(Unavailable::Late);
            }
        }
        drop(turns);
        Ok(Some(Alone { turn, thread: PhantomData }))
    }

    /// Says what the value may be used for from now on; those who are in stay.
    pub(crate) fn set_access(&self, node: &Node<T>, access: Access) {
        let mut turns = lock(&node.turns);
        if turns.access == Access::Replaced {
            return;
        }
        turns.access = access;
        turns.n_entries = 0;
        node.tell(turns);
    }

    /// Puts another value, or none, in the place of what is there, which is handed out.
    pub(crate) fn replace(&self, value: Option<T>) -> Option<Arc<Node<T>>> {
        let new = value.map(|value| Arc::new(Node::new(value)));
        let nothing = std::ptr::without_provenance_mut(SHUT);
        let pointer = new.as_ref().map_or(nothing, |node| node.address());
        let mut current = lock(&self.current);
        let old = std::mem::replace(&mut *current, new);
        self.pointer.store(pointer, Ordering::Release);
        drop(current);
        if let Some(old) = &old {
            self.set_access(old, Access::Replaced);
        }
        old
    }

    /// Shuts or opens the quick way, if it leads to this value.
    fn set_shut(&self, node: &Node<T>, shut: bool) {
        let (open, closed) = (node.address(), node.address().map_addr(|address| address | SHUT));
        let (from, to) = if shut { (open, closed) } else { (closed, open) };
        // It fails if the value was replaced, or shut before by one who then waited too long.
        let _ = self.pointer.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
    }
}

impl<T> Drop for Place<T> {
    /// Nobody is in any more, but for guards that were forgotten. Their slots name the node for ever, so nothing
    /// else may ever have its address.
    fn drop(&mut self) {
        let current = lock(&self.current).take();
        if let Some(node) = current
            && thread::registry().is_used(node.thing())
        {
            std::mem::forget(node);
        }
    }
}

impl<T> Node<T> {
    fn new(value: T) -> Self {
        let (turns, changed) = (Mutex::new(Turns::default()), Condvar::new());
        Self { value: UnsafeCell::new(value), turns, changed }
    }

    fn address(&self) -> *mut Self {
        std::ptr::from_ref(self).cast_mut()
    }

    fn thing(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }

    /// Waits for a change of `turns`; false if it is too late for that.
    fn wait<'a>(
        &self,
        mut turns: MutexGuard<'a, Turns>,
        until: Option<Instant>,
    ) -> (MutexGuard<'a, Turns>, bool) {
        turns.n_waiting += 1;
        let (mut turns, is_early) = sync::wait(&self.changed, turns, until);
        turns.n_waiting -= 1;
        (turns, is_early)
    }

    /// Tells those who wait that `turns` has changed.
    fn tell(&self, turns: MutexGuard<'_, Turns>) {
        let is_awaited = turns.n_waiting > 0;
        drop(turns);
        if is_awaited {
            self.changed.notify_all();
        }
    }

    /// By the quick way.
    fn is_entered_by_this_thread(&self) -> bool {
        thread::record().is_some_and(|record| record.n_uses(self.thing()) > 0)
    }

    /// Waits until nobody is in by the quick way. Whoever calls it has shut that, or replaced the value.
    fn wait_for_slots(&self, until: Option<Instant>) -> bool {
        if !barrier::heavy() {
            return false;
        }
        poll(until, || !thread::registry().is_used(self.thing()))
    }

    /// How many have entered and not left.
    pub(crate) fn n_users(&self) -> usize {
        let turns = lock(&self.turns);
        let alone = usize::from(turns.alone.is_some());
        turns.shared.len() + alone + thread::registry().n_users(self.thing())
    }

    /// Whether this thread has entered and not left, or has it alone.
    pub(crate) fn is_used_by_this_thread(&self) -> bool {
        let (turns, me) = (lock(&self.turns), this_thread());
        turns.alone == Some(me) || turns.shared.contains(&me) || self.is_entered_by_this_thread()
    }

    /// The value of a node that was replaced, once nobody uses it any more; the node if that took too long.
    pub(crate) fn drain(node: Arc<Self>, until: Option<Instant>) -> Result<T, Arc<Self>> {
        if !node.wait_for_slots(until) || !poll(until, || Arc::strong_count(&node) == 1) {
            return Err(node);
        }
        Arc::try_unwrap(node).map(|node| node.value.into_inner())
    }
}

/// A value that was entered. It stays, whatever is put in its place, until this is dropped.
pub(crate) struct Entered<'a, T> {
    node: NonNull<Node<T>>,
    way: Way<'a, T>,
    /// It belongs to its thread, whose record it has written into. A pointer says so.
    place: PhantomData<(&'a Place<T>, *const ())>,
}

enum Way<'a, T> {
    Quick(&'a Slot),
    Slow(Arc<Node<T>>),
}

impl<T> Deref for Entered<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the slot, or the reference, keeps the node; nobody has the value alone meanwhile.
        unsafe { &*self.node.as_ref().value.get() }
    }
}

impl<T> Drop for Entered<'_, T> {
    #[inline]
    fn drop(&mut self) {
        match &self.way {
            Way::Quick(slot) => slot.leave(),
            Way::Slow(node) => leave_slowly(node),
        }
    }
}

#[cold]
fn leave_slowly<T>(node: &Node<T>) {
    let (mut turns, me) = (lock(&node.turns), this_thread());
    if let Some(at) = turns.shared.iter().position(|thread| *thread == me) {
        turns.shared.swap_remove(at);
    }
    node.tell(turns);
}

/// A value that nobody else uses until this is dropped.
pub(crate) struct Alone<T> {
    turn: Turn<T>,
    /// It belongs to its thread, which it is known by.
    thread: PhantomData<*const ()>,
}

impl<T> Alone<T> {
    pub(crate) fn node(&self) -> &Arc<Node<T>> {
        &self.turn.0
    }
}

impl<T> Deref for Alone<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: nobody else has entered, nor does before this is dropped.
        unsafe { &*self.turn.0.value.get() }
    }
}

impl<T> DerefMut for Alone<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.turn.0.value.get() }
    }
}

/// The turn of one who has a value alone, or waits for that.
struct Turn<T>(Arc<Node<T>>);

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        let mut turns = lock(&self.0.turns);
        turns.alone = None;
        self.0.tell(turns);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks until it is so; false if it was not by then.
fn poll(until: Option<Instant>, is_so: impl Fn() -> bool) -> bool {
    let mut round = 0;
    loop {
        if is_so() {
            return true;
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return false;
        }
        sync::pause(round);
        round = round.saturating_add(1);
    }
}
