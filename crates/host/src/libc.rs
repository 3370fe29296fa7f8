//! Which C library this process has, asked of the process itself: no program is run for it.

use keyway_manifest::{Libc, LibcFamily};

/// The C library of this process and its version; `None` where the target has no such notion.
pub fn this_process() -> Option<Libc> {
    if cfg!(target_env = "musl") {
        return Some(Libc { family: LibcFamily::Musl, floor: None });
    }
    versioned()
}

#[cfg(all(unix, target_env = "gnu"))]
fn versioned() -> Option<Libc> {
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

/// The kernel knows the version of the system, which that of the C library is.
#[cfg(target_os = "macos")]
fn versioned() -> Option<Libc> {
    use std::ffi::{CStr, c_char, c_int, c_void};

    type ByName =
        unsafe extern "C" fn(*const c_char, *mut c_void, *mut usize, *mut c_void, usize) -> c_int;
    let process = libloading::os::unix::Library::this();
    let mut text = [0_u8; 32];
    let mut size = text.len();
    // SAFETY: `sysctlbyname(3)` is declared so; it writes `size` bytes at most.
    let status = unsafe {
        let by_name = process.get::<ByName>("sysctlbyname").ok()?;
        let name = c"kern.osproductversion".as_ptr();
        by_name(name, text.as_mut_ptr().cast(), &mut size, std::ptr::null_mut(), 0)
    };
    let text = CStr::from_bytes_until_nul(&text).ok().filter(|_| status == 0)?;
    let floor = text.to_str().ok()?.parse().ok();
    Some(Libc { family: LibcFamily::Libsystem, floor })
}

#[cfg(not(any(all(unix, target_env = "gnu"), target_os = "macos")))]
fn versioned() -> Option<Libc> {
    None
}
