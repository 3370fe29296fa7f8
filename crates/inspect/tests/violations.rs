//! What is wrong with the structure of a library: cuts at every byte, and damage done on purpose.
//!
//! Over 500 lines, since every violation has its test here.

use keyway_inspect::{Details, Facts, Stack, Violation, inspect};
use snapbox::{assert_data_eq, str};

const LIBRARIES: [&str; 10] = [
    "elf-aarch64.so",
    "elf-armv7.so",
    "elf-i686.so",
    "elf-musl.so",
    "elf-s390x.so",
    "elf-x86_64.so",
    "macho-aarch64.dylib",
    "macho-x86_64.dylib",
    "pe-i686.dll",
    "pe-x86_64.dll",
];

fn library(file: &str) -> Vec<u8> {
    let path = format!("{}/tests/libraries/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect(file)
}

/// Every violation, one a line.
fn check(bytes: &[u8]) -> String {
    let violations = inspect(bytes).expect("a header").violations;
    violations.iter().map(|violation| format!("{violation}\n")).collect()
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(*bytes[offset..].first_chunk().expect("eight bytes"))
}

fn put(bytes: &mut [u8], offset: usize, value: u64, size: usize) {
    bytes[offset..offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
}

/// `elf-x86_64.so` and where its headers are.
struct Elf(Vec<u8>);

impl Elf {
    fn new() -> Self {
        Self(library("elf-x86_64.so"))
    }

    /// The offset of the `nth` program header of a type.
    fn segment(&self, kind: u32, nth: usize) -> usize {
        let (start, count) = (u64_at(&self.0, 32) as usize, usize::from(self.0[56]));
        let mut all = (0..count).map(|index| start + index * 56);
        all.by_ref()
            .filter(|&at| self.0[at..at + 4] == kind.to_le_bytes())
            .nth(nth)
            .expect("a segment")
    }

    /// The offset of the value of a dynamic entry.
    fn dynamic(&self, tag: u64) -> usize {
        let start = u64_at(&self.0, self.segment(2, 0) + 8) as usize;
        let mut all = (start..).step_by(16);
        all.find(|&at| u64_at(&self.0, at) == tag).expect("an entry") + 8
    }

    /// The offsets of the section headers.
    fn sections(&self) -> impl Iterator<Item = usize> {
        let (start, count) = (u64_at(&self.0, 40) as usize, usize::from(self.0[60]));
        (0..count).map(move |index| start + index * 64)
    }

    /// The offset of the header of the section that lies at `offset` in the file.
    fn section_at(&self, offset: usize) -> usize {
        let mut all = self.sections();
        all.find(|&at| u64_at(&self.0, at + 24) == offset as u64).expect("a section")
    }

    fn stamp(&self) -> usize {
        inspect(&self.0).expect("a header").facts.stamp.expect("a stamp").start
    }

    fn put(mut self, offset: usize, value: u64, size: usize) -> Self {
        put(&mut self.0, offset, value, size);
        self
    }

    fn check(&self) -> String {
        check(&self.0)
    }
}

const PT_LOAD: u32 = 1;
const PT_GNU_STACK: u32 = 0x6474_e551;

/// A cut library is never taken for a whole one: a loader would be killed for reading past the end.
#[test]
fn notices_every_cut() {
    for file in LIBRARIES {
        let bytes = library(file);
        for length in 0..bytes.len() {
            // Each byte of the headers, a prime step through the large rest, and the last bytes.
            let rest = bytes.len() - length;
            if length > 2000 && rest > 600 && length % 61 != 0 {
                continue;
            }
            if let Ok(inspection) = inspect(&bytes[..length]) {
                assert_ne!(inspection.violations, [], "{file} cut at {length} of {}", bytes.len());
            }
        }
    }
}

#[test]
fn says_what_a_cut_took() {
    let cut = |file: &str, length: usize| check(&library(file)[..length]);
    assert_data_eq!(
        cut("elf-x86_64.so", 1000),
        str![[r#"
segment 4 (type 0x2) ends at byte 1328, but the file has only 1000
segment 5 (type 0x6474e552) ends at byte 1360, but the file has only 1000
segment 2 (PT_LOAD) ends at byte 1056, but the file has only 1000
segment 3 (PT_LOAD) ends at byte 1360, but the file has only 1000
the section header table is malformed: Invalid ELF section header offset/size/alignment
the dynamic segment is malformed: it is missing or cut

"#]]
    );
    assert_data_eq!(
        cut("pe-x86_64.dll", 3000),
        str![[r#"
section `.pdata` ends at byte 3072, but the file has only 3000
section `.keyway` ends at byte 3584, but the file has only 3000

"#]]
    );
    assert_data_eq!(
        cut("macho-x86_64.dylib", 16_700),
        str![[r#"
the string table ends at byte 16777, but the file has only 16700
segment `__LINKEDIT` ends at byte 16777, but the file has only 16700

"#]]
    );
}

#[test]
fn elf_segments() {
    let elf = Elf::new();
    let first = elf.segment(PT_LOAD, 0);
    assert_data_eq!(
        elf.put(first + 16, u64::MAX - 4, 8).check(),
        str![[r#"
segment 1 (PT_LOAD) is malformed: its address wraps around
section `.keyway` is malformed: a loader does not map the bytes that it names
the dynamic string table is malformed: it lies outside of what is loaded from the file
the relocation table (PLT) is malformed: it lies outside of what is loaded from the file
a needed library is malformed: an entry or a name lies outside of its table
the table of needed versions is malformed: an entry or a name lies outside of its table
the dynamic symbol table is malformed: it or its hash table lies outside of what is loaded from the file

"#]]
    );

    let elf = Elf::new();
    let second = elf.segment(PT_LOAD, 1);
    assert_data_eq!(
        elf.put(second + 32, u64::MAX, 8).check(),
        str![[r#"
segment 2 (PT_LOAD) ends at byte 18446744073709551615, but the file has only 2720
segment 2 (PT_LOAD) is malformed: it has more bytes in the file than in memory

"#]]
    );

    let elf = Elf::new();
    let (first, second) = (elf.segment(PT_LOAD, 0), elf.segment(PT_LOAD, 1));
    let address = u64_at(&elf.0, first + 16);
    assert_data_eq!(
        elf.put(second + 16, address, 8).check(),
        str![[r#"
segment 1 (PT_LOAD) and segment 2 (PT_LOAD) overlap
section `.keyway` is malformed: a loader does not map the bytes that it names
the dynamic string table is malformed: it lies outside of what is loaded from the file
the relocation table (PLT) is malformed: it lies outside of what is loaded from the file
a needed library is malformed: an entry or a name lies outside of its table
the table of needed versions is malformed: an entry or a name lies outside of its table
the dynamic symbol table is malformed: it or its hash table lies outside of what is loaded from the file

"#]]
    );

    let elf = Elf::new();
    let second = elf.segment(PT_LOAD, 1);
    assert_data_eq!(
        elf.put(second + 40, 1, 8).check(),
        str![[r#"
segment 2 (PT_LOAD) is malformed: it has more bytes in the file than in memory

"#]]
    );

    // In memory it may be larger than in the file, but no larger than a process.
    let elf = Elf::new();
    let second = elf.segment(PT_LOAD, 1);
    let address = u64_at(&elf.0, second + 16);
    assert_eq!(
        elf.put(second + 40, (1 << 47) - address, 8).check().matches("addresses").count(),
        0
    );
    assert_data_eq!(
        Elf::new().put(second + 40, (1 << 47) - address + 1, 8).check(),
        str![[r#"
segment 2 (PT_LOAD) is malformed: it takes addresses up to 0x800000000001, and no 64-bit process has them

"#]]
    );
    let last = Elf::new().segment(PT_GNU_STACK, 0);
    assert_data_eq!(
        Elf::new().put(last + 40, 1 << 48, 8).check(),
        str![[r#"
segment 7 (type 0x6474e551) is malformed: it takes addresses up to 0x1000000000000, and no 64-bit process has them

"#]]
    );

    // No program headers at all.
    assert_data_eq!(
        Elf::new().put(56, 0, 2).check(),
        str![[r#"
the program header table is malformed: it loads nothing
section `.keyway` is malformed: a loader does not map the bytes that it names
the dynamic segment is malformed: it is missing or cut

"#]]
    );
    assert_data_eq!(
        Elf::new().put(54, 57, 2).check(),
        str![[r#"
the program header table is malformed: Invalid ELF program header entry size
the program header table is malformed: it loads nothing
section `.keyway` is malformed: a loader does not map the bytes that it names
the dynamic segment is malformed: it is missing or cut

"#]]
    );
    assert_data_eq!(
        Elf::new().put(56, 5000, 2).check(),
        str![[r#"
the program header table is malformed: Invalid ELF program header size or alignment
the program header table is malformed: it loads nothing
section `.keyway` is malformed: a loader does not map the bytes that it names
the dynamic segment is malformed: it is missing or cut

"#]]
    );
}

#[test]
fn elf_dynamic_tables() {
    const DT_NEEDED: u64 = 1;
    const DT_STRTAB: u64 = 5;
    const DT_SYMTAB: u64 = 6;
    const DT_JMPREL: u64 = 23;
    const DT_VERNEED: u64 = 0x6fff_fffe;
    let patched = |tag: u64, value: u64| {
        let elf = Elf::new();
        let at = elf.dynamic(tag);
        elf.put(at, value, 8).check()
    };
    assert_data_eq!(
        patched(DT_NEEDED, 1 << 40),
        str![[r#"
a needed library is malformed: an entry or a name lies outside of its table

"#]]
    );
    assert_data_eq!(
        patched(DT_STRTAB, 1 << 40),
        str![[r#"
the dynamic string table is malformed: it lies outside of what is loaded from the file
a needed library is malformed: an entry or a name lies outside of its table
the table of needed versions is malformed: an entry or a name lies outside of its table
the dynamic symbol table is malformed: an entry or a name lies outside of its table

"#]]
    );
    assert_data_eq!(
        patched(DT_SYMTAB, 1 << 40),
        str![[r#"
the dynamic symbol table is malformed: it or its hash table lies outside of what is loaded from the file

"#]]
    );
    assert_data_eq!(
        patched(DT_JMPREL, 1 << 40),
        str![[r#"
the relocation table (PLT) is malformed: it lies outside of what is loaded from the file

"#]]
    );
    assert_data_eq!(
        patched(DT_VERNEED, 1 << 40),
        str![[r#"
the table of needed versions is malformed: an entry or a name lies outside of its table

"#]]
    );
}

/// One needed version, a million times: by a count of 65535 and an offset of 0 to the next.
#[test]
fn elf_version_circles() {
    let elf = Elf::new();
    let (need, count) = (elf.dynamic(0x6fff_fffe), elf.dynamic(0x6fff_ffff));
    let need = u64_at(&elf.0, need) as usize;
    let elf = elf.put(count, u64::MAX, 8).put(need + 2, 0xffff, 2).put(need + 12, 0, 4);
    assert_data_eq!(
        elf.check(),
        str![[r#"
the table of needed versions is malformed: its names are 4 times as long as the whole file
the dynamic symbol table is malformed: its names are 4 times as long as the whole file

"#]]
    );
}

#[test]
fn elf_stamps() {
    let elf = Elf::new();
    let section = elf.section_at(elf.stamp());
    assert_data_eq!(
        elf.put(section + 16, 0x10, 8).check(),
        str![[r#"
section `.keyway` is malformed: a loader does not map the bytes that it names

"#]]
    );

    let elf = Elf::new();
    let section = elf.section_at(elf.stamp());
    let flags = u64_at(&elf.0, section + 8) & !2;
    assert_data_eq!(
        elf.put(section + 8, flags, 8).check(),
        str![[r#"
section `.keyway` is malformed: a loader does not map the bytes that it names

"#]]
    );

    // The section after it gets a copy of its header.
    let elf = Elf::new();
    let section = elf.section_at(elf.stamp());
    let mut bytes = elf.0;
    bytes.copy_within(section..section + 64, section + 64);
    assert_data_eq!(
        check(&bytes),
        str![[r#"
section `.keyway` is malformed: there is more than one

"#]]
    );

    // Without section headers there is no stamp, and nothing is wrong.
    let bytes = Elf::new().put(40, 0, 8).put(60, 0, 2).put(62, 0, 2).0;
    let inspection = inspect(&bytes).expect("a header");
    assert_eq!((inspection.facts.stamp, inspection.violations), (None, Vec::new()));
}

#[test]
fn elf_section_names() {
    let elf = Elf::new();
    let section = elf.section_at(elf.stamp());
    assert_data_eq!(
        elf.put(section, 0xff_ffff, 4).check(),
        str![[r#"
the section name table is malformed: an entry or a name lies outside of its table

"#]]
    );
    assert_data_eq!(
        Elf::new().put(60, 9999, 2).check(),
        str![[r#"
the section header table is malformed: Invalid ELF section header offset/size/alignment

"#]]
    );
}

/// Names that no linker writes come out readable.
#[test]
fn escapes_names() {
    let elf = Elf::new();
    let at = elf.0.windows(4).position(|four| four == b"libc").expect("a name");
    let elf = elf.put(at, u64::from_le_bytes(*b"\x1b[2J\xff\0\0\0"), 6);
    let Facts { needed, .. } = inspect(&elf.0).expect("a header").facts;
    assert_eq!(needed, ["\\x1b[2J\\xff"]);
}

#[test]
fn elf_stacks() {
    let stack = |edit: fn(Elf, usize) -> Elf| {
        let elf = Elf::new();
        let segment = elf.segment(PT_GNU_STACK, 0);
        match inspect(&edit(elf, segment).0).expect("a header").facts.details {
            Details::Elf(details) => details.stack,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(stack(|elf, _| elf), Stack::Data);
    assert_eq!(stack(|elf, segment| elf.put(segment + 4, 7, 4)), Stack::Executable);
    assert_eq!(stack(|elf, segment| elf.put(segment, 0, 4)), Stack::Unmarked);
}

/// `pe-x86_64.dll`, with a number put `skip` bytes after the first `anchor`.
fn pe(anchor: &[u8], skip: usize, value: u64, size: usize) -> Vec<u8> {
    let mut bytes = library("pe-x86_64.dll");
    let at = bytes.windows(anchor.len()).position(|window| window == anchor);
    put(&mut bytes, at.expect("the anchor") + skip, value, size);
    bytes
}

#[test]
fn pe_sections() {
    assert_data_eq!(
        check(&pe(b".text\0", 20, 0x7fff_ffff, 4)),
        str![[r#"
section `.text` ends at byte 2147484159, but the file has only 3584

"#]]
    );
    assert_data_eq!(
        check(&pe(b".text\0", 12, 0x2000, 4)),
        str![[r#"
section `.text` and section `.rdata` overlap

"#]]
    );
    assert_data_eq!(
        check(&pe(b"PE\0\0", 6, 9999, 2)),
        str![[r#"
the section table is malformed: Invalid COFF/PE section headers
the import table is malformed: an entry or a name lies outside of its table
the export table is malformed: an entry or a name lies outside of its table

"#]]
    );
    assert_data_eq!(
        check(&pe(b".text\0", 0, u64::from_le_bytes(*b".keyway\0"), 8)),
        str![[r#"
section `.keyway` is malformed: there is more than one

"#]]
    );
}

#[test]
fn pe_tables() {
    // The data directories begin 136 bytes after the signature: exports, imports, …; delayed is 13.
    assert_data_eq!(
        check(&pe(b"PE\0\0", 136, 0x00ff_ffff, 4)),
        str![[r#"
the export table is malformed: an entry or a name lies outside of its table

"#]]
    );
    assert_data_eq!(
        check(&pe(b"PE\0\0", 144, 0x00ff_ffff, 4)),
        str![[r#"
the import table is malformed: an entry or a name lies outside of its table

"#]]
    );
    assert_data_eq!(
        check(&pe(b"PE\0\0", 136 + 13 * 8, 0x00ff_ffff, 4)),
        str![[r#"
the delayed import table is malformed: an entry or a name lies outside of its table

"#]]
    );
    let mut optional = pe(b"PE\0\0", 20, 4, 2);
    assert_data_eq!(
        inspect(&optional).expect_err("damaged").to_string(),
        str!["the pe header is damaged: its optional header contradicts itself or ends early"]
    );
    optional.truncate(200);
    assert!(inspect(&optional).is_err());
}

#[test]
fn macho_commands() {
    let patched = |anchor: &[u8], back: usize, value: u64, size: usize| {
        let mut bytes = library("macho-x86_64.dylib");
        let at = bytes.windows(anchor.len()).position(|window| window == anchor);
        put(&mut bytes, at.expect("the anchor") - back, value, size);
        bytes
    };
    // `segname` comes after `cmd` and `cmdsize`; `fileoff` 40 bytes after it.
    let text = b"__TEXT\0\0\0\0\0\0\0\0\0\0";
    assert_data_eq!(
        check(&patched(text, 4, 4, 4)),
        str![[r#"
the list of load commands is malformed: Invalid Mach-O load command size

"#]]
    );
    let mut large = library("macho-x86_64.dylib");
    put(&mut large, 20, u64::from(u32::MAX), 4);
    assert_data_eq!(
        inspect(&large).expect_err("damaged").to_string(),
        str!["the macho header is damaged: its load commands end past the end of the file"]
    );
    let mut data = library("macho-x86_64.dylib");
    let at = data.windows(8).position(|window| window == b"__keyway").expect("the section");
    put(&mut data, at + 32, 0x10, 8);
    assert_data_eq!(
        check(&data),
        str![[r#"
section `__DATA,__keyway` is malformed: a loader does not map the bytes that it names

"#]]
    );
}

/// Many symbols that share one long name: the budget ends the work, not the patience.
#[test]
fn names_have_a_budget() {
    let mut bytes = library("macho-x86_64.dylib");
    let symtab = {
        let mut at = 32;
        while bytes[at..at + 4] != 2_u32.to_le_bytes() {
            at += u32::from_le_bytes(*bytes[at + 4..].first_chunk().expect("a size")) as usize;
        }
        at
    };
    let start = bytes.len() as u64;
    let symbols: u32 = 20_000;
    for _ in 0..symbols {
        bytes.extend([0, 0, 0, 0, 0x0f, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    let strings = bytes.len() as u64;
    bytes.extend([b'a'; 30_000]);
    bytes.push(0);
    put(&mut bytes, symtab + 8, start, 4);
    put(&mut bytes, symtab + 12, symbols.into(), 4);
    put(&mut bytes, symtab + 16, strings, 4);
    put(&mut bytes, symtab + 20, 30_001, 4);
    assert_data_eq!(
        check(&bytes),
        str![[r#"
the symbol table is malformed: its names are 4 times as long as the whole file

"#]]
    );

    // A name without an end, and one past the limit.
    let length = bytes.len();
    bytes.truncate(length - 1);
    put(&mut bytes, symtab + 20, 30_000, 4);
    assert_data_eq!(
        check(&bytes),
        str![[r#"
the symbol table is malformed: a name is longer than 32768 bytes or has no end

"#]]
    );
}

/// Each violation names what a reader needs to look at.
#[test]
fn messages() {
    let all = [
        Violation::PastTheEnd { part: "segment 2 (PT_LOAD)".to_owned(), end: 4096, size: 100 },
        Violation::Overlap { first: "section `.a`".to_owned(), second: "section `.b`".to_owned() },
        Violation::Malformed { part: "the import table".to_owned(), reason: "cut".to_owned() },
    ];
    assert_data_eq!(
        all.map(|violation| violation.to_string()).join("\n"),
        str![[r#"
segment 2 (PT_LOAD) ends at byte 4096, but the file has only 100
section `.a` and section `.b` overlap
the import table is malformed: cut
"#]]
    );
}
