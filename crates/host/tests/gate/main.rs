//! Refusals that depend on what a host expects, and the text of all of them.
//!
//! What depends on the file alone is in `refusals/`, with the program and its canary.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyway_host::policy::HOST_TOOLCHAIN;
use keyway_host::{
    Code, Expectation, ExportPolicy, Gate, ImportPolicy, MAX_LIBRARY_SIZE, PermissionPolicy,
    StampPolicy, ToolchainPolicy, Toolchains, Verdict,
};
use keyway_manifest::{Libc, LibcFamily, LibcVersion, Manifest, Triple};
use snapbox::{assert_data_eq, str};
use tempfile::TempDir;

#[path = "../refusals/c_library.rs"]
mod c_library;
#[path = "../refusals/canary.rs"]
mod canary;
mod hosts;
mod people;

/// A copy of the canary, with its manifest, in a folder of its own.
struct Plugin {
    folder: TempDir,
    library: PathBuf,
    manifest: Manifest,
}

impl Plugin {
    fn new() -> Self {
        let file = canary::LIBRARY.file_name().and_then(|name| name.to_str()).expect("a name");
        let bytes = fs::read(&*canary::LIBRARY).expect("the library");
        Self::of(&bytes, canary::manifest(&bytes, file))
    }

    fn of(bytes: &[u8], manifest: Manifest) -> Self {
        let folder = TempDir::new().expect("a folder");
        let library = folder.path().join(manifest.artifact.file.as_str());
        fs::write(&library, bytes).expect("the library is written");
        let plugin = Self { folder, library, manifest };
        plugin.describe();
        plugin
    }

    fn describe(&self) {
        let path = self.folder.path().join(self.manifest.file_name());
        fs::write(path, self.manifest.to_json()).expect("the manifest is written");
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.library).expect("the library")
    }
}

/// What admits the canary as this machine's cargo built it.
fn expectation() -> Expectation {
    let mut expectation = Expectation {
        toolchains: ToolchainPolicy::Trusted(Toolchains::from([canary::toolchain().hash()])),
        ..Expectation::this_process()
    };
    if let ImportPolicy::Listed(names) = &mut expectation.imports {
        names.insert("libgcc_s.so.1".to_owned());
    }
    expectation
}

/// Everything that is refused, a line each, without the folder's name.
fn check(path: &Path, expectation: Expectation) -> String {
    let Err(rejection) = Gate::new(expectation).check(path) else {
        return String::new();
    };
    let lines: Vec<_> = rejection.refusals.iter().map(ToString::to_string).collect();
    let folder = path.parent().unwrap_or(path).display().to_string();
    lines.join("\n").replace(&folder, "[FOLDER]")
}

fn codes(path: &Path, expectation: Expectation) -> Vec<Code> {
    let outcome = Gate::new(expectation).check(path);
    let refusals = outcome.err().map(|rejection| rejection.refusals).unwrap_or_default();
    refusals.iter().map(|refusal| refusal.code).collect()
}

#[test]
fn admits_what_it_expects() {
    let plugin = Plugin::new();
    let admission = Gate::new(expectation()).check(&plugin.library).expect("an admission");
    assert_eq!(admission.bytes(), plugin.bytes());
    assert_eq!(*admission.manifest(), plugin.manifest);
    assert_eq!(admission.stamp().expect("a stamp").name, "canary");
    assert_eq!(admission.path(), plugin.library);
}

