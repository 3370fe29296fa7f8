//! One cargo run inside an image, followed by its JSON messages: progress while it goes on, and at
//! its end the libraries that it made.
//!
//! File names are never guessed: what cargo names is what was built. Cargo's diagnostics reach the
//! user as cargo wrote them.

pub mod wanting;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cargo_metadata::camino::Utf8Path;
use cargo_metadata::diagnostic::DiagnosticLevel;
use cargo_metadata::{Artifact, CrateType, Message, TargetKind};
use indicatif::{ProgressBar, ProgressStyle};
use keyway_manifest::text::Show as _;

use crate::container::{Access, Command, Mount};
use crate::engine::Stream;
use crate::inputs::Snapshot;
use crate::jobs::{self, Jobs};
use crate::package_id::PackageId;
use crate::placement::Placement;
use crate::plan::{CARGO, Step, TARGET, ZIG};
use crate::shell::{Shell, Verbosity};
use crate::unseen::{self, Complaint};
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
        limit: None,
        hidden: Vec::new(),
    }
}

/// What a cargo run made.
#[derive(Debug, Default)]
pub struct Built {
    /// By package: its library.
    pub libraries: BTreeMap<PackageId, Library>,
    /// By package: the program it built, if any.
    pub programs: BTreeMap<PackageId, PathBuf>,
    /// By package: its unit tests.
    pub tests: BTreeMap<PackageId, Tests>,
    /// How many errors the compiler reported.
    pub n_errors: usize,
    /// How many build scripts failed.
    pub n_failed_scripts: usize,
    /// What the compiler's errors and failed build scripts said.
    pub complaints: Vec<Complaint>,
    /// The sources when it had ended.
    pub after: Option<Snapshot>,
    /// Files that were others then than when it began.
    pub moved: BTreeSet<PathBuf>,
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
    /// What a failed build script has said so far, by cargo's account.
    script: Option<Complaint>,
}

