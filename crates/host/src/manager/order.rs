//! In which order plugins start: each after those that it depends on. They stop in the reverse one.

use std::collections::{BTreeMap, BTreeSet};

use keyway_manifest::text::Show as _;
use thiserror::Error;

/// Why there is no order.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OrderError {
    /// Two members have one name.
    #[error("two plugins are to be called `{name}`; give one of them another name", name = .name.shown())]
    Twice {
        /// The name.
        name: String,
    },
    /// It depends on what is not there.
    #[error(
        "`{name}` depends on `{needs}`, which is not among the plugins; add it, or drop the dependency",
        name = .name.shown(), needs = .needs.shown()
    )]
    Missing {
        /// The plugin.
        name: String,
        /// What is missing.
        needs: String,
    },
    /// They depend on each other.
    #[error("these plugins depend on each other, so none can be the first: {}", shown(.names))]
    Cycle {
        /// Those in a circle, and those that depend on them.
        names: Vec<String>,
    },
}

fn shown(names: &[String]) -> String {
    names.iter().map(|name| format!("`{}`", name.shown())).collect::<Vec<_>>().join(", ")
}

/// The names, each after those that it depends on; else by the alphabet.
pub(crate) fn order(needs: &BTreeMap<String, BTreeSet<String>>) -> Result<Vec<String>, OrderError> {
    for (name, needs_of) in needs {
        if let Some(missing) = needs_of.iter().find(|needed| !needs.contains_key(*needed)) {
            return Err(OrderError::Missing { name: name.clone(), needs: missing.clone() });
        }
    }
    let mut ordered: Vec<String> = Vec::new();
    let mut left: BTreeMap<_, _> = needs.iter().collect();
    while !left.is_empty() {
        let is_ready = |needs: &BTreeSet<String>| needs.iter().all(|name| ordered.contains(name));
        let Some(next) = left.iter().find(|(_, needs)| is_ready(needs)).map(|(name, _)| *name)
        else {
            return Err(OrderError::Cycle { names: left.into_keys().cloned().collect() });
        };
        left.remove(next);
        ordered.push(next.clone());
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(needs: &[(&str, &[&str])]) -> Result<String, String> {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let needs = needs.iter().map(|(name, needs)| ((*name).to_owned(), set(needs))).collect();
        order(&needs).map(|names| names.join(" ")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_needed_comes_first() {
        assert_eq!(check(&[("b", &[]), ("a", &["c"]), ("c", &["b"])]).as_deref(), Ok("b c a"));
        assert_eq!(check(&[("b", &[]), ("a", &[])]).as_deref(), Ok("a b"));
        assert_eq!(check(&[]).as_deref(), Ok(""));
    }

    #[test]
    fn what_has_no_order_says_why() {
        let missing = check(&[("a", &["x"])]).expect_err("x is missing");
        assert!(missing.starts_with("`a` depends on `x`, which is not among"), "{missing}");
        let cycle = check(&[("a", &["b"]), ("b", &["a"]), ("c", &["a"]), ("d", &[])]);
        let cycle = cycle.expect_err("they depend on each other");
        assert!(cycle.ends_with("the first: `a`, `b`, `c`"), "{cycle}");
        assert!(check(&[("a", &["a"])]).is_err());
    }
}
