//! One cargo run inside an image, followed by its JSON messages: progress while it goes on, and at
//! its end the libraries that it made.
//!
//! File names are never guessed: what cargo names is what was built. Cargo's diagnostics reach the
//! user as cargo wrote them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cargo_metadata::camino::Utf8Path;
use cargo_metadata::diagnostic::DiagnosticLevel;
use cargo_metadata::{Artifact, CrateType, Message, TargetKind};
use indicatif::{ProgressBar, ProgressStyle};

use crate::container::{Access, Command, Mount};
use crate::engine::Stream;
use crate::jobs::{self, Jobs};
use crate::placement::Placement;
use crate::plan::{CARGO, Step, TARGET, ZIG};
use crate::shell::{Shell, Verbosity};
use crate::vendor::{self, Vendored};

/// Folders of this machine that a step works in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// The workspace and what its build needs beside it.
    pub placement: Placement,
    /// Cargo's target folder for the step's image.
    pub target: PathBuf,
    /// Cargo's home for the step's image.
    pub cargo: PathBuf,
    /// Zig's caches for the step's image.
    pub zig: PathBuf,
}

/// The command that runs a step's cargo with the given arguments. Pure: it reads nothing.
pub fn command(
    step: &Step,
    argv: Vec<String>,
    folders: &Folders,
    vendored: &Vendored,
    jobs: &Jobs,
) -> Command {
    let mount = |host: &Path, guest: &str, access| Mount {
        host: host.to_owned(),
        guest: PathBuf::from(guest),
        access,
    };
    let mut env = step.env.clone();
    let placement = &folders.placement;
    let mut mounts = placement.mounts();
    mounts.extend([
        mount(&folders.target, TARGET, Access::ReadWrite),
        mount(&folders.zig, ZIG, Access::ReadWrite),
        mount(&folders.cargo, CARGO, Access::ReadWrite),
        mount(&vendored.crates, vendor::GUEST, Access::ReadOnly),
    ]);
    if let Some((folder, flags)) = jobs.pipe() {
        env.insert("MAKEFLAGS".to_owned(), flags);
        mounts.push(mount(&folder, jobs::GUEST, Access::ReadWrite));
    }
    Command {
        argv: argv.into_iter().map(Into::into).collect(),
        env,
        workdir: placement.work.clone(),
        mounts,
    }
}

/// What a cargo run made.
#[derive(Debug, Default)]
pub struct Built {
    /// By package name: its library.
    pub libraries: BTreeMap<String, Library>,
    /// By package name: the program it built, if any.
    pub programs: BTreeMap<String, PathBuf>,
    /// By package name: its unit tests.
    pub tests: BTreeMap<String, Tests>,
    /// How many errors the compiler reported.
    pub n_errors: usize,
}

/// A library that cargo made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its files, as paths inside the image: the dynamic library, and on Windows what links to it.
    pub files: Vec<PathBuf>,
    /// The package's features.
    pub features: BTreeSet<String>,
}

/// A program that runs the unit tests of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tests {
    /// The program, as a path inside the image.
    pub program: PathBuf,
    /// The package's folder, as a path inside the image: where cargo would run it.
    pub package: PathBuf,
}

/// Follows a cargo run by its lines.
pub struct Follower<'a> {
    shell: &'a Shell,
    bar: ProgressBar,
    built: Built,
    n_units: u64,
}

impl<'a> Follower<'a> {
    /// A follower for a run of about `n_units` compilations; its bar is labelled `label`.
    pub fn new(shell: &'a Shell, label: String, n_units: u64) -> Self {
        let style = ProgressStyle::with_template(
            "{prefix:>28} [{bar:24}] {pos:>3}/{len:3} {elapsed:>4} {wide_msg}",
        )
        .expect("the template is right")
        .progress_chars("=> ");
        let bar =
            shell.progress().add(ProgressBar::new(n_units).with_style(style).with_prefix(label));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { shell, bar, built: Built::default(), n_units }
    }

    /// Takes one line of the run's output.
    pub fn line(&mut self, stream: Stream, line: &str) {
        match stream {
            Stream::Stdout => match serde_json::from_str(line) {
                Ok(message) => self.message(message),
                // A build script or a proc macro may print; cargo passes it on.
                Err(_) => self.shell.detail("Cargo", line),
            },
            Stream::Stderr => {
                let trimmed = line.trim_start();
                if let Some(what) = trimmed.strip_prefix("Compiling ") {
                    self.bar.set_message(what.to_owned());
                }
                if self.shell.verbosity() >= Verbosity::Verbose {
                    self.shell.passthrough(line);
                }
            }
        }
    }

