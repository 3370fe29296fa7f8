//! What a type of the boundary looks like in memory, as constants that the compiler fills in.
//!
//! A [`Type`] is made from `size_of`, `align_of` and `offset_of!`, never from source text, so a
//! comment or a private rename of a module changes nothing. Types are told apart by name and by a
//! hash of their whole structure; the module they live in does not count, and two different
//! types of one name in one contract are a compile error (see [`descriptor`](crate::descriptor)).

mod declare;

use core::ffi::c_void;

pub(crate) use declare::{codes, contract, covered};

/// A type that the descriptor can describe.
///
/// # Safety
/// `TYPE` must describe the type: two sides whose descriptions agree use each other's values.
pub unsafe trait Describe {
    /// Its description.
    const TYPE: &'static Type;
}

/// The description of one type.
#[derive(Debug, Clone, Copy)]
pub struct Type {
    pub(crate) kind: Kind,
    pub(crate) size: usize,
    pub(crate) align: usize,
    /// Hash of the type's own name; 0 if it has none, and never 0 if it has.
    pub(crate) name: u64,
    /// Hash of all of the above, nested types included.
    pub(crate) identity: u64,
    /// What its documentation says, a line each; no part of the descriptor.
    pub(crate) docs: &'static str,
}

/// What kind of type it is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Kind {
    /// A type that its name describes in full: `u32`, `f64`, `void`.
    Scalar(&'static str),
    /// A raw pointer.
    Pointer {
        /// `*mut` rather than `*const`.
        mutable: bool,
        /// What it points to.
        to: &'static Type,
    },
    /// `[T; length]`.
    Array {
        /// The element.
        of: &'static Type,
        /// How many.
        length: usize,
    },
    /// A [`Slice`](crate::memory::Slice) of elements of one type.
    Slice {
        /// Whether the callee may change them.
        mutable: bool,
        /// The element.
        of: &'static Type,
    },
    /// A function pointer with the C calling convention.
    Function {
        /// Its arguments.
        arguments: &'static [&'static Type],
        /// Its result.
        returns: &'static Type,
        /// Whether the pointer may be null.
        nullable: bool,
    },
    /// A `repr(C)` struct.
    Struct {
        /// Its name, without the module.
        name: &'static str,
        /// The type that it is made for, if it is generic.
        parameter: Option<&'static Type>,
        /// Whether later versions may append fields.
        growth: Growth,
        /// Its fields, in order.
        fields: &'static [Field],
    },
    /// An integer whose values have names.
    Enum {
        /// Its name, without the module.
        name: &'static str,
        /// The integer.
        repr: &'static Type,
        /// Whether later versions may append values.
        growth: Growth,
        /// The names and their values.
        variants: &'static [Variant],
    },
    /// The function table of a typed interface.
    Interface {
        /// The id that hosts and plugins find it by.
        id: &'static str,
        /// The trait's name, without the module.
        name: &'static str,
        /// Raised by hand when the meaning of a function changes but its type does not.
        version: u32,
        /// Whether later versions may append functions.
        growth: Growth,
        /// Its functions, in order.
        functions: &'static [Function],
    },
}

/// Whether a table, or a list of codes, may be longer on one side than on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// No: with another field or value it would be another one.
    Closed,
    /// Yes: more may be appended, nothing else may change. A table of this kind begins with its own
    /// size in bytes, and whoever reads a field makes sure that the size covers it.
    Open,
}

/// A field of a struct.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// Its type.
    pub of: &'static Type,
    /// What its documentation says, a line each; no part of the descriptor.
    pub docs: &'static str,
}

/// A named value of an enum.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// Its name.
    pub name: &'static str,
    /// Its value; wide enough for `u64` and `i64`.
    pub value: i128,
    /// What its documentation says, a line each; no part of the descriptor.
    pub docs: &'static str,
}

/// A function of a typed interface, by the types that really cross.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Where its pointer lies in the table, in bytes.
    pub offset: usize,
    /// Whether it needs the instance exclusively: `&mut self` rather than `&self`.
    pub exclusive: bool,
    /// The arguments of the pointer in the table: the instance, the call's context, what the author
    /// wrote, and the error report.
    pub arguments: &'static [&'static Type],
    /// Its result.
    pub returns: &'static Type,
}

impl Type {
    /// The description of `T`, which `kind` names.
    pub const fn of<T>(kind: Kind) -> Self {
        Self::new(kind, size_of::<T>(), align_of::<T>())
    }

    /// The description of a type that `kind` names, with its size and alignment in bytes.
    pub const fn new(kind: Kind, size: usize, align: usize) -> Self {
        let hash = Hash::new().number(size as u128).number(align as u128);
        let name = match kind {
            Kind::Struct { name, parameter, .. } => {
                let hash = Hash::new().text(name);
                match parameter {
                    Some(parameter) => hash.number(parameter.identity as u128).0 | 1,
                    None => hash.0 | 1,
                }
            }
            Kind::Enum { name, .. } | Kind::Interface { name, .. } => Hash::new().text(name).0 | 1,
            _ => 0,
        };
        Self { kind, size, align, name, identity: kind.hash(hash).0, docs: "" }
    }

    /// The same with documentation.
    pub const fn documented(self, docs: &'static str) -> Self {
        Self { docs, ..self }
    }

    /// What its documentation says, a line each.
    pub const fn docs(&self) -> &'static str {
        self.docs
    }

    /// What kind of type it is.
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Its size in bytes.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Its alignment in bytes.
    pub const fn align(&self) -> usize {
        self.align
    }
}

