//! A small host for plugins, for every target that plugins are built for.
//!
//! It is what runs on the other system, in `wine` for example: it checks, loads and calls plugins,
//! and says what it saw. It has no dependency beyond the host library, so its arguments are read by
//! hand.
//!
//! Exit status: 0 done, 1 a plugin failed, 2 usage, 3 a plugin was refused, 4 no place to stage.

mod arguments;
mod exercise;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use keyway_abi::call::Context;
use keyway_host::gate::Gate;
use keyway_host::refusal::{Rejection, Verdict};
use keyway_host::services::Services;
use keyway_host::{Host, LoadError, Plugin};
use keyway_manifest::text::Show as _;
use serde_json::{Value, json};

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{}", arguments::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {}\n\n{}", error.shown(), arguments::USAGE);
            return Status::Usage.into();
        }
    };
    let output = Output { json: arguments.json };
    let status = match &arguments.command {
        Command::Gate { paths } => gate(&arguments, paths, &output),
        Command::Call { path, method, input } => call(&arguments, path, method, input, &output),
        Command::Exercise { paths, last } => exercise::run(&arguments, paths, *last, &output),
        Command::Explain { code } => {
            println!("{code} ({}): {}\n", code.check(), code.title());
            println!("{}\n", code.meaning());
            println!("Usual cause: {}\n\nRemedy: {}", code.cause(), code.remedy());
            Status::Done
        }
    };
    status.into()
}

/// How the program ends; the worst of what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    Done = 0,
    Failed = 1,
    Refused = 3,
    NoStage = 4,
    Usage = 2,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Data to stdout: text, or one JSON object a line.
struct Output {
    json: bool,
}

impl Output {
    fn event(&self, event: &Value) {
        if self.json {
            println!("{event}");
        }
    }

    fn text(&self, line: impl std::fmt::Display) {
        if !self.json {
            println!("{}", line.to_string().shown_lines());
        }
    }

    fn verdict<T>(&self, path: &Path, outcome: &Result<T, Rejection>) {
        self.event(&json!(Verdict::new(path, outcome)));
        match outcome {
            Ok(_) => self.text(format_args!("`{}` is admitted", path.shown())),
            Err(rejection) => self.text(rejection),
        }
    }

    fn failure(&self, path: &Path, error: &dyn std::error::Error) {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        let path = path.to_string_lossy();
        self.event(&json!({ "event": "failure", "path": path, "message": message }));
        self.text(format_args!("error: {}", message.shown()));
    }
}

fn gate(arguments: &Arguments, paths: &[PathBuf], output: &Output) -> Status {
    let gate = Gate::new(arguments.expectation.clone());
    let mut status = Status::Done;
    for path in paths {
        let outcome = gate.check(path);
        output.verdict(path, &outcome);
        if outcome.is_err() {
            status = Status::Refused;
        }
    }
    status
}

fn call(arguments: &Arguments, path: &Path, method: &str, input: &[u8], output: &Output) -> Status {
    let host = match host(arguments, services(), output) {
        Ok(host) => host,
        Err(status) => return status,
    };
    let mut plugin = match load(&host, path, &arguments.config, output) {
        Ok(plugin) => plugin,
        Err(status) => return status,
    };
    match plugin.instance().invoke(method, input, Context::NONE) {
        Ok(result) if output.json => {
            let (path, text) = (path.to_string_lossy(), String::from_utf8_lossy(&result));
            output
                .event(&json!({ "event": "call", "path": path, "method": method, "output": text }));
            Status::Done
        }
        Ok(result) => match io::stdout().write_all(&result) {
            Ok(()) => Status::Done,
            Err(_) => Status::Failed,
        },
        Err(error) => {
            output.failure(path, &error);
            Status::Failed
        }
    }
}

fn services() -> &'static Services {
    Services::new(|level, line| eprintln!("{level:?}: {}", line.shown()))
}

fn host(
    arguments: &Arguments,
    services: &'static Services,
    output: &Output,
) -> Result<Host, Status> {
    Host::new(arguments.expectation.clone(), services).map_err(|error| {
        output.failure(&std::env::temp_dir(), &error);
        Status::NoStage
    })
}

fn load(host: &Host, path: &Path, config: &[u8], output: &Output) -> Result<Plugin, Status> {
    host.load(path, config).map_err(|error| match error {
        LoadError::Refused(rejection) => {
            output.verdict::<()>(path, &Err(rejection));
            Status::Refused
        }
        LoadError::Stage(error) => {
            output.failure(path, &error);
            Status::NoStage
        }
        error => {
            output.failure(path, &error);
            Status::Failed
        }
    })
}
