//! Refusal codes: every reason for which the gate turns a plugin away, with its explanation.
//!
//! A code never changes its meaning and is never used again for another one, since scripts and
//! people's notes refer to it. The hundreds group them by what is looked at: 1 the file, 2 the
//! manifest, 3 the object, 4 stamp and ABI, 5 the toolchain, 6 what the library needs and does to
//! the process.

use std::fmt;
use std::str::FromStr;

use keyway_manifest::text::Show as _;
use serde::{Serialize, Serializer};
use thiserror::Error;

/// The stage of the gate that a refusal comes from, in the gate's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// What kind of file it is, and whether it can be read.
    File,
    /// Who can change it.
    Permissions,
    /// The manifest beside it.
    Manifest,
    /// Whether the bytes are those that the manifest describes.
    Content,
    /// The first bytes: format, processor, kind.
    Header,
    /// Whether the object is whole and well-formed.
    Structure,
    /// Whether it was built for this host.
    Target,
    /// The stamp in the library.
    Stamp,
    /// The layout of everything that crosses the boundary.
    Abi,
    /// What built it.
    Toolchain,
    /// The C library that it needs.
    Libc,
    /// Other libraries that it needs, and what it does to the process.
    Imports,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::File => "file",
            Self::Permissions => "permissions",
            Self::Manifest => "manifest",
            Self::Content => "content",
            Self::Header => "header",
            Self::Structure => "structure",
            Self::Target => "target",
            Self::Stamp => "stamp",
            Self::Abi => "abi",
            Self::Toolchain => "toolchain",
            Self::Libc => "libc",
            Self::Imports => "imports",
        })
    }
}

macro_rules! codes {
    ($(
        $number:literal $name:ident $check:ident: $title:literal
        meaning: $meaning:literal
        cause: $cause:literal
        remedy: $remedy:literal
    )*) => {
        /// A reason to refuse a plugin, displayed as `KW` and its number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $title] $name = $number,)*
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The check that gives it.
            pub const fn check(self) -> Check {
                match self { $(Self::$name => Check::$check,)* }
            }

            /// What happened, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What it means and why the gate cares.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// How it usually comes about.
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$name => $cause,)* }
            }

            /// What to do.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

