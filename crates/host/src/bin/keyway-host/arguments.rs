//! The command line of `keyway-host`.

use std::ffi::OsString;
use std::path::PathBuf;

use keyway_host::code::Code;
use keyway_host::policy::{Expectation, ImportPolicy, PermissionPolicy, ToolchainPolicy};
use keyway_host::toolchains::Toolchains;
use keyway_manifest::Digest;
use keyway_manifest::text::Show as _;

use crate::exercise::Last;

pub(crate) const USAGE: &str = "\
Checks, loads and calls Keyway plugins.

Usage:
  keyway-host gate PATH…                    check plugins, load nothing
  keyway-host call PATH METHOD [INPUT]      load one, call a method, print what it returns
  keyway-host exercise PATH…                load each, use it in every way, unload it; of a folder,
                                            every library in it
  keyway-host exercise-again PATH…          load each, call and unload it, load it again and end
                                            while it is loaded
  keyway-host explain CODE                  what a refusal code means

Options:
  --json                  one JSON object a line
  --config TEXT           configuration of the plugin
  --trust HASH            trust the toolchain with this hash too
  --any-toolchain         trust every toolchain, even unknown ones
  --allow-import NAME     allow plugins to need this library too
  --any-owner             don't look at who can write to the files";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) command: Command,
    pub(crate) json: bool,
    pub(crate) config: Vec<u8>,
    pub(crate) expectation: Expectation,
}

#[derive(Debug)]
pub(crate) enum Command {
    Gate { paths: Vec<PathBuf> },
    Call { path: PathBuf, method: String, input: Vec<u8> },
    Exercise { paths: Vec<PathBuf>, last: Last },
    Explain { code: Code },
}

impl Arguments {
    /// Reads the arguments; `None` asks for help.
    pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Option<Self>, String> {
        let mut expectation = Expectation::this_process();
        let (mut json, mut config) = (false, Vec::new());
        let mut plain = Vec::new();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("`{}` needs a value", word.shown()));
            match word.to_str() {
                Some("--help" | "-h") => return Ok(None),
                Some("--json") => json = true,
                Some("--config") => config = bytes(value()?),
                Some("--trust") => {
                    let hash: Digest = text(value()?)?.parse().map_err(|e| format!("{e}"))?;
                    trust(&mut expectation.toolchains, hash);
                }
                Some("--any-toolchain") => {
                    expectation.toolchains = ToolchainPolicy::AnyWithMatchingAbi;
                }
                Some("--allow-import") => allow(&mut expectation.imports, text(value()?)?),
                Some("--any-owner") => expectation.permissions = PermissionPolicy::Unchecked,
                Some(option) if option.starts_with("--") => {
                    return Err(format!("there is no option `{option}`"));
                }
                _ => plain.push(word),
            }
        }
        let command = Command::parse(plain)?;
        Ok(command.map(|command| Self { command, json, config, expectation }))
    }
}

impl Command {
    fn parse(words: Vec<OsString>) -> Result<Option<Self>, String> {
        let mut words = words.into_iter();
        let Some(name) = words.next() else {
            return Ok(None);
        };
        let command = match name.to_str() {
            Some("gate") => Self::Gate { paths: paths(&mut words)? },
            Some("exercise") => Self::Exercise { paths: paths(&mut words)?, last: Last::Unloaded },
            Some("exercise-again") => {
                Self::Exercise { paths: paths(&mut words)?, last: Last::Loaded }
            }
            Some("call") => {
                let path = words.next().ok_or("`call` needs the path of a plugin")?.into();
                let method = text(words.next().ok_or("`call` needs a method")?)?;
                Self::Call { path, method, input: words.next().map(bytes).unwrap_or_default() }
            }
            Some("explain") => {
                let code = text(words.next().ok_or("`explain` needs a code such as `KW212`")?)?;
                Self::Explain { code: code.parse().map_err(|error| format!("{error}"))? }
            }
            _ => return Err(format!("there is no command `{}`", name.shown())),
        };
        match words.next() {
            Some(word) => Err(format!("`{}` is one argument too many", word.shown())),
            None => Ok(Some(command)),
        }
    }
}

fn paths(words: &mut impl Iterator<Item = OsString>) -> Result<Vec<PathBuf>, String> {
    let paths: Vec<_> = words.map(PathBuf::from).collect();
    if paths.is_empty() { Err("no path was given".to_owned()) } else { Ok(paths) }
}

fn text(word: OsString) -> Result<String, String> {
    word.into_string().map_err(|word| format!("`{}` is not UTF-8", word.shown()))
}

/// Whatever the shell gave, as the plugin will see it.
fn bytes(word: OsString) -> Vec<u8> {
    word.into_encoded_bytes()
}

fn trust(policy: &mut ToolchainPolicy, hash: Digest) {
    if let ToolchainPolicy::Trusted(trusted) = policy {
        trusted.insert(hash);
    } else if *policy == ToolchainPolicy::SameAsHost {
        *policy = ToolchainPolicy::Trusted(Toolchains::from([hash]));
    }
}

fn allow(policy: &mut ImportPolicy, name: String) {
    if let ImportPolicy::Listed(names) = policy {
        names.insert(name);
    }
}
