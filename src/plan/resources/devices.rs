//! Which devices may be used: config-linux.md, "Allowed Device list".
//!
//! What no entry speaks of is denied, as with every other runtime: the specification leaves it open,
//! and a config without a list must not be one that gives the host's disks away. The default devices
//! are allowed before the first entry, and again behind one that denies everything, with which
//! engines begin; an entry that denies one of them by its number is obeyed.

use std::fmt;

use crate::plan::Problems;
use crate::spec::resources::DeviceRule;

/// read(2) (linux/bpf.h, BPF_DEVCG_ACC_*).
pub const READ: u8 = 2;
/// write(2).
pub const WRITE: u8 = 4;
/// mknod(2).
pub const MKNOD: u8 = 1;
const ALL: u8 = READ | WRITE | MKNOD;

/// A kind of device (linux/bpf.h, BPF_DEVCG_DEV_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A block device.
    Block = 1,
    /// A character device.
    Character = 2,
}

/// What is allowed or denied. `None` is all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether it allows.
    pub allow: bool,
    /// Of which kind.
    pub kind: Option<Kind>,
    /// With which major number.
    pub major: Option<u32>,
    /// With which minor number.
    pub minor: Option<u32>,
    /// Of [`READ`], [`WRITE`] and [`MKNOD`].
    pub access: u8,
}

/// Rules in their order: of each access the last rule that speaks of it decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether what no rule speaks of is allowed.
    pub otherwise: bool,
    /// Behind the last one that speaks of everything.
    pub rules: Vec<Rule>,
    /// Whether the config has a rule: without one, what the runtime may not enforce is no error.
    pub are_asked_for: bool,
}

/// Device files may be made, which is no access to them; then the default devices, terminals, and
/// /dev/net/tun, which all runtimes allow.
const DEFAULTS: [(Kind, Option<u32>, Option<u32>, u8); 11] = [
    (Kind::Character, None, None, MKNOD),
    (Kind::Block, None, None, MKNOD),
    (Kind::Character, Some(1), Some(3), ALL),
    (Kind::Character, Some(1), Some(5), ALL),
    (Kind::Character, Some(1), Some(7), ALL),
    (Kind::Character, Some(1), Some(8), ALL),
    (Kind::Character, Some(1), Some(9), ALL),
    (Kind::Character, Some(5), Some(0), ALL),
    (Kind::Character, Some(5), Some(2), ALL),
    (Kind::Character, Some(136), None, ALL),
    (Kind::Character, Some(10), Some(200), ALL),
];

fn defaults() -> Vec<Rule> {
    let rule = |(kind, major, minor, access)| {
        let kind = Some(kind);
        Rule { allow: true, kind, major, minor, access }
    };
    DEFAULTS.into_iter().map(rule).collect()
}

/// Plans the rules of a new container; of an update without a list, [`Rules::are_asked_for`] is
/// false.
pub fn plan(base: &str, list: &[DeviceRule], problems: &mut Problems) -> Rules {
    let mut rules = Rules { otherwise: false, rules: defaults(), are_asked_for: !list.is_empty() };
    for (index, entry) in list.iter().enumerate() {
        let Some(rule) = plan_rule(&format!("{base}/{index}"), entry, problems) else { continue };
        if rule.kind.is_none() && rule.major.is_none() && rule.minor.is_none() && rule.access == ALL
        {
            rules.otherwise = rule.allow;
            rules.rules = if rule.allow { Vec::new() } else { defaults() };
        } else {
            rules.rules.push(rule);
        }
    }
    rules
}

fn plan_rule(pointer: &str, entry: &DeviceRule, problems: &mut Problems) -> Option<Rule> {
    let before = problems.count();
    let kind = match entry.kind.as_deref() {
        None | Some("" | "a") => None,
        Some("b") => Some(Kind::Block),
        Some("c" | "u") => Some(Kind::Character),
        Some(other) => {
            let message = format!("unknown type {other:?}, known are a, b, c");
            problems.add(format_args!("{pointer}/type"), message);
            None
        }
    };
    let mut number = |name: &str, value: Option<i64>| match value {
        // As runc writes "all".
        None | Some(-1) => None,
        Some(value) => u32::try_from(value).map(Some).unwrap_or_else(|_| {
            let message = "must be from 0 to 4294967295, or -1 for all";
            problems.add(format_args!("{pointer}/{name}"), message);
            None
        }),
    };
    let (major, minor) = (number("major", entry.major), number("minor", entry.minor));
    let mut access = 0;
    for letter in entry.access.iter().flat_map(|text| text.chars()) {
        match letter {
            'r' => access |= READ,
            'w' => access |= WRITE,
            'm' => access |= MKNOD,
            other => {
                let message = format!("unknown access {other:?}, known are r, w, m");
                problems.add(format_args!("{pointer}/access"), message);
            }
        }
    }
    if access == 0 {
        access = ALL;
    }
    if entry.allow.is_none() {
        problems.add(format_args!("{pointer}/allow"), "missing");
    }
    let allow = entry.allow?;
    (problems.count() == before).then_some(Rule { allow, kind, major, minor, access })
}

impl Rules {
    /// Whether nothing is denied, so that nothing need be enforced.
    #[must_use]
    pub fn allow_all(&self) -> bool {
        self.otherwise && self.rules.iter().all(|rule| rule.allow)
    }
}

impl fmt::Display for Rules {
    /// One line for each rule, as in devices.allow of cgroup v1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = |allow| if allow { "allow" } else { "deny" };
        writeln!(f, "devices {} a *:* rwm", verb(self.otherwise))?;
        for Rule { allow, kind, major, minor, access } in &self.rules {
            let kind = match kind {
                None => 'a',
                Some(Kind::Block) => 'b',
                Some(Kind::Character) => 'c',
            };
            let number = |number: &Option<u32>| number.map_or("*".to_owned(), |it| it.to_string());
            let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
            let access: String =
                letters.iter().filter(|(bit, _)| access & bit != 0).map(|(_, it)| it).collect();
            let (major, minor) = (number(major), number(minor));
            writeln!(f, "devices {} {kind} {major}:{minor} {access}", verb(*allow))?;
        }
        Ok(())
    }
}
