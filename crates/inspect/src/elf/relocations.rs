//! Relocations that say where a thread-local variable lies, as the processors' psABIs number them.

use object::elf;

/// Whether a loader writes the distance of a variable from the thread's pointer for a relocation of this
/// type, which it can only for variables that have their place from the start (`initial-exec`).
pub(super) fn is_static_tls(machine: elf::Machine, kind: elf::RelocationType) -> bool {
    match machine {
        elf::EM_386 => matches!(kind, elf::R_386_TLS_TPOFF | elf::R_386_TLS_TPOFF32),
        elf::EM_AARCH64 => kind == elf::R_AARCH64_TLS_TPREL,
        elf::EM_ARM => kind == elf::R_ARM_TLS_TPOFF32,
        elf::EM_PPC64 => kind == elf::R_PPC64_TPREL64,
        elf::EM_RISCV => matches!(kind, elf::R_RISCV_TLS_TPREL32 | elf::R_RISCV_TLS_TPREL64),
        elf::EM_S390 => kind == elf::R_390_TLS_TPOFF,
        elf::EM_X86_64 => matches!(kind, elf::R_X86_64_TPOFF32 | elf::R_X86_64_TPOFF64),
        _ => false,
    }
}
