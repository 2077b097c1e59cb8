//! Profiles as the tests see them: from the section of a config, from what engines install, or made
//! up; and what a filter must at least answer, read from the rules one by one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use hull::plan::Problems;
use hull::plan::seccomp::architectures::{Architecture, NATIVE};
use hull::plan::seccomp::rules::{self, ACTIONS};
use hull::plan::seccomp::{compile, syscalls};
use hull::spec::seccomp::Seccomp;
use hull::sys::filter::Instruction;
use serde_json::{Value, json};

use crate::machine::Call;

pub const ALLOW: u32 = 0x7fff_0000;
pub const ENOSYS: u32 = 0x5_0026;

pub fn named(name: &str) -> &'static Architecture {
    Architecture::named(name).expect(name)
}

/// A call by its name.
pub fn call(architecture: &str, name: &str, args: [u64; 6]) -> Call {
    let architecture = named(architecture);
    let number = syscalls::Call::named(name).and_then(|call| call.number(architecture.column));
    let number = number.expect(name) + architecture.numbers.0;
    Call { number, architecture: architecture.audit, args }
}

/// A profile in numbers.
#[derive(Clone, Debug)]
pub struct Profile {
    pub default: u32,
    pub architectures: Vec<String>,
    pub rules: Vec<Rule>,
    /// The section itself.
    pub section: Value,
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub names: Vec<String>,
    pub action: u32,
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug)]
pub struct Condition {
    pub index: u8,
    pub operator: Operator,
    pub value: u64,
    pub value_two: u64,
}

/// In the order of libseccomp's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Ne,
    Lt,
    Le,
    Eq,
    Ge,
    Gt,
    MaskedEq,
}

impl Operator {
    pub const ALL: [(Self, &str); 7] = [
        (Self::Ne, "SCMP_CMP_NE"),
        (Self::Lt, "SCMP_CMP_LT"),
        (Self::Le, "SCMP_CMP_LE"),
        (Self::Eq, "SCMP_CMP_EQ"),
        (Self::Ge, "SCMP_CMP_GE"),
        (Self::Gt, "SCMP_CMP_GT"),
        (Self::MaskedEq, "SCMP_CMP_MASKED_EQ"),
    ];

    pub fn number(self) -> u32 {
        self as u32 + 1
    }
}

