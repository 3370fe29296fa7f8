//! Calls as bytes, through a plugin's `dispatch` in this process and through one that was loaded.

use std::process::Command;
use std::sync::{Arc, LazyLock};

use keyway_abi::call::{CallContext, CallError, CallStatus, Context};
use keyway_abi::encoding::{Caller, Transport};
use keyway_abi::interface::Interface;
use keyway_abi::memory::OwnedBuffer;
use keyway_abi::table::{ENTRY_SYMBOL, Entry};
use keyway_host::Services;
use keyway_host::exports::Exports;
use keyway_host::instance::Instance;

#[path = "refusals/built.rs"]
mod built;
#[path = "probe/interface.rs"]
pub mod interface;

use interface::{Color, Counter, Pixel, Probe};

const PROBE: (&str, u32) = (<dyn Probe>::ID, <dyn Probe>::VERSION);

/// The places of functions in the interface.
const ADD: u32 = 0;
const NOT: u32 = 2;
const NEXT: u32 = 3;
const FLIP: u32 = 4;
const COUNT_LIT: u32 = 5;
const DOUBLE: u32 = 6;
const UPPER: u32 = 7;
const SUM: u32 = 8;

static EXPORTS: LazyLock<Exports> = LazyLock::new(|| {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--package", "keyway-host", "--example", "probe"]);
    let path = built::library(cargo.current_dir(env!("CARGO_MANIFEST_DIR")), "probe");
    // SAFETY: the plugin was built from this workspace; its constructors do nothing.
    let exports = unsafe {
        let library = libloading::Library::new(path);
        let library = library.expect("the plugin loads");
        let entry = *library.get::<Entry>(ENTRY_SYMBOL).expect("the entry symbol");
        Exports::new(entry, "probe", Services::new(|_, _| ()), Arc::new(library))
    };
    exports.expect("the plugin keeps to the contract")
});

fn probe() -> Instance {
    EXPORTS.create(b"", Context::NONE).expect("an instance")
}

fn error<T>(result: Result<T, CallError>) -> (CallStatus, u32, String) {
    let error = result.err().expect("the call fails");
    (error.status, error.code, error.message)
}

#[test]
fn every_kind_of_value_crosses_as_bytes() {
    let mut instance = probe();
    let mut probe = instance.encoded::<dyn Probe>(Context::NONE).expect("the interface");
    assert_eq!(probe.add(255, -300), Ok(-45));
    assert_eq!(probe.half(5.0), Ok(2.5));
    assert_eq!(probe.not(true), Ok(false));
    assert_eq!(probe.next(Color::Red), Ok(Color::Orange));
    assert_eq!(probe.next(Color::Blue), Ok(Color::Red));
    let pixel = Pixel { lit: false, weight: 0.5, color: Color::Orange, rgb: [1, 2, 3] };
    let flipped = Pixel { lit: true, color: Color::Blue, ..pixel };
    assert_eq!(probe.flip(pixel), Ok(flipped));
    assert_eq!(probe.flips(), Ok(1));
    assert_eq!(probe.count_lit(&[pixel, flipped, flipped]), Ok(2));
    assert_eq!(probe.count_lit(&[]), Ok(0));
    let mut numbers = [1, 2, 3];
    assert_eq!(probe.double(&mut numbers), Ok(()));
    assert_eq!(numbers, [2, 4, 6]);
    assert_eq!(probe.upper("straße").as_deref(), Ok("STRASSE".as_bytes()));
    assert_eq!(probe.sum(vec![200, 100].into()), Ok(300));
    assert_eq!(probe.sum(OwnedBuffer::new()), Ok(0));
    assert_eq!(probe.divide(7, 2), Ok(3));
    assert_eq!(error(probe.divide(7, 0)), (CallStatus::FAILED, 9, "a division by zero".into()));
    assert_eq!(probe.size(), Ok(7));
    assert_eq!(error(probe.panic("torn")), (CallStatus::PANICKED, 0, "torn".into()));
    assert_eq!(error(probe.size()).0, CallStatus::POISONED);
}

