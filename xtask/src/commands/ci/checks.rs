//! The checks of `cargo xtask ci`, in the order they run: the quick ones first, and each a row.
//!
//! A row says what is run; nothing here runs anything, but for the look at which program could
//! install a Python package.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use keyway_manifest::text::Show as _;

use super::{sanitizers, succeeds};

/// One check.
#[derive(Debug)]
pub(super) struct Check {
    /// What `--only` and `--skip` call it.
    pub(super) name: &'static str,
    /// What it proves.
    pub(super) about: &'static str,
    /// What is run; the first step that fails ends the check.
    pub(super) steps: Steps,
}

/// Where a check's steps come from.
#[derive(Debug)]
pub(super) enum Steps {
    /// Cargo's command lines.
    Cargo(&'static [Cargo]),
    /// The same, left out unless `--only` names the check: it takes too long for every change.
    OnRequest(&'static [Cargo]),
    /// Command lines of the nightly toolchain's Miri, which not every machine has.
    Miri(&'static [Cargo]),
    /// Command lines of a nightly toolchain that has its standard library's source, on request as well.
    Sanitizers(&'static [Cargo]),
    /// Python programs, which must be installed first.
    Python(fn(Installer, &Path) -> Vec<Step>),
}

/// A cargo command line and what it needs in its environment.
#[derive(Debug)]
pub(super) struct Cargo {
    pub(super) args: &'static [&'static str],
    pub(super) env: &'static [(&'static str, &'static str)],
}

/// A process to start in the workspace's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// The program.
    pub(super) program: OsString,
    /// Its arguments.
    pub(super) args: Vec<OsString>,
    /// What is added to its environment.
    pub(super) env: Vec<(&'static str, &'static str)>,
}

/// Every check. Tests are built for the whole workspace each time: with a package alone cargo would
/// choose other features for what they share, and compile that again. Commands of this tool are
/// called by the alias, which is what is running.
pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "fmt",
        about: "rustfmt would change nothing",
        steps: Steps::Cargo(&[Cargo { args: &["fmt", "--all", "--check"], env: &[] }]),
    },
    Check {
        name: "pipelines",
        about: "the files in ci/ fit their published schemas",
        steps: Steps::Python(pipelines),
    },
    Check {
        name: "policy",
        about: "licences, sources and bans of deny.toml; what hosts and plugins link",
        steps: Steps::Cargo(&[Cargo {
            args: &["test", "--locked", "--workspace", "--test", "policy"],
            env: &[],
        }]),
    },
    Check {
        name: "stubs",
        about: "what is known of macOS' libraries is what the pinned crates declare",
        steps: Steps::Cargo(&[Cargo {
            args: &["run", "--locked", "--quiet", "-p", "keyway-apple-stubs", "--", "--check"],
            env: &[],
        }]),
    },
    Check {
        name: "contract",
        about: "descriptors and C header are what the contract's definitions say",
        steps: Steps::Cargo(&[Cargo { args: &["xtask", "contract", "--check"], env: &[] }]),
    },
    Check {
        name: "clippy",
        about: "no warning in any target",
        steps: Steps::Cargo(&[Cargo {
            args: &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"],
            env: &[],
        }]),
    },
    Check {
        name: "docs",
        about: "the documentation builds, no link is broken",
        steps: Steps::Cargo(&[Cargo {
            args: &["doc", "--locked", "--workspace", "--no-deps"],
            env: &[("RUSTDOCFLAGS", "-D warnings")],
        }]),
    },
    Check {
        name: "test",
        about: "unit, snapshot, tidy and doc tests",
        steps: Steps::Cargo(&[Cargo { args: &["test", "--locked", "--workspace"], env: &[] }]),
    },
    Check {
        name: "miri",
        about: "no undefined behaviour on the contract's tables and on a host's way to call them",
        // What a plugin may hold on to is never freed, and services ask for the time.
        steps: Steps::Miri(&[
            Cargo { args: &["test", "--locked", "-p", "keyway-abi", "--lib"], env: MIRI },
            // What this machine can't show: pointers of 32 bits, and the other byte order.
            Cargo { args: &miri_abi("i686-unknown-linux-gnu"), env: MIRI },
            Cargo { args: &miri_abi("s390x-unknown-linux-gnu"), env: MIRI },
            Cargo {
                args: &[
                    "test",
                    "--locked",
                    "-p",
                    "keyway-host",
                    "--test",
                    "contract",
                    "--test",
                    "growth",
                ],
                env: MIRI,
            },
            Cargo {
                args: &["test", "--locked", "-p", "keyway-host", "--lib", "handle::"],
                env: MIRI,
            },
        ]),
    },
    Check {
        name: "sanitizers",
        about: "no error of memory or threads in host and plugins, by AddressSanitizer and ThreadSanitizer; runs if it is named",
        steps: Steps::Sanitizers(sanitizers::RUNS),
    },
    Check {
        name: "end-to-end",
        about: "the workspace's plugins, built by every engine for five targets, compared, run, and refused",
        steps: Steps::Cargo(&[Cargo { args: END_TO_END, env: &[] }]),
    },
    Check {
        name: "all-targets",
        about: "the same for every target; runs if it is named",
        steps: Steps::OnRequest(&[Cargo {
            args: END_TO_END,
            env: &[("KEYWAY_TEST_TARGETS", "all")],
        }]),
    },
    Check {
        name: "compat",
        about: "crates that need make and protoc, built, called and built again; `end-to-end` has bindgen and CMake",
        steps: Steps::Cargo(&[Cargo {
            args: &[
                "xtask",
                "compat",
                "--check",
                "--target",
                "x86_64-unknown-linux-gnu",
                "jemalloc",
                "prost",
            ],
            env: &[],
        }]),
    },
    Check {
        name: "images",
        about: "every image comes out again from its lock; checks before compile std",
        steps: Steps::Cargo(&[Cargo {
            args: &["xtask", "images", "verify", "--without-std"],
            env: &[],
        }]),
    },
];

