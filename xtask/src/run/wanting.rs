//! Recognizes that a build script failed for want of a program, by what crates and shells say.
//!
//! Each phrase stands in the source of the crate that the table names, with the program's name in it. It
//! says nothing of what the image has: whoever asks knows that.

use std::collections::BTreeSet;

/// A program that a build script did not find.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Want {
    /// The package of the build script.
    pub package: String,
    /// The program.
    pub program: String,
}

impl Want {
    /// The tool that has the program; none if it is no part of one.
    pub fn tool(&self) -> Option<&'static str> {
        let has = |(_, programs): &&(&str, &[&str])| programs.contains(&self.program.as_str());
        TOOLS.iter().find(has).map(|(tool, _)| *tool)
    }
}

/// Tools, and the programs by which they are missed.
const TOOLS: [(&str, &[&str]); 12] = [
    ("autoconf", &["aclocal", "autoconf", "autoheader", "automake", "autoreconf", "libtoolize"]),
    ("bison", &["bison", "yacc"]),
    ("cmake", &["cmake", "ninja"]),
    ("flex", &["flex", "lex"]),
    ("git", &["git"]),
    ("libclang", &["libclang"]),
    (
        "make",
        &[
            "awk", "bash", "cmp", "diff", "egrep", "find", "gmake", "grep", "gzip", "m4", "make",
            "mawk", "patch", "sed", "tar", "xargs",
        ],
    ),
    ("nasm", &["nasm"]),
    ("perl", &["perl"]),
    ("pkg-config", &["pkg-config", "pkgconf"]),
    ("protoc", &["protoc"]),
    ("python3", &["python", "python3"]),
];

/// What stands before and after a program's name.
const PHRASES: [(&str, &str); 10] = [
    // cmake, autotools.
    ("is `", "` not installed?"),
    // openssl-src.
    ("Command '", "' not found. Is "),
    // prost-build.
    ("Could not find `", "`. If `"),
    // cc from 1.2.40 on, and before.
    ("failed to find tool \"", "\": "),
    ("Failed to find tool. Is `", "` installed?"),
    // bindgen, by way of clang-sys.
    ("Unable to find ", ": \"couldn't find any valid shared libraries"),
    // nasm-rs, and rav1e on it.
    ("Unable to run ", ": No such file or directory (os error 2)"),
    ("NASM build failed. Make sure you have ", " installed"),
    // env of coreutils, which runs what a script's first line names.
    ("env: '", "': No such file or directory"),
    ("env: \u{2018}", "\u{2019}: No such file or directory"),
];

/// How a line ends after a program's name, by who writes it: dash, with the number of a script's line
/// before the name; bash; make.
const ENDINGS: [(Before, &str); 3] = [
    (Before::Number, ": not found"),
    (Before::Anything, ": command not found"),
    (Before::Make, ": No such file or directory"),
];

/// What stands before a program's name.
#[derive(Debug, Clone, Copy)]
enum Before {
    Anything,
    Number,
    Make,
}

impl Before {
    fn fits(self, text: &str) -> bool {
        match self {
            Self::Anything => true,
            Self::Number => text.ends_with(|c: char| c.is_ascii_digit()),
            Self::Make => text.starts_with("make"),
        }
    }
}

/// The first line of pkg-config's and system-deps' complaint, whose next line says that it is missing.
const PKG_CONFIG: &str = "The pkg-config command could not be found.";

/// How cargo begins its account of a build script that failed.
const SCRIPT_FAILED: &str = "error: failed to run custom build command for `";

/// What build scripts did not find, by cargo's accounts of those that failed.
pub fn wants<'a>(accounts: impl Iterator<Item = &'a str>) -> BTreeSet<Want> {
    let mut found = BTreeSet::new();
    for account in accounts {
        let Some(rest) = account.strip_prefix(SCRIPT_FAILED) else { continue };
        let package = rest.split([' ', '`']).next().unwrap_or_default();
        let mut programs: BTreeSet<&str> =
            account.lines().filter_map(|line| program(line.trim())).collect();
        if programs.is_empty() {
            programs.extend(not_started(account));
        }
        let want =
            |program: &str| Want { package: package.to_owned(), program: program.to_owned() };
        found.extend(programs.into_iter().map(want));
    }
    found
}

