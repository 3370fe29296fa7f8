//! Plugins for macOS that use its libraries and frameworks through the crates that people use. Nothing
//! here runs them: each load command, and the library that each symbol is bound to, is compared with the
//! stubs, which is what a loader would do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use keyway_apple_stubs::declarations::Symbol;
use keyway_apple_stubs::{Arch, system};
use keyway_inspect::Facts;
use keyway_xtask::stubs;

use crate::workspace::Copy;
use crate::{is_tested, root};

/// A plugin: its name, what it depends on, its source, and a library that it has to be bound to.
type Case = (&'static str, &'static str, &'static str, &'static str);

const CASES: [Case; 8] = [
    (
        "clock",
        "chrono = { version = \"0.4\", default-features = false, features = [\"clock\"] }",
        "use chrono::Timelike as _;
        #[unsafe(no_mangle)]
        pub extern \"C\" fn hour() -> u32 { chrono::Local::now().hour() }",
        "CoreFoundation.framework/Versions/A/CoreFoundation",
    ),
    (
        "certs",
        "rustls-native-certs = \"0.8\"",
        "#[unsafe(no_mangle)]
        pub extern \"C\" fn certs() -> usize { rustls_native_certs::load_native_certs().certs.len() }",
        "Security.framework/Versions/A/Security",
    ),
    (
        "machine",
        "sysinfo = \"0.39\"",
        "#[unsafe(no_mangle)]
        pub extern \"C\" fn memory() -> u64 {
            let n_disks = sysinfo::Disks::new_with_refreshed_list().len();
            let n_sensors = sysinfo::Components::new_with_refreshed_list().len();
            sysinfo::System::new_all().total_memory() + (n_disks + n_sensors) as u64
        }",
        "IOKit.framework/Versions/A/IOKit",
    ),
    (
        "sound",
        "cpal = \"0.18\"",
        "use cpal::traits::{DeviceTrait as _, HostTrait as _};
        #[unsafe(no_mangle)]
        pub extern \"C\" fn rate() -> bool {
            let device = cpal::default_host().default_output_device();
            device.is_some_and(|device| device.default_output_config().is_ok())
        }",
        "CoreAudio.framework/Versions/A/CoreAudio",
    ),
    (
        "window",
        "objc2-foundation = { version = \"0.3\", default-features = false, features = [\"NSString\"] }\n\
         objc2-app-kit = { version = \"0.3\", default-features = false, features = [\"NSGraphics\", \"NSPasteboard\"] }",
        "#[unsafe(no_mangle)]
        pub extern \"C\" fn beep() -> isize {
            objc2_app_kit::NSBeep();
            objc2_app_kit::NSPasteboard::generalPasteboard().clearContents()
        }",
        "AppKit.framework/Versions/C/AppKit",
    ),
    (
        "watch",
        "notify = \"8\"",
        "#[unsafe(no_mangle)]
        pub extern \"C\" fn watch() -> bool {
            use notify::Watcher as _;
            let folder = std::path::Path::new(\"/tmp\");
            let watcher = notify::recommended_watcher(|_| ());
            watcher.is_ok_and(|mut it| it.watch(folder, notify::RecursiveMode::Recursive).is_ok())
        }",
        "CoreServices.framework/Versions/A/CoreServices",
    ),
    (
        "net",
        "tokio = { version = \"1\", features = [\"net\", \"process\", \"rt-multi-thread\", \"signal\"] }\n\
         rand = \"0.9\"\nlibc = \"0.2\"",
        "#[unsafe(no_mangle)]
        pub extern \"C\" fn serve() -> u16 {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let _ = tokio::process::Command::new(\"true\").status().await;
                let listener = tokio::net::TcpListener::bind(\"127.0.0.1:0\").await.unwrap();
                listener.local_addr().unwrap().port() ^ rand::random::<u16>()
            })
        }",
        "",
    ),
    (
        "fresh",
        "\n[package.metadata.keyway]\napple-symbols = [{ library = \"CoreMIDI\", name = \"MIDIFromTomorrow\", reason = \"a test\" }]",
        "#[link(name = \"CoreMIDI\", kind = \"framework\")]
        unsafe extern \"C\" { fn MIDIFromTomorrow() -> i32; }
        #[unsafe(no_mangle)]
        pub extern \"C\" fn tomorrow() -> i32 { unsafe { MIDIFromTomorrow() } }",
        "CoreMIDI.framework/Versions/A/CoreMIDI",
    ),
];

