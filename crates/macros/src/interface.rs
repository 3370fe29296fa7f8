//! `#[interface]`: from a trait to its `repr(C)` table, the plugin's shims and the host's proxy.

mod bytes;
mod function;
mod read;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, ItemTrait, Result};

use self::function::{Argument, Function};
use crate::generated_at;

pub(crate) use self::read::Options;

pub(crate) fn expand(options: &Options, item: &ItemTrait) -> Result<TokenStream> {
    read::refuse_trait(item)?;
    let functions = item.items.iter().map(read::function).collect::<Result<Vec<_>>>()?;
    if functions.is_empty() {
        return Err(Error::new(item.ident.span(), "an interface needs at least one function"));
    }
    let table = format_ident!("{}Table", item.ident);
    let proxy = format_ident!("{}Proxy", item.ident);
    let table_item = expand_table(item, &table, &functions);
    let encoded = format_ident!("{}Encoded", item.ident);
    let encoded_item = bytes::expand_proxy(item, &encoded, &functions);
    let proxy_item = expand_proxy(item, &table, &proxy, &functions);
    let implementation = expand_interface(options, item, [&table, &proxy, &encoded], &functions);
    let export = expand_export(item, &table, &functions);
    Ok(quote! {
        #item
        #table_item
        #proxy_item
        #encoded_item
        const _: () = {
            #implementation
            #export
        };
    })
}

/// The table, which begins with its size.
fn expand_table(item: &ItemTrait, table: &Ident, functions: &[Function<'_>]) -> TokenStream {
    let visibility = &item.vis;
    let names = functions.iter().map(Function::field);
    let pointers = functions.iter().map(|function| {
        let wires = function.arguments.iter().map(Argument::wire);
        let reply = function.reply();
        // So that an error about one of its types is told at the function.
        quote_spanned! {generated_at(function.name().span())=>
            unsafe extern "C" fn(
                *mut ::keyway_sdk::abi::table::Instance,
                *const ::keyway_sdk::abi::call::RawContext,
                #(#wires,)*
                *mut ::keyway_sdk::abi::call::ErrorReport,
            ) -> #reply
        }
    });
    quote! {
        #[doc(hidden)]
        #[repr(C)]
        #visibility struct #table {
            size: usize,
            #(#names: #pointers,)*
        }
    }
}

/// The host's side: a method for each function, with the same name and arguments.
fn expand_proxy(
    item: &ItemTrait,
    table: &Ident,
    proxy: &Ident,
    functions: &[Function<'_>],
) -> TokenStream {
    let visibility = &item.vis;
    let text = format!(
        "Calls an instance of a plugin that offers [`{0}`]. A function that returns \
         `Result<T, PluginError>` gives `Result<T, CallError>`; any other one a `Result` too, since \
         the plugin may panic.",
        item.ident
    );
    let methods = functions.iter().map(|function| {
        let docs = function.docs();
        let name = function.name();
        let field = function.field();
        let returns = &function.returns;
        let receiver = if function.exclusive { quote!(&mut self) } else { quote!(&self) };
        let names: Vec<_> = function.arguments.iter().map(|argument| argument.name).collect();
        let types = function.arguments.iter().map(|argument| argument.written);
        // Mixed-site, so that an argument's name can't shadow them.
        let report = Ident::new("report", Span::mixed_site());
        let reply = Ident::new("reply", Span::mixed_site());
        quote_spanned! {generated_at(name.span())=>
            #(#docs)*
            #[inline]
            pub fn #name(#receiver #(, #names: #types)*) -> ::core::result::Result<
                <#returns as ::keyway_sdk::abi::interface::Returned>::Host<'a>,
                ::keyway_sdk::abi::call::CallError,
            > {
                let mut #report = ::core::mem::MaybeUninit::uninit();
                // SAFETY: whoever made the remote vouches for the instance and the table; what the
                // arguments borrow outlives the call.
                unsafe {
                    let #reply = (self.remote.table().#field)(
                        self.remote.instance(),
                        self.remote.context(),
                        #(::keyway_sdk::abi::interface::Argument::lower(#names),)*
                        #report.as_mut_ptr(),
                    );
                    self.remote.finish::<#returns>(#reply, #report)
                }
            }
        }
    });
    quote! {
        #[doc = #text]
        #[must_use = "a proxy does nothing until it is called"]
        #visibility struct #proxy<'a> {
            remote: ::keyway_sdk::abi::interface::Remote<'a, #table>,
        }

        impl<'a> #proxy<'a> {
            #(#methods)*
        }
    }
}

