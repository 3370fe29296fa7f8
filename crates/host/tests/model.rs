//! The guard's mechanism, modelled: every order of events that the memory model allows, up to a bound.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p keyway-host --test model --release`. Both sides of the barrier
//! are fences here, as on systems that have no other; an asymmetric one is no weaker.
#![cfg(loom)]

#[expect(dead_code, unreachable_pub, reason = "the host uses more of it than the model")]
#[path = "../src/guard"]
mod guard {
    pub(crate) mod place;
    pub(crate) mod slots;

    pub(crate) mod barrier {
        use loom::sync::atomic::{Ordering, fence};

        pub(crate) fn prepare() {}

        pub(crate) fn light() {
            fence(Ordering::SeqCst);
        }

        pub(crate) fn heavy() -> bool {
            fence(Ordering::SeqCst);
            true
        }
    }

    pub(crate) mod sync {
        pub(crate) use std::sync::PoisonError;
        use std::time::Instant;

        pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
        pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
        pub(crate) use loom::thread::ThreadId;

        pub(crate) fn this_thread() -> ThreadId {
            loom::thread::current().id()
        }

        pub(crate) fn pause(_: u32) {
            loom::thread::yield_now();
        }

        pub(crate) fn wait<'a, T>(
            condvar: &Condvar,
            lock: MutexGuard<'a, T>,
            _: Option<Instant>,
        ) -> (MutexGuard<'a, T>, bool) {
            (condvar.wait(lock).unwrap_or_else(PoisonError::into_inner), true)
        }
    }

    pub(crate) mod thread {
        use std::sync::Arc;

        use super::slots::{Record, Registry};

        loom::lazy_static! {
            static ref REGISTRY: Arc<Registry> = Arc::new(Registry::new());
        }

        loom::thread_local! {
            static OWNER: Owner = Owner(REGISTRY.claim(), REGISTRY.clone());
        }

        /// The last thread ends after what is static is gone, so it keeps the registry itself.
        struct Owner(&'static Record, Arc<Registry>);

        impl Drop for Owner {
            fn drop(&mut self) {
                self.1.release(self.0);
            }
        }

        pub(crate) fn registry() -> Arc<Registry> {
            REGISTRY.clone()
        }

        pub(crate) fn record() -> Option<&'static Record> {
            OWNER.try_with(|owner| owner.0).ok()
        }
    }
}

use guard::place::{Node, Place, Unavailable};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// A value that finds out who uses it while it is changed or after its end.
struct Watched(UnsafeCell<u32>);

// SAFETY: loom fails the test if it is used by several at once in a way that it should not be.
unsafe impl Sync for Watched {}
// SAFETY: as above.
unsafe impl Send for Watched {}

impl Watched {
    fn new(number: u32) -> Self {
        Self(UnsafeCell::new(number))
    }

    fn read(&self) -> u32 {
        // SAFETY: loom sees whether it is.
        self.0.with(|number| unsafe { *number })
    }

    fn add(&mut self) {
        // SAFETY: as above.
        self.0.with_mut(|number| unsafe { *number += 1 });
    }
}

fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(check);
}

#[test]
fn what_is_entered_stays_while_it_is_replaced_and_dropped() {
    model(|| {
        let place = Arc::new(Place::new(Watched::new(1)));
        let reader = {
            let place = place.clone();
            thread::spawn(move || {
                let entered = place.enter().expect("one or the other");
                let (first, second) = (entered.read(), entered.read());
                assert_eq!(first, second);
            })
        };
        let old = place.replace(Some(Watched::new(2))).expect("the first");
        let mut old = Node::drain(old, None).ok().expect("the reader leaves");
        // As a destructor would: whoever still read it would race with this.
        old.add();
        drop(old);
        assert_eq!(place.enter().expect("the second").read(), 2);
        reader.join().expect("it ends");
    });
}

#[test]
fn nested_readers_go_on_with_what_they_entered() {
    model(|| {
        let place = Arc::new(Place::new(Watched::new(1)));
        let reader = {
            let place = place.clone();
            thread::spawn(move || {
                let outer = place.enter().expect("one or the other");
                let inner = place.enter().expect("the same, or a later one");
                let (outer, inner) = (outer.read(), inner.read());
                assert!(outer <= inner, "{outer} {inner}");
            })
        };
        let old = place.replace(Some(Watched::new(2))).expect("the first");
        Node::drain(old, None).ok().expect("the reader leaves").add();
        reader.join().expect("it ends");
    });
}

#[test]
fn one_who_is_alone_is_alone() {
    model(|| {
        let place = Arc::new(Place::new(Watched::new(1)));
        let reader = {
            let place = place.clone();
            thread::spawn(move || {
                let number = place.enter().expect("it is there").read();
                assert!(number == 1 || number == 2);
            })
        };
        place.alone(None).ok().expect("its turn").add();
        reader.join().expect("it ends");
        assert_eq!(place.enter().expect("it is there").read(), 2);
    });
}

#[test]
fn one_who_is_alone_keeps_what_is_replaced() {
    model(|| {
        let place = Arc::new(Place::new(Watched::new(1)));
        let other = {
            let place = place.clone();
            thread::spawn(move || place.alone(None).ok().expect("its turn").add())
        };
        let old = place.replace(Some(Watched::new(10))).expect("the first");
        let old = Node::drain(old, None).ok().expect("it is left").read();
        other.join().expect("it ends");
        let new = place.enter().expect("the second").read();
        assert_eq!(old + new, 12, "one of the two was changed");
    });
}

#[test]
fn what_was_taken_away_is_entered_by_nobody() {
    model(|| {
        let place = Arc::new(Place::new(Watched::new(1)));
        let reader = {
            let place = place.clone();
            thread::spawn(move || match place.enter() {
                Ok(entered) => assert_eq!(entered.read(), 1),
                Err(refused) => assert_eq!(refused, Unavailable::Gone),
            })
        };
        let old = place.replace(None).expect("it was there");
        Node::drain(old, None).ok().expect("the reader leaves").add();
        assert_eq!(place.enter().err(), Some(Unavailable::Gone));
        reader.join().expect("it ends");
    });
}

/// Records go from a thread that ends to one that begins.
#[test]
fn a_record_is_one_threads_at_a_time() {
    model(|| {
        let place = Arc::new(Place::new(Watched::new(1)));
        let enter = |place: &Arc<Place<Watched>>| {
            let place = place.clone();
            thread::spawn(move || {
                drop(place.enter().expect("it is there"));
            })
        };
        let (first, second) = (enter(&place), enter(&place));
        first.join().expect("it ends");
        second.join().expect("it ends");
        let old = place.replace(None).expect("it was there");
        let mut old = Node::drain(old, None).ok().expect("nobody is in");
        old.add();
    });
}
