//! `#[interface]`: from a trait to its `repr(C)` table, the plugin's shims and the host's proxy.
//!
//! Over 500 lines, since the three are one walk over one trait and must agree.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, Error, FnArg, ItemTrait, Lifetime, LitInt, Pat, Receiver, ReceiverKind, Result,
    ReturnType, Safety, Token, TraitItem, TraitItemFn, Type, TypeReference,
};

use crate::generated_at;

/// What stands in the attribute's parentheses.
pub(crate) struct Options {
    version: u32,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Ok(Self { version: 1 });
        }
        let key: Ident = input.parse()?;
        if key != "version" {
            return Err(Error::new(key.span(), "expected `version = 2`, or nothing"));
        }
        input.parse::<Token![=]>()?;
        let version = input.parse::<LitInt>()?.base10_parse()?;
        input.parse::<Option<Token![,]>>()?;
        Ok(Self { version })
    }
}

/// One function of the interface.
struct Function<'a> {
    item: &'a TraitItemFn,
    /// `&mut self` rather than `&self`.
    exclusive: bool,
    /// Whether the author wants the call's context as the first argument.
    takes_context: bool,
    arguments: Vec<Argument<'a>>,
    /// The result's type, `()` if none is written.
    returns: Type,
}

struct Argument<'a> {
    name: &'a Ident,
    written: &'a Type,
    /// The same with `'static` for elided lifetimes, for places where they can't be elided.
    owned: Type,
}

pub(crate) fn expand(options: &Options, item: &ItemTrait) -> Result<TokenStream> {
    refuse_trait(item)?;
    let functions = item.items.iter().map(function).collect::<Result<Vec<_>>>()?;
    if functions.is_empty() {
        return Err(Error::new(item.ident.span(), "an interface needs at least one function"));
    }
    let table = format_ident!("{}Table", item.ident);
    let proxy = format_ident!("{}Proxy", item.ident);
    let table_item = expand_table(item, &table, &functions);
    let proxy_item = expand_proxy(item, &table, &proxy, &functions);
    let implementation = expand_interface(options, item, &table, &proxy, &functions);
    let export = expand_export(item, &table, &functions);
    Ok(quote! {
        #item
        #table_item
        #proxy_item
        const _: () = {
            #implementation
            #export
        };
    })
}

