//! What a side that does not keep to the contract meets: tables that a host can't use, and
//! arguments that are no values. The plugin is part of this program, so that it can be changed.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use keyway_abi::call::{CallContext, CallStatus, Context, ErrorReport, LogLevel};
use keyway_abi::descriptor;
use keyway_abi::interface::{Interface, Remote, Reply};
use keyway_abi::memory::{OwnedBuffer, Slice, Text};
use keyway_abi::table::{HostServices, Instance, PluginVTable};
use keyway_host::exports::{ContractError, Exports};
use keyway_host::services::Services;
use keyway_sdk::{Host, Layout, Plugin, PluginError, export_plugin, interface};

/// An enum with a hole.
#[derive(Debug, Clone, Copy, PartialEq, Layout)]
#[repr(u8)]
pub enum Mark {
    /// The first.
    Low = 1,
    /// Not the one after it.
    High = 3,
}

/// A struct with such an enum.
#[derive(Debug, Clone, Copy, PartialEq, Layout)]
#[repr(C)]
pub struct Note(u16, Mark);

/// Takes and gives what can be wrong.
#[interface]
pub trait Choosy {
    /// A `bool`.
    fn flag(&self, flag: bool) -> bool;
    /// An enum.
    fn mark(&self, mark: Mark) -> Mark;
    /// Structs.
    fn notes(&self, notes: &[Note]) -> u32;
    /// Text.
    fn text(&mut self, text: &str) -> u32;
}

struct Chooser;