/// The program that a line misses.
fn program(line: &str) -> Option<&str> {
    if line == PKG_CONFIG {
        return Some("pkg-config");
    }
    let between = |(before, after): &(&str, &str)| {
        let (_, rest) = line.split_once(before)?;
        rest.split_once(after).map(|(name, _)| name)
    };
    let ends = |(before, ending): &(Before, &str)| {
        let (text, name) = line.strip_suffix(ending)?.rsplit_once(": ")?;
        before.fits(text).then_some(name)
    };
    let found = PHRASES.iter().find_map(between).or_else(|| ENDINGS.iter().find_map(ends));
    named(found?)
}

/// The name of a program, if that is what a path ends with.
fn named(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// The program that a script, as that of tikv-jemalloc-sys, showed before it failed to start it without a
/// word on which it was.
fn not_started(account: &str) -> Option<&str> {
    const FAILED: &str = "failed to execute command: No such file or directory";
    let is_failed = |line: &&str| line.trim().starts_with(FAILED);
    account.lines().find(is_failed)?;
    let shown =
        account.lines().filter_map(|line| line.trim().strip_prefix("running: ")).next_back()?;
    // As Rust shows a command: `cd "FOLDER" && NAME="VALUE" … "PROGRAM" "ARGUMENT"…`.
    let command = match shown.strip_prefix("cd ") {
        Some(rest) => rest.split_once(" && ")?.1,
        None => shown,
    };
    let starts = |(at, _): &(usize, &str)| *at == 0 || command[..*at].ends_with(' ');
    let (start, _) = command.match_indices('"').find(starts)?;
    let path = command[start + 1..].split('"').next()?;
    named(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in cargo's account of the build script of `a-sys`, which ends with these lines.
    fn wants(lines: &[&str]) -> Vec<(String, Option<&'static str>)> {
        let mut account = "error: failed to run custom build command for `a-sys v1.2.3`\n\nCaused by:\n  \
                           process didn't exit successfully: `/target/release/build/a-sys-1/build-script-build` \
                           (exit status: 101)\n  --- stderr"
            .to_owned();
        lines.iter().for_each(|line| account.push_str(&format!("\n  {line}")));
        let found = super::wants([account.as_str()].into_iter()).into_iter();
        found
            .map(|want| {
                assert_eq!(want.package, "a-sys");
                let tool = want.tool();
                (want.program, tool)
            })
            .collect()
    }

    fn check(lines: &[&str], program: &str, tool: &'static str) {
        assert_eq!(wants(lines), [(program.to_owned(), Some(tool))], "{lines:?}");
    }

    #[test]
    fn every_tool_has_a_recipe() {
        let recipes = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/tools");
        for (tool, _) in TOOLS {
            assert!(recipes.join(format!("{tool}.toml")).is_file(), "{tool}");
        }
    }

    #[test]
    fn bindgen_misses_libclang() {
        // bindgen 0.73.2, lib.rs; clang-sys 1.9.1, build/dynamic.rs.
        let line = "Unable to find libclang: \"couldn't find any valid shared libraries matching: ['libclang.so', \
                    'libclang-*.so', 'libclang.so.*', 'libclang-*.so.*'], set the `LIBCLANG_PATH` environment \
                    variable to a path where one of these files can be found (invalid: [])\"";
        check(
            &["thread 'main' panicked at bindgen-0.73.2/lib.rs:618:27:", line],
            "libclang",
            "libclang",
        );
    }

    #[test]
    fn cmake_and_autotools_miss_a_program() {
        // cmake 0.1.58 and autotools 0.2.7, lib.rs.
        let first = "failed to execute command: No such file or directory (os error 2)";
        check(&[first, "is `cmake` not installed?"], "cmake", "cmake");
        check(&[first, "is `autoreconf` not installed?"], "autoreconf", "autoconf");
        check(&[first, "is `make` not installed?"], "make", "make");
        // cmake 0.1.58, for a shell's status 127.
        let line = "command did not execute successfully, got: exit status: 127, is `ninja` not installed?";
        check(&[line], "ninja", "cmake");
    }

    #[test]
    fn openssl_misses_perl() {
        // openssl-src 300.6.1 and 400.0.2, lib.rs.
        check(
            &[
                "Error configuring OpenSSL build:",
                "    Command 'perl' not found. Is perl installed?",
                "    Command failed: cd \"/target/src\" && \"perl\" \"./Configure\"",
            ],
            "perl",
            "perl",
        );
    }

    #[test]
    fn prost_misses_protoc() {
        // prost-build 0.14.6, config.rs.
        let line = "Custom { kind: NotFound, error: \"Could not find `protoc`. If `protoc` is installed, try setting \
                    the `PROTOC` environment variable to the path of the `protoc` binary. To install it on Debian, \
                    run `apt-get install protobuf-compiler`.\" }";
        check(&[line], "protoc", "protoc");
    }

    #[test]
    fn cc_misses_an_assembler() {
        // cc 1.11.3, command_helpers.rs; cc 1.2.30, lib.rs.
        let line = "error occurred in cc-rs: failed to find tool \"nasm\": No such file or directory (os error 2)";
        check(&[line], "nasm", "nasm");
        check(&["error occurred: Failed to find tool. Is `nasm` installed?"], "nasm", "nasm");
        // rav1e 0.8.1, build.rs.
        let line =
            "NASM build failed. Make sure you have nasm installed or disable the \"asm\" feature.";
        check(&[line], "nasm", "nasm");
        // nasm-rs 0.3.2, lib.rs.
        check(&["Unable to run nasm: No such file or directory (os error 2)"], "nasm", "nasm");
    }

    #[test]
    fn pkg_config_and_system_deps_miss_the_program() {
        // pkg-config 0.3.34, lib.rs; system-deps 9.0.1 passes its text on.
        let first =
            "Could not run `PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 pkg-config --libs --cflags zlib`";
        check(&[first, PKG_CONFIG], "pkg-config", "pkg-config");
    }

    #[test]
    fn shells_and_make_miss_a_program() {
        check(&["./configure: 12: sed: not found"], "sed", "make");
        check(&["sh: 1: git: not found"], "git", "git");
        check(&["./build.sh: line 3: python3: command not found"], "python3", "python3");
        check(&["make: bison: No such file or directory"], "bison", "bison");
        check(&["/usr/bin/env: 'bash': No such file or directory"], "bash", "make");
        check(&["/usr/bin/env: \u{2018}perl\u{2019}: No such file or directory"], "perl", "perl");
    }

    #[test]
    fn jemalloc_misses_make() {
        // tikv-jemalloc-sys 0.7.1, build.rs.
        let configure = "running: cd \"/target/build\" && CC=\"a-cc\" \"sh\" \"/a/configure\"";
        let make = "running: cd \"/target/build\" && MAKEFLAGS=\"-j --jobserver-fds=8,9\" \"make\" \"-j\" \"2\"";
        let failed = "failed to execute command: No such file or directory (os error 2)";
        let panicked = "thread 'main' panicked at build.rs:426:19:";
        check(&[configure, make, "--- stderr", panicked, failed], "make", "make");
        check(&["running: \"/usr/bin/perl\" \"-v\"", failed], "perl", "perl");
        assert_eq!(wants(&[configure, make]), [], "it was started");
        assert_eq!(wants(&[failed]), [], "nothing was shown");
    }

    #[test]
    fn a_program_of_no_tool_is_named() {
        assert_eq!(wants(&["sh: 1: gperf: not found"]), [("gperf".to_owned(), None)]);
    }

    #[test]
    fn what_is_no_program_is_none() {
        for line in [
            "src/a.c:1:10: fatal error: zlib.h: No such file or directory",
            "checking for perl... not found",
            "fatal error: 'stddef.h' file not found",
        ] {
            assert_eq!(wants(&[line]), [], "{line}");
        }
        let error = "error: could not compile `a` (lib)\n  sh: 1: perl: not found";
        assert!(super::wants([error].into_iter()).is_empty(), "no build script failed");
    }
}
