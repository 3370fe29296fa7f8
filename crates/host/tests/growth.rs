//! Two sides that know different versions of one interface.

use std::ptr::NonNull;

use keyway_abi::call::{CallStatus, Context};
use keyway_abi::interface::{Interface, Remote};
use keyway_abi::offer::{Mismatch, Table};
use keyway_sdk::{Export, Offered, OwnedBuffer};

/// Two versions of one interface, which may grow.
pub mod today {
    /// What is known today.
    #[keyway_sdk::interface(id = "test/Growing", extensible)]
    pub trait Growing {
        /// The first.
        fn first(&self) -> u8;
    }
}

/// The later one.
pub mod tomorrow {
    /// What is known tomorrow.
    #[keyway_sdk::interface(id = "test/Growing", extensible)]
    pub trait Growing {
        /// The first.
        fn first(&self) -> u8;
        /// One more, with an argument that must be freed.
        fn second(&self, bytes: keyway_sdk::OwnedBuffer) -> keyway_sdk::OwnedBuffer;
    }
}

/// One that may not, and did.
pub mod closed {
    /// Not extensible.
    #[keyway_sdk::interface(id = "test/Growing")]
    pub trait Growing {
        /// The first.
        fn first(&self) -> u8;
    }
}

struct Grower;

impl today::Growing for Grower {
    fn first(&self) -> u8 {
        1
    }
}

impl tomorrow::Growing for Grower {
    fn first(&self) -> u8 {
        1
    }

    fn second(&self, bytes: OwnedBuffer) -> OwnedBuffer {
        bytes
    }
}

/// The offer of `Theirs`, looked at by a side that knows `Mine`.
fn seen<Theirs: Interface + Export<Grower> + ?Sized, Mine: Interface + ?Sized>()
-> Result<Table<Mine>, Mismatch> {
    let offer = Box::leak(Box::new(keyway_sdk::__private::offer::<Grower, Theirs>()));
    // SAFETY: the offer is right, and never freed.
    unsafe { Table::of(offer) }
}

#[test]
fn an_extensible_interface_may_be_longer_on_either_side() {
    let service = Offered::new::<dyn today::Growing, _>(Grower);
    let instance = NonNull::new(service.table().instance).expect("an instance");
    // SAFETY: the tables are those of the instance, which is never freed.
    unsafe {
        let newer = seen::<dyn tomorrow::Growing, dyn today::Growing>().expect("it is longer");
        let remote = Remote::new(instance, &*newer.as_ptr(), Context::NONE);
        assert_eq!(<dyn today::Growing>::proxy(remote).first(), Ok(1));

        let older = seen::<dyn today::Growing, dyn tomorrow::Growing>().expect("it is shorter");
        let remote = Remote::new(instance, &*older.as_ptr(), Context::NONE);
        let proxy = <dyn tomorrow::Growing>::proxy(remote);
        assert_eq!(proxy.first(), Ok(1));
        let missing = proxy.second(vec![1, 2, 3].into()).expect_err("there is none");
        assert_eq!(missing.status, CallStatus::UNSUPPORTED);
    }
    let Err(Mismatch::Differs(lines)) = seen::<dyn today::Growing, dyn closed::Growing>() else {
        panic!("they differ");
    };
    let size = 2 * size_of::<usize>();
    let expected = format!(
        "interface Growing: host closed; size {size}; align {0}; id test/Growing; version 1, \
         plugin extensible; align {0}; id test/Growing; version 1",
        align_of::<usize>()
    );
    assert_eq!(lines, [expected]);
    let other = seen::<dyn today::Growing, dyn keyway_sdk::Log>().err();
    assert_eq!(other, Some(Mismatch::Other));
}
