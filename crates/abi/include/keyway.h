/* keyway.h: the contract between Keyway plugins and hosts, in C99 and C++17.
 *
 * Generated from the Rust definitions by `cargo xtask contract`; docs/contract.md says what the two
 * sides may rely on. Do not edit. */
#ifndef KEYWAY_H
#define KEYWAY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The contract's layout descriptor on this target: of a plugin's stamp, and of its table. */
#if UINTPTR_MAX == UINT64_MAX && !(defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
#define KEYWAY_CONTRACT \
    "contract: version 1; pointer 8 bytes; little-endian\n" \
    "struct keyway.Text: closed; size 16; align 8\n" \
    "  keyway.Text.pointer: offset 0; *const u8\n" \
    "  keyway.Text.length: offset 8; usize\n" \
    "enum keyway.LibraryFlags: open; size 4; align 4; u32\n" \
    "  keyway.LibraryFlags.UNLOADABLE: 1\n" \
    "struct keyway.Slice: closed; size 16; align 8\n" \
    "  keyway.Slice.pointer: offset 0; *const void\n" \
    "  keyway.Slice.length: offset 8; usize\n" \
    "struct keyway.Cancellation: extensible; align 8\n" \
    "  keyway.Cancellation.size: offset 0; usize\n" \
    "  keyway.Cancellation.context: offset 8; *const void\n" \
    "  keyway.Cancellation.is_cancelled: offset 16; fn(*const void) -> u32\n" \
    "struct keyway.CallContext: extensible; align 8\n" \
    "  keyway.CallContext.size: offset 0; usize\n" \
    "  keyway.CallContext.trace_id: offset 8; [u8;16]\n" \
    "  keyway.CallContext.span_id: offset 24; [u8;8]\n" \
    "  keyway.CallContext.trace_flags: offset 32; u32\n" \
    "  keyway.CallContext.trace_state: offset 40; keyway.Text\n" \
    "  keyway.CallContext.deadline_ns: offset 56; u64\n" \
    "  keyway.CallContext.cancellation: offset 64; *const keyway.Cancellation\n" \
    "struct keyway.OwnedBuffer: closed; size 32; align 8\n" \
    "  keyway.OwnedBuffer.pointer: offset 0; *mut u8\n" \
    "  keyway.OwnedBuffer.length: offset 8; usize\n" \
    "  keyway.OwnedBuffer.capacity: offset 16; usize\n" \
    "  keyway.OwnedBuffer.free: offset 24; nullable fn(*mut u8, usize, usize)\n" \
    "struct keyway.ErrorReport: closed; size 40; align 8\n" \
    "  keyway.ErrorReport.code: offset 0; u32\n" \
    "  keyway.ErrorReport.message: offset 8; keyway.OwnedBuffer\n" \
    "enum keyway.CallStatus: open; size 4; align 4; u32\n" \
    "  keyway.CallStatus.OK: 0\n" \
    "  keyway.CallStatus.FAILED: 1\n" \
    "  keyway.CallStatus.PANICKED: 2\n" \
    "  keyway.CallStatus.POISONED: 3\n" \
    "  keyway.CallStatus.UNKNOWN_METHOD: 4\n" \
    "  keyway.CallStatus.INVALID_ARGUMENT: 5\n" \
    "  keyway.CallStatus.UNSUPPORTED: 6\n" \
    "  keyway.CallStatus.INVALID_RESULT: 7\n" \
    "  keyway.CallStatus.DEADLINE_EXCEEDED: 8\n" \
    "  keyway.CallStatus.CANCELLED: 9\n" \
    "  keyway.CallStatus.BUSY: 10\n" \
    "  keyway.CallStatus.DISCONNECTED: 11\n" \
    "struct keyway.Offer: extensible; align 8\n" \
    "  keyway.Offer.size: offset 0; usize\n" \
    "  keyway.Offer.id: offset 8; keyway.Text\n" \
    "  keyway.Offer.version: offset 24; u32\n" \
    "  keyway.Offer.flags: offset 28; u32\n" \
    "  keyway.Offer.descriptor: offset 32; keyway.Text\n" \
    "  keyway.Offer.signature: offset 48; keyway.Text\n" \
    "  keyway.Offer.table: offset 64; *const void\n" \
    "  keyway.Offer.dispatch: offset 72; nullable fn(*mut keyway.Instance, *const keyway.CallContext, u32, keyway.Slice<u8>, *mut keyway.OwnedBuffer, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "enum keyway.MethodFlags: open; size 4; align 4; u32\n" \
    "  keyway.MethodFlags.SHARED: 1\n" \
    "struct keyway.Method: extensible; align 8\n" \
    "  keyway.Method.size: offset 0; usize\n" \
    "  keyway.Method.name: offset 8; keyway.Text\n" \
    "  keyway.Method.flags: offset 24; keyway.MethodFlags\n" \
    "struct keyway.Service: extensible; align 8\n" \
    "  keyway.Service.size: offset 0; usize\n" \
    "  keyway.Service.offer: offset 8; *const keyway.Offer\n" \
    "  keyway.Service.instance: offset 16; *mut keyway.Instance\n" \
    "struct keyway.Host: extensible; align 8\n" \
    "  keyway.Host.size: offset 0; usize\n" \
    "  keyway.Host.context: offset 8; *const void\n" \
    "  keyway.Host.services: offset 16; keyway.Slice<*const keyway.Service>\n" \
    "  keyway.Host.get_service: offset 32; fn(*const void, keyway.Text, u32) -> *const keyway.Service\n" \
    "struct keyway.State: closed; size 40; align 8\n" \
    "  keyway.State.format: offset 0; u32\n" \
    "  keyway.State.bytes: offset 8; keyway.OwnedBuffer\n" \
    "struct keyway.RawSavedState: extensible; align 8\n" \
    "  keyway.RawSavedState.size: offset 0; usize\n" \
    "  keyway.RawSavedState.format: offset 8; u32\n" \
    "  keyway.RawSavedState.bytes: offset 16; keyway.Slice<u8>\n" \
    "  keyway.RawSavedState.plugin: offset 32; keyway.Text\n" \
    "  keyway.RawSavedState.version: offset 48; keyway.Text\n" \
    "struct keyway.Library: extensible; align 8\n" \
    "  keyway.Library.size: offset 0; usize\n" \
    "  keyway.Library.contract: offset 8; keyway.Text\n" \
    "  keyway.Library.flags: offset 24; keyway.LibraryFlags\n" \
    "  keyway.Library.interfaces: offset 32; keyway.Slice<*const keyway.Offer>\n" \
    "  keyway.Library.get_interface: offset 48; fn(keyway.Text, u32) -> *const keyway.Offer\n" \
    "  keyway.Library.methods: offset 56; keyway.Slice<*const keyway.Method>\n" \
    "  keyway.Library.init: offset 72; fn(*const keyway.CallContext, *const keyway.Host, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.deinit: offset 80; fn(*const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.create: offset 88; fn(*const keyway.CallContext, *const keyway.Host, keyway.Slice<u8>, *mut *mut keyway.Instance, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.destroy: offset 96; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.invoke: offset 104; fn(*mut keyway.Instance, *const keyway.CallContext, u32, keyway.Slice<u8>, *mut keyway.OwnedBuffer, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.pause: offset 112; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.resume: offset 120; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.save_state: offset 128; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.State, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.restore_state: offset 136; fn(*mut keyway.Instance, *const keyway.CallContext, *const keyway.RawSavedState, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "enum keyway.LogLevel: open; size 4; align 4; u32\n" \
    "  keyway.LogLevel.ERROR: 1\n" \
    "  keyway.LogLevel.WARN: 2\n" \
    "  keyway.LogLevel.INFO: 3\n" \
    "  keyway.LogLevel.DEBUG: 4\n" \
    "  keyway.LogLevel.TRACE: 5\n" \
    "struct keyway.LogField: closed; size 32; align 8\n" \
    "  keyway.LogField.name: offset 0; keyway.Text\n" \
    "  keyway.LogField.value: offset 16; keyway.Text\n" \
    "entry keyway_plugin_v1: fn() -> *const keyway.Library\n"
#elif UINTPTR_MAX == UINT64_MAX && defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define KEYWAY_CONTRACT \
    "contract: version 1; pointer 8 bytes; big-endian\n" \
    "struct keyway.Text: closed; size 16; align 8\n" \
    "  keyway.Text.pointer: offset 0; *const u8\n" \
    "  keyway.Text.length: offset 8; usize\n" \
    "enum keyway.LibraryFlags: open; size 4; align 4; u32\n" \
    "  keyway.LibraryFlags.UNLOADABLE: 1\n" \
    "struct keyway.Slice: closed; size 16; align 8\n" \
    "  keyway.Slice.pointer: offset 0; *const void\n" \
    "  keyway.Slice.length: offset 8; usize\n" \
    "struct keyway.Cancellation: extensible; align 8\n" \
    "  keyway.Cancellation.size: offset 0; usize\n" \
    "  keyway.Cancellation.context: offset 8; *const void\n" \
    "  keyway.Cancellation.is_cancelled: offset 16; fn(*const void) -> u32\n" \
    "struct keyway.CallContext: extensible; align 8\n" \
    "  keyway.CallContext.size: offset 0; usize\n" \
    "  keyway.CallContext.trace_id: offset 8; [u8;16]\n" \
    "  keyway.CallContext.span_id: offset 24; [u8;8]\n" \
    "  keyway.CallContext.trace_flags: offset 32; u32\n" \
    "  keyway.CallContext.trace_state: offset 40; keyway.Text\n" \
    "  keyway.CallContext.deadline_ns: offset 56; u64\n" \
    "  keyway.CallContext.cancellation: offset 64; *const keyway.Cancellation\n" \
    "struct keyway.OwnedBuffer: closed; size 32; align 8\n" \
    "  keyway.OwnedBuffer.pointer: offset 0; *mut u8\n" \
    "  keyway.OwnedBuffer.length: offset 8; usize\n" \
    "  keyway.OwnedBuffer.capacity: offset 16; usize\n" \
    "  keyway.OwnedBuffer.free: offset 24; nullable fn(*mut u8, usize, usize)\n" \
    "struct keyway.ErrorReport: closed; size 40; align 8\n" \
    "  keyway.ErrorReport.code: offset 0; u32\n" \
    "  keyway.ErrorReport.message: offset 8; keyway.OwnedBuffer\n" \
    "enum keyway.CallStatus: open; size 4; align 4; u32\n" \
    "  keyway.CallStatus.OK: 0\n" \
    "  keyway.CallStatus.FAILED: 1\n" \
    "  keyway.CallStatus.PANICKED: 2\n" \
    "  keyway.CallStatus.POISONED: 3\n" \
    "  keyway.CallStatus.UNKNOWN_METHOD: 4\n" \
    "  keyway.CallStatus.INVALID_ARGUMENT: 5\n" \
    "  keyway.CallStatus.UNSUPPORTED: 6\n" \
    "  keyway.CallStatus.INVALID_RESULT: 7\n" \
    "  keyway.CallStatus.DEADLINE_EXCEEDED: 8\n" \
    "  keyway.CallStatus.CANCELLED: 9\n" \
    "  keyway.CallStatus.BUSY: 10\n" \
    "  keyway.CallStatus.DISCONNECTED: 11\n" \
    "struct keyway.Offer: extensible; align 8\n" \
    "  keyway.Offer.size: offset 0; usize\n" \
    "  keyway.Offer.id: offset 8; keyway.Text\n" \
    "  keyway.Offer.version: offset 24; u32\n" \
    "  keyway.Offer.flags: offset 28; u32\n" \
    "  keyway.Offer.descriptor: offset 32; keyway.Text\n" \
    "  keyway.Offer.signature: offset 48; keyway.Text\n" \
    "  keyway.Offer.table: offset 64; *const void\n" \
    "  keyway.Offer.dispatch: offset 72; nullable fn(*mut keyway.Instance, *const keyway.CallContext, u32, keyway.Slice<u8>, *mut keyway.OwnedBuffer, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "enum keyway.MethodFlags: open; size 4; align 4; u32\n" \
    "  keyway.MethodFlags.SHARED: 1\n" \
    "struct keyway.Method: extensible; align 8\n" \
    "  keyway.Method.size: offset 0; usize\n" \
    "  keyway.Method.name: offset 8; keyway.Text\n" \
    "  keyway.Method.flags: offset 24; keyway.MethodFlags\n" \
    "struct keyway.Service: extensible; align 8\n" \
    "  keyway.Service.size: offset 0; usize\n" \
    "  keyway.Service.offer: offset 8; *const keyway.Offer\n" \
    "  keyway.Service.instance: offset 16; *mut keyway.Instance\n" \
    "struct keyway.Host: extensible; align 8\n" \
    "  keyway.Host.size: offset 0; usize\n" \
    "  keyway.Host.context: offset 8; *const void\n" \
    "  keyway.Host.services: offset 16; keyway.Slice<*const keyway.Service>\n" \
    "  keyway.Host.get_service: offset 32; fn(*const void, keyway.Text, u32) -> *const keyway.Service\n" \
    "struct keyway.State: closed; size 40; align 8\n" \
    "  keyway.State.format: offset 0; u32\n" \
    "  keyway.State.bytes: offset 8; keyway.OwnedBuffer\n" \
    "struct keyway.RawSavedState: extensible; align 8\n" \
    "  keyway.RawSavedState.size: offset 0; usize\n" \
    "  keyway.RawSavedState.format: offset 8; u32\n" \
    "  keyway.RawSavedState.bytes: offset 16; keyway.Slice<u8>\n" \
    "  keyway.RawSavedState.plugin: offset 32; keyway.Text\n" \
    "  keyway.RawSavedState.version: offset 48; keyway.Text\n" \
    "struct keyway.Library: extensible; align 8\n" \
    "  keyway.Library.size: offset 0; usize\n" \
    "  keyway.Library.contract: offset 8; keyway.Text\n" \
    "  keyway.Library.flags: offset 24; keyway.LibraryFlags\n" \
    "  keyway.Library.interfaces: offset 32; keyway.Slice<*const keyway.Offer>\n" \
    "  keyway.Library.get_interface: offset 48; fn(keyway.Text, u32) -> *const keyway.Offer\n" \
    "  keyway.Library.methods: offset 56; keyway.Slice<*const keyway.Method>\n" \
    "  keyway.Library.init: offset 72; fn(*const keyway.CallContext, *const keyway.Host, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.deinit: offset 80; fn(*const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.create: offset 88; fn(*const keyway.CallContext, *const keyway.Host, keyway.Slice<u8>, *mut *mut keyway.Instance, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.destroy: offset 96; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.invoke: offset 104; fn(*mut keyway.Instance, *const keyway.CallContext, u32, keyway.Slice<u8>, *mut keyway.OwnedBuffer, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.pause: offset 112; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.resume: offset 120; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.save_state: offset 128; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.State, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.restore_state: offset 136; fn(*mut keyway.Instance, *const keyway.CallContext, *const keyway.RawSavedState, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "enum keyway.LogLevel: open; size 4; align 4; u32\n" \
    "  keyway.LogLevel.ERROR: 1\n" \
    "  keyway.LogLevel.WARN: 2\n" \
    "  keyway.LogLevel.INFO: 3\n" \
    "  keyway.LogLevel.DEBUG: 4\n" \
    "  keyway.LogLevel.TRACE: 5\n" \
    "struct keyway.LogField: closed; size 32; align 8\n" \
    "  keyway.LogField.name: offset 0; keyway.Text\n" \
    "  keyway.LogField.value: offset 16; keyway.Text\n" \
    "entry keyway_plugin_v1: fn() -> *const keyway.Library\n"
#elif UINTPTR_MAX != UINT64_MAX && !(defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) && !(defined(__i386__) && !defined(_WIN32))
#define KEYWAY_CONTRACT \
    "contract: version 1; pointer 4 bytes; little-endian\n" \
    "struct keyway.Text: closed; size 8; align 4\n" \
    "  keyway.Text.pointer: offset 0; *const u8\n" \
    "  keyway.Text.length: offset 4; usize\n" \
    "enum keyway.LibraryFlags: open; size 4; align 4; u32\n" \
    "  keyway.LibraryFlags.UNLOADABLE: 1\n" \
    "struct keyway.Slice: closed; size 8; align 4\n" \
    "  keyway.Slice.pointer: offset 0; *const void\n" \
    "  keyway.Slice.length: offset 4; usize\n" \
    "struct keyway.Cancellation: extensible; align 4\n" \
    "  keyway.Cancellation.size: offset 0; usize\n" \
    "  keyway.Cancellation.context: offset 4; *const void\n" \
    "  keyway.Cancellation.is_cancelled: offset 8; fn(*const void) -> u32\n" \
    "struct keyway.CallContext: extensible; align 8\n" \
    "  keyway.CallContext.size: offset 0; usize\n" \
    "  keyway.CallContext.trace_id: offset 4; [u8;16]\n" \
    "  keyway.CallContext.span_id: offset 20; [u8;8]\n" \
    "  keyway.CallContext.trace_flags: offset 28; u32\n" \
    "  keyway.CallContext.trace_state: offset 32; keyway.Text\n" \
    "  keyway.CallContext.deadline_ns: offset 40; u64\n" \
    "  keyway.CallContext.cancellation: offset 48; *const keyway.Cancellation\n" \
    "struct keyway.OwnedBuffer: closed; size 16; align 4\n" \
    "  keyway.OwnedBuffer.pointer: offset 0; *mut u8\n" \
    "  keyway.OwnedBuffer.length: offset 4; usize\n" \
    "  keyway.OwnedBuffer.capacity: offset 8; usize\n" \
    "  keyway.OwnedBuffer.free: offset 12; nullable fn(*mut u8, usize, usize)\n" \
    "struct keyway.ErrorReport: closed; size 20; align 4\n" \
    "  keyway.ErrorReport.code: offset 0; u32\n" \
    "  keyway.ErrorReport.message: offset 4; keyway.OwnedBuffer\n" \
    "enum keyway.CallStatus: open; size 4; align 4; u32\n" \
    "  keyway.CallStatus.OK: 0\n" \
    "  keyway.CallStatus.FAILED: 1\n" \
    "  keyway.CallStatus.PANICKED: 2\n" \
    "  keyway.CallStatus.POISONED: 3\n" \
    "  keyway.CallStatus.UNKNOWN_METHOD: 4\n" \
    "  keyway.CallStatus.INVALID_ARGUMENT: 5\n" \
    "  keyway.CallStatus.UNSUPPORTED: 6\n" \
    "  keyway.CallStatus.INVALID_RESULT: 7\n" \
    "  keyway.CallStatus.DEADLINE_EXCEEDED: 8\n" \
    "  keyway.CallStatus.CANCELLED: 9\n" \
    "  keyway.CallStatus.BUSY: 10\n" \
    "  keyway.CallStatus.DISCONNECTED: 11\n" \
    "struct keyway.Offer: extensible; align 4\n" \
    "  keyway.Offer.size: offset 0; usize\n" \
    "  keyway.Offer.id: offset 4; keyway.Text\n" \
    "  keyway.Offer.version: offset 12; u32\n" \
    "  keyway.Offer.flags: offset 16; u32\n" \
    "  keyway.Offer.descriptor: offset 20; keyway.Text\n" \
    "  keyway.Offer.signature: offset 28; keyway.Text\n" \
    "  keyway.Offer.table: offset 36; *const void\n" \
    "  keyway.Offer.dispatch: offset 40; nullable fn(*mut keyway.Instance, *const keyway.CallContext, u32, keyway.Slice<u8>, *mut keyway.OwnedBuffer, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "enum keyway.MethodFlags: open; size 4; align 4; u32\n" \
    "  keyway.MethodFlags.SHARED: 1\n" \
    "struct keyway.Method: extensible; align 4\n" \
    "  keyway.Method.size: offset 0; usize\n" \
    "  keyway.Method.name: offset 4; keyway.Text\n" \
    "  keyway.Method.flags: offset 12; keyway.MethodFlags\n" \
    "struct keyway.Service: extensible; align 4\n" \
    "  keyway.Service.size: offset 0; usize\n" \
    "  keyway.Service.offer: offset 4; *const keyway.Offer\n" \
    "  keyway.Service.instance: offset 8; *mut keyway.Instance\n" \
    "struct keyway.Host: extensible; align 4\n" \
    "  keyway.Host.size: offset 0; usize\n" \
    "  keyway.Host.context: offset 4; *const void\n" \
    "  keyway.Host.services: offset 8; keyway.Slice<*const keyway.Service>\n" \
    "  keyway.Host.get_service: offset 16; fn(*const void, keyway.Text, u32) -> *const keyway.Service\n" \
    "struct keyway.State: closed; size 20; align 4\n" \
    "  keyway.State.format: offset 0; u32\n" \
    "  keyway.State.bytes: offset 4; keyway.OwnedBuffer\n" \
    "struct keyway.RawSavedState: extensible; align 4\n" \
    "  keyway.RawSavedState.size: offset 0; usize\n" \
    "  keyway.RawSavedState.format: offset 4; u32\n" \
    "  keyway.RawSavedState.bytes: offset 8; keyway.Slice<u8>\n" \
    "  keyway.RawSavedState.plugin: offset 16; keyway.Text\n" \
    "  keyway.RawSavedState.version: offset 24; keyway.Text\n" \
    "struct keyway.Library: extensible; align 4\n" \
    "  keyway.Library.size: offset 0; usize\n" \
    "  keyway.Library.contract: offset 4; keyway.Text\n" \
    "  keyway.Library.flags: offset 12; keyway.LibraryFlags\n" \
    "  keyway.Library.interfaces: offset 16; keyway.Slice<*const keyway.Offer>\n" \
    "  keyway.Library.get_interface: offset 24; fn(keyway.Text, u32) -> *const keyway.Offer\n" \
    "  keyway.Library.methods: offset 28; keyway.Slice<*const keyway.Method>\n" \
    "  keyway.Library.init: offset 36; fn(*const keyway.CallContext, *const keyway.Host, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.deinit: offset 40; fn(*const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.create: offset 44; fn(*const keyway.CallContext, *const keyway.Host, keyway.Slice<u8>, *mut *mut keyway.Instance, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.destroy: offset 48; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.invoke: offset 52; fn(*mut keyway.Instance, *const keyway.CallContext, u32, keyway.Slice<u8>, *mut keyway.OwnedBuffer, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.pause: offset 56; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.resume: offset 60; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.save_state: offset 64; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.State, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.restore_state: offset 68; fn(*mut keyway.Instance, *const keyway.CallContext, *const keyway.RawSavedState, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "enum keyway.LogLevel: open; size 4; align 4; u32\n" \
    "  keyway.LogLevel.ERROR: 1\n" \
    "  keyway.LogLevel.WARN: 2\n" \
    "  keyway.LogLevel.INFO: 3\n" \
    "  keyway.LogLevel.DEBUG: 4\n" \
    "  keyway.LogLevel.TRACE: 5\n" \
    "struct keyway.LogField: closed; size 16; align 4\n" \
    "  keyway.LogField.name: offset 0; keyway.Text\n" \
    "  keyway.LogField.value: offset 8; keyway.Text\n" \
    "entry keyway_plugin_v1: fn() -> *const keyway.Library\n"
#elif UINTPTR_MAX != UINT64_MAX && !(defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) && defined(__i386__) && !defined(_WIN32)
#define KEYWAY_CONTRACT \
    "contract: version 1; pointer 4 bytes; little-endian\n" \
    "struct keyway.Text: closed; size 8; align 4\n" \
    "  keyway.Text.pointer: offset 0; *const u8\n" \
    "  keyway.Text.length: offset 4; usize\n" \
    "enum keyway.LibraryFlags: open; size 4; align 4; u32\n" \
    "  keyway.LibraryFlags.UNLOADABLE: 1\n" \
    "struct keyway.Slice: closed; size 8; align 4\n" \
    "  keyway.Slice.pointer: offset 0; *const void\n" \
    "  keyway.Slice.length: offset 4; usize\n" \
    "struct keyway.Cancellation: extensible; align 4\n" \
    "  keyway.Cancellation.size: offset 0; usize\n" \
    "  keyway.Cancellation.context: offset 4; *const void\n" \
    "  keyway.Cancellation.is_cancelled: offset 8; fn(*const void) -> u32\n" \
    "struct keyway.CallContext: extensible; align 4\n" \
    "  keyway.CallContext.size: offset 0; usize\n" \
    "  keyway.CallContext.trace_id: offset 4; [u8;16]\n" \
    "  keyway.CallContext.span_id: offset 20; [u8;8]\n" \
    "  keyway.CallContext.trace_flags: offset 28; u32\n" \
    "  keyway.CallContext.trace_state: offset 32; keyway.Text\n" \
    "  keyway.CallContext.deadline_ns: offset 40; u64\n" \
    "  keyway.CallContext.cancellation: offset 48; *const keyway.Cancellation\n" \
    "struct keyway.OwnedBuffer: closed; size 16; align 4\n" \
    "  keyway.OwnedBuffer.pointer: offset 0; *mut u8\n" \
    "  keyway.OwnedBuffer.length: offset 4; usize\n" \
    "  keyway.OwnedBuffer.capacity: offset 8; usize\n" \
    "  keyway.OwnedBuffer.free: offset 12; nullable fn(*mut u8, usize, usize)\n" \
    "struct keyway.ErrorReport: closed; size 20; align 4\n" \
    "  keyway.ErrorReport.code: offset 0; u32\n" \
    "  keyway.ErrorReport.message: offset 4; keyway.OwnedBuffer\n" \
    "enum keyway.CallStatus: open; size 4; align 4; u32\n" \
    "  keyway.CallStatus.OK: 0\n" \
    "  keyway.CallStatus.FAILED: 1\n" \
    "  keyway.CallStatus.PANICKED: 2\n" \
    "  keyway.CallStatus.POISONED: 3\n" \
    "  keyway.CallStatus.UNKNOWN_METHOD: 4\n" \
    "  keyway.CallStatus.INVALID_ARGUMENT: 5\n" \
    "  keyway.CallStatus.UNSUPPORTED: 6\n" \
    "  keyway.CallStatus.INVALID_RESULT: 7\n" \
    "  keyway.CallStatus.DEADLINE_EXCEEDED: 8\n" \
    "  keyway.CallStatus.CANCELLED: 9\n" \
    "  keyway.CallStatus.BUSY: 10\n" \
    "  keyway.CallStatus.DISCONNECTED: 11\n" \
    "struct keyway.Offer: extensible; align 4\n" \
    "  keyway.Offer.size: offset 0; usize\n" \
    "  keyway.Offer.id: offset 4; keyway.Text\n" \
    "  keyway.Offer.version: offset 12; u32\n" \
    "  keyway.Offer.flags: offset 16; u32\n" \
    "  keyway.Offer.descriptor: offset 20; keyway.Text\n" \
    "  keyway.Offer.signature: offset 28; keyway.Text\n" \
    "  keyway.Offer.table: offset 36; *const void\n" \
    "  keyway.Offer.dispatch: offset 40; nullable fn(*mut keyway.Instance, *const keyway.CallContext, u32, keyway.Slice<u8>, *mut keyway.OwnedBuffer, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "enum keyway.MethodFlags: open; size 4; align 4; u32\n" \
    "  keyway.MethodFlags.SHARED: 1\n" \
    "struct keyway.Method: extensible; align 4\n" \
    "  keyway.Method.size: offset 0; usize\n" \
    "  keyway.Method.name: offset 4; keyway.Text\n" \
    "  keyway.Method.flags: offset 12; keyway.MethodFlags\n" \
    "struct keyway.Service: extensible; align 4\n" \
    "  keyway.Service.size: offset 0; usize\n" \
    "  keyway.Service.offer: offset 4; *const keyway.Offer\n" \
    "  keyway.Service.instance: offset 8; *mut keyway.Instance\n" \
    "struct keyway.Host: extensible; align 4\n" \
    "  keyway.Host.size: offset 0; usize\n" \
    "  keyway.Host.context: offset 4; *const void\n" \
    "  keyway.Host.services: offset 8; keyway.Slice<*const keyway.Service>\n" \
    "  keyway.Host.get_service: offset 16; fn(*const void, keyway.Text, u32) -> *const keyway.Service\n" \
    "struct keyway.State: closed; size 20; align 4\n" \
    "  keyway.State.format: offset 0; u32\n" \
    "  keyway.State.bytes: offset 4; keyway.OwnedBuffer\n" \
    "struct keyway.RawSavedState: extensible; align 4\n" \
    "  keyway.RawSavedState.size: offset 0; usize\n" \
    "  keyway.RawSavedState.format: offset 4; u32\n" \
    "  keyway.RawSavedState.bytes: offset 8; keyway.Slice<u8>\n" \
    "  keyway.RawSavedState.plugin: offset 16; keyway.Text\n" \
    "  keyway.RawSavedState.version: offset 24; keyway.Text\n" \
    "struct keyway.Library: extensible; align 4\n" \
    "  keyway.Library.size: offset 0; usize\n" \
    "  keyway.Library.contract: offset 4; keyway.Text\n" \
    "  keyway.Library.flags: offset 12; keyway.LibraryFlags\n" \
    "  keyway.Library.interfaces: offset 16; keyway.Slice<*const keyway.Offer>\n" \
    "  keyway.Library.get_interface: offset 24; fn(keyway.Text, u32) -> *const keyway.Offer\n" \
    "  keyway.Library.methods: offset 28; keyway.Slice<*const keyway.Method>\n" \
    "  keyway.Library.init: offset 36; fn(*const keyway.CallContext, *const keyway.Host, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.deinit: offset 40; fn(*const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.create: offset 44; fn(*const keyway.CallContext, *const keyway.Host, keyway.Slice<u8>, *mut *mut keyway.Instance, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.destroy: offset 48; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.invoke: offset 52; fn(*mut keyway.Instance, *const keyway.CallContext, u32, keyway.Slice<u8>, *mut keyway.OwnedBuffer, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.pause: offset 56; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.resume: offset 60; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.save_state: offset 64; fn(*mut keyway.Instance, *const keyway.CallContext, *mut keyway.State, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "  keyway.Library.restore_state: offset 68; fn(*mut keyway.Instance, *const keyway.CallContext, *const keyway.RawSavedState, *mut keyway.ErrorReport) -> keyway.CallStatus\n" \
    "enum keyway.LogLevel: open; size 4; align 4; u32\n" \
    "  keyway.LogLevel.ERROR: 1\n" \
    "  keyway.LogLevel.WARN: 2\n" \
    "  keyway.LogLevel.INFO: 3\n" \
    "  keyway.LogLevel.DEBUG: 4\n" \
    "  keyway.LogLevel.TRACE: 5\n" \
    "struct keyway.LogField: closed; size 16; align 4\n" \
    "  keyway.LogField.name: offset 0; keyway.Text\n" \
    "  keyway.LogField.value: offset 8; keyway.Text\n" \
    "entry keyway_plugin_v1: fn() -> *const keyway.Library\n"
#else
#error "no layout is known for this target"
#endif

/* The stamp: an exported constant of this name, in this section. */
#define KEYWAY_STAMP_SYMBOL "KEYWAY_STAMP"
#ifdef __APPLE__
#define KEYWAY_STAMP_SECTION "__DATA,__keyway"
#else
#define KEYWAY_STAMP_SECTION ".keyway"
#endif
#define KEYWAY_STAMP_MAJOR 1
#define KEYWAY_STAMP_CRITICAL 1
#define KEYWAY_TAG_NAME 1
#define KEYWAY_TAG_VERSION 2
#define KEYWAY_TAG_TARGET 3
#define KEYWAY_TAG_KIND 4
#define KEYWAY_TAG_TOOLCHAIN 5
#define KEYWAY_TAG_CONTRACT 6
#define KEYWAY_TAG_INTERFACE 7
#define KEYWAY_TAG_SIGNATURE 8
#define KEYWAY_TAG_PANIC 16
#define KEYWAY_TAG_PROCESSOR 17
#define KEYWAY_TAG_FLOAT 18
#define KEYWAY_TAG_C_RUNTIME 19
#define KEYWAY_TAG_SANITIZER 20
/* A number as the four bytes of a stamp. */
#define KEYWAY_LE32(n) \
    {(unsigned char)((n) & 0xff), (unsigned char)((n) >> 8 & 0xff), \
     (unsigned char)((n) >> 16 & 0xff), (unsigned char)((n) >> 24 & 0xff)}

typedef struct keyway_text keyway_text;
typedef struct keyway_cancellation keyway_cancellation;
typedef struct keyway_call_context keyway_call_context;
typedef struct keyway_owned_buffer keyway_owned_buffer;
typedef struct keyway_error_report keyway_error_report;
typedef struct keyway_offer keyway_offer;
typedef struct keyway_method keyway_method;
typedef struct keyway_service keyway_service;
typedef struct keyway_host keyway_host;
typedef struct keyway_state keyway_state;
typedef struct keyway_raw_saved_state keyway_raw_saved_state;
typedef struct keyway_library keyway_library;
typedef struct keyway_log_field keyway_log_field;
/* One side's own data behind a pointer. Only that side knows what it is. */
typedef struct keyway_instance keyway_instance;
/* UTF-8 that the caller owns and the callee may use until it returns.
 * Closed. */
struct keyway_text {
    /* The first byte; anything, null too, if there is none. */
    const uint8_t *pointer;
    /* How many bytes. */
    size_t length;
};

/* What a library says of itself; each is a bit. Later versions may know more. */
typedef uint32_t keyway_library_flags;
/* After `deinit` no thread, no thread-local and no pointer of the library is left, so it may
 * be unmapped. Without this bit it stays mapped until the process ends. */
#define KEYWAY_LIBRARY_FLAGS_UNLOADABLE ((keyway_library_flags)1)

/* Whether the caller has given up on a call. It is the caller's, and valid until the call ends.
 * Extensible: look at `size` before you read what a later version has. */
struct keyway_cancellation {
    /* Size of this table in the caller's version of it. */
    size_t size;
    /* Passed to the function below. */
    const void *context;
    /* Not 0 once the call is cancelled, and from then on. Any thread may ask. */
    uint32_t (*is_cancelled)(const void *);
};

/* On whose behalf a call is made, until when, and whether it still matters. A null pointer in its
 * place says that nothing is known.
 * Extensible: look at `size` before you read what a later version has. */
struct keyway_call_context {
    /* Size of this struct in the caller's version of it. */
    size_t size;
    /* W3C trace id; all zero if there is none. */
    uint8_t trace_id[16];
    /* W3C span id of the caller; all zero if there is none. */
    uint8_t span_id[8];
    /* W3C trace flags; the lowest bit: the caller records this trace. */
    uint32_t trace_flags;
    /* W3C trace state. */
    keyway_text trace_state;
    /* When the caller stops waiting, in nanoseconds since 1970-01-01 UTC; 0 is never. */
    uint64_t deadline_ns;
    /* Asked whether the call is cancelled; null if it never is. */
    const keyway_cancellation *cancellation;
};

/* Bytes that one side made and the other uses; dropping it frees them on their maker's side.
 * Closed. */
struct keyway_owned_buffer {
    /* The first byte; anything, null too, if `length` is 0. */
    uint8_t *pointer;
    /* How many bytes. */
    size_t length;
    /* How many bytes were allocated; only `free` uses it. */
    size_t capacity;
    /* Frees `pointer`, given the three fields above. Null if there is nothing to free. */
    void (*free)(uint8_t *, size_t, size_t);
};

/* Why a call failed. The callee writes it if and only if the status is not `OK`; the caller
 * may leave it uninitialized before.
 * Closed. */
struct keyway_error_report {
    /* The plugin's own code; 0 if the status says it all. */
    uint32_t code;
    /* UTF-8 for people. */
    keyway_owned_buffer message;
};

/* How a call ended. Later versions may know more. */
typedef uint32_t keyway_call_status;
/* The result is there. */
#define KEYWAY_CALL_STATUS_OK ((keyway_call_status)0)
/* The plugin returned an error of its own; the report has its code and message. */
#define KEYWAY_CALL_STATUS_FAILED ((keyway_call_status)1)
/* The plugin panicked. The panic was caught on its side, its message is in the report, and
 * the instance is poisoned. */
#define KEYWAY_CALL_STATUS_PANICKED ((keyway_call_status)2)
/* The instance panicked in an earlier call. Nothing was run; it can only be destroyed. */
#define KEYWAY_CALL_STATUS_POISONED ((keyway_call_status)3)
/* The plugin has no named method of this name. */
#define KEYWAY_CALL_STATUS_UNKNOWN_METHOD ((keyway_call_status)4)
/* An argument was no value of its type: not UTF-8, no variant of the enum, no `bool`. */
#define KEYWAY_CALL_STATUS_INVALID_ARGUMENT ((keyway_call_status)5)
/* The callee does not offer this: it keeps no state that could be saved, say. */
#define KEYWAY_CALL_STATUS_UNSUPPORTED ((keyway_call_status)6)
/* The callee answered with what is no value of the promised type. */
#define KEYWAY_CALL_STATUS_INVALID_RESULT ((keyway_call_status)7)
/* The deadline of the call passed before it was done. */
#define KEYWAY_CALL_STATUS_DEADLINE_EXCEEDED ((keyway_call_status)8)
/* The caller cancelled the call before it was done. */
#define KEYWAY_CALL_STATUS_CANCELLED ((keyway_call_status)9)
/* The callee can't take another call now; later it may. */
#define KEYWAY_CALL_STATUS_BUSY ((keyway_call_status)10)
/* The callee is gone: its process ended, its connection broke. */
#define KEYWAY_CALL_STATUS_DISCONNECTED ((keyway_call_status)11)

/* Elements that the caller owns and the callee may use until it returns. */
typedef struct keyway_slice_of_uint8 {
    /* The first element; anything, null too, if there is none. */
    const uint8_t *pointer;
    /* How many elements. */
    size_t length;
} keyway_slice_of_uint8;

/* An interface that one side offers to the other.
 * Extensible: look at `size` before you read what a later version has. */
struct keyway_offer {
    /* Size of this table in its side's version of it. */
    size_t size;
    /* The interface's id. */
    keyway_text id;
    /* The interface's version. */
    uint32_t version;
    /* None are known; 0. */
    uint32_t flags;
    /* The interface's layout descriptor, the same text as in the stamp. */
    keyway_text descriptor;
    /* What its author wrote, for messages. */
    keyway_text signature;
    /* The interface's table of functions, which begins with its size. */
    const void *table;
    /* Calls the function at this place of the table, 0 being the first: its arguments and its
     * reply as bytes. The instance is used as that function uses it. */
    keyway_call_status (*dispatch)(keyway_instance *, const keyway_call_context *, uint32_t, keyway_slice_of_uint8, keyway_owned_buffer *, keyway_error_report *);
};

/* What a method says of itself; each is a bit. Later versions may know more. */
typedef uint32_t keyway_method_flags;
/* It takes the instance shared: several threads may call it at once. */
#define KEYWAY_METHOD_FLAGS_SHARED ((keyway_method_flags)1)

/* A named method: bytes in, bytes out.
 * Extensible: look at `size` before you read what a later version has. */
struct keyway_method {
    /* Size of this table in the plugin's version of it. */
    size_t size;
    /* Its name, which no other method of the plugin has. */
    keyway_text name;
    /* How it may be called. */
    keyway_method_flags flags;
};

/* An interface that a host offers, and the instance to call.
 * Extensible: look at `size` before you read what a later version has. */
struct keyway_service {
    /* Size of this table in the host's version of it. */
    size_t size;
    /* The interface. Its functions take the instance shared, all of them. */
    const keyway_offer *offer;
    /* The first argument of its functions. */
    keyway_instance *instance;
};

/* Elements that the caller owns and the callee may use until it returns. */
typedef struct keyway_slice_of_service_pointers {
    /* The first element; anything, null too, if there is none. */
    const keyway_service *const *pointer;
    /* How many elements. */
    size_t length;
} keyway_slice_of_service_pointers;

/* What a host offers to a plugin. It, and all that it leads to, stays valid as long as the
 * library is mapped; any thread may use it.
 * Extensible: look at `size` before you read what a later version has. */
struct keyway_host {
    /* Size of this table in the host's version of it. */
    size_t size;
    /* Passed to the function below. */
    const void *context;
    /* All services. */
    keyway_slice_of_service_pointers services;
    /* The service with this id and version; null if there is none. */
    const keyway_service *(*get_service)(const void *, keyway_text, uint32_t);
};

/* What an instance can go on from.
 * Closed. */
struct keyway_state {
    /* The format of the bytes, which is up to the plugin. */
    uint32_t format;
    /* They. */
    keyway_owned_buffer bytes;
};

/* A state, and who saved it.
 * Extensible: look at `size` before you read what a later version has. */
struct keyway_raw_saved_state {
    /* Size of this table in the host's version of it. */
    size_t size;
    /* The format of the bytes. */
    uint32_t format;
    /* They. */
    keyway_slice_of_uint8 bytes;
    /* The name of the plugin that saved it; empty if that is not known. */
    keyway_text plugin;
    /* The version of the plugin that saved it; empty if that is not known. */
    keyway_text version;
};

/* Elements that the caller owns and the callee may use until it returns. */
typedef struct keyway_slice_of_offer_pointers {
    /* The first element; anything, null too, if there is none. */
    const keyway_offer *const *pointer;
    /* How many elements. */
    size_t length;
} keyway_slice_of_offer_pointers;

/* Elements that the caller owns and the callee may use until it returns. */
typedef struct keyway_slice_of_method_pointers {
    /* The first element; anything, null too, if there is none. */
    const keyway_method *const *pointer;
    /* How many elements. */
    size_t length;
} keyway_slice_of_method_pointers;

/* What a plugin's library is to a host. All of it is part of the library, and never changes.
 *
 * Where a function takes an error report, it writes it if and only if it returns another
 * status than `OK`; what else it is to write, it writes if and only if it returns `OK`.
 * An instance is used by one thread at a time, except by those functions and methods that take
 * it shared. No call is made on an instance after `destroy`.
 * Extensible: look at `size` before you read what a later version has. */
struct keyway_library {
    /* Size of this table in the plugin's version of it. */
    size_t size;
    /* The contract's layout descriptor, the same text as in the stamp. */
    keyway_text contract;
    /* What the library says of itself. */
    keyway_library_flags flags;
    /* The interfaces that its instances have. */
    keyway_slice_of_offer_pointers interfaces;
    /* The interface with this id and version; null if there is none. */
    const keyway_offer *(*get_interface)(keyway_text, uint32_t);
    /* The named methods. A method is called by its place in this list. */
    keyway_slice_of_method_pointers methods;
    /* The first function that is called, once. If it fails, no other one is. */
    keyway_call_status (*init)(const keyway_call_context *, const keyway_host *, keyway_error_report *);
    /* The last function that is called, once, when no instance is left. */
    keyway_call_status (*deinit)(const keyway_call_context *, keyway_error_report *);
    /* Makes an instance from the bytes of its configuration. */
    keyway_call_status (*create)(const keyway_call_context *, const keyway_host *, keyway_slice_of_uint8, keyway_instance **, keyway_error_report *);
    /* Ends the instance, a poisoned one too. It is gone whatever the status says. */
    keyway_call_status (*destroy)(keyway_instance *, const keyway_call_context *, keyway_error_report *);
    /* Calls the method at this place of the list: bytes in, bytes out. */
    keyway_call_status (*invoke)(keyway_instance *, const keyway_call_context *, uint32_t, keyway_slice_of_uint8, keyway_owned_buffer *, keyway_error_report *);
    /* Releases what an idle instance does not need. Calls may come only after `resume`. */
    keyway_call_status (*pause)(keyway_instance *, const keyway_call_context *, keyway_error_report *);
    /* Takes back what `pause` released. If it fails, the instance is still paused. */
    keyway_call_status (*resume)(keyway_instance *, const keyway_call_context *, keyway_error_report *);
    /* Writes the state that another instance, perhaps of a later version, can go on from. */
    keyway_call_status (*save_state)(keyway_instance *, const keyway_call_context *, keyway_state *, keyway_error_report *);
    /* Goes on from a saved state. If it fails, the instance is as if it were new. */
    keyway_call_status (*restore_state)(keyway_instance *, const keyway_call_context *, const keyway_raw_saved_state *, keyway_error_report *);
};

/* How urgent a log line is. Later versions may know more. */
typedef uint32_t keyway_log_level;
/* Something failed. */
#define KEYWAY_LOG_LEVEL_ERROR ((keyway_log_level)1)
/* Something looks wrong. */
#define KEYWAY_LOG_LEVEL_WARN ((keyway_log_level)2)
/* What an operator wants to read. */
#define KEYWAY_LOG_LEVEL_INFO ((keyway_log_level)3)
/* What a developer wants to read. */
#define KEYWAY_LOG_LEVEL_DEBUG ((keyway_log_level)4)
/* Everything. */
#define KEYWAY_LOG_LEVEL_TRACE ((keyway_log_level)5)

/* A named value of a log line.
 * Closed. */
struct keyway_log_field {
    /* What the value is. */
    keyway_text name;
    /* The value, written out. */
    keyway_text value;
};

/* Elements that the caller owns and the callee may use until it returns. */
typedef struct keyway_slice_of_log_field {
    /* The first element; anything, null too, if there is none. */
    const keyway_log_field *pointer;
    /* How many elements. */
    size_t length;
} keyway_slice_of_log_field;

/* What each plugin exports beside its stamp. */
#define KEYWAY_ENTRY_SYMBOL "keyway_plugin_v1"
typedef const keyway_library *(*keyway_entry)(void);

/* What a compiler for any target makes of the above. */
struct keyway_align_of_u64 {
    char before;
    uint64_t value;
};
#define KEYWAY_BY_MODEL(wide, narrow, narrow_packed) \
    (sizeof(void *) == 8 ? (wide) \
     : offsetof(struct keyway_align_of_u64, value) == 8 ? (narrow) \
     : (narrow_packed))
#define KEYWAY_ASSERT(name, condition) typedef char keyway_assert_##name[(condition) ? 1 : -1]
KEYWAY_ASSERT(keyway_text, sizeof(keyway_text) == KEYWAY_BY_MODEL(16, 8, 8));
KEYWAY_ASSERT(keyway_text_pointer, offsetof(keyway_text, pointer) == KEYWAY_BY_MODEL(0, 0, 0));
KEYWAY_ASSERT(keyway_text_length, offsetof(keyway_text, length) == KEYWAY_BY_MODEL(8, 4, 4));
KEYWAY_ASSERT(keyway_cancellation, sizeof(keyway_cancellation) == KEYWAY_BY_MODEL(24, 12, 12));
KEYWAY_ASSERT(keyway_cancellation_size, offsetof(keyway_cancellation, size) == KEYWAY_BY_MODEL(0, 0, 0));
KEYWAY_ASSERT(keyway_cancellation_context, offsetof(keyway_cancellation, context) == KEYWAY_BY_MODEL(8, 4, 4));
KEYWAY_ASSERT(keyway_cancellation_is_cancelled, offsetof(keyway_cancellation, is_cancelled) == KEYWAY_BY_MODEL(16, 8, 8));
KEYWAY_ASSERT(keyway_call_context, sizeof(keyway_call_context) == KEYWAY_BY_MODEL(72, 56, 52));
KEYWAY_ASSERT(keyway_call_context_size, offsetof(keyway_call_context, size) == KEYWAY_BY_MODEL(0, 0, 0));
KEYWAY_ASSERT(keyway_call_context_trace_id, offsetof(keyway_call_context, trace_id) == KEYWAY_BY_MODEL(8, 4, 4));
KEYWAY_ASSERT(keyway_call_context_span_id, offsetof(keyway_call_context, span_id) == KEYWAY_BY_MODEL(24, 20, 20));
KEYWAY_ASSERT(keyway_call_context_trace_flags, offsetof(keyway_call_context, trace_flags) == KEYWAY_BY_MODEL(32, 28, 28));
KEYWAY_ASSERT(keyway_call_context_trace_state, offsetof(keyway_call_context, trace_state) == KEYWAY_BY_MODEL(40, 32, 32));
KEYWAY_ASSERT(keyway_call_context_deadline_ns, offsetof(keyway_call_context, deadline_ns) == KEYWAY_BY_MODEL(56, 40, 40));
KEYWAY_ASSERT(keyway_call_context_cancellation, offsetof(keyway_call_context, cancellation) == KEYWAY_BY_MODEL(64, 48, 48));
KEYWAY_ASSERT(keyway_owned_buffer, sizeof(keyway_owned_buffer) == KEYWAY_BY_MODEL(32, 16, 16));
KEYWAY_ASSERT(keyway_owned_buffer_pointer, offsetof(keyway_owned_buffer, pointer) == KEYWAY_BY_MODEL(0, 0, 0));
KEYWAY_ASSERT(keyway_owned_buffer_length, offsetof(keyway_owned_buffer, length) == KEYWAY_BY_MODEL(8, 4, 4));
KEYWAY_ASSERT(keyway_owned_buffer_capacity, offsetof(keyway_owned_buffer, capacity) == KEYWAY_BY_MODEL(16, 8, 8));
KEYWAY_ASSERT(keyway_owned_buffer_free, offsetof(keyway_owned_buffer, free) == KEYWAY_BY_MODEL(24, 12, 12));
KEYWAY_ASSERT(keyway_error_report, sizeof(keyway_error_report) == KEYWAY_BY_MODEL(40, 20, 20));
KEYWAY_ASSERT(keyway_error_report_code, offsetof(keyway_error_report, code) == KEYWAY_BY_MODEL(0, 0, 0));
KEYWAY_ASSERT(keyway_error_report_message, offsetof(keyway_error_report, message) == KEYWAY_BY_MODEL(8, 4, 4));
KEYWAY_ASSERT(keyway_offer, sizeof(keyway_offer) == KEYWAY_BY_MODEL(80, 44, 44));
KEYWAY_ASSERT(keyway_offer_size, offsetof(keyway_offer, size) == KEYWAY_BY_MODEL(0, 0, 0));
KEYWAY_ASSERT(keyway_offer_id, offsetof(keyway_offer, id) == KEYWAY_BY_MODEL(8, 4, 4));
KEYWAY_ASSERT(keyway_offer_version, offsetof(keyway_offer, version) == KEYWAY_BY_MODEL(24, 12, 12));
KEYWAY_ASSERT(keyway_offer_flags, offsetof(keyway_offer, flags) == KEYWAY_BY_MODEL(28, 16, 16));
KEYWAY_ASSERT(keyway_offer_descriptor, offsetof(keyway_offer, descriptor) == KEYWAY_BY_MODEL(32, 20, 20));
KEYWAY_ASSERT(keyway_offer_signature, offsetof(keyway_offer, signature) == KEYWAY_BY_MODEL(48, 28, 28));
KEYWAY_ASSERT(keyway_offer_table, offsetof(keyway_offer, table) == KEYWAY_BY_MODEL(64, 36, 36));
KEYWAY_ASSERT(keyway_offer_dispatch, offsetof(keyway_offer, dispatch) == KEYWAY_BY_MODEL(72, 40, 40));
KEYWAY_ASSERT(keyway_method, sizeof(keyway_method) == KEYWAY_BY_MODEL(32, 16, 16));
KEYWAY_ASSERT(keyway_method_size, offsetof(keyway_method, size) == KEYWAY_BY_MODEL(0, 0, 0));
KEYWAY_ASSERT(keyway_method_name, offsetof(keyway_method, name) == KEYWAY_BY_MODEL(8, 4, 4));
KEYWAY_ASSERT(keyway_method_flags, offsetof(keyway_method, flags) == KEYWAY_BY_MODEL(24, 12, 12));
KEYWAY_ASSERT(keyway_service, sizeof(keyway_service) == KEYWAY_BY_MODEL(24, 12, 12));
KEYWAY_ASSERT(keyway_service_size, offsetof(keyway_service, size) == KEYWAY_BY_MODEL(0, 0, 0));
KEYWAY_ASSERT(keyway_service_offer, offsetof(keyway_service, offer) == KEYWAY_BY_MODEL(8, 4, 4));
KEYWAY_ASSERT(keyway_service_instance, offsetof(keyway_service, instance) == KEYWAY_BY_MODEL(16, 8, 8));
KEYWAY_ASSERT(keyway_host, sizeof(keyway_host) == KEYWAY_BY_MODEL(40, 20, 20));
KEYWAY_ASSERT(keyway_host_size, offsetof(keyway_host, size) == KEYWAY_BY_MODEL(0, 0, 0));
KEYWAY_ASSERT(keyway_host_context, offsetof(keyway_host, context) == KEYWAY_BY_MODEL(8, 4, 4));
KEYWAY_ASSERT(keyway_host_services, offsetof(keyway_host, services) == KEYWAY_BY_MODEL(16, 8, 8));
KEYWAY_ASSERT(keyway_host_get_service, offsetof(keyway_host, get_service) == KEYWAY_BY_MODEL(32, 16, 16));
KEYWAY_ASSERT(keyway_state, sizeof(keyway_state) == KEYWAY_BY_MODEL(40, 20, 20));
KEYWAY_ASSERT(keyway_state_format, offsetof(keyway_state, format) == KEYWAY_BY_MODEL(0, 0, 0));
KEYWAY_ASSERT(keyway_state_bytes, offsetof(keyway_state, bytes) == KEYWAY_BY_MODEL(8, 4, 4));
KEYWAY_ASSERT(keyway_raw_saved_state, sizeof(keyway_raw_saved_state) == KEYWAY_BY_MODEL(64, 32, 32));
KEYWAY_ASSERT(keyway_raw_saved_state_size, offsetof(keyway_raw_saved_state, size) == KEYWAY_BY_MODEL(0, 0, 0));
KEYWAY_ASSERT(keyway_raw_saved_state_format, offsetof(keyway_raw_saved_state, format) == KEYWAY_BY_MODEL(8, 4, 4));
KEYWAY_ASSERT(keyway_raw_saved_state_bytes, offsetof(keyway_raw_saved_state, bytes) == KEYWAY_BY_MODEL(16, 8, 8));
KEYWAY_ASSERT(keyway_raw_saved_state_plugin, offsetof(keyway_raw_saved_state, plugin) == KEYWAY_BY_MODEL(32, 16, 16));
KEYWAY_ASSERT(keyway_raw_saved_state_version, offsetof(keyway_raw_saved_state, version) == KEYWAY_BY_MODEL(48, 24, 24));
KEYWAY_ASSERT(keyway_library, sizeof(keyway_library) == KEYWAY_BY_MODEL(144, 72, 72));
KEYWAY_ASSERT(keyway_library_size, offsetof(keyway_library, size) == KEYWAY_BY_MODEL(0, 0, 0));
KEYWAY_ASSERT(keyway_library_contract, offsetof(keyway_library, contract) == KEYWAY_BY_MODEL(8, 4, 4));
KEYWAY_ASSERT(keyway_library_flags, offsetof(keyway_library, flags) == KEYWAY_BY_MODEL(24, 12, 12));
KEYWAY_ASSERT(keyway_library_interfaces, offsetof(keyway_library, interfaces) == KEYWAY_BY_MODEL(32, 16, 16));
KEYWAY_ASSERT(keyway_library_get_interface, offsetof(keyway_library, get_interface) == KEYWAY_BY_MODEL(48, 24, 24));
KEYWAY_ASSERT(keyway_library_methods, offsetof(keyway_library, methods) == KEYWAY_BY_MODEL(56, 28, 28));
KEYWAY_ASSERT(keyway_library_init, offsetof(keyway_library, init) == KEYWAY_BY_MODEL(72, 36, 36));
KEYWAY_ASSERT(keyway_library_deinit, offsetof(keyway_library, deinit) == KEYWAY_BY_MODEL(80, 40, 40));
KEYWAY_ASSERT(keyway_library_create, offsetof(keyway_library, create) == KEYWAY_BY_MODEL(88, 44, 44));
KEYWAY_ASSERT(keyway_library_destroy, offsetof(keyway_library, destroy) == KEYWAY_BY_MODEL(96, 48, 48));
KEYWAY_ASSERT(keyway_library_invoke, offsetof(keyway_library, invoke) == KEYWAY_BY_MODEL(104, 52, 52));
KEYWAY_ASSERT(keyway_library_pause, offsetof(keyway_library, pause) == KEYWAY_BY_MODEL(112, 56, 56));
KEYWAY_ASSERT(keyway_library_resume, offsetof(keyway_library, resume) == KEYWAY_BY_MODEL(120, 60, 60));
KEYWAY_ASSERT(keyway_library_save_state, offsetof(keyway_library, save_state) == KEYWAY_BY_MODEL(128, 64, 64));
KEYWAY_ASSERT(keyway_library_restore_state, offsetof(keyway_library, restore_state) == KEYWAY_BY_MODEL(136, 68, 68));
KEYWAY_ASSERT(keyway_log_field, sizeof(keyway_log_field) == KEYWAY_BY_MODEL(32, 16, 16));
KEYWAY_ASSERT(keyway_log_field_name, offsetof(keyway_log_field, name) == KEYWAY_BY_MODEL(0, 0, 0));
KEYWAY_ASSERT(keyway_log_field_value, offsetof(keyway_log_field, value) == KEYWAY_BY_MODEL(16, 8, 8));

#ifdef __cplusplus
}
#endif

#endif
