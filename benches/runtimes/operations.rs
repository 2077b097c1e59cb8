//! What is measured: one function per group of operations, called once a round for each contender.

use std::time::Instant;

use crate::contender::{Bench, Contender, Result};
use crate::process;

/// One name of `--only`, the rows that it measures, how.
pub type Group = (&'static str, &'static [&'static str], fn(&mut Bench, &Contender) -> Result<()>);

const GROUPS: &[Group] = &[
    ("version", &["--version"], version),
    ("parsing", &["parsing"], parsing),
    ("steps", &["create", "state", "start", "delete"], steps),
    ("cycle", &["cycle"], cycle),
    ("run", &["run"], run),
    ("exec", &["exec"], exec),
    ("limits", &LIMITS, limits),
    ("least", &["memory.max, least"], least),
    ("systemd", &["run, systemd", "cpu, systemd"], systemd),
    ("parallel", &["run, 2 loops", "run, 8 loops"], parallel),
    ("memory", &["memory of create", "memory of init", "memory of run"], memory),
    ("filter", &["run, filtered", "compile", "load", "instructions", "executed"], filter),
    ("getppid", &["getppid"], getppid),
    ("calls", &["calls of create", "calls of run"], calls),
];

/// Pairs: without limits, with them.
const LIMITS: [&str; 6] = [
    "run, no limits",
    "run, limits",
    "cpu, no limits",
    "cpu, limits",
    "calls, no limits",
    "calls, limits",
];

/// The bundle with limits and device rules.
pub const LIMITED: &str = "limits";
/// The bundles with a seccomp profile: of the empty program, and of the one that makes calls.
pub const FILTERED: &str = "filtered";
pub const CALLING: &str = "calling";

/// How often a round repeats what takes well below a millisecond.
const SHORT: usize = 5;
/// Runs of one sample of `parallel`, over all its loops.
const PARALLEL_RUNS: usize = 16;
/// System calls are counted in so many rounds: the count hardly changes, and strace is slow.
const TRACED_ROUNDS: usize = 3;

/// The groups that `--only` names, by their own name or a row of theirs.
pub fn chosen(only: Option<&str>) -> Result<Vec<&'static Group>> {
    let matches =
        |group: &&Group| only.is_none_or(|name| name == group.0 || group.1.contains(&name));
    let groups: Vec<_> = GROUPS.iter().filter(matches).collect();
    if groups.is_empty() {
        let names = GROUPS.iter().flat_map(|(name, rows, _)| std::iter::once(name).chain(*rows));
        let mut names: Vec<_> = names.copied().collect();
        names.dedup();
        return Err(format!("--only {}: one of {}", only.unwrap_or_default(), names.join("; ")));
    }
    Ok(groups)
}

fn version(bench: &mut Bench, contender: &Contender) -> Result<()> {
    for _ in 0..SHORT {
        let mut command = match contender.root {
            Some(_) => bench.command(&contender.program, &["--version"]),
            None => bench.command(&bench.empty, &[]),
        };
        let elapsed = bench.expect(&mut command, &contender.name)?;
        bench.add("--version", contender, elapsed);
    }
    Ok(())
}

/// A whole command line, and the least that a runtime can do after it: to say that there is no such
/// container.
fn parsing(bench: &mut Bench, contender: &Contender) -> Result<()> {
    for _ in 0..SHORT {
        let mut command = match contender.root {
            Some(_) => bench.on(contender, &["state", "absent"]),
            None => bench.command(&bench.empty, &[]),
        };
        let (elapsed, status) = process::time(&mut command).map_err(|error| error.to_string())?;
        if contender.root.is_some() && status.success() {
            return Err(format!(
                "{} state: there is no such container, but it succeeds",
                contender.name
            ));
        }
        bench.add("parsing", contender, elapsed);
    }
    bench.forget_errors()
}

pub fn steps(bench: &mut Bench, contender: &Contender) -> Result<()> {
    if contender.root.is_none() {
        return Ok(());
    }
    let id = "hull-bench-steps";
    let (create, pid) = bench.create(contender, id)?;
    bench.add("create", contender, create);
    for _ in 0..SHORT {
        let state = bench.expect(&mut bench.on(contender, &["state", id]), &contender.name)?;
        bench.add("state", contender, state);
    }
    let start = bench.expect(&mut bench.on(contender, &["start", id]), &contender.name)?;
    bench.add("start", contender, start);
    bench.wait_for_the_end(pid)?;
    let delete = bench.expect(&mut bench.on(contender, &["delete", id]), &contender.name)?;
    bench.add("delete", contender, delete);
    Ok(())
}

/// create, start, the end of the program, delete: as an engine without a shim would see it.
fn cycle(bench: &mut Bench, contender: &Contender) -> Result<()> {
    if contender.root.is_none() {
        return Ok(());
    }
    let id = "hull-bench-cycle";
    let begin = Instant::now();
    let (_, pid) = bench.create(contender, id)?;
    bench.expect(&mut bench.on(contender, &["start", id]), &contender.name)?;
    bench.wait_for_the_end(pid)?;
    bench.expect(&mut bench.on(contender, &["delete", id]), &contender.name)?;
    bench.add("cycle", contender, begin.elapsed());
    Ok(())
}

pub fn run(bench: &mut Bench, contender: &Contender) -> Result<()> {
    let elapsed = bench.expect(&mut bench.run_command(contender, "run"), &contender.name)?;
    bench.add("run", contender, elapsed);
    Ok(())
}

/// Into a container that was created: its own program, which ends at once, is not started before.
fn exec(bench: &mut Bench, contender: &Contender) -> Result<()> {
    if contender.root.is_none() {
        return Ok(());
    }
    let id = "hull-bench-exec";
    let (_, pid) = bench.create(contender, id)?;
    for _ in 0..SHORT {
        let mut command = bench.on(contender, &["exec", id, "/bin/true"]);
        let elapsed = bench.expect(&mut command, &contender.name)?;
        bench.add("exec", contender, elapsed);
    }
    bench.expect(&mut bench.on(contender, &["start", id]), &contender.name)?;
    bench.wait_for_the_end(pid)?;
    bench.expect(&mut bench.on(contender, &["delete", id]), &contender.name)?;
    Ok(())
}

/// One after the other, so that what limits and device rules add is the difference of two neighbours.
fn limits(bench: &mut Bench, contender: &Contender) -> Result<()> {
    if contender.root.is_none() || !bench.has_limits {
        return Ok(());
    }
    for (at, bundle) in ["bundle", LIMITED].into_iter().enumerate() {
        let command = |id| bench.run_bundle(contender, &bench.work.join(bundle), id);
        let (elapsed, cpu) = bench.expect_cpu(&mut command("limits"), &contender.name)?;
        let traced = command("calls");
        bench.add(LIMITS[at], contender, elapsed);
        bench.add(LIMITS[2 + at], contender, cpu);
        if let Some(strace) = bench.strace.clone().filter(|_| bench.round < TRACED_ROUNDS) {
            let tracee = bench.start_traced(&strace, &traced, &contender.name)?;
            let calls = bench.finish_traced(tracee)?;
            bench.add_number(LIMITS[4 + at], contender, calls);
        }
    }
    Ok(())
}

/// The least `memory.max` that a run succeeds with, in KiB, to [`STEP`]; nothing of a runtime that needs
/// more than [`LARGEST`]. One search is enough: a limit counts as enough if three runs in a row succeed.
fn least(bench: &mut Bench, contender: &Contender) -> Result<()> {
    const LARGEST: u64 = 8192;
    const STEP: u64 = 16;
    if contender.root.is_none() || !bench.has_limits || bench.round > 0 {
        return Ok(());
    }
    let (mut too_little, mut enough) = (0, 2 * LARGEST);
    while enough - too_little > STEP {
        let middle = u64::midpoint(too_little, enough);
        let bundle = crate::bundle_with_memory(&bench.work, middle * 1024)?;
        let mut runs = true;
        for _ in 0..3 {
            let mut run = bench.run_bundle(contender, &bundle, "least");
            let (_, status) = process::time(&mut run).map_err(|error| error.to_string())?;
            runs &= status.success();
        }
        if !runs {
            // A runtime may leave what it could not make whole; most leave nothing, and say so.
            let mut delete = bench.on(contender, &["delete", "--force", "hull-bench-least"]);
            process::time(&mut delete).map_err(|error| error.to_string())?;
        }
        *(if runs { &mut enough } else { &mut too_little }) = middle;
    }
    if enough <= LARGEST {
        bench.add_number("memory.max, least", contender, enough);
    }
    bench.forget_errors()
}

/// `run` in a scope of systemd.
fn systemd(bench: &mut Bench, contender: &Contender) -> Result<()> {
    if contender.root.is_none() || !bench.has_systemd {
        return Ok(());
    }
    let mut command = bench.on(contender, &["--systemd-cgroup", "run", "--bundle"]);
    command.arg(bench.work.join("bundle")).arg("hull-bench-systemd");
    let (elapsed, cpu) = bench.expect_cpu(&mut command, &contender.name)?;
    bench.add("run, systemd", contender, elapsed);
    bench.add("cpu, systemd", contender, cpu);
    Ok(())
}

/// `run` with a profile, and what of it is hull's compiler and the kernel's loader.
fn filter(bench: &mut Bench, contender: &Contender) -> Result<()> {
    if contender.root.is_none() || !bench.work.join(FILTERED).exists() {
        return Ok(());
    }
    let mut run = bench.run_bundle(contender, &bench.work.join(FILTERED), "filtered");
    let elapsed = bench.expect(&mut run, &contender.name)?;
    bench.add("run, filtered", contender, elapsed);
    let Some(compile) = bench.compile.clone().filter(|_| contender.name == "hull") else {
        return Ok(());
    };
    let mut command = bench.command(&compile, &[]);
    command.arg(bench.work.join(FILTERED).join("config.json"));
    let numbers = bench.numbers(&mut command, "compile")?;
    for (row, number) in ["compile", "load", "instructions", "executed"].iter().zip(numbers) {
        bench.add_number(row, contender, number);
    }
    Ok(())
}

/// A million calls in a container with a profile; the floor's column: without a container.
fn getppid(bench: &mut Bench, contender: &Contender) -> Result<()> {
    if !bench.work.join(CALLING).exists() {
        return Ok(());
    }
    let mut command = match contender.root {
        Some(_) => bench.run_bundle(contender, &bench.work.join(CALLING), "getppid"),
        None => bench.command(&bench.work.join("bundle/rootfs/bin/getppid"), &[]),
    };
    let numbers = bench.numbers(&mut command, &contender.name)?;
    for number in numbers {
        bench.add_number("getppid", contender, number);
    }
    Ok(())
}

fn parallel(bench: &mut Bench, contender: &Contender) -> Result<()> {
    for (row, loops) in [("run, 2 loops", 2), ("run, 8 loops", 8)] {
        let commands: Vec<_> =
            (0..loops).map(|one| bench.run_command(contender, &format!("loop{one}"))).collect();
        let (elapsed, status) =
            process::time_loops(&commands, &bench.errors, PARALLEL_RUNS / loops)
                .map_err(|error| format!("{}: {error}", contender.name))?;
        bench.check(status, row, &contender.name)?;
        bench.add(row, contender, elapsed / PARALLEL_RUNS.try_into().expect("a small number"));
    }
    Ok(())
}

fn memory(bench: &mut Bench, contender: &Contender) -> Result<()> {
    let id = "hull-bench-memory";
    if contender.root.is_some() {
        let (peak, pid) = {
            let command = bench.create_command(contender, id);
            let peak = bench.peak(&command, &contender.name)?;
            (peak, bench.pid()?)
        };
        bench.add_number("memory of create", contender, peak);
        bench.expect(&mut bench.on(contender, &["start", id]), &contender.name)?;
        let init = bench.wait_for_the_end(pid)?;
        bench.add_number("memory of init", contender, init);
        bench.expect(&mut bench.on(contender, &["delete", id]), &contender.name)?;
    }
    let peak = bench.peak(&bench.run_command(contender, "memory"), &contender.name)?;
    bench.add_number("memory of run", contender, peak);
    Ok(())
}

fn calls(bench: &mut Bench, contender: &Contender) -> Result<()> {
    let Some(strace) = bench.strace.clone() else {
        return Ok(());
    };
    if bench.round >= TRACED_ROUNDS {
        return Ok(());
    }
    let id = "hull-bench-calls";
    if contender.root.is_some() {
        let command = bench.create_command(contender, id);
        let tracee = bench.start_traced(&strace, &command, &contender.name)?;
        let pid = bench.pid()?;
        bench.expect(&mut bench.on(contender, &["start", id]), &contender.name)?;
        bench.wait_for_the_end(pid)?;
        let calls = bench.finish_traced(tracee)?;
        bench.add_number("calls of create", contender, calls);
        bench.expect(&mut bench.on(contender, &["delete", id]), &contender.name)?;
    }
    let command = bench.run_command(contender, "calls");
    let tracee = bench.start_traced(&strace, &command, &contender.name)?;
    let calls = bench.finish_traced(tracee)?;
    bench.add_number("calls of run", contender, calls);
    Ok(())
}
