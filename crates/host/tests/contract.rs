//! What a side that does not keep to the contract meets: tables that a host can't use, and
//! arguments that are no values. The plugin is part of this program, so that it can be changed.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use keyway_abi::call::{CallStatus, Context, ErrorReport, RawContext};
use keyway_abi::descriptor;
use keyway_abi::interface::{Interface, Remote, Reply};
use keyway_abi::memory::{OwnedBuffer, Slice, Text};
use keyway_abi::table::{self, Instance, Library, Method, MethodFlags, Offer};
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
    fn keyway_plugin_v1() -> *const Library;
}

fn services() -> &'static Services {
    Services::new(|_, _| ())
}

/// An entry that returns the plugin's table with one change.
macro_rules! changed {
    ($change:expr) => {{
        unsafe extern "C" fn entry() -> *const Library {
            static TABLE: OnceLock<Tomorrow> = OnceLock::new();
            let table = TABLE.get_or_init(|| {
                let change: fn(&mut Library) = $change;
                // SAFETY: the plugin's own entry returns its table.
                let mut library = unsafe { *keyway_plugin_v1() };
                change(&mut library);
                Tomorrow { library, another }
            });
            &raw const table.library
        }
        // SAFETY: what is changed is checked before it is used.
        unsafe { Exports::new(entry, "chooser", services(), Arc::new(())) }
    }};
}

/// A library's table with a function that today's hosts don't know.
#[repr(C)]
struct Tomorrow {
    library: Library,
    another: unsafe extern "C" fn(),
}

unsafe extern "C" fn another() {}

#[test]
fn tables_that_break_the_contract_are_refused() {
    unsafe extern "C" fn nothing() -> *const Library {
        std::ptr::null()
    }
    // SAFETY: null is checked.
    let error = unsafe { Exports::new(nothing, "nothing", services(), Arc::new(())) };
    assert_eq!(error.expect_err("there is no table"), ContractError::NoTable);

    let error = changed!(|table| table.size = 16).expect_err("it is too small");
    let expected = Library::MIN_SIZE;
    assert_eq!(error, ContractError::TableTooSmall { found: 16, expected });

    const BAD: Text = Text { pointer: b"\xff".as_ptr(), length: 1 };
    static METHOD: Method = Method { size: size_of::<Method>(), name: BAD, flags: MethodFlags(0) };
    static METHODS: &[&Method] = &[&METHOD];
    let error = changed!(|table| table.contract = BAD).expect_err("it is no text");
    assert_eq!(error, ContractError::NotText { field: "contract" });
    let error = changed!(|table| table.methods = Slice::of_methods(METHODS));
    let expected = ContractError::NotText { field: "method name" };
    assert_eq!(error.expect_err("it is no text"), expected);

    unsafe extern "C" fn init(
        _: *const RawContext,
        _: *const table::Host,
        report: *mut ErrorReport,
    ) -> CallStatus {
        let message = b"no licence".to_vec().into();
        // SAFETY: the host has room for it.
        unsafe { report.write(ErrorReport { code: 8, message }) };
        CallStatus::FAILED
    }
    let error = changed!(|table| table.init = init).expect_err("it is not prepared");
    let ContractError::Init { source } = error else { panic!("{error}") };
    assert_eq!(source.to_string(), "plugin error 8: no licence");
}

/// The contract's text, with `from` replaced.
fn text(from: &str, to: &str) -> Text {
    let text = descriptor::CONTRACT.replacen(from, to, 1);
    assert_ne!(text, descriptor::CONTRACT, "{from}");
    Text::new(text.leak())
}

/// What a later version may append to the library's table, which the levels of a log follow.
const GROWN: &str = "  keyway.Library.another: offset 999; fn()\nenum keyway.LogLevel:";

