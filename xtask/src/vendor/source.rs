//! Where crates come from, as Cargo.lock and `cargo metadata` write it, and cargo's configuration that
//! replaces each such source by a folder.

use std::collections::BTreeMap;

use keyway_manifest::Digest;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::GUEST;
use crate::configuration::Configuration;

/// What Cargo.lock calls crates.io, whichever protocol and mirror it is read by.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A registry, or one commit of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Source(String);

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    CratesIo,
    Registry {
        /// As `registry = "…"` has it.
        url: String,
    },
    Git {
        url: String,
        /// `branch`, `tag` or `rev`, and its value.
        reference: Option<(String, String)>,
    },
}

impl Source {
    pub(super) fn new(id: &str) -> Self {
        Self(id.to_owned())
    }

    pub(super) fn kind(&self) -> Kind {
        if self.0 == CRATES_IO {
            return Kind::CratesIo;
        }
        let Some(git) = self.0.strip_prefix("git+") else {
            let url = self.0.strip_prefix("registry+").unwrap_or(&self.0);
            return Kind::Registry { url: url.to_owned() };
        };
        let git = git.split('#').next().unwrap_or(git);
        let (url, query) = git.split_once('?').unwrap_or((git, ""));
        let reference = query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8_lossy().into_owned();
            ["branch", "tag", "rev"].contains(&key).then(|| (key.to_owned(), value))
        });
        Kind::Git { url: url.to_owned(), reference }
    }

    /// The folder of its crates below [`GUEST`]: the same on every machine, and with another commit
    /// another one, so that what lies there never changes.
    pub(super) fn folder(&self) -> String {
        let digest = Digest::of(&self.0).short();
        match self.kind() {
            Kind::CratesIo => String::new(),
            Kind::Registry { url } => {
                let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                format!("registries/{}-{digest}", plain(host.split('/').next().unwrap_or(host)))
            }
            Kind::Git { url, .. } => format!("git/{}-{digest}", repository(&url)),
        }
    }
}

/// The name of a repository.
pub(super) fn repository(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    plain(url.rsplit(['/', ':']).next().unwrap_or(url))
}

/// A text as a name that needs no quotes and is not hidden.
fn plain(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    text.chars().map(keep).collect()
}

/// Configuration that makes cargo take the crates of each source from its folder below [`GUEST`]. It
/// holds against what the workspace's own configuration says of these sources, and adds the registries
/// that only this machine's configuration names.
pub(super) fn configuration(
    folders: &BTreeMap<Source, String>,
    configuration: &Configuration,
) -> String {
    let own = &configuration.sources;
    let mut sources = Table::new();
    // Where no crate is from there, it may still be asked for one.
    let crates_io = BTreeMap::from([(Source::new(CRATES_IO), String::new())]);
    for (source, folder) in crates_io.iter().chain(folders) {
        let directory = format!("{GUEST}/{folder}").trim_end_matches('/').to_owned();
        let mut replace = |name: &str, definition: Table| {
            let table = sources.entry(name).or_insert_with(|| Table::new().into());
            if let Value::Table(table) = table {
                table.extend(definition);
                table.insert("replace-with".to_owned(), directory.clone().into());
            }
        };
        let kind = source.kind();
        // Cargo refuses a second name for a source.
        let name = own.iter().find(|(_, table)| is(table, &kind)).map(|(name, _)| name.as_str());
        let name = name.unwrap_or_else(|| match &kind {
            Kind::CratesIo => "crates-io",
            Kind::Registry { url } => url,
            Kind::Git { .. } => source.0.split('#').next().unwrap_or(&source.0),
        });
        replace(name, definition(&kind));
        // A cargo that a build script runs reads the workspace's configuration first. Its mirror is out of
        // reach; a folder of it is not.
        let last = last_replacement(own, name);
        if last != name && own.get(last).is_some_and(|table| table.get("registry").is_some()) {
            replace(last, Table::new());
        }
        let folder = Table::from_iter([("directory".to_owned(), directory.clone().into())]);
        sources.insert(directory, folder.into());
    }
    let registries = configuration.registries.iter();
    let registries = registries.map(|(name, index)| {
        let table = Table::from_iter([("index".to_owned(), index.clone().into())]);
        (name.clone(), Value::Table(table))
    });
    let all = [("source", sources), ("registries", registries.collect())];
    let all = all.into_iter().filter(|(_, table)| !table.is_empty());
    Table::from_iter(all.map(|(key, table)| (key.to_owned(), Value::Table(table)))).to_string()
}

