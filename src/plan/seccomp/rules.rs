//! The first step: from the section of the config to a checked rule set, in numbers.

use std::fmt;
use std::ops::Range;

use super::architectures::{Architecture, NATIVE};
use super::syscalls::{ARM_PRIVATE, Call, call};
use crate::plan::Problems;
use crate::spec::seccomp::{self, Seccomp};

/// What the filter is to do, in numbers.
#[derive(Debug)]
pub struct RuleSet {
    /// What a call gets that no rule matches: SECCOMP_RET_*, with its data.
    pub default: u32,
    /// Whether a listener decides some of the calls.
    pub has_listener: bool,
    /// What the rules refer to: each entry must hold as a whole. The first is empty.
    pub conditions: Vec<Vec<Condition>>,
    /// The native architecture first. A call of any other is refused.
    pub calls: Vec<Calls>,
}

/// The rules of one architecture.
#[derive(Debug)]
pub struct Calls {
    /// Which one.
    pub architecture: &'static Architecture,
    /// Sorted by number, and for one number in the order of the config.
    pub rules: Vec<Rule>,
    /// The largest number that the profile names, if what is newer gets ENOSYS.
    pub newest: Option<u32>,
}

/// What happens to one call under some conditions.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The number of the call.
    pub number: u32,
    /// SECCOMP_RET_*, with its data.
    pub action: u32,
    /// The place in [`RuleSet::conditions`].
    pub conditions: u32,
    /// The place in the config's `syscalls`.
    pub entry: u32,
}

/// A condition on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// 0 to 5.
    pub argument: u8,
    /// How it is compared.
    pub operator: Operator,
    /// What it is compared with.
    pub value: u64,
    /// What of it counts; all bits, unless the operator is [`Operator::MaskedEqual`].
    pub mask: u64,
}

/// The operators of config-linux.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Not the value.
    NotEqual,
    /// Below the value.
    Less,
    /// At most the value.
    LessOrEqual,
    /// The value.
    Equal,
    /// At least the value.
    GreaterOrEqual,
    /// Above the value.
    Greater,
    /// The value, where the mask has bits.
    MaskedEqual,
}

/// The operators by their names in the config.
pub const OPERATORS: [(&str, Operator); 7] = [
    ("SCMP_CMP_NE", Operator::NotEqual),
    ("SCMP_CMP_LT", Operator::Less),
    ("SCMP_CMP_LE", Operator::LessOrEqual),
    ("SCMP_CMP_EQ", Operator::Equal),
    ("SCMP_CMP_GE", Operator::GreaterOrEqual),
    ("SCMP_CMP_GT", Operator::Greater),
    ("SCMP_CMP_MASKED_EQ", Operator::MaskedEqual),
];

/// SECCOMP_RET_* (linux/seccomp.h).
pub mod action {
    /// The whole process ends.
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    /// The thread ends.
    pub const KILL_THREAD: u32 = 0;
    /// SIGSYS.
    pub const TRAP: u32 = 0x0003_0000;
    /// The call fails with the error number in the lower half.
    pub const ERRNO: u32 = 0x0005_0000;
    /// The listener decides.
    pub const NOTIFY: u32 = 0x7fc0_0000;
    /// The tracer decides; it is told the lower half.
    pub const TRACE: u32 = 0x7ff0_0000;
    /// The call is logged and done.
    pub const LOG: u32 = 0x7ffc_0000;
    /// The call is done.
    pub const ALLOW: u32 = 0x7fff_0000;
    /// What is not the data.
    pub const MASK: u32 = 0xffff_0000;
}

/// The actions by their names in the config. `SCMP_ACT_KILL` is what it was before the kernel
/// could end whole processes.
pub const ACTIONS: [(&str, u32); 9] = [
    ("SCMP_ACT_KILL", action::KILL_THREAD),
    ("SCMP_ACT_KILL_PROCESS", action::KILL_PROCESS),
    ("SCMP_ACT_KILL_THREAD", action::KILL_THREAD),
    ("SCMP_ACT_TRAP", action::TRAP),
    ("SCMP_ACT_ERRNO", action::ERRNO),
    ("SCMP_ACT_TRACE", action::TRACE),
    ("SCMP_ACT_ALLOW", action::ALLOW),
    ("SCMP_ACT_LOG", action::LOG),
    ("SCMP_ACT_NOTIFY", action::NOTIFY),
];

