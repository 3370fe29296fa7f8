//! `#[derive(Layout)]`: describes a `repr(C)` struct or an enum with an explicit integer, and says
//! which of its bit patterns are values.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DataEnum, DeriveInput, Error, Fields, Member, Result, Type};

use crate::generated_at;

/// The `repr` of a type, as far as it matters here.
struct Repr {
    c: bool,
    packed: Option<Span>,
    integer: Option<Ident>,
}

pub(crate) fn expand(item: &DeriveInput) -> Result<TokenStream> {
    if let Some(parameter) = item.generics.params.first() {
        return Err(Error::new(
            parameter.span(),
            "a type that crosses the plugin boundary can't be generic: the descriptor knows types \
             by their name alone",
        ));
    }
    let repr = repr(item)?;
    if let Some(span) = repr.packed {
        return Err(Error::new(
            span,
            "a packed type can't cross the plugin boundary: its fields can't be borrowed",
        ));
    }
    match &item.data {
        Data::Struct(data) => expand_struct(&item.ident, &data.fields, &repr),
        Data::Enum(data) => expand_enum(&item.ident, data, &repr),
        Data::Union(data) => Err(Error::new(
            data.union_token.span,
            "a union can't cross the plugin boundary: nothing says which field is the valid one",
        )),
    }
}

fn repr(item: &DeriveInput) -> Result<Repr> {
    let mut repr = Repr { c: false, packed: None, integer: None };
    for attribute in item.attrs.iter().filter(|attribute| attribute.path().is_ident("repr")) {
        attribute.parse_nested_meta(|meta| {
            let word = meta.path.require_ident()?.clone();
            match word.to_string().as_str() {
                "C" => repr.c = true,
                "packed" => repr.packed = Some(word.span()),
                "u8" | "u16" | "u32" | "u64" | "i8" | "i16" | "i32" | "i64" => {
                    repr.integer = Some(word);
                }
                _ => {}
            }
            // The number of `packed(2)` and `align(16)`.
            if meta.input.peek(syn::token::Paren) {
                let number;
                syn::parenthesized!(number in meta.input);
                number.parse::<TokenStream>()?;
            }
            Ok(())
        })?;
    }
    Ok(repr)
}

