//! What a host expects of a plugin: its own target, C library and contract, and what it allows.

use std::collections::BTreeSet;

use keyway_abi::descriptor;
use keyway_abi::interface::Interface;
use keyway_abi::{stamp, table};
use keyway_manifest::{Digest, Libc, Triple};
use thiserror::Error;

use crate::libc;

/// What a host expects. Every field is public: change what should differ from
/// [`Expectation::this_process`] or [`Expectation::for_target`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The target triple of the host.
    pub target: Triple,
    /// The C library of the host and its version; with `None` it is not compared.
    pub libc: Option<Libc>,
    /// The layout descriptor of the base contract; with `None` it is not compared.
    pub contract: Option<String>,
    /// The typed interfaces that the host knows.
    pub interfaces: Vec<KnownInterface>,
    /// What about plugins of other interfaces. They can still be called by method names, since that
    /// needs the base contract alone.
    pub other_interfaces: OtherInterfaces,
    /// What about libraries without a stamp.
    pub stamp: StampPolicy,
    /// Which toolchains may have built a plugin.
    pub toolchains: ToolchainPolicy,
    /// Which libraries a plugin may need, and which symbols of none.
    pub imports: ImportPolicy,
    /// What a plugin may show of itself.
    pub exports: ExportPolicy,
    /// Whether the owners and modes of files and folders are checked.
    pub permissions: PermissionPolicy,
}

/// A typed interface that a host was built with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownInterface {
    /// Its name.
    pub name: String,
    /// The layout descriptor of a plugin with this interface.
    pub descriptor: String,
}

/// What about plugins whose interface the host doesn't know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherInterfaces {
    /// They are admitted, and called by method names.
    Admit,
    /// They are refused.
    Refuse,
}

/// What about libraries without a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StampPolicy {
    /// They are refused.
    Required,
    /// They are admitted; this is for tools that look at libraries, a host can't call them.
    Optional,
}

/// Which toolchains may have built a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolchainPolicy {
    /// Those whose record has one of these hashes.
    Trusted(BTreeSet<Digest>),
    /// The one that built the host.
    SameAsHost,
    /// Any, even an unknown one, as long as the layout is the same. For development: the layout
    /// shows no difference between two versions of a compiler.
    AnyWithMatchingAbi,
}

/// Which libraries a plugin may need, and which symbols that none of them offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportPolicy {
    /// Those that match one of these names: libraries without regard to case, symbols as C spells
    /// them. Each `*` in a name stands for any text.
    Listed(BTreeSet<String>),
    /// Any.
    Any,
}

/// What a plugin may show of itself to the rest of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportPolicy {
    /// What the contract asks for: stamp and entry, and on macOS an install name without a folder.
    /// Beyond that symbols that match one of these patterns, as C spells them.
    Contract(BTreeSet<String>),
    /// Anything: a host loads plugins such that others don't see their symbols.
    Any,
}

/// Whether the owners and modes of files and folders are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermissionPolicy {
    /// Nobody but root and the host's user may be able to change the plugin.
    Strict,
    /// They are not looked at: for tools that only look at plugins.
    Unchecked,
}

/// The toolchain hash of this very host; `None` when it was built outside of any image.
pub const HOST_TOOLCHAIN: Option<Digest> =
    match stamp::toolchain_hash(option_env!("KEYWAY_TOOLCHAIN_HASH")) {
        Some(hash) => Some(Digest::from_bytes(hash)),
        None => None,
    };

/// The toolchains of the images that this host was released with, one a line: hash and target.
const TOOLCHAINS: &str = include_str!("../toolchains.txt");

impl Expectation {
    /// What this process expects: its own target, its own C library, the toolchains of the images
    /// that it was released with, and nothing that is not on every machine.
    pub fn this_process() -> Self {
        let target = stamp::TARGET.parse().expect("a compiler's target is a triple");
        let libc = libc::this_process();
        Self { libc, ..Self::for_target(target) }
    }

    /// What a host on `target` expects, as far as another machine can tell: its C library is not
    /// compared, and the contract only if its layout is the same as here.
    pub fn for_target(target: Triple) -> Self {
        let same_layout = pointer_width(&target) == Some(usize::BITS)
            && is_little_endian(&target) == cfg!(target_endian = "little");
        Self {
            libc: None,
            contract: same_layout.then(|| descriptor::BASE.to_owned()),
            interfaces: Vec::new(),
            other_interfaces: OtherInterfaces::Admit,
            stamp: StampPolicy::Required,
            toolchains: ToolchainPolicy::released(&target),
            imports: ImportPolicy::usual(&target),
            exports: ExportPolicy::Any,
            permissions: PermissionPolicy::Strict,
            target,
        }
    }
}

