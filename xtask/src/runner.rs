//! Runs a target's host program on its plugins: loads each, calls it, unloads it.
//!
//! The program is `keyway-host`, built for the target in the image that built the plugins. It runs
//! inside an image as well, never on this machine itself: what is tested is what was built, and a
//! plugin that misbehaves sees nothing of the user's. What it did is read from its JSON events, one
//! outcome a plugin; a plugin that no event names did not pass.

pub mod unit;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::container::{Access, Command, Image, Mount};
use crate::dist::Entry;
use crate::engine::{Engine, EngineError, Stream};
use crate::shell::Shell;
use crate::targets::{Paths, Runner, Target};

/// What came of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// It was loaded, called and unloaded.
    Passed {
        /// How many calls returned what they should.
        calls: u64,
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

/// The command that runs `program` on the libraries of `entries`. Pure: it reads nothing.
pub fn command(runner: &Runner, program: &Path, dist: &Path, entries: &[&Entry]) -> Command {
    let (folder, name) = (program.parent().unwrap_or(program), program.file_name());
    let name = name.unwrap_or_default().to_string_lossy();
    let mut argv = runner.command.clone();
    argv.extend([runner.guest(&format!("{HOST}/{name}")), "--json".into(), "exercise".into()]);
    argv.extend(entries.iter().map(|entry| library(runner, entry)));
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

/// Runs `program` on the libraries of `entries`, all in one process; one outcome each, in order.
///
/// # Errors
/// If the program could not be run at all.
pub fn run(
    engine: &dyn Engine,
    image: &Image,
    runner: &Runner,
    program: &Path,
    dist: &Path,
    entries: &[&Entry],
    shell: &Shell,
) -> Result<Vec<Outcome>, EngineError> {
    let mut told = Told::default();
    let command = command(runner, program, dist, entries);
    let ended = engine.run(image, &command, &mut |stream, line| match stream {
        Stream::Stdout => told.line(line.trim_end_matches('\r'), shell),
        Stream::Stderr => shell.detail("Host", line),
    });
    let silence = match ended {
        Ok(()) => "the host program did not say what came of it".to_owned(),
        // A refusal or failure is in the events; a crash is not.
        Err(error @ EngineError::CommandFailed { .. }) => format!("the host program {error}"),
        Err(error) => return Err(error),
    };
    let outcome = |entry: &&Entry| {
        let of = told.outcomes.remove(&library(runner, entry));
        of.unwrap_or_else(|| Outcome::Failed { message: silence.clone() })
    };
    Ok(entries.iter().map(outcome).collect())
}

/// A line of the host program's output.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event {
    Exercise { path: String, calls: u64 },
    Verdict { path: String, refusals: Vec<Refusal> },
    Failure { path: String, message: String },
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
}

/// By path, what the host program has told.
#[derive(Default)]
struct Told {
    outcomes: BTreeMap<String, Outcome>,
}

impl Told {
    fn line(&mut self, line: &str, shell: &Shell) {
        let (path, outcome) = match serde_json::from_str(line) {
            Ok(Event::Exercise { path, calls }) => (path, Outcome::Passed { calls }),
            Ok(Event::Failure { path, message }) => (path, Outcome::Failed { message }),
            Ok(Event::Verdict { refusals, .. }) if refusals.is_empty() => return,
            Ok(Event::Verdict { path, refusals }) => {
                let codes = refusals.into_iter().map(|refusal| refusal.code).collect();
                (path, Outcome::Refused { codes })
            }
            // A plugin may print.
            Err(_) => return shell.detail("Host", line),
        };
        self.outcomes.insert(path, outcome);
    }
}
