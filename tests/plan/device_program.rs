//! The BPF program of device rules, run by an interpreter that knows only bpf(2) and nothing of how
//! the program was made, against what the rules say.

use hull::plan::Problems;
use hull::plan::resources::devices::{self, Kind, MKNOD, READ, Rule, Rules, WRITE};
use hull::plan::resources::program::program;
use hull::spec::resources::DeviceRule;
use hull::sys::bpf::Instruction;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::random::holds;

/// What the kernel asks the program.
#[derive(Clone, Copy, Debug)]
struct Access {
    kind: Kind,
    major: u32,
    minor: u32,
    access: u8,
}

// ------------------------------------------------------------- the interpreter

/// The answer of a program: linux/bpf.h, "Instruction set". Panics at what the verifier refuses: an
/// unknown instruction, a register that was not written, a jump backwards or out of the program.
fn run(program: &[Instruction], asked: Access) -> u64 {
    let context = [u32::from(asked.access) << 16 | asked.kind as u32, asked.major, asked.minor];
    let mut registers: [Option<u64>; 11] = [None; 11];
    let mut at = 0;
    loop {
        let Instruction { code, registers: both, offset, immediate } = program[at];
        let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
        let operand = immediate.cast_unsigned();
        let value = |registers: &[Option<u64>; 11]| registers[to].expect("it was written");
        let low = |registers: &[Option<u64>; 11]| value(registers) as u32;
        at += 1;
        match code {
            // BPF_LDX | BPF_MEM | BPF_W, of the context.
            0x61 => {
                assert_eq!((from, offset % 4), (1, 0), "only the context is read, by words");
                let index = usize::try_from(offset / 4).expect("it is in the context");
                registers[to] = Some(context[index].into());
            }
            // BPF_ALU | BPF_K: MOV, AND, RSH. The upper half becomes 0.
            0xb4 => registers[to] = Some(operand.into()),
            0x54 => registers[to] = Some((low(&registers) & operand).into()),
            0x74 => registers[to] = Some((low(&registers) >> operand).into()),
            0x95 => return registers[0].expect("there is an answer"),
            // BPF_JMP | BPF_JA; BPF_JMP32 | BPF_K: JEQ, JNE, JSET.
            0x05 | 0x16 | 0x56 | 0x46 => {
                let jumps = match code {
                    0x05 => true,
                    0x16 => low(&registers) == operand,
                    0x56 => low(&registers) != operand,
                    _ => low(&registers) & operand != 0,
                };
                at += if jumps { usize::try_from(offset).expect("a jump forwards") } else { 0 };
            }
            other => panic!("instruction {other:#x}"),
        }
    }
}

// ---------------------------------------------------------------- the table

/// Entries of a config: allow, type, major, minor, access.
type Entry = (bool, &'static str, Option<i64>, Option<i64>, &'static str);

fn planned(entries: &[Entry]) -> Rules {
    let entry = |(allow, kind, major, minor, access): &Entry| DeviceRule {
        allow: Some(*allow),
        kind: Some((*kind).to_owned()),
        major: *major,
        minor: *minor,
        access: Some((*access).to_owned()),
    };
    let entries: Vec<DeviceRule> = entries.iter().map(entry).collect();
    let mut problems = Problems::default();
    let rules = devices::plan("/devices", &entries, &mut problems);
    assert_eq!(problems.count(), 0);
    rules
}

/// `c 1:3 rw`, as an access.
fn access(text: &str) -> Access {
    let [kind, number, letters] = text.split(' ').collect::<Vec<_>>()[..] else {
        panic!("three words");
    };
    let (major, minor) = number.split_once(':').expect("two numbers");
    let bit = |letter| match letter {
        'r' => READ,
        'w' => WRITE,
        'm' => MKNOD,
        _ => 0,
    };
    Access {
        kind: if kind == "b" { Kind::Block } else { Kind::Character },
        major: major.parse().expect("a number"),
        minor: minor.parse().expect("a number"),
        access: letters.chars().map(bit).sum(),
    }
}