impl Kind {
    const fn hash(&self, hash: Hash) -> Hash {
        match self {
            Self::Scalar(name) => hash.number(0).text(name),
            Self::Pointer { mutable, to } => {
                hash.number(1).number(*mutable as u128).number(to.identity as u128)
            }
            Self::Array { of, length } => {
                hash.number(2).number(*length as u128).number(of.identity as u128)
            }
            Self::Slice { mutable, of } => {
                hash.number(3).number(*mutable as u128).number(of.identity as u128)
            }
            Self::Function { arguments, returns, nullable } => {
                let hash = hash.number(5).number(*nullable as u128);
                hash.types(arguments).number(returns.identity as u128)
            }
            Self::Struct { name, parameter, growth, fields } => {
                let mut hash = hash.number(6).text(name).number(*growth as u128);
                if let Some(parameter) = parameter {
                    hash = hash.number(parameter.identity as u128);
                }
                let mut rest = *fields;
                while let [field, tail @ ..] = rest {
                    hash = hash.text(field.name).number(field.offset as u128);
                    hash = hash.number(field.of.identity as u128);
                    rest = tail;
                }
                hash
            }
            Self::Enum { name, repr, growth, variants } => {
                let mut hash = hash.number(7).text(name).number(repr.identity as u128);
                hash = hash.number(*growth as u128);
                let mut rest = *variants;
                while let [variant, tail @ ..] = rest {
                    hash = hash.text(variant.name).number(variant.value as u128);
                    rest = tail;
                }
                hash
            }
            Self::Interface { id, name, version, growth, functions } => {
                let mut hash = hash.number(8).text(id).text(name).number(*version as u128);
                hash = hash.number(*growth as u128);
                let mut rest = *functions;
                while let [function, tail @ ..] = rest {
                    hash = hash.text(function.name).number(function.offset as u128);
                    hash = hash.number(function.exclusive as u128).types(function.arguments);
                    hash = hash.number(function.returns.identity as u128);
                    rest = tail;
                }
                hash
            }
        }
    }
}

/// FNV-1a: it only tells types of one binary apart at compile time; nothing is trusted by it.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    const fn mix(self, value: u64) -> Self {
        Self((self.0 ^ value).wrapping_mul(0x0100_0000_01b3))
    }

    const fn number(self, value: u128) -> Self {
        // The high half folds in rotated, so that a negative value is not the positive one.
        self.mix(value as u64).mix(((value >> 64) as u64).rotate_left(17))
    }

    const fn text(self, text: &str) -> Self {
        let mut hash = self.mix(text.len() as u64);
        let mut rest = text.as_bytes();
        while let [byte, tail @ ..] = rest {
            hash = hash.mix(*byte as u64);
            rest = tail;
        }
        hash
    }

    const fn types(self, types: &[&Type]) -> Self {
        let mut hash = self.mix(types.len() as u64);
        let mut rest = types;
        while let [first, tail @ ..] = rest {
            hash = hash.mix(first.identity);
            rest = tail;
        }
        hash
    }
}

macro_rules! scalars {
    ($($type:ty = $name:literal),* $(,)?) => {$(
        // SAFETY: the name says all of it, the size comes from the compiler.
        unsafe impl Describe for $type {
            const TYPE: &'static Type = &Type::of::<Self>(Kind::Scalar($name));
        }
    )*};
}

scalars! {
    u8 = "u8", u16 = "u16", u32 = "u32", u64 = "u64", usize = "usize",
    i8 = "i8", i16 = "i16", i32 = "i32", i64 = "i64", isize = "isize",
    f32 = "f32", f64 = "f64", bool = "bool", () = "()", c_void = "void",
}

// SAFETY: size and alignment come from the compiler.
unsafe impl<T: Describe> Describe for *const T {
    const TYPE: &'static Type = &Type::of::<Self>(Kind::Pointer { mutable: false, to: T::TYPE });
}

// SAFETY: size and alignment come from the compiler.
unsafe impl<T: Describe> Describe for *mut T {
    const TYPE: &'static Type = &Type::of::<Self>(Kind::Pointer { mutable: true, to: T::TYPE });
}

// SAFETY: size and alignment come from the compiler.
unsafe impl<T: Describe, const N: usize> Describe for [T; N] {
    const TYPE: &'static Type = &Type::of::<Self>(Kind::Array { of: T::TYPE, length: N });
}

macro_rules! functions {
    ($(($($argument:ident),*))*) => {$(
        // SAFETY: size and alignment come from the compiler.
        unsafe impl<R: Describe, $($argument: Describe),*> Describe
            for unsafe extern "C" fn($($argument),*) -> R
        {
            const TYPE: &'static Type = &Type::of::<Self>(Kind::Function {
                arguments: &[$($argument::TYPE),*],
                returns: R::TYPE,
                nullable: false,
            });
        }

        // SAFETY: size and alignment come from the compiler.
        unsafe impl<R: Describe, $($argument: Describe),*> Describe
            for Option<unsafe extern "C" fn($($argument),*) -> R>
        {
            const TYPE: &'static Type = &Type::of::<Self>(Kind::Function {
                arguments: &[$($argument::TYPE),*],
                returns: R::TYPE,
                nullable: true,
            });
        }
    )*};
}

functions! { () (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) }

/// What `covered!` does. No reference to the table is made, and no pointer past its end.
///
/// # Safety
/// `pointer` must be null or point to a table that begins with its size. If that covers `offset` and
/// the field, the field of the type `F` must be there, which is all that the third argument says.
#[inline]
pub(crate) unsafe fn covered_field<T, F: Copy>(
    pointer: *const T,
    offset: usize,
    _: fn(&T) -> &F,
) -> Option<F> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: each table begins with its size, and a field is read only if the size covers it.
    unsafe {
        let size = pointer.cast::<usize>().read();
        (size >= offset + size_of::<F>())
            .then(|| pointer.cast::<u8>().add(offset).cast::<F>().read())
    }
}
