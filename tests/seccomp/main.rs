//! The compiler of seccomp profiles: its filters run in a machine of the tests, beside those of libseccomp and beside
//! the kernel itself.

#[path = "../case/mod.rs"]
mod case;
mod machine;
mod made_up;
mod meaning;
mod need;
mod oracle;
mod profile;
mod verdicts;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    let programs = oracle::Programs::new();
    let trials = case::trials(&[meaning::TABLE, verdicts::TABLE]);
    let conclusion = libtest_mimic::run(&arguments, trials);
    programs.remove();
    conclusion.exit();
}
