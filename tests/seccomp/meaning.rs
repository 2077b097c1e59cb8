//! What a profile means: config-linux.md, "Seccomp", and what is wrong with one. Its filters run in the machine of
//! these tests.

use hull::plan::seccomp::architectures::{ARCHITECTURES, NATIVE};
use hull::plan::seccomp::{bpf, tree};
use hull::sys::filter::{MARK, MARKED};
use serde_json::{Value, json};

use crate::case::table;
use crate::machine::{self, Call};
use crate::profile::{ALLOW, ENOSYS, Profile, call, named, try_compile};

table!(;
    each_operator_compares_64_bits_or_on_a_32_bit_architecture_32,
    conditions_hold_together_but_each_alone_if_two_are_of_one_argument,
    a_call_that_is_newer_than_the_profile_does_not_exist,
    a_call_of_an_architecture_that_is_not_named_kills,
    calls_behind_socketcall_and_ipc_are_found_there,
    unknown_names_are_skipped,
    every_architecture_of_the_specification_has_a_table,
    what_is_wrong_is_named_by_its_place,
    a_profile_that_no_filter_can_hold_is_wrong,
    the_calls_of_init_are_marked_and_then_nobody_s,
);

fn verdict(section: &Value, call: &Call) -> u32 {
    machine::run(&Profile::new(section.clone()).compile(), call).0
}

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

fn unknown_names_are_skipped() {
    let section = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["no_such_call", "read"], "action": "SCMP_ACT_ALLOW"}]});
    assert_eq!(verdict(&section, &call(NATIVE.name, "read", [0; 6])), ALLOW);
}

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

// ---------------------------------------------------------------- what is wrong

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
    // The twin of the last one: behind a rule without conditions none counts.
    let on = |value: u32, action: &str| {
        let args = json!([{"index": 0, "op": "SCMP_CMP_EQ", "value": value}]);
        json!({"names": ["read"], "action": action, "args": args})
    };
    let first = json!({"names": ["read"], "action": "SCMP_ACT_LOG"});
    let rules = json!([first, on(1, "SCMP_ACT_ERRNO"), on(1, "SCMP_ACT_TRAP")]);
    let (_, wrong) = try_compile(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    assert_eq!(wrong, "");
}

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

// --------------------------------------------------------- the filter and init

/// Between a filter with a listener and the last one, which nothing but execve follows.
fn the_calls_of_init_are_marked_and_then_nobody_s() {
    let names = ["sendmsg", "close", "seccomp"];
    let section = json!({
        "defaultAction": "SCMP_ACT_NOTIFY", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": names, "action": "SCMP_ACT_KILL"}]});
    let first = Profile::new(section).compile();
    let last = bpf::assemble(&tree::without_own_calls());
    let both = |call: &Call| [machine::run(&first, call).0, machine::run(&last, call).0];
    let mut args = [7; 6];
    args[usize::from(MARKED)] = MARK;
    for name in names {
        let native = |args| both(&call(NATIVE.name, name, args));
        assert_eq!(native(args), [ALLOW, ENOSYS], "{name}");
        assert_eq!(native([7; 6]), [0, ALLOW], "{name}");
        assert_eq!(native([MARK, MARK, MARK, MARK, MARK, MARK ^ 1 << 32]), [0, ALLOW], "{name}");
    }
    let other = both(&call(NATIVE.name, "write", args));
    assert_eq!(other, [0x7fc0_0000, ALLOW]);
    let number = call(NATIVE.name, "close", args).number;
    let foreign = Call { number, architecture: named("SCMP_ARCH_X86").audit, args };
    assert_eq!(both(&foreign)[1], ALLOW);
    assert_ne!(both(&foreign)[0], ALLOW);
}
