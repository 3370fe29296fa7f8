//! The canary plugin: built here by the machine's own cargo, and described as a build would do it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use keyway_abi::stamp::{self, Stamp, StampedInterface};
use keyway_manifest::{
    Abi, Artifact, Build, Digest, FormatVersion, Interface, Linker, Manifest, PanicStrategy,
    Plugin, Rustc, Source, StampFormat, ToolchainRecord,
};

#[path = "built.rs"]
pub(crate) mod built;

/// The library, built once.
pub(crate) static LIBRARY: LazyLock<PathBuf> = LazyLock::new(build);

/// A toolchain that no image has; the canary is stamped with its hash.
pub(crate) fn toolchain() -> ToolchainRecord {
    ToolchainRecord {
        crt: "the machine's own".to_owned(),
        linker: Linker { name: "cc".to_owned(), version: "0".to_owned() },
        panic: PanicStrategy::Unwind,
        rustc: Rustc {
            commit: "unknown".to_owned(),
            llvm: "0".to_owned(),
            release: "0.0.0".to_owned(),
        },
        std: Digest::of("the machine's own"),
        target: stamp::TARGET.parse().expect("a triple"),
    }
}

/// In a target folder of its own, since the toolchain hash is part of what is compiled.
fn build() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("canary");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--release", "--package", "canary", "--target-dir"])
        .arg(&target)
        .env("KEYWAY_TOOLCHAIN_HASH", toolchain().hash().to_string())
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    built::library(&mut cargo, "canary")
}

fn interface(stamped: &StampedInterface<'_>) -> Interface {
    let (id, version) = (stamped.id.to_owned(), stamped.version);
    Interface { id, version, hash: Digest::of(stamped.descriptor) }
}

/// What a build writes beside a library.
pub(crate) fn manifest(library: &[u8], file: &str) -> Manifest {
    let facts = keyway_inspect::inspect(library).expect("a library").facts;
    let section = &library[facts.stamp.expect("a stamp section")];
    let stamp = Stamp::parse(section).expect("a stamp");
    Manifest {
        format: FormatVersion,
        plugin: Plugin {
            name: stamp.name.parse().expect("a name"),
            version: stamp.version.to_owned(),
        },
        target: stamp.target.parse().expect("a triple"),
        artifact: Artifact {
            file: file.parse().expect("a file name"),
            format: facts.header.format,
            size: library.len() as u64,
            sha256: Digest::of(library),
        },
        stamp: StampFormat::Keyway1,
        abi: Some(Abi {
            contract: (!stamp.contract.is_empty()).then(|| Digest::of(stamp.contract)),
            interfaces: stamp.interfaces.as_slice().iter().map(interface).collect(),
        }),
        toolchain: stamp.toolchain.is_some().then(|| toolchain().into()),
        image: None,
        source: Source {
            commit: None,
            dirty: None,
            tree: Some(Digest::of("tree")),
            lock: Some(Digest::of("lock")),
        },
        build: Build {
            profile: "release".to_owned(),
            features: [].into(),
            flags: Vec::new(),
            env: [].into(),
            epoch: 0,
        },
        libc: facts.libc,
        imports: facts.imports,
        exports: facts.exports,
        annotations: [].into(),
        requires: [].into(),
    }
}
