//! The contract from C: the header by itself, a plugin in C in a host in Rust, a host in C with a plugin
//! in Rust.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use keyway_abi::call::{CallContext, CallStatus, CancellationToken, Context};
use keyway_abi::interface::Interface;
use keyway_abi::stamp;
use keyway_host::{
    Expectation, Host, ImportPolicy, KnownInterface, LogLine, OtherInterfaces, Services,
    ToolchainPolicy,
};
use keyway_sdk::{Log, PluginError, interface};
use tempfile::TempDir;

#[path = "refusals/canary.rs"]
mod canary;

/// What the plugin in C offers.
#[interface(id = "test/Adder")]
pub trait Adder {
    /// A sum that fits.
    fn add(&mut self, left: u32, right: u32) -> Result<u32, PluginError>;
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn compile(compiler: &str, arguments: &[&str], file: &Path, out: &Path) {
    let output = Command::new(compiler)
        .args(arguments)
        .args(["-Wall", "-Wextra", "-Werror", "-I"])
        .arg(source("../abi/include"))
        .arg("-I")
        .arg(out.parent().expect("a folder"))
        .arg("-o")
        .args([out, file])
        .arg("-ldl")
        .output()
        .unwrap_or_else(|error| panic!("could not start `{compiler}`: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_header_is_c99_and_cpp17() {
    let folder = TempDir::new().expect("a folder");
    let text = "#include \"keyway.h\"\nint main(void) { return 0; }\n";
    for (compiler, standard, name) in
        [("cc", "-std=c99", "main.c"), ("c++", "-std=c++17", "main.cpp")]
    {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("it is written");
        compile(compiler, &[standard, "-pedantic"], &file, &folder.path().join("main"));
    }
}

/// A C string literal of a text.
fn literal(text: &str) -> String {
    let lines = text.lines().map(|line| format!("\"{line}\\n\""));
    lines.collect::<Vec<_>>().join(" ")
}

/// The plugin in C, with its manifest.
fn c_plugin(folder: &Path) -> PathBuf {
    let texts = format!(
        "#define TARGET \"{}\"\n#define ADDER_ID \"{}\"\n#define ADDER_DESCRIPTOR {}\n#define LOG_ID \"{}\"\n",
        stamp::TARGET,
        <dyn Adder>::ID,
        literal(<dyn Adder>::DESCRIPTOR),
        <dyn Log>::ID,
    );
    fs::write(folder.join("texts.h"), texts).expect("it is written");
    let library = folder.join("libc_plugin.so");
    let flags = ["-std=c99", "-shared", "-fPIC", "-fvisibility=hidden"];
    compile("cc", &flags, &source("tests/c/plugin.c"), &library);
    let manifest = canary::manifest(&fs::read(&library).expect("it"), "libc_plugin.so");
    fs::write(folder.join(manifest.file_name()), manifest.to_json()).expect("it is written");
    library
}

#[test]
fn a_plugin_in_c_is_loaded_and_called() {
    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let folder = TempDir::new().expect("a folder");
    let library = c_plugin(folder.path());
    let expectation = Expectation {
        toolchains: ToolchainPolicy::AnyWithMatchingAbi,
        imports: ImportPolicy::Any,
        interfaces: vec![KnownInterface::of::<dyn Adder>()],
        other_interfaces: OtherInterfaces::Refuse,
        ..Expectation::this_process()
    };
    let services = Services::builder(|line: &LogLine<'_>| {
        let mut lines = LINES.lock().expect("no test panics here");
        lines.push(format!("{}: {} {:?}", line.plugin, line.message, line.fields));
    });
    let host = Host::new(expectation, services.build()).expect("a host");
    let error = host.load(&library, b"anything").expect_err("it knows no configuration");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert_eq!(cause, "plugin error 3: no configuration is known");

    let mut plugin = host.load(&library, b"").expect("it loads");
    assert!(!plugin.stays_mapped());
    let instance = plugin.instance();
    assert_eq!(instance.invoke("reverse", b"abc", Context::NONE).as_deref(), Ok(&b"cba"[..]));
    assert_eq!(instance.invoke("reverse", b"", Context::NONE).as_deref(), Ok(&b""[..]));
    let token = CancellationToken::new();
    token.cancel();
    let call = CallContext::new().with_cancellation(&token);
    let error = instance.invoke("reverse", b"abc", Context::new(&call)).expect_err("given up");
    assert_eq!((error.status, &*error.message), (CallStatus::CANCELLED, "given up"));
    let mut adder = instance.interface::<dyn Adder>(Context::NONE).expect("the interface");
    assert_eq!(adder.add(40, 2), Ok(42));
    let error = adder.add(u32::MAX, 1).expect_err("it is too large");
    assert_eq!((error.code, &*error.message), (7, "too large"));
    // It ends before what a host may ask for beyond that.
    let error = instance.pause(Context::NONE).expect_err("it has no such function");
    assert_eq!(error.status, CallStatus::UNSUPPORTED);
    assert_eq!(plugin.unload(), Ok(()));
    let lines = LINES.lock().expect("no test panics here");
    let expected = ["init", "init", "destroy"].map(|line| format!("c-plugin: {line} [in=\"C\"]"));
    assert_eq!(*lines, expected);
}

#[test]
fn a_host_in_c_calls_a_plugin() {
    let folder = TempDir::new().expect("a folder");
    let host = folder.path().join("host");
    compile("cc", &["-std=c99"], &source("tests/c/host.c"), &host);
    let run = |library: &Path, method: &str| -> Output {
        let mut command = Command::new(&host);
        command.arg(library).args([method, "Keyway"]).output().expect("it starts")
    };
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let output = run(&canary::LIBRARY, "sing");
    assert_eq!(text(&output), "Keyway\n");
    assert!(output.status.success(), "{output:?}");
    let output = run(&canary::LIBRARY, "no such method");
    assert_eq!(text(&output), "invoke: status 4, code 0: there are not so many methods\n");
    let output = run(&c_plugin(folder.path()), "reverse");
    assert_eq!(text(&output), "yawyeK\n");
    assert!(output.status.success(), "{output:?}");
}
