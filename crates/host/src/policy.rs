//! What a host expects of a plugin: its own target, C library and contract, and what it allows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyway_abi::interface::Interface;
use keyway_abi::layout::Model;
use keyway_abi::stamp::{Stamp, StampedInterface};
use keyway_abi::{stamp, table};
use keyway_manifest::{Digest, Libc, LibcVersion, Triple};

use crate::toolchains::{ToolchainListError, Toolchains};
use crate::{libc, processor};

/// What a host expects. Every field is public: change what should differ from
/// [`Expectation::this_process`] or [`Expectation::for_target`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The target triple of the host, for which a plugin has to be built.
    pub target: Triple,
    /// Triples beside it whose plugins are accepted too; none, unless
    /// [`accept_same_abi`](Expectation::accept_same_abi) says otherwise.
    pub also_accepted: BTreeSet<Triple>,
    /// The C library of the host and its version; with `None` it is not compared.
    pub libc: Option<Libc>,
    /// The layout descriptor of the base contract; with `None` it is not compared.
    pub contract: Option<String>,
    /// The typed interfaces that the host knows.
    pub interfaces: Vec<KnownInterface>,
    /// What about plugins of other interfaces. They can still be called by method names, since that
    /// needs the base contract alone.
    pub other_interfaces: OtherInterfaces,
    /// What about plugins whose interface has other parameter names than the host's.
    pub signatures: SignaturePolicy,
    /// What about libraries without a stamp.
    pub stamp: StampPolicy,
    /// What the compiler of a plugin must have known.
    pub facts: ExpectedFacts,
    /// Which toolchains may have built a plugin.
    pub toolchains: ToolchainPolicy,
    /// Which libraries a plugin may need, and which symbols of none.
    pub imports: ImportPolicy,
    /// Which symbols the libraries that it needs have.
    pub symbols: SymbolPolicy,
    /// What a plugin may show of itself.
    pub exports: ExportPolicy,
    /// Whether the owners and modes of files and folders are checked.
    pub permissions: PermissionPolicy,
}

/// A typed interface that a host was built with. It may know several versions of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownInterface {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// Its layout descriptor.
    pub descriptor: String,
    /// The crate that defines it and its functions as the author wrote them, a line each. If it is
    /// empty it is not compared.
    pub signature: String,
}

/// What the compiler of a plugin must have known, so that its code can run in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedFacts {
    /// What a panic does. With `abort` one in the plugin would end the process.
    pub panic: String,
    /// Extensions that the machine's processor has; with `None` they are not compared.
    pub processor: Option<BTreeSet<String>>,
    /// How floating-point numbers are passed.
    pub float: String,
    /// How the C runtime is linked.
    pub c_runtime: String,
    /// Sanitizers, with `,` between them; they work only if the whole process has them.
    pub sanitizer: String,
}

/// What about plugins whose interface the host doesn't know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherInterfaces {
    /// They are admitted, and called by method names.
    Admit,
    /// They are refused.
    Refuse,
}

/// What about plugins that fit the host's interface by layout, but whose author wrote something else: a
/// parameter has another name, two of one type are swapped, another crate defines the trait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignaturePolicy {
    /// They are admitted, with a warning.
    Warn,
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
    /// Those whose record has one of these hashes, and are not retired.
    Trusted(Toolchains),
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

/// Which symbols the libraries of a system have, where files name a library for each symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SymbolPolicy {
    /// Those that it is linked with: the loader will see.
    Any,
    /// By library, and as object files spell them: its symbols, and of each the version of the system
    /// that it came with if that is later than the oldest. A library that is not listed is not looked into.
    Listed(Arc<BTreeMap<String, BTreeMap<String, Option<LibcVersion>>>>),
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
        let facts = ExpectedFacts {
            processor: processor::extensions(),
            sanitizer: stamp::Facts::HERE.sanitizer.to_owned(),
            ..ExpectedFacts::of(&target)
        };
        Self { libc, facts, ..Self::for_target(target) }
    }

    /// What a host on `target` expects, as far as another machine can tell: its C library is not
    /// compared, and the contract as it is laid out there, if that is known.
    pub fn for_target(target: Triple) -> Self {
        Self {
            libc: None,
            contract: Model::of(target.as_str()).map(Model::contract),
            interfaces: Vec::new(),
            other_interfaces: OtherInterfaces::Admit,
            signatures: SignaturePolicy::Warn,
            stamp: StampPolicy::Required,
            facts: ExpectedFacts::of(&target),
            toolchains: ToolchainPolicy::released(&target),
            imports: ImportPolicy::usual(&target),
            symbols: SymbolPolicy::Any,
            exports: ExportPolicy::Any,
            permissions: PermissionPolicy::Strict,
            also_accepted: BTreeSet::new(),
            target,
        }
    }

    /// Accepts plugins for those targets too whose C ABI is that of the host's own: of one processor,
    /// `pc-windows-gnu`, `pc-windows-gnullvm` and `pc-windows-msvc`. Nothing of a C runtime crosses the
    /// boundary, and layouts are compared as ever. For every other target it changes nothing.
    ///
    /// A host that trusts the toolchains that it was released with trusts those of these targets as well.
    #[must_use]
    pub fn accept_same_abi(mut self) -> Self {
        let is_as_released = self.toolchains == ToolchainPolicy::released(&self.target);
        for other in same_abi(&self.target) {
            if let (true, ToolchainPolicy::Trusted(trusted), ToolchainPolicy::Trusted(others)) =
                (is_as_released, &mut self.toolchains, ToolchainPolicy::released(&other))
            {
                trusted.extend(others);
            }
            self.also_accepted.insert(other);
        }
        self
    }

    /// Whether a plugin that was built for `target` is accepted.
    pub fn accepts(&self, target: &Triple) -> bool {
        *target == self.target || self.also_accepted.contains(target)
    }
}