    /// What the run made.
    pub fn finish(self) -> Built {
        self.bar.finish_and_clear();
        self.built
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::CompilerArtifact(artifact) => {
                self.step();
                self.artifact(&artifact);
            }
            Message::BuildScriptExecuted(_) => self.step(),
            Message::CompilerMessage(message) => {
                let is_error =
                    matches!(message.message.level, DiagnosticLevel::Error | DiagnosticLevel::Ice);
                self.built.n_errors += usize::from(is_error);
                if let Some(rendered) = message.message.rendered
                    && (is_error || self.shell.verbosity() > Verbosity::Quiet)
                {
                    self.shell.diagnostic(&rendered);
                }
            }
            _ => {}
        }
    }

    fn artifact(&mut self, artifact: &Artifact) {
        let package = package_name(&artifact.package_id.repr);
        let is_test = artifact.profile.test;
        match artifact.executable.as_deref().map(Utf8Path::as_std_path) {
            Some(program) if is_test => {
                let folder = artifact.manifest_path.parent().map(Utf8Path::as_std_path);
                let package_folder = folder.unwrap_or(Path::new("/")).to_owned();
                let tests = Tests { program: program.to_owned(), package: package_folder };
                self.built.tests.insert(package, tests);
            }
            Some(program) if artifact.target.kind.contains(&TargetKind::Bin) => {
                self.built.programs.insert(package, program.to_owned());
            }
            _ if artifact.target.crate_types.contains(&CrateType::CDyLib) => {
                let files = artifact.filenames.iter().map(|f| f.as_std_path().to_owned());
                let features = artifact.features.iter().map(ToString::to_string).collect();
                let library = Library { files: files.collect(), features };
                self.built.libraries.insert(package, library);
            }
            _ => {}
        }
    }

    fn step(&mut self) {
        self.bar.inc(1);
        // The number of compilations is an estimate: a crate may be compiled for two platforms.
        self.n_units = self.n_units.max(self.bar.position());
        self.bar.set_length(self.n_units);
    }
}

/// The package's name in a package id such as `path+file:///work/plugins/greet#0.1.0` or
/// `path+file:///work/plugins/match#order-match@0.1.0`.
/// <https://doc.rust-lang.org/cargo/reference/pkgid-spec.html>
fn package_name(id: &str) -> String {
    let (url, fragment) = id.rsplit_once('#').unwrap_or((id, ""));
    let name = match fragment.split_once('@') {
        Some((name, _version)) => name,
        None => url.rsplit('/').next().unwrap_or(url).split('?').next().unwrap_or_default(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_name_in_a_package_id() {
        for (id, name) in [
            ("path+file:///work/plugins/greet#0.1.0", "greet"),
            ("path+file:///work/plugins/match#order-match@0.1.0", "order-match"),
            ("registry+https://example.org/index#serde@1.0.229", "serde"),
            ("git+https://example.org/a/thing?rev=1#0.2.0", "thing"),
        ] {
            assert_eq!(package_name(id), name, "{id}");
        }
    }

    #[test]
    fn unit_tests_are_no_libraries() {
        let message = r#"{"reason":"compiler-artifact","package_id":"path+file:///work/plugins/greet#0.1.0","manifest_path":"/work/plugins/greet/Cargo.toml","target":{"kind":["cdylib"],"crate_types":["cdylib"],"name":"greet","src_path":"/work/plugins/greet/src/lib.rs","edition":"2024","doc":true,"doctest":false,"test":true},"profile":{"opt_level":"0","debuginfo":0,"debug_assertions":true,"overflow_checks":true,"test":true},"features":[],"filenames":["/target/x/debug/deps/greet-1.exe"],"executable":"/target/x/debug/deps/greet-1.exe","fresh":false}"#;
        let shell = Shell::silent();
        let mut follower = Follower::new(&shell, String::new(), 1);
        follower.line(Stream::Stdout, message);
        let built = follower.finish();
        let [program, package] = ["/target/x/debug/deps/greet-1.exe", "/work/plugins/greet"];
        let expected = Tests { program: program.into(), package: package.into() };
        assert_eq!(built.tests, BTreeMap::from([("greet".to_owned(), expected)]));
        assert_eq!(built.libraries, BTreeMap::new());
    }

    #[test]
    fn collects_libraries_and_counts_errors() {
        let artifact = r#"{"reason":"compiler-artifact","package_id":"path+file:///work/plugins/greet#0.1.0","manifest_path":"/work/plugins/greet/Cargo.toml","target":{"kind":["cdylib"],"crate_types":["cdylib"],"name":"greet","src_path":"/work/plugins/greet/src/lib.rs","edition":"2024","doc":true,"doctest":false,"test":true},"profile":{"opt_level":"3","debuginfo":0,"debug_assertions":false,"overflow_checks":false,"test":false},"features":[],"filenames":["/target/x/release/libgreet.so"],"executable":null,"fresh":false}"#;
        let error = r#"{"reason":"compiler-message","package_id":"path+file:///work/plugins/greet#0.1.0","manifest_path":"/work/plugins/greet/Cargo.toml","target":{"kind":["cdylib"],"crate_types":["cdylib"],"name":"greet","src_path":"/work/plugins/greet/src/lib.rs","edition":"2024","doc":true,"doctest":false,"test":true},"message":{"rendered":"error: no\n","message":"no","code":null,"level":"error","spans":[],"children":[]}}"#;
        let shell = Shell::silent();
        let mut follower = Follower::new(&shell, String::new(), 1);
        for line in [artifact, error, "not json", "{\"reason\":\"unheard-of\"}"] {
            follower.line(Stream::Stdout, line);
        }
        let built = follower.finish();
        assert_eq!(
            built.libraries["greet"].files,
            [PathBuf::from("/target/x/release/libgreet.so")]
        );
        assert_eq!(built.n_errors, 1);
    }
}
