//! Members merged into one file tree, on top of the layers below.
//!
//! Links come first and folders are resolved through them, so that `/bin/x` lands in `/usr/bin` where
//! `/bin` is a link, whichever package brings which. Two members with the same file are an error: no
//! script is here to divert one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::path::Path;

use tar::{Archive, EntryType};
use thiserror::Error;

use super::member::{Data, Entry, Kind, Member};
use super::recipe::Glob;

/// As many links in one path as Linux follows.
const MAX_LINKS: usize = 40;

/// The content of one layer, by path.
#[derive(Debug, Default)]
pub struct Tree {
    /// Sorted by path, every folder before what lies in it.
    pub nodes: BTreeMap<String, Node>,
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Seconds since 1970.
    pub mtime: u64,
    /// Index of the member that brought it.
    pub member: usize,
}

/// What the layers below have, as far as merging needs it.
#[derive(Debug, Default)]
pub struct Below(HashMap<String, Existing>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Existing {
    Directory { mode: u32 },
    File,
    Symlink(String),
}

/// Which paths go into a layer.
#[derive(Debug, Default, Clone, Copy)]
pub struct Filter<'a> {
    /// Left out, with all below them.
    pub drop: &'a [Glob],
    /// Kept all the same.
    pub keep: &'a [Glob],
}

/// Why members do not merge.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TreeError {
    /// Two members have the same path.
    #[error("`{path}` is both in `{first}` and in `{second}`")]
    Conflict {
        /// The path.
        path: String,
        /// One member.
        first: String,
        /// The other.
        second: String,
    },
    /// A path goes on below a file.
    #[error("`{path}` of `{member}` passes through `{at}`, which is a file")]
    ThroughFile {
        /// The path.
        path: String,
        /// The member.
        member: String,
        /// The file.
        at: String,
    },
    /// Links lead in a circle.
    #[error("`{path}` of `{member}` passes through more than {MAX_LINKS} links")]
    LinkLoop {
        /// The path.
        path: String,
        /// The member.
        member: String,
    },
    /// A link climbs above the root.
    #[error("`{path}` of `{member}` leads out of the image by the link `{link}`")]
    OutOfRoot {
        /// The path.
        path: String,
        /// The member.
        member: String,
        /// What the link says.
        link: String,
    },
}

impl Below {
    /// Adds what a layer's tar has.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn add_layer(&mut self, tar: &Path) -> io::Result<()> {
        let mut archive = Archive::new(File::open(tar)?);
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            let path =
                String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/').to_owned();
            let existing = match entry.header().entry_type() {
                EntryType::Directory => Existing::Directory { mode: entry.header().mode()? },
                EntryType::Symlink => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    Existing::Symlink(String::from_utf8_lossy(&target).into_owned())
                }
                _ => Existing::File,
            };
            self.0.insert(path, existing);
        }
        Ok(())
    }
}

impl Filter<'_> {
    /// Whether a path goes in.
    pub fn admits(&self, path: &str) -> bool {
        !self.drop.iter().any(|glob| glob.covers(path))
            || self.keep.iter().any(|glob| glob.covers(path))
    }
}

impl Tree {
    /// Merges members in their order; every time is at most `epoch`.
    ///
    /// # Errors
    /// If two members have the same file, or a path can't be resolved inside the image.
    pub fn merge(
        members: &[Member],
        below: &Below,
        filter: Filter<'_>,
        epoch: u64,
    ) -> Result<Self, TreeError> {
        let mut merge = Merge { members, below, epoch, nodes: BTreeMap::new() };
        for (member, entry) in links_outermost_first(members) {
            merge.add(member, entry)?;
        }
        for (at, member) in members.iter().enumerate() {
            for entry in member.entries.iter().filter(|e| !matches!(e.kind, Kind::Symlink(_))) {
                merge.add(at, entry)?;
            }
        }
        let mut nodes = merge.nodes;
        nodes.retain(|path, _| filter.admits(path));
        imply_folders(&mut nodes, members, below, epoch)?;
        Ok(Self { nodes })
    }

    /// Members of which the tree needs content that was not kept, by their index.
    pub fn lacking(&self, members: &[Member]) -> BTreeSet<usize> {
        let files = self.nodes.values().filter_map(|node| match &node.kind {
            Kind::File(data) => Some((node.member, *data)),
            _ => None,
        });
        files
            .filter(|(member, data)| !members[*member].content.has(*data))
            .map(|(member, _)| member)
            .collect()
    }

    /// Paths that name the same data as an earlier path, which is where it is written.
    pub fn hard_links(&self) -> HashMap<&str, &str> {
        let mut first: HashMap<(usize, Data), &str> = HashMap::new();
        let mut links = HashMap::new();
        for (path, node) in &self.nodes {
            if let Kind::File(data) = node.kind {
                match first.get(&(node.member, data)) {
                    Some(earlier) => drop(links.insert(path.as_str(), *earlier)),
                    None => drop(first.insert((node.member, data), path)),
                }
            }
        }
        links
    }
}