/// The keys of `[source.…]` that say what a source is.
fn definition(kind: &Kind) -> Table {
    match kind {
        Kind::CratesIo => Table::new(),
        Kind::Registry { url } => Table::from_iter([("registry".to_owned(), url.clone().into())]),
        Kind::Git { url, reference } => {
            let reference = reference.iter().map(|(key, value)| (key.clone(), value.clone()));
            let keys = reference.chain([("git".to_owned(), url.clone())]);
            keys.map(|(key, value)| (key, value.into())).collect()
        }
    }
}

/// Whether a table of `[source]` is about that source.
fn is(table: &Value, kind: &Kind) -> bool {
    let text = |key: &str| table.get(key).and_then(Value::as_str);
    let same = |a: &str, b: &str| {
        let canonical = |url: &str| {
            let url = url.trim_end_matches('/');
            url.strip_suffix(".git").unwrap_or(url).to_lowercase()
        };
        canonical(a) == canonical(b)
    };
    match kind {
        Kind::CratesIo => false,
        Kind::Registry { url } => text("registry").is_some_and(|registry| same(registry, url)),
        Kind::Git { url, reference } => {
            let keys = ["branch", "tag", "rev"];
            let named = keys.iter().find_map(|key| Some((*key, text(key)?)));
            let asked = reference.as_ref().map(|(key, value)| (key.as_str(), value.as_str()));
            text("git").is_some_and(|git| same(git, url)) && named == asked
        }
    }
}

/// What the workspace's configuration puts in place of a source in the end.
fn last_replacement<'t>(own: &'t Table, name: &'t str) -> &'t str {
    let mut last = name;
    // No chain is longer than there are sources; cargo refuses a circle.
    for _ in 0..own.len() {
        let next = own.get(last).and_then(|table| table.get("replace-with")?.as_str());
        last = next.unwrap_or(last);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(ids: &[&str], own: &str) -> Table {
        let folders = ids.iter().map(|id| Source::new(id));
        let folders = folders.map(|source| (source.clone(), source.folder())).collect();
        let mut configured = Configuration::default();
        configured.sources = own.parse().expect("TOML");
        configuration(&folders, &configured).parse().expect("TOML")
    }

    const REGISTRY: &str = "sparse+https://crates.example.org/index/";
    const GIT: &str = "git+ssh://git@example.org/a/some.thing.git?branch=feat%2Fx#0123456789abcdef";

    #[test]
    fn each_source_has_a_folder_of_its_own() {
        let folders = [CRATES_IO, REGISTRY, GIT].map(|id| Source::new(id).folder());
        assert_eq!(folders[0], "");
        assert!(folders[1].starts_with("registries/crates_example_org-"), "{}", folders[1]);
        assert!(folders[2].starts_with("git/some_thing-"), "{}", folders[2]);
        let other = Source::new(&GIT.replace("0123", "3210")).folder();
        assert_ne!(folders[2], other, "another commit lies elsewhere");
    }

    #[test]
    fn every_source_is_replaced() {
        let table = written(&[CRATES_IO, REGISTRY, GIT], "");
        let source = &table["source"];
        assert_eq!(source["crates-io"]["replace-with"].as_str(), Some(GUEST));
        assert_eq!(source[GUEST]["directory"].as_str(), Some(GUEST));
        assert_eq!(source[REGISTRY]["registry"].as_str(), Some(REGISTRY));
        let git = &source[GIT.split('#').next().expect("it has one")];
        assert_eq!(git["git"].as_str(), Some("ssh://git@example.org/a/some.thing.git"));
        assert_eq!(git["branch"].as_str(), Some("feat/x"));
        let folder = git["replace-with"].as_str().expect("a name");
        assert_eq!(source[folder]["directory"].as_str(), Some(folder));
    }

    #[test]
    fn names_and_mirrors_of_the_workspace_are_respected() {
        let own = "[crates-io]\nreplace-with = \"mirror\"\n[mirror]\nregistry = \"https://m.example.org\"\n\
                   [ours]\ngit = \"ssh://git@example.org/a/some.thing\"\nbranch = \"feat/x\"\n";
        let source = &written(&[GIT], own)["source"];
        assert_eq!(source["mirror"]["replace-with"].as_str(), Some(GUEST));
        assert!(source["ours"]["replace-with"].as_str().is_some_and(|to| to.contains("/git/")));
        assert!(source.get(GIT.split('#').next().expect("it has one")).is_none());
        let own = "[crates-io]\nreplace-with = \"folder\"\n[folder]\ndirectory = \"vendor\"\n";
        assert!(written(&[], own)["source"].get("folder").is_none(), "it is seen inside");
    }
}
