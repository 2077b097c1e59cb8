//! From the samples to what is printed: the table, the sizes, the targets.

use std::fs;
use std::path::Path;

use crate::contender::{Contender, Samples};

/// A figure to reach: row, compared with whom, by which factor, in words.
const RATIOS: &[(&str, &str, f64, &str)] = &[
    ("run", "crun", 0.5, "run at most 0.5 x crun's"),
    ("run", "floor", 2.0, "run at most 2 x the floor's"),
    ("cycle", "crun", 0.5, "create + start + delete at most 0.5 x crun's"),
    ("exec", "crun", 0.35, "exec at most 0.35 x crun's"),
    ("exec", "runc", 0.15, "exec at most 0.15 x runc's"),
    ("state", "crun", 0.25, "state at most 0.25 x crun's"),
    ("--version", "crun", 0.25, "--version at most 0.25 x crun's"),
    ("run, systemd", "crun", 1.0, "run with systemd no slower than crun's"),
    ("run, filtered", "crun", 0.35, "run with a profile at most 0.35 x crun's"),
    ("memory of create", "crun", 1.0, "peak memory of create below crun's"),
    ("memory of run", "crun", 1.0, "peak memory of run below crun's"),
];

/// What limits add to a run, as a part of what they add to crun's.
const ADDITION: f64 = 1.0 / 3.0;
/// The rows that it is the difference of, the unit.
const ADDITIONS: [(&str, &str, &str); 3] = [
    ("run, no limits", "run, limits", "µs"),
    ("cpu, no limits", "cpu, limits", "µs of a processor"),
    ("calls, no limits", "calls, limits", "calls"),
];

/// Over the empty static binary, which is what the floor's column has in this row.
const PARSING_MICROSECONDS: f64 = 130.0;
const SIZE_BYTES: u64 = 3_000_000;

/// Minimum and median of one cell, in the unit that is printed.
#[derive(Clone, Copy)]
struct Cell {
    minimum: f64,
    median: f64,
}

fn cell(samples: &Samples, row: &'static str, name: &str) -> Option<Cell> {
    let mut numbers = samples.get(&(row, name.to_owned()))?.clone();
    numbers.sort_unstable();
    let middle = numbers.len() / 2;
    let median = match numbers.len() % 2 {
        1 => numbers[middle],
        _ => u64::midpoint(numbers[middle - 1], numbers[middle]),
    };
    #[allow(clippy::cast_precision_loss)] // below 2^53 ns: 104 days
    let scaled = |number: u64| number as f64 / if is_time(row) { 1000.0 } else { 1.0 };
    Some(Cell { minimum: scaled(numbers[0]), median: scaled(median) })
}

fn is_time(row: &str) -> bool {
    let counts = ["memory", "calls", "instructions", "executed", "getppid"];
    !counts.iter().any(|count| row.starts_with(count))
}

