//! What only the compiler knows of a library, as it was when the library was compiled.
//!
//! The macros below are expanded in the crate that exports the plugin, since that crate's flags can
//! differ from those of this one.

/// What the compiler knew. A fact that a stamp does not have is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts<'a> {
    /// What a panic does: `unwind` or `abort`.
    pub panic: &'a str,
    /// Extensions of the processor that its code uses, with `,` between them. Those that every
    /// processor of an architecture has are not among them.
    pub processor: &'a str,
    /// How floating-point numbers are passed: `hard` or `soft`.
    pub float: &'a str,
    /// How the C runtime is linked: `dynamic` or `static`.
    pub c_runtime: &'a str,
    /// The sanitizers that it was compiled with, with `,` between them.
    pub sanitizer: &'a str,
}

impl Facts<'_> {
    /// Those of this crate, but for the processor's extensions: what a host that was compiled with it
    /// expects.
    pub const HERE: Facts<'static> = Facts {
        panic: crate::__fact!(panic),
        processor: "",
        float: crate::__fact!(float),
        c_runtime: crate::__fact!(c_runtime),
        sanitizer: crate::__fact!(sanitizer),
    };
}

/// One fact, of the crate that this is expanded in.
#[doc(hidden)]
#[macro_export]
macro_rules! __fact {
    (panic) => {
        if ::core::cfg!(panic = "unwind") { "unwind" } else { "abort" }
    };
    (float) => {
        // Of the targets that there are, only ARM has two ways.
        if ::core::cfg!(all(target_arch = "arm", not(target_abi = "eabihf"))) {
            "soft"
        } else {
            "hard"
        }
    };
    (c_runtime) => {
        if ::core::cfg!(target_feature = "crt-static") { "static" } else { "dynamic" }
    };
    (sanitizer) => {
        // The compiler tells no stable code; cargo tells this crate's build script.
        $crate::stamp::SANITIZER
    };
    (processor) => {{
        const FOUND: &[(&str, bool)] = &$crate::__processor!(
            "adx" "aes" "altivec" "avx" "avx2" "avx512bf16" "avx512bitalg" "avx512bw"
            "avx512cd" "avx512dq" "avx512f" "avx512fp16" "avx512ifma" "avx512vbmi"
            "avx512vbmi2" "avx512vl" "avx512vnni" "avx512vpopcntdq" "bf16" "bmi1" "bmi2" "bti"
            "cmpxchg16b" "crc" "dotprod" "f16c" "fcma" "fhm" "flagm" "fma" "fp16"
            "frintts" "gfni" "i8mm" "jsconv" "lse" "lse2" "lzcnt" "movbe" "paca" "pacg"
            "pclmulqdq" "popcnt" "power8-vector" "power9-vector" "rcpc" "rcpc2" "rdm" "rdrand"
            "rdseed" "sb" "sha" "sha2" "sha3" "sm4" "sse3" "sse4.1" "sse4.2" "sse4a" "ssse3"
            "sve" "sve2" "tbm" "vaes" "vector" "vpclmulqdq" "vsx" "xsave" "xsavec" "xsaveopt"
            "zba" "zbb" "zbc" "zbs"
        );
        const LENGTH: usize = $crate::stamp::listed_length(FOUND);
        const BYTES: [u8; LENGTH] = $crate::stamp::listed(FOUND);
        $crate::descriptor::as_text(&BYTES)
    }};
}

/// Which of these the crate that this is expanded in is compiled for.
#[doc(hidden)]
#[macro_export]
macro_rules! __processor {
    ($($name:literal)*) => {
        [$(($name, ::core::cfg!(target_feature = $name))),*]
    };
}

/// Length of [`listed`].
pub const fn listed_length(found: &[(&str, bool)]) -> usize {
    let (mut length, mut rest) = (0, found);
    while let [(name, is_there), tail @ ..] = rest {
        if *is_there {
            // A comma before all but the first.
            length += name.len() + (length != 0) as usize;
        }
        rest = tail;
    }
    length
}

/// The names of those that are there, with `,` between them; `N` is their [`listed_length`].
pub const fn listed<const N: usize>(found: &[(&str, bool)]) -> [u8; N] {
    let mut bytes = [b','; N];
    let (mut at, mut rest) = (0, found);
    while let [(name, is_there), tail @ ..] = rest {
        if *is_there {
            at += (at != 0) as usize;
            let (_, place) = bytes.split_at_mut(at);
            let (place, _) = place.split_at_mut(name.len());
            place.copy_from_slice(name.as_bytes());
            at += name.len();
        }
        rest = tail;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_listed() {
        const FOUND: &[(&str, bool)] = &[("a", false), ("b", true), ("c", false), ("de", true)];
        const BYTES: [u8; listed_length(FOUND)] = listed(FOUND);
        assert_eq!(&BYTES, b"b,de");
        assert_eq!(listed_length(&[("a", false)]), 0);
    }
}
