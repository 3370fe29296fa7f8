//! Runs a target's host program on its plugins: loads each, calls it, unloads it.
//!
//! The program is `keyway-host`, built for the target in the image that built the plugins. It runs
//! inside an image as well, never on this machine itself: what is tested is what was built, and a
//! plugin that misbehaves sees nothing of the user's.
//!
//! Each plugin has processes of its own, one for each [`Round`], so that what breaks one is told of the
//! plugin that broke it. A plugin passes if the program says so by its JSON events, *and* ends with
//! status 0 within its time, *and* has written nothing else to standard output: that is the host's, and
//! a plugin that writes there breaks whatever the host says on it. An event alone proves nothing, since
//! destructors run after the last one.

mod told;
pub mod unit;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_manifest::Digest;
use serde::Serialize;

use crate::container::{Access, Command, Image, Mount};
use crate::dist::Entry;
use crate::engine::{Engine, EngineError, Stream};
use crate::shell::Shell;
use crate::targets::{Paths, Runner, Target};
use crate::workspace::Plugin;

use told::Told;

/// What came of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// It was loaded, called and unloaded, and its hosts ended well.
    Passed {
        /// How many calls it answered.
        calls: u64,
        /// How many of them with an error.
        errors: u64,
    },
    /// The host's gate refused it.
    Refused {
        /// The codes.
        codes: Vec<String>,
    },
    /// It was loaded, or nearly, and something went wrong.
    Failed {
        /// What.
        message: String,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed { calls: 0, .. } => f.write_str("loaded only: it has no named method"),
            Self::Passed { calls, errors: 0 } => f.write_str(&n(*calls, "call")),
            Self::Passed { calls, errors } => {
                write!(f, "{}, {}", n(*calls, "call"), n(*errors, "error"))
            }
            Self::Refused { codes } => write!(f, "a host there refuses it: {}", codes.join(", ")),
            Self::Failed { message } => f.write_str(message),
        }
    }
}

/// `1 call`, `3 calls`.
fn n(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// What a process does with a plugin before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// Loads it, uses it in every way and unloads it. What it has left to be done at the end of the
    /// process, and is gone, shows then.
    Unloaded,
    /// Loads it, calls it, unloads it, loads it again, calls it, and ends with the plugin loaded.
    Loaded,
}

impl Round {
    const ALL: [Self; 2] = [Self::Unloaded, Self::Loaded];

    /// What the host program calls it.
    fn command(self) -> &'static str {
        match self {
            Self::Unloaded => "exercise",
            Self::Loaded => "exercise-again",
        }
    }

    /// The end of the process, for messages.
    fn end(self) -> &'static str {
        match self {
            Self::Unloaded => "at its end, after the plugin was unloaded",
            Self::Loaded => "at its end, with the plugin loaded",
        }
    }
}

/// A plugin that is tried, and what its host is told to let pass beyond what any host does.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Where it lies.
    pub entry: &'a Entry,
    /// The toolchain that built it.
    pub toolchain: Digest,
    /// Its package, if the workspace still has it.
    pub plugin: Option<&'a Plugin>,
}

/// What runs plugins of a target.
#[derive(Debug, Clone)]
pub struct Host {
    /// How programs of the target are run.
    pub runner: Runner,
    /// The image that they are run in.
    pub image: Image,
    /// The host program.
    pub program: PathBuf,
    /// How long it may take for one round of one plugin.
    pub limit: Duration,
}

/// Where `dist/` is seen inside.
const DIST: &str = "/dist";
/// Where the folder with the host program is seen inside.
const HOST: &str = "/host";
/// The architecture of the images.
const IMAGES: &str = "x86_64";

/// Why programs for `target` can't be run on this machine, if they can't.
pub fn obstacle(target: &Target) -> Option<String> {
    if target.spec.runner.is_none() {
        return Some("no image here runs programs for it".to_owned());
    }
    // Emulators are programs of the images' own architecture, and so of the machine's.
    let machine = std::env::consts::ARCH;
    (machine != IMAGES).then(|| format!("this machine is of architecture {machine}, not {IMAGES}"))
}

impl Host {
    /// The command for a round with a plugin in `dist`. Pure: it reads nothing.
    pub fn command(&self, dist: &Path, subject: Subject<'_>, round: Round) -> Command {
        let Self { runner, program, .. } = self;
        let (folder, name) = (program.parent().unwrap_or(program), program.file_name());
        let name = name.unwrap_or_default().to_string_lossy();
        let mut argv = runner.command.clone();
        argv.extend([runner.guest(&format!("{HOST}/{name}")), "--json".into()]);
        argv.extend(["--trust".into(), subject.toolchain.to_string()]);
        let imports = subject.plugin.iter().flat_map(|plugin| &plugin.allow_imports);
        argv.extend(imports.flat_map(|allowed| ["--allow-import".into(), allowed.name.clone()]));
        argv.extend([round.command().into(), library(runner, subject.entry)]);
        let mount = |host: &Path, guest: &str| Mount {
            host: host.to_owned(),
            guest: guest.into(),
            access: Access::ReadOnly,
        };
        Command {
            argv: argv.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            workdir: PathBuf::from("/tmp"),
            mounts: vec![mount(folder, HOST), mount(dist, DIST)],
            limit: Some(self.limit),
            hidden: Vec::new(),
        }
    }

    /// Runs all rounds with a plugin in `dist`, as far as it passes.
    ///
    /// # Errors
    /// If the program could not be run at all.
    pub fn try_out(
        &self,
        engine: &dyn Engine,
        dist: &Path,
        subject: Subject<'_>,
        shell: &Shell,
    ) -> Result<Outcome, EngineError> {
        let (mut calls, mut errors) = (0, 0);
        for round in Round::ALL {
            match self.round(engine, dist, subject, round, shell)? {
                Outcome::Passed { calls: more, errors: wrong } => {
                    calls += more;
                    errors += wrong;
                }
                other => return Ok(other),
            }
        }
        Ok(Outcome::Passed { calls, errors })
    }

    fn round(
        &self,
        engine: &dyn Engine,
        dist: &Path,
        subject: Subject<'_>,
        round: Round,
        shell: &Shell,
    ) -> Result<Outcome, EngineError> {
        let command = self.command(dist, subject, round);
        let mut told = Told::of(library(&self.runner, subject.entry));
        let ended = engine.run(&self.image, &command, &mut |stream, line| {
            let line = line.trim_end_matches('\r');
            match stream {
                Stream::Stdout => told.line(line, shell),
                Stream::Stderr => told.error(line, shell),
            }
        });
        told.outcome(ended, round)
    }
}

impl Runner {
    /// A path inside the image as the program itself spells it.
    fn guest(&self, path: &str) -> String {
        match self.paths {
            Paths::Unix => path.to_owned(),
            Paths::Windows => format!("Z:{}", path.replace('/', "\\")),
        }
    }
}

fn library(runner: &Runner, entry: &Entry) -> String {
    runner.guest(&format!("{DIST}/{}", entry.library))
}