/// One line per row: minimum and median of each contender, then hull's ratio to each of the others,
/// of the minima and of the medians.
pub fn print(rows: &[&'static str], contenders: &[Contender], samples: &Samples) {
    let others: Vec<_> = contenders.iter().filter(|contender| contender.name != "hull").collect();
    let has_hull = others.len() < contenders.len();
    let mut names = format!("{:16}", "");
    let mut heads = format!("{:16}", "µs, KiB, calls");
    for contender in contenders {
        names += &format!(" |{:^17}", contender.name);
        heads += &format!(" |{:>8} {:>8}", "min", "median");
    }
    if has_hull {
        for contender in &others {
            names += &format!(" |{:^13}", format!("hull/{}", contender.name));
            heads += &format!(" |{:>6} {:>6}", "min", "median");
        }
    }
    println!("\n{names}\n{heads}\n{}", "-".repeat(heads.chars().count()));
    for row in rows {
        let mut line = format!("{row:16}");
        for contender in contenders {
            line += &match cell(samples, row, &contender.name) {
                Some(cell) => format!(" |{:8.0} {:8.0}", cell.minimum, cell.median),
                None => format!(" |{:>8} {:>8}", "-", "-"),
            };
        }
        let hull = cell(samples, row, "hull");
        for contender in others.iter().filter(|_| has_hull) {
            line += &match hull.zip(cell(samples, row, &contender.name)) {
                Some((hull, other)) => {
                    format!(
                        " |{:6.2} {:6.2}",
                        hull.minimum / other.minimum,
                        hull.median / other.median
                    )
                }
                None => format!(" |{:>6} {:>6}", "-", "-"),
            };
        }
        println!("{line}");
    }
    println!(
        "parsing: `state` of a container that is not there. The floor's --version and parsing: an empty \
         static executable.\nLoops: microseconds per container over all loops. memory of init: the \
         container's process. calls: the runtime's and its children's. cpu: the processor's time of \
         both.\nfiltered: with docker's \
         seccomp profile, of which executed are so many instructions at most. getppid: ns a call in \
         such a container; the floor's is without one. memory.max, least: with which three runs succeed, to 16 KiB."
    );
}

/// What each program weighs as a file.
pub fn print_sizes(contenders: &[Contender], empty: &Path) {
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut line = "file size, bytes:".to_owned();
    for contender in contenders {
        line += &format!(" {} {},", contender.name, size(&contender.program));
    }
    println!("{line} empty {}", size(empty));
}

/// Each target of the rows, and whether it is reached by the medians and by the minima.
pub fn print_targets(rows: &[&str], contenders: &[Contender], samples: &Samples) {
    let Some(hull) = contenders.iter().find(|contender| contender.name == "hull") else {
        return;
    };
    println!("\n{:46} {:>24} {:>24}", "target", "by the medians", "by the minima");
    for (row, other, factor, words) in RATIOS.iter().filter(|(row, ..)| rows.contains(row)) {
        let cells = cell(samples, row, "hull").zip(cell(samples, row, other));
        let verdict = |of: fn(Cell) -> f64| {
            cells.map_or_else(
                || "not measured".to_owned(),
                |(hull, other)| {
                    let ratio = of(hull) / of(other);
                    format!(
                        "{ratio:.2} {}",
                        reached(if *factor == 1.0 { ratio < 1.0 } else { ratio <= *factor })
                    )
                },
            )
        };
        println!(
            "{words:46} {:>24} {:>24}",
            verdict(|cell| cell.median),
            verdict(|cell| cell.minimum)
        );
    }
    for row in ["--version", "parsing"].into_iter().filter(|row| rows.contains(row)) {
        let cells = cell(samples, row, "hull").zip(cell(samples, row, "floor"));
        let verdict = |of: fn(Cell) -> f64| {
            cells.map_or_else(
                || "not measured".to_owned(),
                |(hull, empty)| {
                    let over = of(hull) - of(empty);
                    format!("{over:.0} {}", reached(over <= PARSING_MICROSECONDS))
                },
            )
        };
        let words = format!("{row} at most {PARSING_MICROSECONDS} µs over empty");
        println!(
            "{words:46} {:>24} {:>24}",
            verdict(|cell| cell.median),
            verdict(|cell| cell.minimum)
        );
    }
    print_additions(rows, samples);
    print_filter_targets(rows, samples);
    let size = fs::metadata(&hull.program).map_or(u64::MAX, |metadata| metadata.len());
    println!(
        "{:46} {:>24}",
        "executable under 3 MB",
        format!("{size} {}", reached(size < SIZE_BYTES))
    );
}

/// What limits add: in time, in work, in calls.
fn print_additions(rows: &[&str], samples: &Samples) {
    for (without, with, unit) in ADDITIONS.into_iter().filter(|(_, with, _)| rows.contains(with)) {
        let added = |name: &str| cell(samples, without, name).zip(cell(samples, with, name));
        let cells = added("hull").zip(added("crun"));
        let verdict = |of: fn(Cell) -> f64| {
            cells.map_or_else(
                || "not measured".to_owned(),
                |((free, limited), (crun_free, crun_limited))| {
                    let (ours, theirs) = (of(limited) - of(free), of(crun_limited) - of(crun_free));
                    format!("{ours:.0}/{theirs:.0} {}", reached(ours <= ADDITION * theirs))
                },
            )
        };
        println!(
            "{:46} {:>24} {:>24}",
            format!("limits add a third of crun's, {unit}"),
            verdict(|cell| cell.median),
            verdict(|cell| cell.minimum)
        );
    }
}

/// What a seccomp profile may cost: the row, what is subtracted or divided by, the most.
fn print_filter_targets(rows: &[&str], samples: &Samples) {
    let medians = |row, name| cell(samples, row, name).map(|cell| cell.median);
    let hull = |row| medians(row, "hull");
    let targets = [
        ("compile", "compiling the profile at most 300 µs", hull("compile"), 300.0),
        ("load", "loading the filter at most 250 µs", hull("load"), 250.0),
        ("executed", "at most 20 instructions for a call", hull("executed"), 20.0),
        (
            "run, filtered",
            "run with the profile at most 1.2 x without",
            hull("run, filtered").zip(hull("run")).map(|(with, without)| with / without),
            1.2,
        ),
        (
            "getppid",
            "a call in the container at most 15 ns slower",
            hull("getppid").zip(medians("getppid", "floor")).map(|(with, without)| with - without),
            15.0,
        ),
    ];
    for (_, words, figure, most) in targets.into_iter().filter(|(row, ..)| rows.contains(row)) {
        let verdict = figure.map_or_else(
            || "not measured".to_owned(),
            |figure| format!("{figure:.2} {}", reached(figure <= most)),
        );
        println!("{words:46} {verdict:>24}");
    }
}

fn reached(is: bool) -> &'static str {
    if is { "reached" } else { "NOT REACHED" }
}
