//! `[env]` of cargo's configuration, where it meets the variables that a build sets itself.
//!
//! Cargo inside reads `[env]` too, but gives way to a variable that is set already, so ours would silently
//! take the place of the workspace's; and with `force = true` the workspace's that of ours. Flags for C and
//! C++ are joined; programs are the image's own, and all else that a build sets stays as it is: both are said.
//! <https://doc.rust-lang.org/cargo/reference/config.html#env>

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keyway_manifest::Triple;
use toml::{Table, Value};

/// The flags that a build sets for its target, as the cc crate knows them.
const FLAGS: [&str; 2] = ["CFLAGS", "CXXFLAGS"];
/// The programs that it sets, and what the image calls those for build scripts.
const PROGRAMS: [(&str, &str); 3] = [("CC", "cc"), ("CXX", "c++"), ("AR", "ar")];
/// What images run on.
const HOST: &str = "x86_64-unknown-linux-gnu";
/// What else a build sets, and why it is no workspace's.
const SET: [(&str, &str); 8] = [
    ("CARGO_HOME", "inside an image it has a place of its own"),
    ("CARGO_INCREMENTAL", "what is delivered is never built incrementally"),
    ("CARGO_TARGET_DIR", "inside an image it has a place of its own"),
    ("MACOSX_DEPLOYMENT_TARGET", "the oldest macOS is that of `libc` in `targets.toml`"),
    ("PKG_CONFIG_ALL_STATIC", "plugins are linked statically"),
    ("PKG_CONFIG_ALLOW_CROSS", "a build for another system is the same as for this one"),
    ("SOURCE_DATE_EPOCH", "it is the image's, so that builds agree"),
    ("KEYWAY_TOOLCHAIN_HASH", "it is the image's"),
];

/// One variable of `[env]`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Variable {
    value: String,
    /// Whether it counts for more than one that is set already.
    is_forced: bool,
    /// The folder that the value is a path from.
    base: Option<PathBuf>,
}

/// The variables of `[env]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Variables(BTreeMap<String, Variable>);

impl Variables {
    /// Takes those of a file that no nearer one has; returns what a build does not honour, and why.
    pub(super) fn read(&mut self, file: &Path, table: &Table) -> Vec<(String, &'static str)> {
        let mut notes = Vec::new();
        for (name, value) in table.get("env").and_then(Value::as_table).into_iter().flatten() {
            let Some(variable) = Variable::new(file, value) else { continue };
            let is_new = !self.0.contains_key(name);
            self.0.entry(name.clone()).or_insert(variable);
            let why = SET.iter().find(|(set, _)| set == name).map(|(_, why)| *why);
            let why = why.or_else(|| program(name).map(|_| "the program is the image's own"));
            if let (true, Some(why)) = (is_new, why) {
                notes.push((format!("env.{name}"), why));
            }
        }
        notes
    }

    /// Joins them to the variables that a build for `target` sets; `inside` says where a folder of this
    /// machine is seen. Returns those that must be forced, since the workspace forces its own.
    pub fn join(
        &self,
        target: &Triple,
        env: &mut BTreeMap<String, String>,
        inside: impl Fn(&Path) -> PathBuf,
    ) -> BTreeMap<String, String> {
        for kind in FLAGS {
            let forms = forms(kind, target);
            let theirs = forms.iter().find_map(|form| Some((form, self.0.get(form)?)));
            let (Some((form, theirs)), Some(ours)) = (theirs, env.get(&forms[1]).cloned()) else {
                continue;
            };
            let joined = format!("{ours} {}", theirs.value(&inside));
            // The form that the cc crate asks for first, if it is that.
            if form == &forms[0] {
                env.insert(forms[0].clone(), joined.clone());
            }
            env.insert(forms[1].clone(), joined);
        }
        for name in self.0.keys() {
            let Some((kind, own)) = program(name) else { continue };
            let forms = forms(kind, target);
            let ours = env.get(&forms[1]).cloned();
            let is_for_target = forms[..2].contains(name) || name.starts_with("TARGET_");
            let value = ours.filter(|_| is_for_target).unwrap_or_else(|| own.to_owned());
            env.insert(name.clone(), value);
        }
        let forced = self.0.iter().filter(|(_, variable)| variable.is_forced);
        let forced = forced.filter_map(|(name, _)| Some((name.clone(), env.get(name)?.clone())));
        forced.collect()
    }
}

impl Variable {
    fn new(file: &Path, value: &Value) -> Option<Self> {
        let is_on = |key: &str| value.get(key).and_then(Value::as_bool) == Some(true);
        let text = value.as_str().or_else(|| value.get("value")?.as_str())?;
        // Relative to the folder that holds `.cargo`.
        let base = file.parent().and_then(Path::parent).filter(|_| is_on("relative"));
        let base = base.map(Path::to_owned);
        Some(Self { value: text.to_owned(), is_forced: is_on("force"), base })
    }

