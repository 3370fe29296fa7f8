//! Records of what threads are using, one for each thread, which whoever wants to drop something
//! looks through.
//!
//! Only its own thread writes into a record, so that entering and leaving are plain stores. Records are never
//! freed: they go from a thread that ends to the next one that begins, so there are as many as there were
//! threads at once.

use super::sync::{AtomicBool, AtomicPtr, Ordering};

/// How many things a thread can use at once in this way; further ones are counted instead.
pub(crate) const N_SLOTS: usize = 8;

/// What one thread is using. Two cache lines, since processors fetch them in pairs.
#[repr(align(128))]
pub(crate) struct Record {
    slots: [Slot; N_SLOTS],
    /// Whether a thread has it.
    taken: AtomicBool,
    /// The record that was made before this one.
    next: AtomicPtr<Record>,
}

/// The address of something in use; null if nothing is.
pub(crate) struct Slot(AtomicPtr<()>);

/// All records.
pub(crate) struct Registry {
    first: AtomicPtr<Record>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { first: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// A record for a thread, which must be the only one to use it until it is [released](Self::release).
    pub(crate) fn claim(&self) -> &'static Record {
        let claim = |record: &&Record| {
            !record.taken.load(Ordering::Relaxed)
                && record
                    .taken
                    .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
        };
        if let Some(record) = self.records().find(claim) {
            return record;
        }
        let record: &'static Record = Box::leak(Box::new(Record {
            slots: std::array::from_fn(|_| Slot(AtomicPtr::new(std::ptr::null_mut()))),
            taken: AtomicBool::new(true),
            next: AtomicPtr::new(std::ptr::null_mut()),
        }));
        let mut first = self.first.load(Ordering::Acquire);
        loop {
            record.next.store(first, Ordering::Relaxed);
            let new = std::ptr::from_ref(record).cast_mut();
            match self.first.compare_exchange(first, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return record,
                Err(other) => first = other,
            }
        }
    }

    /// Gives a record back. One that still says that something is in use, by a guard that was forgotten, is
    /// nobody's from then on, and goes on saying so.
    pub(crate) fn release(&self, record: &'static Record) {
        if record.slots.iter().all(Slot::is_free) {
            record.taken.store(false, Ordering::Release);
        }
    }

    /// Whether any thread says that it uses this.
    pub(crate) fn is_used(&self, thing: *const ()) -> bool {
        self.n_users(thing) > 0
    }

    /// How often it is said to be used.
    pub(crate) fn n_users(&self, thing: *const ()) -> usize {
        self.records().map(|record| record.n_uses(thing)).sum()
    }

    fn records(&self) -> impl Iterator<Item = &'static Record> {
        let mut next = self.first.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: `claim` put it there, and never frees one.
            let record: &'static Record = unsafe { next.as_ref() }?;
            next = record.next.load(Ordering::Relaxed);
            Some(record)
        })
    }
}

impl Record {
    /// A slot in which nothing stands.
    #[inline]
    pub(crate) fn free(&self) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.is_free())
    }

    /// How often its thread says that it uses this.
    pub(crate) fn n_uses(&self, thing: *const ()) -> usize {
        let uses = |slot: &&Slot| slot.0.load(Ordering::Acquire).cast_const() == thing;
        self.slots.iter().filter(uses).count()
    }
}

impl Slot {
    #[inline]
    fn is_free(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }

    /// Says what is about to be used. Only a barrier later, and if it is still there to be used, it may be.
    #[inline]
    pub(crate) fn enter(&self, thing: *const ()) {
        self.0.store(thing.cast_mut(), Ordering::Relaxed);
    }

    /// Says that it is used no more.
    #[inline]
    pub(crate) fn leave(&self) {
        self.0.store(std::ptr::null_mut(), Ordering::Release);
    }
}
