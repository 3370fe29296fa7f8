//! Plugins whose symbols meet in one library: one depends on the other's crate.
//!
//! All plugins are compiled in one cargo run, which compiles each crate once, with every feature that any of
//! them turns on. So a plugin's crate exports its symbols wherever it is linked, even if whoever depends on it
//! has turned the feature for that off; and the linker finds them twice. Cargo does the same with
//! `--workspace`. There is no way for a crate to know whose library it ends up in, so this says what to do.

use crate::plan::Wanted;
use crate::run::Built;
use crate::shell::Shell;
use crate::unseen::Complaint;
use crate::workspace::{Plugin, PluginSet};

/// How linkers and LLVM say that a symbol is there twice.
const SIGNS: [&str; 4] =
    ["duplicate symbol", "multiple definition of", "multiply defined", "defined multiple times"];

/// Says what to do about a plugin that was not built, if another one's symbols are why.
pub fn say(wanted: &Wanted, set: &PluginSet, built: &Built, shell: &Shell) {
    let advice = advice(&wanted.plugin, &set.plugins, &built.complaints);
    advice.iter().for_each(|advice| shell.warn_once(advice));
}

/// What to do about `plugin`, which did not link for the symbols of another one among `all`; none if that
/// is not why.
fn advice(plugin: &Plugin, all: &[Plugin], complaints: &[Complaint]) -> Option<String> {
    let said = complaints.iter().filter(|complaint| complaint.library == plugin.library);
    let mut said = said.map(|complaint| &complaint.text);
    let text = said.find(|text| SIGNS.iter().any(|sign| text.contains(sign)))?;
    // A plugin that is depended on has no folder that the other one has not.
    let depended_on = all
        .iter()
        .filter(|other| other.name != plugin.name && other.folders.is_subset(&plugin.folders));
    let depended_on: Vec<&Plugin> = depended_on.collect();
    // Linkers name the library that a symbol came from, LLVM does not.
    let is_named = |other: &&&Plugin| text.contains(&format!("lib{}.rlib", other.library));
    let other = depended_on.iter().find(is_named).or(depended_on.first())?;
    Some(format!(
        "`{plugin}` depends on plugin `{other}`, and each of them exports symbols of the same names: all \
         plugins are compiled together, so `{other}` has every feature that it is built with anywhere. \
         Move what `{plugin}` needs of it to a crate of its own that both use; or, if `{other}` is no plugin \
         of its own, its Cargo.toml says so:\n\n[package.metadata.keyway]\nplugin = false\n",
        plugin = plugin.name,
        other = other.name,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::DefaultFeatures;
    use std::path::PathBuf;

    fn plugin(name: &str, folders: &[&str]) -> Plugin {
        Plugin {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            folder: PathBuf::from(name),
            library: name.replace('-', "_"),
            folders: folders.iter().map(PathBuf::from).collect(),
            features: Vec::new(),
            default_features: DefaultFeatures::None,
            allow_imports: Vec::new(),
            allow_exports: Vec::new(),
            apple_symbols: Vec::new(),
            unsupported: Vec::new(),
        }
    }

    #[test]
    fn a_plugin_in_another_one_is_named() {
        let all = [
            plugin("apart", &["apart"]),
            plugin("in-it", &["in-it", "sdk"]),
            plugin("near", &["sdk"]),
            plugin("top", &["in-it", "sdk", "top"]),
        ];
        let said = |library: &str, text: &str| {
            let (text, library) = (text.to_owned(), library.to_owned());
            let complaint = Complaint { text, library, bases: Vec::new(), script: None };
            advice(&all[3], &all, &[complaint])
        };
        for text in [
            "ld.lld: error: duplicate symbol: KEYWAY_STAMP\n>>> in archive /target/deps/libin_it.rlib",
            "multiple definition of `KEYWAY_STAMP'; libin_it.rlib(x.o): first defined here",
            "Linking globals named 'KEYWAY_STAMP': symbol multiply defined!",
        ] {
            let advice = said("top", text).expect(text);
            assert!(advice.starts_with("`top` depends on plugin `in-it`"), "{advice}");
        }
        assert_eq!(said("apart", "duplicate symbol: x"), None, "it is about another one");
        assert_eq!(said("top", "mismatched types"), None);
        assert_eq!(advice(&all[0], &all, &[]), None);
    }
}