fn links_outermost_first(members: &[Member]) -> Vec<(usize, &Entry)> {
    let mut links: Vec<(usize, &Entry)> = Vec::new();
    for (at, member) in members.iter().enumerate() {
        let own = member.entries.iter().filter(|e| matches!(e.kind, Kind::Symlink(_)));
        links.extend(own.map(|entry| (at, entry)));
    }
    links.sort_by_key(|(_, entry)| entry.path.matches('/').count());
    links
}

/// Every path's folders, so that a layer unpacks the same on its own.
fn imply_folders(
    nodes: &mut BTreeMap<String, Node>,
    members: &[Member],
    below: &Below,
    epoch: u64,
) -> Result<(), TreeError> {
    let mut missing = BTreeMap::new();
    for (path, node) in nodes.iter() {
        let mut end = path.len();
        while let Some(slash) = path[..end].rfind('/') {
            end = slash;
            let folder = &path[..end];
            match nodes.get(folder).map(|node| &node.kind) {
                Some(Kind::Directory) => break,
                Some(_) => {
                    let member = members[node.member].name.clone();
                    let (path, at) = (path.clone(), folder.to_owned());
                    return Err(TreeError::ThroughFile { path, member, at });
                }
                None if missing.insert(folder.to_owned(), node.member).is_some() => break,
                None => {}
            }
        }
    }
    for (path, member) in missing {
        let mode = match below.0.get(&path) {
            Some(Existing::Directory { mode }) => *mode,
            _ => 0o755,
        };
        nodes.insert(path, Node { kind: Kind::Directory, mode, mtime: epoch, member });
    }
    Ok(())
}

struct Merge<'a> {
    members: &'a [Member],
    below: &'a Below,
    epoch: u64,
    nodes: BTreeMap<String, Node>,
}

impl Merge<'_> {
    fn add(&mut self, member: usize, entry: &Entry) -> Result<(), TreeError> {
        let is_folder = entry.kind == Kind::Directory;
        let path = self.resolve(member, &entry.path, is_folder)?;
        if let Kind::Symlink(target) = &entry.kind {
            self.check_link(member, &path, target)?;
        }
        // A folder's time says nothing, and each package has another one.
        let mtime = if is_folder { self.epoch } else { entry.mtime.min(self.epoch) };
        let node = Node { kind: entry.kind.clone(), mode: entry.mode, mtime, member };
        match self.nodes.get(&path) {
            None => {
                self.nodes.insert(path, node);
            }
            Some(known) if known.kind == Kind::Directory && is_folder => {}
            Some(known) if matches!(known.kind, Kind::Symlink(_)) && known.kind == node.kind => {}
            Some(known) => {
                return Err(TreeError::Conflict {
                    path,
                    first: self.members[known.member].name.clone(),
                    second: self.members[member].name.clone(),
                });
            }
        }
        Ok(())
    }

    /// The path with every link on the way followed; the last component too, if it is a folder's.
    fn resolve(&self, member: usize, path: &str, is_folder: bool) -> Result<String, TreeError> {
        let name = || (path.to_owned(), self.members[member].name.clone());
        let mut rest: Vec<&str> = path.rsplit('/').collect();
        let mut resolved: Vec<&str> = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            match part {
                "" | "." => continue,
                ".." => {
                    // Only a link brings this here, and `check_link` has looked at it.
                    resolved.pop();
                    continue;
                }
                _ => resolved.push(part),
            }
            if rest.is_empty() && !is_folder {
                break;
            }
            let at = resolved.join("/");
            match self.look(&at) {
                Look::Symlink(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        let (path, member) = name();
                        return Err(TreeError::LinkLoop { path, member });
                    }
                    resolved.pop();
                    if target.starts_with('/') {
                        resolved.clear();
                    }
                    rest.extend(target.rsplit('/'));
                }
                Look::File if !rest.is_empty() => {
                    let (path, member) = name();
                    return Err(TreeError::ThroughFile { path, member, at });
                }
                _ => {}
            }
        }
        Ok(resolved.join("/"))
    }

    /// A relative link must not climb above the root from the folder that it lies in.
    fn check_link(&self, member: usize, path: &str, target: &str) -> Result<(), TreeError> {
        let mut depth = if target.starts_with('/') { 0 } else { path.matches('/').count() };
        for part in target.split('/').filter(|part| !part.is_empty() && *part != ".") {
            let next = if part == ".." { depth.checked_sub(1) } else { Some(depth + 1) };
            depth = next.ok_or_else(|| TreeError::OutOfRoot {
                path: path.to_owned(),
                member: self.members[member].name.clone(),
                link: target.to_owned(),
            })?;
        }
        Ok(())
    }

    fn look(&self, path: &str) -> Look<'_> {
        match self.nodes.get(path).map(|node| &node.kind) {
            Some(Kind::Symlink(target)) => return Look::Symlink(target),
            Some(Kind::File(_)) => return Look::File,
            Some(Kind::Directory) => return Look::Other,
            None => {}
        }
        match self.below.0.get(path) {
            Some(Existing::Symlink(target)) => Look::Symlink(target),
            Some(Existing::File) => Look::File,
            Some(Existing::Directory { .. }) | None => Look::Other,
        }
    }
}

enum Look<'a> {
    Symlink(&'a str),
    File,
    Other,
}