impl KnownInterface {
    /// The interface `I`, such as `dyn OrderBook`.
    pub fn of<I: Interface + ?Sized>() -> Self {
        Self { name: I::NAME.to_owned(), descriptor: I::DESCRIPTOR.to_owned() }
    }
}

/// Why a list of toolchains can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line} of the list of toolchains is no hash and target: `{found}`")]
pub struct ToolchainListError {
    /// The line, counted from 1.
    pub line: usize,
    /// The line's text.
    pub found: String,
}

impl ToolchainPolicy {
    /// The toolchains for `target` of the images that this host was released with.
    pub fn released(target: &Triple) -> Self {
        Self::trusted(TOOLCHAINS, target).expect("a test reads the list that is built in")
    }

    /// The toolchains for `target` in a list of lines `HASH TARGET`; empty lines and those that
    /// begin with `#` are skipped.
    ///
    /// # Errors
    ///
    /// A line is something else.
    pub fn trusted(list: &str, target: &Triple) -> Result<Self, ToolchainListError> {
        let mut trusted = BTreeSet::new();
        for (index, line) in list.lines().enumerate() {
            let text = line.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let entry = text.split_once(' ').and_then(|(hash, target)| {
                Some((hash.parse::<Digest>().ok()?, target.trim().parse::<Triple>().ok()?))
            });
            let error = || ToolchainListError { line: index + 1, found: text.to_owned() };
            let (hash, of) = entry.ok_or_else(error)?;
            if of == *target {
                trusted.insert(hash);
            }
        }
        Ok(Self::Trusted(trusted))
    }
}

impl ImportPolicy {
    /// What every machine of a target has. `libgcc_s` and `libwinpthread` are not among it: a
    /// plugin that needs them was linked in a way that works on the machine that built it.
    pub fn usual(target: &Triple) -> Self {
        let names: &[&str] = match target.as_str() {
            target if target.contains("-windows") => &[
                "advapi32.dll",
                "api-ms-win-core-*.dll",
                // The universal C runtime, which every Windows since 10 has.
                "api-ms-win-crt-*.dll",
                "bcrypt.dll",
                "bcryptprimitives.dll",
                "kernel32.dll",
                "msvcrt.dll",
                "ntdll.dll",
                "userenv.dll",
                "ws2_32.dll",
            ],
            target if target.contains("-apple-") => {
                &["/usr/lib/libSystem.B.dylib", "/usr/lib/libiconv.2.dylib"]
            }
            target if target.contains("-freebsd") => {
                &["libc.so.7", "libm.so.5", "libthr.so.3", "ld-elf.so.1"]
            }
            target if target.contains("-musl") => &["libc.so", "libc.musl-*.so.1"],
            target if target.contains("-linux-gnu") => &[
                "ld-linux*.so.*",
                "ld64.so.*",
                "libc.so.6",
                "libdl.so.2",
                "libm.so.6",
                "libpthread.so.0",
                "librt.so.1",
                "libutil.so.1",
            ],
            _ => &[],
        };
        Self::Listed(names.iter().map(|&name| name.to_owned()).collect())
    }

    /// Whether a plugin may need `library`.
    pub fn allows(&self, library: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(names) => {
                let library = library.to_ascii_lowercase();
                names.iter().any(|name| matches(&name.to_ascii_lowercase(), &library))
            }
        }
    }

    /// Whether a plugin may need `symbol` of whoever has it.
    pub fn allows_symbol(&self, symbol: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(names) => names.iter().any(|name| matches(name, symbol)),
        }
    }
}

impl ExportPolicy {
    /// Whether a plugin with a stamp may offer `symbol`.
    pub fn allows(&self, symbol: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Contract(more) => {
                [stamp::SYMBOL, table::ENTRY_SYMBOL].contains(&symbol)
                    || more.iter().any(|name| matches(name, symbol))
            }
        }
    }
}

/// Whether `text` is `pattern`, in which each `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

/// How wide a pointer is on a target; `None` for an architecture that is not known here.
fn pointer_width(target: &Triple) -> Option<u32> {
    match target.arch() {
        "i386" | "i486" | "i586" | "i686" | "mips" | "mipsel" | "powerpc" => Some(32),
        arch if arch.starts_with("armv") || arch.starts_with("riscv32") || arch == "arm" => {
            Some(32)
        }
        arch if arch.contains("64") || arch == "s390x" => Some(64),
        _ => None,
    }
}

fn is_little_endian(target: &Triple) -> bool {
    !matches!(
        target.arch(),
        "s390x" | "powerpc" | "powerpc64" | "mips" | "mips64" | "sparc64" | "aarch64_be" | "armeb"
    )
}
