//! What a crate's source declares that a library of the system has: functions and statics in
//! `extern` blocks, wherever they stand, and Objective-C classes.
//!
//! Source is read, never expanded or compiled, so a declaration that only a macro writes is not seen;
//! the exceptions are the macros of `objc2` that declare classes and functions.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, File, ForeignItem, ItemForeignMod, Meta};

use crate::condition::{self, Presence};
use crate::{Arch, Version};

/// A name that a linker looks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Symbol {
    /// A function or static, as the object file spells it, mostly with `_` before the name in C.
    Plain(String),
    /// An Objective-C class, which is a handful of symbols.
    Class(String),
}

/// Where and since when a symbol is declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// The processors that it is declared for.
    pub archs: BTreeSet<Arch>,
    /// The macOS that it came with, if the source says so.
    pub since: Option<Version>,
}

/// What one crate declares.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Declarations {
    /// By library, as `#[link(name = …)]` has it; `None` where the source leaves that to the rest of the
    /// crate or to its build script.
    pub symbols: BTreeMap<Option<String>, BTreeMap<Symbol, Declared>>,
}

impl Declarations {
    /// Adds what a source file declares.
    ///
    /// # Errors
    /// If it is no Rust.
    pub fn add(&mut self, source: &str) -> syn::Result<()> {
        let file = syn::parse_file(source)?;
        for arch in Arch::ALL {
            let mut reader = Reader { arch, since: None, found: self };
            reader.visit_file(&file);
        }
        Ok(())
    }
}

struct Reader<'a> {
    arch: Arch,
    /// What the conditions around say.
    since: Option<Version>,
    found: &'a mut Declarations,
}

impl Reader<'_> {
    /// Goes on with what has these attributes, if it is there at all.
    fn within(&mut self, attributes: &[Attribute], go_on: impl FnOnce(&mut Self)) {
        if condition::presence(attributes, self.arch) == Presence::No {
            return;
        }
        let outer = self.since;
        self.since = outer.max(condition::since(attributes));
        go_on(self);
        self.since = outer;
    }

    fn found(&mut self, library: Option<&String>, symbol: Symbol) {
        let symbols = self.found.symbols.entry(library.cloned()).or_default();
        let is_new = !symbols.contains_key(&symbol);
        let declared = symbols.entry(symbol).or_default();
        declared.archs.insert(self.arch);
        // Declared twice, it has been there since the older of the two.
        declared.since = if is_new { self.since } else { declared.since.min(self.since) };
    }

    fn foreign(&mut self, item: &ForeignItem, libraries: &[Option<String>]) {
        let (name, attributes) = match item {
            ForeignItem::Fn(item) => (&item.sig.ident, &item.attrs),
            ForeignItem::Static(item) => (&item.ident, &item.attrs),
            _ => return,
        };
        self.within(attributes, |reader| {
            let applied = condition::applied(attributes, reader.arch);
            let linked = applied.iter().find_map(|meta| condition::text(meta, "link_name"));
            let name = name.to_string();
            let name = name.strip_prefix("r#").unwrap_or(&name);
            let symbol = match linked {
                // What begins so is passed to the linker as it is.
                Some(raw) if raw.starts_with('\u{1}') => raw[1..].to_owned(),
                Some(linked) => format!("_{linked}"),
                None => format!("_{name}"),
            };
            for library in libraries {
                reader.found(library.as_ref(), Symbol::Plain(symbol.clone()));
            }
        });
    }

    /// `extern_class!` of `objc2`: attributes, then `pub struct NAME`.
    fn class(&mut self, tokens: &TokenStream) {
        let tokens: Vec<_> = tokens.clone().into_iter().collect();
        let named = tokens.windows(2).find_map(|pair| match pair {
            [TokenTree::Ident(word), TokenTree::Ident(name)] if word == "struct" => Some(name),
            _ => None,
        });
        let attributes = tokens.windows(2).filter_map(|pair| match pair {
            [TokenTree::Punct(hash), TokenTree::Group(group)]
                if hash.as_char() == '#' && group.delimiter() == Delimiter::Bracket =>
            {
                syn::parse2::<Meta>(group.stream()).ok()
            }
            _ => None,
        });
        let attributes: Vec<_> = attributes.collect();
        let renamed = attributes.iter().find_map(|meta| condition::text(meta, "name"));
        if let Some(name) = renamed.or_else(|| named.map(ToString::to_string)) {
            self.found(None, Symbol::Class(name));
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_file(&mut self, file: &'ast File) {
        self.within(&file.attrs, |reader| visit::visit_file(reader, file));
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.within(&item.attrs, |reader| visit::visit_item_mod(reader, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.within(&item.attrs, |reader| visit::visit_item_fn(reader, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.within(&item.attrs, |reader| visit::visit_item_impl(reader, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.within(&item.attrs, |reader| visit::visit_impl_item_fn(reader, item));
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        self.within(&item.attrs, |reader| visit::visit_item_macro(reader, item));
    }

    fn visit_item_foreign_mod(&mut self, block: &'ast ItemForeignMod) {
        self.within(&block.attrs, |reader| {
            let mut libraries = Vec::new();
            for meta in condition::applied(&block.attrs, reader.arch) {
                if let Meta::List(list) = &meta
                    && list.path.is_ident("link")
                {
                    let parts = condition::parts(&list.tokens);
                    libraries.push(parts.iter().find_map(|part| condition::text(part, "name")));
                }
            }
            if libraries.is_empty() {
                libraries.push(None);
            }
            block.items.iter().for_each(|item| reader.foreign(item, &libraries));
        });
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let name = item.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
        match name.as_str() {
            "extern_class" => self.class(&item.tokens),
            "extern_c" | "extern_c_unwind" => {
                if let Ok(block) = block(&item.tokens) {
                    block.items.iter().for_each(|item| self.foreign(item, &[None]));
                }
            }
            _ => {}
        }
    }
}

/// The items of a macro as an `extern` block.
fn block(items: &TokenStream) -> syn::Result<ItemForeignMod> {
    let mut tokens = TokenStream::new();
    let word = proc_macro2::Ident::new("extern", proc_macro2::Span::call_site());
    let abi = proc_macro2::Literal::string("C");
    let group = proc_macro2::Group::new(Delimiter::Brace, items.clone());
    tokens.extend([TokenTree::from(word), TokenTree::from(abi), TokenTree::from(group)]);
    syn::parse2(tokens)
}