/// The error number of an action that is given none.
const EPERM: u64 = 1;
/// The answer to a call that the kernel does not have.
pub const ENOSYS: u32 = 38;
/// The kernel takes a larger one for this one (seccomp(2), SECCOMP_RET_ERRNO).
const LARGEST_ERRNO: u64 = 4095;

/// Calls that an architecture may also do through one other, by the number in its first argument:
/// socketcall(2) (linux/net.h) and ipc(2) (linux/ipc.h). Sorted.
static MULTIPLEXED: [(Call, Call, u64); 32] = [
    (call("accept"), SOCKETCALL, 5),
    (call("accept4"), SOCKETCALL, 18),
    (call("bind"), SOCKETCALL, 2),
    (call("connect"), SOCKETCALL, 3),
    (call("getpeername"), SOCKETCALL, 7),
    (call("getsockname"), SOCKETCALL, 6),
    (call("getsockopt"), SOCKETCALL, 15),
    (call("listen"), SOCKETCALL, 4),
    (call("msgctl"), IPC, 14),
    (call("msgget"), IPC, 13),
    (call("msgrcv"), IPC, 12),
    (call("msgsnd"), IPC, 11),
    (call("recv"), SOCKETCALL, 10),
    (call("recvfrom"), SOCKETCALL, 12),
    (call("recvmmsg"), SOCKETCALL, 19),
    (call("recvmsg"), SOCKETCALL, 17),
    (call("semctl"), IPC, 3),
    (call("semget"), IPC, 2),
    (call("semop"), IPC, 1),
    (call("semtimedop"), IPC, 4),
    (call("send"), SOCKETCALL, 9),
    (call("sendmmsg"), SOCKETCALL, 20),
    (call("sendmsg"), SOCKETCALL, 16),
    (call("sendto"), SOCKETCALL, 11),
    (call("setsockopt"), SOCKETCALL, 14),
    (call("shmat"), IPC, 21),
    (call("shmctl"), IPC, 24),
    (call("shmdt"), IPC, 22),
    (call("shmget"), IPC, 23),
    (call("shutdown"), SOCKETCALL, 13),
    (call("socket"), SOCKETCALL, 1),
    (call("socketpair"), SOCKETCALL, 8),
];
const SOCKETCALL: Call = call("socketcall");
const IPC: Call = call("ipc");

/// Makes the rule set. Names that are unknown, or that no architecture of the profile has, are
/// skipped, as all engines expect; `is_strict` makes unknown ones wrong.
pub fn check(section: &Seccomp, is_strict: bool, problems: &mut Problems) -> RuleSet {
    let at = |place: &str| format!("/linux/seccomp/{place}");
    let default = plan_action(
        (&section.default_action, at("defaultAction")),
        (section.default_errno_ret, at("defaultErrnoRet")),
        problems,
    );
    let architectures = plan_architectures(&section.architectures, problems);
    // Room for all of them at once: what costs of a rule is the page that it is written to.
    let names = section.syscalls.iter().map(|rule| rule.names.len()).sum();
    let mut set = RuleSet {
        default,
        has_listener: default == action::NOTIFY,
        conditions: vec![Vec::new()],
        calls: architectures.into_iter().map(|it| Calls::none(it, names)).collect(),
    };
    for (index, rule) in section.syscalls.iter().enumerate() {
        let at = Place { entry: index, field: "" };
        if rule.names.is_empty() {
            problems.add(at.field("names"), "must have at least one entry");
        }
        let action = plan_action(
            (&rule.action, at.field("action")),
            (rule.errno_ret, at.field("errnoRet")),
            problems,
        );
        set.has_listener |= action == action::NOTIFY;
        let alternatives = set.plan_conditions(&rule.args, at, problems);
        for (place, name) in rule.names.iter().enumerate() {
            if action == action::NOTIFY && name == "write" {
                // As in runc: whoever decides it could not be told of it by a runtime that writes.
                problems.add(at.field("action"), "SCMP_ACT_NOTIFY cannot be used for write");
            }
            match Call::named(name) {
                Some(call) => set.add(call, action, alternatives.clone(), index as u32),
                None if is_strict => {
                    let pointer = format!("{}/{place}", at.field("names"));
                    problems.add(pointer, format_args!("unknown system call {name:?}"));
                }
                None => {}
            }
        }
    }
    let permits = [action::ALLOW, action::LOG, action::TRACE, action::NOTIFY];
    let answers_newer =
        !permits.contains(&(default & action::MASK)) && default != action::ERRNO | ENOSYS;
    for calls in &mut set.calls {
        calls.finish(answers_newer);
    }
    set
}