/// The plugin that refers to each symbol that a stub lists, one file for each processor.
const EVERY: &str = "#[cfg(target_arch = \"aarch64\")]
core::arch::global_asm!(include_str!(\"aarch64.s\"));
#[cfg(target_arch = \"x86_64\")]
core::arch::global_asm!(include_str!(\"x86_64.s\"));
unsafe extern \"C\" { static keyway_every: usize; }
#[unsafe(no_mangle)]
pub extern \"C\" fn every() -> usize { unsafe { keyway_every } }
";

/// The stubs of this repository, with the name that each is linked by.
fn stub_files() -> BTreeMap<String, String> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root().join("docker/files/apple")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("list") {
            let path: PathBuf = entry.expect("list").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "tbd") {
                let name = path.file_stem().and_then(|stem| stem.to_str()).expect("UTF-8");
                found.insert(name.to_owned(), fs::read_to_string(&path).expect("read"));
            }
        }
    }
    found
}

/// Data that refers to what the stubs list for a processor, and how many symbols these are. What the
/// audit would refuse is left out.
fn every(arch: Arch, known: &stubs::Symbols) -> (String, usize) {
    let floor = arch.floor().to_string().parse().expect("a version");
    let newer: BTreeSet<&String> = known
        .values()
        .flatten()
        .filter(|(_, since)| since.is_some_and(|since| since > floor))
        .map(|(symbol, _)| symbol)
        .collect();
    let mut symbols = BTreeSet::new();
    // With those of the C library, which plugins use anyway, the manifest would be larger than a host reads.
    for (_, stub) in stub_files().iter().filter(|(name, _)| *name != "libSystem") {
        let listed = system::symbols(stub).into_iter();
        symbols.extend(listed.filter(|(_, archs)| archs.contains(&arch)).map(|(symbol, _)| {
            match symbol {
                Symbol::Plain(name) => name,
                Symbol::Class(name) => format!("_OBJC_CLASS_$_{name}"),
            }
        }));
    }
    symbols.retain(|symbol| !newer.contains(symbol));
    let mut text =
        String::from(".section __DATA,__data\n.globl _keyway_every\n.p2align 3\n_keyway_every:\n");
    for symbol in &symbols {
        let _ = writeln!(text, ".quad \"{symbol}\"");
    }
    (text, symbols.len())
}

#[test]
fn plugins_for_macos_are_bound_to_what_its_libraries_have() {
    let copy = Copy::of_the_sdk("apple");
    let known = stubs::read(&root().join("docker/files/apple")).expect("stubs");
    let manifest = |name: &str, more: &str| {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\n\
             crate-type = [\"cdylib\"]\n\n[dependencies]\n{more}\n"
        );
        copy.write(&format!("plugins/{name}/Cargo.toml"), &manifest);
    };
    for (name, dependencies, source, _) in CASES {
        manifest(name, dependencies);
        copy.write(&format!("plugins/{name}/src/lib.rs"), source);
    }
    let mut links = String::new();
    for name in stub_files().keys().filter(|name| *name != "libSystem") {
        let (name, kind) = match name.strip_prefix("lib") {
            Some(name) => (name, "dylib"),
            None => (name.as_str(), "framework"),
        };
        let _ = writeln!(
            links,
            "#[link(name = \"{name}\", kind = \"{kind}\")]\nunsafe extern \"C\" {{}}"
        );
    }
    manifest("every", "");
    copy.write("plugins/every/src/lib.rs", &format!("{EVERY}{links}"));
    let mut counts = BTreeMap::new();
    let triple = |arch: &Arch| format!("{}-apple-darwin", arch.in_cfg());
    let all: Vec<Arch> = Arch::ALL.into_iter().filter(|arch| is_tested(&triple(arch))).collect();
    for arch in Arch::ALL {
        let (text, n_symbols) = every(arch, &known);
        copy.write(&format!("plugins/every/src/{}.s", arch.in_cfg()), &text);
        counts.insert(arch, n_symbols);
    }
    // What is linked is the same however it is optimized, and this is a lot to compile.
    let text = fs::read_to_string(copy.path("Cargo.toml")).expect("read");
    let text = text.replace("opt-level = 3\nlto = \"fat\"\n", "opt-level = 0\nlto = \"off\"\n");
    copy.write("Cargo.toml", &text.replace("codegen-units = 1\n", "codegen-units = 4\n"));
    copy.resolve();
    let triples: Vec<String> = all.iter().map(triple).collect();
    let of = triples.iter().flat_map(|triple| ["--target", triple.as_str()]);
    let head = ["build-plugins", "--engine", "sandbox"];
    copy.xtask(&head.into_iter().chain(of).collect::<Vec<_>>());

    for arch in all {
        let facts = |name: &str| -> Facts {
            let path = format!("dist/{}-apple-darwin/{name}/lib{name}.dylib", arch.in_cfg());
            let bytes = fs::read(copy.path(&path)).expect("delivered");
            keyway_inspect::inspect(&bytes).expect("a library").facts
        };
        for (name, _, _, expected) in CASES {
            let facts = facts(name);
            let mut bound = facts.imports.iter().filter_map(|import| import.library.as_ref());
            assert!(bound.any(|library| library.ends_with(expected)), "{name}: {facts:#?}");
            assert_eq!(facts.unbound, BTreeSet::new(), "{name}");
        }
        let facts = facts("every");
        let n_bound: usize = facts.imports.iter().map(|import| import.symbols.len()).sum();
        assert!(n_bound >= counts[&arch], "{n_bound} of {} are bound", counts[&arch]);
        for import in &facts.imports {
            let library = import.library.as_ref().expect("a library");
            let has = &known[library];
            let missing: Vec<_> = import.symbols.iter().filter(|s| !has.contains_key(*s)).collect();
            assert!(missing.is_empty(), "{library} has no {missing:?}");
        }
    }
}
