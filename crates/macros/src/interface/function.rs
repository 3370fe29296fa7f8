//! A function of an interface and its arguments, and the tokens that follow from each alone.

use proc_macro2::{Delimiter, Ident, Spacing, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, ReturnType, TraitItemFn, Type};

use crate::generated_at;

/// One function of the interface.
pub(super) struct Function<'a> {
    pub(super) item: &'a TraitItemFn,
    /// `&mut self` rather than `&self`.
    pub(super) exclusive: bool,
    /// The type of the first argument if that is the call's context, by its name.
    pub(super) context: Option<Type>,
    pub(super) arguments: Vec<Argument<'a>>,
    /// The result's type, `()` if none is written.
    pub(super) returns: Type,
}

pub(super) struct Argument<'a> {
    pub(super) name: &'a Ident,
    pub(super) written: &'a Type,
    /// The same with `'static` for elided lifetimes, for places where they can't be elided.
    pub(super) owned: Type,
}

impl Argument<'_> {
    pub(super) fn wire(&self) -> TokenStream {
        let owned = &self.owned;
        quote_spanned!(generated_at(owned.span())=> <#owned as ::keyway_sdk::abi::interface::Argument>::Wire)
    }

    pub(super) fn described(&self) -> TokenStream {
        let owned = &self.owned;
        quote_spanned!(generated_at(owned.span())=> ::keyway_sdk::abi::interface::argument::<#owned>())
    }

    pub(super) fn lifted(&self, name: &Ident) -> TokenStream {
        let owned = &self.owned;
        quote_spanned! {generated_at(owned.span())=>
            <#owned as ::keyway_sdk::abi::interface::Argument>::lift(#name, call)?
        }
    }
}

impl Function<'_> {
    pub(super) fn name(&self) -> &Ident {
        &self.item.sig.ident
    }

    /// The field of the table: not the bare name, which may be `size`.
    pub(super) fn field(&self) -> Ident {
        let name = self.name();
        format_ident!("call_{}", name.unraw(), span = name.span())
    }

    /// The function as its author wrote it, on a line.
    pub(super) fn written(&self) -> String {
        let signature = &self.item.sig;
        let (name, inputs) = (signature.ident.unraw(), signature.inputs.to_token_stream());
        let output = match &signature.output {
            ReturnType::Default => String::new(),
            ReturnType::Type(_, of) => format!(" -> {}", text(of.to_token_stream())),
        };
        format!("{name}({}){output}\n", text(inputs))
    }

    /// The table's entry for a function that the other side does not have.
    pub(super) fn missing(&self) -> TokenStream {
        let field = self.field();
        let wires = self.arguments.iter().map(Argument::wire);
        let reply = self.reply();
        quote_spanned! {generated_at(self.name().span())=>
            #field: {
                unsafe extern "C" fn missing(
                    _: *mut ::keyway_sdk::abi::table::Instance,
                    _: *const ::keyway_sdk::abi::call::RawContext,
                    #(_: #wires,)*
                    report: *mut ::keyway_sdk::abi::call::ErrorReport,
                ) -> #reply {
                    // SAFETY: the caller has room for the report.
                    unsafe { ::keyway_sdk::abi::interface::missing(report) }
                }
                missing
            }
        }
    }

    pub(super) fn docs(&self) -> impl Iterator<Item = &Attribute> {
        self.item.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"))
    }

    pub(super) fn reply(&self) -> TokenStream {
        let returns = &self.returns;
        quote_spanned! {generated_at(returns.span())=>
            ::keyway_sdk::abi::interface::Reply<
                <#returns as ::keyway_sdk::abi::interface::Returned>::Wire
            >
        }
    }
}

/// Tokens as text that does not depend on how the compiler prints them.
fn text(tokens: TokenStream) -> String {
    let mut text = String::new();
    let mut after_word = false;
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let (piece, is_word) = match token {
            TokenTree::Group(group) => {
                let inner = self::text(group.stream());
                let piece = match group.delimiter() {
                    Delimiter::Parenthesis => format!("({inner})"),
                    Delimiter::Bracket => format!("[{inner}]"),
                    Delimiter::Brace => format!("{{{inner}}}"),
                    Delimiter::None => inner,
                };
                (piece, false)
            }
            TokenTree::Punct(mark) => match (mark.as_char(), mark.spacing()) {
                (':', Spacing::Joint) => {
                    tokens.next();
                    ("::".to_owned(), false)
                }
                (',', _) if tokens.peek().is_none() => continue,
                (mark @ (',' | ':'), _) => (format!("{mark} "), false),
                (mark, _) => (mark.to_string(), false),
            },
            word => (word.to_string(), true),
        };
        let apart = is_word || text.ends_with("mut") && piece.starts_with(['[', '(', '&']);
        if after_word && apart {
            text.push(' ');
        }
        text.push_str(&piece);
        after_word = is_word;
    }
    text
}
