//! Workspaces that were not made for this tool: one with every oddity that cargo allows, whose own
//! one-line xtask runs the library, and one of crates that many people use.

use std::fs;
use std::path::{Path, PathBuf};

use duct::cmd;
use serde_json::Value;
use tempfile::TempDir;

use crate::workspace::{Copy, events, json};

const LINUX: &str = "x86_64-unknown-linux-gnu";

const LINKER: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER";

/// A folder in which a test lays out what it needs.
pub(crate) struct Ground {
    _dir: TempDir,
    pub(crate) path: PathBuf,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().canonicalize().expect("it is there");
        Self { _dir: dir, path }
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().expect("has one")).expect("create");
        fs::write(path, text).expect("write");
    }

    /// A package at `path`; `more` follows `[package]`.
    pub(crate) fn package(&self, path: &str, name: &str, edition: &str, more: &str, code: &str) {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"{edition}\"\n{more}"
        );
        self.write(&format!("{path}/Cargo.toml"), &manifest);
        self.write(&format!("{path}/src/lib.rs"), code);
    }

    pub(crate) fn run(&self, folder: &str, program: &str, arguments: &[&str]) -> String {
        let run = cmd(program, arguments).dir(self.path.join(folder)).stdin_null();
        // The machine itself has no wrapper and no other linker either.
        let run = run.env("RUSTC_WRAPPER", "").env("RUSTFLAGS", "").env(LINKER, "cc");
        let run = run.env_remove("CARGO_TARGET_DIR").stderr_capture().stdout_capture();
        let output = run.unchecked().run().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

pub(crate) const CDYLIB: &str = "[lib]\ncrate-type = [\"cdylib\"]\n";

/// A function with C's calling convention that returns a number.
pub(crate) fn answer(value: &str) -> String {
    format!("#[no_mangle]\npub extern \"C\" fn answer() -> u32 {{ {value} }}\n")
}

fn keyway() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// A target folder that these workspaces share, so that each crate of the tool is compiled once.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("other-workspaces")
}

/// The way from one folder to another.
fn from_here(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Path::new(".."));
    up.chain(to.components().skip(shared).map(|part| Path::new(part.as_os_str()))).collect()
}

/// The tool is compiled as fast as can be; what it builds is compiled by `release` and its heirs.
const PROFILE: &str = "[profile.dev]\ndebug = false\n";

pub(crate) fn built(events: &[Value]) -> Vec<String> {
    let artifacts = events.iter().filter(|event| event["event"] == "artifact");
    artifacts.map(|event| event["plugin"].as_str().expect("a name").to_owned()).collect()
}

