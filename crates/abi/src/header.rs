//! The contract as a C header, made from the same descriptions as its descriptor.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::call::LogField;
use crate::describe::{Describe, Growth, Kind, Type};
use crate::layout::{MODELS, Model, declared};
use crate::memory::Slice;
use crate::stamp;
use crate::table::{ENTRY_SYMBOL, Entry};

/// The file `keyway.h`.
pub fn text() -> String {
    // Slices are declared with the type of their elements.
    let is_slice = |of: &&Type| matches!(of.kind(), Kind::Struct { name: "keyway.Slice", .. });
    let types: Vec<_> = declared().into_iter().filter(|of| !is_slice(of)).collect();
    let mut out = String::from(START);
    out += &contract();
    out += &stamps();
    for of in &types {
        if let Kind::Struct { .. } = of.kind() {
            let name = name_of(of);
            out += &format!("typedef struct {name} {name};\n");
        }
    }
    out += "/* One side's own data behind a pointer. Only that side knows what it is. */\n";
    out += "typedef struct keyway_instance keyway_instance;\n";
    let mut slices = Vec::new();
    for of in &types {
        match of.kind() {
            Kind::Enum { .. } => out += &codes(of),
            Kind::Struct { .. } => {
                out += &slices_of(of, &mut slices);
                out += &structure(of);
            }
            _ => {}
        }
    }
    // No table of the contract mentions it, but the log does.
    out += &slice(<Slice<LogField> as Describe>::TYPE, &mut slices);
    out += "/* What each plugin exports beside its stamp. */\n";
    out += &format!(
        "#define KEYWAY_ENTRY_SYMBOL \"{ENTRY_SYMBOL}\"\ntypedef {};\n\n",
        declaration(<Entry as Describe>::TYPE, "keyway_entry")
    );
    out += &asserts(&types);
    out + END
}

const START: &str = "\
/* keyway.h: the contract between Keyway plugins and hosts, in C99 and C++17.
 *
 * Generated from the Rust definitions by `cargo xtask contract`; docs/contract.md says what the two
 * sides may rely on. Do not edit. */
#ifndef KEYWAY_H
#define KEYWAY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern \"C\" {
#endif

";

const END: &str = "\
#ifdef __cplusplus
}
#endif

#endif
";

/// The contract's text for the target that the header is compiled for.
fn contract() -> String {
    let mut out = String::from(
        "/* The contract's layout descriptor on this target: of a plugin's stamp, and of its table. */\n",
    );
    for (at, model) in MODELS.iter().enumerate() {
        let keyword = if at == 0 { "#if" } else { "#elif" };
        out += &format!("{keyword} {}\n#define KEYWAY_CONTRACT", condition(*model));
        for line in model.contract().lines() {
            out += &format!(" \\\n    \"{line}\\n\"");
        }
        out += "\n";
    }
    out += "#else\n#error \"no layout is known for this target\"\n#endif\n\n";
    out
}

/// How a C compiler tells that it compiles for a target of this model.
fn condition(model: Model) -> String {
    let wide = if model.pointer == 8 { "==" } else { "!=" };
    let big = "defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__";
    let big = if model.is_little_endian { format!("!({big})") } else { big.to_string() };
    let x86 = "defined(__i386__) && !defined(_WIN32)";
    let x86 = match (model.pointer, model.align_of_u64) {
        (4, 4) => format!(" && {x86}"),
        (4, _) => format!(" && !({x86})"),
        _ => String::new(),
    };
    format!("UINTPTR_MAX {wide} UINT64_MAX && {big}{x86}")
}