#[test]
fn rules_decide_as_the_specification_says() {
    const NONE: Option<i64> = None;
    let deny_all: Entry = (false, "a", NONE, NONE, "rwm");
    let allow_all: Entry = (true, "a", NONE, NONE, "rwm");
    let disk: Entry = (true, "b", Some(8), Some(0), "r");
    let cases: [(&[Entry], &[&str], &[&str]); 12] = [
        // Without a rule: the default devices, and mknod(2) of any.
        (
            &[],
            &[
                "c 1:3 rw",
                "c 1:5 r",
                "c 5:0 rw",
                "c 5:2 rw",
                "c 136:7 rw",
                "b 8:0 m",
                "c 10:200 rw",
            ],
            &["b 8:0 r", "b 8:0 rm", "c 1:1 r", "c 10:229 rw", "b 1:3 r", "c 5:1 rw"],
        ),
        (&[deny_all], &["c 1:3 rwm", "b 8:0 m", "b 8:0 -"], &["b 8:0 r"]),
        (&[allow_all], &["b 8:0 rwm", "c 4095:1048575 rwm"], &[]),
        // "The runtime MUST apply entries in the listed order."
        (&[allow_all, deny_all], &["c 1:3 rw"], &["b 8:0 r"]),
        (&[deny_all, allow_all], &["b 8:0 rw"], &[]),
        (&[disk, deny_all], &[], &["b 8:0 r"]),
        (
            &[deny_all, disk],
            &["b 8:0 r", "b 8:0 rm"],
            &["b 8:0 w", "b 8:0 rw", "b 8:1 r", "c 8:0 r"],
        ),
        (&[disk, (true, "b", Some(8), NONE, "w")], &["b 8:0 rw", "b 8:1 w"], &["b 8:1 rw"]),
        // A default device that is denied by its number stays denied.
        (&[(false, "c", Some(1), Some(3), "rwm")], &["c 1:5 rw"], &["c 1:3 r", "c 1:3 m"]),
        (
            &[allow_all, (false, "c", Some(10), NONE, "w")],
            &["c 10:5 rm"],
            &["c 10:5 rw", "c 10:6 w"],
        ),
        (&[(false, "a", NONE, NONE, "m")], &["c 1:3 rw"], &["c 1:3 m", "b 8:0 m"]),
        (&[(true, "a", Some(250), Some(-1), "")], &["c 250:1 rw", "b 250:2 rwm"], &["c 251:1 r"]),
    ];
    for (entries, allowed, denied) in cases {
        let rules = planned(entries);
        let program = program(&rules);
        for (texts, expected) in [(allowed, 1), (denied, 0)] {
            for text in texts {
                assert_eq!(run(&program, access(text)), expected, "{text} with\n{rules}");
            }
        }
    }
}

#[test]
fn only_rules_without_a_denial_allow_all() {
    assert!(planned(&[(true, "a", None, None, "rwm")]).allow_all());
    assert!(planned(&[(true, "a", None, None, ""), (true, "c", Some(1), None, "r")]).allow_all());
    assert!(!planned(&[]).allow_all());
    assert!(!planned(&[(true, "a", None, None, ""), (false, "c", Some(1), None, "r")]).allow_all());
}

// ------------------------------------------------------------- any rules at all

fn kind() -> impl Strategy<Value = Kind> {
    select(vec![Kind::Block, Kind::Character])
}

/// Few numbers, so that rules speak of what is asked; and those whose sign is set.
fn number() -> impl Strategy<Value = u32> {
    select(vec![0, 1, 3, 8, 0x7fff_ffff, 0x8000_0000, u32::MAX])
}

fn rule() -> impl Strategy<Value = Rule> {
    let fields = (any::<bool>(), of(kind()), of(number()), of(number()), 1..=7_u8);
    fields.prop_map(|(allow, kind, major, minor, access)| Rule {
        allow,
        kind,
        major,
        minor,
        access,
    })
}

/// Of each letter the last rule that speaks of it decides.
fn expected(rules: &Rules, asked: Access) -> bool {
    let speaks = |rule: &&Rule, letter: u8| {
        rule.access & letter != 0
            && rule.kind.is_none_or(|kind| kind == asked.kind)
            && rule.major.is_none_or(|major| major == asked.major)
            && rule.minor.is_none_or(|minor| minor == asked.minor)
    };
    [READ, WRITE, MKNOD].into_iter().filter(|letter| asked.access & letter != 0).all(|letter| {
        let last = rules.rules.iter().rfind(|rule| speaks(rule, letter));
        last.map_or(rules.otherwise, |rule| rule.allow)
    })
}

#[test]
fn the_program_says_what_the_rules_say() {
    let rules = (vec(rule(), 0..8), any::<bool>());
    let asked = (kind(), number(), number(), 0..=7_u8);
    holds((rules, vec(asked, 16)), |((rules, otherwise), asked)| {
        let rules = Rules { otherwise, rules, are_asked_for: true };
        let program = program(&rules);
        for (kind, major, minor, access) in asked {
            let asked = Access { kind, major, minor, access };
            let answer = run(&program, asked);
            prop_assert_eq!(answer, u64::from(expected(&rules, asked)), "{:?} {}", asked, rules);
        }
        Ok(())
    });
}