/// How cargo begins its account of a build script that failed.
const SCRIPT_FAILED: &str = "error: failed to run custom build command for ";

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
        Self { shell, bar, built: Built::default(), n_units, script: None }
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
                    self.bar.set_message(what.shown().to_string());
                }
                self.script_line(line);
                if self.shell.verbosity() >= Verbosity::Verbose {
                    self.shell.passthrough(line);
                }
            }
        }
    }

    /// What the run made. Says which folders it looked in that `placement` does not show.
    pub fn finish(mut self, placement: &Placement) -> Built {
        self.end_script();
        self.bar.finish_and_clear();
        if unseen::is_repository(&self.built.complaints) {
            self.shell.warn_once(unseen::NO_REPOSITORY);
        }
        let unseen = unseen::folders(&self.built.complaints, placement);
        if !unseen.is_empty() {
            self.shell.warn_once(&unseen::advice(&unseen, placement));
        }
        self.built
    }

    /// A line of cargo's own: its account of a failed build script goes on to its next line of that kind.
    fn script_line(&mut self, line: &str) {
        if let Some(failed) = line.strip_prefix(SCRIPT_FAILED) {
            self.end_script();
            // `name v0.1.0 (/work/plugins/name)`, of a crate without its folder.
            let folder = failed.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
            let bases = folder.map(|(folder, _)| PathBuf::from(folder)).into_iter().collect();
            let (text, library) = (line.to_owned(), String::new());
            self.script = Some(Complaint { text, library, bases, script: None });
        } else if line.starts_with("error: ") || line.starts_with("warning: build failed") {
            self.end_script();
        } else if line.starts_with("   ") && line.trim_start().starts_with("Compiling ") {
            // Another crate's turn, meanwhile.
        } else if let Some(script) = &mut self.script {
            script.text.push('\n');
            script.text.push_str(line);
        }
    }

    /// Says why a build script failed, beside whatever else did.
    fn end_script(&mut self) {
        let Some(mut complaint) = self.script.take() else { return };
        complaint.script = complaint.bases.first().map(|folder| folder.join("build.rs"));
        self.built.n_failed_scripts += 1;
        if self.shell.verbosity() < Verbosity::Verbose {
            self.shell.passthrough(&complaint.text);
        }
        self.built.complaints.push(complaint);
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
                if is_error {
                    let source = message.target.src_path.as_std_path();
                    // From where cargo starts the compiler, which is nothing here, up to the package.
                    let bases = std::iter::once(Path::new("")).chain(source.ancestors().skip(1));
                    let bases = bases.map(Path::to_owned).collect();
                    let notes = message.message.children.iter().map(|note| &note.message);
                    let parts = std::iter::once(&message.message.message).chain(notes);
                    let text = parts.map(String::as_str).collect::<Vec<_>>().join("\n");
                    let library = message.target.name.replace('-', "_");
                    self.built.complaints.push(Complaint { text, library, bases, script: None });
                }
                if let Some(rendered) = message.message.rendered
                    && (is_error || self.shell.verbosity() > Verbosity::Quiet)
                {
                    self.shell.passthrough(&rendered);
                }
            }
            _ => {}
        }
    }

    fn artifact(&mut self, artifact: &Artifact) {
        let package = PackageId::parse(&artifact.package_id.repr);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn placement() -> Placement {
        Placement::new(Path::new("/home/ws"), &[])
    }

    fn greet() -> PackageId {
        PackageId::in_folder(Path::new("/work/plugins/greet"), "greet", "0.1.0")
    }

    #[test]
    fn unit_tests_are_no_libraries() {
        let message = r#"{"reason":"compiler-artifact","package_id":"path+file:///work/plugins/greet#0.1.0","manifest_path":"/work/plugins/greet/Cargo.toml","target":{"kind":["cdylib"],"crate_types":["cdylib"],"name":"greet","src_path":"/work/plugins/greet/src/lib.rs","edition":"2024","doc":true,"doctest":false,"test":true},"profile":{"opt_level":"0","debuginfo":0,"debug_assertions":true,"overflow_checks":true,"test":true},"features":[],"filenames":["/target/x/debug/deps/greet-1.exe"],"executable":"/target/x/debug/deps/greet-1.exe","fresh":false}"#;
        let shell = Shell::silent();
        let mut follower = Follower::new(&shell, String::new(), 1);
        follower.line(Stream::Stdout, message);
        let built = follower.finish(&placement());
        let [program, package] = ["/target/x/debug/deps/greet-1.exe", "/work/plugins/greet"];
        let expected = Tests { program: program.into(), package: package.into() };
        assert_eq!(built.tests, BTreeMap::from([(greet(), expected)]));
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
        let built = follower.finish(&placement());
        assert_eq!(
            built.libraries[&greet()].files,
            [PathBuf::from("/target/x/release/libgreet.so")]
        );
        assert_eq!(built.n_errors, 1);
        let bases = ["", "/work/plugins/greet/src", "/work/plugins/greet"].map(PathBuf::from);
        assert!(built.complaints[0].bases.starts_with(&bases), "{:?}", built.complaints);
    }

    #[test]
    fn keeps_what_a_failed_build_script_said() {
        let said = "   Compiling a v0.1.0 (/work/a)\n\
            error: failed to run custom build command for `a v0.1.0 (/work/a)`\n\nCaused by:\n  it panicked\n   \
            Compiling b v0.1.0 (/work/b)\n  NotFound\nwarning: build failed, waiting for other jobs to finish...\n\
            error: failed to run custom build command for `zstd-sys v2.0.0`\n  no compiler\n";
        let shell = Shell::silent();
        let mut follower = Follower::new(&shell, String::new(), 1);
        said.lines().for_each(|line| follower.line(Stream::Stderr, line));
        let built = follower.finish(&placement());
        let [own, other] = &built.complaints[..] else { panic!("two: {:?}", built.complaints) };
        assert!(own.text.ends_with("Caused by:\n  it panicked\n  NotFound"), "{}", own.text);
        assert_eq!(own.bases, [Path::new("/work/a")]);
        assert_eq!(own.script.as_deref(), Some(Path::new("/work/a/build.rs")));
        assert_eq!((other.bases.len(), built.n_failed_scripts, built.n_errors), (0, 2, 0));
    }
}