fn action(name: &Value, errno: &Value) -> u32 {
    let name = name.as_str().expect("a name");
    let value = ACTIONS.iter().find(|(known, _)| *known == name).expect("an action").1;
    let has_number = ["SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"].contains(&name);
    value | if has_number { errno.as_u64().unwrap_or(1) as u32 } else { 0 }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Profile {
    pub fn new(section: Value) -> Self {
        let rules = list(&section["syscalls"]).map(|rule| Rule {
            names: texts(&rule["names"]),
            action: action(&rule["action"], &rule["errnoRet"]),
            conditions: list(&rule["args"]).map(condition).collect(),
        });
        Self {
            default: action(&section["defaultAction"], &section["defaultErrnoRet"]),
            architectures: texts(&section["architectures"]),
            rules: rules.collect(),
            section: section.clone(),
        }
    }

    /// A file of docker or podman, which has more than the section: for which architectures and
    /// capabilities a rule is. What is left is for a container of this architecture without any.
    pub fn of_engine(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a profile");
        let mut section: Value = serde_json::from_str(&text).expect("JSON");
        if let Some(section) = section.pointer("/linux/seccomp") {
            return Self::new(section.clone());
        }
        let is_for_us = |rule: &&Value| {
            let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
            let arches = |list: &Value| texts(list).iter().any(|name| name == "amd64");
            list(&includes["caps"]).next().is_none()
                && (list(&includes["arches"]).next().is_none() || arches(&includes["arches"]))
                && !arches(&excludes["arches"])
        };
        let rules: Vec<Value> = list(&section["syscalls"]).filter(is_for_us).cloned().collect();
        section["syscalls"] = rules.into();
        section["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
        Self::new(section)
    }

    /// What hull makes of it.
    pub fn compile(&self) -> Vec<Instruction> {
        let (program, wrong) = try_compile(&self.section);
        assert_eq!(wrong, "", "{}", self.section);
        program
    }

    /// The architectures whose calls a filter of this profile decides.
    pub fn decided(&self) -> Vec<&'static Architecture> {
        let mut all = vec![NATIVE];
        let named = self.architectures.iter().filter_map(|name| Architecture::named(name));
        all.extend(named.filter(|it| *it != NATIVE));
        all
    }

    /// The largest number that the profile names for an architecture.
    fn newest(&self, architecture: &Architecture) -> Option<u32> {
        let through = |name: &str| match name {
            "accept" | "socket" | "recv" => Some("socketcall"),
            "semop" | "shmat" => Some("ipc"),
            _ => None,
        };
        let names = self.rules.iter().flat_map(|rule| &rule.names).map(String::as_str);
        let ruled = self.rules.iter().filter(|rule| rule.action != self.default);
        let behind = ruled.flat_map(|rule| &rule.names).filter_map(|name| through(name));
        let calls = names.chain(behind).filter_map(syscalls::Call::named);
        let numbers = calls.filter_map(|call| call.number(architecture.column));
        numbers.filter(|number| *number < 0xf_0000).max()
    }

    /// Whether the answer to a call is ENOSYS because the profile knows nothing that new: libseccomp
    /// has no such thing.
    pub fn is_newer(&self, call: &Call) -> bool {
        let permits = [0x7fff_0000, 0x7ffc_0000, 0x7ff0_0000, 0x7fc0_0000];
        if permits.contains(&(self.default & 0xffff_0000)) || self.default == 0x5_0026 {
            return false;
        }
        let decides = |it: &&&Architecture| {
            let (first, last) = it.numbers;
            it.audit == call.architecture && (first..=last).contains(&call.number)
        };
        let decided = self.decided();
        let Some(architecture) = decided.iter().find(decides) else { return false };
        let number = call.number - architecture.numbers.0;
        // The calls of ARM alone have numbers of their own, far above, if the profile names one.
        let private = |rule: &Rule| {
            rule.action != self.default
                && rule.names.iter().any(|name| name == "cacheflush" || name == "set_tls")
        };
        let is_private = architecture.name == "SCMP_ARCH_ARM"
            && number >= 0xf_0000
            && self.rules.iter().any(private);
        !is_private && self.newest(architecture).is_some_and(|newest| number > newest)
    }

    /// The actions of the rules that hold for a call; of calls behind socketcall and ipc, nothing.
    pub fn possible(&self, call: &Call) -> BTreeSet<u32> {
        let decides = |it: &&&Architecture| {
            let (first, last) = it.numbers;
            it.audit == call.architecture && (first..=last).contains(&call.number)
        };
        let decided = self.decided();
        if call.number == u32::MAX && decided.iter().any(|it| it.audit == call.architecture) {
            // What a tracer makes of a call that is to be skipped.
            return [self.default].into();
        }
        let Some(architecture) = decided.iter().find(decides) else { return [0].into() };
        let bits = if architecture.is_32 { u64::from(u32::MAX) } else { u64::MAX };
        let mut possible = BTreeSet::new();
        for rule in self.rules.iter().filter(|rule| rule.action != self.default) {
            let is_named = rule.names.iter().any(|name| {
                let number =
                    syscalls::Call::named(name).and_then(|it| it.number(architecture.column));
                number == Some(call.number - architecture.numbers.0)
            });
            if !is_named {
                continue;
            }
            if rule.conditions.is_empty() {
                return [rule.action].into();
            }
            let holds = |it: &Condition| it.holds(call, bits);
            let mut indexes: Vec<u8> = rule.conditions.iter().map(|it| it.index).collect();
            indexes.sort_unstable();
            let is_repeated = indexes.windows(2).any(|pair| pair[0] == pair[1]);
            let rule_holds = if is_repeated {
                rule.conditions.iter().any(holds)
            } else {
                rule.conditions.iter().all(holds)
            };
            if rule_holds {
                possible.insert(rule.action);
            }
        }
        // A rule without conditions further down counts before all of these.
        if possible.is_empty() {
            possible.insert(if self.is_newer(call) { 0x5_0026 } else { self.default });
        }
        possible
    }
}

impl Condition {
    fn holds(&self, call: &Call, bits: u64) -> bool {
        let argument = call.args[usize::from(self.index)] & bits;
        let (value, value_two) = (self.value & bits, self.value_two & bits);
        match self.operator {
            Operator::Ne => argument != value,
            Operator::Lt => argument < value,
            Operator::Le => argument <= value,
            Operator::Eq => argument == value,
            Operator::Ge => argument >= value,
            Operator::Gt => argument > value,
            Operator::MaskedEq => argument & value == value_two & value,
        }
    }
}

fn condition(argument: &Value) -> Condition {
    let number = |name: &str| argument[name].as_u64().unwrap_or_default();
    let named = |(_, name): &&(Operator, &str)| argument["op"] == *name;
    Condition {
        index: number("index") as u8,
        operator: Operator::ALL.iter().find(named).expect("an operator").0,
        value: number("value"),
        value_two: number("valueTwo"),
    }
}

/// What hull makes of a section, and what is wrong with it.
pub fn try_compile(section: &Value) -> (Vec<Instruction>, String) {
    let section: Seccomp = serde_json::from_value(section.clone()).expect("a section");
    let mut problems = Problems::default();
    let set = rules::check(&section, false, &mut problems);
    let program = compile(&set, &mut problems);
    let wrong = problems.into_result("").err().map(|error| error.to_string());
    (program, wrong.unwrap_or_default())
}
