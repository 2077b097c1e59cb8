//! The compiler of seccomp profiles: its filters run in a machine of the tests, beside those of
//! libseccomp and beside the kernel itself.

use std::collections::BTreeMap;

use hull::plan::seccomp::architectures::{ARCHITECTURES, Architecture, NATIVE};
use hull::plan::seccomp::syscalls::{self, COLUMNS};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

#[path = "seccomp/machine.rs"]
mod machine;
#[path = "seccomp/made_up.rs"]
mod made_up;
#[path = "seccomp/oracle.rs"]
mod oracle;
#[path = "seccomp/profile.rs"]
mod profile;

use machine::Call;
use profile::{Profile, try_compile};

const ALLOW: u32 = 0x7fff_0000;
const ENOSYS: u32 = 0x5_0026;

fn named(name: &str) -> &'static Architecture {
    Architecture::named(name).expect(name)
}

/// A call by its name.
fn call(architecture: &str, name: &str, args: [u64; 6]) -> Call {
    let architecture = named(architecture);
    let number = syscalls::Call::named(name).and_then(|call| call.number(architecture.column));
    let number = number.expect(name) + architecture.numbers.0;
    Call { number, architecture: architecture.audit, args }
}

fn verdict(section: &Value, call: &Call) -> u32 {
    machine::run(&Profile::new(section.clone()).compile(), call).0
}

// ------------------------------------------------------- what a profile means

#[test]
fn each_operator_compares_64_bits_or_on_a_32_bit_architecture_32() {
    let high = 1 << 32;
    for (op, value, two, holds, fails) in [
        ("SCMP_CMP_NE", 5, 0, vec![4, 6, high | 5], vec![5]),
        ("SCMP_CMP_LT", 5, 0, vec![0, 4], vec![5, high]),
        ("SCMP_CMP_LE", 5, 0, vec![0, 5], vec![6, high]),
        ("SCMP_CMP_EQ", high | 5, 0, vec![high | 5], vec![5, high]),
        ("SCMP_CMP_GE", high, 0, vec![high, high | 1, u64::MAX], vec![high - 1, 0]),
        ("SCMP_CMP_GT", high, 0, vec![high | 1, u64::MAX], vec![high, 1]),
        ("SCMP_CMP_MASKED_EQ", 0xf0, 0x10, vec![0x10, 0x1f, high | 0x11], vec![0x20, 0]),
        ("SCMP_CMP_MASKED_EQ", high, high, vec![high, u64::MAX], vec![0, 1]),
    ] {
        let section = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 2, "op": op, "value": value, "valueTwo": two}]}]});
        let answer = |architecture, value| {
            verdict(&section, &call(architecture, "read", [9, 9, value, 9, 9, 9]))
        };
        for value in holds {
            assert_eq!(answer("SCMP_ARCH_X86_64", value), 0x5_0001, "{op} {value:#x}");
        }
        for other in fails {
            assert_eq!(answer("SCMP_ARCH_X86_64", other), ALLOW, "{op} {other:#x}");
        }
    }
    let section = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [
            {"index": 0, "op": "SCMP_CMP_EQ", "value": 5}]}]});
    let upper = call("SCMP_ARCH_X86", "read", [high | 5, 0, 0, 0, 0, 0]);
    assert_eq!(verdict(&section, &upper), 0x5_0001);
}

#[test]
fn conditions_hold_together_but_each_alone_if_two_are_of_one_argument() {
    let section = |second: u32| {
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 0, "op": "SCMP_CMP_EQ", "value": 5},
                {"index": second, "op": "SCMP_CMP_EQ", "value": 6}]}]})
    };
    let answer = |second, a, b| {
        verdict(&section(second), &call("SCMP_ARCH_X86_64", "read", [a, b, 0, 0, 0, 0]))
    };
    assert_eq!([answer(1, 5, 6), answer(1, 5, 5), answer(1, 6, 6)], [0x5_0001, ALLOW, ALLOW]);
    assert_eq!([answer(0, 5, 0), answer(0, 6, 0), answer(0, 7, 0)], [0x5_0001, 0x5_0001, ALLOW]);
}