#[test]
fn a_context_goes_with_the_bytes() {
    let mut instance = probe();
    let mut call = CallContext::new();
    call.trace_id[0] = 3;
    call.span_id[0] = 4;
    call.deadline_ns = 1000;
    let probe = instance.encoded::<dyn Probe>(Context::new(&call)).expect("the interface");
    assert_eq!(probe.context(5), Ok(1012));
}

/// The bytes that docs/contract.md writes out.
#[test]
fn the_encoding_is_what_the_contract_says() {
    let mut instance = probe();
    let mut call = |function, input: &[u8]| {
        instance.dispatch(PROBE, function, input, Context::NONE).expect("a reply").to_vec()
    };
    let mut input = vec![255];
    input.extend((-300_i64).to_le_bytes());
    assert_eq!(call(ADD, &input), (-45_i64).to_le_bytes());
    assert_eq!(call(NOT, &[1]), [0]);
    assert_eq!(call(NEXT, &[0xf9, 0xff]), [0xfa, 0xff]);
    let pixel = [0, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 0xfa, 0xff, 1, 2, 3];
    assert_eq!(call(FLIP, &pixel), [1, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 44, 1, 1, 2, 3]);
    let numbers = [2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0];
    assert_eq!(call(DOUBLE, &numbers), [2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0]);
    let text = [3, 0, 0, 0, 0, 0, 0, 0, b'a', 0xc3, 0xa9];
    assert_eq!(call(UPPER, &text), [3, 0, 0, 0, 0, 0, 0, 0, b'A', 0xc3, 0x89]);
}

#[test]
fn hostile_bytes_are_refused() {
    let mut instance = probe();
    let mut check = |function, input: &[u8], message: &str| {
        let result = instance.dispatch(PROBE, function, input, Context::NONE);
        assert_eq!(error(result), (CallStatus::INVALID_ARGUMENT, 0, message.into()));
    };
    check(ADD, &[1], "`add`, argument 1, byte 1: cut off");
    check(ADD, &[1; 10], "`add`, byte 9: bytes are left");
    check(NOT, &[2], "`not`, argument 0, byte 0: no `bool`");
    check(NEXT, &[0, 0], "`next`, argument 0, byte 0: no value of the enum");
    check(FLIP, &[7; 14], "`flip`, argument 0, byte 0: no `bool`");
    let more = "argument 0, byte 0: more elements than bytes are left";
    check(SUM, &[0xff; 12], &format!("`sum`, {more}"));
    check(COUNT_LIT, &[0xff; 30], &format!("`count_lit`, {more}"));
    check(DOUBLE, &[2, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1], &format!("`double`, {more}"));
    let text = [1, 0, 0, 0, 0, 0, 0, 0, 0xff];
    check(UPPER, &text, "`upper`, argument 0, byte 9: the text before is not UTF-8");
}

/// Each function's arguments, and each way to cut them or to go on after them.
#[test]
fn no_part_of_a_message_is_a_message() {
    let pixel = [1, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 0xfa, 0xff, 1, 2, 3];
    let counted = |count: u8, bytes: &[u8]| [&[count, 0, 0, 0, 0, 0, 0, 0], bytes].concat();
    let messages = [
        (ADD, vec![1; 9]),
        (NOT, vec![1]),
        (NEXT, vec![44, 1]),
        (FLIP, pixel.to_vec()),
        (COUNT_LIT, counted(2, &[pixel, pixel].concat())),
        (DOUBLE, counted(2, &[1; 8])),
        (UPPER, counted(3, b"abc")),
        (SUM, counted(3, &[9; 3])),
    ];
    let mut instance = probe();
    for (function, message) in messages {
        let mut status = |input: &[u8]| {
            let result = instance.dispatch(PROBE, function, input, Context::NONE);
            result.map_or_else(|error| error.status, |_| CallStatus::OK)
        };
        assert_eq!(status(&message), CallStatus::OK, "function {function}");
        for end in 0..message.len() {
            assert_eq!(status(&message[..end]), CallStatus::INVALID_ARGUMENT, "{function} {end}");
        }
        let longer = [&message[..], &[0]].concat();
        assert_eq!(status(&longer), CallStatus::INVALID_ARGUMENT, "function {function}");
    }
}

