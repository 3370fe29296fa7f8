//! Environment that a tool's recipe sets for builds, by target: templates, and the words in them.

use std::collections::BTreeMap;

use keyway_manifest::Triple;
use serde::Deserialize;

use super::{Recipe, RecipeError};

/// Variables for some targets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetEnvironment {
    /// Triples; `*` stands for any characters.
    pub triples: Vec<String>,
    /// Names and values. `{triple}` is the target, in a name with `_` for `-`; any other `{word}` is the
    /// target's in `[words]`. A variable with a word that the target has not is not set.
    pub env: BTreeMap<String, String>,
}

impl TargetEnvironment {
    fn is_for(&self, target: &Triple) -> bool {
        let matches = |pattern: &String| {
            glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(target.as_str()))
        };
        self.triples.iter().any(matches)
    }
}

impl Recipe {
    /// The variables that builds for `target` get; a later table overrules an earlier one.
    pub fn environment_for(&self, target: &Triple) -> BTreeMap<String, String> {
        let none = BTreeMap::new();
        let words = self.words.get(target).unwrap_or(&none);
        let tables = self.targets.iter().filter(|table| table.is_for(target));
        let variables = tables.flat_map(|table| &table.env).filter_map(|(name, value)| {
            let name = fill(name, words, &target.underscored())?;
            Some((name, fill(value, words, target.as_str())?))
        });
        variables.collect()
    }

    /// Whether each word of a template is one of some target's.
    pub(super) fn check_templates(
        &self,
        invalid: impl Fn(&str, &'static str) -> RecipeError,
    ) -> Result<(), RecipeError> {
        for table in &self.targets {
            for pattern in &table.triples {
                if glob::Pattern::new(pattern).is_err() {
                    return Err(invalid(pattern, "is no pattern of triples"));
                }
            }
            for text in table.env.iter().flat_map(|(name, value)| [name, value]) {
                let is_known = |word: &str| {
                    word == "triple" || self.words.values().any(|words| words.contains_key(word))
                };
                if !words_of(text).all(is_known) {
                    return Err(invalid(text, "has a word that `[words]` gives no target"));
                }
            }
        }
        Ok(())
    }
}

/// The words in braces.
fn words_of(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(word, _)| word))
}

/// The text with its words replaced; nothing if one is not known.
fn fill(template: &str, words: &BTreeMap<String, String>, triple: &str) -> Option<String> {
    let mut text = template.to_owned();
    for word in words_of(template) {
        let value = if word == "triple" { triple } else { words.get(word)? };
        text = text.replace(&format!("{{{word}}}"), value);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        toml::from_str(
            r#"
            summary = "a tool"
            architecture = "amd64"
            [words]
            x86_64-unknown-linux-gnu = { headers = "x86-linux-gnu" }
            [[target]]
            triples = ["*-linux-*"]
            env = { "ARGS_{triple}" = "--target={triple} -I{headers}", PLAIN = "{triple}" }
            [[target]]
            triples = ["*-musl"]
            env = { PLAIN = "musl" }
            "#,
        )
        .expect("it is a recipe")
    }

    #[test]
    fn a_template_is_filled_for_the_targets_that_have_its_words() {
        let of = |triple: &str| {
            let target = triple.parse().expect("a triple");
            Vec::from_iter(recipe().environment_for(&target))
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            of("x86_64-unknown-linux-gnu"),
            [
                pair(
                    "ARGS_x86_64_unknown_linux_gnu",
                    "--target=x86_64-unknown-linux-gnu -Ix86-linux-gnu"
                ),
                pair("PLAIN", "x86_64-unknown-linux-gnu"),
            ]
        );
        assert_eq!(of("x86_64-unknown-linux-musl"), [pair("PLAIN", "musl")]);
        assert_eq!(of("x86_64-apple-darwin"), []);
    }

    #[test]
    fn a_word_that_no_target_has_is_an_error() {
        let mut recipe = recipe();
        let problem = |text: &str, problem| RecipeError::Invalid {
            path: "a.toml".into(),
            field: "target",
            value: text.to_owned(),
            problem,
        };
        assert!(recipe.check_templates(problem).is_ok());
        recipe.targets[1].env.insert("X".into(), "{hedaers}".into());
        let error = recipe.check_templates(problem).expect_err("the word is misspelt");
        assert!(error.to_string().contains("{hedaers}"), "{error}");
    }
}
