//! Options that C code is compiled and linked with by crates that many plugins use, taken by the images'
//! compilers: kernels for processors that have more than the target's least, chosen at run time, and
//! options of other linkers.

use crate::workspace::Copy;

pub(crate) const PLUGIN: &str = "with-flags";

/// By the architecture in `CARGO_CFG_TARGET_ARCH`: a source, and the options that it needs. Each has an
/// instruction that only these options allow.
const BUILD: &str = r#"use std::env::var;

const KERNELS: &[(&str, &str, &[&str])] = &[
    ("x86_64", "avx2.c", &["-mavx2"]),
    ("x86_64", "avx2.c", &["-march=haswell", "-mtune=generic"]),
    ("x86_64", "avx2.c", &["-march=x86-64-v3"]),
    ("x86_64", "avx512.c", &["-mavx512f", "-mavx512vl", "-mtune=cascadelake"]),
    ("x86_64", "avx512.c", &["-march=skylake-avx512"]),
    ("x86_64", "sse42.c", &["-msse4.2", "-mpclmul"]),
    ("aarch64", "crc.c", &["-march=armv8-a+crc"]),
    ("aarch64", "crc.c", &["-mcpu=cortex-a72", "-mtune=cortex-a72"]),
    ("aarch64", "dot.c", &["-march=armv8.2-a+dotprod"]),
    ("aarch64", "sha3.S", &["-march=armv8.4-a+sha3"]),
    ("arm", "neon.c", &["-march=armv7-a", "-mfpu=neon", "-mfloat-abi=hard"]),
    ("arm", "neon.c", &["-mfpu=neon-vfpv4"]),
    ("arm", "crc.c", &["-march=armv8-a+crc", "-mfpu=neon"]),
];

fn main() {
    let arch = var("CARGO_CFG_TARGET_ARCH").unwrap();
    for (index, (of, source, flags)) in KERNELS.iter().enumerate() {
        if *of == arch {
            let mut build = cc::Build::new();
            build.define("KERNEL", &*format!("kernel{index}")).file(format!("src/{source}"));
            for flag in *flags {
                build.flag(flag);
            }
            build.compile(&format!("kernel{index}"));
        }
    }
    let usual = ["-fno-plt", "-fvisibility=hidden", "-fstack-protector-strong", "-Wp,-D_FORTIFY_SOURCE=2"];
    let mut build = cc::Build::new();
    for flag in usual {
        build.flag(flag);
    }
    build.file("src/plain.c").compile("plain");
    if var("CARGO_CFG_TARGET_FAMILY").unwrap() == "unix" && var("CARGO_CFG_TARGET_VENDOR").unwrap() != "apple" {
        println!("cargo::rustc-link-arg=-Wl,--exclude-libs,ALL");
        println!("cargo::rustc-link-arg=-Wl,-Bsymbolic-functions,--warn-common,-z,text");
    }
}
"#;

/// The sources, of one function each.
const SOURCES: [(&str, &str); 7] = [
    (
        "avx2.c",
        "#include <immintrin.h>\n__m256i KERNEL(__m256i a) { return _mm256_add_epi32(a, a); }\n",
    ),
    (
        "avx512.c",
        "#include <immintrin.h>\n__m512i KERNEL(__m512i a) { return _mm512_add_epi32(a, a); }\n",
    ),
    (
        "sse42.c",
        "#include <immintrin.h>\nunsigned KERNEL(unsigned a) { return _mm_crc32_u32(a, a); }\n\
         __m128i clmul(__m128i a) { return _mm_clmulepi64_si128(a, a, 0); }\n",
    ),
    ("crc.c", "#include <arm_acle.h>\nunsigned KERNEL(unsigned a) { return __crc32w(a, a); }\n"),
    (
        "dot.c",
        "#include <arm_neon.h>\nint32x4_t KERNEL(int32x4_t a, int8x16_t b) { return vdotq_s32(a, b, b); }\n",
    ),
    (
        "neon.c",
        "#include <arm_neon.h>\nint32x4_t KERNEL(int32x4_t a) { return vaddq_s32(a, a); }\n",
    ),
    (
        "sha3.S",
        ".text\n.global KERNEL\nKERNEL:\n    eor3 v0.16b, v1.16b, v2.16b, v3.16b\n    ret\n",
    ),
];

/// Adds the plugin to a workspace.
pub(crate) fn add(copy: &Copy) {
    copy.plugin(PLUGIN, "[build-dependencies]\ncc = \"1\"\n");
    copy.write(&format!("plugins/{PLUGIN}/build.rs"), BUILD);
    for (name, text) in SOURCES {
        copy.write(&format!("plugins/{PLUGIN}/src/{name}"), text);
    }
    let plain = "#include <string.h>\nint plain(void) { return (int)strlen(\"plain\"); }\n";
    copy.write(&format!("plugins/{PLUGIN}/src/plain.c"), plain);
    let library = "use keyway_sdk::{Host, Plugin, PluginError, export_plugin};\n\n\
        unsafe extern \"C\" {\n    fn plain() -> i32;\n}\n\nstruct Own;\n\n\
        impl Plugin for Own {\n    fn create(_: &[u8], _: Host) -> Result<Self, PluginError> {\n        \
        assert_eq!(unsafe { plain() }, 5);\n        Ok(Self)\n    }\n}\n\nexport_plugin!(Own);\n";
    copy.write(&format!("plugins/{PLUGIN}/src/lib.rs"), library);
}
