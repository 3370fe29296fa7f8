//! The attribute and the derive behind `keyway-sdk`, which re-exports and documents them.
//!
//! What they generate names `::keyway_sdk`, or `::keyway_host::sdk` where it was imported from
//! `keyway-host`, and leaves every check of a type to that crate's traits, whose messages say why a
//! type may not cross. Refused here is only what no trait can see: a missing
//! `repr`, generics, explicit lifetimes, `async`.
#![forbid(unsafe_code)]

mod interface;
mod layout;

use proc_macro::TokenStream;
use proc_macro2::{Group, Ident, Spacing, Span, TokenStream as Tokens, TokenTree};
use quote::quote;
use syn::{DeriveInput, ItemTrait, Result, parse_macro_input};

/// Makes a trait callable across the plugin boundary. Documented in `keyway-sdk`.
#[proc_macro_attribute]
pub fn interface(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as interface::Options);
    let item = parse_macro_input!(item as ItemTrait);
    told(interface::expand(&options, &item)).into()
}

/// Lets a struct or an enum cross the plugin boundary. Documented in `keyway-sdk`.
#[proc_macro_derive(Layout)]
pub fn layout(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as DeriveInput);
    told(layout::expand(&item)).into()
}

/// `interface` for a crate that depends on `keyway-host` alone, which re-exports it by that name.
#[proc_macro_attribute]
pub fn host_interface(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as interface::Options);
    let item = parse_macro_input!(item as ItemTrait);
    by_way_of_host(told(interface::expand(&options, &item))).into()
}

/// `Layout` for a crate that depends on `keyway-host` alone, which re-exports it by that name.
#[proc_macro_derive(HostLayout)]
pub fn host_layout(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as DeriveInput);
    by_way_of_host(told(layout::expand(&item))).into()
}

/// What was made, or the errors as the compiler tells them.
fn told(made: Result<Tokens>) -> Tokens {
    made.unwrap_or_else(syn::Error::into_compile_error)
}

/// The same tokens with `::keyway_host::sdk` for `::keyway_sdk`: which crates there are is said by
/// where the macro was imported from, so that nobody has to read a Cargo.toml.
fn by_way_of_host(tokens: Tokens) -> Tokens {
    let mut out = Tokens::new();
    let mut colons = 0;
    for token in tokens {
        let is_colon = |mark: &proc_macro2::Punct| mark.as_char() == ':';
        match token {
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), by_way_of_host(group.stream()));
                inner.set_span(group.span());
                out.extend([TokenTree::Group(inner)]);
                colons = 0;
            }
            TokenTree::Ident(word) if colons == 2 && word == "keyway_sdk" => {
                let host = Ident::new("keyway_host", word.span());
                let sdk = Ident::new("sdk", word.span());
                out.extend(quote!(#host::#sdk));
                colons = 0;
            }
            TokenTree::Punct(mark) if is_colon(&mark) => {
                colons = if mark.spacing() == Spacing::Joint { 1 } else { colons + 1 };
                out.extend([TokenTree::Punct(mark)]);
            }
            other => {
                out.extend([other]);
                colons = 0;
            }
        }
    }
    out
}

/// Errors about generated code are told at `span`, lints know it as generated.
fn generated_at(span: Span) -> Span {
    Span::call_site().located_at(span)
}