/// The other targets whose C ABI is that of `target`.
pub(crate) fn same_abi(target: &Triple) -> Vec<Triple> {
    const ENVIRONMENTS: [&str; 3] = ["-pc-windows-gnu", "-pc-windows-gnullvm", "-pc-windows-msvc"];
    let arch = target.arch();
    let all = ENVIRONMENTS.map(|environment| format!("{arch}{environment}"));
    if !all.iter().any(|triple| triple == target.as_str()) {
        return Vec::new();
    }
    let others = all.iter().filter(|triple| *triple != target.as_str());
    others.map(|triple| triple.parse().expect("a triple with another end")).collect()
}

impl KnownInterface {
    /// The interface `I`, such as `dyn OrderBook`.
    pub fn of<I: Interface + ?Sized>() -> Self {
        let (id, descriptor) = (I::ID.to_owned(), I::DESCRIPTOR.to_owned());
        Self { id, version: I::VERSION, descriptor, signature: I::SIGNATURE.to_owned() }
    }

    /// Those that a library was built with, by its stamp: what another build of the same plugin, or
    /// another plugin for the same host, is to be compared with.
    pub fn in_stamp(stamp: &Stamp<'_>) -> Vec<Self> {
        let known = |it: &StampedInterface<'_>| Self {
            id: it.id.to_owned(),
            version: it.version,
            descriptor: it.descriptor.to_owned(),
            signature: it.signature.to_owned(),
        };
        stamp.interfaces.as_slice().iter().map(known).collect()
    }

    /// Whether this is the interface in a stamp, as far as id and version tell.
    pub(crate) fn is(&self, other: &StampedInterface<'_>) -> bool {
        self.id == other.id && self.version == other.version
    }
}

impl ExpectedFacts {
    /// What a host on `target` expects, as far as another machine can tell.
    fn of(target: &Triple) -> Self {
        let soft = target.arch().starts_with("arm") && !target.as_str().ends_with("hf");
        Self {
            panic: "unwind".to_owned(),
            processor: None,
            float: if soft { "soft" } else { "hard" }.to_owned(),
            c_runtime: "dynamic".to_owned(),
            sanitizer: String::new(),
        }
    }

    /// Whether `symbol` is one of the runtime of a sanitizer that the process has. Compilers link that into
    /// programs only, so that a library's calls of it are to no library.
    pub(crate) fn has_in_sanitizer(&self, symbol: &str) -> bool {
        self.sanitizer.split(',').any(|sanitizer| {
            let prefix = match sanitizer {
                "address" => "__asan_",
                "hwaddress" => "__hwasan_",
                "leak" => "__lsan_",
                "memory" => "__msan_",
                "thread" => "__tsan_",
                _ => return false,
            };
            symbol.starts_with(prefix) || symbol.starts_with("__sanitizer_")
        })
    }
}

impl ToolchainPolicy {
    /// The toolchains for `target` of the images that this host was released with.
    pub fn released(target: &Triple) -> Self {
        Self::trusted(TOOLCHAINS, target).expect("a test reads the list that is built in")
    }

    /// The toolchains for `target` in a list of lines `HASH TARGET` or `HASH TARGET retired DAY: REASON`;
    /// empty lines and those that begin with `#` are skipped.
    ///
    /// # Errors
    ///
    /// A line is something else.
    pub fn trusted(list: &str, target: &Triple) -> Result<Self, ToolchainListError> {
        Ok(Self::Trusted(Toolchains::of(list, target)?))
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
                // Whether a framework is older than the host's macOS, its loader says.
                &[
                    "/System/Library/Frameworks/*",
                    "/usr/lib/libSystem.B.dylib",
                    "/usr/lib/libbz2.1.0.dylib",
                    "/usr/lib/libcompression.dylib",
                    "/usr/lib/libcurl.4.dylib",
                    "/usr/lib/libiconv.2.dylib",
                    "/usr/lib/libobjc.A.dylib",
                    "/usr/lib/libresolv.9.dylib",
                    "/usr/lib/libz.1.dylib",
                ]
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
                    || is_bound(symbol)
                    || more.iter().any(|name| matches(name, symbol))
            }
        }
    }
}

/// Whether a symbol is the start or the end of a section, by ELF's names for them. A linker makes them where a
/// library looks through a section of its own, as all do that use the crate linkme. Lists of what to export
/// say nothing of what a linker makes; it protects them, so that no other library's come in their place.
fn is_bound(symbol: &str) -> bool {
    let section = symbol.strip_prefix("__start_").or_else(|| symbol.strip_prefix("__stop_"));
    section.is_some_and(|section| !section.is_empty())
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
