//! The rules of one call: which of them counts where several hold, and their part of the tree.

use std::cmp::Reverse;

use super::architectures::Architecture;
use super::rules::{Condition, Operator, Rule};
use super::tree::{Compare, Contradiction, Id, Ranges, Tree};

/// Above this many rules the values of one argument are not sorted into ranges: each rule is asked
/// for each range. As a list they are more than a filter can hold, nearly always.
const MOST_RANGES: usize = 1024;

/// Makes the nodes for rules that all have conditions; `default` is where no rule holds.
///
/// # Errors
/// That two rules contradict each other.
pub fn build(
    tree: &mut Tree,
    rules: &[Rule],
    conditions: &[Vec<Condition>],
    architecture: &Architecture,
    default: Id,
) -> Result<Id, Contradiction> {
    let rules = by_precedence(rules, conditions, architecture)?;
    let lists: Vec<(&[Condition], Id)> = rules
        .iter()
        .map(|rule| (conditions[rule.conditions as usize].as_slice(), tree.verdict(rule.action)))
        .collect();
    if let Some(argument) = only_argument(&lists) {
        let ranges = ranges(&lists, architecture, default);
        return Ok(search(tree, &ranges, architecture, argument));
    }
    let mut no = default;
    for (list, verdict) in lists.iter().rev() {
        let holds = |id, condition| compare(tree, condition, architecture, id, no);
        no = list.iter().rev().fold(*verdict, holds);
    }
    Ok(no)
}

/// The rules in the order in which they count: the first that holds decides. It is libseccomp's,
/// as far as that can be seen from outside: a rule counts before one that has its conditions and
/// more; then the later argument first; of one argument equality before ranges, larger values
/// first, and the narrower range; else the order of the config.
fn by_precedence(
    rules: &[Rule],
    conditions: &[Vec<Condition>],
    architecture: &Architecture,
) -> Result<Vec<Rule>, Contradiction> {
    let conditions = |rule: &Rule| &conditions[rule.conditions as usize];
    let place = |condition: &Condition| {
        let value = value_on(architecture, condition);
        let (class, value) = match condition.operator {
            Operator::Equal | Operator::NotEqual | Operator::MaskedEqual => (0, !value),
            Operator::Less | Operator::LessOrEqual => (1, value),
            Operator::Greater | Operator::GreaterOrEqual => (2, !value),
        };
        (Reverse(condition.argument), class, value)
    };
    let mut sorted = rules.to_vec();
    sorted.sort_by(|a, b| {
        let places = |rule: &Rule| conditions(rule).iter().map(place);
        places(a).cmp(places(b))
    });
    // Behind one without conditions none counts.
    if sorted.first().is_some_and(|rule| conditions(rule).is_empty()) {
        sorted.retain(|rule| conditions(rule).is_empty());
    }
    let contradicts = |pair: &&[Rule]| {
        let same = conditions(&pair[0]) == conditions(&pair[1]);
        same && pair[0].action != pair[1].action
    };
    match sorted.windows(2).find(contradicts) {
        Some(pair) => Err(Contradiction(pair[0].entry, pair[1].entry)),
        None => Ok(sorted),
    }
}

/// The argument, if all rules look at one alone, and as a number.
fn only_argument(lists: &[(&[Condition], Id)]) -> Option<u8> {
    let argument = lists.first()?.0.first()?.argument;
    let is_of_it = |condition: &Condition| {
        condition.argument == argument && condition.operator != Operator::MaskedEqual
    };
    let all = lists.iter().all(|(list, _)| list.len() == 1 && is_of_it(&list[0]));
    (all && lists.len() <= MOST_RANGES).then_some(argument)
}

/// The ranges of the argument, each with its verdict, up to the next one's start.
fn ranges(
    lists: &[(&[Condition], Id)],
    architecture: &Architecture,
    default: Id,
) -> Vec<(u64, Id)> {
    let mut starts = vec![0];
    for (list, _) in lists {
        let value = value_on(architecture, &list[0]);
        starts.push(value);
        starts.extend(value.checked_add(1));
    }
    starts.sort_unstable();
    starts.dedup();
    let mut ranges: Vec<(u64, Id)> = Vec::new();
    for start in starts {
        let holds = |condition: &Condition| {
            let value = value_on(architecture, condition);
            match condition.operator {
                Operator::NotEqual => start != value,
                Operator::Less => start < value,
                Operator::LessOrEqual => start <= value,
                Operator::Equal | Operator::MaskedEqual => start == value,
                Operator::GreaterOrEqual => start >= value,
                Operator::Greater => start > value,
            }
        };
        let id = lists.iter().find(|(list, _)| holds(&list[0])).map_or(default, |(_, id)| *id);
        if ranges.last().is_none_or(|last| last.1 != id) {
            ranges.push((start, id));
        }
    }
    ranges
}