const END_TO_END: &[&str] = &[
    "test",
    "--locked",
    "--workspace",
    "--features",
    "keyway-xtask/end-to-end",
    "--test",
    "end_to_end",
];

/// The command line for the contract's tables on another target.
const fn miri_abi(target: &'static str) -> [&'static str; 7] {
    ["test", "--locked", "-p", "keyway-abi", "--lib", "--target", target]
}

const MIRI: &[(&str, &str)] = &[("MIRIFLAGS", "-Zmiri-ignore-leaks -Zmiri-disable-isolation")];

/// The step for a command line of Miri.
pub(super) fn miri(cargo: &Cargo) -> Step {
    of_nightly(&["cargo", "miri"], cargo)
}

/// The step for a command line of cargo under a sanitizer.
pub(super) fn sanitized(cargo: &Cargo) -> Step {
    of_nightly(&["cargo"], cargo)
}

/// The step for a command line by whichever nightly toolchain rustup has.
fn of_nightly(program: &[&str], cargo: &Cargo) -> Step {
    let start = ["run", "nightly"];
    Step {
        program: "rustup".into(),
        args: start.iter().chain(program).chain(cargo.args).map(OsString::from).collect(),
        env: cargo.env.to_vec(),
    }
}

/// Whether there is one.
pub(super) fn has_miri() -> bool {
    succeeds("rustup", &["run", "nightly", "cargo", "miri", "--version"])
}

/// The step for a cargo command line, by the cargo that runs this program.
pub(super) fn cargo(cargo: &Cargo) -> Step {
    Step {
        program: std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        args: cargo.args.iter().map(OsString::from).collect(),
        env: cargo.env.to_vec(),
    }
}

/// What installs Python packages on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Installer {
    /// Python's own `venv` and `pip`.
    Venv,
    /// `uv`, which brings a Python of its own if it must.
    Uv,
}

