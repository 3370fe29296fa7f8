//! What a recipe may say beyond its form: plain names, plain paths, and sources that go together.

use std::path::Path;

use super::{Fetch, Recipe, RecipeError, Unpack};
use crate::image::tools;

/// The checks of one recipe file.
struct Check<'a> {
    path: &'a Path,
}

impl Check<'_> {
    fn invalid(&self, field: &'static str, value: &str, problem: &'static str) -> RecipeError {
        let (path, value) = (self.path.to_owned(), value.to_owned());
        RecipeError::Invalid { path, field, value, problem }
    }

    fn inside(&self, field: &'static str, value: &str) -> Result<(), RecipeError> {
        let plain = !value.is_empty()
            && value.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if plain { Ok(()) } else { Err(self.invalid(field, value, "is no plain relative path")) }
    }

    fn word(&self, field: &'static str, value: &str) -> Result<(), RecipeError> {
        let plain = value.starts_with(|c: char| c.is_ascii_alphanumeric())
            && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b));
        if plain { Ok(()) } else { Err(self.invalid(field, value, "is no plain name")) }
    }

    fn fetch(&self, fetch: &Fetch) -> Result<(), RecipeError> {
        let invalid = |problem| Err(self.invalid("fetch url", &fetch.url, problem));
        if !fetch.url.starts_with("https://") && !fetch.url.starts_with("http://") {
            return invalid("is no `https://` or `http://` address");
        }
        if fetch.url.contains(char::is_whitespace) || fetch.file().is_empty() {
            return invalid("names no file");
        }
        if fetch.sha256.is_none() && !is_private(&fetch.url) {
            return invalid(
                "is plain `http`, which anyone on the way can answer; name its `sha256`",
            );
        }
        self.inside("fetch into", &fetch.into)?;
        if let Some(member) = &fetch.member {
            self.inside("fetch member", member)?;
            if fetch.unpack() == Unpack::No {
                return invalid("is no archive by its name, so it has no `member`; set `unpack`");
            }
        }
        Ok(())
    }
}

/// Whether nobody between here and the server can answer in its place.
pub(in crate::image) fn is_private(url: &str) -> bool {
    let loopback = |rest: &str| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| {
            host.strip_prefix(local).is_some_and(|port| port.is_empty() || port.starts_with(':'))
        })
    };
    url.strip_prefix("http://").map_or(url.starts_with("https://"), loopback)
}

impl Recipe {
    /// Checks what the form alone does not.
    pub(super) fn check(&self, path: &Path) -> Result<(), RecipeError> {
        let check = Check { path };
        if self.reference.is_none() && self.dockerfile.is_none() {
            check.word("suite", &self.suite)?;
        }
        check.word("architecture", &self.architecture)?;
        let from = self.from.iter();
        from.map(|name| name.strip_prefix(tools::FOLDER).unwrap_or(name))
            .try_for_each(|name| check.word("from", name))?;
        self.packages.iter().try_for_each(|name| check.word("package", name))?;
        for omission in &self.without {
            if omission.why.trim().is_empty() {
                return Err(check.invalid("without", &omission.package, "gives no reason"));
            }
        }
        for wheel in &self.wheels {
            check.word("wheel name", &wheel.name)?;
            check.word("wheel version", &wheel.version)?;
            check.word("wheel platform", &wheel.platform)?;
            check.inside("wheel member", &wheel.member)?;
            check.inside("wheel into", &wheel.into)?;
        }
        for file in &self.files {
            check.inside("file path", &file.path)?;
            check.inside("file source", &file.source.to_string_lossy())?;
        }
        for folder in &self.folders {
            check.inside("folder path", &folder.path)?;
            check.inside("folder source", &folder.source.to_string_lossy())?;
        }
        for link in &self.links {
            check.inside("link path", &link.path)?;
        }
        for toolchain in &self.toolchains {
            if toolchain.linker.command.is_empty() {
                let target = toolchain.target.as_str();
                return Err(check.invalid("toolchain", target, "names no command for its linker"));
            }
        }
        self.check_templates(|text, problem| check.invalid("target", text, problem))?;
        self.check_sources(&check)
    }

    fn check_sources(&self, check: &Check<'_>) -> Result<(), RecipeError> {
        self.check_ready(check)?;
        for rust in &self.rust {
            check.word("rust version", &rust.version)?;
        }
        if let Some(second) = self.rust.get(1) {
            return Err(check.invalid("rust", &second.version, "is a second version of it"));
        }
        for library in &self.standard_libraries {
            if self.rust.iter().any(|rust| rust.targets.contains(&library.target)) {
                let target = library.target.as_str();
                return Err(check.invalid("std", target, "comes with `[[rust]]` already"));
            }
        }
        for (at, fetch) in self.fetches.iter().enumerate() {
            check.fetch(fetch)?;
            if self.fetches[..at].iter().any(|earlier| earlier.url == fetch.url) {
                return Err(check.invalid("fetch url", &fetch.url, "is there twice"));
            }
        }
        Ok(())
    }

    /// An image that others made is taken as it is.
    fn check_ready(&self, check: &Check<'_>) -> Result<(), RecipeError> {
        let name = self.reference.as_ref().map(ToString::to_string);
        let Some(name) = name.as_ref().or(self.dockerfile.as_ref()) else {
            return Ok(());
        };
        let field = if self.reference.is_some() { "reference" } else { "dockerfile" };
        if let Some(path) = &self.dockerfile {
            check.inside("dockerfile", path)?;
            if !path.contains('/') {
                return Err(check.invalid(field, path, "lies in no folder of its own"));
            }
            if self.reference.is_some() {
                return Err(check.invalid(field, name, "stands beside `dockerfile`"));
            }
        }
        let alone = self.packages.is_empty()
            && self.wheels.is_empty()
            && self.rust.is_empty()
            && self.fetches.is_empty()
            && self.standard_libraries.is_empty()
            && self.first_links.is_empty()
            && self.files.is_empty()
            && self.folders.is_empty()
            && self.links.is_empty()
            && self.from.is_none();
        if alone {
            return Ok(());
        }
        let problem = "takes nothing else; put what is to be added into a recipe on top (`from`)";
        Err(check.invalid(field, name, problem))
    }
}
