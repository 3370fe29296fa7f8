//! Which extensions the processor has that this process runs on.

use std::collections::BTreeSet;

/// Asks the processor for each of these; it knows no name that the compiler does not.
#[cfg(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! detected {
    ($detect:ident: $($name:tt)*) => {
        [$(($name, std::arch::$detect!($name))),*]
    };
}

/// Those that it has, under the names of stamps; `None` where the standard library can't ask.
pub(crate) fn extensions() -> Option<BTreeSet<String>> {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let found = detected! { is_x86_feature_detected:
        "adx" "aes" "avx" "avx2" "avx512bf16" "avx512bitalg" "avx512bw" "avx512cd" "avx512dq"
        "avx512f" "avx512fp16" "avx512ifma" "avx512vbmi" "avx512vbmi2" "avx512vl" "avx512vnni"
        "avx512vpopcntdq" "bmi1" "bmi2" "cmpxchg16b" "f16c" "fma" "gfni" "lzcnt" "movbe"
        "pclmulqdq" "popcnt" "rdrand" "rdseed" "sha" "sse3" "sse4.1" "sse4.2" "sse4a" "ssse3"
        "tbm" "vaes" "vpclmulqdq" "xsave" "xsavec" "xsaveopt"
    };
    #[cfg(target_arch = "aarch64")]
    let found = detected! { is_aarch64_feature_detected:
        "aes" "bf16" "bti" "crc" "dotprod" "fcma" "fhm" "flagm" "fp16" "frintts" "i8mm"
        "jsconv" "lse" "lse2" "paca" "pacg" "rcpc" "rcpc2" "rdm" "sb" "sha2" "sha3" "sm4" "sve"
        "sve2"
    };
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return None;
    #[cfg(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64"))]
    Some(found.into_iter().filter(|(_, has)| *has).map(|(name, _)| name.to_owned()).collect())
}
