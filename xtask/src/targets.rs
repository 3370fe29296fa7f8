//! `targets.toml`: every target once, parsed and checked before anything else happens.
//!
//! This module owns the schema. It does not know what images hold or how a build runs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_manifest::text::Show as _;
use keyway_manifest::{Libc, LibcFamily, LibcVersion, Triple};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::container::EngineName;
use crate::failure::{Diagnose, Exit};

/// The targets that are built for where a workspace describes none.
const SHIPPED: &str = include_str!("../../targets.toml");

/// All targets of a workspace and those that are built when none is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSet {
    targets: BTreeMap<Triple, Target>,
    default: Vec<Triple>,
    engines: Vec<EngineName>,
}

/// One target: a triple with the image, linker, libc floor and imports that it is built with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// What it builds for.
    pub triple: Triple,
    /// How; as `targets.toml` says.
    #[serde(flatten)]
    pub spec: Spec,
}

/// What `targets.toml` says of one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The recipe under `docker/` whose image builds it.
    pub image: String,
    /// Program in the image that links for it.
    pub linker: String,
    /// C compiler in the image, for crates that build C code.
    pub cc: String,
    /// C++ compiler in the image, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cxx: Option<String>,
    /// Archiver in the image.
    pub ar: String,
    /// Arguments for rustc.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rustflags: Vec<String>,
    /// Environment of the build, beside what every build gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The libc a plugin may need of its host; none where the target has no versioned libc.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "libc")]
    pub libc: Option<Libc>,
    /// Patterns of libraries that a plugin may load.
    pub imports: Vec<String>,
    /// The folder of stubs, below `docker/`, which say what symbols each library of the system has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stubs: Option<PathBuf>,
    /// How a program for it is run; where nothing here can, it is only checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<Runner>,
}

/// How `test-plugins` runs a program for a target: in which image, by what, and how paths are spelled
/// there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runner {
    /// The recipe under `docker/` whose image runs it; the one that builds unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The words before the program: an emulator or a loader with its options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// How the program spells paths.
    #[serde(default)]
    pub paths: Paths,
}

impl Runner {
    /// Its first word, or what takes the place of one.
    pub fn name(&self) -> &str {
        let word = self.command.first().or(self.image.as_ref());
        word.map_or("natively", |word| word.rsplit('/').next().unwrap_or(word))
    }
}

/// How a program spells the paths of the image that it runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Paths {
    /// As they are.
    #[default]
    Unix,
    /// On drive Z, with backslashes, as wine shows the root.
    Windows,
}

/// In a manifest the floor is always there, if only as null, which TOML does not have.
fn libc<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Libc>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        family: LibcFamily,
        floor: Option<LibcVersion>,
    }
    let Written { family, floor } = Written::deserialize(deserializer)?;
    Ok(Some(Libc { family, floor }))
}

/// What is wrong with `targets.toml` or with a request for a target.
#[derive(Debug, Error)]
pub enum TargetsError {
    /// The file can't be read.
    #[error("could not read `{path}`", path = .path.shown())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what this module describes.
    #[error("could not parse `{path}`", path = .path.shown())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: toml::de::Error,
    },
    /// `default` names a target that no table describes.
    #[error("`default` in `{path}` names `{triple}`, which has no table `[target.{triple}]`", path = .path.shown())]
    UnknownDefault {
        /// The file.
        path: PathBuf,
        /// The name.
        triple: Triple,
    },
    /// The user asked for a target that is not described.
    #[error("no target `{asked}` in `targets.toml`")]
    Unknown {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: Vec<Triple>,
    },
}

impl Diagnose for TargetsError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => {
                Some("the workspace needs a `targets.toml` beside its Cargo.toml".into())
            }
            Self::Unknown { known, .. } => {
                let known: Vec<&str> = known.iter().map(Triple::as_str).collect();
                Some(format!("targets are: {}; or `all`", known.join(", ")))
            }
            Self::Parse { .. } | Self::UnknownDefault { .. } => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Vec<Triple>,
    #[serde(default = "engines")]
    engines: Vec<EngineName>,
    target: BTreeMap<Triple, Spec>,
}

/// The engines that are tried if the file does not say.
fn engines() -> Vec<EngineName> {
    EngineName::ORDER.into()
}

impl TargetSet {
    /// Reads a workspace's `targets.toml`; without one, what this tool ships is meant.
    ///
    /// # Errors
    /// Those of [`TargetSet::read`].
    pub fn open(own: Option<&Path>) -> Result<Self, TargetsError> {
        match own {
            Some(path) => Self::read(path),
            None => Self::parse(Path::new("targets.toml"), SHIPPED),
        }
    }