/// Finds the range of a 64-bit argument: its upper word, and where that does not tell, its lower.
fn search(tree: &mut Tree, ranges: &[(u64, Id)], architecture: &Architecture, argument: u8) -> Id {
    let (upper_at, lower_at) = words(architecture, argument);
    let low = |value: u64| value as u32;
    if architecture.is_32 {
        // A range that begins above 32 bits is one that no argument reaches.
        let reached = ranges.iter().take_while(|(start, _)| *start <= u32::MAX.into());
        let ranges: Vec<(u32, Id)> = reached.map(|(start, id)| (low(*start), *id)).collect();
        let search = tree.search(&ranges);
        return tree.load(lower_at, u32::MAX, search);
    }
    let mut uppers = Ranges::all(ranges[0].1);
    let mut before = ranges[0].1;
    for same_upper in ranges.chunk_by(|a, b| a.0 >> 32 == b.0 >> 32) {
        let upper = low(same_upper[0].0 >> 32);
        let mut lowers = Ranges::all(before);
        same_upper.iter().for_each(|(start, id)| lowers.push(low(*start), *id));
        before = same_upper[same_upper.len() - 1].1;
        let id = match lowers.0[..] {
            [(_, id)] => id,
            _ => {
                let search = tree.search(&lowers.0);
                tree.load(lower_at, u32::MAX, search)
            }
        };
        uppers.push(upper, id);
        if let Some(next) = upper.checked_add(1) {
            uppers.push(next, before);
        }
    }
    match uppers.0[..] {
        [(_, id)] => id,
        _ => {
            let search = tree.search(&uppers.0);
            tree.load(upper_at, u32::MAX, search)
        }
    }
}

/// The nodes of one condition.
pub fn compare(
    tree: &mut Tree,
    condition: &Condition,
    architecture: &Architecture,
    yes: Id,
    no: Id,
) -> Id {
    let value = value_on(architecture, condition) & condition.mask;
    let (upper, lower) = ((value >> 32) as u32, value as u32);
    let (upper_mask, lower_mask) = ((condition.mask >> 32) as u32, condition.mask as u32);
    let (upper_at, lower_at) = words(architecture, condition.argument);
    // The others are these three turned round.
    let (operator, yes, no) = match condition.operator {
        Operator::NotEqual => (Compare::Equal, no, yes),
        Operator::Less => (Compare::AtLeast, no, yes),
        Operator::LessOrEqual => (Compare::Greater, no, yes),
        Operator::Equal | Operator::MaskedEqual => (Compare::Equal, yes, no),
        Operator::GreaterOrEqual => (Compare::AtLeast, yes, no),
        Operator::Greater => (Compare::Greater, yes, no),
    };
    let id = if lower_mask == 0 {
        yes
    } else {
        let test = tree.test(operator, lower, yes, no);
        tree.load(lower_at, lower_mask, test)
    };
    if architecture.is_32 || upper_mask == 0 {
        return id;
    }
    let mut test = tree.test(Compare::Equal, upper, id, no);
    if operator != Compare::Equal {
        test = tree.test(Compare::Greater, upper, yes, test);
    }
    tree.load(upper_at, upper_mask, test)
}

fn value_on(architecture: &Architecture, condition: &Condition) -> u64 {
    if architecture.is_32 { condition.value & u64::from(u32::MAX) } else { condition.value }
}

/// The offsets of the upper and of the lower word of `seccomp_data.args` (seccomp(2)).
fn words(architecture: &Architecture, argument: u8) -> (u32, u32) {
    let start = 16 + 8 * u32::from(argument);
    if architecture.is_big_endian { (start, start + 4) } else { (start + 4, start) }
}
