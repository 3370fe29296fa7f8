//! Which C library this process has, asked of the process itself: no program is run for it.

use keyway_manifest::{Libc, LibcFamily};

/// The C library of this process and its version; `None` where the target has no such notion.
pub fn this_process() -> Option<Libc> {
    if cfg!(target_env = "musl") {
        return Some(Libc { family: LibcFamily::Musl, floor: None });
    }
    glibc()
}

#[cfg(all(unix, target_env = "gnu"))]
fn glibc() -> Option<Libc> {
    use std::ffi::{CStr, c_char};

    let process = libloading::os::unix::Library::this();
    // SAFETY: glibc has declared the function so since 1998; it returns a static string.
    let version = unsafe {
        let version =
            process.get::<unsafe extern "C" fn() -> *const c_char>("gnu_get_libc_version");
        version.ok().map(|version| CStr::from_ptr(version()))
    };
    let floor = version.and_then(|version| version.to_str().ok()?.parse().ok());
    Some(Libc { family: LibcFamily::Glibc, floor })
}

#[cfg(not(all(unix, target_env = "gnu")))]
fn glibc() -> Option<Libc> {
    None
}