#[test]
fn a_plugin_of_tomorrow_is_used_by_this_host() {
    let exports = changed!(|table| {
        table.size += size_of::<usize>();
        let grown = descriptor::CONTRACT.replace("enum keyway.LogLevel:", GROWN).replace(
            "  keyway.CallStatus.DISCONNECTED: 11\n",
            "  keyway.CallStatus.DISCONNECTED: 11\n  keyway.CallStatus.ASLEEP: 12\n",
        );
        table.contract = Text::new(grown.leak());
    });
    let exports = exports.expect("what it has more is at the end");
    let mut instance = exports.create(b"", Context::NONE).expect("an instance");
    let mut chooser = instance.interface::<dyn Choosy>(Context::NONE).expect("the interface");
    assert_eq!(chooser.text("four"), Ok(4));
}

#[test]
fn a_plugin_of_yesterday_is_used_by_this_host() {
    let exports = changed!(|table| {
        table.size = Library::MIN_SIZE;
        let kept = descriptor::CONTRACT.lines().filter(|line| {
            let later = ["invoke", "pause", "resume", "save_state", "restore_state"];
            let field = line.trim_start().strip_prefix("keyway.Library.");
            let field = field.and_then(|line| line.split_once(':')).map(|(name, _)| name);
            !field.is_some_and(|field| later.contains(&field))
        });
        let text: String = kept.flat_map(|line| [line, "\n"]).collect();
        table.contract = Text::new(text.leak());
    });
    let exports = exports.expect("what it has less was at the end");
    let mut instance = exports.create(b"", Context::NONE).expect("an instance");
    let error = instance.pause(Context::NONE).expect_err("it does not have that");
    assert_eq!(error.status, CallStatus::UNSUPPORTED);
    assert_eq!(error.message, "the other side's version does not have this function");
    let state = instance.save_state(Context::NONE).expect_err("it does not have that");
    assert_eq!(state.status, CallStatus::UNSUPPORTED);
    let mut chooser = instance.interface::<dyn Choosy>(Context::NONE).expect("the interface");
    assert_eq!(chooser.text("four"), Ok(4));
    assert_eq!(instance.destroy(), Ok(()));
}

#[test]
fn what_may_not_change_is_named() {
    let check = |exports: Result<Exports, ContractError>, expected: &str| {
        let message = exports.expect_err("it differs").to_string();
        let start = "the plugin was built against another contract: ";
        assert_eq!(message.strip_prefix(start), Some(expected));
    };
    check(
        changed!(|table| table.contract = text("version 1;", "version 2;")),
        "contract: host version 1, plugin version 2",
    );
    // In a closed table, and inside of an extensible one.
    check(
        changed!(|table| {
            let more = "  keyway.ErrorReport.code: offset 0; u32\n  keyway.ErrorReport.kind: offset 4; u32\n";
            table.contract = text("  keyway.ErrorReport.code: offset 0; u32\n", more);
        }),
        if cfg!(target_pointer_width = "64") {
            "keyway.ErrorReport.message: host offset 8; keyway.OwnedBuffer, plugin has none; \
             keyway.ErrorReport.kind: host has none, plugin offset 4; u32; \
             keyway.ErrorReport.message: host has none, plugin offset 8; keyway.OwnedBuffer"
        } else {
            "keyway.ErrorReport.message: host offset 4; keyway.OwnedBuffer, plugin has none; \
             keyway.ErrorReport.kind: host has none, plugin offset 4; u32; \
             keyway.ErrorReport.message: host has none, plugin offset 4; keyway.OwnedBuffer"
        },
    );
    check(
        changed!(|table| table.contract = text("keyway.Library.pause: ", "keyway.Library.stop: ")),
        &{
            let line = descriptor::CONTRACT
                .lines()
                .find_map(|line| line.strip_prefix("  keyway.Library.pause: "));
            let line = line.expect("the line");
            format!(
                "keyway.Library.pause: host {line}, plugin has none; keyway.Library.stop: host has none, plugin {line}"
            )
        },
    );
    check(
        changed!(|table| table.contract = text("PANICKED: 2", "PANICKED: 3")),
        "keyway.CallStatus.PANICKED: host 2, plugin 3",
    );
    check(
        changed!(|table| table.contract =
            text("struct keyway.Host: extensible", "struct keyway.Host: closed")),
        "struct keyway.Host: host extensible, plugin closed",
    );
}

