//! A component of Rust's distribution as a [`Member`].
//!
//! Its tarball has one folder with a file `components`, which names a folder each; there, `manifest.in`
//! lists what is installed: `file:PATH` and `dir:PATH`. What is not listed, such as the install script,
//! is in no image.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::member::{Content, Data, Entries, Entry, Kind, Member, MemberError};
use super::tarball;

/// A list of files has some kilobytes.
const LIST_LIMIT: u64 = 16 << 20;
const FORMAT: &str = "a component of Rust's distribution";

/// Opens a component's tarball, spooling at most `limit` bytes into `folder`; its files go into `/usr`.
///
/// # Errors
/// If it is no such tarball, is cut off, lists what it does not have, or holds an entry that no layer
/// may have.
pub fn open(path: &Path, name: &str, folder: &Path, limit: u64) -> Result<Member, MemberError> {
    let Member { entries: found, content, .. } = tarball::open(path, name, folder, limit)?;
    let mut tarball = Tarball {
        name,
        top: top(&found).ok_or_else(|| broken(name, "it is empty".into()))?,
        by_path: found.iter().map(|entry| (entry.path.as_str(), entry)).collect(),
        content,
    };
    let mut entries = Entries::of(name);
    for component in tarball.list("components")? {
        for line in tarball.list(&format!("{component}/manifest.in"))? {
            tarball.install(&component, &line, &found, &mut entries)?;
        }
    }
    Ok(Member { name: name.to_owned(), entries: entries.finish(), content: tarball.content })
}

fn broken(name: &str, problem: String) -> MemberError {
    Member::format(name, FORMAT)(io::Error::new(io::ErrorKind::InvalidData, problem))
}

/// The folder that all lies in.
fn top(entries: &[Entry]) -> Option<String> {
    entries.first()?.path.split('/').next().map(str::to_owned)
}

struct Tarball<'a> {
    name: &'a str,
    top: String,
    by_path: HashMap<&'a str, &'a Entry>,
    content: Content,
}

impl Tarball<'_> {
    /// The lines of a file below the top folder.
    fn list(&mut self, file: &str) -> Result<Vec<String>, MemberError> {
        let path = format!("{}/{file}", self.top);
        let data = match self.by_path.get(path.as_str()).map(|entry| &entry.kind) {
            Some(Kind::File(data)) if data.size <= LIST_LIMIT => *data,
            Some(_) => return Err(broken(self.name, format!("`{path}` is no list of lines"))),
            None => return Err(broken(self.name, format!("it has no `{path}`"))),
        };
        let text = self.text(data)?;
        Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    fn text(&mut self, data: Data) -> Result<String, MemberError> {
        let mut bytes = Vec::new();
        self.content.copy(data, &mut bytes).map_err(Member::format(self.name, FORMAT))?;
        String::from_utf8(bytes).map_err(|_| broken(self.name, "a list in it is no text".into()))
    }

    /// Adds what one line of a `manifest.in` names.
    fn install(
        &self,
        component: &str,
        line: &str,
        all: &[Entry],
        entries: &mut Entries,
    ) -> Result<(), MemberError> {
        let (is_folder, listed) = match line.split_once(':') {
            Some(("file", path)) => (false, path),
            Some(("dir", path)) => (true, path),
            _ => {
                let problem = format!("`{line}` in `{component}/manifest.in` is not understood");
                return Err(broken(self.name, problem));
            }
        };
        let listed = entries.path(listed.as_bytes())?;
        let root = format!("{}/{component}/", self.top);
        let source = format!("{root}{listed}");
        let below = format!("{source}/");
        let mut found = false;
        let single = self.by_path.get(source.as_str()).copied().into_iter();
        let inside = all.iter().filter(|entry| is_folder && entry.path.starts_with(&below));
        for entry in single.chain(inside) {
            if entry.path == source && is_folder != (entry.kind == Kind::Directory) {
                continue;
            }
            found = true;
            let installed = destination(entry.path.strip_prefix(&root).unwrap_or(&entry.path));
            let mode = match entry.kind {
                Kind::File(_) if entry.mode & 0o111 == 0 => 0o644,
                _ => 0o755,
            };
            entries.add(installed, entry.kind.clone(), mode, entry.mtime)?;
        }
        if found {
            return Ok(());
        }
        let problem =
            format!("`{component}/manifest.in` lists `{listed}`, which the tarball does not have");
        Err(broken(self.name, problem))
    }
}

/// Where the installer puts a file with `/usr` as the prefix.
fn destination(path: &str) -> String {
    if path.starts_with("etc/") { path.to_owned() } else { format!("usr/{path}") }
}