/// A pointer to an entry of `syscalls`, made only when there is something to say of it.
#[derive(Clone, Copy)]
struct Place {
    entry: usize,
    field: &'static str,
}

impl Place {
    fn field(self, field: &'static str) -> Self {
        Self { field, ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/linux/seccomp/syscalls/{}/{}", self.entry, self.field)
    }
}

impl RuleSet {
    /// What happens to a call of the native architecture whatever its arguments are, and the field
    /// that says so; `None` if they count.
    #[must_use]
    pub fn verdict(&self, call: Call) -> Option<(u32, String)> {
        let calls = &self.calls[0];
        let number = call.number(calls.architecture.column)? + calls.architecture.bit();
        let mut rules = calls.rules.iter().filter(|rule| rule.number == number).peekable();
        if rules.peek().is_none() {
            return Some((self.default, "/linux/seccomp/defaultAction".to_owned()));
        }
        let rule = rules.find(|rule| rule.conditions == 0)?;
        let at = Place { entry: rule.entry as usize, field: "action" };
        Some((rule.action, at.to_string()))
    }

    /// Adds what the conditions of an entry say; where they are in the set. All must hold; if two
    /// are of one argument, each alone, as in runc and crun: libseccomp has no way to say both.
    fn plan_conditions(
        &mut self,
        args: &[seccomp::Argument],
        at: Place,
        problems: &mut Problems,
    ) -> Range<u32> {
        if args.is_empty() {
            return 0..1;
        }
        let mut list = Vec::with_capacity(args.len());
        for (place, argument) in args.iter().enumerate() {
            let pointer = |field| format!("{}/{place}/{field}", at.field("args"));
            let operator = OPERATORS.iter().find(|(name, _)| *name == argument.op);
            if operator.is_none() {
                let message = format!("unknown operator {:?}", argument.op);
                problems.add(pointer("op"), message);
            }
            if argument.index > 5 {
                problems.add(pointer("index"), format_args!("{}, at most 5", argument.index));
            }
            if let (Some((_, operator)), index @ 0..=5) = (operator, argument.index) {
                let is_masked = *operator == Operator::MaskedEqual;
                let mask = if is_masked { argument.value } else { u64::MAX };
                let value = if is_masked { argument.value_two } else { argument.value };
                list.push(Condition { argument: index as u8, operator: *operator, value, mask });
            }
        }
        list.sort_by_key(|condition| condition.argument);
        let first = self.next();
        if list.windows(2).any(|pair| pair[0].argument == pair[1].argument) {
            self.conditions.extend(list.into_iter().map(|condition| vec![condition]));
        } else {
            self.conditions.push(list);
        }
        first..self.next()
    }

    /// The place of the next conditions.
    fn next(&self) -> u32 {
        self.conditions.len() as u32
    }