#[test]
fn random_bytes_do_no_harm() {
    let mut instance = probe();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    for round in 0..2000 {
        let mut input: Vec<u8> = (0..4).flat_map(|_| random()).collect();
        input.truncate(usize::from(random()[0]) % 33);
        // Small counts, so that some slices are complete.
        if round % 2 == 0 && input.len() >= 8 {
            input[0] %= 8;
            input[1..8].fill(0);
        }
        for function in ADD..=SUM {
            let result = instance.dispatch(PROBE, function, &input, Context::NONE);
            let status = result.map_or_else(|error| error.status, |_| CallStatus::OK);
            assert!(matches!(status, CallStatus::OK | CallStatus::INVALID_ARGUMENT), "{status:?}");
        }
    }
}

#[test]
fn what_is_not_there_is_unsupported() {
    let mut instance = probe();
    let unsupported = |result, message: &str| {
        assert_eq!(error::<Vec<u8>>(result), (CallStatus::UNSUPPORTED, 0, message.into()));
    };
    let mut call = |interface, function| {
        instance.dispatch(interface, function, &[], Context::NONE).map(|output| output.to_vec())
    };
    unsupported(call(("a/B", 1), 0), "the plugin has no interface `a/B` version 1");
    unsupported(
        call((PROBE.0, 5), 0),
        &format!("the plugin has no interface `{}` version 5", PROBE.0),
    );
    unsupported(call(PROBE, 14), &format!("`{}` has no function 14", PROBE.0));
}

#[test]
fn only_shared_functions_are_called_on_a_shared_instance() {
    let instance = probe();
    let shared = |interface, function, input| {
        instance.dispatch_shared(interface, function, input, Context::NONE)
    };
    assert_eq!(shared(PROBE, NOT, &[0]).as_deref(), Ok(&[1][..]));
    let counter = (<dyn Counter>::ID, <dyn Counter>::VERSION);
    assert_eq!(error(shared(counter, 0, &[])).0, CallStatus::UNSUPPORTED);
    assert_eq!(error(shared(PROBE, FLIP, &[])).0, CallStatus::UNSUPPORTED);
    assert_eq!(error(shared(PROBE, 99, &[])).0, CallStatus::UNSUPPORTED);
}

/// What stands between two processes, and answers with these bytes whatever is asked.
struct Lies(&'static [u8]);

impl Transport for Lies {
    fn call(&self, _: u32, _: &[u8], _: Context<'_>) -> Result<Vec<u8>, CallError> {
        Ok(self.0.to_vec())
    }
}

#[test]
fn replies_that_are_none_are_told() {
    let caller = |bytes| <dyn Probe>::encoded(Caller::new(Lies(bytes), Context::NONE));
    let invalid = |message: &str| (CallStatus::INVALID_RESULT, 0, message.to_owned());
    assert_eq!(error(caller(&[2]).not(true)), invalid("the reply of `not`, byte 0: no `bool`"),);
    assert_eq!(
        error(caller(&[1, 0]).not(true)),
        invalid("the reply of `not`, byte 1: bytes are left"),
    );
    assert_eq!(error(caller(&[1]).add(1, 1)), invalid("the reply of `add`, byte 0: cut off"));
    assert_eq!(
        error(caller(&[1, 0]).next(Color::Red)),
        invalid("the reply of `next`, byte 0: no value of the enum"),
    );
    assert_eq!(
        error(caller(&[255; 8]).upper("a")),
        invalid("the reply of `upper`, byte 0: more elements than bytes are left"),
    );
    // A slice that was lent comes back with as many elements.
    let longer = &[2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
    let mut numbers = [7];
    let error = error(caller(longer).double(&mut numbers));
    assert_eq!((error.0, numbers), (CallStatus::INVALID_RESULT, [7]));
    assert!(error.2.ends_with("a changed slice of another length"), "{}", error.2);
}
