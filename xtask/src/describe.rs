//! An artifact and what inspection read from it → its manifest. Pure.

use std::collections::{BTreeMap, BTreeSet};

use keyway_abi::stamp::{Kind, Stamp, StampedInterface};
use keyway_inspect::{HeaderError, Inspection, Violation, inspect};
use keyway_manifest::{
    Abi, Build, Digest, FormatVersion, Image, Interface, Manifest, Plugin, Source, StampFormat,
};
use thiserror::Error;

use crate::artifact::Artifact;
use crate::failure::{Diagnose, Exit};
use crate::plan::{Step, Wanted};

/// Why an artifact can't be described.
#[derive(Debug, Error)]
pub enum DescribeError {
    /// The bytes are not those of a well-formed library.
    #[error("`{file}` of `{plugin}` is malformed: {}", list(.violations))]
    Malformed {
        /// The plugin.
        plugin: String,
        /// The library.
        file: String,
        /// All that is wrong.
        violations: Vec<Violation>,
    },
    /// The bytes are those of no object file.
    #[error("`{file}` of `{plugin}` is no native library")]
    Header {
        /// The plugin.
        plugin: String,
        /// The library.
        file: String,
        /// Why.
        source: HeaderError,
    },
    /// The package's name can't be a plugin's.
    #[error("`{plugin}` can't be a plugin's name")]
    Name {
        /// The package.
        plugin: String,
        /// Why.
        source: keyway_manifest::ParseNameError,
    },
}

impl Diagnose for DescribeError {
    fn exit(&self) -> Exit {
        match self {
            Self::Malformed { .. } | Self::Header { .. } => Exit::Failed,
            Self::Name { .. } => Exit::Usage,
        }
    }
}

fn list(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The manifest of `artifact`, which `step` built from `source`.
///
/// # Errors
/// If the library is malformed, or its package's name is none that every system can hold.
pub fn manifest(
    step: &Step,
    wanted: &Wanted,
    artifact: &Artifact,
    source: Source,
) -> Result<Manifest, DescribeError> {
    let plugin = &wanted.plugin;
    let Inspection { facts, violations } =
        inspect(&artifact.bytes).map_err(|source| DescribeError::Header {
            plugin: plugin.name.clone(),
            file: artifact.file.to_string(),
            source,
        })?;
    if !violations.is_empty() {
        return Err(DescribeError::Malformed {
            plugin: plugin.name.clone(),
            file: artifact.file.to_string(),
            violations,
        });
    }
    let name = plugin
        .name
        .parse()
        .map_err(|source| DescribeError::Name { plugin: plugin.name.clone(), source })?;
    // A stamp that does not parse is as good as none: the gate says what is wrong with it.
    let stamp = facts
        .stamp
        .clone()
        .and_then(|range| artifact.bytes.get(range))
        .and_then(|bytes| Stamp::parse(bytes).ok());
    let abi = stamp.map(|stamp| Abi {
        contract: (stamp.kind == Kind::Keyway).then(|| Digest::of(stamp.contract)),
        interfaces: stamp.interfaces.as_slice().iter().map(interface).collect(),
    });
    Ok(Manifest {
        format: FormatVersion,
        plugin: Plugin { name, version: plugin.version.clone() },
        target: step.target.triple.clone(),
        artifact: keyway_manifest::Artifact {
            file: artifact.file.clone(),
            format: facts.header.format,
            size: artifact.bytes.len() as u64,
            sha256: Digest::of(&artifact.bytes),
        },
        stamp: if abi.is_some() { StampFormat::Keyway1 } else { StampFormat::None },
        toolchain: abi.is_some().then(|| step.toolchain.clone()),
        abi,
        image: Some(Image {
            name: step.image.name.clone(),
            config: step.image.config,
            manifest: step.image.manifest,
        }),
        source,
        build: Build {
            profile: step.profile.clone(),
            features: artifact.features.iter().cloned().collect(),
            flags: step.rustflags.clone(),
            env: step.env.clone(),
            epoch: step.image.epoch,
        },
        libc: facts.libc,
        imports: facts.imports,
        exports: facts.exports,
        annotations: BTreeMap::new(),
        requires: BTreeSet::new(),
    })
}

fn interface(stamped: &StampedInterface<'_>) -> Interface {
    let (id, version) = (stamped.id.to_owned(), stamped.version);
    Interface { id, version, hash: Digest::of(stamped.descriptor) }
}
