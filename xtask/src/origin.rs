//! Where something in a library came from: the objects and crates of a cargo run that leave a symbol
//! undefined, or that want a place for thread-local variables which only a starting process has.
//!
//! What is read lies below the run's target folder: archives and objects of build scripts, which hold C
//! and C++ code, and the libraries of Rust crates. Of a profile with link-time optimisation the latter
//! hold bitcode, which names no symbols that could be read here; so no answer means Rust code or the
//! standard library. A file that can't be read is passed over: this adds to a refusal and never makes one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;
use object::elf;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags};

/// Folders are not followed deeper than this below a build script's.
const MAX_DEPTH: usize = 8;

/// By symbol, what below `profile` leaves one of `symbols` undefined: an object in the output of a build
/// script, `zstd-sys-0f3c…/out/libzstd.a(huf.o)`, or a crate, ``crate `png` ``.
pub fn of(symbols: &BTreeSet<&str>, profile: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    each_part(profile, |label, object| {
        let undefined = object.symbols().filter(object::ObjectSymbol::is_undefined);
        for name in undefined.filter_map(|symbol| symbol.name().ok()) {
            let named = [name, imported(name)].into_iter().find(|name| symbols.contains(name));
            if let Some(name) = named {
                found.entry(name.to_owned()).or_default().insert(label.to_owned());
            }
        }
    });
    found
}

/// What below `profile` reaches thread-local variables by the model `initial-exec`, labelled as by [`of`].
pub fn of_static_tls(profile: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    each_part(profile, |label, object| {
        let mut relocations = object.sections().flat_map(|section| section.relocations());
        let is_static = relocations.any(|(_, relocation)| match relocation.flags() {
            RelocationFlags::Elf { r_type } => is_initial_exec(object.architecture(), r_type),
            _ => false,
        });
        if is_static {
            found.insert(label.to_owned());
        }
    });
    found
}

/// Whether a relocation of an object asks for a variable's distance from the thread's pointer, as the
/// processors' psABIs number them.
fn is_initial_exec(architecture: object::Architecture, kind: elf::RelocationType) -> bool {
    use object::Architecture;
    match architecture {
        Architecture::X86_64 => kind == elf::R_X86_64_GOTTPOFF,
        Architecture::Aarch64 => matches!(
            kind,
            elf::R_AARCH64_TLSIE_MOVW_GOTTPREL_G1
                | elf::R_AARCH64_TLSIE_MOVW_GOTTPREL_G0_NC
                | elf::R_AARCH64_TLSIE_ADR_GOTTPREL_PAGE21
                | elf::R_AARCH64_TLSIE_LD64_GOTTPREL_LO12_NC
                | elf::R_AARCH64_TLSIE_LD_GOTTPREL_PREL19
        ),
        _ => false,
    }
}

