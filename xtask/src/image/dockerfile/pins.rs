//! Whether a Dockerfile names only what is pinned: bases, images that files are copied or mounted from,
//! the frontend that reads the file, and what is added from an address.
//!
//! What its commands fetch can't be seen from here. Where builders differ, each reading has to hold:
//! one that knows no heredocs takes their lines for instructions. What is not understood is refused.

use std::collections::BTreeMap;
use std::path::Path;

use keyway_manifest::Digest;

use super::{DockerfileError, Named};

/// Checks that every image it names has a digest, is `scratch`, or is an earlier stage, and that what is
/// added from an address has a checksum.
///
/// # Errors
/// The first that has not.
pub fn check(path: &Path, text: &str) -> Result<(), DockerfileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let unpinned = |(line, named, what): Unpinned| match named {
        Named::Address => DockerfileError::Unchecked { path: path.to_owned(), line, url: what },
        named => DockerfileError::Unpinned { path: path.to_owned(), line, named, base: what },
    };
    check_frontend(text).map_err(unpinned)?;
    let mut bases = 0;
    for heredocs in [Heredocs::Skipped, Heredocs::Read] {
        let mut stages = Stages::default();
        for (line, instruction) in instructions(text, heredocs) {
            stages.check(&instruction).map_err(|(named, what)| unpinned((line, named, what)))?;
        }
        bases = stages.bases;
    }
    if bases == 0 { Err(DockerfileError::NoBase { path: path.to_owned() }) } else { Ok(()) }
}

/// Something that is not pinned: its line, what names it, and its name.
type Unpinned = (usize, Named, String);

/// `# syntax=IMAGE` has BuildKit fetch that image and let it read the file; `// syntax=` too.
fn check_frontend(text: &str) -> Result<(), Unpinned> {
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let comment = line.strip_prefix('#').or_else(|| line.strip_prefix("//"));
        let Some(comment) = comment else {
            if line.is_empty() {
                continue;
            }
            break;
        };
        if let Some((key, image)) = comment.split_once('=')
            && key.trim().eq_ignore_ascii_case("syntax")
            && !is_pinned(image.trim())
        {
            return Err((at + 1, Named::Frontend, image.trim().to_owned()));
        }
    }
    Ok(())
}

/// The stages so far.
#[derive(Default)]
struct Stages {
    /// Arguments before the first `FROM`, which only a `FROM` sees.
    arguments: BTreeMap<String, String>,
    names: Vec<String>,
    bases: usize,
}