#[test]
fn targets() {
    let plugin = Plugin::new();
    let on =
        |target: &str| Expectation { target: target.parse().expect("a triple"), ..expectation() };
    assert_data_eq!(
        check(&plugin.library, on("x86_64-pc-windows-gnu")),
        str![[r#"
KW303 header: it has another system's object format: found `elf`, expected `pe`
KW321 target: it was built for another target: found `x86_64-unknown-linux-gnu`, expected `x86_64-pc-windows-gnu`
"#]]
    );
    assert_data_eq!(
        check(&plugin.library, on("aarch64-unknown-linux-gnu")),
        str![[r#"
KW304 header: it is for another processor: found `x86_64`, expected `aarch64`
KW321 target: it was built for another target: found `x86_64-unknown-linux-gnu`, expected `aarch64-unknown-linux-gnu`
"#]]
    );
    assert_data_eq!(
        check(&plugin.library, on("x86_64-unknown-linux-musl")),
        str![
            "KW321 target: it was built for another target: found `x86_64-unknown-linux-gnu`, expected `x86_64-unknown-linux-musl`"
        ]
    );
    let mut bytes = plugin.bytes();
    bytes[7] = 9; // EI_OSABI: FreeBSD
    fs::write(&plugin.library, bytes).expect("the library is written");
    assert_data_eq!(
        check(&plugin.library, expectation()),
        str!["KW306 header: it is for another operating system: found `freebsd`, expected `linux`"]
    );
}

#[test]
fn c_libraries() {
    let plugin = Plugin::new();
    let with = |family, floor| Expectation { libc: Some(Libc { family, floor }), ..expectation() };
    let old = Some(LibcVersion::new(2, 2));
    assert_data_eq!(
        check(&plugin.library, with(LibcFamily::Glibc, old)),
        str![
            "KW602 libc: it needs a newer C library: found `glibc [..]` or newer for `[..]@GLIBC_[..]`[..], expected at most `2.2`, which is here"
        ]
    );
    assert_data_eq!(
        check(&plugin.library, with(LibcFamily::Musl, None)),
        str!["KW601 libc: it needs another C library: found `glibc`, expected `musl`"]
    );
    let unknown = Expectation { libc: None, ..expectation() };
    assert_eq!(check(&plugin.library, unknown), "");
}

#[test]
fn finds_the_c_library_of_this_process() {
    let libc = keyway_host::libc::this_process().expect("a C library");
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().expect("getconf");
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert_eq!(format!("{} {}", libc.family, libc.floor.expect("a version")), version);
}

/// By what its compiler built it for; the end-to-end tests ask it where no program is there to be run.
#[test]
fn knows_its_own_target() {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc");
    let told = String::from_utf8_lossy(&output.stdout);
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    assert_eq!(Expectation::this_process().target.as_str(), host.expect("a host"));
}

#[test]
fn toolchains() {
    let plugin = Plugin::new();
    let with = |toolchains| Expectation { toolchains, ..expectation() };
    let any = with(ToolchainPolicy::AnyWithMatchingAbi);
    assert_eq!(check(&plugin.library, any), "");
    assert_eq!(HOST_TOOLCHAIN, None, "this test was built by cargo alone");
    assert_data_eq!(
        check(&plugin.library, with(ToolchainPolicy::SameAsHost)),
        str![
            "KW503 toolchain: it was not built by the host's toolchain: found toolchain `[..]` (rustc 0.0.0, LLVM 0, cc 0, the machine's own), expected the host's own, but the host was built outside of any image"
        ]
    );
    let list = format!("# comment\n\n{} x86_64-unknown-linux-gnu\n", canary::toolchain().hash());
    let target: Triple = "x86_64-unknown-linux-gnu".parse().expect("a triple");
    let trusted = ToolchainPolicy::trusted(&list, &target).expect("a list");
    assert_eq!(check(&plugin.library, with(trusted)), "");
    let other = ToolchainPolicy::trusted(&list, &"a-b".parse().expect("a triple"));
    assert_eq!(other, Ok(ToolchainPolicy::Trusted(Toolchains::default())));
    let retired = |day: &str| {
        let list = format!("{} retired {day}: its linker drops relocations\n", list.trim());
        with(ToolchainPolicy::trusted(&list, &target).expect("a list"))
    };
    assert_eq!(check(&plugin.library, retired("9999-12-31")), "");
    assert_data_eq!(
        check(&plugin.library, retired("2026-01-31")),
        str![
            "KW504 toolchain: its toolchain is retired: found toolchain `[..]`, retired 2026-01-31, expected one that is not: its linker drops relocations"
        ]
    );
    let error = ToolchainPolicy::trusted("\nabc x86_64-unknown-linux-gnu", &target);
    assert_data_eq!(
        error.expect_err("no hash").to_string(),
        str![
            "line 2 of the list of toolchains is not `HASH TARGET` or `HASH TARGET retired DAY: REASON`: `abc x86_64-unknown-linux-gnu`"
        ]
    );
}

#[test]
fn reads_the_list_that_is_built_in() {
    for target in ["x86_64-unknown-linux-gnu", "x86_64-pc-windows-gnu"] {
        let target: Triple = target.parse().expect("a triple");
        assert!(matches!(ToolchainPolicy::released(&target), ToolchainPolicy::Trusted(_)));
    }
}

#[test]
fn imports() {
    let plugin = Plugin::new();
    let with = |imports| Expectation { imports, ..expectation() };
    assert_eq!(check(&plugin.library, with(ImportPolicy::Any)), "");
    let usual = ImportPolicy::usual(&expectation().target);
    assert_data_eq!(
        check(&plugin.library, with(usual)),
        str![
            "KW617 imports: it needs a library of the compiler that built it: found `libgcc_s.so.1`, expected it linked statically"
        ]
    );
}

#[test]
fn shows_no_more_than_the_contract_needs() {
    let plugin = Plugin::new();
    let exports = ExportPolicy::Contract(BTreeSet::new());
    assert_eq!(check(&plugin.library, Expectation { exports, ..expectation() }), "");
}

#[test]
fn exports_that_a_linker_makes() {
    let contract = ExportPolicy::Contract(BTreeSet::new());
    for good in ["keyway_plugin_v1", "__start_linkme_COMMANDS", "__stop_linkme_COMMANDS"] {
        assert!(contract.allows(good), "{good}");
    }
    for bad in ["__start_", "__start", "__stop_", "start_a", "___start_a", "_start"] {
        assert!(!contract.allows(bad), "{bad}");
    }
}

#[test]
fn import_patterns() {
    let names = ["libc.so.6", "ld-linux*.so.*", "api-ms-win-core-*.dll"];
    let list = ImportPolicy::Listed(names.iter().map(|&name| name.to_owned()).collect());
    for good in ["libc.so.6", "ld-linux-x86-64.so.2", "API-MS-Win-Core-Synch-l1-2-0.DLL"] {
        assert!(list.allows(good), "{good}");
    }
    for bad in ["libc.so.60", "libc.so", "ld-linux", "ld-linux.so", "xld-linux.so.2", "dll", ""] {
        assert!(!list.allows(bad), "{bad}");
    }
}

#[test]
fn sizes() {
    let plugin = Plugin::new();
    let sparse = fs::File::create(&plugin.library).expect("the library");
    sparse.set_len(MAX_LIBRARY_SIZE + 1).expect("a sparse file");
    assert_data_eq!(
        check(&plugin.library, expectation()),
        str![
            "KW104 file: the file is larger than the gate reads: found `[FOLDER]/libcanary.so` with 536870913 bytes, expected at most 536870912 bytes"
        ]
    );
}

#[test]
fn a_large_manifest() {
    let plugin = Plugin::new();
    let path = plugin.folder.path().join(plugin.manifest.file_name());
    fs::write(path, vec![b' '; Manifest::MAX_SIZE as usize + 1]).expect("it is written");
    assert_data_eq!(
        check(&plugin.library, expectation()),
        str![
            "KW104 file: the file is larger than the gate reads: found `[FOLDER]/libcanary.so.manifest.json` with 1048577 bytes, expected at most 1048576 bytes"
        ]
    );
}

/// `[lib] name` may differ from the package's: the manifest is found by the library's file name alone.
#[test]
fn a_library_with_another_name_than_its_plugin() {
    let bytes = fs::read(&*canary::LIBRARY).expect("the library");
    let plugin = Plugin::of(&bytes, canary::manifest(&bytes, "libbird-3.so"));
    assert_eq!(plugin.manifest.file_name(), "libbird-3.so.manifest.json");
    assert_eq!(codes(&plugin.library, expectation()), []);
    // A manifest under any other name is none of this library's.
    let named_by_plugin = plugin.folder.path().join("canary.manifest.json");
    fs::rename(plugin.folder.path().join(plugin.manifest.file_name()), named_by_plugin)
        .expect("renamed");
    assert_data_eq!(
        check(&plugin.library, expectation()),
        str![
            "KW201 manifest: there is no manifest beside it: found no manifest in `[FOLDER]`, expected `libbird-3.so.manifest.json`"
        ]
    );
}

/// Any number of plugins may lie in one folder, each with its manifest.
#[test]
fn a_flat_folder() {
    let one = Plugin::new();
    let other = Plugin::of(&one.bytes(), canary::manifest(&one.bytes(), "libbird-3.so"));
    for file in ["libbird-3.so", "libbird-3.so.manifest.json"] {
        fs::copy(other.folder.path().join(file), one.folder.path().join(file)).expect("copied");
    }
    for file in ["libcanary.so", "libbird-3.so"] {
        assert_eq!(codes(&one.folder.path().join(file), expectation()), [], "{file}");
    }
}

/// All that is wrong, in the gate's order.
#[test]
fn tells_everything_at_once() {
    let mut plugin = Plugin::new();
    plugin.manifest.plugin.version = "9.9.9".to_owned();
    plugin.manifest.artifact.size += 1;
    plugin.describe();
    let expectation = Expectation {
        imports: ImportPolicy::Listed(BTreeSet::new()),
        toolchains: ToolchainPolicy::Trusted(Toolchains::default()),
        ..expectation()
    };
    let codes = codes(&plugin.library, expectation);
    assert_eq!(
        codes[..4],
        [Code::SizeDiffers, Code::StampDiffers, Code::Untrusted, Code::ForbiddenImport]
    );
    assert!(codes.is_sorted_by_key(|code| code.check()));
}

#[test]
fn a_library_without_a_stamp() {
    let bytes = c_library::build("int answer(void) { return 42; }", &[]);
    let mut manifest = canary::manifest(&fs::read(&*canary::LIBRARY).expect("it"), "libcanary.so");
    let facts = keyway_inspect::inspect(&bytes).expect("a library").facts;
    manifest.stamp = keyway_manifest::StampFormat::None;
    manifest.abi = None;
    manifest.artifact.size = bytes.len() as u64;
    manifest.artifact.sha256 = keyway_manifest::Digest::of(&bytes);
    (manifest.libc, manifest.imports, manifest.exports) =
        (facts.libc, facts.imports, facts.exports);
    let plugin = Plugin::of(&bytes, manifest);
    assert_data_eq!(
        check(&plugin.library, expectation()),
        str!["KW401 stamp: the library has no stamp: found no stamp, expected a section `.keyway`"]
    );
    let optional = Expectation { stamp: StampPolicy::Optional, ..expectation() };
    let admission = Gate::new(optional).check(&plugin.library).expect("an admission");
    assert_eq!(admission.stamp(), None);
}

#[cfg(unix)]
#[test]
fn owners() {
    use std::os::unix::fs::{PermissionsExt, chown};

    if !rustix::process::geteuid().is_root() {
        // Only root can give a file away. The check itself is the same for everybody.
        println!("skipped: not root");
        return;
    }
    let plugin = Plugin::new();
    chown(&plugin.library, Some(12_345), None).expect("chown");
    assert_data_eq!(
        check(&plugin.library, expectation()),
        str![
            "KW111 permissions: it belongs to somebody else: found `[FOLDER]/libcanary.so` of user 12345, expected user 0 or root"
        ]
    );
    let unchecked = Expectation { permissions: PermissionPolicy::Unchecked, ..expectation() };
    assert_eq!(check(&plugin.library, unchecked), "");
    chown(&plugin.library, Some(0), None).expect("chown");
    chown(plugin.folder.path(), Some(12_345), None).expect("chown");
    assert_data_eq!(
        check(&plugin.library, expectation()),
        str![
            "KW113 permissions: a folder above it belongs to somebody else: found `[FOLDER]` of user 12345, expected user 0 or root"
        ]
    );
    chown(plugin.folder.path(), Some(0), None).expect("chown");
    // Sticky folders are fine, whoever writes to them.
    fs::set_permissions(plugin.folder.path(), PermissionsExt::from_mode(0o1777)).expect("chmod");
    assert_eq!(check(&plugin.library, expectation()), "");
}

#[test]
fn verdicts_are_one_json_object() {
    let path = Path::new("/no/such/plugin.so");
    let outcome = Gate::new(expectation()).check(path);
    let verdict = serde_json::to_value(Verdict::new(path, &outcome)).expect("JSON");
    assert_data_eq!(
        serde_json::to_string_pretty(&verdict).expect("JSON"),
        str![[r#"
{
  "admitted": false,
  "event": "verdict",
  "path": "/no/such/plugin.so",
  "refusals": [
    {
      "check": "file",
      "code": "KW101",
      "expected": "a file",
      "found": "`/no/such/plugin.so`: No such file or directory (os error 2)",
      "remedy": "check the path; `cargo xtask build-plugins` writes to `dist/`"
    }
  ],
  "warnings": []
}
"#]]
    );
    let rejection = outcome.expect_err("refused");
    assert_data_eq!(
        rejection.to_string(),
        str![[r#"
`/no/such/plugin.so` is refused
  KW101 file: there is no such file: found `/no/such/plugin.so`: No such file or directory (os error 2), expected a file
    remedy: check the path; `cargo xtask build-plugins` writes to `dist/`
"#]]
    );
}

#[test]
fn codes_explain_themselves() {
    assert!(Code::ALL.is_sorted(), "in order, none twice");
    for &code in Code::ALL {
        assert_eq!(code.to_string().parse(), Ok(code));
        assert_eq!(code.to_string().to_lowercase().parse(), Ok(code));
        assert_eq!(code.number().to_string().parse(), Ok(code));
        for text in [code.title(), code.remedy()] {
            assert!(!text.ends_with('.') && !text.is_empty(), "{code}: {text}");
        }
        for text in [code.meaning(), code.cause()] {
            assert!(text.ends_with('.'), "{code}: {text}");
        }
    }
    for bad in ["", "KW", "KW0", "KW999", "kw1o1", "ä", "KW 101"] {
        assert!(bad.parse::<Code>().is_err(), "{bad}");
    }
}
