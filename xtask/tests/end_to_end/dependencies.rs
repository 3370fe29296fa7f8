//! What crates ask the linker and other programs for: libraries of Windows that no file stands for, and
//! libraries that pkg-config would find.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use duct::cmd;
use keyway_manifest::Digest;

use crate::any_workspace::{CDYLIB, Ground, answer, built};
use crate::is_tested;
use crate::workspace::json;

/// A `build-plugins` in `folder`: its status, what it said, and its events.
fn build(folder: &Path, targets: &[&str]) -> (Option<i32>, String, Vec<serde_json::Value>) {
    let targets = targets.iter().flat_map(|target| ["--target", target]);
    let arguments = ["--json", "build-plugins", "--engine", "sandbox"].into_iter().chain(targets);
    let run = cmd(env!("CARGO_BIN_EXE_xtask"), arguments).dir(folder).stdin_null();
    let run = run.stdout_capture().stderr_capture().unchecked().run().expect("it starts");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    (run.status.code(), said, json(&run.stdout))
}

/// The import libraries of these are made by rustc as it links: by dlltool on windows-gnu, whose output
/// would depend on a random folder, by rustc itself on windows-gnullvm.
const WINDOWS: [&str; 4] = [
    "aarch64-pc-windows-gnullvm",
    "i686-pc-windows-gnu",
    "x86_64-pc-windows-gnu",
    "x86_64-pc-windows-gnullvm",
];