codes! {
    101 NotFound File: "there is no such file"
    meaning: "Nothing lies at the path that was given."
    cause: "A typing error, a plugin that was not built for this target, or a folder that was moved."
    remedy: "check the path; `cargo xtask build-plugins` writes to `dist/`"

    102 Symlink File: "the path is a symbolic link"
    meaning: "A link can be turned elsewhere between two looks at it, so the last part of a plugin's path must be the file itself. Links among its parent folders are followed."
    cause: "A deployment that switches versions by turning a link."
    remedy: "name the file that the link points to, or link its folder instead"

    103 NotRegular File: "it is not a regular file"
    meaning: "A folder, pipe, socket or device can't be checked and then loaded: its content is not fixed, and reading it may never end."
    cause: "The path of a folder was given, or somebody put a pipe where a plugin should be."
    remedy: "give the path of the library itself"

    104 TooLarge File: "the file is larger than the gate reads"
    meaning: "The gate reads the whole file into memory, so its size is limited before anything is read."
    cause: "Debug information that was not stripped, or a wrong file."
    remedy: "strip the library, or check that it is the right file"

    105 Unreadable File: "the file can't be read"
    meaning: "The operating system refused to open or read the file."
    cause: "It belongs to another user, or the disk fails."
    remedy: "make it readable for the user that the host runs as"

    106 Changed File: "the file changed while it was read"
    meaning: "It had another size at the end than at the beginning, so what was read is neither the old file nor the new one."
    cause: "It is being copied over, or rebuilt in place."
    remedy: "write to another name, then rename; load it again when that is done"

    111 Owner Permissions: "it belongs to somebody else"
    meaning: "Whoever owns a file can change it at any time. Code is loaded only from files of the user that the host runs as, or of root."
    cause: "The plugin was unpacked or built by another user."
    remedy: "change its owner with `chown`, or copy it as the host's user"

    112 Writable Permissions: "others can write to it"
    meaning: "The group or everybody may change the file, so it is nobody's word."
    cause: "A umask of 000 or 002, an archive with loose modes, a shared folder."
    remedy: "`chmod go-w` the file"

    113 FolderOwner Permissions: "a folder above it belongs to somebody else"
    meaning: "Whoever owns a folder can put another file under the same name."
    cause: "The plugin lies in another user's home or a service's folder."
    remedy: "move the plugin to a folder of the host's user or of root"

    114 FolderWritable Permissions: "others can write to a folder above it"
    meaning: "The group or everybody may put another file under the same name. Folders with the sticky bit, such as `/tmp`, are accepted: there only the owner of a file can replace it."
    cause: "A shared folder, or a umask of 002."
    remedy: "`chmod go-w` the folder"

    201 NoManifest Manifest: "there is no manifest beside it"
    meaning: "Without its manifest nothing says what the library should be. It lies in the same folder under the library's own file name with `.manifest.json` behind it: `libname.so.manifest.json`, `name.dll.manifest.json`."
    cause: "Only the library was copied, or it was renamed, or it was built by cargo alone."
    remedy: "copy the whole folder from `dist/`, or build with `cargo xtask build-plugins`"

    202 NotJson Manifest: "the manifest is not JSON"
    meaning: "The text can't be read at all."
    cause: "It was cut, or edited by hand, or is another file."
    remedy: "restore it from `dist/`, or build again"

    203 UnknownFormat Manifest: "the manifest has an unknown format version"
    meaning: "Its first field to be read, `format`, names a schema that this host doesn't know; nothing else in it was read."
    cause: "The plugin was built by a newer Keyway than the host."
    remedy: "build the plugin with the host's Keyway, or update the host"

    204 BadField Manifest: "the manifest does not follow its schema"
    meaning: "A field is missing, unknown, twice there, of the wrong type, or not written as Keyway writes it. Unknown fields are refused too, since a host can't tell what it would ignore."
    cause: "It was edited by hand, or written by another tool."
    remedy: "restore it from `dist/`, or build again"

    205 Contradiction Manifest: "the manifest contradicts itself"
    meaning: "Two of its fields can't both be true, for example a toolchain record and its hash."
    cause: "It was put together from two manifests, or edited by hand."
    remedy: "restore it from `dist/`, or build again"

    206 OtherLibrary Manifest: "the manifest describes another file"
    meaning: "`artifact.file` is the name of another library than this one."
    cause: "The library or the manifest was renamed or mixed up with another plugin's."
    remedy: "keep the names that the build gave, and copy a plugin's folder as a whole"

    207 UnknownRequirement Manifest: "it requires what this host does not know of"
    meaning: "An entry of `requires` in its manifest names something that a host has to know of to load it. A host that does not can't tell what it would ignore."
    cause: "The plugin was built for newer hosts."
    remedy: "update the host, or build the plugin without what requires it"

    211 SizeDiffers Content: "it does not have the size that its manifest names"
    meaning: "These are not the bytes that were built."
    cause: "The file was cut in transfer, stripped afterwards, or belongs to another build."
    remedy: "copy library and manifest again, together"

    212 HashDiffers Content: "it does not have the SHA-256 that its manifest names"
    meaning: "These are not the bytes that were built; one flipped bit is enough."
    cause: "A damaged or changed file, or library and manifest of two builds."
    remedy: "copy library and manifest again, together"

    301 NotAnObject Header: "it is no native library"
    meaning: "It begins like nothing that an operating system loads."
    cause: "A script, an archive, WebAssembly, a universal Mach-O binary, or an error page that was saved as a library."
    remedy: "check the path and how the file came here"

    302 BadHeader Header: "its header is damaged"
    meaning: "The first bytes name a format, but what follows does not keep to it."
    cause: "The file was cut or damaged."
    remedy: "copy library and manifest again, together"

    303 WrongFormat Header: "it has another system's object format"
    meaning: "ELF is for Linux and most others, PE for Windows, Mach-O for macOS."
    cause: "The library of another target was copied."
    remedy: "take the library from this host's folder under `dist/`"

    304 WrongMachine Header: "it is for another processor"
    meaning: "Its code can't run here: another processor family, word size or byte order."
    cause: "The library of another target was copied."
    remedy: "take the library from this host's folder under `dist/`"

    305 NotALibrary Header: "it is no library"
    meaning: "It is a program, an object file or something else that can't be loaded into a process."
    cause: "A wrong path, or a crate whose type is not `cdylib`."
    remedy: "set `crate-type = [\"cdylib\"]` and name the library"

    306 WrongSystem Header: "it is for another operating system"
    meaning: "Format and processor fit, but its header names another system."
    cause: "The library of another target was copied."
    remedy: "take the library from this host's folder under `dist/`"

    311 Malformed Structure: "the object is cut or malformed"
    meaning: "Some part of it ends past the end of the file, overlaps another or can't be read. Loading such a file can kill the process."
    cause: "The file was cut in transfer, or made by hand to attack a loader."
    remedy: "copy library and manifest again, together"

    312 FactsDiffer Structure: "it is not what its manifest says"
    meaning: "The manifest names another object format than its bytes have. What else it says of them (imports, exports, C library) is for people and tools; the gate goes by the bytes."
    cause: "The manifest was edited, or belongs to another build."
    remedy: "copy library and manifest again, together"

    321 WrongTarget Target: "it was built for another target"
    meaning: "The manifest names another target triple than the host's. Triples that differ only in the environment, such as `gnu` and `musl`, don't fit each other either; those of Windows on one processor do, and a host takes them if it says `accept_same_abi`."
    cause: "The plugin of another target was copied."
    remedy: "take the plugin from this host's folder under `dist/`, or build with `--target`"

    401 NoStamp Stamp: "the library has no stamp"
    meaning: "Without a stamp nothing in the library says what it is: not its ABI, not its toolchain."
    cause: "A cdylib that does not use `keyway-sdk`, or whose sections were stripped by a tool; or cargo compiled it in one run with a host that compiles plugins in (feature `compiled-in`), for which they export nothing."
    remedy: "export the plugin with `keyway_sdk::export_plugin!`, and build it by itself"

    402 BadStamp Stamp: "the stamp can't be read"
    meaning: "The stamp's section is there, but what it holds is no stamp of a known format."
    cause: "The plugin was built by another version of Keyway, or the file is damaged."
    remedy: "build the plugin with the host's Keyway"

    403 StampDiffers Stamp: "stamp and manifest differ"
    meaning: "The stamp was linked into the library, the manifest lies beside it; both were written by one build and must agree."
    cause: "The manifest was edited or belongs to another build."
    remedy: "copy library and manifest again, together"

    404 OtherKind Stamp: "it is for another program"
    meaning: "Its stamp says that it is for another program's loader, such as a Python module. It has none of a plugin's functions."
    cause: "The library of another project was put among the plugins."
    remedy: "give it to the program that it was made for"

    411 AbiDiffers Abi: "it was built against another contract"
    meaning: "A type of the contract between hosts and plugins has another layout on the other side. Calling across would corrupt memory."
    cause: "Plugin and host were built with different versions of Keyway."
    remedy: "build plugin and host with the same version of Keyway"

    412 InterfaceDiffers Abi: "it was built against another version of its interface"
    meaning: "The plugin's typed interface has the id and the version of one that the host knows, but another layout or other functions."
    cause: "The interface's crate changed and only one side was built again."
    remedy: "build plugin and host with the same version of the interface's crate"

    413 UnknownInterface Abi: "the host does not know its interface"
    meaning: "The host takes only plugins of interfaces that it lists. Other hosts may still call such a plugin by method names."
    cause: "The plugin is for another host."
    remedy: "use it with the host that it was made for"

    414 SignatureDiffers Abi: "its interface's author wrote something else"
    meaning: "The interface has the host's layout, but a parameter has another name or another place, or another crate defines it. Two parameters of one type that changed places cross without a word, and mean each other."
    cause: "The interface's crate was edited and only one side was built again. A host that does not insist on it gives a warning."
    remedy: "build plugin and host with the same version of the interface's crate"

    421 PanicAborts Abi: "a panic in it would end the process"
    meaning: "It was compiled with another panic strategy than a host needs: what can't be caught at the boundary takes the host down."
    cause: "`panic = \"abort\"` in the profile that it was built with."
    remedy: "build it with `panic = \"unwind\"`"

    422 ProcessorLacks Abi: "it needs a processor with more extensions"
    meaning: "Its code uses instructions that this machine's processor does not have. The first of them would end the process."
    cause: "`-Ctarget-cpu` or `-Ctarget-feature` for another machine."
    remedy: "build it for a processor that every host's machine has"

    423 OtherFloatAbi Abi: "it passes floating-point numbers in another way"
    meaning: "Arguments and results would be looked for in the wrong registers."
    cause: "A target with another float ABI, or flags that change it."
    remedy: "build it for the host's target"

    424 OtherCRuntime Abi: "it has a C runtime of its own"
    meaning: "With a C runtime linked into it, a plugin has other locks, files and threads than the process that it runs in."
    cause: "`-Ctarget-feature=+crt-static`."
    remedy: "build it with `-Ctarget-feature=-crt-static`"

    425 OtherSanitizer Abi: "its sanitizers are not the process's"
    meaning: "A sanitizer watches a whole process: half of it gives false alarms, or does not load."
    cause: "One side was built with `-Zsanitizer`, the other without."
    remedy: "build plugin and host with the same sanitizers"

    501 Untrusted Toolchain: "its toolchain is not trusted"
    meaning: "The hash of the toolchain that built it is not among those that the host trusts: compiler, standard library, linker and C runtime, by content."
    cause: "It was built in another image, or the images were updated and the host was not."
    remedy: "build it in the host's images, or update the host's list of toolchains"

    502 Unpinned Toolchain: "it was built outside of any image"
    meaning: "Its stamp names no toolchain, so nothing says what built it."
    cause: "It was built by cargo alone."
    remedy: "build it with `cargo xtask build-plugins`"

    503 OtherToolchain Toolchain: "it was not built by the host's toolchain"
    meaning: "The host's policy asks for the very toolchain that built the host."
    cause: "Host and plugin were built in different images."
    remedy: "build both in the same image"

    504 Retired Toolchain: "its toolchain is retired"
    meaning: "The host trusted what built it until a day that its list of toolchains names, with the reason."
    cause: "A fault was found in the compiler, the linker or the standard library that built it, or an image was withdrawn."
    remedy: "build it again with `cargo xtask build-plugins`, in the images of today"

    601 LibcFamily Libc: "it needs another C library"
    meaning: "Two C libraries in one process don't work: each has its own heap and threads."
    cause: "A `gnu` plugin on a musl host, or the other way round."
    remedy: "build it for the host's target"

    602 LibcTooOld Libc: "it needs a newer C library"
    meaning: "It uses symbols that came with a later version than this machine has, so it could not be loaded."
    cause: "It was linked against the C library of a newer system instead of the target's floor."
    remedy: "build it with `cargo xtask build-plugins`, whose targets have a low floor"

    603 SystemTooOld Libc: "it needs a newer macOS"
    meaning: "The oldest macOS that its load commands name is newer than the one here, so it may use what is not there yet."
    cause: "`MACOSX_DEPLOYMENT_TARGET`, or an option of the linker, names a newer system than the target's floor."
    remedy: "build it with `cargo xtask build-plugins`, whose targets have a low floor"

    604 NewerSymbols Libc: "it needs symbols of a newer macOS"
    meaning: "A library of the system has them since a later macOS than the one it is loaded on. The loader looks for each before it runs anything, and refuses the plugin where one is missing."
    cause: "A crate that calls what came with a later macOS, or a feature of it that does."
    remedy: "turn that feature off, or look the function up when it is called (`dlsym`), or import it weakly and test it"

    611 ForbiddenImport Imports: "it needs a library that is not allowed"
    meaning: "A plugin may need only libraries that every machine of its target has. Others are missing on some machine, or bring code that was never checked."
    cause: "A C dependency that was linked dynamically, or libgcc_s from a build by cargo alone."
    remedy: "link the dependency statically, or allow the library in the host's policy"

    612 RunPath Imports: "it brings its own library search path"
    meaning: "RPATH, RUNPATH or `LC_RPATH` make the loader look for libraries in folders that the plugin chose."
    cause: "A linker flag such as `-Wl,-rpath`, or a build script that passes one."
    remedy: "remove the flag and link statically"

    613 ExecutableStack Imports: "it makes the stack executable"
    meaning: "Loading it would make the stack of the whole process executable."
    cause: "Assembly without a `.note.GNU-stack` section, or nested C functions."
    remedy: "add `.section .note.GNU-stack,\"\",@progbits` to the assembly"

    614 TextRelocations Imports: "it changes its own code while loading"
    meaning: "Relocations in its code make the loader map code writable."
    cause: "C or assembly that was not compiled as position-independent."
    remedy: "compile with `-fPIC`"

    615 WritableCode Imports: "some of its code can be written"
    meaning: "A part of it is mapped both writable and executable, which turns any overrun into code."
    cause: "A linker script, `-Wl,-N`, or a packer."
    remedy: "remove the flag or the packer"

    616 Unprotected Imports: "it switches off protections of the process"
    meaning: "The library can be loaded at one address only, or asks for executable data (no DYNAMIC_BASE, no NX_COMPAT)."
    cause: "Linker flags such as `--disable-dynamicbase`, or a very old linker."
    remedy: "link with `-Wl,--dynamicbase,--nxcompat`"

    617 CompilerRuntime Imports: "it needs a library of the compiler that built it"
    meaning: "libgcc, libstdc++ and winpthread come with a compiler, not with a system: most machines lack them or have another version. On Windows no list allows them."
    cause: "It was linked by the machine's own compiler, or C++ or threads were linked dynamically."
    remedy: "build it with `cargo xtask build-plugins`, whose images link them statically"

    618 CodeSignature Imports: "its code signature is missing or wrong"
    meaning: "macOS loads no arm64 library without a signature, and kills a process that touches a page whose hash is not the one that was signed. Without a signature only x86_64 libraries are admitted."
    cause: "It was stripped or changed after it was linked."
    remedy: "strip while linking, or sign it again with `codesign --force --sign -`, then describe it anew by a build"

    619 InstallName Imports: "its install name is not `@rpath/` and its file's name"
    meaning: "The install name of a Mach-O library is what others that are linked against it look for. Unless the linker is told one it is the path of the linker's output: a folder of the machine that built it, and another one in each build."
    cause: "It was linked without `-install_name`, or renamed afterwards."
    remedy: "link with `-Wl,-install_name,@rpath/NAME`, as the images do by themselves"

    620 NoUuid Imports: "it has no UUID"
    meaning: "Recent versions of macOS load no Mach-O library without `LC_UUID`, and crash reports could not name it."
    cause: "It was linked with `-no_uuid`."
    remedy: "remove the flag; a linker derives the UUID from what it links, so it is the same in each build"

    621 UnboundSymbols Imports: "it needs symbols that none of its libraries offers"
    meaning: "Whoever loads it must have them already: its program, or another library. Where nobody has, loading fails, or the first call ends the process."
    cause: "A module for a program such as Python, whose symbols only that program has; or a C function that is declared and never linked."
    remedy: "link what defines them, or allow them in the host's policy and in the plugin's Cargo.toml: `allow-imports`"

    622 UnexpectedExports Imports: "it exports more than a plugin has to"
    meaning: "A plugin offers its stamp and its entry. Whatever else can be seen may stand in for a symbol of the same name in another library, and ties others to what was never meant for them."
    cause: "`#[no_mangle]` in the plugin or a crate that it links, or a linker that took no list of exports."
    remedy: "remove the attribute, or allow the symbol with a reason in the plugin's Cargo.toml: `allow-exports`"

    623 LeftRegistered Imports: "it registers functions that are still called when it is gone"
    meaning: "The C library is given functions of the plugin to call when the process ends, or forks: destructors of static objects in C++, what `atexit` and `pthread_atfork` are told. Nothing takes them back when the plugin is unloaded, so that the process later jumps to memory that is no longer there."
    cause: "It was linked without the object that calls `__cxa_finalize` (`crtbeginS.o` of gcc), as zig does by itself, or with `-nostartfiles`; or it calls glibc's `atexit` for old programs."
    remedy: "build it with `cargo xtask build-plugins`, whose images link what takes them back, without `-nostartfiles`; or link with `-Wl,-z,nodelete`, which keeps it for ever"

    624 StaticTls Imports: "its thread-local variables need a place that a running process can't give"
    meaning: "Variables of the model `initial-exec` lie at a distance from each thread's pointer that is fixed when the process starts. musl has no room for more of them afterwards, and its loader refuses the library."
    cause: "C code that was compiled with `-ftls-model=initial-exec` or has the attribute `tls_model`, as allocators do."
    remedy: "compile it with `-fPIC -ftls-model=global-dynamic` and without the attribute; mimalloc has the feature `local_dynamic_tls` for it, tikv-jemallocator `disable_initial_exec_tls`"

    625 MissingSymbols Imports: "it needs symbols that the libraries it names don't have"
    meaning: "On macOS each symbol is looked for in the one library that was found to have it when the plugin was linked. Where that library has no such symbol, loading fails."
    cause: "It was linked with stubs of libraries that say more than the libraries have, or a crate declares a function for the wrong library."
    remedy: "name the library that has them; where that is right, say so in the plugin's Cargo.toml: `apple-symbols`"
}

impl Code {
    /// The number behind `KW`.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KW{}", self.number())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a string is no refusal code.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no refusal code `{found}`; they go from `KW101` to `KW625`", found = .found.shown())]
pub struct ParseCodeError {
    /// The string, cut at 80 characters.
    pub found: String,
}

impl FromStr for Code {
    type Err = ParseCodeError;

    /// Accepts `KW212`, in any case, and `212`.
    fn from_str(text: &str) -> Result<Self, ParseCodeError> {
        let number = match text.get(..2) {
            Some(letters) if letters.eq_ignore_ascii_case("kw") => &text[2..],
            _ => text,
        };
        let code = Self::ALL.iter().find(|code| code.number().to_string() == number);
        code.copied().ok_or_else(|| ParseCodeError { found: text.chars().take(80).collect() })
    }
}
