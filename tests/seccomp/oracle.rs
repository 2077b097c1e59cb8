//! The two oracles, programs in C that the tests build: libseccomp and the kernel.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use hull::plan::seccomp::architectures::Architecture;
use hull::sys::filter::Instruction;

use crate::machine::{self, Call};
use crate::profile::{Condition, Profile};

/// Where the programs are. Not below the target directory, which may be another user's.
fn directory() -> PathBuf {
    std::env::temp_dir().join(format!("hull-seccomp-{}", std::process::id()))
}

/// The directory of the programs, from the start of the suite to its end.
pub struct Programs;

impl Programs {
    pub fn new() -> Self {
        fs::create_dir(directory()).expect("create the directory of the oracles");
        Self
    }

    pub fn remove(self) {
        fs::remove_dir_all(directory()).ok();
    }
}

/// Builds one of the sources beside this file.
fn build(name: &str, libraries: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seccomp").join(name);
    let program = directory().join(name).with_extension("");
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-Wall", "-Werror", "-o"]).args([&program, &source]).args(libraries);
    assert!(cc.status().expect("cc").success(), "{name} cannot be built");
    program
}

fn call(program: &Path, input: &[u8]) -> (i32, Vec<u8>) {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program that was built");
    child.stdin.take().expect("a pipe").write_all(input).expect("write");
    let output = child.wait_with_output().expect("wait");
    (output.status.code().unwrap_or(-1), output.stdout)
}

/// The filters that libseccomp makes of a profile, one for each architecture: of several together
/// 2.5.4 makes filters that compare the architecture where they should compare the number.
pub type Filters = Vec<(&'static Architecture, Vec<Instruction>)>;

/// Those filters; `None` if it refuses the profile.
pub fn filters(profile: &Profile) -> Option<Filters> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| build("libseccomp.c", &["-lseccomp"]));
    let decided = profile.decided().into_iter();
    decided
        .map(|architecture| Some((architecture, of_one(program, profile, architecture)?)))
        .collect()
}

/// The verdict of those filters.
pub fn verdict(filters: &Filters, call: &Call) -> u32 {
    let decides = |(architecture, _): &&(&Architecture, _)| {
        let (first, last) = architecture.numbers;
        let is_one = (first..=last).contains(&call.number) || call.number == u32::MAX;
        architecture.audit == call.architecture && is_one
    };
    // SCMP_ACT_KILL is what libseccomp does with any other.
    filters.iter().find(decides).map_or(0, |(_, program)| machine::run(program, call).0)
}

fn of_one(
    program: &Path,
    profile: &Profile,
    architecture: &Architecture,
) -> Option<Vec<Instruction>> {
    let name = architecture.name.trim_start_matches("SCMP_ARCH_").to_lowercase();
    let mut text = format!("default {:x}\narch {name}\n", profile.default);
    for rule in profile.rules.iter().filter(|rule| rule.action != profile.default) {
        let mut alternatives = vec![rule.conditions.clone()];
        let mut indexes: Vec<u8> = rule.conditions.iter().map(|it| it.index).collect();
        indexes.sort_unstable();
        if indexes.windows(2).any(|pair| pair[0] == pair[1]) {
            alternatives =
                rule.conditions.iter().map(|condition| vec![condition.clone()]).collect();
        }
        for name in &rule.names {
            for conditions in &alternatives {
                write!(text, "rule {:x} {name}", rule.action).expect("a text");
                for Condition { index, operator, value, value_two } in conditions {
                    let (operator, value_two) = (operator.number(), *value_two);
                    write!(text, " {index:x} {operator:x} {value:x} {value_two:x}")
                        .expect("a text");
                }
                text.push('\n');
            }
        }
    }
    let (code, bytes) = call(program, text.as_bytes());
    match code {
        0 => Some(bytes.chunks_exact(8).map(instruction).collect()),
        3 => None,
        other => panic!("libseccomp's program ended with {other}"),
    }
}

fn instruction(bytes: &[u8]) -> Instruction {
    let code = u16::from_le_bytes([bytes[0], bytes[1]]);
    let value = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    Instruction { code, yes: bytes[2], no: bytes[3], value }
}

/// What the kernel answers to calls under a filter, each in the 32-bit ABI or not.
pub fn answers(filter: &[Instruction], calls: &[(bool, Call)]) -> Vec<i32> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| build("kernel.c", &[]));
    let mut input = (filter.len() as u32).to_le_bytes().to_vec();
    for Instruction { code, yes, no, value } in filter {
        input.extend(code.to_le_bytes());
        input.extend([*yes, *no]);
        input.extend(value.to_le_bytes());
    }
    input.extend((calls.len() as u32).to_le_bytes());
    for (is_32, call) in calls {
        input.extend(u32::from(*is_32).to_le_bytes());
        input.extend(call.number.to_le_bytes());
        call.args.iter().for_each(|arg| input.extend(arg.to_le_bytes()));
    }
    let (code, bytes) = call(program, &input);
    assert_eq!(code, 0, "the kernel refuses the filter of {} instructions", filter.len());
    bytes.chunks_exact(4).map(|it| i32::from_le_bytes([it[0], it[1], it[2], it[3]])).collect()
}