impl Installer {
    /// The one that works here. Debian splits `ensurepip` off, and without it `venv` fails halfway.
    pub(super) fn find() -> Option<Self> {
        let new_enough = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
        if succeeds("python3", &["-c", new_enough]) {
            Some(Self::Venv)
        } else if succeeds("uv", &["--version"]) {
            Some(Self::Uv)
        } else {
            None
        }
    }
}

/// What `ci/requirements.txt` names and nothing else, without running any package's build script.
const PINNED: &[&str] =
    &["--quiet", "--require-hashes", "--only-binary", ":all:", "-r", "ci/requirements.txt"];

/// Installs check-jsonschema, which carries the schemas, and checks each pipeline with it. Repeating
/// the installation costs two seconds, asks the network for nothing, and mends a broken folder.
fn pipelines(installer: Installer, root: &Path) -> Vec<Step> {
    let venv = root.join("target").join("keyway").join("ci");
    let python = if cfg!(windows) {
        venv.join("Scripts").join("python.exe")
    } else {
        venv.join("bin").join("python")
    };
    let (venv, python) = (venv.to_string_lossy(), python.to_string_lossy());
    let step = |program: &str, args: &[&[&str]]| Step {
        program: program.into(),
        args: args.concat().iter().map(OsString::from).collect(),
        env: vec![],
    };
    let install = match installer {
        Installer::Venv => [
            step("python3", &[&["-m", "venv", &venv]]),
            step(&python, &[&["-m", "pip", "install"], PINNED]),
        ],
        Installer::Uv => [
            step("uv", &[&["venv", "--quiet", "--allow-existing", &venv]]),
            step("uv", &[&["pip", "install", "--python", &python], PINNED]),
        ],
    };
    let fits = |file: &str, schema: &str| {
        let check = ["-m", "check_jsonschema", "--builtin-schema"];
        step(&python, &[&check, &[schema, file]])
    };
    let mut steps = Vec::from(install);
    steps.extend([
        fits("ci/github-actions.yml", "vendor.github-workflows"),
        fits("ci/github-actions.yml", "custom.github-workflows-require-timeout"),
        fits("ci/gitlab-ci.yml", "vendor.gitlab-ci"),
    ]);
    steps
}

impl fmt::Display for Step {
    /// The command line, as a person would type it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}='{value}' ")?;
        }
        // Where cargo lies says nothing to a reader.
        let stem = Path::new(&self.program).file_stem();
        let name = stem.filter(|stem| *stem == "cargo").unwrap_or(&self.program);
        write!(f, "{}", name.shown())?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", arg.shown()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uv_installs_where_python_cannot() {
        let lines: Vec<_> =
            pipelines(Installer::Uv, Path::new("/w")).iter().map(Step::to_string).collect();
        assert_eq!(lines[0], "uv venv --quiet --allow-existing /w/target/keyway/ci");
        assert!(lines[1].starts_with("uv pip install --python /w/target/keyway/ci/"));
        assert!(lines[1].contains("--require-hashes"));
    }

    /// What tests build by themselves must be built so too, and knows the environment only.
    #[test]
    fn a_sanitizer_is_named_in_the_environment() {
        let lines: Vec<_> = sanitizers::RUNS.iter().map(|run| sanitized(run).to_string()).collect();
        for (line, sanitizer) in lines.iter().zip(["address", "thread"]) {
            let start = format!(
                "CARGO_BUILD_TARGET='x86_64-unknown-linux-gnu' RUSTFLAGS='-Zsanitizer={sanitizer} "
            );
            assert!(line.starts_with(&start), "{line}");
            assert!(
                line.contains(" rustup run nightly cargo test --locked -p keyway-abi "),
                "{line}"
            );
        }
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_step_reads_as_it_would_be_typed() {
        let docs = CHECKS.iter().find(|check| check.name == "docs").unwrap();
        let Steps::Cargo(commands) = &docs.steps else { panic!("`docs` runs cargo") };
        assert_eq!(
            cargo(&commands[0]).to_string(),
            "RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps"
        );
    }
}