#[test]
fn an_interface_without_a_table_is_refused() {
    unsafe extern "C" fn entry() -> *const Library {
        static OFFER: OnceLock<Offer> = OnceLock::new();
        static LIBRARY: OnceLock<Library> = OnceLock::new();
        let offer = OFFER.get_or_init(|| Offer {
            table: std::ptr::null(),
            ..keyway_sdk::__private::offer::<Chooser, dyn Choosy>()
        });
        LIBRARY.get_or_init(|| Library {
            interfaces: Slice::of_offers(vec![offer].leak()),
            // SAFETY: the plugin's own entry returns its table.
            ..unsafe { *keyway_plugin_v1() }
        })
    }
    // SAFETY: null is checked.
    let exports = unsafe { Exports::new(entry, "chooser", services(), Arc::new(())) };
    let exports = exports.expect("it has a base");
    let mut instance = exports.create(b"", Context::NONE).expect("an instance");
    let error = instance.interface::<dyn Choosy>(Context::NONE).err().expect("it has no table");
    assert_eq!(error, ContractError::NoTable);
}

#[test]
fn an_offer_of_before_dispatch_is_unsupported() {
    unsafe extern "C" fn entry() -> *const Library {
        static OFFER: OnceLock<Offer> = OnceLock::new();
        static LIBRARY: OnceLock<Library> = OnceLock::new();
        let offer = OFFER.get_or_init(|| Offer {
            size: std::mem::offset_of!(Offer, dispatch),
            ..keyway_sdk::__private::offer::<Chooser, dyn Choosy>()
        });
        LIBRARY.get_or_init(|| Library {
            interfaces: Slice::of_offers(vec![offer].leak()),
            // SAFETY: the plugin's own entry returns its table.
            ..unsafe { *keyway_plugin_v1() }
        })
    }
    // SAFETY: null is checked.
    let exports = unsafe { Exports::new(entry, "chooser", services(), Arc::new(())) };
    let exports = exports.expect("it has a base");
    let mut instance = exports.create(b"", Context::NONE).expect("an instance");
    let interface = (<dyn Choosy>::ID, <dyn Choosy>::VERSION);
    let error = instance.dispatch(interface, 0, &[], Context::NONE).expect_err("it has none");
    assert_eq!(error.status, CallStatus::UNSUPPORTED);
    assert!(error.message.ends_with("can't be called by bytes"), "{error}");
}

#[test]
fn a_plugin_that_creates_nothing_is_an_error() {
    unsafe extern "C" fn create(
        _: *const RawContext,
        _: *const table::Host,
        _: Slice<u8>,
        instance: *mut *mut Instance,
        _: *mut ErrorReport,
    ) -> CallStatus {
        // SAFETY: the host has room for it.
        unsafe { instance.write(std::ptr::null_mut()) };
        CallStatus::OK
    }
    let exports = changed!(|table| table.create = create).expect("it keeps to the rest");
    let error = exports.create(b"", Context::NONE).expect_err("there is no instance");
    assert_eq!(error.to_string(), "the plugin's result is no value of the promised type");
}

unsafe extern "C" fn no_service(_: *const c_void, _: Text, _: u32) -> *const table::Service {
    std::ptr::null()
}

/// The table of the interface as a host sees it that was compiled from something else.
#[repr(C)]
struct Raw {
    size: usize,
    flag: unsafe extern "C" fn(*mut Instance, *const RawContext, u8, *mut ErrorReport) -> Reply<u8>,
    mark: unsafe extern "C" fn(*mut Instance, *const RawContext, u8, *mut ErrorReport) -> Reply<u8>,
    notes: unsafe extern "C" fn(
        *mut Instance,
        *const RawContext,
        Slice<Note>,
        *mut ErrorReport,
    ) -> Reply<u32>,
    text: unsafe extern "C" fn(
        *mut Instance,
        *const RawContext,
        Text,
        *mut ErrorReport,
    ) -> Reply<u32>,
}

