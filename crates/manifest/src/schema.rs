//! The manifest's fields, as types. Reading and writing is in `document.rs`.
//!
//! Format 1 is what hosts will read from now on, so all that may come later has its place: whatever a
//! host can do without in `annotations`, whatever it can't in `requires`.
//!
//! Two builds of the same sources give the same manifest: there is no time and no host name in it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, FileName, LibcVersion, PluginName, ToolchainRecord, Triple};

/// The record that lies beside a plugin's library.
///
/// Every field is public: a manifest is checked as a whole, by [`Manifest::parse`], since what can
/// be wrong with it is mostly how the fields agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this schema.
    pub format: FormatVersion,
    /// The plugin.
    pub plugin: Plugin,
    /// The target that it was built for.
    pub target: Triple,
    /// The library.
    pub artifact: Artifact,
    /// The stamp in the library.
    pub stamp: StampFormat,
    /// The ABI; `null` exactly when there is no stamp.
    #[serde(deserialize_with = "present")]
    pub abi: Option<Abi>,
    /// The toolchain; `null` when the build was not pinned or there is no stamp to hold its hash.
    #[serde(deserialize_with = "present")]
    pub toolchain: Option<Toolchain>,
    /// The image that it was built in; `null` when it was built outside of any.
    #[serde(deserialize_with = "present")]
    pub image: Option<Image>,
    /// The sources.
    pub source: Source,
    /// How cargo was called.
    pub build: Build,
    /// The C library that must be there at run time; `null` where the target has no such notion.
    ///
    /// This, `imports` and `exports` are for people and tools. A host goes by what it reads from the bytes
    /// itself, and does not compare: a later version may read more.
    #[serde(deserialize_with = "present")]
    pub libc: Option<Libc>,
    /// What the library takes from others, by library.
    pub imports: BTreeSet<Import>,
    /// The symbols that the library offers.
    pub exports: BTreeSet<String>,
    /// Remarks by whoever made or passed it on, by name. Hosts ignore them. May be left out.
    #[serde(default, deserialize_with = "unique")]
    pub annotations: BTreeMap<String, String>,
    /// What a host must know of to load it, by name; one that does not know a name refuses the plugin.
    /// May be left out.
    #[serde(default)]
    pub requires: BTreeSet<String>,
}

/// The version of the manifest's schema that this crate reads and writes: 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FormatVersion;

impl FormatVersion {
    /// The number in the file.
    pub const NUMBER: u64 = 1;
}

impl Serialize for FormatVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(Self::NUMBER)
    }
}

impl<'de> Deserialize<'de> for FormatVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            Self::NUMBER => Ok(Self),
            other => Err(serde::de::Error::custom(format_args!(
                "expected format {}, found `{other}`",
                Self::NUMBER
            ))),
        }
    }
}

/// The plugin's package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// Its name.
    pub name: PluginName,
    /// Its version.
    pub version: String,
}

/// The library that the manifest describes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Its file name; it lies in the manifest's folder.
    pub file: FileName,
    /// Its object format.
    pub format: ObjectFormat,
    /// Its size in bytes.
    pub size: u64,
    /// Its content.
    pub sha256: Digest,
}

/// The format of an object file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectFormat {
    /// Linux, FreeBSD and most others.
    Elf,
    /// Windows.
    Pe,
    /// macOS and iOS.
    Macho,
}

impl ObjectFormat {
    /// As the manifest spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Elf => "elf",
            Self::Pe => "pe",
            Self::Macho => "macho",
        }
    }
}

impl std::fmt::Display for ObjectFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which stamp the library carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StampFormat {
    /// None: a cdylib that does not use the SDK.
    #[serde(rename = "none")]
    None,
    /// The stamp of keyway-abi, version 1.
    #[serde(rename = "keyway-1")]
    Keyway1,
}

/// What host and plugin must agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abi {
    /// SHA-256 of the layout descriptor of the contract; `null` for a library that is for another
    /// program's loader.
    #[serde(deserialize_with = "present")]
    pub contract: Option<Digest>,
    /// The typed interfaces; empty for a plugin that offers named methods only.
    pub interfaces: BTreeSet<Interface>,
}

/// A typed interface that a plugin offers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// SHA-256 of its layout descriptor.
    pub hash: Digest,
}

/// The toolchain and the hash of its record, which is what the stamp holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// [`ToolchainRecord::hash`] of `record`.
    pub hash: Digest,
    /// The record.
    pub record: ToolchainRecord,
}

impl From<ToolchainRecord> for Toolchain {
    fn from(record: ToolchainRecord) -> Self {
        Self { hash: record.hash(), record }
    }
}

/// The image that a build ran in. Which of the two digests an engine calls the image's identity
/// depends on its store, so both are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its name in `docker/`.
    pub name: String,
    /// The digest of its config.
    pub config: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
}

/// The sources of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The last git commit that changed the sources; `null` outside of a repository, or where git does
    /// not say.
    #[serde(deserialize_with = "present")]
    pub commit: Option<String>,
    /// Whether the sources differ from that commit; `null` without one, or where that is not known.
    #[serde(deserialize_with = "present")]
    pub dirty: Option<bool>,
    /// The digest of the source files themselves; `null` if they changed while they were compiled.
    #[serde(deserialize_with = "present")]
    pub tree: Option<Digest>,
    /// SHA-256 of `Cargo.lock`; `null` where cargo did not build it.
    #[serde(deserialize_with = "present")]
    pub lock: Option<Digest>,
}

/// How cargo was called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The profile.
    pub profile: String,
    /// The features of the plugin's package.
    pub features: BTreeSet<String>,
    /// The compiler's flags, in their order.
    pub flags: Vec<String>,
    /// The environment that a build can see.
    #[serde(deserialize_with = "unique")]
    pub env: BTreeMap<String, String>,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub epoch: u64,
}

/// The C library that must be there at run time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Libc {
    /// Which one.
    pub family: LibcFamily,
    /// The oldest version that will do; `null` where symbols have no versions (musl).
    #[serde(deserialize_with = "present")]
    pub floor: Option<LibcVersion>,
}

impl std::fmt::Display for Libc {
    /// `glibc 2.17 or newer`, `musl`, `macOS 11.0 or newer`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.family {
            LibcFamily::Libsystem => f.write_str("macOS")?,
            family => write!(f, "{family}")?,
        }
        self.floor.map_or(Ok(()), |floor| write!(f, " {floor} or newer"))
    }
}

/// A C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LibcFamily {
    /// The GNU C library.
    Glibc,
    /// musl.
    Musl,
    /// macOS' own, which comes with the system: its version is that of the system.
    Libsystem,
}

impl std::fmt::Display for LibcFamily {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
            Self::Libsystem => "libsystem",
        })
    }
}

/// The symbols that are taken from one library.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// The library as the binary names it; `null` for symbols that any library may provide.
    #[serde(deserialize_with = "present")]
    pub library: Option<String>,
    /// The symbols: `name`, `name@VERSION`, or `#17` for one imported by number.
    pub symbols: BTreeSet<String>,
}

/// Reads an optional field that must be there, if only as `null`: serde's own `Option` takes a
/// missing field for `null`.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// Reads a map and refuses a key that is there twice.
fn unique<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Visitor;

    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a map of strings")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut access: A,
        ) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry::<String, String>()? {
                if map.contains_key(&key) {
                    let message = format_args!("duplicate key `{key}`");
                    return Err(serde::de::Error::custom(message));
                }
                map.insert(key, value);
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Visitor)
}
