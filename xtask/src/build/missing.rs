//! Says what a build script did not find, with the lines for a Cargo.toml that bring it.

use std::collections::BTreeSet;

use crate::failure::{Exit, Failure};
use crate::image::tools::{Composition, DEBIAN};
use crate::plan::Step;
use crate::run::wanting::{self, Want};
use crate::shell::Shell;
use crate::unseen::Complaint;

/// Reports every program that build scripts of a step missed and the step's image has not.
pub(super) fn report(step: &Step, complaints: &[Complaint], shell: &Shell) {
    let wants = wanting::wants(complaints.iter().map(|complaint| complaint.text.as_str()));
    for failure in failures(&step.image.name, &wants) {
        shell.failure(&failure);
    }
}

fn failures(image: &str, wants: &BTreeSet<Want>) -> Vec<Failure> {
    let named: Composition = image.parse().expect("every name is one");
    let mut all: BTreeSet<&str> = named.tools.iter().map(String::as_str).collect();
    let known = all.clone();
    // One list for all, so that it can be pasted once.
    for tool in wants.iter().filter_map(Want::tool) {
        all.insert(tool);
    }
    let lines = |all: BTreeSet<&str>| {
        let tools: Vec<String> = all.into_iter().map(|tool| format!("\"{tool}\"")).collect();
        format!("[workspace.metadata.keyway]\ntools = [{}]", tools.join(", "))
    };
    let missing = wants.iter().filter(|want| want.tool().is_none_or(|tool| !known.contains(tool)));
    let failure = |want: &Want| {
        let Want { package, program } = want;
        let message = format!(
            "the build script of `{package}` needs `{program}`, which image `{image}` has not"
        );
        let hint = match want.tool() {
            Some(_) => {
                format!("add this to the workspace's Cargo.toml:\n\n{}\n", lines(all.clone()))
            }
            None => {
                let package = format!("{DEBIAN}PACKAGE");
                let all = all.iter().copied().chain([package.as_str()]).collect();
                format!(
                    "name the package of Debian that has it in the workspace's Cargo.toml, then run \
                     `cargo xtask images lock keyway`:\n\n{}\n",
                    lines(all)
                )
            }
        };
        Failure::new(Exit::Failed, message).with_hint(hint)
    };
    missing.map(failure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(image: &str, programs: &[&str]) -> String {
        let want = |program: &&str| Want { package: "a-sys".into(), program: (*program).into() };
        let failures = failures(image, &programs.iter().map(want).collect());
        let said =
            failures.iter().map(|f| format!("{f}\nhint: {}", f.hint.clone().unwrap_or_default()));
        said.collect()
    }

    #[test]
    fn the_hint_is_what_to_paste_with_the_tools_that_are_named_already() {
        snapbox::assert_data_eq!(
            said("mingw + cmake", &["perl"]),
            snapbox::str![[r#"
the build script of `a-sys` needs `perl`, which image `mingw + cmake` has not
hint: add this to the workspace's Cargo.toml:

[workspace.metadata.keyway]
tools = ["cmake", "perl"]

"#]]
        );
        assert_eq!(
            said("mingw + cmake", &["cmake"]),
            "",
            "it is there, so that is not what failed"
        );
    }

    #[test]
    fn a_program_of_no_tool_asks_for_a_package() {
        snapbox::assert_data_eq!(
            said("base", &["gperf"]),
            snapbox::str![[r#"
the build script of `a-sys` needs `gperf`, which image `base` has not
hint: name the package of Debian that has it in the workspace's Cargo.toml, then run `cargo xtask images lock keyway`:

[workspace.metadata.keyway]
tools = ["debian:PACKAGE"]

"#]]
        );
    }
}
