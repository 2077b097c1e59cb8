//! What `hack/bench` runs: hull, crun, runc and the floor program (`hack/floor.rs`), one after the
//! other in every round, so that a busy machine is busy for all of them. `hack/bench --help` tells
//! the options. The operations and their order are in `operations`, the figures to reach in `report`.
mod contender;
mod operations;
mod process;
mod profile;
mod report;

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Instant;

use contender::{Bench, Contender, Result, Samples};

#[derive(Default)]
struct Arguments {
    work: Option<PathBuf>,
    floor: Option<PathBuf>,
    empty: Option<PathBuf>,
    getppid: Option<PathBuf>,
    compile: Option<PathBuf>,
    /// A seccomp profile, as docker installs it.
    profile: Option<PathBuf>,
    strace: Option<PathBuf>,
    /// In the order of the table's columns; a name given again replaces.
    runtimes: Vec<(String, PathBuf)>,
    rounds: usize,
    only: Option<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let result = match arguments.first().and_then(|mode| mode.to_str()) {
        Some("--peak") => {
            return helper(&arguments, process::write_peak);
        }
        Some("--loop") => {
            return helper(&arguments, |times, program| {
                let times = times.to_str().and_then(|times| times.parse().ok());
                process::loop_over(times.expect("time_loops wrote a number"), program)
            });
        }
        _ => parse(&arguments).and_then(measure),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `MODE ARGUMENT PROGRAM ARGS...`: this program started by itself.
fn helper(
    arguments: &[OsString],
    act: impl Fn(&Path, &mut Command) -> std::io::Result<ExitStatus>,
) -> ExitCode {
    let mut program = Command::new(&arguments[2]);
    program.args(&arguments[3..]);
    match act(Path::new(&arguments[1]), &mut program) {
        Ok(status) => ExitCode::from(status.code().map_or(1, |code| code.to_le_bytes()[0])),
        Err(error) => {
            eprintln!("{}: {error}", program.get_program().display());
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<Arguments> {
    let mut parsed = Arguments { rounds: 50, ..Arguments::default() };
    let mut words = arguments.iter().map(|word| word.to_string_lossy().into_owned());
    while let Some(flag) = words.next() {
        // What cargo bench adds.
        if flag == "--bench" {
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{flag}: it needs a value"))?;
        match flag.as_str() {
            "--work" => parsed.work = Some(value.into()),
            "--floor" => parsed.floor = Some(value.into()),
            "--empty" => parsed.empty = Some(value.into()),
            "--getppid" => parsed.getppid = Some(value.into()),
            "--compile" => parsed.compile = Some(value.into()),
            "--profile" => parsed.profile = Some(value.into()),
            "--strace" => parsed.strace = Some(value.into()),
            "--rounds" => {
                parsed.rounds =
                    value.parse().map_err(|error| format!("--rounds {value}: {error}"))?;
            }
            "--only" => parsed.only = Some(value),
            "--runtime" => {
                let (name, path) = value
                    .split_once('=')
                    .ok_or_else(|| format!("--runtime {value}: not NAME=PATH"))?;
                match parsed.runtimes.iter_mut().find(|(known, _)| known == name) {
                    Some((_, known)) => *known = path.into(),
                    None => parsed.runtimes.push((name.to_owned(), path.into())),
                }
            }
            _ => return Err(format!("unknown option {flag}")),
        }
    }
    Ok(parsed)
}

/// The story: the bundle, one trial of each contender, the rounds, the report.
fn measure(arguments: Arguments) -> Result<()> {
    let (Some(work), Some(floor), Some(empty)) = (arguments.work, arguments.floor, arguments.empty)
    else {
        // `cargo test --benches` and `cargo bench` start this too.
        println!("bench: nothing measured; hack/bench says what it needs");
        return Ok(());
    };
    let groups = operations::chosen(arguments.only.as_deref())?;
    make_bundle(&work, &empty)?;
    if let (Some(getppid), Some(profile)) = (&arguments.getppid, &arguments.profile) {
        make_filtered_bundles(&work, getppid, profile)?;
    } else {
        println!("skip: no filter is measured: there is no profile");
    }
    process::become_subreaper()
        .map_err(|error| format!("prctl(PR_SET_CHILD_SUBREAPER): {error}"))?;
    let errors = File::options().create(true).append(true).open(work.join("errors"));
    let errors = errors.map_err(|error| format!("{}: {error}", work.display()))?;
    let strace = arguments.strace;
    if strace.is_none() {
        println!("skip: no system calls are counted: there is no strace");
    }
    let has_limits = has_controllers();
    if !has_limits {
        println!("skip: no limits are measured: cgroup v2 has no memory, cpu or pids here");
    }
    // sd_booted(3).
    let has_systemd = Path::new("/run/systemd/system").exists();
    if !has_systemd {
        println!("skip: no scopes are measured: systemd is not process 1");
    }
    let compile = arguments.compile;
    let samples = Samples::new();
    let mut bench =
        Bench { has_limits, has_systemd, work, errors, empty, compile, strace, round: 0, samples };

    let mut contenders = Vec::new();
    for (name, program) in arguments.runtimes {
        contenders.extend(bench.entrant(name, program)?);
    }
    contenders.push(Contender { name: "floor".to_owned(), program: floor, root: None });
    bench.expect(&mut bench.run_command(&contenders[contenders.len() - 1], "trial"), "floor")?;

    let begin = Instant::now();
    for round in 0..arguments.rounds {
        bench.round = round;
        for (_, _, act) in &groups {
            for turn in 0..contenders.len() {
                act(&mut bench, &contenders[(round + turn) % contenders.len()])
                    .inspect_err(|_| bench.clean_up(&contenders))?;
            }
        }
    }
    println!("{} rounds in {} s", arguments.rounds, begin.elapsed().as_secs());

    let mut rows: Vec<_> = groups.iter().flat_map(|(_, rows, _)| rows.iter().copied()).collect();
    if let Some(only) = arguments.only.as_deref().filter(|only| rows.contains(only)) {
        rows.retain(|row| *row == only);
    }
    report::print(&rows, &contenders, &bench.samples);
    report::print_sizes(&contenders, &bench.empty);
    report::print_targets(&rows, &contenders, &bench.samples);
    Ok(())
}

/// Whether cgroup v2 can do what `limits.json` asks for.
fn has_controllers() -> bool {
    let names = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    ["memory", "cpu", "pids"].iter().all(|name| names.split_whitespace().any(|it| it == *name))
}

/// Two more configs: the same program, and one that makes many calls, with a seccomp profile.
fn make_filtered_bundles(work: &Path, getppid: &Path, profile: &Path) -> Result<()> {
    let mut config: serde_json::Value =
        serde_json::from_str(include_str!("config.json")).expect("the config is JSON");
    config["linux"]["seccomp"] = profile::section(profile)?;
    config["root"]["path"] = work.join("bundle/rootfs").display().to_string().into();
    let mut make = |name: &str, program: &str| {
        config["process"]["args"] = serde_json::json!([program]);
        fs::create_dir(work.join(name))?;
        fs::write(work.join(name).join("config.json"), config.to_string())
    };
    make(operations::FILTERED, "/bin/true")
        .and_then(|()| make(operations::CALLING, "/bin/getppid"))
        .and_then(|()| fs::copy(getppid, work.join("bundle/rootfs/bin/getppid")).map(drop))
        .map_err(|error| format!("make a bundle in {}: {error}", work.display()))
}

/// One more, with this limit of memory, in bytes, and no swap.
fn bundle_with_memory(work: &Path, limit: u64) -> Result<PathBuf> {
    let mut config: serde_json::Value =
        serde_json::from_str(include_str!("config.json")).expect("the config is JSON");
    config["linux"]["resources"] =
        serde_json::json!({ "memory": { "limit": limit, "swap": limit } });
    config["root"]["path"] = work.join("bundle/rootfs").display().to_string().into();
    let bundle = work.join("least");
    fs::create_dir_all(&bundle)
        .and_then(|()| fs::write(bundle.join("config.json"), config.to_string()))
        .map_err(|error| format!("make {}: {error}", bundle.display()))?;
    Ok(bundle)
}

/// A rootfs with the mount points and one program, and a config.json as an engine writes it.
fn make_bundle(work: &Path, empty: &Path) -> Result<()> {
    let rootfs = work.join("bundle/rootfs");
    let make = || {
        for directory in ["bin", "dev", "proc", "sys"] {
            fs::create_dir_all(rootfs.join(directory))?;
        }
        fs::copy(empty, rootfs.join("bin/true"))?;
        fs::write(work.join("bundle/config.json"), include_str!("config.json"))?;
        // As docker writes them for `--memory 512m --cpus 1.5 --cpu-shares 512 --pids-limit 100`.
        let mut config: serde_json::Value = serde_json::from_str(include_str!("config.json"))?;
        config["linux"]["resources"] = serde_json::from_str(include_str!("limits.json"))?;
        config["root"]["path"] = rootfs.display().to_string().into();
        fs::create_dir(work.join(operations::LIMITED))?;
        fs::write(work.join(operations::LIMITED).join("config.json"), config.to_string())
    };
    make().map_err(|error| format!("make the bundle in {}: {error}", work.display()))
}
