//! `run-plugin`: what a host does, from the command line: check, load, call.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::path::PathBuf;

use keyway_abi::call::Context;
use keyway_host::load::{Host, LoadError};
use keyway_host::policy::Expectation;
use keyway_host::refusal::Verdict;
use keyway_host::services::Services;
use keyway_manifest::text::Show as _;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::shell::Shell;

/// Loads a plugin on this machine, calls a method and writes what it returns to stdout.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The library; its manifest lies beside it
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The method
    #[arg(value_name = "METHOD")]
    method: String,
    /// What the method gets; `-` reads it from standard input
    #[arg(value_name = "INPUT", default_value = "")]
    input: String,
    /// The plugin's configuration
    #[arg(long, value_name = "TEXT", default_value = "")]
    config: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event<'a> {
    Call { path: Cow<'a, str>, method: &'a str, output: &'a str },
    Summary { called: usize },
}

pub(crate) fn run(args: &Args, shell: &Shell) -> Result<(), Failure> {
    let path = &args.path;
    let failed = |exit, error| Failure { exit, error, hint: None };
    let input = input(&args.input)?;
    let services = Services::new(|level, line| {
        // Nobody to tell is no reason to stop a plugin.
        let _ = writeln!(std::io::stderr(), "{level:?}: {}", line.shown());
    });
    let host = Host::new(Expectation::this_process(), services)
        .map_err(|error| failed(Exit::Environment, Box::new(error)))?;
    let mut plugin = host.load(path, args.config.as_bytes()).map_err(|error| match error {
        LoadError::Refused(rejection) => {
            let refused = failed(Exit::Refused, Box::new(rejection.clone()))
                .with_hint("`cargo xtask explain CODE` says more about a code");
            shell.event(&Verdict::new(path, &Err::<(), _>(rejection)));
            refused
        }
        LoadError::Stage(error) => failed(Exit::Environment, Box::new(error)),
        error => failed(Exit::Failed, Box::new(error)),
    })?;
    let output = plugin
        .instance()
        .invoke(&args.method, &input, Context::NONE)
        .map_err(|error| failed(Exit::Failed, Box::new(error)))?;
    let text = String::from_utf8_lossy(&output);
    let path = path.to_string_lossy();
    shell.event(&Event::Call { path, method: &args.method, output: &text });
    shell.raw(&output);
    let done = format!("1 call of `{}`", args.method);
    shell.finish(done, &Event::Summary { called: 1 });
    Ok(())
}

fn input(argument: &str) -> Result<Vec<u8>, Failure> {
    if argument != "-" {
        return Ok(argument.as_bytes().to_vec());
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| {
        Failure::new(Exit::Environment, format!("could not read standard input: {error}"))
    })?;
    Ok(bytes)
}
