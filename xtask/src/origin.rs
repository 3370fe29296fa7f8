//! Where a symbol in a library came from: the objects of a cargo run that leave it undefined.
//!
//! Archives and objects below the run's target folder are read: the C and C++ code of build scripts.
//! Rust's own crates go through link-time optimisation as bitcode, which names no symbols that could
//! be read here; so no answer means Rust code or the standard library. A file that can't be read is
//! passed over: this adds to a refusal and never makes one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use object::{Object as _, ObjectSymbol as _};

/// Folders are not followed deeper than this below a build script's.
const MAX_DEPTH: usize = 8;

/// The objects in the output of build scripts below `profile` that leave one of `symbols` undefined,
/// by symbol: `zstd-sys-0f3c…/out/libzstd.a(huf.o)`.
pub fn of(symbols: &BTreeSet<&str>, profile: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    let root = profile.join("build");
    let mut files = Vec::new();
    collect(&root, MAX_DEPTH, &mut files);
    for file in files {
        let label = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        let mut look = |label: String, bytes: &[u8]| {
            let Ok(object) = object::File::parse(bytes) else { return };
            let undefined = object.symbols().filter(object::ObjectSymbol::is_undefined);
            for name in undefined.filter_map(|symbol| symbol.name().ok()) {
                if symbols.contains(name) {
                    found.entry(name.to_owned()).or_default().insert(label.clone());
                }
            }
        };
        if file.extension().is_some_and(|extension| extension == "o") {
            look(label, &fs::read(&file).unwrap_or_default());
            continue;
        }
        let Ok(archive) = File::open(&file) else { continue };
        let mut archive = ar::Archive::new(archive);
        while let Some(Ok(mut member)) = archive.next_entry() {
            let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
            let mut bytes = Vec::new();
            if member.read_to_end(&mut bytes).is_ok() {
                look(format!("{label}({name})"), &bytes);
            }
        }
    }
    found
}

/// The archives and objects below `folder`.
fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    for entry in entries {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => collect(&path, depth - 1, files),
            Ok(kind) if kind.is_file() => {
                let extension = path.extension().and_then(|extension| extension.to_str());
                if matches!(extension, Some("a" | "o" | "lib" | "obj")) {
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
        let objects = BTreeSet::from(["codec-sys-0/out/libcodec.a(a.o)".to_owned()]);
        assert_eq!(found, BTreeMap::from([("late".to_owned(), objects)]));
        assert!(of(&BTreeSet::from(["late"]), &dir.path().join("none")).is_empty());
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