/// What a plugin in C needs for its stamp.
fn stamps() -> String {
    let (symbol, section) = (stamp::SYMBOL, stamp::SECTION);
    let (segment, section_macho) = stamp::SECTION_MACHO;
    let mut out = format!(
        "/* The stamp: an exported constant of this name, in this section. */\n\
         #define KEYWAY_STAMP_SYMBOL \"{symbol}\"\n\
         #ifdef __APPLE__\n\
         #define KEYWAY_STAMP_SECTION \"{segment},{section_macho}\"\n\
         #else\n\
         #define KEYWAY_STAMP_SECTION \"{section}\"\n\
         #endif\n\
         #define KEYWAY_STAMP_MAJOR {}\n\
         #define KEYWAY_STAMP_CRITICAL {}\n",
        stamp::MAJOR,
        stamp::CRITICAL
    );
    for (name, tag) in [
        ("NAME", stamp::tag::NAME),
        ("VERSION", stamp::tag::VERSION),
        ("TARGET", stamp::tag::TARGET),
        ("KIND", stamp::tag::KIND),
        ("TOOLCHAIN", stamp::tag::TOOLCHAIN),
        ("CONTRACT", stamp::tag::CONTRACT),
        ("INTERFACE", stamp::tag::INTERFACE),
        ("SIGNATURE", stamp::tag::SIGNATURE),
        ("PANIC", stamp::tag::PANIC),
        ("PROCESSOR", stamp::tag::PROCESSOR),
        ("FLOAT", stamp::tag::FLOAT),
        ("C_RUNTIME", stamp::tag::C_RUNTIME),
        ("SANITIZER", stamp::tag::SANITIZER),
    ] {
        out += &format!("#define KEYWAY_TAG_{name} {tag}\n");
    }
    out += "/* A number as the four bytes of a stamp. */\n\
        #define KEYWAY_LE32(n) \\\n    \
        {(unsigned char)((n) & 0xff), (unsigned char)((n) >> 8 & 0xff), \\\n     \
        (unsigned char)((n) >> 16 & 0xff), (unsigned char)((n) >> 24 & 0xff)}\n\n";
    out
}

fn comment(docs: &str, indent: &str) -> String {
    let lines: Vec<_> = docs.lines().map(|line| plain(line.trim())).collect();
    match lines.as_slice() {
        [] => String::new(),
        [only] => format!("{indent}/* {only} */\n"),
        [first, rest @ ..] => {
            let mut out = format!("{indent}/* {first}\n");
            for (at, line) in rest.iter().enumerate() {
                let end = if at + 1 == rest.len() { " */" } else { "" };
                let space = if line.is_empty() { "" } else { " " };
                out += &format!("{indent} *{space}{line}{end}\n");
            }
            out
        }
    }
}

/// Documentation without the marks of links.
fn plain(line: &str) -> String {
    line.replace("[`", "`").replace("`]", "`")
}

/// `keyway_call_status` for `keyway.CallStatus`.
fn name_of(of: &Type) -> String {
    match of.kind() {
        Kind::Struct { name, .. } | Kind::Enum { name, .. } => snake(name),
        Kind::Slice { of, .. } => match of.kind() {
            Kind::Pointer { to, .. } => format!("keyway_slice_of_{}_pointers", short(to)),
            _ => format!("keyway_slice_of_{}", short(of)),
        },
        Kind::Scalar("keyway.Instance") => "keyway_instance".to_string(),
        Kind::Scalar(name) => scalar(name).to_string(),
        _ => String::new(),
    }
}

fn short(of: &Type) -> String {
    let name = name_of(of);
    let name = name.strip_prefix("keyway_").unwrap_or(&name);
    name.strip_suffix("_t").unwrap_or(name).to_string()
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            '.' => out.push('_'),
            c if c.is_ascii_uppercase() => {
                if !out.ends_with('_') {
                    out.push('_');
                }
                out.push(c.to_ascii_lowercase());
            }
            c => out.push(c),
        }
    }
    out
}

fn scalar(name: &str) -> &str {
    match name {
        "u8" | "bool" => "uint8_t",
        "u16" => "uint16_t",
        "u32" => "uint32_t",
        "u64" => "uint64_t",
        "i8" => "int8_t",
        "i16" => "int16_t",
        "i32" => "int32_t",
        "i64" => "int64_t",
        "usize" => "size_t",
        "isize" => "ptrdiff_t",
        "f32" => "float",
        "f64" => "double",
        _ => "void",
    }
}

/// `name`, declared as of this type.
fn declaration(of: &Type, name: &str) -> String {
    match of.kind() {
        Kind::Pointer { mutable, to } => {
            let constant =
                if *mutable || matches!(to.kind(), Kind::Pointer { .. }) { "" } else { "const " };
            format!("{constant}{}", declaration(to, &format!("*{name}")))
        }
        Kind::Array { of, length } => declaration(of, &format!("{name}[{length}]")),
        Kind::Function { arguments, returns, .. } => {
            let arguments: Vec<_> = arguments.iter().map(|of| declaration(of, "")).collect();
            let arguments = arguments.iter().map(|of| of.trim_end()).collect::<Vec<_>>();
            let arguments =
                if arguments.is_empty() { "void".to_string() } else { arguments.join(", ") };
            declaration(returns, &format!("(*{name})({arguments})"))
        }
        _ => format!("{} {name}", name_of(of)),
    }
}

