//! `explain`: what a refusal code means and what to do about it.

use keyway_host::code::Code;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::shell::{Shell, count};

/// Explains a refusal code such as KW203; lists all codes if none is given.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The code
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Event {
    Code {
        code: Code,
        check: String,
        title: &'static str,
        meaning: &'static str,
        cause: &'static str,
        remedy: &'static str,
    },
    Summary {
        codes: usize,
    },
}

pub(crate) fn run(args: &Args, shell: &Shell) -> Result<(), Failure> {
    let codes = match &args.code {
        None => Code::ALL.to_vec(),
        Some(text) => vec![text.to_uppercase().parse().map_err(|error| {
            Failure::new(Exit::Usage, format!("no code `{text}`: {error}"))
                .with_hint("`cargo xtask explain` lists every code")
        })?],
    };
    for &code in &codes {
        shell.event(&Event::Code {
            code,
            check: code.check().to_string(),
            title: code.title(),
            meaning: code.meaning(),
            cause: code.cause(),
            remedy: code.remedy(),
        });
        if args.code.is_none() {
            shell.data(format_args!("{code}  {:12} {}", code.check(), code.title()));
        } else {
            let head = format!("{code} ({}): {}", code.check(), code.title());
            let cause = format!("Usual cause: {}", code.cause());
            let paragraphs = [&head, code.meaning(), &cause];
            for paragraph in paragraphs {
                shell.data(paragraph);
                shell.data("");
            }
            shell.data(format_args!("What to do:  {}", code.remedy()));
        }
    }
    shell.finish(count(codes.len(), "code"), &Event::Summary { codes: codes.len() });
    Ok(())
}