/// The odd workspace: its folder has a blank and a letter beyond ASCII, it is reached through a link,
/// and half of what it needs lies outside.
fn odd() -> Ground {
    let ground = Ground::new();
    let root = "somewhere/my wörkspace";
    ground.write(
        &format!("{root}/Cargo.toml"),
        &format!(
            "[workspace]\nmembers = [\"plugins/*\", \"linked\", \"xtask\"]\nexclude = [\"plugins/left-out\"]\n\
             default-members = [\"xtask\"]\nresolver = \"2\"\n\n\
             [workspace.dependencies]\nbeside = {{ path = \"../beside\" }}\n\n\
             [patch.crates-io]\nbase62 = {{ path = \"../patched\" }}\n\n\
             [profile.small]\ninherits = \"release\"\nopt-level = \"s\"\npanic = \"unwind\"\n\n\
             {PROFILE}"
        ),
    );
    ground.write(
        &format!("{root}/.cargo/config.toml"),
        &format!(
            "[alias]\nxtask = \"run --quiet --package odd-xtask --target-dir {} --\"\n\
         [build]\nrustflags = [\"--cfg\", \"configured\"]\nrustc-wrapper = \"no-such-wrapper\"\n\
         [env]\nFROM_CONFIGURATION = \"41\"\nHERE = {{ value = \"marker\", relative = true }}\n\
         [target.x86_64-unknown-linux-gnu]\nlinker = \"no-such-linker\"\n",
            target().display()
        ),
    );
    ground.write(&format!("{root}/rust-toolchain.toml"), "# Whatever is installed.\n[toolchain]\n");
    // Outside by a relative path, in a workspace of its own that it inherits from.
    ground.write(
        "somewhere/Cargo.toml",
        "[workspace]\nmembers = [\"beside\"]\nexclude = [\"my wörkspace\", \"patched\"]\n\
         [workspace.package]\nversion = \"7.0.0\"\nedition = \"2021\"\n",
    );
    ground.write(
        "somewhere/beside/Cargo.toml",
        "[package]\nname = \"beside\"\nversion.workspace = true\nedition.workspace = true\n",
    );
    ground.write("somewhere/beside/src/lib.rs", "pub const NUMBER: u32 = 1;\n");
    ground.package("somewhere/patched", "base62", "2018", "", "pub fn patched() -> u32 { 3 }\n");
    let manifest = ground.path.join("somewhere/patched/Cargo.toml");
    let text = fs::read_to_string(&manifest).expect("read").replace("0.1.0", "99.0.0");
    fs::write(manifest, text).expect("write");
    // Outside by an absolute path, and behind a link.
    ground.package("far/away", "far-away", "2015", "", "pub fn number() -> u32 { 5 }\n");
    ground.package("linked/here", "linked", "2021", CDYLIB, &answer("7"));
    // From git.
    ground.package("from-git", "from-git", "2021", "", "pub fn number() -> u32 { 11 }\n");
    ground.run("from-git", "git", &["init", "--quiet", "--initial-branch", "main"]);
    ground.run("from-git", "git", &["add", "."]);
    let commit =
        ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "first"];
    ground.run("from-git", "git", &commit);

    ground.package(
        &format!("{root}/plugins/old"),
        "old",
        "2015",
        &format!(
            "{CDYLIB}\n[dependencies]\nbeside = {{ path = \"../../../beside\" }}\nbase62 = \"99\"\n\
             far-away = {{ path = \"{}\" }}\n",
            ground.path.join("far/away").display()
        ),
        "extern crate beside;\nextern crate far_away;\nextern crate base62;\n\
         #[cfg(not(configured))]\ncompile_error!(\"build.rustflags were dropped\");\n\
         #[no_mangle]\npub extern \"C\" fn answer() -> u32 {\n    beside::NUMBER + far_away::number() + base62::patched()\n}\n",
    );
    ground.package(
        &format!("{root}/plugins/generated"),
        "generated",
        "2024",
        &format!(
            "build = \"build.rs\"\n{CDYLIB}\n[features]\ndefault = [\"wrong\"]\nwrong = []\nright = []\n\
             [dependencies]\nfrom-git = {{ git = \"file://{}\" }}\n\
             [package.metadata.keyway]\nfeatures = [\"right\"]\ndefault-features = false\n",
            ground.path.join("from-git").display()
        ),
        "include!(concat!(env!(\"OUT_DIR\"), \"/generated.rs\"));\n\
         #[cfg(any(feature = \"wrong\", not(feature = \"right\")))]\ncompile_error!(\"features were dropped\");\n\
         #[unsafe(no_mangle)]\npub extern \"C\" fn answer() -> u32 {\n    GENERATED + from_git::number()\n}\n",
    );
    ground.write(
        &format!("{root}/plugins/generated/build.rs"),
        "use std::{env, fs, path::Path, process::Command};\n\
         fn main() {\n    \
             let out = env::var(\"OUT_DIR\").unwrap();\n    \
             let number = env::var(\"FROM_CONFIGURATION\").unwrap();\n    \
             assert!(Path::new(&env::var(\"HERE\").unwrap()).starts_with(\"/work\"));\n    \
             let code = format!(\"const GENERATED: u32 = {number};\");\n    \
             fs::write(Path::new(&out).join(\"generated.rs\"), code).unwrap();\n    \
             assert!(fs::write(\"stray.rs\", \"\").is_err(), \"the sources are read-only\");\n    \
             let said = Command::new(\"sh\").args([\"-c\", \"echo ran\"]).output().unwrap();\n    \
             assert_eq!(said.stdout, b\"ran\\n\");\n}\n",
    );
    ground.package(
        &format!("{root}/plugins/left-out"),
        "left-out",
        "2021",
        CDYLIB,
        "compile_error!(\"left out\");\n",
    );
    #[cfg(unix)]
    std::os::unix::fs::symlink(
        ground.path.join("linked/here"),
        ground.path.join(root).join("linked"),
    )
    .expect("link");
    // The one-line xtask.
    ground.write(
        &format!("{root}/xtask/Cargo.toml"),
        &format!(
            "[package]\nname = \"odd-xtask\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
             [dependencies]\nkeyway-xtask = {{ path = \"{}\" }}\n",
            from_here(&ground.path.join(root).join("xtask"), &keyway().join("xtask")).display()
        ),
    );
    ground.write(
        &format!("{root}/xtask/src/main.rs"),
        "fn main() -> std::process::ExitCode { keyway_xtask::main() }\n",
    );
    #[cfg(unix)]
    std::os::unix::fs::symlink(root, ground.path.join("link")).expect("link");
    fs::copy(keyway().join("Cargo.lock"), ground.path.join(root).join("Cargo.lock")).expect("copy");
    ground.run(root, "cargo", &["update", "--workspace"]);
    ground
}

#[test]
fn an_odd_workspace_is_built_by_its_own_one_line_xtask() {
    let ground = odd();
    let xtask = |folder: &str, arguments: &[&str]| {
        let head = ["xtask", "--json", "build-plugins", "--engine", "sandbox", "--target", LINUX];
        ground.run(folder, "cargo", &[&head, arguments].concat())
    };
    // Through a link to the workspace, with a profile of its own.
    let dry = json(xtask("link", &["--dry-run"]).as_bytes());
    let notes: Vec<_> = dry.iter().filter(|event| event["event"] == "note").collect();
    let noted = |setting: &str| notes.iter().any(|note| note["setting"] == setting);
    assert!(noted("build.rustc-wrapper") && noted(&format!("target.{LINUX}.linker")), "{notes:#?}");
    let first = events(xtask("link", &["--profile", "small"]));
    assert_eq!(built(&first), ["generated", "linked", "old"], "{first:#?}");
    let libraries = ground.path.join("somewhere/my wörkspace/dist").join(LINUX);
    for library in ["generated/libgenerated.so", "linked/liblinked.so", "old/libold.so"] {
        let bytes = fs::read(libraries.join(library)).expect("delivered");
        let path = ground.path.to_str().expect("UTF-8").as_bytes();
        assert!(
            !bytes.windows(path.len()).any(|window| window == path),
            "{library} names a folder"
        );
    }
    let fresh = |events: &[Value]| -> Vec<bool> {
        let artifacts = events.iter().filter(|event| event["event"] == "artifact");
        artifacts.map(|event| event["fresh"] == true).collect()
    };
    assert_eq!(fresh(&events(xtask("link", &["--profile", "small"]))), [true; 3]);
    // A change outside is a change.
    ground.write("somewhere/beside/src/lib.rs", "pub const NUMBER: u32 = 2;\n");
    let second = events(xtask("somewhere/my wörkspace/plugins/old", &["--profile", "small"]));
    assert_eq!(fresh(&second).iter().filter(|fresh| **fresh).count(), 2, "{second:#?}");
}

#[test]
fn a_workspace_that_has_the_library_from_git_needs_nothing_else() {
    let ground = Ground::new();
    let copy = Copy::new("keyway");
    let repository = copy.path("");
    let git = |arguments: &[&str]| {
        cmd("git", arguments).dir(&repository).stdout_null().run().expect("git works");
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&[
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.org",
        "commit",
        "--quiet",
        "-m",
        "all of it",
    ]);
    let from_git = format!("{{ git = \"file://{}\" }}", repository.display());
    ground.write(
        "Cargo.toml",
        &format!("[workspace]\nmembers = [\"hello\", \"xtask\"]\nresolver = \"2\"\n{PROFILE}"),
    );
    let plugin = "use keyway_sdk::{Context, Host, Method, Plugin, PluginError, export_plugin};\n\
        struct Hello;\nimpl Plugin for Hello {\n    \
        const METHODS: &'static [Method<Self>] = &[(\"hello\", Self::hello)];\n    \
        fn create(_: &[u8], _: Host) -> Result<Self, PluginError> { Ok(Self) }\n}\n\
        impl Hello {\n    fn hello(&mut self, name: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {\n        \
        Ok([b\"Hello, \", name].concat())\n    }\n}\nexport_plugin!(Hello);\n";
    // Its library has another name than its package.
    let more = format!("{CDYLIB}name = \"greeting\"\n[dependencies]\nkeyway-sdk = {from_git}\n");
    ground.package("hello", "hello", "2024", &more, plugin);
    let main = "fn main() -> std::process::ExitCode { keyway_xtask::main() }\n";
    let manifest = format!(
        "[package]\nname = \"git-xtask\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\nkeyway-xtask = {from_git}\n"
    );
    ground.write("xtask/Cargo.toml", &manifest);
    ground.write("xtask/src/main.rs", main);
    fs::copy(keyway().join("Cargo.lock"), ground.path.join("Cargo.lock")).expect("copy");
    ground.run("", "cargo", &["update", "--workspace"]);
    let target = target().display().to_string();
    let xtask = |arguments: &[&str]| {
        let head =
            ["run", "--quiet", "--package", "git-xtask", "--target-dir", &target, "--", "--json"];
        ground.run("", "cargo", &[&head, arguments].concat())
    };
    let events = events(xtask(&["build-plugins", "--engine", "sandbox", "--target", LINUX]));
    assert_eq!(built(&events), ["hello"]);
    let library = format!("dist/{LINUX}/hello/libgreeting.so");
    // The toolchain is the one that the library's own locks name, so this host trusts it.
    assert!(xtask(&["run-plugin", &library, "hello", "git"]).contains("Hello, git"));
}

#[test]
fn a_checkout_that_cant_be_written_to_delivers_elsewhere() {
    let ground = Ground::new();
    ground.package("source", "alone", "2021", CDYLIB, &answer("1"));
    ground.run("source", "cargo", &["generate-lockfile"]);
    let elsewhere = |name: &str| ground.path.join(name).display().to_string();
    let bind = ground.path.join("source");
    // A plain user could take away write bits; root needs a mount to be kept out.
    let script = format!(
        "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && cd \"$1\" && ! touch x 2>/dev/null && \
         exec \"$2\" --json build-plugins --engine sandbox --target {LINUX}"
    );
    let run = cmd!(
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        &bind,
        env!("CARGO_BIN_EXE_xtask")
    )
    .env("CARGO_TARGET_DIR", elsewhere("state"))
    .env("KEYWAY_DIST", elsewhere("delivered"))
    .stdin_null()
    .stdout_capture()
    .stderr_capture()
    .unchecked()
    .run()
    .expect("it starts");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    assert_eq!(built(&events(run.stdout)), ["alone"]);
    assert!(ground.path.join("delivered").join(LINUX).join("alone/libalone.so").is_file());
    let entries = fs::read_dir(&bind).expect("list").count();
    assert_eq!(entries, 3, "Cargo.toml, Cargo.lock and src, and nothing of ours");
}

/// What each plugin of the workspace of real crates depends on, and its code.
const REAL: [(&str, &str, &str); 6] = [
    (
        "uses-ring",
        "ring = \"0.17\"",
        "ring::digest::digest(&ring::digest::SHA256, b\"abc\").as_ref()[0].into()",
    ),
    (
        "uses-sqlite",
        "libsqlite3-sys = { version = \"0.35\", features = [\"bundled\"] }",
        "unsafe { libsqlite3_sys::sqlite3_libversion_number() as u32 }",
    ),
    (
        "uses-cxx",
        "cxx = \"1\"\n[build-dependencies]\ncxx-build = \"1\"",
        "bridge::add_in_cpp(20, 22)",
    ),
    (
        "uses-windows",
        "[target.'cfg(windows)'.dependencies]\nwindows-sys = { version = \"0.61\", features = [\"Win32_System_SystemInformation\"] }",
        "ticks()",
    ),
    (
        "uses-serde",
        "serde = { version = \"1\", features = [\"derive\"] }\nserde_json = \"1\"",
        "serde_json::from_str::<Point>(\"{\\\"x\\\":3,\\\"y\\\":4}\").map_or(0, |p| p.x + p.y)",
    ),
    (
        "uses-tokio",
        "tokio = { version = \"1\", features = [\"rt-multi-thread\", \"net\", \"time\"] }",
        "tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_or(0, |rt| rt.block_on(async { 9 }))",
    ),
];

#[test]
fn crates_that_many_people_use_are_built_for_linux_and_windows() {
    let ground = Ground::new();
    ground.write("Cargo.toml", "[workspace]\nmembers = [\"uses-*\"]\nresolver = \"2\"\n");
    for (name, dependencies, code) in REAL {
        let more = format!("{CDYLIB}\n[dependencies]\n{dependencies}\n");
        let extra = match name {
            "uses-cxx" => {
                "#[cxx::bridge]\nmod bridge {\n    unsafe extern \"C++\" {\n        include!(\"uses-cxx/add.h\");\n        \
                 fn add_in_cpp(a: u32, b: u32) -> u32;\n    }\n}\n"
            }
            "uses-windows" => {
                "#[cfg(windows)]\nfn ticks() -> u32 { unsafe { windows_sys::Win32::System::SystemInformation::GetTickCount() } }\n\
                 #[cfg(not(windows))]\nfn ticks() -> u32 { 1 }\n"
            }
            "uses-serde" => "#[derive(serde::Deserialize)]\nstruct Point { x: u32, y: u32 }\n",
            _ => "",
        };
        ground.package(name, name, "2021", &more, &format!("{extra}{}", answer(code)));
    }
    ground.write(
        "uses-cxx/build.rs",
        "fn main() { cxx_build::bridge(\"src/lib.rs\").file(\"add.cpp\").std(\"c++17\").compile(\"add\"); }\n",
    );
    ground.write(
        "uses-cxx/add.h",
        "#pragma once\n#include <cstdint>\nuint32_t add_in_cpp(uint32_t a, uint32_t b);\n",
    );
    ground.write(
        "uses-cxx/add.cpp",
        "#include \"uses-cxx/add.h\"\n#include <vector>\n#include <numeric>\n\
         uint32_t add_in_cpp(uint32_t a, uint32_t b) {\n  std::vector<uint32_t> all{a, b};\n  \
         return std::accumulate(all.begin(), all.end(), 0u);\n}\n",
    );
    ground.run("", "cargo", &["generate-lockfile"]);
    let build = |targets: &[&str]| {
        let run = cmd(
            env!("CARGO_BIN_EXE_xtask"),
            [&["--json", "build-plugins", "--engine", "sandbox"], targets].concat(),
        );
        let run =
            run.dir(&ground.path).stdin_null().stdout_capture().stderr_capture().unchecked().run();
        let run = run.expect("it starts");
        (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned(), json(&run.stdout))
    };
    let (status, said, events) = build(&["--target", LINUX]);
    assert_eq!(status, Some(0), "{said}");
    let names: Vec<_> = REAL.iter().map(|(name, _, _)| *name).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(built(&events), sorted, "{said}");
    let (_, said, events) = build(&["--target", "x86_64-pc-windows-gnu"]);
    let on_windows = built(&events);
    for name in sorted.iter().filter(|name| **name != "uses-cxx") {
        assert!(on_windows.iter().any(|built| built == name), "{name} for Windows: {said}");
    }
}
