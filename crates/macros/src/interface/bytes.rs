//! The tokens for calls as bytes: a proxy that encodes, and the other side's `dispatch`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ItemTrait;
use syn::spanned::Spanned;

use super::function::Function;
use crate::generated_at;

/// The caller's side: the proxy's functions, by bytes.
pub(super) fn expand_proxy(
    item: &ItemTrait,
    encoded: &Ident,
    functions: &[Function<'_>],
) -> TokenStream {
    let visibility = &item.vis;
    let interface = &item.ident;
    let text = format!(
        "Calls an instance that offers [`{interface}`] with arguments and results as bytes, through \
         whatever carries those."
    );
    let methods = functions.iter().enumerate().map(|(place, function)| {
        let docs = function.docs();
        let name = function.name();
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let returns = &function.returns;
        let receiver = if function.exclusive { quote!(&mut self) } else { quote!(&self) };
        let names: Vec<_> = function.arguments.iter().map(|argument| argument.name).collect();
        let types = function.arguments.iter().map(|argument| argument.written);
        // Mixed-site, so that an argument's name can't shadow them.
        let input = Ident::new("input", Span::mixed_site());
        let reply = Ident::new("reply", Span::mixed_site());
        let value = Ident::new("value", Span::mixed_site());
        quote_spanned! {generated_at(name.span())=>
            #(#docs)*
            pub fn #name(#receiver #(, #names: #types)*) -> ::core::result::Result<
                <#returns as ::keyway_sdk::abi::interface::Returned>::Host<'a>,
                ::keyway_sdk::abi::call::CallError,
            > {
                #(let mut #names = #names;)*
                #[allow(unused_mut)]
                let mut #input = ::keyway_sdk::__private::Vec::new();
                #(::keyway_sdk::abi::interface::Argument::encode(&#names, &mut #input);)*
                self.caller.call::<dyn #interface, _>(#place, &#input, |#reply| {
                    let #value =
                        <#returns as ::keyway_sdk::abi::interface::Returned>::decode(#reply)?;
                    #(::keyway_sdk::abi::interface::Argument::take_back(&mut #names, #reply)?;)*
                    ::core::result::Result::Ok(#value)
                })
            }
        }
    });
    quote! {
        #[doc = #text]
        #[must_use = "a proxy does nothing until it is called"]
        #visibility struct #encoded<'a> {
            caller: ::keyway_sdk::abi::encoding::Caller<'a>,
        }

        impl<'a> #encoded<'a> {
            #(#methods)*
        }
    }
}

/// The callee's side: decodes, calls the table's function, encodes.
pub(super) fn expand_dispatch(functions: &[Function<'_>]) -> TokenStream {
    let arms = functions.iter().enumerate().map(|(place, function)| {
        let field = function.field();
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let returns = &function.returns;
        // At the argument's type, where an error about it is told already.
        let at = |prefix: &str| -> Vec<Ident> {
            let arguments = function.arguments.iter().enumerate();
            let named = arguments.map(|(at, argument)| {
                format_ident!("{prefix}_{at}", span = generated_at(argument.owned.span()))
            });
            named.collect()
        };
        let (values, held) = (at("argument"), at("held"));
        let each = || function.arguments.iter().zip(values.iter().zip(&held));
        let decode = each().map(|(argument, (value, held))| {
            let owned = &argument.owned;
            quote_spanned! {generated_at(owned.span())=>
                let mut #held = ::core::default::Default::default();
                let #value = <#owned as ::keyway_sdk::abi::interface::Argument>::decode(
                    call.arguments().next_argument(),
                    &mut #held,
                )?;
            }
        });
        let give_back = each().map(|(argument, (_, held))| {
            let owned = &argument.owned;
            quote_spanned! {generated_at(owned.span())=>
                <#owned as ::keyway_sdk::abi::interface::Argument>::give_back(&#held, &mut output);
            }
        });
        quote_spanned! {generated_at(function.name().span())=>
            #place => {
                #(#decode)*
                call.arguments().end()?;
                // SAFETY: the caller vouches for the instance and the table; what the arguments
                // borrow is kept until the call ended.
                unsafe {
                    let reply = (table.#field)(
                        call.instance(),
                        call.context(),
                        #(#values,)*
                        call.report(),
                    );
                    #[allow(unused_mut)]
                    let mut output = call.reply::<#returns>(reply)?;
                    #(#give_back)*
                    ::core::result::Result::Ok(output)
                }
            }
        }
    });
    quote! {
        unsafe fn dispatch(
            table: &Self::Table,
            call: &mut ::keyway_sdk::abi::encoding::Incoming<'_>,
        ) -> ::core::result::Result<
            ::keyway_sdk::__private::Vec<u8>,
            ::keyway_sdk::abi::encoding::Stop,
        > {
            match call.function() {
                #(#arms)*
                _ => ::core::result::Result::Err(::keyway_sdk::abi::encoding::Stop::NoFunction),
            }
        }
    }
}
