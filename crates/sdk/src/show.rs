//! How a host finds a plugin: by two symbols of its library, or, with the feature `compiled-in`, by a
//! registration in the program that it is a part of.
//!
//! The macro that decides is defined twice, so that the feature is this crate's and not one of
//! the plugin's. Symbols in both cases would be two of one name as soon as a program has two plugins.

/// Exports `STAMP`, which the caller has declared, and the library's table if there is one.
#[cfg(not(feature = "compiled-in"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __show {
    ($($library:ident)?) => {
        // Exported: on windows-gnu the linker drops a section that nothing refers to.
        #[unsafe(no_mangle)]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__keyway"))]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".keyway"))]
        pub static KEYWAY_STAMP: $crate::abi::stamp::Encoded<{ STAMP.encoded_length() }> =
            STAMP.encode();

        $(
            #[unsafe(no_mangle)]
            pub extern "C" fn keyway_plugin_v1() -> *const $crate::abi::table::Library {
                &$library
            }
        )?
    };
}

/// Registers `STAMP`, which the caller has declared, with the library's table. What is for another
/// program's loader is of no use here.
#[cfg(feature = "compiled-in")]
#[doc(hidden)]
#[macro_export]
macro_rules! __show {
    () => {
        const _: &$crate::abi::stamp::Stamp<'static> = &STAMP;
    };
    ($library:ident) => {
        unsafe extern "C" fn entry() -> *const $crate::abi::table::Library {
            &$library
        }

        static REGISTERED: $crate::abi::stamp::Stamp<'static> = STAMP;

        $crate::__private::inventory::submit! {
            // SAFETY: the table is that of the plugin which the stamp describes.
            unsafe { $crate::__private::CompiledIn::new(&REGISTERED, entry) }
        }
    };
}

/// A plugin that is part of this program.
#[cfg(feature = "compiled-in")]
#[derive(Debug)]
pub struct CompiledIn {
    stamp: &'static keyway_abi::stamp::Stamp<'static>,
    entry: keyway_abi::table::Entry,
}

#[cfg(feature = "compiled-in")]
impl CompiledIn {
    /// # Safety
    /// `entry` must be the entry of a plugin that keeps to the contract, and the stamp its own.
    pub const unsafe fn new(
        stamp: &'static keyway_abi::stamp::Stamp<'static>,
        entry: keyway_abi::table::Entry,
    ) -> Self {
        Self { stamp, entry }
    }

    /// All of them, in the order of names and versions.
    pub fn all() -> Vec<&'static Self> {
        let mut all: Vec<_> = inventory::iter::<Self>.into_iter().collect();
        all.sort_by_key(|plugin| (plugin.stamp.name, plugin.stamp.version));
        all
    }

    /// What it says of itself.
    pub fn stamp(&self) -> &'static keyway_abi::stamp::Stamp<'static> {
        self.stamp
    }

    /// The function that returns its table.
    pub fn entry(&self) -> keyway_abi::table::Entry {
        self.entry
    }
}

#[cfg(feature = "compiled-in")]
inventory::collect!(CompiledIn);
