//! What an author wrote, read into functions; what can't be an interface is refused, and why.

use proc_macro2::{Ident, Span};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Error, FnArg, ItemTrait, Lifetime, LitInt, LitStr, Pat, Receiver, ReceiverKind, Result,
    ReturnType, Safety, Token, TraitItem, TraitItemFn, Type, TypeReference,
};

use super::function::{Argument, Function};
use crate::generated_at;

/// What stands in the attribute's parentheses.
pub(crate) struct Options {
    pub(super) version: u32,
    pub(super) id: Option<LitStr>,
    pub(super) extensible: bool,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self { version: 1, id: None, extensible: false };
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            match key.to_string().as_str() {
                "version" => {
                    input.parse::<Token![=]>()?;
                    options.version = input.parse::<LitInt>()?.base10_parse()?;
                }
                "id" => {
                    input.parse::<Token![=]>()?;
                    options.id = Some(id(input.parse()?)?);
                }
                "extensible" => options.extensible = true,
                _ => {
                    let why =
                        "expected `version = 2`, `id = \"company/Name\"`, `extensible`, or nothing";
                    return Err(Error::new(key.span(), why));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

/// An id stands in a line of the descriptor, whose parts `; ` separates.
fn id(literal: LitStr) -> Result<LitStr> {
    let text = literal.value();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if text.is_empty() || !text.chars().all(fits) {
        let why = "an id is made of ASCII letters, digits and `-_./`";
        return Err(Error::new(literal.span(), why));
    }
    Ok(literal)
}

pub(super) fn refuse_trait(item: &ItemTrait) -> Result<()> {
    let refuse = |at: &dyn ToTokens, why: &str| Err(Error::new_spanned(at.to_token_stream(), why));
    if let Some(parameter) = item.generics.params.first() {
        return refuse(parameter, "an interface can't be generic: its table has one layout");
    }
    if let Some(clause) = &item.generics.where_clause {
        return refuse(
            clause,
            "an interface can't have a `where` clause: its table has one layout",
        );
    }
    if let Some(supertrait) = item.supertraits.first() {
        return refuse(
            supertrait,
            "an interface can't have supertraits: the host sees only what is in its table",
        );
    }
    if let Some(token) = &item.unsafety {
        return refuse(token, "an interface can't be an unsafe trait: its proxy calls it safely");
    }
    Ok(())
}

pub(super) fn function(item: &TraitItem) -> Result<Function<'_>> {
    let TraitItem::Fn(item) = item else {
        return Err(Error::new(
            item.span(),
            "an interface has functions only: types and constants can't be looked up across the \
             plugin boundary",
        ));
    };
    refuse_function(item)?;
    let mut inputs = item.sig.inputs.iter();
    let exclusive = match inputs.next() {
        Some(FnArg::Receiver(Receiver {
            kind: ReceiverKind::Reference(_, None, mutability),
            ..
        })) => mutability.is_some(),
        other => {
            let span = other.map_or_else(|| item.sig.ident.span(), Spanned::span);
            return Err(Error::new(
                span,
                "a function of an interface takes `&self` or `&mut self`: the instance stays in \
                 the plugin",
            ));
        }
    };
    let mut context = None;
    let mut arguments = Vec::new();
    for input in inputs {
        let FnArg::Typed(input) = input else {
            return Err(Error::new(input.span(), "expected an argument"));
        };
        let Pat::Ident(name) = &*input.pat else {
            return Err(Error::new(input.pat.span(), "an argument of an interface needs a name"));
        };
        let owned = owned(&input.ty)?;
        if arguments.is_empty() && context.is_none() && is_context(&input.ty) {
            context = Some(owned);
            continue;
        }
        arguments.push(Argument { name: &name.ident, written: &input.ty, owned });
    }
    let returns = match &item.sig.output {
        ReturnType::Default => syn::parse_quote_spanned!(generated_at(item.sig.ident.span())=> ()),
        ReturnType::Type(_, returns) => owned(returns)?,
    };
    Ok(Function { item, exclusive, context, arguments, returns })
}

fn refuse_function(item: &TraitItemFn) -> Result<()> {
    let signature = &item.sig;
    let refuse = |span: Span, why: &str| Err(Error::new(span, why));
    if let Some(token) = &signature.asyncness {
        return refuse(token.span(), "a future can't cross the plugin boundary: return the result");
    }
    if let Safety::Unsafe(token) = &signature.safety {
        return refuse(token.span, "a function of an interface can't be unsafe: the proxy is safe");
    }
    if let Some(abi) = &signature.abi {
        return refuse(abi.span(), "the calling convention is the interface's own business");
    }
    if let Some(parameter) = signature.generics.params.first() {
        return refuse(
            parameter.span(),
            "a function of an interface can't be generic, nor name lifetimes: there is one pointer \
             for it in the table",
        );
    }
    if let Some(body) = &item.default {
        return refuse(
            body.span(),
            "a function of an interface can't have a body: every plugin answers for itself",
        );
    }
    for attribute in &item.attrs {
        if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            return refuse(
                attribute.span(),
                "a function of an interface can't depend on `cfg`: host and plugin would have \
                 different tables",
            );
        }
    }
    Ok(())
}

fn is_context(written: &Type) -> bool {
    let Type::Path(path) = written else {
        return false;
    };
    path.path.segments.last().is_some_and(|segment| segment.ident == "Context")
}

/// `written` with `'static` for each elided lifetime; a named one is refused.
fn owned(written: &Type) -> Result<Type> {
    struct Lifetimes(Option<Error>);

    impl VisitMut for Lifetimes {
        fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
            let span = reference.and_token.span;
            let lifetime = reference.lifetime.get_or_insert_with(|| Lifetime::new("'_", span));
            self.visit_lifetime_mut(lifetime);
            visit_mut::visit_type_mut(self, &mut reference.elem);
        }

        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            if lifetime.ident == "_" {
                *lifetime = Lifetime::new("'static", lifetime.span());
            } else {
                let why = "a lifetime of an interface can't be named: what an argument borrows \
                           ends with the call";
                self.0.get_or_insert_with(|| Error::new(lifetime.span(), why));
            }
        }
    }

    let mut owned = written.clone();
    let mut lifetimes = Lifetimes(None);
    lifetimes.visit_type_mut(&mut owned);
    match lifetimes.0 {
        Some(error) => Err(error),
        None => Ok(owned),
    }
}
