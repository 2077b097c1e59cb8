//! The kernel's filter machine, as far as a filter of system calls may use it (seccomp(2),
//! linux/filter.h): what a program answers for a call, and in how many instructions.

use hull::sys::filter::Instruction;

/// What the kernel shows a filter: `struct seccomp_data`.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub number: u32,
    pub architecture: u32,
    pub args: [u64; 6],
}

impl Call {
    /// The word at an offset, on a little-endian processor.
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            16.. => {
                let word = (offset - 16) / 4;
                (self.args[word as usize / 2] >> (32 * (word % 2))) as u32
            }
            other => panic!("a load of the word at {other}"),
        }
    }
}

/// The verdict, and how many instructions it took. Panics on what the kernel would refuse.
pub fn run(program: &[Instruction], call: &Call) -> (u32, usize) {
    let (mut register, mut at, mut steps) = (0, 0, 0);
    loop {
        let Instruction { code, yes, no, value } = program[at];
        (at, steps) = (at + 1, steps + 1);
        let jump = |holds: bool| usize::from(if holds { yes } else { no });
        match code {
            0x20 => register = call.word(value),
            0x54 => register &= value,
            0x05 => at += value as usize,
            0x15 => at += jump(register == value),
            0x25 => at += jump(register > value),
            0x35 => at += jump(register >= value),
            0x45 => at += jump(register & value != 0),
            0x06 => return (value, steps),
            other => panic!("instruction {other:#x}"),
        }
    }
}