/// Calls `look` on each object that build scripts of the run made, with its label, and on each of a crate.
fn each_part(profile: &Path, mut look: impl FnMut(&str, &object::File<'_>)) {
    let root = profile.join("build");
    let mut files = Vec::new();
    collect(&root, MAX_DEPTH, &["a", "lib", "o", "obj"], &mut files);
    collect(&profile.join("deps"), 0, &["rlib"], &mut files);
    for file in files {
        let place = file.strip_prefix(&root).unwrap_or(&file).shown();
        let krate = crate_of(&file);
        each_object(&file, |member, bytes| {
            let Ok(object) = object::File::parse(bytes) else { return };
            let label = match (&krate, member) {
                (Some(krate), _) => format!("crate `{krate}`"),
                (None, Some(member)) => format!("`{place}({member})`"),
                (None, None) => format!("`{place}`"),
            };
            look(&label, &object);
        });
    }
}

/// Calls `look` on a file that is an object, or on each member of an archive with its name.
fn each_object(file: &Path, mut look: impl FnMut(Option<&str>, &[u8])) {
    if file.extension().is_some_and(|extension| extension == "o" || extension == "obj") {
        return look(None, &fs::read(file).unwrap_or_default());
    }
    let Ok(archive) = File::open(file) else { return };
    let mut archive = ar::Archive::new(archive);
    while let Some(Ok(mut member)) = archive.next_entry() {
        let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
        let mut bytes = Vec::new();
        if member.read_to_end(&mut bytes).is_ok() {
            look(Some(&name), &bytes);
        }
    }
}

/// The crate that cargo compiled to `libNAME-HASH.rlib`.
fn crate_of(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?.strip_suffix(".rlib")?;
    let (name, _hash) = name.rsplit_once('-')?;
    Some(name.strip_prefix("lib").unwrap_or(name).to_owned())
}

/// The name in a DLL of what an object for Windows calls `__imp_Sleep`, on 32 bits `__imp__Sleep@4`.
fn imported(symbol: &str) -> &str {
    let name = symbol.strip_prefix("__imp_").unwrap_or(symbol);
    match name.rsplit_once('@') {
        Some((name, size)) if size.parse::<u32>().is_ok() => name.strip_prefix('_').unwrap_or(name),
        _ => name,
    }
}

/// The files below `folder` whose names end in one of `extensions`.
fn collect(folder: &Path, depth: usize, extensions: &[&str], files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    for entry in entries {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => {
                collect(&path, depth - 1, extensions, files);
            }
            Ok(kind) if kind.is_file() => {
                let extension = path.extension().and_then(|extension| extension.to_str());
                if extension.is_some_and(|extension| extensions.contains(&extension)) {
                    files.push(path);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn names_the_object_in_an_archive() {
        let dir = tempfile::tempdir().expect("a folder");
        let out = dir.path().join("build/codec-sys-0/out");
        fs::create_dir_all(&out).expect("a folder");
        fs::write(out.join("a.c"), "int late(void); int f(void) { return late(); }").expect("it");
        fs::write(out.join("b.c"), "int g(void) { return 1; }").expect("it");
        let run = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).current_dir(&out).status();
            assert!(status.expect(program).success(), "{program}");
        };
        run("cc", &["-c", "a.c", "b.c"]);
        run("ar", &["cr", "libcodec.a", "a.o", "b.o"]);
        fs::remove_file(out.join("a.o")).expect("removed");
        let found = of(&BTreeSet::from(["late", "never"]), dir.path());
        let objects = BTreeSet::from(["`codec-sys-0/out/libcodec.a(a.o)`".to_owned()]);
        assert_eq!(found, BTreeMap::from([("late".to_owned(), objects)]));
        assert!(of(&BTreeSet::from(["late"]), &dir.path().join("none")).is_empty());
    }

    #[test]
    fn names_a_crate_and_an_object_of_windows() {
        let dir = tempfile::tempdir().expect("a folder");
        let (deps, out) = (dir.path().join("deps"), dir.path().join("build/x-0/out"));
        fs::create_dir_all(&deps).expect("a folder");
        fs::create_dir_all(&out).expect("a folder");
        let source = "extern \"C\" { fn late(); } pub fn f() -> *const () { late as *const () }";
        fs::write(dir.path().join("png.rs"), source).expect("written");
        fs::write(out.join("a.c"), "int late(void); int f(void) { return late(); }").expect("it");
        let run = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).current_dir(dir.path()).status();
            assert!(status.expect(program).success(), "{program}");
        };
        let library = "deps/libpng-00c0ffee.rlib";
        run("rustc", &["--edition", "2021", "--crate-type", "rlib", "-o", library, "png.rs"]);
        run("cc", &["-c", "build/x-0/out/a.c", "-o", "build/x-0/out/a.obj"]);
        let found = of(&BTreeSet::from(["late"]), dir.path());
        let both = BTreeSet::from(["`x-0/out/a.obj`".to_owned(), "crate `png`".to_owned()]);
        assert_eq!(found, BTreeMap::from([("late".to_owned(), both)]));
    }

    #[test]
    fn names_the_object_with_static_thread_locals() {
        let dir = tempfile::tempdir().expect("a folder");
        let out = dir.path().join("build/allocator-sys-0/out");
        fs::create_dir_all(&out).expect("a folder");
        let source = "static _Thread_local int n; int *N(void) { return &n; }";
        for (file, model) in [("late", "global-dynamic"), ("early", "initial-exec")] {
            fs::write(out.join("it.c"), source.replace('N', file)).expect("it");
            let model = format!("-ftls-model={model}");
            let status = Command::new("cc")
                .args(["-c", "-fPIC", &model, "it.c", "-o", &format!("{file}.o")])
                .current_dir(&out)
                .status();
            assert!(status.expect("cc").success());
        }
        let found = of_static_tls(dir.path());
        assert_eq!(found, BTreeSet::from(["`allocator-sys-0/out/early.o`".to_owned()]));
    }

    #[test]
    fn knows_how_windows_calls_what_is_imported() {
        for symbol in ["Sleep", "__imp_Sleep", "_Sleep@4", "__imp__Sleep@4"] {
            assert_eq!(imported(symbol), "Sleep", "{symbol}");
        }
        assert_eq!(imported("_ZN3foo@plt"), "_ZN3foo@plt");
    }

    #[test]
    fn passes_over_what_is_no_archive() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("build")).expect("a folder");
        for name in ["x.a", "y.o"] {
            fs::write(dir.path().join("build").join(name), "!<arch>\nnonsense").expect("written");
        }
        assert!(of(&BTreeSet::from(["late"]), dir.path()).is_empty());
    }
}
