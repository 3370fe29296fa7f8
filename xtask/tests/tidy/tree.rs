//! The repository's files, as git would track them: what `.gitignore` names is not there.

use std::path::Path;

use ignore::WalkBuilder;

/// A text file.
#[derive(Debug)]
pub(crate) struct File {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Its lines, counted from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.split_terminator('\n').enumerate().map(|(index, line)| (index + 1, line))
    }

    pub(crate) fn has_extension(&self, any: &[&str]) -> bool {
        let extension = Path::new(&self.path).extension().and_then(|e| e.to_str());
        extension.is_some_and(|extension| any.contains(&extension))
    }

    pub(crate) fn at(&self, violation: &str) -> String {
        format!("{}: {violation}", self.path)
    }

    pub(crate) fn at_line(&self, number: usize, violation: &str) -> String {
        format!("{}:{number}: {violation}", self.path)
    }
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every path from the root, in order, files only.
pub(crate) fn paths() -> Vec<String> {
    let mut paths: Vec<_> = WalkBuilder::new(root())
        .hidden(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_some_and(|kind| !kind.is_dir()))
        .map(|entry| {
            let path = entry.path().strip_prefix(root()).unwrap();
            path.to_str().unwrap().replace('\\', "/")
        })
        .collect();
    paths.sort();
    paths
}

/// Every file whose content is UTF-8; a seed for a fuzz test is not, and has no lines to check.
pub(crate) fn files() -> Vec<File> {
    paths()
        .into_iter()
        .filter_map(|path| {
            let bytes = std::fs::read(root().join(&path)).unwrap();
            Some(File { path, text: String::from_utf8(bytes).ok()? })
        })
        .collect()
}
