//! The architectures of config-linux.md, "Seccomp": how a filter sees their calls (seccomp(2),
//! linux/audit.h).

use super::syscalls::COLUMNS;

/// One system call interface. A processor may have several: x86_64 has three.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// The name in the config.
    pub name: &'static str,
    /// `seccomp_data.arch`: AUDIT_ARCH_*.
    pub audit: u32,
    /// Where the table has its numbers.
    pub column: usize,
    /// Whether an argument is a 32-bit word, of which the upper half is not looked at.
    pub is_32: bool,
    /// Whether the upper half of a 64-bit argument comes first.
    pub is_big_endian: bool,
    /// The first and the last number that can be one of its calls.
    pub numbers: (u32, u32),
}

/// Added to the numbers of x32 (asm/unistd.h).
pub const X32_BIT: u32 = 0x4000_0000;

const IS_64: u32 = 0x8000_0000;
const LITTLE: u32 = 0x4000_0000;
/// __AUDIT_ARCH_CONVENTION_MIPS64_N32.
const N32: u32 = 0x2000_0000;

/// EM_* (linux/elf-em.h).
mod machine {
    pub const I386: u32 = 3;
    pub const M68K: u32 = 4;
    pub const MIPS: u32 = 8;
    pub const PARISC: u32 = 15;
    pub const PPC: u32 = 20;
    pub const PPC64: u32 = 21;
    pub const S390: u32 = 22;
    pub const ARM: u32 = 40;
    pub const SH: u32 = 42;
    pub const X86_64: u32 = 62;
    pub const AARCH64: u32 = 183;
    pub const RISCV: u32 = 243;
    pub const LOONGARCH: u32 = 258;
}

/// All that the config may name, sorted.
pub static ARCHITECTURES: [Architecture; 23] = [
    of("SCMP_ARCH_AARCH64", machine::AARCH64 | IS_64 | LITTLE, "aarch64"),
    of("SCMP_ARCH_ARM", machine::ARM | LITTLE, "arm"),
    of("SCMP_ARCH_LOONGARCH64", machine::LOONGARCH | IS_64 | LITTLE, "loongarch64"),
    of("SCMP_ARCH_M68K", machine::M68K, "m68k"),
    of("SCMP_ARCH_MIPS", machine::MIPS, "mips"),
    of("SCMP_ARCH_MIPS64", machine::MIPS | IS_64, "mips64"),
    Architecture {
        is_32: true,
        ..of("SCMP_ARCH_MIPS64N32", machine::MIPS | IS_64 | N32, "mips64n32")
    },
    of("SCMP_ARCH_MIPSEL", machine::MIPS | LITTLE, "mips"),
    of("SCMP_ARCH_MIPSEL64", machine::MIPS | IS_64 | LITTLE, "mips64"),
    Architecture {
        is_32: true,
        ..of("SCMP_ARCH_MIPSEL64N32", machine::MIPS | IS_64 | LITTLE | N32, "mips64n32")
    },
    of("SCMP_ARCH_PARISC", machine::PARISC, "parisc"),
    of("SCMP_ARCH_PARISC64", machine::PARISC | IS_64, "parisc64"),
    of("SCMP_ARCH_PPC", machine::PPC, "ppc"),
    of("SCMP_ARCH_PPC64", machine::PPC64 | IS_64, "ppc64"),
    of("SCMP_ARCH_PPC64LE", machine::PPC64 | IS_64 | LITTLE, "ppc64"),
    of("SCMP_ARCH_RISCV64", machine::RISCV | IS_64 | LITTLE, "riscv64"),
    of("SCMP_ARCH_S390", machine::S390, "s390"),
    of("SCMP_ARCH_S390X", machine::S390 | IS_64, "s390x"),
    of("SCMP_ARCH_SH", machine::SH | LITTLE, "sh"),
    of("SCMP_ARCH_SHEB", machine::SH, "sh"),
    // The kernel gives x32 the same AUDIT_ARCH as x86_64: the numbers tell them apart.
    Architecture {
        is_32: true,
        numbers: (X32_BIT, u32::MAX - 1),
        ..of("SCMP_ARCH_X32", machine::X86_64 | IS_64 | LITTLE, "x32")
    },
    of("SCMP_ARCH_X86", machine::I386 | LITTLE, "x86"),
    Architecture {
        numbers: (0, X32_BIT - 1),
        ..of("SCMP_ARCH_X86_64", machine::X86_64 | IS_64 | LITTLE, "x86_64")
    },
];

/// The one that this program is built for: it is part of every filter, whether named or not.
pub static NATIVE: &Architecture = {
    let name = if cfg!(target_arch = "x86_64") {
        "SCMP_ARCH_X86_64"
    } else if cfg!(target_arch = "aarch64") {
        "SCMP_ARCH_AARCH64"
    } else if cfg!(target_arch = "riscv64") {
        "SCMP_ARCH_RISCV64"
    } else if cfg!(target_arch = "loongarch64") {
        "SCMP_ARCH_LOONGARCH64"
    } else if cfg!(target_arch = "s390x") {
        "SCMP_ARCH_S390X"
    } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
        "SCMP_ARCH_PPC64LE"
    } else if cfg!(target_arch = "arm") {
        "SCMP_ARCH_ARM"
    } else if cfg!(target_arch = "x86") {
        "SCMP_ARCH_X86"
    } else {
        panic!("the architecture that is built for has no row here")
    };
    let mut at = 0;
    while !is_same(ARCHITECTURES[at].name, name) {
        at += 1;
    }
    &ARCHITECTURES[at]
};

impl Architecture {
    /// Looks a name of the config up.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        let found = ARCHITECTURES.binary_search_by(|known| known.name.cmp(name)).ok()?;
        Some(&ARCHITECTURES[found])
    }

    /// What is added to the numbers of the table.
    #[must_use]
    pub fn bit(&self) -> u32 {
        self.numbers.0
    }
}

const fn of(name: &'static str, audit: u32, column: &str) -> Architecture {
    let mut at = 0;
    while !is_same(COLUMNS[at], column) {
        at += 1;
    }
    let (is_32, is_big_endian) = (audit & IS_64 == 0, audit & LITTLE == 0);
    // The last one, -1, is what a tracer makes of a call that is to be skipped (seccomp(2)).
    Architecture { name, audit, column: at, is_32, is_big_endian, numbers: (0, u32::MAX - 1) }
}

/// `==` of texts, which a constant cannot use.
const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted_for_the_search() {
        assert!(ARCHITECTURES.is_sorted_by_key(|architecture| architecture.name));
        assert_eq!(Architecture::named("SCMP_ARCH_X86").unwrap().audit, 0x4000_0003);
        assert_eq!(Architecture::named("SCMP_ARCH_VAX"), None);
    }
}
