//! What safe code can't do: make a buffer of pointers that it has not, or say that there is more than
//! there is.
#![forbid(unsafe_code)]

use keyway_sdk::{CallContext, OwnedBuffer};

pub fn forged() -> OwnedBuffer {
    OwnedBuffer { pointer: 8 as *mut u8, length: 8, capacity: 8, free: None } //~ fields `pointer`, `length`, `capacity` and `free` of struct `OwnedBuffer` are private
}

pub fn larger(call: CallContext<'_>) -> CallContext<'_> {
    CallContext { size: 4096, ..call } //~ fields `size`, `trace_state`, `cancellation` and `borrowed` of struct `CallContext` are private
}

fn main() {}
