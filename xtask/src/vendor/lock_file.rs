//! What Cargo.lock says that `cargo metadata` doesn't: checksums of crates, crates that nothing links,
//! and patches that nothing uses.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use super::VendorError;

/// A lock file.
#[derive(Debug, Default)]
pub(super) struct LockFile {
    checksums: BTreeMap<String, String>,
    /// All packages of registries and git.
    pub(super) packages: Vec<Named>,
    /// Patches that nothing uses: cargo looks for them all the same.
    pub(super) unused: Vec<Named>,
}

/// A package as a lock file names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) source: String,
}

impl LockFile {
    pub(super) fn read(path: &Path) -> Result<Self, VendorError> {
        let bad = |source| VendorError::LockFile { path: path.to_owned(), source };
        let text =
            std::fs::read_to_string(path).map_err(crate::cache::CacheError::io("read", path))?;
        Ok(Self::parse(&text.parse::<Table>().map_err(bad)?))
    }

    fn parse(lock: &Table) -> Self {
        let mut checksums = BTreeMap::new();
        for package in lock.get("package").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| package.get(key).and_then(Value::as_str);
            if let (Some(name), Some(version), Some(source), Some(checksum)) =
                (text("name"), text("version"), text("source"), text("checksum"))
            {
                checksums.insert(key(name, version, source), checksum.to_owned());
            }
        }
        // The first format of lock files keeps them apart: `"checksum NAME VERSION (SOURCE)" = "…"`.
        for (key, value) in lock.get("metadata").and_then(Value::as_table).into_iter().flatten() {
            if let (Some(key), Some(checksum)) = (key.strip_prefix("checksum "), value.as_str()) {
                checksums.insert(key.to_owned(), checksum.to_owned());
            }
        }
        let named = |list: Option<&Value>| {
            let list = list.and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Named::of).collect()
        };
        let packages = named(lock.get("package"));
        let unused = named(lock.get("patch").and_then(|patch| patch.get("unused")));
        Self { checksums, packages, unused }
    }

    pub(super) fn checksum(&self, name: &str, version: &str, source: &str) -> Option<&str> {
        let sum = self.checksums.get(&key(name, version, source)).map(String::as_str);
        sum.filter(|sum| *sum != "<none>")
    }
}

impl Named {
    /// The package, if it has a source.
    fn of(package: &Value) -> Option<Self> {
        let text = |key: &str| package.get(key)?.as_str().map(str::to_owned);
        Some(Self { name: text("name")?, version: text("version")?, source: text("source")? })
    }
}

fn key(name: &str, version: &str, source: &str) -> String {
    format!("{name} {version} ({source})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_format() {
        let new = "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\n\
                   checksum = \"aa\"\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n";
        let old = "[metadata]\n\"checksum a 1.0.0 (registry+x)\" = \"aa\"\n\
                   \"checksum g 1.0.0 (git+x)\" = \"<none>\"\n";
        for text in [new, old] {
            let lock = LockFile::parse(&text.parse().expect("TOML"));
            assert_eq!(lock.checksum("a", "1.0.0", "registry+x"), Some("aa"));
            assert_eq!(lock.checksum("a", "1.0.0", "registry+y"), None);
            assert_eq!(lock.checksum("g", "1.0.0", "git+x"), None);
        }
    }
    #[test]
    fn unused_patches_are_those_of_a_source() {
        let text = "[[patch.unused]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"git+x#1\"\n\
                    [[patch.unused]]\nname = \"by-path\"\nversion = \"1.0.0\"\n";
        let lock = LockFile::parse(&text.parse().expect("TOML"));
        let names: Vec<_> = lock.unused.iter().map(|unused| unused.name.as_str()).collect();
        assert_eq!(names, ["a"]);
    }
}
