//! The command line: global options, the list of commands, and the exit status.

use std::io::Write as _;
#[cfg(feature = "openpgp")]
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    bench, build_plugins, ci, compat, contract, doctor, explain, gate, images, run_plugin, targets,
    test_plugins, verify,
};
use crate::failure::{Exit, Failure};
use crate::interrupt;
use crate::shell::{ColorChoice, Format, Shell, Verbosity, coloured};
use crate::workspace::{Workspace, WorkspaceError};

/// Builds native plugins for every target inside pinned images, and checks them before loading.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Write one JSON object a line to stdout
    #[arg(long, global = true)]
    json: bool,
    /// Say nothing but errors and warnings
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say what is run, and why
    #[arg(long, short, global = true)]
    verbose: bool,
    /// When to colour the output
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
    /// Cargo.toml of the workspace; looked for from the current folder upwards unless given
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) manifest_path: Option<PathBuf>,
    /// Folder that artifacts are delivered to; `dist` in the workspace unless given
    #[arg(long, global = true, value_name = "DIR", env = "KEYWAY_DIST")]
    pub(crate) dist: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build every plugin for every target, inside pinned images, into `dist/`
    BuildPlugins(build_plugins::Args),
    /// Look at libraries and say whether a host would load them
    Gate(gate::Args),
    /// Load a plugin here and call a method
    RunPlugin(run_plugin::Args),
    /// Load, call and unload what was built, for each target on its runner
    TestPlugins(test_plugins::Args),
    /// Build again what was delivered, from nothing, and compare
    Verify(verify::Args),
    /// Lock, assemble and look at the images that plugins are built in
    Images(images::Args),
    /// List the targets that plugins can be built for
    Targets(targets::Args),
    /// Check what this machine has: engines, cargo, git, space, tools
    Doctor(doctor::Args),
    /// Explain a refusal code
    Explain(explain::Args),
    /// Measure, each figure beside that of a peer
    Bench(bench::Args),
    /// Build and call plugins around crates that are hard to cross-compile
    Compat(compat::Args),
    /// Write the contract's descriptors and C header
    Contract(contract::Args),
    /// Run every check that a change has to pass
    Ci(ci::Args),
    /// Reads an archive's signature for a program that is built without what reads it
    #[cfg(feature = "openpgp")]
    #[command(hide = true)]
    ReadSigned,
    /// Runs a command in namespaces of its own; how the sandbox engine starts itself
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Sandbox(crate::engine::sandbox::Args),
}

/// Parses the command line, runs the command, and says how it ended.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return told(&error),
    };
    let verbosity = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let format = if cli.global.json { Format::Json } else { Format::Text };
    let shell = Shell::new(verbosity, format, cli.global.color);
    // What failed comes before what was not read.
    match run(&cli, &shell).and_then(|()| shell.unread().map_or(Ok(()), Err)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_reported() {
                shell.failure(&failure);
            }
            // Whatever stage it stopped, and however that stage says so.
            let interrupted = interrupt::requested().then_some(Exit::Interrupted);
            ExitCode::from(interrupted.unwrap_or(failure.exit) as u8)
        }
    }
}

/// Says what is wrong with the command line, or what was asked of it, as clap does; but an argument that a
/// terminal would take for a command is escaped.
fn told(error: &clap::Error) -> ExitCode {
    let text = error.render().ansi().to_string();
    let shown = coloured(&text);
    // Nobody to tell is no reason to end otherwise.
    let _ = match shown == text {
        true => error.print(),
        false => write!(std::io::stderr(), "{}", console::strip_ansi_codes(&shown)),
    };
    ExitCode::from(error.exit_code() as u8)
}

fn run(cli: &Cli, shell: &Shell) -> Result<(), Failure> {
    let workspace =
        || Workspace::find(cli.global.manifest_path.as_deref(), cli.global.dist.as_deref());
    match &cli.command {
        Command::BuildPlugins(args) => build_plugins::run(args, &workspace()?, shell),
        Command::Gate(args) => gate::run(args, shell),
        Command::RunPlugin(args) => run_plugin::run(args, shell),
        Command::TestPlugins(args) => test_plugins::run(args, &workspace()?, shell),
        Command::Verify(args) => verify::run(args, &workspace()?, shell),
        Command::Images(args) => images::run(args, &workspace()?, shell),
        Command::Targets(args) => targets::run(args, &workspace()?, shell),
        Command::Doctor(args) => match workspace() {
            // It is asked about the machine outside of workspaces too.
            Err(WorkspaceError::NotFound { .. }) => doctor::run(args, None, shell),
            found => doctor::run(args, Some(&found?), shell),
        },
        Command::Explain(args) => explain::run(args, shell),
        Command::Bench(args) => bench::run(args, &workspace()?, shell),
        Command::Compat(args) => compat::run(args, &workspace()?, shell),
        Command::Contract(args) => contract::run(args, &workspace()?, shell),
        Command::Ci(args) => ci::run(args, &workspace()?, shell),
        #[cfg(feature = "openpgp")]
        Command::ReadSigned => Ok(crate::image::openpgp::answer()
            .map_err(crate::cache::CacheError::io("answer on", Path::new("standard output")))?),
        #[cfg(target_os = "linux")]
        Command::Sandbox(args) => crate::engine::sandbox::enter(args),
    }
}