#[test]
fn a_call_that_is_newer_than_the_profile_does_not_exist() {
    let section = |default: &str, errno: Option<u32>| {
        json!({
            "defaultAction": default, "defaultErrnoRet": errno,
            "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_S390X", "SCMP_ARCH_ARM"],
            "syscalls": [{"names": ["read", "openat2", "cacheflush"], "action": "SCMP_ACT_ALLOW"}]})
    };
    let number = |architecture, number| Call {
        number,
        architecture: named(architecture).audit,
        args: [0; 6],
    };
    for (default, errno, expected) in [
        ("SCMP_ACT_ERRNO", None, ENOSYS),
        ("SCMP_ACT_ERRNO", Some(13), ENOSYS),
        ("SCMP_ACT_ERRNO", Some(38), ENOSYS),
        ("SCMP_ACT_KILL", None, ENOSYS),
        ("SCMP_ACT_KILL_PROCESS", None, ENOSYS),
        ("SCMP_ACT_TRAP", None, ENOSYS),
        ("SCMP_ACT_ALLOW", None, ALLOW),
        ("SCMP_ACT_LOG", None, 0x7ffc_0000),
        ("SCMP_ACT_TRACE", None, 0x7ff0_0001),
    ] {
        let profile = Profile::new(section(default, errno));
        let program = profile.compile();
        let answer = |call| machine::run(&program, &call).0;
        // openat2 is 437 everywhere.
        for (architecture, newer) in [
            ("SCMP_ARCH_X86_64", 438),
            ("SCMP_ARCH_X86_64", 0x3fff_ffff),
            ("SCMP_ARCH_X86", 438),
            ("SCMP_ARCH_X32", 0x4000_0000 + 438),
            ("SCMP_ARCH_ARM", 438),
        ] {
            assert_eq!(answer(number(architecture, newer)), expected, "{default} {architecture}");
        }
        let older = profile.default;
        assert_eq!(answer(number("SCMP_ARCH_X86_64", 436)), older, "{default}");
        assert_eq!(answer(number("SCMP_ARCH_X86_64", u32::MAX)), older, "{default}");
        assert_eq!(answer(number("SCMP_ARCH_ARM", 0xf_0001)), older, "{default}");
        assert_eq!(answer(number("SCMP_ARCH_ARM", 0xf_0002)), ALLOW, "{default}");
        // What s390 shows for a call that its kernel does not have.
        assert_eq!(answer(number("SCMP_ARCH_S390X", 0)), expected, "{default}");
    }
}

#[test]
fn a_call_of_an_architecture_that_is_not_named_kills() {
    let read = json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]);
    let section = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": read});
    let answer = |architecture| verdict(&section, &call(architecture, "read", [0; 6]));
    assert_eq!(answer(NATIVE.name), ALLOW);
    for other in ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"] {
        assert_eq!(answer(other), 0, "{other}");
        let section = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": [other], "syscalls": read});
        assert_eq!(verdict(&section, &call(other, "read", [0; 6])), ALLOW, "{other}");
    }
}

#[test]
fn calls_behind_socketcall_and_ipc_are_found_there() {
    let section = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": ["socket", "accept", "shmat"], "action": "SCMP_ACT_ALLOW"}]});
    let answer =
        |name, first| verdict(&section, &call("SCMP_ARCH_X86", name, [first, 0, 0, 0, 0, 0]));
    assert_eq!([answer("socket", 0), answer("shmat", 0)], [ALLOW; 2]);
    assert_eq!([answer("socketcall", 1), answer("socketcall", 5), answer("ipc", 21)], [ALLOW; 3]);
    assert_eq!([answer("socketcall", 2), answer("ipc", 1)], [0x5_0001; 2]);
}

#[test]
fn unknown_names_are_skipped() {
    let section = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["no_such_call", "read"], "action": "SCMP_ACT_ALLOW"}]});
    assert_eq!(verdict(&section, &call(NATIVE.name, "read", [0; 6])), ALLOW);
}

// ---------------------------------------------------------------- what is wrong

