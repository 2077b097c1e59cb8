//! Profiles that nobody would write.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use crate::profile::{Condition, Operator, Profile, Rule};

/// How the actions of one call's rules may differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Actions {
    /// All rules have the same action: then all that counts is whether one of them holds.
    One,
    /// They differ, and which of them counts is what libseccomp makes of their conditions: on
    /// equality of one argument.
    Several,
    /// They differ, and the conditions are any.
    Any,
}

const NAMES: [&str; 14] = [
    "read",
    "personality",
    "clone",
    "socket",
    "accept",
    "shmat",
    "semop",
    "ioctl",
    "execve",
    "_llseek",
    "arm_fadvise64_64",
    "recv",
    "openat2",
    "no_such_call",
];

/// Those that libseccomp 2.5 has.
const KNOWN: [&[&str]; 5] = [
    &[],
    &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    &["SCMP_ARCH_X32"],
    &["SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64"],
    &["SCMP_ARCH_PPC64LE", "SCMP_ARCH_RISCV64"],
];

/// Those of one machine, and many.
const MANY: [&[&str]; 5] = [
    &["SCMP_ARCH_PPC64LE", "SCMP_ARCH_RISCV64"],
    &["SCMP_ARCH_X32"],
    &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    &["SCMP_ARCH_X86", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64", "SCMP_ARCH_LOONGARCH64"],
    &["SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64N32"],
];

/// The verdicts, with their names and numbers in the config.
const VERDICTS: [(u32, &str, Option<u32>); 8] = [
    (0, "SCMP_ACT_KILL", None),
    (0x8000_0000, "SCMP_ACT_KILL_PROCESS", None),
    (0x3_0000, "SCMP_ACT_TRAP", None),
    (0x5_0001, "SCMP_ACT_ERRNO", None),
    (0x5_0026, "SCMP_ACT_ERRNO", Some(38)),
    (0x7ff0_0007, "SCMP_ACT_TRACE", Some(7)),
    (0x7ffc_0000, "SCMP_ACT_LOG", None),
    (0x7fff_0000, "SCMP_ACT_ALLOW", None),
];

fn value() -> impl Strategy<Value = u64> {
    let few = select(vec![0, 1, 2, 5, 40, 0xff, 0xffff_ffff, 1 << 32, (1 << 32) | 5, u64::MAX]);
    prop_oneof![8 => few, 1 => any::<u64>(), 1 => any::<u32>().prop_map(u64::from)]
}

fn condition(actions: Actions) -> impl Strategy<Value = Condition> {
    let all: Vec<Operator> = Operator::ALL.iter().map(|(operator, _)| *operator).collect();
    let operators = if actions == Actions::Several { vec![Operator::Eq] } else { all };
    (0_u8..6, select(operators), value(), value()).prop_map(|(index, operator, value, two)| {
        let value_two = if operator == Operator::MaskedEq { two } else { 0 };
        Condition { index, operator, value, value_two }
    })
}

fn rule(actions: Actions) -> impl Strategy<Value = Rule> {
    // libseccomp 2.5 forgets rules with several conditions where one of them is a negation: there
    // only single ones can be compared, and all kinds in the other tests.
    let most = if actions == Actions::Any { 4 } else { 2 };
    let conditions = proptest::collection::vec(condition(actions), 0..most);
    let names = subsequence(NAMES.to_vec(), 1..4);
    (names, select(VERDICTS.to_vec()), conditions).prop_map(|(names, verdict, conditions)| Rule {
        names: names.into_iter().map(str::to_owned).collect(),
        action: verdict.0,
        conditions,
    })
}

/// Whether a call has several rules, and one of them is a negation for libseccomp, which has only
/// `==`, `>` and `>=`: then it does not go on to the others where it should.
fn is_negated_beside_others(rules: &[Rule], name: &str) -> bool {
    let negations = [Operator::Ne, Operator::Lt, Operator::Le];
    let of_call: Vec<&Rule> =
        rules.iter().filter(|rule| rule.names.iter().any(|it| it == name)).collect();
    let mut conditions = of_call.iter().flat_map(|rule| &rule.conditions);
    of_call.len() > 1 && conditions.any(|it| negations.contains(&it.operator))
}

/// Profiles of a few rules.
pub fn profiles(actions: Actions) -> impl Strategy<Value = Profile> {
    let rules = proptest::collection::vec(rule(actions), 0..8);
    let forgets = "libseccomp 2.5 forgets one of them";
    let rules = rules.prop_filter(forgets, move |rules| {
        actions != Actions::One || !NAMES.iter().any(|name| is_negated_beside_others(rules, name))
    });
    let one = actions != Actions::Any;
    let architectures = select(if one { KNOWN.to_vec() } else { MANY.to_vec() });
    (select(VERDICTS.to_vec()), architectures, rules, select(VERDICTS.to_vec())).prop_map(
        move |(default, architectures, mut rules, one)| {
            if actions == Actions::One {
                rules.iter_mut().for_each(|rule| rule.action = one.0);
            }
            let profile = Profile {
                default: default.0,
                architectures: architectures.iter().map(|name| (*name).to_owned()).collect(),
                rules,
                section: Value::Null,
            };
            let section = section(&profile);
            Profile { section, ..profile }
        },
    )
}

/// The section of the config.
pub fn section(profile: &Profile) -> Value {
    let named = |action: u32| {
        let found = VERDICTS.iter().find(|(verdict, ..)| *verdict == action).expect("a verdict");
        (found.1, found.2)
    };
    let condition = |it: &Condition| {
        let operator =
            Operator::ALL.iter().find(|(known, _)| *known == it.operator).expect("one").1;
        json!({"index": it.index, "op": operator, "value": it.value, "valueTwo": it.value_two})
    };
    let rules: Vec<Value> = profile
        .rules
        .iter()
        .map(|rule| {
            let (name, errno) = named(rule.action);
            let args: Vec<Value> = rule.conditions.iter().map(condition).collect();
            json!({"names": rule.names, "action": name, "errnoRet": errno, "args": args})
        })
        .collect();
    let (name, errno) = named(profile.default);
    json!({
        "defaultAction": name, "defaultErrnoRet": errno,
        "architectures": profile.architectures, "syscalls": rules,
    })
}
