//! The verdicts of filters beside those of libseccomp and of the kernel: for the profiles of engines, and for made-up
//! ones.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;

use hull::plan::seccomp::architectures::{ARCHITECTURES, Architecture, NATIVE};
use hull::plan::seccomp::syscalls;
use hull::sys::filter::Instruction;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::case::table;
use crate::machine::{self, Call};
use crate::profile::{Profile, named, try_compile};
use crate::{made_up, oracle};

/// Where Debian's golang-github-containers-common has podman's.
const PODMAN: &str = "/usr/share/containers/seccomp.json";
/// Where its golang-github-docker-docker-dev has docker's.
const DOCKER: &str = "/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json";
/// Those of other engines, which write them themselves: configs that were recorded, as in PATH.
const GIVEN: &str = "HULL_PROFILES";

table!(;
    the_profile_of_podman_is_decided_as_by_others[Libseccomp, X86, File(PODMAN)],
    the_profile_of_docker_is_decided_as_by_others[Libseccomp, X86, File(DOCKER)],
    profiles_in_recorded_configs_are_decided_as_by_others[Libseccomp, X86, Variable(GIVEN)],
    profiles_with_one_action_for_a_call_are_decided_as_by_libseccomp[Libseccomp],
    profiles_with_several_actions_for_a_call_are_decided_as_by_libseccomp[Libseccomp],
    a_verdict_is_that_of_a_rule_that_holds,
    profiles_are_decided_as_by_the_kernel[Compiler, X86],
);

// -------------------------------------------------------- the profiles of engines

fn the_profile_of_podman_is_decided_as_by_others() {
    check_engine(Path::new(PODMAN));
}

fn the_profile_of_docker_is_decided_as_by_others() {
    check_engine(Path::new(DOCKER));
}

fn profiles_in_recorded_configs_are_decided_as_by_others() {
    env::split_paths(&env::var_os(GIVEN).expect("the need")).for_each(|path| check_engine(&path));
}

/// Its verdicts are libseccomp's and the kernel's, and are found in few instructions.
fn check_engine(path: &Path) {
    let profile = Profile::of_engine(path);
    let program = profile.compile();
    assert!(program.len() < 1000, "{path:?}: {} instructions", program.len());
    let calls = all_calls(&profile);
    let theirs = oracle::filters(&profile).expect("libseccomp takes it");
    for call in &calls {
        let (verdict, steps) = machine::run(&program, call);
        if call.architecture == NATIVE.audit {
            assert!(steps <= 20, "{path:?}: {steps} instructions for {call:x?}");
        }
        // What is newer than this libseccomp is no rule for it.
        if call.number & 0xfff <= 450 && !profile.is_newer(call) {
            assert_eq!(verdict, oracle::verdict(&theirs, call), "{path:?}: {call:x?}");
        }
    }
    check_in_kernel(&profile, &calls);
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

/// The kernel's verdicts are those of the machine of these tests.
fn check_in_kernel(profile: &Profile, calls: &[Call]) {
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
    for ((_, call), answer) in made.iter().zip(oracle::answers(&harmless, &made)) {
        let (verdict, _) = machine::run(&program, call);
        assert_eq!(verdicts.get(&answer), Some(&verdict), "{call:x?}: {answer}");
    }
}

/// The same filter with an error number in the place of each verdict, so that no call is done.
fn harmless(program: &[Instruction]) -> (Vec<Instruction>, BTreeMap<i32, u32>) {
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

// ------------------------------------------------------------ made-up profiles

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
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    // The same ones each time: what fails here can be had again.
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// 1000 profiles, 100 calls of each: 100 000 verdicts.
fn compare(profiles: impl Strategy<Value = Profile>) {
    let with_calls = profiles.prop_flat_map(|profile| {
        let calls = proptest::collection::vec(calls(&profile), 100);
        (Just(profile), calls)
    });
    let compared = runner(1000).run(&with_calls, |(profile, calls)| {
        let Some(theirs) = oracle::filters(&profile) else {
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

fn profiles_with_one_action_for_a_call_are_decided_as_by_libseccomp() {
    compare(made_up::profiles(made_up::Actions::One));
}

fn profiles_with_several_actions_for_a_call_are_decided_as_by_libseccomp() {
    compare(made_up::profiles(made_up::Actions::Several));
}

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

fn profiles_are_decided_as_by_the_kernel() {
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
        check_in_kernel(&profile, &calls);
        Ok(())
    });
    checked.unwrap();
}