impl Plugin for Chooser {
    fn create(_: &[u8], _: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Choosy for Chooser {
    fn flag(&self, flag: bool) -> bool {
        flag
    }

    fn mark(&self, mark: Mark) -> Mark {
        mark
    }

    fn notes(&self, notes: &[Note]) -> u32 {
        notes.len() as u32
    }

    fn text(&mut self, text: &str) -> u32 {
        text.len() as u32
    }
}

export_plugin!(Chooser: dyn Choosy);

unsafe extern "C" {
    /// What the macro above exports.
    fn keyway_plugin_v1() -> *const PluginVTable;
}

/// An entry that returns the plugin's table with one change.
macro_rules! changed {
    ($change:expr) => {{
        unsafe extern "C" fn entry() -> *const PluginVTable {
            static TABLE: OnceLock<PluginVTable> = OnceLock::new();
            TABLE.get_or_init(|| {
                let change: fn(&mut PluginVTable) = $change;
                // SAFETY: the plugin's own entry returns its table.
                let mut table = unsafe { *keyway_plugin_v1() };
                change(&mut table);
                table
            })
        }
        // SAFETY: what is changed is checked before it is used.
        unsafe { Exports::new(entry, Arc::new(())) }
    }};
}

#[test]
fn tables_that_break_the_contract_are_refused() {
    unsafe extern "C" fn nothing() -> *const PluginVTable {
        std::ptr::null()
    }
    // SAFETY: null is checked.
    let error = unsafe { Exports::new(nothing, Arc::new(())) }.expect_err("there is no table");
    assert_eq!(error, ContractError::NoTable);

    let error = changed!(|table| table.size = 16).expect_err("it is too small");
    let expected = size_of::<PluginVTable>();
    assert_eq!(error, ContractError::TableTooSmall { found: 16, expected });
    assert!(changed!(|table| table.size += 8).is_ok(), "later versions append");

    const BAD: Text = Text { pointer: b"\xff".as_ptr(), length: 1 };
    let error = changed!(|table| table.descriptor = BAD).expect_err("it is no text");
    assert_eq!(error, ContractError::NotText { field: "descriptor" });
    let error = changed!(|table| table.interface_name = BAD).expect_err("it is no text");
    assert_eq!(error, ContractError::NotText { field: "interface name" });
    let error = changed!(|table| table.methods = Slice::new(&[BAD])).expect_err("it is no text");
    assert_eq!(error, ContractError::NotText { field: "method name" });

    let error = changed!(|table| {
        let other = descriptor::BASE.replace("invoke: offset 112", "invoke: offset 120");
        table.descriptor = Text::new(other.leak());
    });
    let message = error.expect_err("it differs").to_string();
    let expected = if cfg!(target_pointer_width = "64") {
        "the plugin was built against another contract: PluginVTable.invoke: host offset 112, \
         plugin offset 120"
    } else {
        "the plugin was built against another contract: "
    };
    assert!(message.starts_with(expected), "{message}");
}

#[test]
fn an_interface_without_a_table_is_refused() {
    let exports = changed!(|table| table.interface = std::ptr::null()).expect("it has a base");
    let mut instance = exports.create(b"", Services::new(|_, _| ())).expect("an instance");
    let error = instance.interface::<dyn Choosy>(Context::NONE).err().expect("it has no table");
    assert_eq!(error, ContractError::NoTable);
}

#[test]
fn a_plugin_that_creates_nothing_is_an_error() {
    unsafe extern "C" fn create(
        _: Slice,
        _: *const HostServices,
        instance: *mut *mut Instance,
        _: *mut ErrorReport,
    ) -> CallStatus {
        // SAFETY: the host has room for it.
        unsafe { instance.write(std::ptr::null_mut()) };
        CallStatus::OK
    }
    let exports = changed!(|table| table.create = create).expect("it keeps to the rest");
    let error = exports.create(b"", Services::new(|_, _| ())).expect_err("there is no instance");
    assert_eq!(error.to_string(), "the plugin's result is no value of the promised type");
}

unsafe extern "C" fn log(_: *const c_void, _: LogLevel, _: Text) {}

unsafe extern "C" fn now_ns(_: *const c_void) -> u64 {
    1
}

/// The table of the interface as a host sees it that was compiled from something else.
#[repr(C)]
struct Raw {
    size: usize,
    flag:
        unsafe extern "C" fn(*mut Instance, *const CallContext, u8, *mut ErrorReport) -> Reply<u8>,
    mark:
        unsafe extern "C" fn(*mut Instance, *const CallContext, u8, *mut ErrorReport) -> Reply<u8>,
    notes: unsafe extern "C" fn(
        *mut Instance,
        *const CallContext,
        Slice,
        *mut ErrorReport,
    ) -> Reply<u32>,
    text: unsafe extern "C" fn(
        *mut Instance,
        *const CallContext,
        Text,
        *mut ErrorReport,
    ) -> Reply<u32>,
}

#[test]
fn arguments_that_are_no_values_are_refused() {
    // SAFETY: the plugin's table is used as the contract says, but for values that it must check.
    unsafe {
        let table = *keyway_plugin_v1();
        let raw = &*table.interface.cast::<Raw>();
        assert_eq!(raw.size, size_of::<Raw>());
        let services = Box::leak(Box::new(HostServices {
            size: size_of::<HostServices>(),
            context: std::ptr::null(),
            log,
            now_ns,
        }));
        let mut instance = MaybeUninit::uninit();
        let mut report = MaybeUninit::uninit();
        let status = (table.create)(
            Slice::new(b""),
            std::ptr::null(),
            instance.as_mut_ptr(),
            report.as_mut_ptr(),
        );
        assert_eq!(status, CallStatus::INVALID_ARGUMENT);
        assert_eq!(&*report.assume_init().message, b"the host offers no services");
        let mut report = MaybeUninit::uninit();
        let status =
            (table.create)(Slice::new(b""), services, instance.as_mut_ptr(), report.as_mut_ptr());
        assert_eq!(status, CallStatus::OK);
        let instance = instance.assume_init();
        let context = std::ptr::null();
        for (value, valid) in [(0, true), (1, true), (2, false), (255, false)] {
            let mut report = MaybeUninit::uninit();
            let reply = (raw.flag)(instance, context, value, report.as_mut_ptr());
            check(reply.status, valid, report);
        }
        for (value, valid) in [(0, false), (1, true), (2, false), (3, true), (4, false)] {
            let mut report = MaybeUninit::uninit();
            let reply = (raw.mark)(instance, context, value, report.as_mut_ptr());
            check(reply.status, valid, report);
        }
        for (marks, valid) in [([1_u8, 3], true), ([1, 2], false), ([0, 1], false)] {
            let notes = marks.map(|mark| u32::from_ne_bytes([7, 7, mark, 0]));
            let notes = Slice { pointer: notes.as_ptr().cast(), length: 2 };
            let mut report = MaybeUninit::uninit();
            let reply = (raw.notes)(instance, context, notes, report.as_mut_ptr());
            check(reply.status, valid, report);
        }
        for (bytes, valid) in [(&b"caf\xc3\xa9"[..], true), (b"caf\xe9", false)] {
            let text = Text { pointer: bytes.as_ptr(), length: bytes.len() };
            let mut report = MaybeUninit::uninit();
            let reply = (raw.text)(instance, context, text, report.as_mut_ptr());
            check(reply.status, valid, report);
        }
        let mut output = MaybeUninit::<OwnedBuffer>::uninit();
        let mut report = MaybeUninit::uninit();
        let status = (table.invoke)(
            instance,
            context,
            Text { pointer: b"\xff".as_ptr(), length: 1 },
            Slice::new(b""),
            output.as_mut_ptr(),
            report.as_mut_ptr(),
        );
        assert_eq!(status, CallStatus::INVALID_ARGUMENT);
        drop(report.assume_init());
        let mut report = MaybeUninit::uninit();
        assert_eq!((table.destroy)(instance, report.as_mut_ptr()), CallStatus::OK);
    }
}

/// # Safety
/// `report` must be that of a call that ended with `status`.
unsafe fn check(status: CallStatus, valid: bool, report: MaybeUninit<ErrorReport>) {
    if valid {
        assert_eq!(status, CallStatus::OK);
        return;
    }
    assert_eq!(status, CallStatus::INVALID_ARGUMENT);
    // SAFETY: the plugin writes the report if the status is not `OK`.
    let report = unsafe { report.assume_init() };
    let message = "the host passed an argument that is no value of its type";
    assert_eq!(&*report.message, message.as_bytes());
}

#[test]
fn results_that_are_no_values_are_refused() {
    unsafe extern "C" fn answer(
        _: *mut Instance,
        _: *const CallContext,
        value: u8,
        _: *mut ErrorReport,
    ) -> Reply<u8> {
        Reply::ok(value + 40)
    }
    unsafe extern "C" fn unused(
        _: *mut Instance,
        _: *const CallContext,
        _: Slice,
        _: *mut ErrorReport,
    ) -> Reply<u32> {
        Reply::ok(0)
    }
    unsafe extern "C" fn unused_text(
        _: *mut Instance,
        _: *const CallContext,
        _: Text,
        _: *mut ErrorReport,
    ) -> Reply<u32> {
        Reply::ok(0)
    }
    let raw = Raw {
        size: size_of::<Raw>(),
        flag: answer,
        mark: answer,
        notes: unused,
        text: unused_text,
    };
    let table: *const Raw = &raw;
    // SAFETY: `Raw` has the layout of the interface's table; no function of it uses the instance.
    let proxy = unsafe {
        let table = &*table.cast::<<dyn Choosy as Interface>::Table>();
        <dyn Choosy>::proxy(Remote::new(NonNull::dangling(), table, Context::NONE))
    };
    let message = "the plugin's result is no value of the promised type";
    assert_eq!(proxy.flag(true).expect_err("41 is no bool").to_string(), message);
    assert_eq!(proxy.mark(Mark::Low).expect_err("41 is no mark").to_string(), message);
    assert_eq!(proxy.notes(&[]), Ok(0));
}
