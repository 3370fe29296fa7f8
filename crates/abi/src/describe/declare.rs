//! Declares the contract's types together with their descriptions.

/// Declares a `repr(C)` struct of the base contract together with its description, so that the
/// two can't drift apart. `extensible` ones begin with their own size.
macro_rules! contract {
    ($(
        $(#[doc = $docs:literal])*
        $(#[derive($($derive:ident),*)])?
        $growth:ident struct $name:ident {
            $( $(#[doc = $field_docs:literal])* $visibility:vis $field:ident: $type:ty, )*
        }
    )*) => {$(
        $(#[doc = $docs])*
        $(#[derive($($derive),*)])?
        #[repr(C)]
        pub struct $name {
            $( $(#[doc = $field_docs])* $visibility $field: $type, )*
        }

        // SAFETY: sizes and offsets come from the compiler.
        unsafe impl $crate::describe::Describe for $name {
            const TYPE: &'static $crate::describe::Type =
                &$crate::describe::Type::of::<Self>($crate::describe::Kind::Struct {
                    name: concat!("keyway.", stringify!($name)),
                    parameter: None,
                    growth: $crate::describe::contract!(@growth $growth),
                    fields: &[$($crate::describe::Field {
                        name: stringify!($field),
                        offset: core::mem::offset_of!(Self, $field),
                        of: <$type as $crate::describe::Describe>::TYPE,
                        docs: concat!($($field_docs, "\n"),*),
                    }),*],
                })
                .documented(concat!($($docs, "\n"),*));
        }

        $crate::describe::contract!(@check $growth $name);
    )*};
    (@growth closed) => { $crate::describe::Growth::Closed };
    (@growth extensible) => { $crate::describe::Growth::Open };
    (@check closed $name:ident) => {};
    (@check extensible $name:ident) => {
        const _: () = assert!(core::mem::offset_of!($name, size) == 0, "the size comes first");
    };
}

/// Declares a `u32` with named values. The other side may send any number, hence no Rust `enum`;
/// later versions may append names.
macro_rules! codes {
    (
        $(#[doc = $docs:literal])*
        pub struct $name:ident {
            $( $(#[doc = $code_docs:literal])* $code:ident = $value:literal, )*
        }
    ) => {
        $(#[doc = $docs])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub u32);

        impl $name {
            $( $(#[doc = $code_docs])* pub const $code: Self = Self($value); )*

            /// The constant's name, if the number has one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $( $value => Some(stringify!($code)), )*
                    _ => None,
                }
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}({})", stringify!($name), self.0),
                }
            }
        }

        $crate::interface::as_it_is!($name);

        // SAFETY: it is a `u32` whatever its value.
        unsafe impl $crate::describe::Describe for $name {
            const TYPE: &'static $crate::describe::Type =
                &$crate::describe::Type::of::<Self>($crate::describe::Kind::Enum {
                    name: concat!("keyway.", stringify!($name)),
                    repr: <u32 as $crate::describe::Describe>::TYPE,
                    growth: $crate::describe::Growth::Open,
                    variants: &[$($crate::describe::Variant {
                        name: stringify!($code),
                        value: $value,
                        docs: concat!($($code_docs, "\n"),*),
                    }),*],
                })
                .documented(concat!($($docs, "\n"),*));
        }
    };
}

/// A field of an extensible table of the other side: `None` if the pointer is null, or the table of
/// a version that did not have the field. Its caller must know that the pointer is null or valid.
macro_rules! covered {
    ($pointer:expr, $type:ty, $field:ident) => {{
        let pointer = $pointer;
        let offset = core::mem::offset_of!($type, $field);
        // SAFETY: the pointer is null or valid, and the field is there with this type.
        unsafe { $crate::describe::covered_field(pointer, offset, |table| &table.$field) }
    }};
}

pub(crate) use {codes, contract, covered};