#[test]
fn what_is_wrong_is_named_by_its_place() {
    let rule = |rule: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    let argument = |index: u64, op: &str| {
        rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": index, "op": op, "value": 1}]}))
    };
    let same = |action: &str| {
        json!({"names": ["read"], "action": action, "errnoRet": null,
            "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}]})
    };
    for (section, pointer) in [
        (json!({"defaultAction": "SCMP_ACT_X"}), "/linux/seccomp/defaultAction: unknown action"),
        (json!({}), "/linux/seccomp/defaultAction: unknown action"),
        (
            json!({"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1}),
            "/linux/seccomp/defaultErrnoRet: SCMP_ACT_KILL has no error number",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}),
            "/linux/seccomp/defaultErrnoRet: 4096, at most 4095",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_VAX"]}),
            "/linux/seccomp/architectures/0: unknown architecture",
        ),
        (
            rule(json!({"names": ["read"], "action": "ALLOW"})),
            "/linux/seccomp/syscalls/0/action: unknown action",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_LOG", "errnoRet": 1})),
            "/linux/seccomp/syscalls/0/errnoRet: SCMP_ACT_LOG has no error number",
        ),
        (
            rule(json!({"names": [], "action": "SCMP_ACT_LOG"})),
            "/linux/seccomp/syscalls/0/names: must have at least one entry",
        ),
        (
            rule(json!({"names": ["write"], "action": "SCMP_ACT_NOTIFY"})),
            "/linux/seccomp/syscalls/0/action: SCMP_ACT_NOTIFY cannot be used for write",
        ),
        (argument(6, "SCMP_CMP_EQ"), "/linux/seccomp/syscalls/0/args/0/index: 6, at most 5"),
        (argument(0, "=="), "/linux/seccomp/syscalls/0/args/0/op: unknown operator"),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [same("SCMP_ACT_ERRNO"), same("SCMP_ACT_KILL")]}),
            "/linux/seccomp/syscalls/1: contradicts syscalls/0",
        ),
    ] {
        let (_, wrong) = try_compile(&section);
        assert!(wrong.contains(pointer), "{section}: {wrong}");
    }
}

#[test]
fn a_profile_that_no_filter_can_hold_is_wrong() {
    let rule = |value: u32| {
        json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "op": "SCMP_CMP_EQ", "value": value},
            {"index": 1, "op": "SCMP_CMP_EQ", "value": value}]})
    };
    let section = |rules: u32| {
        let rules: Vec<Value> = (0..rules).map(rule).collect();
        json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules})
    };
    assert_eq!(try_compile(&section(450)).1, "");
    let (_, wrong) = try_compile(&section(100_000));
    let (starts, ends) = ("/linux/seccomp/syscalls: ", "the arguments of ioctl alone take 800001");
    assert!(wrong.contains(starts) && wrong.ends_with(ends), "{wrong}");
    assert!(wrong.contains(" instructions, the kernel takes 4096; "), "{wrong}");
}

// ------------------------------------------------------------------ the oracles