    fn value(&self, inside: impl Fn(&Path) -> PathBuf) -> String {
        match &self.base {
            Some(base) => inside(base).join(&self.value).to_string_lossy().into_owned(),
            None => self.value.clone(),
        }
    }
}

/// The names that the cc crate knows a variable by for `target`, in the order in which it asks.
fn forms(kind: &str, target: &Triple) -> [String; 4] {
    let whose = if target.as_str() == HOST { "HOST" } else { "TARGET" };
    [
        format!("{kind}_{target}"),
        format!("{kind}_{}", target.underscored()),
        format!("{whose}_{kind}"),
        kind.to_owned(),
    ]
}

/// The program that a variable names, whatever it is for, and what the image calls it.
fn program(name: &str) -> Option<(&'static str, &'static str)> {
    let bare = name.strip_prefix("HOST_").or_else(|| name.strip_prefix("TARGET_"));
    PROGRAMS.into_iter().find(|(kind, _)| {
        // A triple has three parts at least; `CC_FLAGS` is something else.
        let is_of_triple = |rest: &str| rest.split(['-', '_']).count() >= 3;
        let of_triple = name.strip_prefix(kind).and_then(|rest| rest.strip_prefix('_'));
        bare.unwrap_or(name) == *kind || of_triple.is_some_and(is_of_triple)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM: &str = "aarch64-unknown-linux-gnu";

    fn joined(text: &str, target: &str) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        let mut variables = Variables::default();
        variables.read(Path::new("/w/.cargo/config.toml"), &text.parse().expect("TOML"));
        let target: Triple = target.parse().expect("a triple");
        let set = [("CFLAGS", "-Dours"), ("CC", "our-cc"), ("AR", "our-ar")];
        let set =
            set.map(|(name, value)| (format!("{name}_{}", target.underscored()), value.into()));
        let mut env = BTreeMap::from(set);
        let forced = variables.join(&target, &mut env, |_| "/work".into());
        (env, forced)
    }

    #[test]
    fn flags_are_joined_whichever_form_they_have() {
        for (form, target) in [
            ("CFLAGS_aarch64_unknown_linux_gnu", ARM),
            ("CFLAGS_aarch64-unknown-linux-gnu", ARM),
            ("TARGET_CFLAGS", ARM),
            ("CFLAGS", ARM),
            ("HOST_CFLAGS", HOST),
        ] {
            let (env, forced) = joined(&format!("[env]\n\"{form}\" = \"-Dtheirs\"\n"), target);
            let name = format!("CFLAGS_{}", target.replace('-', "_"));
            assert_eq!(env[&name], "-Dours -Dtheirs", "{form}");
            assert!(env.get(form).is_none_or(|value| value == "-Dours -Dtheirs"), "{form}");
            assert!(forced.is_empty());
        }
        let (env, _) = joined("[env]\nHOST_CFLAGS = \"-Dhost\"\n", ARM);
        assert_eq!(env["CFLAGS_aarch64_unknown_linux_gnu"], "-Dours", "of build scripts");
    }

    #[test]
    fn forced_and_relative_ones_are_joined_too() {
        let text = "[env]\nCFLAGS_aarch64_unknown_linux_gnu = { value = \"flags\", force = true, relative = true }\n\
                    CXXFLAGS = { value = \"-Dx\", force = true }\n";
        let (env, forced) = joined(text, ARM);
        let name = "CFLAGS_aarch64_unknown_linux_gnu".to_owned();
        assert_eq!(env[&name], "-Dours /work/flags");
        assert_eq!(forced, BTreeMap::from([(name, "-Dours /work/flags".to_owned())]));
    }

    #[test]
    fn programs_are_those_of_the_image() {
        let text = "[env]\nCC = \"clang\"\nHOST_CC = \"clang\"\n\"CC_aarch64-unknown-linux-gnu\" = \"gcc\"\n\
                    AR_aarch64_unknown_linux_gnu = { value = \"gar\", force = true }\nCC_FLAGS = \"-x\"\n";
        let (env, forced) = joined(text, ARM);
        assert_eq!((&*env["CC"], &*env["HOST_CC"]), ("cc", "cc"));
        assert_eq!(env["CC_aarch64-unknown-linux-gnu"], "our-cc");
        assert_eq!(env["AR_aarch64_unknown_linux_gnu"], "our-ar");
        assert_eq!(forced.len(), 1);
        assert!(!env.contains_key("CC_FLAGS"));
        let mut variables = Variables::default();
        let file = Path::new("/w/.cargo/config.toml");
        let text = format!("{text}MACOSX_DEPLOYMENT_TARGET = \"12\"\nMINE = \"1\"\n");
        let noted = variables.read(file, &text.parse().expect("TOML"));
        let noted: Vec<_> = noted.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(noted.len(), 5, "{noted:?}");
        assert!(variables.read(file, &text.parse().expect("TOML")).is_empty(), "said once");
    }
}