fn expand_struct(name: &Ident, fields: &Fields, repr: &Repr) -> Result<TokenStream> {
    if !repr.c {
        return Err(Error::new(
            name.span(),
            "a struct that crosses the plugin boundary needs `#[repr(C)]`: without it the two \
             sides' compilers may order the fields differently",
        ));
    }
    if fields.is_empty() {
        return Err(Error::new(
            name.span(),
            "a struct without fields can't cross the plugin boundary: C has no type of size zero",
        ));
    }
    for field in fields {
        if let Type::Reference(reference) = &field.ty {
            return Err(Error::new(
                reference.span(),
                "a struct that crosses the plugin boundary can't hold a reference: make it an \
                 argument of its own",
            ));
        }
    }
    let members: Vec<Member> = fields.members().collect();
    let types: Vec<&Type> = fields.iter().map(|field| &field.ty).collect();
    let described = members.iter().zip(&types).map(|(member, of)| {
        let text = match member {
            Member::Named(name) => name.to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        };
        quote_spanned! {generated_at(of.span())=>
            ::keyway_sdk::abi::describe::Field {
                name: #text,
                offset: ::core::mem::offset_of!(Self, #member),
                of: <#of as ::keyway_sdk::abi::describe::Describe>::TYPE,
                docs: "",
            }
        }
    });
    let any_bits = types.iter().map(
        |of| quote_spanned!(generated_at(of.span())=> <#of as ::keyway_sdk::abi::interface::Layout>::ANY_BITS),
    );
    let valid = members.iter().zip(&types).map(|(member, of)| {
        quote_spanned! {generated_at(of.span())=>
            <#of as ::keyway_sdk::abi::interface::Layout>::is_valid(&raw const (*at).#member)
        }
    });
    let text = name.to_string();
    let kind = quote! {
        ::keyway_sdk::abi::describe::Kind::Struct {
            name: #text,
            parameter: ::core::option::Option::None,
            growth: ::keyway_sdk::abi::describe::Growth::Closed,
            fields: &[#(#described),*],
        }
    };
    let wire = quote!(::core::mem::MaybeUninit<Self>);
    let layout = implement_layout(name, &kind, &quote!(#(#any_bits)&&*), &quote!(#(#valid)&&*));
    let crossing = implement_crossing(
        name,
        &wire,
        &quote!(::core::mem::MaybeUninit::new(self)),
        &quote! {
            // SAFETY: the bytes come from a value of a type of this layout; they are read as this
            // type only once they are known to be valid.
            unsafe {
                if <Self as ::keyway_sdk::abi::interface::Layout>::is_valid(wire.as_ptr()) {
                    ::core::option::Option::Some(wire.assume_init())
                } else {
                    ::core::option::Option::None
                }
            }
        },
    );
    Ok(quote!(#layout #crossing))
}

fn expand_enum(name: &Ident, data: &DataEnum, repr: &Repr) -> Result<TokenStream> {
    let Some(integer) = repr.integer.as_ref().filter(|_| !repr.c) else {
        return Err(Error::new(
            name.span(),
            "an enum that crosses the plugin boundary needs the integer it crosses as, such as \
             `#[repr(u8)]`, and no `C`",
        ));
    };
    if data.variants.is_empty() {
        return Err(Error::new(
            name.span(),
            "an enum without variants has no value that could cross the plugin boundary",
        ));
    }
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new(
                variant.span(),
                "an enum that crosses the plugin boundary can't hold data: use a `#[repr(C)]` \
                 struct with the enum as one of its fields",
            ));
        }
    }
    let variants: Vec<&Ident> = data.variants.iter().map(|variant| &variant.ident).collect();
    let described = variants.iter().map(|variant| {
        let text = variant.to_string();
        quote! {
            ::keyway_sdk::abi::describe::Variant {
                name: #text,
                value: Self::#variant as i128,
                docs: "",
            }
        }
    });
    let text = name.to_string();
    let kind = quote! {
        ::keyway_sdk::abi::describe::Kind::Enum {
            name: #text,
            repr: <#integer as ::keyway_sdk::abi::describe::Describe>::TYPE,
            growth: ::keyway_sdk::abi::describe::Growth::Closed,
            variants: &[#(#described),*],
        }
    };
    let valid = quote!({
        let wire = at.cast::<#integer>().read();
        #(wire == Self::#variants as #integer)||*
    });
    let layout = implement_layout(name, &kind, &quote!(false), &valid);
    let crossing = implement_crossing(
        name,
        &quote!(#integer),
        &quote!(self as #integer),
        &quote! {
            #(if wire == Self::#variants as #integer {
                return ::core::option::Option::Some(Self::#variants);
            })*
            ::core::option::Option::None
        },
    );
    Ok(quote!(#layout #crossing))
}

fn implement_layout(
    name: &Ident,
    kind: &TokenStream,
    any_bits: &TokenStream,
    valid: &TokenStream,
) -> TokenStream {
    quote! {
        // SAFETY: sizes and offsets come from the compiler.
        #[automatically_derived]
        unsafe impl ::keyway_sdk::abi::describe::Describe for #name {
            const TYPE: &'static ::keyway_sdk::abi::describe::Type =
                &::keyway_sdk::abi::describe::Type::of::<Self>(#kind);
        }

        // SAFETY: the description and the check are made from the type's own definition.
        #[automatically_derived]
        unsafe impl ::keyway_sdk::abi::interface::Layout for #name {
            const ANY_BITS: bool = #any_bits;

            #[inline]
            unsafe fn is_valid(at: *const Self) -> bool {
                // SAFETY: the caller vouches for the bytes at `at`.
                unsafe { #valid }
            }
        }
    }
}

fn implement_crossing(
    name: &Ident,
    wire: &TokenStream,
    lower: &TokenStream,
    lift: &TokenStream,
) -> TokenStream {
    quote! {
        // SAFETY: what crosses is described, and checked before it is read.
        #[automatically_derived]
        unsafe impl ::keyway_sdk::abi::interface::Argument for #name {
            const TYPE: &'static ::keyway_sdk::abi::describe::Type =
                <Self as ::keyway_sdk::abi::describe::Describe>::TYPE;
            type Wire = #wire;
            type Lifted<'call> = Self;

            #[inline]
            fn lower(self) -> Self::Wire {
                #lower
            }

            #[inline]
            unsafe fn lift(
                wire: Self::Wire,
                _: &::keyway_sdk::abi::call::Call,
            ) -> ::core::option::Option<Self> {
                #lift
            }

            type Held = ();

            #[inline]
            fn decode(
                input: &mut ::keyway_sdk::abi::encoding::Reader<'_>,
                (): &mut (),
            ) -> ::core::result::Result<Self::Wire, ::keyway_sdk::abi::encoding::Malformed> {
                ::core::result::Result::Ok(<Self as ::keyway_sdk::abi::interface::Argument>::lower(
                    input.value::<Self>()?,
                ))
            }
        }

        // SAFETY: as above.
        #[automatically_derived]
        unsafe impl ::keyway_sdk::abi::interface::Returned for #name {
            const TYPE: &'static ::keyway_sdk::abi::describe::Type =
                <Self as ::keyway_sdk::abi::describe::Describe>::TYPE;
            type Wire = #wire;
            type Host<'a> = Self;

            #[inline]
            fn lower(
                self,
            ) -> ::core::result::Result<Self::Wire, ::keyway_sdk::abi::call::PluginError> {
                ::core::result::Result::Ok(#lower)
            }

            #[inline]
            unsafe fn lift<'a>(wire: Self::Wire) -> ::core::option::Option<Self::Host<'a>> {
                #lift
            }
        }
    }
}