/// Calls that tell filters of a profile apart: each number that it names and those around it, with
/// each value that it compares and those around that.
fn calls(profile: &Profile) -> impl Strategy<Value = Call> + use<> {
    let mut architectures: Vec<_> = profile.decided();
    architectures.push(named("SCMP_ARCH_X86"));
    let mut values = vec![0, 1, u64::MAX, u64::from(u32::MAX), 1 << 32];
    let mut names = vec!["read".to_owned(), "socketcall".to_owned(), "ipc".to_owned()];
    for rule in &profile.rules {
        names.extend_from_slice(&rule.names);
        for condition in &rule.conditions {
            for value in [condition.value, condition.value_two] {
                values.extend([
                    value,
                    value.wrapping_add(1),
                    value.wrapping_sub(1),
                    value ^ 1 << 32,
                ]);
                values.push(condition.value & condition.value_two);
            }
        }
    }
    let number = (0..names.len(), prop_oneof![6 => Just(0_i64), 1 => Just(1), 1 => Just(-1)]);
    let args = proptest::collection::vec(proptest::sample::select(values), 6);
    let odd = prop_oneof![Just(u32::MAX), Just(0x4000_0000), Just(0x3fff_ffff), Just(1000_u32)];
    (proptest::sample::select(architectures), number, args, proptest::option::weighted(0.1, odd))
        .prop_map(move |(architecture, (name, offset), args, odd)| {
            let known = syscalls::Call::named(&names[name]);
            let number = known.and_then(|call| call.number(architecture.column)).unwrap_or(5000);
            let number = (i64::from(number) + offset).max(0) as u32 + architecture.numbers.0;
            let args = [args[0], args[1], args[2], args[3], args[4], args[5]];
            Call { number: odd.unwrap_or(number), architecture: architecture.audit, args }
        })
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

/// 1000 profiles, 100 calls of each: 100 000 verdicts.
fn compare(profiles: impl Strategy<Value = Profile>) {
    let Some(libseccomp) = oracle::build("libseccomp.c", &["-lseccomp"]) else {
        eprintln!("ignored: needs cc and libseccomp-dev");
        return;
    };
    let with_calls = profiles.prop_flat_map(|profile| {
        let calls = proptest::collection::vec(calls(&profile), 100);
        (Just(profile), calls)
    });
    let compared = runner(1000).run(&with_calls, |(profile, calls)| {
        let Some(theirs) = oracle::libseccomp(&libseccomp, &profile) else {
            return Err(TestCaseError::reject("libseccomp refuses it"));
        };
        let ours = profile.compile();
        // The call that the oracle has a rule of its own for.
        let is_ours = |call: &&Call| {
            let of = |it: &&Architecture| it.audit == call.architecture;
            let getpid = syscalls::Call::named("getpid").expect("a call");
            let numbers = ARCHITECTURES
                .iter()
                .filter(of)
                .map(|it| getpid.number(it.column).map(|number| number + it.numbers.0));
            !numbers.into_iter().any(|number| number == Some(call.number))
        };
        for call in calls.iter().filter(is_ours) {
            let (ours, _) = machine::run(&ours, call);
            let theirs = if profile.is_newer(call) { ours } else { oracle::verdict(&theirs, call) };
            prop_assert_eq!(ours, theirs, "{:x?} of {}", call, profile.section);
        }
        Ok(())
    });
    compared.unwrap();
}

#[test]
fn profiles_with_one_action_for_a_call_are_decided_as_by_libseccomp() {
    compare(made_up::profiles(made_up::Actions::One));
}

#[test]
fn profiles_with_several_actions_for_a_call_are_decided_as_by_libseccomp() {
    compare(made_up::profiles(made_up::Actions::Several));
}

#[test]
fn a_verdict_is_that_of_a_rule_that_holds() {
    let profiles = made_up::profiles(made_up::Actions::Any).prop_flat_map(|profile| {
        let calls = proptest::collection::vec(calls(&profile), 50);
        (Just(profile), calls)
    });
    let is_behind = |call: &Call| {
        let of = |architecture: &Architecture| {
            let numbers = ["socketcall", "ipc"].map(|name| {
                syscalls::Call::named(name).and_then(|call| call.number(architecture.column))
            });
            architecture.audit == call.architecture && numbers.contains(&Some(call.number))
        };
        ARCHITECTURES.iter().any(of)
    };
    let held = runner(1000).run(&profiles, |(profile, calls)| {
        let (program, wrong) = try_compile(&profile.section);
        if !wrong.is_empty() {
            return Err(TestCaseError::reject("it contradicts itself"));
        }
        for call in calls.iter().filter(|call| !is_behind(call)) {
            let (verdict, _) = machine::run(&program, call);
            let possible = profile.possible(call);
            prop_assert!(
                possible.contains(&verdict),
                "{verdict:#x} not in {possible:x?}: {call:x?}"
            );
        }
        Ok(())
    });
    held.unwrap();
}

/// Every call of every architecture of the profile, with arguments that its rules compare.
fn all_calls(profile: &Profile) -> Vec<Call> {
    let values = [0, 1, 8, 40, 0x20000, 0x7e02_0000, 0xffff_ffff, 1 << 40, u64::MAX];
    let mut calls = Vec::new();
    for architecture in profile.decided() {
        for number in 0..=600 {
            for value in values {
                let number = number + architecture.numbers.0;
                calls.push(Call { number, architecture: architecture.audit, args: [value; 6] });
            }
        }
    }
    calls
}

#[test]
fn the_profiles_of_engines_are_decided_as_by_libseccomp() {
    let Some(libseccomp) = oracle::build("libseccomp.c", &["-lseccomp"]) else {
        eprintln!("ignored: needs cc and libseccomp-dev");
        return;
    };
    for path in Profile::installed() {
        let profile = Profile::of_engine(&path);
        let (ours, theirs) = (profile.compile(), oracle::libseccomp(&libseccomp, &profile));
        let theirs = theirs.expect("libseccomp takes it");
        // What is newer than this libseccomp is no rule for it.
        let known = all_calls(&profile).into_iter().filter(|call| call.number & 0xfff <= 450);
        for call in known.filter(|call| !profile.is_newer(call)) {
            let (ours, _) = machine::run(&ours, &call);
            assert_eq!(ours, oracle::verdict(&theirs, &call), "{path:?}: {call:x?}");
        }
    }
}

#[test]
fn the_profiles_of_engines_take_few_instructions() {
    for path in Profile::installed() {
        let profile = Profile::of_engine(&path);
        let program = profile.compile();
        let native = all_calls(&profile);
        let native = native.iter().filter(|call| call.architecture == NATIVE.audit);
        let most = native.map(|call| machine::run(&program, call).1).max().unwrap_or_default();
        assert!(most <= 20, "{path:?}: {most} instructions");
        assert!(program.len() < 1000, "{path:?}: {} instructions", program.len());
    }
}

/// The same filter with an error number in the place of each verdict, so that no call is done.
fn harmless(
    program: &[hull::sys::filter::Instruction],
) -> (Vec<hull::sys::filter::Instruction>, BTreeMap<i32, u32>) {
    const RETURN: u16 = 0x06;
    let mut program = program.to_vec();
    let mut verdicts: BTreeMap<u32, i32> = BTreeMap::new();
    for instruction in program.iter_mut().filter(|it| it.code == RETURN) {
        let next = 1000 + i32::try_from(verdicts.len()).expect("a few");
        let number = *verdicts.entry(instruction.value).or_insert(next);
        instruction.value = 0x5_0000 | number.cast_unsigned();
    }
    (program, verdicts.into_iter().map(|(verdict, number)| (-number, verdict)).collect())
}

#[test]
fn the_kernel_decides_as_the_machine_of_these_tests() {
    if COLUMNS[NATIVE.column] != "x86_64" {
        eprintln!("ignored: makes calls of x86_64 and x86");
        return;
    }
    let Some(kernel) = oracle::build("kernel.c", &[]) else {
        eprintln!("ignored: needs cc");
        return;
    };
    let check = |profile: &Profile, calls: &[Call]| {
        let program = profile.compile();
        let (harmless, verdicts) = harmless(&program);
        let x86 = named("SCMP_ARCH_X86").audit;
        let low = |args: [u64; 6]| args.map(|arg| arg & u64::from(u32::MAX));
        // uretprobe and uprobe are done whatever the filter says, and kill who is not probed.
        let is_filtered = |call: &&Call| ![335, 336].contains(&call.number);
        let made: Vec<(bool, Call)> = calls
            .iter()
            .filter(is_filtered)
            .map(|call| match call.architecture == x86 {
                // The sixth argument cannot be set there.
                true => (true, Call { args: low(call.args), ..*call }),
                false => (false, Call { architecture: NATIVE.audit, ..*call }),
            })
            .collect();
        for ((_, call), answer) in made.iter().zip(oracle::kernel(&kernel, &harmless, &made)) {
            let (verdict, _) = machine::run(&program, call);
            assert_eq!(verdicts.get(&answer), Some(&verdict), "{call:x?}: {answer}");
        }
    };
    for path in Profile::installed() {
        let profile = Profile::of_engine(&path);
        check(&profile, &all_calls(&profile));
    }
    let profiles = made_up::profiles(made_up::Actions::Any).prop_flat_map(|profile| {
        let calls = proptest::collection::vec(calls(&profile), 100);
        (Just(profile), calls)
    });
    let checked = runner(200).run(&profiles, |(mut profile, calls)| {
        // The sixth argument of the 32-bit ABI is not ours to set.
        profile.rules.retain(|rule| rule.conditions.iter().all(|it| it.index < 5));
        let section = made_up::section(&profile);
        let profile = Profile::new(section);
        if !try_compile(&profile.section).1.is_empty() {
            return Err(TestCaseError::reject("it contradicts itself"));
        }
        check(&profile, &calls);
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn every_architecture_of_the_specification_has_a_table() {
    for architecture in &ARCHITECTURES {
        let section = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": [architecture.name],
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["write"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 1, "op": "SCMP_CMP_GE", "value": 1_u64 << 33}]}]});
        let program = Profile::new(section).compile();
        let read = machine::run(&program, &call(architecture.name, "read", [0; 6])).0;
        let close = machine::run(&program, &call(architecture.name, "close", [0; 6])).0;
        assert_eq!(read, ALLOW, "{}", architecture.name);
        assert!([0x5_0001, ENOSYS].contains(&close), "{}", architecture.name);
    }
}
