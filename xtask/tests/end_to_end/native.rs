//! Plugins whose build scripts need more than a C compiler: one uses bindgen, one CMake. The image has
//! the Debian packages for both, and is locked here.

use std::fs;

use crate::workspace::{Copy, events};

const LINUX: &str = "x86_64-unknown-linux-gnu";

/// The image below with libclang and CMake, and the variables that their users look for.
const RECIPE: &str = r#"summary = "base with libclang and CMake"
suite = "trixie"
architecture = "amd64"
from = "base"
packages = ["cmake", "libclang-common-19-dev", "libclang1-19", "ninja-build"]
without = [{ package = "procps", why = "for people at a terminal" }]
drop = [
    "usr/bin/ccmake",
    "usr/bin/cpack",
    "usr/bin/ctest",
    "usr/share/bash-completion",
    "usr/share/cmake-*/Help",
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
]
keep = ["usr/share/doc/*/copyright"]

[env]
CMAKE_GENERATOR = "Ninja"
LIBCLANG_PATH = "/usr/lib/llvm-19/lib"
# The headers that zig compiles against, and the floor that it links for.
BINDGEN_EXTRA_CLANG_ARGS_x86_64_unknown_linux_gnu = """
-D__GLIBC_MINOR__=17 -isystem /usr/lib/zig/lib/libc/include/x86-linux-gnu \
-isystem /usr/lib/zig/lib/libc/include/generic-glibc \
-isystem /usr/lib/zig/lib/libc/include/x86-linux-any \
-isystem /usr/lib/zig/lib/libc/include/any-linux-any"""

[[toolchain]]
target = "x86_64-unknown-linux-gnu"
crt = "glibc-2.17"
linker = { name = "zig", command = ["zig", "version"] }
"#;

const PLUGIN: &str = r#"
use keyway_sdk::{Context, Host, Method, Plugin, PluginError, export_plugin};

struct Own;

impl Plugin for Own {
    const METHODS: &'static [Method<Self>] = &[("call", Self::call)];

    fn create(_config: &[u8], _host: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Own {
    fn call(&mut self, input: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        Ok(answer(input).into_bytes())
    }
}

export_plugin!(Own);
"#;

/// The files of the two plugins, but for the part above.
const FILES: [(&str, &str); 7] = [
    (
        "with-bindgen/build.rs",
        r#"fn main() {
    let builder = bindgen::Builder::default().header("src/header.h").allowlist_type("measure");
    let bindings = builder.allowlist_function("strlen").generate().unwrap();
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap());
    bindings.write_to_file(out.join("bindings.rs")).unwrap();
}
"#,
    ),
    (
        "with-bindgen/src/header.h",
        "#include <stdint.h>\n#include <string.h>\n\nstruct measure {\n    uint64_t length;\n    char name[16];\n};\n",
    ),
    (
        "with-bindgen/src/lib.rs",
        r#"#[allow(warnings)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

fn answer(input: &[u8]) -> String {
    let text = std::ffi::CString::new(input).unwrap_or_default();
    let length = unsafe { bindings::strlen(text.as_ptr()) };
    let measure = bindings::measure { length: length as u64, name: [0; 16] };
    format!("{} of {}", measure.length, size_of::<bindings::measure>())
}
"#,
    ),
    (
        "with-cmake/build.rs",
        r#"fn main() {
    let built = cmake::build("c");
    println!("cargo::rustc-link-search=native={}/lib", built.display());
    println!("cargo::rustc-link-lib=static=sum");
}
"#,
    ),
    (
        "with-cmake/c/CMakeLists.txt",
        "cmake_minimum_required(VERSION 3.20)\nproject(sum C)\nadd_library(sum STATIC sum.c)\n\
         install(TARGETS sum ARCHIVE DESTINATION lib)\n",
    ),
    (
        "with-cmake/c/sum.c",
        "#include <stddef.h>\n#include <stdint.h>\n\nuint32_t sum(const unsigned char *bytes, size_t length) {\n    \
         uint32_t total = 0;\n    for (size_t at = 0; at < length; at++) total += bytes[at];\n    return total;\n}\n",
    ),
    (
        "with-cmake/src/lib.rs",
        r#"unsafe extern "C" {
    fn sum(bytes: *const u8, length: usize) -> u32;
}

fn answer(input: &[u8]) -> String {
    unsafe { sum(input.as_ptr(), input.len()) }.to_string()
}
"#,
    ),
];

/// A workspace of the SDK and the two plugins, of which the Linux target is built in `native`.
fn workspace() -> Copy {
    let copy = Copy::of_the_sdk("native");
    let targets = fs::read_to_string(copy.path("targets.toml")).expect("read");
    let default = targets.lines().position(|line| line.starts_with("default = ")).expect("default");
    let targets: Vec<&str> = targets.lines().skip(default + 1).collect();
    // The list may go on over several lines.
    let from = targets.iter().position(|line| line.starts_with("[target.")).expect("a target");
    let targets = targets[from..].join("\n").replacen("image = \"base\"", "image = \"native\"", 1);
    copy.write("targets.toml", &format!("default = [\"{LINUX}\"]\n\n{targets}\n"));
    copy.write("docker/native.toml", RECIPE);
    for (name, dependency) in [
        (
            "with-bindgen",
            "bindgen = { version = \"0.72\", default-features = false, features = [\"runtime\"] }",
        ),
        ("with-cmake", "cmake = \"0.1\""),
    ] {
        copy.plugin(name, &format!("[build-dependencies]\n{dependency}\n"));
    }
    for (path, text) in FILES {
        let more = if path.ends_with("lib.rs") { PLUGIN } else { "" };
        copy.write(&format!("plugins/{path}"), &format!("{text}{more}"));
    }
    copy
}

#[test]
fn bindgen_and_cmake_find_what_they_need() {
    let copy = workspace();
    copy.resolve();
    copy.xtask(&["images", "lock", "native", "--engine", "sandbox"]);
    let built = events(copy.xtask(&["build-plugins", "--engine", "sandbox"]));
    assert_eq!(built.iter().filter(|event| event["event"] == "artifact").count(), 2, "{built:#?}");
    for (plugin, answer) in [("with-bindgen", "5 of 24"), ("with-cmake", "532")] {
        let file = format!("lib{}.so", plugin.replace('-', "_"));
        let library = copy.path(&format!("dist/{LINUX}/{plugin}/{file}"));
        let library = library.to_str().expect("UTF-8");
        copy.xtask(&["gate", library]);
        let output = copy.command(&["run-plugin", library, "call", "hello"]).read();
        assert_eq!(output.expect("admitted and called"), answer, "{plugin}");
    }
}
