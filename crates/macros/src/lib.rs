//! The attribute and the derive behind `keyway-sdk`, which re-exports and documents them.
//!
//! What they generate names `::keyway_sdk` and leaves every check of a type to that crate's traits,
//! whose messages say why a type may not cross. Refused here is only what no trait can see: a missing
//! `repr`, generics, explicit lifetimes, `async`.
#![forbid(unsafe_code)]

mod interface;
mod layout;

use proc_macro::TokenStream;
use proc_macro2::Span;
use syn::{DeriveInput, ItemTrait, parse_macro_input};

/// Makes a trait callable across the plugin boundary. Documented in `keyway-sdk`.
#[proc_macro_attribute]
pub fn interface(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as interface::Options);
    let item = parse_macro_input!(item as ItemTrait);
    interface::expand(&options, &item).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Lets a struct or an enum cross the plugin boundary. Documented in `keyway-sdk`.
#[proc_macro_derive(Layout)]
pub fn layout(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as DeriveInput);
    layout::expand(&item).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Errors about generated code are told at `span`, lints know it as generated.
fn generated_at(span: Span) -> Span {
    Span::call_site().located_at(span)
}
