//! Refusals that depend on what a host expects, and the text of all of them.
//!
//! What depends on the file alone is in `refusals/`, with the program and its canary.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyway_host::policy::HOST_TOOLCHAIN;
use keyway_host::{
    Code, Expectation, ExportPolicy, Gate, ImportPolicy, KnownInterface, MAX_LIBRARY_SIZE,
    OtherInterfaces, PermissionPolicy, StampPolicy, ToolchainPolicy, Verdict,
};
use keyway_manifest::{Libc, LibcFamily, LibcVersion, Manifest, Triple};
use snapbox::{assert_data_eq, str};
use tempfile::TempDir;

#[path = "refusals/c_library.rs"]
mod c_library;
#[path = "refusals/canary.rs"]
mod canary;

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
        toolchains: ToolchainPolicy::Trusted(BTreeSet::from([canary::toolchain().hash()])),
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
    assert_eq!(other, Ok(ToolchainPolicy::Trusted(BTreeSet::new())));
    let error = ToolchainPolicy::trusted("\nabc x86_64-unknown-linux-gnu", &target);
    assert_data_eq!(
        error.expect_err("no hash").to_string(),
        str![
            "line 2 of the list of toolchains is no hash and target: `abc x86_64-unknown-linux-gnu`"
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
            "KW104 file: the file is larger than the gate reads: found `[FOLDER]/canary.manifest.json` with 1048577 bytes, expected at most 1048576 bytes"
        ]
    );
}

/// Cargo turns the `-` of a name into `_`; the manifest keeps it.
#[test]
fn finds_the_manifest_of_a_name_with_hyphens() {
    let plugin = Plugin::new();
    let rename = |from: &str, to: &str| {
        fs::rename(plugin.folder.path().join(from), plugin.folder.path().join(to)).expect("moved");
    };
    rename("libcanary.so", "liborder_match.so");
    rename("canary.manifest.json", "order-match.manifest.json");
    let library = plugin.folder.path().join("liborder_match.so");
    assert_eq!(codes(&library, expectation()), [Code::OtherLibrary]);
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
        toolchains: ToolchainPolicy::Trusted(BTreeSet::new()),
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

/// Which pairs of host and plugin are refused, though a loader might take the one or other: only the
/// same triple will do.
#[test]
fn odd_hosts() {
    let refused = |file: &str, built_for: &str, host: &str| {
        let path = format!("../inspect/tests/libraries/{file}");
        let bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a library");
        let mut manifest =
            canary::manifest(&fs::read(&*canary::LIBRARY).expect("it"), "libcanary.so");
        manifest.target = built_for.parse().expect("a triple");
        manifest.artifact.format = keyway_inspect::inspect(&bytes).expect("it").facts.header.format;
        (manifest.stamp, manifest.abi, manifest.toolchain) =
            (keyway_manifest::StampFormat::None, None, None);
        if file.ends_with(".dll") {
            manifest.artifact.file = "canary.dll".parse().expect("a name");
        }
        manifest.artifact.size = bytes.len() as u64;
        manifest.artifact.sha256 = keyway_manifest::Digest::of(&bytes);
        let plugin = Plugin::of(&bytes, manifest);
        let musl = Libc { family: LibcFamily::Musl, floor: None };
        let expectation = Expectation {
            libc: host.ends_with("-musl").then_some(musl),
            ..Expectation::for_target(host.parse().expect("a triple"))
        };
        let codes = codes(&plugin.library, expectation);
        let is_first = |code: &Code| {
            matches!(
                code,
                Code::WrongFormat
                    | Code::WrongMachine
                    | Code::WrongSystem
                    | Code::WrongTarget
                    | Code::LibcFamily
            )
        };
        codes.into_iter().filter(is_first).collect::<Vec<_>>()
    };
    let (gnu, musl) = ("x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl");
    assert_eq!(refused("elf-x86_64.so", gnu, musl), [Code::WrongTarget, Code::LibcFamily]);
    assert_eq!(refused("elf-musl.so", musl, gnu), [Code::WrongTarget]);
    let both = [Code::WrongMachine, Code::WrongTarget];
    let (arm, arm32) = ("aarch64-unknown-linux-gnu", "armv7-unknown-linux-gnueabihf");
    assert_eq!(refused("elf-aarch64.so", arm, arm32), both);
    assert_eq!(refused("elf-armv7.so", arm32, arm), both);
    assert_eq!(refused("elf-armv7.so", arm32, arm32), []);
    assert_eq!(refused("elf-x86_64.so", gnu, "i686-unknown-linux-gnu"), both);
    assert_eq!(refused("elf-i686.so", "i686-unknown-linux-gnu", gnu), both);
    assert_eq!(refused("elf-s390x.so", "s390x-unknown-linux-gnu", gnu), both);
    let (mingw, msvc) = ("x86_64-pc-windows-gnu", "x86_64-pc-windows-msvc");
    assert_eq!(refused("pe-x86_64.dll", mingw, msvc), [Code::WrongTarget]);
    assert_eq!(refused("pe-x86_64.dll", mingw, "x86_64-pc-windows-gnullvm"), [Code::WrongTarget]);
    assert_eq!(refused("pe-x86_64.dll", mingw, mingw), []);
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
fn interfaces() {
    let plugin = Plugin::new();
    let with = |interfaces: Vec<KnownInterface>, other_interfaces| Expectation {
        interfaces,
        other_interfaces,
        ..expectation()
    };
    let known = |descriptor: &str| KnownInterface {
        name: "Song".to_owned(),
        descriptor: descriptor.to_owned(),
    };
    let bytes = plugin.bytes();
    let section = keyway_inspect::inspect(&bytes).expect("it").facts.stamp.expect("a stamp");
    let stamp = keyway_abi::stamp::Stamp::parse(&bytes[section]).expect("a stamp");
    let same = known(stamp.descriptor);
    let other = known(&stamp.descriptor.replace("fn(&self, u32)", "fn(&self, u64)"));
    assert_eq!(check(&plugin.library, with(vec![same], OtherInterfaces::Refuse)), "");
    assert_data_eq!(
        check(&plugin.library, with(vec![other], OtherInterfaces::Admit)),
        str![
            "KW412 abi: it was built against another version of its interface: found Song.octave: host fn(&self, u64) -> u32, plugin fn(&self, u32) -> u32, expected the host's `Song` with ABI hash `56fd9e16b6dc`"
        ]
    );
    assert_eq!(check(&plugin.library, with(vec![], OtherInterfaces::Admit)), "");
    assert_data_eq!(
        check(&plugin.library, with(vec![], OtherInterfaces::Refuse)),
        str![
            "KW413 abi: the host does not know its interface: found interface `Song`, expected none"
        ]
    );
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
  ]
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