#[test]
fn raw_dylibs_are_the_same_in_every_folder() {
    let ground = Ground::new();
    let windows: Vec<_> = WINDOWS.into_iter().filter(|target| is_tested(target)).collect();
    let more = format!(
        "{CDYLIB}[dependencies]\nwindows-sys = {{ version = \"0.61\", features = \
         [\"Win32_Security_Cryptography\", \"Win32_System_SystemInformation\"] }}\n"
    );
    let code = "use windows_sys::Win32::Security::Cryptography::{BCRYPT_USE_SYSTEM_PREFERRED_RNG, BCryptGenRandom};\n\
         use windows_sys::Win32::System::SystemInformation::GetTickCount;\n\
         fn ticks() -> u32 {\n    let mut byte = 0;\n    let how = BCRYPT_USE_SYSTEM_PREFERRED_RNG;\n    \
         unsafe { BCryptGenRandom(std::ptr::null_mut(), &mut byte, 1, how) };\n    \
         unsafe { GetTickCount() }.wrapping_add(byte.into())\n}\n";
    let digests = ["one", "another folder/below"].map(|folder| {
        ground.package(
            folder,
            "uses-windows",
            "2021",
            &more,
            &format!("{code}{}", answer("ticks()")),
        );
        ground.run(folder, "cargo", &["generate-lockfile"]);
        let folder = ground.path.join(folder);
        let (status, said, events) = build(&folder, &windows);
        assert_eq!(status, Some(0), "{said}");
        assert_eq!(built(&events).len(), windows.len(), "{events:#?}");
        let library =
            |target: &&str| folder.join("dist").join(target).join("uses-windows/uses_windows.dll");
        let digest = |target| Digest::of(fs::read(library(&target)).expect("delivered"));
        windows.iter().map(|target| (*target, digest(target))).collect::<BTreeMap<_, _>>()
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_library_of_pkg_config_is_refused_with_a_way_out() {
    let ground = Ground::new();
    let more = format!("{CDYLIB}[build-dependencies]\npkg-config = \"0.3\"\n");
    let (name, build_script) =
        ("uses-system", "fn main() { pkg_config::probe_library(\"zlib\").unwrap(); }\n");
    ground.package(name, name, "2021", &more, &answer("1"));
    ground.write(&format!("{name}/build.rs"), build_script);
    ground.run(name, "cargo", &["generate-lockfile"]);
    for target in ["x86_64-pc-windows-gnu", "x86_64-unknown-linux-gnu"] {
        let (status, said, events) = build(&ground.path.join(name), &[target]);
        assert_eq!(status, Some(1), "{said}");
        assert_eq!(built(&events), Vec::<String>::new());
        let what = format!("this image has no libraries for {target} that pkg-config could find");
        assert!(said.contains(&what) && said.contains("hint: use the crate's feature"), "{said}");
    }
}

/// Plugins that are called like crates, one of which another plugin uses; a crate of git that reads a file
/// outside of its folder; C code that asks for the workspace's own flags; a build script that runs cargo;
/// and a member with crates that no plugin needs.
#[test]
fn names_flags_and_sources_are_those_of_the_workspace() {
    const TARGETS: [&str; 2] = ["aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"];
    let ground = Ground::new();
    ground.write("repo/Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\n");
    ground.package(
        "repo/crates/reads",
        "reads",
        "2021",
        "",
        "pub const TEXT: &str = include_str!(\"../../../text.txt\");\n",
    );
    ground.write("repo/text.txt", "from the repository");
    ground.run("repo", "git", &["init", "--quiet", "--initial-branch", "main"]);
    ground.run("repo", "git", &["add", "."]);
    let author = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
    ground.run("repo", "git", &[&author[..], &["commit", "--quiet", "-m", "x"]].concat());
    ground.write(
        "ws/Cargo.toml",
        "[workspace]\nmembers = [\"plugins/*\", \"tool\"]\nresolver = \"2\"\n",
    );
    ground.write(
        "ws/.cargo/config.toml",
        "[env]\nCFLAGS_x86_64_unknown_linux_gnu = \"-DFROM_WORKSPACE=1\"\n\
         \"CFLAGS_aarch64-unknown-linux-gnu\" = { value = \"-DFROM_WORKSPACE=1\", force = true }\n\
         CC = \"no-such-cc\"\nAR_x86_64_unknown_linux_gnu = { value = \"no-such-ar\", force = true }\n",
    );
    let more = format!("{CDYLIB}[build-dependencies]\ncc = \"1\"\n");
    let code = "extern \"C\" { fn from_c() -> u32; }\n";
    ground.package(
        "ws/plugins/hex",
        "hex",
        "2021",
        &more,
        &format!("{code}{}", answer("unsafe { from_c() }")),
    );
    ground.write(
        "ws/plugins/hex/c.c",
        "#ifndef FROM_WORKSPACE\n#error \"the workspace's flags were dropped\"\n#endif\n\
         unsigned from_c(void) { return FROM_WORKSPACE; }\n",
    );
    ground.write(
        "ws/plugins/hex/build.rs",
        "use std::{env, process::Command};\n\
         fn main() {\n    \
             let metadata = [\"metadata\", \"--format-version\", \"1\", \"--all-features\"];\n    \
             let run = Command::new(env::var(\"CARGO\").unwrap()).args(metadata).output().unwrap();\n    \
             assert!(run.status.success(), \"{}\", String::from_utf8_lossy(&run.stderr));\n    \
             cc::Build::new().file(\"c.c\").compile(\"from_c\");\n}\n",
    );
    let more = format!(
        "{CDYLIB}[dependencies]\nhex = \"0.4\"\nreads = {{ git = \"file://{}\" }}\n",
        ground.path.join("repo").display()
    );
    let code = answer("(hex::encode(\"x\").len() + reads::TEXT.len()) as u32");
    ground.package("ws/plugins/tar", "tar", "2021", &more, &code);
    ground.package(
        "ws/tool",
        "tool",
        "2021",
        "[dependencies]\ntar = { version = \"0.4\", default-features = false }\n",
        "",
    );
    ground.run("ws", "cargo", &["generate-lockfile"]);
    let (status, said, events) = build(&ground.path.join("ws"), &TARGETS);
    assert_eq!(status, Some(0), "{said}");
    let mut built = built(&events);
    built.sort();
    assert_eq!(built, ["hex", "hex", "tar", "tar"]);
    for variable in ["env.CC", "env.AR_x86_64_unknown_linux_gnu"] {
        assert!(events.iter().any(|event| event["setting"] == variable), "{events:#?}");
    }
}
