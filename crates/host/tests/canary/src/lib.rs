//! A plugin that leaves a file as soon as any code of it runs: when the file is there, a check came
//! too late. The file's path is in the environment variable `KEYWAY_CANARY`.
//!
//! The code that leaves it is a constructor on ELF and Mach-O, and `DllMain` on Windows: what a
//! system runs inside of `dlopen` and `LoadLibrary`, before a host has looked at any symbol.

use keyway_sdk::{Context, Host, Method, Plugin, PluginError, export_plugin, interface};

fn sing() {
    if let Some(path) = std::env::var_os("KEYWAY_CANARY") {
        // There is nobody to report an error to; the test looks for the file.
        let _ = std::fs::write(path, "code of the canary ran\n");
    }
}

#[cfg(not(windows))]
extern "C" fn construct() {
    sing();
}

// SAFETY: the section holds functions without arguments, and this is one.
#[cfg(not(windows))]
#[used]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
static CONSTRUCTOR: extern "C" fn() = construct;

/// What Windows calls inside of `LoadLibrary`; it replaces the one of the C runtime, which does
/// nothing.
// SAFETY: the name and the signature are those that the C runtime's startup code calls.
#[cfg(windows)]
#[unsafe(no_mangle)]
pub extern "system" fn DllMain(
    _instance: *mut std::ffi::c_void,
    reason: u32,
    _reserved: *mut std::ffi::c_void,
) -> i32 {
    const DLL_PROCESS_ATTACH: u32 = 1;
    if reason == DLL_PROCESS_ATTACH {
        sing();
    }
    1
}

/// What it offers to hosts that know it.
#[interface(version = 1)]
pub trait Song {
    /// The pitch, an octave higher.
    fn octave(&self, hertz: u32) -> u32;
}

struct Canary;

impl Song for Canary {
    fn octave(&self, hertz: u32) -> u32 {
        hertz.saturating_mul(2)
    }
}

impl Plugin for Canary {
    const METHODS: &'static [Method<Self>] = &[("sing", Self::sing)];

    fn create(_config: &[u8], _host: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Canary {
    fn sing(&mut self, song: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        Ok(song.to_vec())
    }
}

// It has no threads, and registers nothing with anybody.
export_plugin!(Canary: dyn Song, unsafe(unloadable));
