//! The rules as a program of type BPF_PROG_TYPE_CGROUP_DEVICE, which the kernel runs for every
//! open(2) and mknod(2) of a device (cgroup-v2.rst, "Device controller"; bpf(2)).
//!
//! The rules are gone through from the last one to the first, and what is asked for is crossed off
//! as it is allowed: an access is allowed when each part of it is, by whichever rule.

use super::devices::{MKNOD, READ, Rule, Rules, WRITE};
use crate::sys::bpf::Instruction;

/// Registers (linux/bpf.h). The context is in the first argument, the answer in the result.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// Operation codes: class, size or source, operation (linux/bpf.h, linux/bpf_common.h).
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb4;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP: u8 = 0x05;
const JUMP_IF_NOT_EQUAL: u8 = 0x56;
const JUMP_IF_ANY_BIT: u8 = 0x46;
const EXIT: u8 = 0x95;

/// `struct bpf_cgroup_dev_ctx`: the access in the upper half of the first word, the kind of device
/// in the lower; then the numbers.
const ACCESS_OFFSET: i16 = 0;
const MAJOR_OFFSET: i16 = 4;
const MINOR_OFFSET: i16 = 8;

/// The program for these rules. It answers 1 to allow and 0 to deny.
#[must_use]
pub fn program(rules: &Rules) -> Vec<Instruction> {
    let load = |register, offset| Instruction::new(LOAD_WORD, register, CONTEXT, offset, 0);
    let mut program = vec![
        load(KIND, ACCESS_OFFSET),
        load(ASKED, ACCESS_OFFSET),
        compute(AND, KIND, 0xffff),
        compute(SHIFT_RIGHT, ASKED, 16),
        load(MAJOR, MAJOR_OFFSET),
        load(MINOR, MINOR_OFFSET),
        // access(2) may ask for no more than whether the file is there.
        jump(JUMP_IF_NOT_EQUAL, ASKED, 0, 2),
    ];
    program.extend(answer(true));
    for rule in rules.rules.iter().rev() {
        append(rule, &mut program);
    }
    program.extend(answer(rules.otherwise));
    program
}

/// The conditions jump behind the verdict when they are not met.
fn append(rule: &Rule, program: &mut Vec<Instruction>) {
    let verdict = verdict(rule);
    let kind = rule.kind.map(|kind| kind as u32);
    let conditions = [(KIND, kind), (MAJOR, rule.major), (MINOR, rule.minor)];
    let conditions: Vec<(u8, u32)> =
        conditions.into_iter().filter_map(|(register, wanted)| Some((register, wanted?))).collect();
    for (index, (register, wanted)) in conditions.iter().enumerate() {
        let behind = conditions.len() - index - 1 + verdict.len();
        program.push(jump(JUMP_IF_NOT_EQUAL, *register, *wanted, behind as i16));
    }
    program.extend(verdict);
}

fn verdict(rule: &Rule) -> Vec<Instruction> {
    let access = u32::from(rule.access);
    let [result, exit] = answer(rule.allow);
    if rule.access == READ | WRITE | MKNOD {
        vec![result, exit]
    } else if rule.allow {
        let rest = compute(AND, ASKED, !access);
        vec![rest, jump(JUMP_IF_NOT_EQUAL, ASKED, 0, 2), result, exit]
    } else {
        let pass = jump(JUMP, 0, 0, 2);
        vec![jump(JUMP_IF_ANY_BIT, ASKED, access, 1), pass, result, exit]
    }
}

fn answer(allow: bool) -> [Instruction; 2] {
    [compute(MOVE, RESULT, u32::from(allow)), Instruction::new(EXIT, 0, 0, 0, 0)]
}

fn compute(code: u8, register: u8, value: u32) -> Instruction {
    Instruction::new(code, register, 0, 0, value.cast_signed())
}

/// All comparisons are of 32 bits: a number of 64 would be extended by its sign.
fn jump(code: u8, register: u8, value: u32, over: i16) -> Instruction {
    Instruction::new(code, register, 0, over, value.cast_signed())
}
