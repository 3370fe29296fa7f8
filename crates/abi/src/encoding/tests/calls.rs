//! Calls by bytes to a function of this test, so that Miri sees both sides.

use core::mem::MaybeUninit;

use super::super::*;
use crate::interface::{Argument, Remote};

/// An interface as `#[interface]` makes it.
trait Numbers {}

#[repr(C)]
struct NumbersTable {
    size: usize,
    divide: unsafe extern "C" fn(
        *mut Instance,
        *const RawContext,
        u32,
        u32,
        *mut ErrorReport,
    ) -> Reply<u32>,
}

unsafe extern "C" fn divide(
    _: *mut Instance,
    _: *const RawContext,
    dividend: u32,
    divisor: u32,
    report: *mut ErrorReport,
) -> Reply<u32> {
    if let Some(quotient) = dividend.checked_div(divisor) {
        return Reply::ok(quotient);
    }
    let message = b"a division by zero".to_vec().into();
    // SAFETY: the caller has room for the report.
    unsafe { report.write(ErrorReport { code: 9, message }) };
    Reply::failed(CallStatus::FAILED)
}

const TABLE: NumbersTable = NumbersTable { size: size_of::<NumbersTable>(), divide };

// SAFETY: the table is the one that is described, as far as these tests read it.
unsafe impl Interface for dyn Numbers {
    const ID: &'static str = "test/Numbers";
    const VERSION: u32 = 1;
    const DESCRIPTOR: &'static str =
        "interface Numbers: closed\n  Numbers.divide: offset 8; shared; (u32, u32) -> u32\n";
    const SIGNATURE: &'static str = "";
    const IS_SHARED: bool = true;
    type Table = NumbersTable;
    const MISSING: NumbersTable = TABLE;
    type Proxy<'a> = ();

    fn proxy(_: Remote<'_, NumbersTable>) {}

    type Encoded<'a> = Caller<'a>;

    fn encoded(caller: Caller<'_>) -> Caller<'_> {
        caller
    }

    unsafe fn dispatch(table: &NumbersTable, call: &mut Incoming<'_>) -> Result<Vec<u8>, Stop> {
        if call.function() != 0 {
            return Err(Stop::NoFunction);
        }
        let dividend = <u32 as Argument>::decode(call.arguments().next_argument(), &mut ())?;
        let divisor = <u32 as Argument>::decode(call.arguments().next_argument(), &mut ())?;
        call.arguments().end()?;
        // SAFETY: the function uses no instance, and the reply is its own.
        unsafe {
            let (instance, context, report) = (call.instance(), call.context(), call.report());
            let reply = (table.divide)(instance, context, dividend, divisor, report);
            call.reply::<u32>(reply)
        }
    }
}

/// Calls by bytes, in this process.
struct Here;

impl Transport for Here {
    fn call(
        &self,
        function: u32,
        input: &[u8],
        context: Context<'_>,
    ) -> Result<Vec<u8>, CallError> {
        let (mut output, mut report) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        let caller = (core::ptr::null_mut(), context.as_pointer());
        let (output_at, report_at) = (output.as_mut_ptr(), report.as_mut_ptr());
        // SAFETY: the function uses no instance, and the rest is lent for the call.
        let status = unsafe {
            let input = Slice::new(input);
            dispatch::<dyn Numbers>(&TABLE, caller, function, input, output_at, report_at)
        };
        if status != CallStatus::OK {
            // SAFETY: the report is written if the status is not `OK`.
            let report = unsafe { report.assume_init() };
            return Err(CallError::new(status, &report));
        }
        let output: OwnedBuffer =
            // SAFETY: the output is written if the status is `OK`.
            unsafe { output.assume_init() };
        Ok(output.to_vec())
    }
}

#[test]
fn a_call_by_bytes_is_answered() {
    let divide = |dividend: u32, divisor: u32| {
        let caller = <dyn Numbers>::encoded(Caller::new(Here, Context::NONE));
        let input = [dividend.to_le_bytes(), divisor.to_le_bytes()].concat();
        caller.call::<dyn Numbers, u32>(0, &input, <u32 as Returned>::decode)
    };
    assert_eq!(divide(7, 2), Ok(3));
    let error = divide(7, 0).expect_err("it fails");
    assert_eq!((error.status, error.code), (CallStatus::FAILED, 9));
    assert_eq!(error.message, "a division by zero");

    let refused = |function, input: &[u8]| {
        let error = Here.call(function, input, Context::NONE).expect_err("it is refused");
        (error.status, error.message)
    };
    assert_eq!(
        refused(1, &[]),
        (CallStatus::UNSUPPORTED, "`test/Numbers` has no function 1".into())
    );
    for end in 0..8 {
        let (status, message) = refused(0, &[1; 8][..end]);
        assert_eq!(status, CallStatus::INVALID_ARGUMENT);
        let (argument, at) = (end / 4, end / 4 * 4);
        assert_eq!(message, format!("`divide`, argument {argument}, byte {at}: cut off"));
    }
    assert_eq!(
        refused(0, &[1; 9]),
        (CallStatus::INVALID_ARGUMENT, "`divide`, byte 8: bytes are left".into())
    );
}

/// Answers with these bytes, whatever is asked.
struct Says(&'static [u8]);

impl Transport for Says {
    fn call(&self, _: u32, _: &[u8], _: Context<'_>) -> Result<Vec<u8>, CallError> {
        Ok(self.0.to_vec())
    }
}

#[test]
fn a_reply_that_is_none_is_an_invalid_result() {
    let reply = |bytes| {
        let caller = Caller::new(Says(bytes), Context::NONE);
        caller.call::<dyn Numbers, u32>(0, &[], <u32 as Returned>::decode)
    };
    assert_eq!(reply(&[1, 0, 0, 0]), Ok(1));
    let error = reply(&[1, 0, 0]).expect_err("it is cut");
    assert_eq!(error.status, CallStatus::INVALID_RESULT);
    assert_eq!(error.message, "the reply of `divide`, byte 0: cut off");
    let error = reply(&[1, 0, 0, 0, 0]).expect_err("it is longer");
    assert_eq!(error.message, "the reply of `divide`, byte 4: bytes are left");
}