    /// Reads and checks a `targets.toml`.
    ///
    /// # Errors
    /// If the file can't be read, does not parse, or names a default that it does not describe.
    pub fn read(path: &Path) -> Result<Self, TargetsError> {
        let text = fs::read_to_string(path)
            .map_err(|source| TargetsError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Checks the text of a `targets.toml`; `path` is for messages.
    ///
    /// # Errors
    /// If it does not parse or names a default that it does not describe.
    pub fn parse(path: &Path, text: &str) -> Result<Self, TargetsError> {
        let file: File = toml::from_str(text)
            .map_err(|source| TargetsError::Parse { path: path.to_owned(), source })?;
        if let Some(triple) = file.default.iter().find(|triple| !file.target.contains_key(triple)) {
            return Err(TargetsError::UnknownDefault {
                path: path.to_owned(),
                triple: triple.clone(),
            });
        }
        let targets = file.target.into_iter();
        let targets = targets.map(|(triple, spec)| (triple.clone(), Target { triple, spec }));
        Ok(Self { targets: targets.collect(), default: file.default, engines: file.engines })
    }

    /// Every target, by triple.
    pub fn iter(&self) -> impl Iterator<Item = &Target> {
        self.targets.values()
    }

    /// The engines to try, in this order.
    pub fn engines(&self) -> &[EngineName] {
        &self.engines
    }

    /// Whether a target is built when none is asked for.
    pub fn is_default(&self, triple: &Triple) -> bool {
        self.default.contains(triple)
    }

    /// The targets that `asked` names, each once, by triple: the default set if it is empty, every
    /// target for `all`.
    ///
    /// # Errors
    /// If it names a target that is not described.
    pub fn select(&self, asked: &[String]) -> Result<Vec<&Target>, TargetsError> {
        let find = |name: &String| {
            let triple = name.parse().ok();
            triple.as_ref().and_then(|triple| self.targets.get(triple)).ok_or_else(|| {
                TargetsError::Unknown {
                    asked: name.clone(),
                    known: self.targets.keys().cloned().collect(),
                }
            })
        };
        let mut selected = if asked.is_empty() {
            self.default.iter().filter_map(|triple| self.targets.get(triple)).collect()
        } else if asked.iter().any(|name| name == "all") {
            self.iter().collect()
        } else {
            asked.iter().map(find).collect::<Result<Vec<_>, _>>()?
        };
        selected.sort_by_key(|target| &target.triple);
        selected.dedup();
        Ok(selected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TargetSet, TargetsError> {
        TargetSet::parse(Path::new("targets.toml"), text)
    }

    fn shipped() -> TargetSet {
        parse(include_str!("../../targets.toml")).expect("the shipped file is right")
    }

    fn triples(selected: &[&Target]) -> Vec<String> {
        selected.iter().map(|target| target.triple.to_string()).collect()
    }

    #[test]
    fn selects_default_all_or_named() {
        let set = shipped();
        let two = ["x86_64-pc-windows-gnu", "x86_64-unknown-freebsd"];
        let select = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
            set.select(&asked).map(|selected| triples(&selected))
        };
        let default = select(&[]).expect("default");
        assert!(default.len() >= 2 && default.is_sorted(), "{default:?}");
        let all = select(&["all"]).expect("all");
        assert!(default.iter().all(|triple| all.contains(triple)) && all.len() > default.len());
        assert_eq!(select(&two).expect("named"), two);
        assert_eq!(select(&[two[0], two[0]]).expect("named twice"), [two[0]]);
        let error = select(&["sparc-sun-solaris"]).expect_err("not described");
        assert!(error.hint().expect("a hint").contains(two[0]), "{error}");
    }

    #[test]
    fn engines_are_tried_in_the_order_of_the_file() {
        let silent = parse("default = []\n[target]\n").expect("no word of engines");
        assert_eq!(silent.engines(), EngineName::ORDER);
        let text = "default = []\nengines = [\"sandbox\", \"podman\"]\n[target]\n";
        let set = parse(text).expect("two engines");
        assert_eq!(set.engines(), [EngineName::Sandbox, EngineName::Podman]);
        let error = parse(&text.replace("podman", "lxc")).expect_err("no such engine");
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains("`lxc`") && cause.contains("`podman`"), "{cause}");
    }

    #[test]
    fn says_what_is_wrong_with_the_file() {
        let error = parse("default = [\"a-b\"]\n[target]\n").expect_err("no such table");
        assert!(matches!(error, TargetsError::UnknownDefault { .. }), "{error}");
        for text in [
            "default = 1",
            "default = []\n[target.\"../x\"]\n",
            "default = []\nother = 1\n[target]\n",
        ] {
            let error = parse(text).expect_err(text);
            assert!(matches!(error, TargetsError::Parse { .. }), "{error}");
        }
        let error = TargetSet::read(Path::new("/nowhere/targets.toml")).expect_err("no file");
        assert!(matches!(error, TargetsError::Read { .. }), "{error}");
    }
}
