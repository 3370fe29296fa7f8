//! What `cfg` says of code for macOS: that it is there, that it isn't, or that a feature decides.
//!
//! Every feature may be on, so code behind one counts. Two kinds of features are taken at their name:
//! those for another Objective-C runtime than Apple's, which are off, and those that say which macOS
//! something came with (`OSX_10_15`, `macos-12`).

use proc_macro2::TokenStream;
use syn::parse::Parser as _;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Lit, Meta, Token};

use crate::{Arch, Version};

/// Whether code is there on one kind of Mac.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Always.
    Yes,
    /// With some features.
    Maybe,
    /// Never.
    No,
}

impl Presence {
    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::Maybe => Self::Maybe,
            Self::No => Self::Yes,
        }
    }

    fn all(parts: impl Iterator<Item = Self>) -> Self {
        parts.fold(Self::Yes, |all, part| match (all, part) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        })
    }
}

/// Parts of the names of features for runtimes that are not Apple's.
const OTHER_RUNTIMES: [&str; 2] = ["gnustep", "objfw"];

/// Whether what has these attributes is there.
pub fn presence(attributes: &[Attribute], arch: Arch) -> Presence {
    Presence::all(attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = syn::parse2(list.tokens.clone());
            Some(condition.map_or(Presence::Maybe, |condition| of(&condition, arch)))
        }
        _ => None,
    }))
}

/// The macOS that something with these attributes came with, as far as they say.
pub fn since(attributes: &[Attribute]) -> Option<Version> {
    let conditions = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            syn::parse2::<Meta>(list.tokens.clone()).ok()
        }
        _ => None,
    });
    conditions.filter_map(|condition| newest(&condition)).max()
}

/// The attributes that hold, with those of `cfg_attr` that may hold.
pub fn applied(attributes: &[Attribute], arch: Arch) -> Vec<Meta> {
    let mut found = Vec::new();
    for attribute in attributes {
        apply(&attribute.meta, arch, &mut found);
    }
    found
}

/// The parts of `name(a, b)`.
pub fn parts(tokens: &TokenStream) -> Vec<Meta> {
    let parts = Punctuated::<Meta, Token![,]>::parse_terminated.parse2(tokens.clone());
    parts.map(|parts| parts.into_iter().collect()).unwrap_or_default()
}

/// The text of `name = "text"`.
pub fn text(meta: &Meta, name: &str) -> Option<String> {
    match meta {
        Meta::NameValue(pair) if pair.path.is_ident(name) => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

fn apply(meta: &Meta, arch: Arch, found: &mut Vec<Meta>) {
    match meta {
        Meta::List(list) if list.path.is_ident("cfg_attr") => {
            let mut parts = parts(&list.tokens).into_iter();
            let holds = parts.next().is_some_and(|when| of(&when, arch) != Presence::No);
            if holds {
                parts.for_each(|part| apply(&part, arch, found));
            }
        }
        Meta::List(list) if list.path.is_ident("unsafe") => {
            parts(&list.tokens).iter().for_each(|part| apply(part, arch, found));
        }
        other => found.push(other.clone()),
    }
}

fn of(condition: &Meta, arch: Arch) -> Presence {
    let known = |holds| if holds { Presence::Yes } else { Presence::No };
    match condition {
        Meta::List(list) => {
            let mut parts = parts(&list.tokens).into_iter().map(|part| of(&part, arch));
            if list.path.is_ident("not") {
                parts.next().unwrap_or(Presence::Maybe).not()
            } else if list.path.is_ident("any") {
                Presence::all(parts.map(Presence::not)).not()
            } else {
                Presence::all(parts)
            }
        }
        Meta::Path(path) => known(path.is_ident("unix")),
        Meta::NameValue(_) => {
            let is = |name: &str, values: &[&str]| {
                text(condition, name).map(|value| known(values.contains(&value.as_str())))
            };
            if let Some(feature) = text(condition, "feature") {
                let is_other = OTHER_RUNTIMES.iter().any(|other| feature.contains(other));
                return if is_other { Presence::No } else { Presence::Maybe };
            }
            is("target_os", &["macos"])
                .or_else(|| is("target_vendor", &["apple"]))
                .or_else(|| is("target_family", &["unix"]))
                .or_else(|| is("target_arch", &[arch.in_cfg()]))
                .or_else(|| is("target_pointer_width", &["64"]))
                .or_else(|| is("target_endian", &["little"]))
                .or_else(|| is("target_env", &[""]))
                .or_else(|| is("target_abi", &[""]))
                .unwrap_or(Presence::Maybe)
        }
    }
}

fn newest(condition: &Meta) -> Option<Version> {
    match condition {
        Meta::List(list) if !list.path.is_ident("not") => {
            parts(&list.tokens).iter().filter_map(newest).max()
        }
        _ => version(&text(condition, "feature")?),
    }
}

/// The version in a feature's name: 10.15 of `OSX_10_15`, 12.0 of `macos-12`.
fn version(feature: &str) -> Option<Version> {
    let name = feature.to_ascii_lowercase().replace('_', "-");
    let rest = ["osx-", "macos-", "mac-os-"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
    rest.replacen('-', ".", 1).parse().ok()
}