/// The link between the trait, its table and its proxy; and the descriptor.
fn expand_interface(
    options: &Options,
    item: &ItemTrait,
    [table, proxy, encoded]: [&Ident; 3],
    functions: &[Function<'_>],
) -> TokenStream {
    let name = &item.ident;
    let dispatch = bytes::expand_dispatch(functions);
    let text = name.unraw().to_string();
    let version = options.version;
    // The crate is the one that the trait is written in, which is being compiled.
    let id = match &options.id {
        Some(id) => quote!(#id),
        None => quote!(::core::concat!(::core::env!("CARGO_PKG_NAME"), "/", #text)),
    };
    let described = functions.iter().enumerate().map(|(index, function)| {
        let text = function.name().unraw().to_string();
        // All fields of the table are as large as a pointer. `offset_of!` would say the same, but
        // it would also repeat, on the attribute's line, each error about a type.
        let place = index + 1;
        let exclusive = function.exclusive;
        let arguments = function.arguments.iter().map(Argument::described);
        let returns = &function.returns;
        let reply = quote_spanned! {generated_at(returns.span())=>
            ::keyway_sdk::abi::interface::reply::<#returns>()
        };
        quote! {
            ::keyway_sdk::abi::describe::Function {
                name: #text,
                offset: #place * ::core::mem::size_of::<*const ()>(),
                exclusive: #exclusive,
                arguments: &[
                    <*mut ::keyway_sdk::abi::table::Instance as
                        ::keyway_sdk::abi::describe::Describe>::TYPE,
                    <*const ::keyway_sdk::abi::call::RawContext as
                        ::keyway_sdk::abi::describe::Describe>::TYPE,
                    #(#arguments,)*
                    <*mut ::keyway_sdk::abi::call::ErrorReport as
                        ::keyway_sdk::abi::describe::Describe>::TYPE,
                ],
                returns: #reply,
            }
        }
    });
    let written = functions.iter().map(Function::written);
    let is_shared = !functions.iter().any(|function| function.exclusive);
    let missing = functions.iter().map(Function::missing);
    let growth = if options.extensible { quote!(Open) } else { quote!(Closed) };
    quote! {
        const ID: &str = #id;
        const TYPE: ::keyway_sdk::abi::describe::Type =
            ::keyway_sdk::abi::describe::Type::of::<#table>(
                ::keyway_sdk::abi::describe::Kind::Interface {
                    id: ID,
                    name: #text,
                    version: #version,
                    growth: ::keyway_sdk::abi::describe::Growth::#growth,
                    functions: &[#(#described),*],
                },
            );
        const LENGTH: usize = ::keyway_sdk::abi::descriptor::length(&TYPE);
        const BYTES: [u8; LENGTH] = ::keyway_sdk::abi::descriptor::text(&TYPE);

        // SAFETY: table, description and proxy are generated from the same trait.
        unsafe impl ::keyway_sdk::abi::interface::Interface for dyn #name {
            const ID: &'static str = ID;
            const VERSION: u32 = #version;
            const SIGNATURE: &'static str =
                ::core::concat!("crate ", ::core::env!("CARGO_PKG_NAME"), "\n", #(#written),*);
            const IS_SHARED: bool = #is_shared;
            const MISSING: #table = #table {
                size: ::core::mem::size_of::<#table>(),
                #(#missing,)*
            };
            const DESCRIPTOR: &'static str = ::keyway_sdk::abi::descriptor::as_text(&BYTES);
            type Table = #table;
            type Proxy<'a> = #proxy<'a>;

            #[inline]
            fn proxy(
                remote: ::keyway_sdk::abi::interface::Remote<'_, Self::Table>,
            ) -> Self::Proxy<'_> {
                #proxy { remote }
            }

            type Encoded<'a> = #encoded<'a>;

            fn encoded(
                caller: ::keyway_sdk::abi::encoding::Caller<'_>,
            ) -> Self::Encoded<'_> {
                #encoded { caller }
            }

            #dispatch
        }
    }
}

/// The plugin's side: a table of shims, each of which catches panics, for each type that
/// implements the trait.
fn expand_export(item: &ItemTrait, table: &Ident, functions: &[Function<'_>]) -> TokenStream {
    let name = &item.ident;
    let entries = functions.iter().map(|function| {
        let (name, field) = (function.name(), function.field());
        quote_spanned!(generated_at(name.span())=> #field: #name::<P>)
    });
    let shims = functions.iter().map(|function| {
        let shim = function.name();
        let wires: Vec<_> = function.arguments.iter().map(Argument::wire).collect();
        let values = function.arguments.iter().enumerate();
        let values: Vec<_> = values
            .map(|(at, of)| format_ident!("argument_{at}", span = generated_at(of.owned.span())))
            .collect();
        let lifted = function.arguments.iter().zip(&values).map(|(it, name)| it.lifted(name));
        let context = function.context.as_ref().map(|of| {
            quote_spanned! {generated_at(of.span())=>
                , <#of as ::keyway_sdk::abi::interface::ContextArgument>::of_call(context, call)
            }
        });
        let guard = if function.exclusive { quote!(exclusive) } else { quote!(shared) };
        let returns = &function.returns;
        let reply = function.reply();
        let unused = function.context.is_none().then(|| quote!(let _ = context;));
        quote_spanned! {generated_at(shim.span())=>
            unsafe extern "C" fn #shim<P: #name + 'static>(
                instance: *mut ::keyway_sdk::abi::table::Instance,
                context: *const ::keyway_sdk::abi::call::RawContext,
                #(#values: #wires,)*
                report: *mut ::keyway_sdk::abi::call::ErrorReport,
            ) -> #reply {
                #unused
                // SAFETY: the host passes what the contract asks for: an instance that this
                // plugin's `create` made, and arguments that its proxy lowered.
                unsafe {
                    ::keyway_sdk::__private::#guard::<P, #returns>(instance, report, |plugin, call| {
                        let _ = call;
                        ::core::option::Option::Some(
                            <P as #name>::#shim(plugin #context #(, #lifted)*)
                        )
                    })
                }
            }
        }
    });
    // Several threads may be in functions that take `&self`.
    let sync = functions.iter().any(|function| !function.exclusive);
    let sync = sync.then(|| quote!(+ ::core::marker::Sync));
    quote! {
        // SAFETY: the functions are generated from the same trait as the table.
        unsafe impl<P: #name + ::core::marker::Send #sync + 'static> ::keyway_sdk::Export<P> for dyn #name {
            const TABLE: &'static Self::Table = &#table {
                size: ::core::mem::size_of::<#table>(),
                #(#entries,)*
            };
        }

        #(#shims)*
    }
}
