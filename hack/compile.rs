//! What hull's compiler and the kernel's loader take for the seccomp profile of a config, in a process of its own,
//! because only the first time counts, and with hull's allocator, whose new pages are part of the cost. Prints
//! both in nanoseconds, the instructions of the filter, and the most that a call of this architecture executes.

#[path = "../tests/seccomp/machine.rs"]
mod machine;

use std::error::Error;
use std::fs;
use std::time::Instant;

use hull::plan::Problems;
use hull::plan::seccomp::architectures::NATIVE;
use hull::plan::seccomp::{compile, flag, rules};
use hull::spec::config::Spec;
use hull::sys::alloc::Bump;
use hull::sys::{filter, ids};

use machine::Call;

#[global_allocator]
static ALLOCATOR: Bump = Bump::new();

fn main() -> Result<(), Box<dyn Error>> {
    let config = std::env::args_os().nth(1).ok_or("compile CONFIG")?;
    let config: Spec = serde_json::from_str(&fs::read_to_string(config)?)?;
    let section = config.linux.seccomp.ok_or("no profile")?;
    let mut problems = Problems::default();
    let start = Instant::now();
    let program = compile(&rules::check(&section, false, &mut problems), &mut problems);
    let compiled = start.elapsed().as_nanos();
    problems.into_result("the profile").map_err(|error| error.to_string())?;
    let steps = |number: u32, value: u64| {
        let call = Call { number, architecture: NATIVE.audit, args: [value; 6] };
        machine::run(&program, &call).1
    };
    let values = [0, 8, 40, 0x20000, 0xffff_ffff, u64::MAX];
    let all = (0..600).flat_map(|number| values.map(|value| steps(number, value)));
    let most = all.max().unwrap_or_default();
    ids::no_new_privs().map_err(|error| error.to_string())?;
    let start = Instant::now();
    filter::load(&program, flag::SPEC_ALLOW)?;
    let loaded = start.elapsed().as_nanos();
    println!("{compiled} {loaded} {} {most}", program.len());
    Ok(())
}
