//! Packages by cargo's full package id specifications, such as
//! `path+file:///work/plugins/hex#hex@0.1.0`: a name alone may be a plugin's and a dependency's at once.
//!
//! Cargo writes one package in more than one way: without the name where the folder has it, and with
//! other characters of a path escaped than we would. Both are brought into one form here, so that ids can
//! be compared; and that form is one that cargo accepts after `--package`.
//! <https://doc.rust-lang.org/cargo/reference/pkgid-spec.html>

use std::fmt;
use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Serialize, Serializer};

/// What a URL escapes in a path: more would be another URL to cargo.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// The beginning of the id of a package in a folder.
const FOLDER: &str = "path+file://";

/// A package, as cargo inside an image names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId {
    text: String,
    name: String,
}

impl PackageId {
    /// The package in a folder, which is one of the image's.
    pub fn in_folder(folder: &Path, name: &str, version: &str) -> Self {
        let folder = folder.to_string_lossy();
        let folder = utf8_percent_encode(&folder, ESCAPED);
        Self { text: format!("{FOLDER}{folder}#{name}@{version}"), name: name.to_owned() }
    }

    /// The package that cargo calls `id`.
    pub fn parse(id: &str) -> Self {
        let (url, fragment) = id.rsplit_once('#').unwrap_or((id, ""));
        let last = url.split('?').next().unwrap_or(url).rsplit('/').next().unwrap_or_default();
        let (name, version) = match fragment.split_once('@') {
            Some((name, version)) => (name.to_owned(), version),
            None => (percent_decode_str(last).decode_utf8_lossy().into_owned(), fragment),
        };
        match url.strip_prefix(FOLDER) {
            Some(folder) => {
                let folder = percent_decode_str(folder).decode_utf8_lossy();
                Self::in_folder(Path::new(&*folder), &name, version)
            }
            None => Self { text: format!("{url}#{name}@{version}"), name },
        }
    }

    /// The package's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What cargo takes after `--package`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for PackageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_writes_in_two_ways_is_one_package() {
        for (id, folder, name) in [
            ("path+file:///work/plugins/greet#0.1.0", "/work/plugins/greet", "greet"),
            (
                "path+file:///work/plugins/match#order-match@0.1.0",
                "/work/plugins/match",
                "order-match",
            ),
            ("path+file:///work/my%20w%C3%B6rk/x#0.1.0", "/work/my wörk/x", "x"),
            ("path+file:///work/100%25#a@0.1.0", "/work/100%", "a"),
        ] {
            let parsed = PackageId::parse(id);
            assert_eq!(parsed, PackageId::in_folder(Path::new(folder), name, "0.1.0"), "{id}");
            assert_eq!(PackageId::parse(parsed.as_str()), parsed, "{id}");
        }
    }

    #[test]
    fn packages_of_other_sources_have_the_same_id_everywhere() {
        for (id, name, text) in [
            ("registry+https://example.org/index#serde@1.0.229", "serde", None),
            (
                "git+https://example.org/a/thing?rev=1#0.2.0",
                "thing",
                Some("git+https://example.org/a/thing?rev=1#thing@0.2.0"),
            ),
        ] {
            let parsed = PackageId::parse(id);
            assert_eq!((parsed.name(), parsed.as_str()), (name, text.unwrap_or(id)), "{id}");
        }
    }
}
