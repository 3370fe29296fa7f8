//! Refusals of libraries for systems that this machine is not: they are read and never run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use keyway_host::{Code, Expectation, ExportPolicy, Gate, ImportPolicy, Refusal, SymbolPolicy};
use keyway_inspect::Details;
use keyway_manifest::{Libc, LibcFamily, LibcVersion, Triple};
use snapbox::{assert_data_eq, str};
use tempfile::TempDir;

fn refusals(path: &Path, expectation: Expectation) -> Vec<Refusal> {
    Gate::new(expectation).check(path).err().map(|all| all.refusals).unwrap_or_default()
}

fn codes(path: &Path, expectation: Expectation) -> Vec<Code> {
    refusals(path, expectation).iter().map(|refusal| refusal.code).collect()
}

/// A DLL that switches off what protects the process.
#[test]
fn an_unprotected_dll() {
    let path = "../inspect/tests/libraries/pe-x86_64.dll";
    let mut bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a DLL");
    let signature = bytes.windows(4).position(|four| four == b"PE\0\0").expect("a signature");
    let folder = TempDir::new().expect("a folder");
    let library = folder.path().join("library.dll");
    let target: Triple = "x86_64-pc-windows-gnu".parse().expect("a triple");
    let mut found = |flags: u16| {
        bytes[signature + 94..signature + 96].copy_from_slice(&flags.to_le_bytes());
        fs::write(&library, &bytes).expect("the DLL is written");
        let all = refusals(&library, Expectation::for_target(target.clone()));
        all.last().expect("a refusal").to_string()
    };
    let lines = [found(0x100), found(0x40), found(0)];
    assert_data_eq!(
        lines.join("\n"),
        str![[r#"
KW616 imports: it switches off protections of the process: found no DYNAMIC_BASE, expected both
KW616 imports: it switches off protections of the process: found no NX_COMPAT, expected both
KW616 imports: it switches off protections of the process: found neither DYNAMIC_BASE nor NX_COMPAT, expected both
"#]]
    );
}

/// Code signatures, on libraries for macOS that are read and never run.
#[test]
fn code_signatures() {
    let folder = TempDir::new().expect("a folder");
    let library = folder.path().join("library.dylib");
    let codes = |name: &str, target: &str, change: fn(&mut Vec<u8>)| {
        let path = format!("../inspect/tests/libraries/macho-{name}.dylib");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let mut bytes = fs::read(path).expect("a library");
        change(&mut bytes);
        fs::write(&library, &bytes).expect("it is written");
        let all = codes(&library, Expectation::for_target(target.parse().expect("a triple")));
        all.into_iter().filter(|&code| code == Code::CodeSignature).collect::<Vec<_>>()
    };
    let (arm, intel) = ("aarch64-apple-darwin", "x86_64-apple-darwin");
    assert_eq!(codes("aarch64", arm, |_| ()), []);
    assert_eq!(codes("x86_64", intel, |_| ()), [], "it needs none");
    // The last bytes of a signature may be padding, so what is changed is what was signed.
    let flip = |bytes: &mut Vec<u8>| {
        let symbol = b"_keyway_plugin_v1";
        let at = bytes.windows(symbol.len()).position(|window| window == symbol);
        bytes[at.expect("a symbol") + 1] ^= 1;
    };
    assert_eq!(codes("aarch64", arm, flip), [Code::CodeSignature]);
    let magic = |bytes: &mut Vec<u8>| {
        let magic = [0xfa, 0xde, 0x0c, 0x02];
        let at = bytes.windows(4).position(|window| window == magic);
        bytes[at.expect("a code directory")] = 0;
    };
    assert_eq!(codes("aarch64", arm, magic), [Code::CodeSignature]);
}

/// What a build asks of a library for macOS, beyond its signature.
#[test]
fn libraries_for_macos() {
    let folder = TempDir::new().expect("a folder");
    let found = |name: &str, change: fn(&mut Vec<u8>)| {
        let path = "../inspect/tests/libraries/macho-aarch64.dylib";
        let mut bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("it");
        change(&mut bytes);
        let library = folder.path().join(name);
        fs::write(&library, &bytes).expect("it is written");
        let libc = Libc { family: LibcFamily::Libsystem, floor: Some(LibcVersion::new(11, 0)) };
        let more = ["_mh_dylib_header", "__dso_handle", "*_v1"].map(str::to_owned);
        let expectation = Expectation {
            libc: Some(libc),
            exports: ExportPolicy::Contract(more.into()),
            ..Expectation::for_target("aarch64-apple-darwin".parse().expect("a triple"))
        };
        let all = refusals(&library, expectation);
        let of_macos = |refusal: &&Refusal| {
            matches!(
                refusal.code,
                Code::WrongSystem
                    | Code::SystemTooOld
                    | Code::InstallName
                    | Code::NoUuid
                    | Code::UnboundSymbols
                    | Code::UnexpectedExports
            )
        };
        all.iter().filter(of_macos).map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(found("library.dylib", |_| ()), "");
    assert_data_eq!(
        found("other.dylib", |_| ()),
        str![
            "KW619 imports: its install name is not `@rpath/` and its file's name: found `@rpath/library.dylib`, expected `@rpath/other.dylib`"
        ]
    );
    // A load command that every reader passes over.
    const LC_IDENT: u32 = 0x8;
    assert_data_eq!(
        found("library.dylib", |bytes| {
            let uuid = command(bytes, 0x1b);
            put(bytes, uuid, LC_IDENT);
        }),
        str!["KW620 imports: it has no UUID: found no LC_UUID, expected one"]
    );
    // `platform` and `minos` of LC_BUILD_VERSION.
    assert_data_eq!(
        found("library.dylib", |bytes| {
            let version = command(bytes, 0x32);
            put(bytes, version + 12, 0x000b_0100);
        }),
        str![
            "KW603 libc: it needs a newer macOS: found macOS `11.1` or newer, expected at most `11.0`, which is here"
        ]
    );
    assert_data_eq!(
        found("library.dylib", |bytes| {
            let version = command(bytes, 0x32);
            put(bytes, version + 8, 2);
        }),
        str!["KW306 header: it is for another operating system: found `ios`, expected `macos`"]
    );
    // Without MH_TWOLEVEL any library may offer any symbol.
    assert_data_eq!(
        found("library.dylib", |bytes| {
            let flags = u32::from_le_bytes(*bytes[24..].first_chunk().expect("flags"));
            put(bytes, 24, flags & !0x80);
        }),
        str![
            "KW621 imports: it needs symbols that none of its libraries offers: found `_clock_gettime`, `dyld_stub_binder`, expected no symbol without a library"
        ]
    );
}

/// A symbol has to be in the library that the file names for it, and on the system that it is for.
#[test]
fn symbols_of_a_system_s_libraries() {
    let path = "../inspect/tests/libraries/macho-aarch64.dylib";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let bytes = fs::read(path).expect("it");
    let folder = TempDir::new().expect("a folder");
    let library = folder.path().join("library.dylib");
    let found = |bytes: &[u8], library_has: &[(&str, Option<LibcVersion>)], allowed: &[&str]| {
        fs::write(&library, bytes).expect("it is written");
        let has = library_has.iter().map(|(name, since)| ((*name).to_owned(), *since)).collect();
        let known = BTreeMap::from([("/usr/lib/libSystem.B.dylib".to_owned(), has)]);
        let usual = Expectation::for_target("aarch64-apple-darwin".parse().expect("a triple"));
        let allowed = allowed.iter().chain(&["/usr/lib/*"]).map(|&name| name.to_owned());
        let expectation = Expectation {
            libc: Some(Libc {
                family: LibcFamily::Libsystem,
                floor: Some(LibcVersion::new(11, 0)),
            }),
            imports: ImportPolicy::Listed(allowed.collect()),
            symbols: SymbolPolicy::Listed(Arc::new(known)),
            ..usual
        };
        let all = refusals(&library, expectation);
        let of_symbols =
            |refusal: &&Refusal| matches!(refusal.code, Code::MissingSymbols | Code::NewerSymbols);
        all.iter().filter(of_symbols).map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let binder = ("dyld_stub_binder", None);
    let clock = |major| ("_clock_gettime", Some(LibcVersion::new(major, 0)));
    assert_eq!(found(&bytes, &[binder, ("_clock_gettime", None)], &[]), "");
    assert_eq!(found(&bytes, &[binder, clock(11)], &[]), "");
    assert_data_eq!(
        found(&bytes, &[binder, clock(12)], &[]),
        str![
            "KW604 libc: it needs symbols of a newer macOS: found `_clock_gettime of macOS 12.0`, expected what macOS `11.0` has"
        ]
    );
    assert_data_eq!(
        found(&bytes, &[binder], &[]),
        str![
            "KW625 imports: it needs symbols that the libraries it names don't have: found `_clock_gettime of /usr/lib/libSystem.B.dylib`, expected symbols that they have"
        ]
    );
    assert_eq!(found(&bytes, &[binder], &["clock_*"]), "");

    // One that may be missing (N_WEAK_REF in the description of its entry in the symbol table).
    let symtab = command(&bytes, 0x2);
    let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("a word")) as usize;
    let (symbols, count, strings) = (word(symtab + 8), word(symtab + 12), word(symtab + 16));
    let is_it = |at: &usize| bytes[strings + word(*at)..].starts_with(b"_clock_gettime\0");
    let entry = (0..count).map(|index| symbols + 16 * index).find(is_it).expect("its entry");
    let mut weak = bytes.clone();
    weak[entry + 6] |= 0x40;
    assert_eq!(found(&weak, &[binder, clock(12)], &[]), "");
    let facts = keyway_inspect::inspect(&weak).expect("a library").facts;
    let Details::Macho(macho) = facts.details else { panic!("it is Mach-O") };
    assert_eq!(macho.optional, BTreeSet::from(["_clock_gettime".to_owned()]));
}

/// Where the load command of a kind begins.
fn command(bytes: &[u8], kind: u32) -> usize {
    let number = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("four bytes"));
    let mut at = 32;
    for _ in 0..number(16) {
        if number(at) == kind {
            return at;
        }
        at += number(at + 4) as usize;
    }
    panic!("no load command {kind:#x}");
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// A DLL of the compiler is refused even if a list names it.
#[test]
fn compiler_runtimes() {
    let path = "../inspect/tests/libraries/pe-x86_64.dll";
    let mut bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a DLL");
    let needed = keyway_inspect::inspect(&bytes).expect("a DLL").facts.needed;
    let folder = TempDir::new().expect("a folder");
    let library = folder.path().join("library.dll");
    let name = needed.iter().find(|name| name.len() >= 10).expect("a long name");
    let at = bytes.windows(name.len()).position(|window| window == name.as_bytes());
    let at = at.expect("the name");
    bytes[at..at + name.len()].fill(0);
    bytes[at..at + 10].copy_from_slice(b"libgcc.dll");
    fs::write(&library, &bytes).expect("the DLL is written");
    let listed = ImportPolicy::Listed(BTreeSet::from(["*".to_owned()]));
    let target = "x86_64-pc-windows-gnu".parse().expect("a triple");
    let expectation = Expectation { imports: listed, ..Expectation::for_target(target) };
    assert!(codes(&library, expectation).contains(&Code::CompilerRuntime));
}
