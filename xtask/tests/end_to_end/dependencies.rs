//! What crates ask the linker and other programs for: libraries of Windows that no file stands for, and
//! libraries that pkg-config would find.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use duct::cmd;
use keyway_manifest::Digest;

use crate::any_workspace::{CDYLIB, Ground, answer, built};
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
        let (status, said, events) = build(&folder, &WINDOWS);
        assert_eq!(status, Some(0), "{said}");
        assert_eq!(built(&events).len(), WINDOWS.len(), "{events:#?}");
        let library =
            |target: &&str| folder.join("dist").join(target).join("uses-windows/uses_windows.dll");
        let digest = |target| Digest::of(fs::read(library(&target)).expect("delivered"));
        WINDOWS.map(|target| (target, digest(target))).into_iter().collect::<BTreeMap<_, _>>()
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