    /// Adds a rule for one call to each architecture that has it.
    fn add(&mut self, call: Call, action: u32, alternatives: Range<u32>, entry: u32) {
        for calls in &mut self.calls {
            calls.note(call);
            calls.add(call, action, alternatives.clone(), entry, self.default);
        }
        let Ok(at) = MULTIPLEXED.binary_search_by_key(&call, |(member, ..)| *member) else {
            return;
        };
        let (_, through, value) = MULTIPLEXED[at];
        let has_it = |calls: &Calls| through.number(calls.architecture.column).is_some();
        if !self.calls.iter().any(has_it) {
            return;
        }
        // The other arguments stand in memory, where a filter cannot look.
        let first = self.next();
        for alternative in alternatives {
            let rest = &self.conditions[alternative as usize];
            let rest = rest.iter().filter(|it| it.argument != 0);
            let which = Condition { argument: 0, operator: Operator::Equal, value, mask: u64::MAX };
            let list = std::iter::once(which).chain(rest.copied()).collect();
            self.conditions.push(list);
        }
        let alternatives = first..self.next();
        for calls in &mut self.calls {
            calls.add(through, action, alternatives.clone(), entry, self.default);
        }
    }
}

impl Calls {
    fn none(architecture: &'static Architecture, names: usize) -> Self {
        Self { architecture, rules: Vec::with_capacity(names), newest: None }
    }

    /// The profile knows this call, whatever it says of it.
    fn note(&mut self, call: Call) {
        let number = call.number(self.architecture.column);
        let ordinary = number.filter(|number| *number < ARM_PRIVATE);
        self.newest = self.newest.max(ordinary.map(|number| number + self.architecture.bit()));
    }

    fn add(&mut self, call: Call, action: u32, alternatives: Range<u32>, entry: u32, default: u32) {
        let Some(number) = call.number(self.architecture.column) else { return };
        let number = number + self.architecture.bit();
        // What says the same as the default is no rule, as in runc and crun.
        if action != default {
            let rule = |conditions| Rule { number, action, conditions, entry };
            self.rules.extend(alternatives.map(rule));
        }
    }

    fn finish(&mut self, answers_newer: bool) {
        self.rules.sort_by_key(|rule| rule.number);
        // A rule may be for socketcall, which the profile has not named.
        let private = ARM_PRIVATE + self.architecture.bit();
        let ordinary = self.rules.partition_point(|rule| rule.number < private);
        self.newest = self.newest.max(self.rules[..ordinary].last().map(|rule| rule.number));
        if !answers_newer {
            self.newest = None;
        }
        // For a call that the kernel does not have, s390 shows the number of setup(2), which no
        // longer exists.
        let is_s390 = self.architecture.name.starts_with("SCMP_ARCH_S390");
        let has_setup = self.rules.first().is_some_and(|rule| rule.number == 0);
        if is_s390 && self.newest.is_some() && !has_setup {
            let action = action::ERRNO | ENOSYS;
            self.rules.insert(0, Rule { number: 0, action, conditions: 0, entry: 0 });
        }
    }
}

fn plan_architectures(names: &[String], problems: &mut Problems) -> Vec<&'static Architecture> {
    let mut found = vec![NATIVE];
    for (index, name) in names.iter().enumerate() {
        match Architecture::named(name) {
            Some(known) if found.contains(&known) => {}
            Some(known) => found.push(known),
            None => {
                let pointer = format!("/linux/seccomp/architectures/{index}");
                problems.add(pointer, format_args!("unknown architecture {name:?}"));
            }
        }
    }
    found
}

fn plan_action(
    (name, pointer): (&str, impl fmt::Display),
    (errno, errno_pointer): (Option<u64>, impl fmt::Display),
    problems: &mut Problems,
) -> u32 {
    let Some((_, action)) = ACTIONS.iter().find(|(known, _)| *known == name) else {
        problems.add(pointer, format_args!("unknown action {name:?}"));
        // Nothing comes of it, and nothing else is to be wrong with it.
        return action::ALLOW;
    };
    let largest = match *action {
        action::ERRNO => LARGEST_ERRNO,
        action::TRACE => u16::MAX.into(),
        other => {
            if errno.is_some() {
                problems.add(errno_pointer, format_args!("{name} has no error number"));
            }
            return other;
        }
    };
    let errno = errno.unwrap_or(EPERM);
    if errno > largest {
        problems.add(errno_pointer, format_args!("{errno}, at most {largest}"));
    }
    action | errno as u16 as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_behind_one_number_are_sorted_for_the_search() {
        assert!(MULTIPLEXED.is_sorted());
    }
}
