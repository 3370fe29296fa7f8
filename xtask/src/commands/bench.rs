//! `bench`: what the boundary, builds, engines and images cost beside a peer.
//!
//! A figure stands beside a peer's that was measured in the same run, since a machine's speed is not
//! a property of this project; ratios are.

mod bare;
mod builds;
mod engines;
mod images;
mod one_line;

use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};
use crate::shell::{Shell, count};
use crate::workspace::Workspace;

/// How often each command is run for the figure `nothing-to-do`.
const N_RUNS: usize = 15;

/// Measures, each figure beside that of a peer.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure; all unless given
    #[arg(value_enum, value_name = "NAME")]
    names: Vec<Name>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Calls through a plugin's boundary beside calls without one
    Boundary,
    /// `build-plugins` with nothing to do beside `cargo build` with nothing to do
    NothingToDo,
    /// The start of a command in each engine beside that of a process
    Engines,
    /// Whole builds in each engine beside cargo by itself in the same root
    Builds,
    /// One line changed, for all default targets, beside cargo by itself in the same roots
    OneLine,
    /// Layers made of packages beside the SHA-256 of the same bytes
    Images,
}

/// One figure, in the form of a `figure` event.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Figure {
    event: String,
    name: String,
    value: f64,
    unit: String,
    peer: String,
    peer_value: f64,
    ratio: f64,
}

impl Figure {
    /// A value, and that of the peer in the same unit.
    fn new(name: impl Into<String>, unit: &str, value: f64, peer: &str, peer_value: f64) -> Self {
        Self {
            event: "figure".to_owned(),
            name: name.into(),
            value,
            unit: unit.to_owned(),
            peer: peer.to_owned(),
            peer_value,
            ratio: value / peer_value,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event {
    Summary { figures: usize },
}

pub(crate) fn run(args: &Args, workspace: &Workspace, shell: &Shell) -> Result<(), Failure> {
    let asked = |name: &Name| args.names.is_empty() || args.names.contains(name);
    let mut figures = Vec::new();
    for name in Name::value_variants().iter().filter(|name| asked(name)) {
        let measured = match name {
            Name::Boundary => boundary(workspace)?,
            Name::NothingToDo => vec![nothing_to_do(workspace)?],
            Name::Engines => engines::measure(workspace, shell)?,
            Name::Builds => builds::measure(workspace, shell)?,
            Name::OneLine => vec![one_line::measure(workspace, shell)?],
            Name::Images => vec![images::measure(workspace, shell)?],
        };
        for figure in measured {
            shell.event(&figure);
            let Figure { name, value, unit, peer, peer_value, ratio, .. } = &figure;
            shell.data(format_args!(
                "{name:36} {value:12.2} {unit:10} {ratio:6.3} × {peer} ({peer_value:.2} {unit})"
            ));
            figures.push(figure);
        }
    }
    let n = figures.len();
    shell.finish(count(n, "figure"), &Event::Summary { figures: n });
    Ok(())
}

/// The figures that keyway-host's benchmark prints, one object a line.
fn boundary(workspace: &Workspace) -> Result<Vec<Figure>, Failure> {
    let arguments = ["bench", "--locked", "--quiet", "-p", "keyway-host", "--bench", "boundary"];
    let output = duct::cmd(cargo(), arguments)
        .dir(workspace.root())
        .read()
        .map_err(|error| failed("the benchmark of keyway-host", &error))?;
    let figures = output.lines().filter_map(|line| serde_json::from_str(line).ok());
    Ok(figures.collect())
}

/// Wall times of whole commands, the two alternating; the medians are compared.
fn nothing_to_do(workspace: &Workspace) -> Result<Figure, Failure> {
    let this = std::env::current_exe().map_err(|error| failed("finding this program", &error))?;
    let build = || duct::cmd!(&this, "--quiet", "build-plugins");
    let peer = || duct::cmd!(cargo(), "build", "--quiet", "--locked", "--package", "greet");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // The first of each does what there is to do.
    for _ in 0..=N_RUNS {
        ours.push(time(&build(), workspace)?);
        theirs.push(time(&peer(), workspace)?);
    }
    let (value, peer_value) = (median_ms(&mut ours[1..]), median_ms(&mut theirs[1..]));
    Ok(Figure::new("nothing to do", "ms", value, "cargo build, nothing to do", peer_value))
}

fn time(command: &duct::Expression, workspace: &Workspace) -> Result<Duration, Failure> {
    let start = Instant::now();
    let run = command.dir(workspace.root()).stdin_null().stdout_null().run();
    run.map_err(|error| failed("a measured command", &error))?;
    Ok(start.elapsed())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn median_ms(times: &mut [Duration]) -> f64 {
    median(times).as_secs_f64() * 1e3
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn failed(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("{what} failed: {error}"))
}