fn codes(of: &Type) -> String {
    let Kind::Enum { repr, growth, variants, .. } = of.kind() else { return String::new() };
    let name = name_of(of);
    let open = if *growth == Growth::Open { " Later versions may know more." } else { "" };
    let docs = format!("{}{open}", of.docs().trim_end());
    let mut out = comment(&docs, "");
    out += &format!("typedef {} {name};\n", name_of(repr));
    let upper = name.to_ascii_uppercase();
    for variant in *variants {
        out += &comment(variant.docs, "");
        out += &format!("#define {upper}_{} (({name}){})\n", variant.name, variant.value);
    }
    out + "\n"
}

/// The slices that a struct mentions and that are not declared yet.
fn slices_of(of: &Type, known: &mut Vec<String>) -> String {
    let mut out = String::new();
    let Kind::Struct { fields, .. } = of.kind() else { return out };
    for field in *fields {
        out += &slice(field.of, known);
        if let Kind::Function { arguments, .. } = field.of.kind() {
            arguments.iter().for_each(|of| out += &slice(of, known));
        }
    }
    out
}

/// The slice that a type is, if it is one that is not declared yet.
fn slice(of: &Type, known: &mut Vec<String>) -> String {
    let Kind::Slice { of: element, .. } = of.kind() else { return String::new() };
    let name = name_of(of);
    if known.contains(&name) {
        return String::new();
    }
    let pointer = match element.kind() {
        Kind::Pointer { to, .. } => format!("const {} *const *pointer", name_of(to)),
        _ => format!("const {} *pointer", name_of(element)),
    };
    let text = format!(
        "/* Elements that the caller owns and the callee may use until it returns. */\n\
         typedef struct {name} {{\n    \
         /* The first element; anything, null too, if there is none. */\n    \
         {pointer};\n    \
         /* How many elements. */\n    \
         size_t length;\n}} {name};\n\n"
    );
    known.push(name);
    text
}

fn structure(of: &Type) -> String {
    let Kind::Struct { growth, fields, .. } = of.kind() else { return String::new() };
    let kind = match growth {
        Growth::Closed => "Closed.",
        Growth::Open => "Extensible: look at `size` before you read what a later version has.",
    };
    let mut out = comment(&format!("{}\n {kind}", of.docs().trim_end()), "");
    out += &format!("struct {} {{\n", name_of(of));
    for field in *fields {
        out += &comment(field.docs, "    ");
        out += &format!("    {};\n", declaration(field.of, field.name));
    }
    out + "};\n\n"
}

/// That a C compiler lays the structs out as a Rust compiler does.
fn asserts(types: &[&Type]) -> String {
    let mut out = String::from(
        "/* What a compiler for any target makes of the above. */\n\
         struct keyway_align_of_u64 {\n    char before;\n    uint64_t value;\n};\n\
         #define KEYWAY_BY_MODEL(wide, narrow, narrow_packed) \\\n    \
         (sizeof(void *) == 8 ? (wide) \\\n     \
         : offsetof(struct keyway_align_of_u64, value) == 8 ? (narrow) \\\n     \
         : (narrow_packed))\n\
         #define KEYWAY_ASSERT(name, condition) typedef char keyway_assert_##name[(condition) ? 1 : -1]\n",
    );
    let models = [MODELS[0], MODELS[2], MODELS[3]];
    let by_model = |values: [usize; 3]| {
        let [wide, narrow, packed] = values;
        format!("KEYWAY_BY_MODEL({wide}, {narrow}, {packed})")
    };
    for of in types {
        let Kind::Struct { fields, .. } = of.kind() else { continue };
        let (name, layouts) = (name_of(of), models.map(|model| model.fields(of)));
        let size = by_model([layouts[0].1, layouts[1].1, layouts[2].1]);
        out += &format!("KEYWAY_ASSERT({name}, sizeof({name}) == {size});\n");
        for (at, field) in fields.iter().enumerate() {
            let field = field.name;
            let offset = by_model([layouts[0].0[at], layouts[1].0[at], layouts[2].0[at]]);
            out +=
                &format!("KEYWAY_ASSERT({name}_{field}, offsetof({name}, {field}) == {offset});\n");
        }
    }

    out + "\n"
}
