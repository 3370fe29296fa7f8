//! Stubs of a system's libraries, `docker/files/apple`, as the audit reads them: which library has which
//! symbol, and since when.
//!
//! The linker reads the same files, in the image; here they judge what came of it. They are those that
//! `keyway-apple-stubs` writes, so only what that writes is understood; other text is no error but says
//! nothing, and a symbol that nothing is said of is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::LibcVersion;
use keyway_manifest::text::Show as _;
use thiserror::Error;

use crate::failure::{Diagnose, Exit};

/// By library its symbols, as object files spell them; of each the version of the system that it came with,
/// if that is later than the oldest.
pub type Symbols = BTreeMap<String, BTreeMap<String, Option<LibcVersion>>>;

/// Why stubs can't be read.
#[derive(Debug, Error)]
pub enum StubsError {
    /// A file or folder can't be read.
    #[error("could not read the stubs in `{path}`", path = .path.shown())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A list of newer symbols is not of the form.
    #[error("`{path}` is no list of libraries, symbols and versions", path = .path.shown())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<toml::de::Error>,
    },
}

impl Diagnose for StubsError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("`stubs` in `targets.toml` names their folder, below that of the recipes".into())
    }
}

/// Reads the stubs in a folder and those below it. A library that passes another one on has what that has.
///
/// # Errors
/// If a file can't be read.
pub fn read(folder: &Path) -> Result<Symbols, StubsError> {
    let (mut symbols, mut newer) = (Symbols::new(), BTreeMap::new());
    let mut passed_on = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let error = |source| StubsError::Read { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(error)? {
            let path = entry.map_err(error)?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path)
                .map_err(|source| StubsError::Read { path: path.clone(), source })?;
            if path.extension().is_some_and(|extension| extension == "toml") {
                newer.extend(versions(&path, &text)?);
            } else if let Some((library, passes_on)) = add(&text, &mut symbols) {
                passed_on.extend(passes_on.into_iter().map(|other| (library.clone(), other)));
            }
        }
    }
    for (library, of) in newer {
        let Some(symbols) = symbols.get_mut(&library) else { continue };
        symbols.extend(of.into_iter().map(|(symbol, since)| (symbol, Some(since))));
    }
    // What is passed on may pass on more.
    loop {
        let before: usize = symbols.values().map(BTreeMap::len).sum();
        for (library, other) in &passed_on {
            let Some(more) = symbols.get(other).cloned() else { continue };
            symbols.entry(library.clone()).or_default().extend(more);
        }
        if symbols.values().map(BTreeMap::len).sum::<usize>() == before {
            return Ok(symbols);
        }
    }
}

type Versions = BTreeMap<String, BTreeMap<String, LibcVersion>>;

fn versions(path: &Path, text: &str) -> Result<Versions, StubsError> {
    toml::from_str(text)
        .map_err(|source| StubsError::Newer { path: path.to_owned(), source: Box::new(source) })
}

/// Adds what a stub says; its library, and the libraries that it passes on.
fn add(text: &str, symbols: &mut Symbols) -> Option<(String, Vec<String>)> {
    let name = text.lines().find_map(|line| line.strip_prefix("install-name: "))?;
    let name = unquoted(name).to_owned();
    let own = symbols.entry(name.clone()).or_default();
    let mut passed_on = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let (items, after) = after.split_once(']')?;
        let key = before.split_whitespace().next_back().unwrap_or_default();
        for item in items.split(',').map(|item| unquoted(item.trim())) {
            let names = match key {
                "symbols:" => vec![item.to_owned()],
                "objc-classes:" => {
                    ["CLASS", "METACLASS"].map(|kind| format!("_OBJC_{kind}_$_{item}")).into()
                }
                "objc-eh-types:" => vec![format!("_OBJC_EHTYPE_$_{item}")],
                "libraries:" => {
                    passed_on.push(item.to_owned());
                    Vec::new()
                }
                _ => Vec::new(),
            };
            own.extend(names.into_iter().map(|name| (name, None)));
        }
        rest = after;
    }
    Some((name, passed_on))
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_passed_on_and_what_is_newer() {
        let folder = tempfile::tempdir().expect("a folder");
        let stub = |file: &str, name: &str, rest: &str| {
            let text = format!(
                "--- !tapi-tbd\ntbd-version: 4\ntargets: [ arm64-macos ]\ninstall-name: '{name}'\n{rest}...\n"
            );
            fs::create_dir_all(folder.path().join("lib")).expect("a folder");
            fs::write(folder.path().join(file), text).expect("write");
        };
        let of = |key: &str, names: &str| {
            format!("  - targets: [ arm64-macos ]\n    {key}: [ {names} ]\n")
        };
        stub("lib/a.tbd", "/a", &format!("exports:\n{}", of("symbols", "_one,\n      '_two$X'")));
        stub("b.tbd", "/b", &format!("reexported-libraries:\n{}", of("libraries", "'/a'")));
        let own = [of("libraries", "'/b'"), of("objc-classes", "C"), of("objc-eh-types", "C")];
        stub("c.tbd", "/c", &own.concat());
        fs::write(folder.path().join("newer.toml"), "[\"/a\"]\n_one = \"12.0\"\n").expect("write");
        let symbols = read(folder.path()).expect("stubs");
        let listed = |name: &str| {
            let names = symbols[name].iter().map(|(symbol, since)| {
                since.map_or(symbol.clone(), |since| format!("{symbol} {since}"))
            });
            names.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(listed("/a"), "_one 12.0, _two$X");
        assert_eq!(listed("/b"), listed("/a"));
        let classes = "_OBJC_CLASS_$_C, _OBJC_EHTYPE_$_C, _OBJC_METACLASS_$_C, ";
        assert_eq!(listed("/c"), format!("{classes}{}", listed("/a")));

        fs::write(folder.path().join("newer.toml"), "[\"/a\"]\n_one = 12\n").expect("write");
        let error = read(folder.path()).expect_err("no version");
        assert!(matches!(error, StubsError::Newer { .. }) && error.hint().is_some());
        let error = read(&folder.path().join("none")).expect_err("no folder");
        assert!(error.to_string().starts_with("could not read the stubs in `"), "{error}");
        assert_eq!(error.exit(), Exit::Usage);
    }

    #[test]
    fn reads_those_that_are_shipped() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/files/apple");
        let symbols = read(&folder).expect("stubs");
        let foundation = "/System/Library/Frameworks/Foundation.framework/Versions/C/Foundation";
        for (library, symbol) in [
            ("/usr/lib/libSystem.B.dylib", "_getpid"),
            ("/usr/lib/libiconv.2.dylib", "_iconv_open"),
            (foundation, "_CFRelease"),
            (foundation, "_OBJC_CLASS_$_NSObject"),
            (foundation, "_objc_msgSend"),
        ] {
            assert!(symbols[library].contains_key(symbol), "{symbol} of {library}");
        }
        let system = &symbols["/usr/lib/libSystem.B.dylib"];
        assert_eq!(system["_preadv"].map(|since| since.to_string()).as_deref(), Some("11.0"));
    }
}
