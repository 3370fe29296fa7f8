//! What is read of source, what is written of it, and that the committed stubs belong together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use keyway_apple_stubs::declarations::{Declarations, Symbol};
use keyway_apple_stubs::libraries::{Libraries, LibrariesError, Library};
use keyway_apple_stubs::{Arch, made, system};
use snapbox::str;

/// Source as crates have it: blocks with and without a library, in functions and behind conditions.
const SOURCE: &str = include_str!("source.txt");

const LIBRARIES: &str = r#"
[[library]]
link = "Sound"
compatibility = "7"
crates = ["sound-sys"]
symbols = ["SoundHidden"]
thrown = ["SNDNoise"]
reexports = ["z"]
newer = { SoundNew = "12.0" }

[[library]]
link = "z"
install-name = "/usr/lib/libz.1.dylib"
"#;

fn files() -> BTreeMap<PathBuf, String> {
    let mut declared = Declarations::default();
    declared.add(SOURCE).expect("Rust");
    let crates = BTreeMap::from([("sound-sys".to_owned(), declared)]);
    let libraries = Libraries::parse(LIBRARIES, Path::new("libraries.toml")).expect("of the form");
    // What the C library has is nobody else's.
    let own = (Symbol::Plain("_loop".to_owned()), BTreeSet::from(Arch::ALL));
    made::files(&libraries, &crates, &BTreeMap::from([own]))
}