fn refuse_trait(item: &ItemTrait) -> Result<()> {
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

fn function(item: &TraitItem) -> Result<Function<'_>> {
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
    let mut takes_context = false;
    let mut arguments = Vec::new();
    for input in inputs {
        let FnArg::Typed(input) = input else {
            return Err(Error::new(input.span(), "expected an argument"));
        };
        let Pat::Ident(name) = &*input.pat else {
            return Err(Error::new(input.pat.span(), "an argument of an interface needs a name"));
        };
        if arguments.is_empty() && !takes_context && is_context(&input.ty) {
            takes_context = true;
            continue;
        }
        let owned = owned(&input.ty)?;
        arguments.push(Argument { name: &name.ident, written: &input.ty, owned });
    }
    let returns = match &item.sig.output {
        ReturnType::Default => syn::parse_quote_spanned!(generated_at(item.sig.ident.span())=> ()),
        ReturnType::Type(_, returns) => owned(returns)?,
    };
    Ok(Function { item, exclusive, takes_context, arguments, returns })
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

impl Argument<'_> {
    fn wire(&self) -> TokenStream {
        let owned = &self.owned;
        quote_spanned!(generated_at(owned.span())=> <#owned as ::keyway_sdk::abi::interface::Argument>::Wire)
    }

    fn described(&self) -> TokenStream {
        let owned = &self.owned;
        quote_spanned!(generated_at(owned.span())=> <#owned as ::keyway_sdk::abi::interface::Argument>::TYPE)
    }

    fn lifted(&self, name: &Ident) -> TokenStream {
        let owned = &self.owned;
        quote_spanned! {generated_at(owned.span())=>
            <#owned as ::keyway_sdk::abi::interface::Argument>::lift(#name)?
        }
    }
}

impl Function<'_> {
    fn name(&self) -> &Ident {
        &self.item.sig.ident
    }

    fn docs(&self) -> impl Iterator<Item = &Attribute> {
        self.item.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"))
    }

    fn reply(&self) -> TokenStream {
        let returns = &self.returns;
        quote_spanned! {generated_at(returns.span())=>
            ::keyway_sdk::abi::interface::Reply<
                <#returns as ::keyway_sdk::abi::interface::Returned>::Wire
            >
        }
    }
}

/// The table, which begins with its size.
fn expand_table(item: &ItemTrait, table: &Ident, functions: &[Function<'_>]) -> TokenStream {
    let visibility = &item.vis;
    let names = functions.iter().map(Function::name);
    let pointers = functions.iter().map(|function| {
        let wires = function.arguments.iter().map(Argument::wire);
        let reply = function.reply();
        // So that an error about one of its types is told at the function.
        quote_spanned! {generated_at(function.name().span())=>
            unsafe extern "C" fn(
                *mut ::keyway_sdk::abi::table::Instance,
                *const ::keyway_sdk::abi::call::CallContext,
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
                    let #reply = (self.remote.table().#name)(
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
    table: &Ident,
    proxy: &Ident,
    functions: &[Function<'_>],
) -> TokenStream {
    let name = &item.ident;
    let text = name.to_string();
    let version = options.version;
    let described = functions.iter().enumerate().map(|(index, function)| {
        let text = function.name().to_string();
        // All fields of the table are as large as a pointer. `offset_of!` would say the same, but
        // it would also repeat, on the attribute's line, each error about a type.
        let place = index + 1;
        let exclusive = function.exclusive;
        let arguments = function.arguments.iter().map(Argument::described);
        let returns = &function.returns;
        quote! {
            ::keyway_sdk::abi::describe::Function {
                name: #text,
                offset: #place * ::core::mem::size_of::<*const ()>(),
                exclusive: #exclusive,
                arguments: &[#(#arguments),*],
                returns: <#returns as ::keyway_sdk::abi::interface::Returned>::TYPE,
            }
        }
    });
    quote! {
        const TYPE: ::keyway_sdk::abi::describe::Type =
            ::keyway_sdk::abi::describe::Type::of::<#table>(
                ::keyway_sdk::abi::describe::Kind::Interface {
                    name: #text,
                    version: #version,
                    functions: &[#(#described),*],
                },
            );
        const LENGTH: usize =
            ::keyway_sdk::abi::descriptor::length(::core::option::Option::Some(&TYPE));
        const BYTES: [u8; LENGTH] =
            ::keyway_sdk::abi::descriptor::text(::core::option::Option::Some(&TYPE));

        // SAFETY: table, description and proxy are generated from the same trait.
        unsafe impl ::keyway_sdk::abi::interface::Interface for dyn #name {
            const NAME: &'static str = #text;
            const DESCRIPTOR: &'static str = ::keyway_sdk::abi::descriptor::as_text(&BYTES);
            type Table = #table;
            type Proxy<'a> = #proxy<'a>;

            #[inline]
            fn proxy(
                remote: ::keyway_sdk::abi::interface::Remote<'_, Self::Table>,
            ) -> Self::Proxy<'_> {
                #proxy { remote }
            }
        }
    }
}

/// The plugin's side: a table of shims, each of which catches panics, for each type that
/// implements the trait.
fn expand_export(item: &ItemTrait, table: &Ident, functions: &[Function<'_>]) -> TokenStream {
    let name = &item.ident;
    let entries = functions.iter().map(|function| {
        let name = function.name();
        quote_spanned!(generated_at(name.span())=> #name: #name::<P>)
    });
    let shims = functions.iter().map(|function| {
        let shim = function.name();
        let wires: Vec<_> = function.arguments.iter().map(Argument::wire).collect();
        let values = function.arguments.iter().enumerate();
        let values: Vec<_> = values
            .map(|(at, of)| format_ident!("argument_{at}", span = generated_at(of.owned.span())))
            .collect();
        let lifted = function.arguments.iter().zip(&values).map(|(it, name)| it.lifted(name));
        let context = function
            .takes_context
            .then(|| quote!(, ::keyway_sdk::abi::call::Context::from_pointer(context)));
        let guard = if function.exclusive { quote!(exclusive) } else { quote!(shared) };
        let returns = &function.returns;
        let reply = function.reply();
        let unused = (!function.takes_context).then(|| quote!(let _ = context;));
        quote_spanned! {generated_at(shim.span())=>
            unsafe extern "C" fn #shim<P: #name + ::keyway_sdk::Plugin>(
                instance: *mut ::keyway_sdk::abi::table::Instance,
                context: *const ::keyway_sdk::abi::call::CallContext,
                #(#values: #wires,)*
                report: *mut ::keyway_sdk::abi::call::ErrorReport,
            ) -> #reply {
                #unused
                // SAFETY: the host passes what the contract asks for: an instance that this
                // plugin's `create` made, and arguments that its proxy lowered.
                unsafe {
                    ::keyway_sdk::__private::#guard::<P, #returns>(instance, report, |plugin| {
                        ::core::option::Option::Some(
                            <P as #name>::#shim(plugin #context #(, #lifted)*)
                        )
                    })
                }
            }
        }
    });
    quote! {
        impl<P: #name + ::keyway_sdk::Plugin> ::keyway_sdk::Export<P> for dyn #name {
            const TABLE: &'static Self::Table = &#table {
                size: ::core::mem::size_of::<#table>(),
                #(#entries,)*
            };
        }

        #(#shims)*
    }
}