impl Stages {
    fn check(&mut self, instruction: &str) -> Result<(), (Named, String)> {
        let mut words = instruction.split_whitespace();
        let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
        let words: Vec<&str> = words.collect();
        let n_flags = words.iter().take_while(|word| word.starts_with("--")).count();
        let (flags, rest) = words.split_at(n_flags);
        match &*keyword {
            "ARG" if self.bases == 0 => {
                for argument in words {
                    let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
                    let value = value.trim_matches(['"', '\'']);
                    self.arguments.insert(name.to_owned(), value.to_owned());
                }
            }
            "FROM" => {
                self.bases += 1;
                let base = expand(rest.first().copied().unwrap_or_default(), &self.arguments);
                if base != "scratch" && !self.is_stage(&base) && !is_pinned(&base) {
                    return Err((Named::Base, base));
                }
                if let [_, keyword, name] = rest
                    && keyword.eq_ignore_ascii_case("as")
                {
                    self.names.push((*name).to_owned());
                }
            }
            "COPY" | "ADD" | "RUN" => {
                for image in flags.iter().filter_map(|flag| taken_from(flag)) {
                    let is_number = image.parse::<usize>().is_ok_and(|at| at < self.bases);
                    if !is_number && !self.is_stage(image) && !is_pinned(image) {
                        return Err((Named::Source, image.to_owned()));
                    }
                }
                let is_checked = flags.iter().any(|flag| flag.starts_with("--checksum="));
                if keyword == "ADD" && !is_checked {
                    let mut sources =
                        rest.iter().map(|word| word.trim_matches(['[', ']', '"', ',']));
                    if let Some(address) = sources.find(|source| is_address(source)) {
                        return Err((Named::Address, address.to_owned()));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is_stage(&self, name: &str) -> bool {
        self.names.iter().any(|stage| stage.eq_ignore_ascii_case(name))
    }
}

/// `x` of `--from=x` and of `--mount=type=bind,from=x`. A variable in it stays one, and so is no pin.
fn taken_from(flag: &str) -> Option<&str> {
    let Some(options) = flag.strip_prefix("--mount=") else {
        return flag.strip_prefix("--from=");
    };
    options.split(',').find_map(|option| {
        let (key, value) = option.trim_matches('"').split_once('=')?;
        key.eq_ignore_ascii_case("from").then_some(value)
    })
}

/// Whether `ADD` fetches it. What begins with a variable may be an address.
fn is_address(source: &str) -> bool {
    source.contains("://") || source.starts_with("git@") || source.starts_with('$')
}

fn is_pinned(image: &str) -> bool {
    let digest = image.split_once("@sha256:").map(|(_, hex)| hex.parse::<Digest>());
    !image.contains('$') && digest.is_some_and(|digest| digest.is_ok())
}

/// What becomes of the lines of a heredoc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heredocs {
    /// They are part of their instruction.
    Skipped,
    /// They are instructions, to a builder that knows no heredocs.
    Read,
}

/// Instructions with the number of their first line, comments left out and continued lines joined.
fn instructions(text: &str, heredocs: Heredocs) -> Vec<(usize, String)> {
    let escape = escape(text);
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // Two of them are one that is meant.
        let part = line.strip_suffix(escape).filter(|part| !part.ends_with(escape));
        let (part, goes_on) = part.map_or((line, false), |part| (part, true));
        match found.last_mut().filter(|_| open) {
            Some((_, instruction)) => *instruction = format!("{instruction} {part}"),
            None => found.push((at + 1, part.to_owned())),
        }
        open = goes_on;
        let whole = found.last().filter(|_| !open && heredocs == Heredocs::Skipped);
        for (end, tabs) in whole.map(|(_, instruction)| ends(instruction)).unwrap_or_default() {
            let is_end = |line: &str| match tabs {
                true => line.trim_start_matches('\t') == end,
                false => line == end,
            };
            let _ = lines.by_ref().find(|(_, line)| is_end(line));
        }
    }
    found
}

/// The line that ends each heredoc of an instruction, and whether tabs before it do not count.
fn ends(instruction: &str) -> Vec<(String, bool)> {
    let keyword = instruction.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if !["RUN", "COPY", "ADD"].contains(&&*keyword) {
        return Vec::new();
    }
    let end = |word: &str| {
        let name = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
        let (name, tabs) = name.strip_prefix('-').map_or((name, false), |name| (name, true));
        let name = name.replace(['"', '\''], "");
        (!name.is_empty() && !name.contains('<')).then_some((name, tabs))
    };
    instruction.split_whitespace().filter_map(end).collect()
}

/// The character that continues a line: a backslash, unless a directive at the top says otherwise.
fn escape(text: &str) -> char {
    let directives = text.lines().map_while(|line| line.trim().strip_prefix('#')?.split_once('='));
    let mut directives = directives.filter(|(key, _)| key.trim().eq_ignore_ascii_case("escape"));
    directives.next().and_then(|(_, value)| value.trim().chars().next()).unwrap_or('\\')
}

/// Puts the arguments before the first `FROM` in: `$NAME`, `${NAME}`, `${NAME:-default}`.
fn expand(text: &str, arguments: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, default, after) = match rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
            Some((inside, after)) => {
                let (name, default) = inside.split_once(":-").unwrap_or((inside, ""));
                (name, default, after)
            }
            None => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
                (name, "", after)
            }
        };
        let value = arguments.get(name).map(String::as_str).filter(|value| !value.is_empty());
        out.push_str(value.unwrap_or(default));
        rest = after;
    }
    out + rest
}
