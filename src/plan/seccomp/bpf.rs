//! The third step: from the decision tree to a program for the kernel's filter machine
//! (linux/filter.h).

use super::tree::{Compare, Id, Node, Tree};
use crate::sys::filter::Instruction;

/// The most instructions that the kernel takes: BPF_MAXINSNS (linux/bpf_common.h).
pub const LONGEST: usize = 4096;

/// BPF_LD | BPF_W | BPF_ABS.
const LOAD: u16 = 0x20;
/// BPF_ALU | BPF_AND | BPF_K.
const AND: u16 = 0x54;
/// BPF_JMP | BPF_JA.
const GO: u16 = 0x05;
/// BPF_JMP | BPF_JEQ | BPF_K.
const IF_EQUAL: u16 = 0x15;
/// BPF_JMP | BPF_JGT | BPF_K.
const IF_GREATER: u16 = 0x25;
/// BPF_JMP | BPF_JGE | BPF_K.
const IF_AT_LEAST: u16 = 0x35;
/// BPF_RET | BPF_K.
const RETURN: u16 = 0x06;

/// Makes the program. A node refers only to nodes before it, and the machine jumps only forward:
/// so the program is written from its end.
#[must_use]
pub fn assemble(tree: &Tree) -> Vec<Instruction> {
    let mut program = Program {
        backwards: Vec::with_capacity(tree.nodes.len() + tree.nodes.len() / 8),
        places: Vec::with_capacity(tree.nodes.len()),
    };
    for node in &tree.nodes {
        program.add(tree, *node);
    }
    program.backwards.reverse();
    program.backwards
}

struct Program {
    /// The last instruction first.
    backwards: Vec<Instruction>,
    /// Where each node is: the place in `backwards` of the copy that is the nearest to the front.
    places: Vec<usize>,
}

impl Program {
    fn add(&mut self, tree: &Tree, node: Node) {
        match node {
            Node::Return(action) => self.push(RETURN, action),
            Node::Load { offset, mask, next } => {
                if self.distance(next) > 0 {
                    self.push(GO, self.distance(next) as u32);
                }
                if mask != u32::MAX {
                    self.push(AND, mask);
                }
                self.push(LOAD, offset);
            }
            Node::Test { compare, value, yes, no } => {
                let code = match compare {
                    Compare::Equal => IF_EQUAL,
                    Compare::Greater => IF_GREATER,
                    Compare::AtLeast => IF_AT_LEAST,
                };
                let (yes, no) = self.bring_near(tree, yes, no);
                self.backwards.push(Instruction { code, yes, no, value });
            }
        }
        self.places.push(self.backwards.len() - 1);
    }

    fn push(&mut self, code: u16, value: u32) {
        self.backwards.push(Instruction { code, yes: 0, no: 0, value });
    }

    /// How many instructions the next one would jump over to reach the node.
    fn distance(&self, node: Id) -> usize {
        self.backwards.len() - 1 - self.places[node]
    }

    /// The distances of a test, which has 8 bits for each. What is too far gets a copy of its
    /// verdict, or a jump of 32 bits; the other one is then one instruction further away.
    fn bring_near(&mut self, tree: &Tree, yes: Id, no: Id) -> (u8, u8) {
        loop {
            match (u8::try_from(self.distance(yes)), u8::try_from(self.distance(no))) {
                (Ok(yes), Ok(no)) => return (yes, no),
                (Err(_), _) => self.repeat(tree, yes),
                (_, Err(_)) => self.repeat(tree, no),
            }
        }
    }

    fn repeat(&mut self, tree: &Tree, node: Id) {
        match tree.nodes[node] {
            Node::Return(action) => self.push(RETURN, action),
            _ => self.push(GO, self.distance(node) as u32),
        }
        self.places[node] = self.backwards.len() - 1;
    }
}
