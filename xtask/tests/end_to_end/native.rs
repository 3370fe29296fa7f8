//! Plugins whose build scripts need more than a C compiler: one uses bindgen, one CMake. They name the tools
//! and are built for Linux by zig and for Windows by MinGW; nothing is locked for that.

use std::fs;

use crate::workspace::{Copy, events};

const TARGETS: [&str; 2] = ["x86_64-pc-windows-gnu", "x86_64-unknown-linux-gnu"];

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

/// A workspace of the SDK and the two plugins.
fn workspace() -> Copy {
    let copy = Copy::of_the_sdk("native");
    for (name, dependency, tool) in [
        (
            "with-bindgen",
            "bindgen = { version = \"0.72\", default-features = false, features = [\"runtime\"] }",
            "libclang",
        ),
        ("with-cmake", "cmake = \"0.1\"", "cmake"),
    ] {
        let metadata = format!("[package.metadata.keyway]\ntools = [\"{tool}\"]\n");
        copy.plugin(name, &format!("[build-dependencies]\n{dependency}\n\n{metadata}"));
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
    let built = events(copy.xtask(&[
        "build-plugins",
        "--engine",
        "sandbox",
        "--target",
        TARGETS[0],
        "--target",
        TARGETS[1],
    ]));
    assert_eq!(built.iter().filter(|event| event["event"] == "artifact").count(), 4, "{built:#?}");
    for (plugin, answer) in [("with-bindgen", "5 of 24"), ("with-cmake", "532")] {
        let file = format!("lib{}.so", plugin.replace('-', "_"));
        let library = copy.path(&format!("dist/{}/{plugin}/{file}", TARGETS[1]));
        let library = library.to_str().expect("UTF-8");
        copy.xtask(&["gate", library]);
        let output = copy.command(&["run-plugin", library, "call", "hello"]).read();
        assert_eq!(output.expect("admitted and called"), answer, "{plugin}");
        let name = plugin.replace('-', "_");
        let manifest = format!("dist/{}/{plugin}/{name}.dll.manifest.json", TARGETS[0]);
        let manifest = copy.path(&manifest);
        let manifest = fs::read_to_string(manifest).expect("read");
        assert!(manifest.contains("\"mingw + cmake + libclang\""), "{manifest}");
    }
    // Without the tool the build fails, and the hint is the lines that bring it.
    let cargo = copy.path("plugins/with-cmake/Cargo.toml");
    let text = fs::read_to_string(&cargo).expect("read");
    fs::write(&cargo, text.replace("tools = [\"cmake\"]", "tools = []")).expect("write");
    let output = copy
        .command(&["build-plugins", "--engine", "sandbox", "--target", TARGETS[1]])
        .unchecked()
        .stderr_capture()
        .run()
        .expect("started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("the build script of `with-cmake` needs `cmake`"), "{stderr}");
    assert!(stderr.contains("\ntools = [\"cmake\", \"libclang\"]\n"), "{stderr}");
}