#[test]
fn a_stub_has_what_crates_declare() {
    let files = files();
    snapbox::assert_data_eq!(
        &files[Path::new("System/Library/Frameworks/Sound.framework/Sound.tbd")],
        str![[r#"
--- !tapi-tbd
tbd-version: 4
targets: [ x86_64-macos, arm64-macos ]
install-name: '/System/Library/Frameworks/Sound.framework/Versions/A/Sound'
current-version: 7
compatibility-version: 7
reexported-libraries:
  - targets: [ x86_64-macos, arm64-macos ]
    libraries: [ '/usr/lib/libz.1.dylib' ]
exports:
  - targets: [ x86_64-macos, arm64-macos ]
    symbols: [ _SoundCount, _SoundCreate, _SoundHidden, _SoundNew, _SoundPlay,
      '_SoundStop$UNIX2003', _kSoundDefault, _kSoundQuiet, raw_name ]
    objc-classes: [ SNDEar, SNDSpeaker ]
    objc-eh-types: [ SNDNoise ]
  - targets: [ x86_64-macos ]
    symbols: [ _SoundPlay_stret ]
...

"#]]
    );
    snapbox::assert_data_eq!(
        &files[Path::new("usr/lib/libz.tbd")],
        str![[r#"
--- !tapi-tbd
tbd-version: 4
targets: [ x86_64-macos, arm64-macos ]
install-name: '/usr/lib/libz.1.dylib'
current-version: 0
compatibility-version: 0
exports:
  - targets: [ x86_64-macos, arm64-macos ]
    symbols: [ _inflate ]
...

"#]]
    );
    snapbox::assert_data_eq!(
        &files[Path::new("newer.toml")],
        str![[r##"
# Symbols that came with a later macOS than 10.13, and with which.
# Written by `cargo run --package keyway-apple-stubs`; do not edit.

["/System/Library/Frameworks/Sound.framework/Versions/A/Sound"]
_SoundNew = "12.0"
_kSoundQuiet = "10.15"

"##]]
    );
}

#[test]
fn the_c_library_is_read_from_a_stub_and_headers() {
    let stub = "--- !tapi-tbd\ntargets: [ x86_64-macos, arm64e-macos ]\nexports:\n  - targets: [ \
                x86_64-macos,\n arm64e-macos, arm64e.x1-macos ]\n    symbols: [ _dup3, '$ld$hide$os10.4$_x', \
                '_open$NOCANCEL' ]\n  - targets: [ x86_64-maccatalyst ]\n    symbols: [ _iosOnly ]\n  - \
                targets: [ x86_64-macos ]\n    objc-classes: [ OS_thing ]\n...\n";
    let header = "/* int gone(int) __API_AVAILABLE(macos(99.0)); */\n#define X(a) \\\n\
                  int dup3(int, int, int) __API_AVAILABLE(macos(27.0), ios(27.0));\n\
                  API_AVAILABLE(macos(11.0)) OS_EXPORT\nint late(void (*call)(int)); // old(1)\n\
                  void early(void) __OSX_AVAILABLE_STARTING(__MAC_10_7, __IPHONE_NA);\n\
                  void later(void) __OSX_AVAILABLE_STARTING(__MAC_10_14_4, __IPHONE_NA);\n";
    let newer = system::newer(header);
    let newer: Vec<_> = newer.iter().map(|(name, since)| format!("{name} {since}")).collect();
    assert_eq!(newer, ["_dup3 27.0", "_late 11.0", "_later 10.14"]);
    let files = made::system_files(stub, &[header.to_owned()]);
    snapbox::assert_data_eq!(
        &files[Path::new(made::SYSTEM)],
        str![[r#"
--- !tapi-tbd
tbd-version: 4
targets: [ x86_64-macos, arm64-macos ]
install-name: '/usr/lib/libSystem.B.dylib'
current-version: 1
compatibility-version: 1
exports:
  - targets: [ x86_64-macos, arm64-macos ]
    symbols: [ _dup3, '_open$NOCANCEL' ]
  - targets: [ x86_64-macos ]
    objc-classes: [ OS_thing ]
...

"#]]
    );
    snapbox::assert_data_eq!(
        &files[Path::new("newer-in-system.toml")],
        str![[r##"
# Symbols that came with a later macOS than 10.13, and with which.
# Written by `cargo run --package keyway-apple-stubs`; do not edit.

["/usr/lib/libSystem.B.dylib"]
_dup3 = "27.0"

"##]]
    );
}

#[test]
fn a_file_that_is_not_of_the_form_is_refused() {
    let check = |text: &str, expected: snapbox::data::Inline| {
        let error = Libraries::parse(text, Path::new("libraries.toml")).expect_err("refused");
        snapbox::assert_data_eq!(error.to_string(), expected);
        error
    };
    check("[[library]]\nlink = \"a\"\nlinks = 1\n", str!["`libraries.toml` is not of the form"]);
    check(
        "[[library]]\nlink = \"a\"\nsince = \"x\"\n",
        str!["`libraries.toml` is not of the form"],
    );
    let error = check(
        "[[library]]\nlink = \"a\"\nreexports = [\"b\"]\n",
        str!["`a` in `libraries.toml` passes on `b`, which is not there"],
    );
    assert!(matches!(error, LibrariesError::Unknown { .. }));
    let error = Libraries::read(Path::new("/nowhere.toml")).expect_err("refused");
    snapbox::assert_data_eq!(error.to_string(), str!["could not read `/nowhere.toml`"]);
    assert!(Declarations::default().add("fn (").is_err());
}

fn docker() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker")
}

fn committed() -> Libraries {
    Libraries::read(&docker().join("apple/libraries.toml")).expect("the shipped file")
}

/// Every library that the oldest macOS of a target has may be loaded by its plugins, and no other; and
/// each that another passes on is found by its path.
#[test]
fn targets_and_recipes_know_the_same_libraries() {
    let targets = fs::read_to_string(docker().join("../targets.toml")).expect("read");
    let targets: toml::Table = targets.parse().expect("TOML");
    let libraries = committed();
    for arch in Arch::ALL {
        let triple = format!("{}-apple-darwin", arch.in_cfg());
        let listed = &targets["target"][triple.as_str()]["imports"];
        let listed: BTreeSet<_> =
            listed.as_array().expect("a list").iter().filter_map(toml::Value::as_str).collect();
        let names = libraries.all.iter().filter(|of| of.since.is_none_or(|v| v <= arch.floor()));
        let names: Vec<_> = names.map(Library::install_name).collect();
        let known: BTreeSet<_> =
            names.iter().map(String::as_str).chain([system::INSTALL_NAME]).collect();
        assert_eq!(listed, known, "imports of {triple}: {known:#?}");

        let recipe = fs::read_to_string(docker().join(format!("{triple}.toml"))).expect("read");
        for name in libraries.all.iter().flat_map(|library| &library.reexports) {
            let library = libraries.find(name).expect("a library").install_name();
            let path = library.trim_end_matches(".dylib");
            assert!(recipe.contains(&format!("macos{path}.tbd\"")), "{triple}: {path}.tbd");
        }
    }
}

/// No library has a symbol twice under two names that the loader would tell apart, so the order in which a
/// crate links them does not matter.
#[test]
fn a_symbol_is_in_one_library() {
    let mut owners = BTreeMap::<String, BTreeSet<String>>::new();
    let libraries = committed();
    for library in &libraries.all {
        let text = fs::read_to_string(docker().join("files/apple").join(library.stub()));
        for symbol in system::symbols(&text.expect("a stub")).into_keys() {
            let Symbol::Plain(symbol) = symbol else { continue };
            owners.entry(symbol).or_default().insert(library.install_name());
        }
    }
    let passes_on = |from: &str, to: &str| {
        let from = libraries.all.iter().filter(|library| library.install_name() == from);
        from.flat_map(|library| &library.reexports)
            .any(|name| libraries.find(name).is_some_and(|of| of.install_name() == to))
    };
    let is_twice = |names: &BTreeSet<String>| {
        names.iter().any(|one| {
            names.iter().any(|two| one != two && !passes_on(one, two) && !passes_on(two, one))
        })
    };
    let twice: Vec<_> = owners.iter().filter(|(_, names)| is_twice(names)).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}