#[test]
fn arguments_that_are_no_values_are_refused() {
    // SAFETY: the plugin's table is used as the contract says, but for values that it must check.
    unsafe {
        let table = *keyway_plugin_v1();
        let offer = (table.get_interface)(Text::new(<dyn Choosy>::ID), <dyn Choosy>::VERSION);
        let raw = &*(*offer).table.cast::<Raw>();
        assert_eq!(raw.size, size_of::<Raw>());
        assert!((table.get_interface)(Text::new(<dyn Choosy>::ID), 9).is_null());
        let host = Box::leak(Box::new(table::Host {
            size: size_of::<table::Host>(),
            context: std::ptr::null(),
            services: Slice::new(&[]),
            get_service: no_service,
        }));
        let mut instance = MaybeUninit::uninit();
        let mut report = MaybeUninit::uninit();
        let context = std::ptr::null();
        let status = (table.create)(
            context,
            std::ptr::null(),
            Slice { pointer: std::ptr::null(), length: 0 },
            instance.as_mut_ptr(),
            report.as_mut_ptr(),
        );
        assert_eq!(status, CallStatus::INVALID_ARGUMENT);
        assert_eq!(&*report.assume_init().message, b"the host offers nothing");
        let mut report = MaybeUninit::uninit();
        let status = (table.create)(
            context,
            host,
            Slice { pointer: std::ptr::null(), length: 0 },
            instance.as_mut_ptr(),
            report.as_mut_ptr(),
        );
        assert_eq!(status, CallStatus::OK);
        let instance = instance.assume_init();
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
        for (length, valid) in [(0, true), (1, false)] {
            let notes = Slice { pointer: std::ptr::null(), length };
            let mut report = MaybeUninit::uninit();
            let reply = (raw.notes)(instance, context, notes, report.as_mut_ptr());
            check(reply.status, valid, report);
        }
        for (marks, valid) in [([1_u8, 3], true), ([1, 2], false), ([0, 1], false)] {
            let notes = marks.map(|mark| u32::from_ne_bytes([7, 7, mark, 0]));
            let notes = Slice { pointer: notes.as_ptr().cast(), length: 2 };
            let mut report = MaybeUninit::uninit();
            let reply = (raw.notes)(instance, context, notes, report.as_mut_ptr());
            check(reply.status, valid, report);
        }
        // C passes null for what is empty.
        for (pointer, length, valid) in [
            (b"caf\xc3\xa9".as_ptr(), 5, true),
            (b"caf\xe9".as_ptr(), 4, false),
            (std::ptr::null(), 0, true),
            (std::ptr::null(), 1, false),
        ] {
            let text = Text { pointer, length };
            let mut report = MaybeUninit::uninit();
            let reply = (raw.text)(instance, context, text, report.as_mut_ptr());
            check(reply.status, valid, report);
        }
        let mut output = MaybeUninit::<OwnedBuffer>::uninit();
        let mut report = MaybeUninit::uninit();
        let status = (table.invoke)(
            instance,
            context,
            7,
            Slice::new(b""),
            output.as_mut_ptr(),
            report.as_mut_ptr(),
        );
        assert_eq!(status, CallStatus::UNKNOWN_METHOD);
        drop(report.assume_init());
        let mut report = MaybeUninit::uninit();
        assert_eq!((table.destroy)(instance, context, report.as_mut_ptr()), CallStatus::OK);
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
        _: *const RawContext,
        value: u8,
        _: *mut ErrorReport,
    ) -> Reply<u8> {
        Reply::ok(value + 40)
    }
    unsafe extern "C" fn unused(
        _: *mut Instance,
        _: *const RawContext,
        _: Slice<Note>,
        _: *mut ErrorReport,
    ) -> Reply<u32> {
        Reply::ok(0)
    }
    unsafe extern "C" fn unused_text(
        _: *mut Instance,
        _: *const RawContext,
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
