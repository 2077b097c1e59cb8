//! The runtime seen from outside: real bundles, real containers, one file per feature.
//!
//! `HULL_RUNTIME=/usr/sbin/runc` runs the same tests against another runtime; a test that another runtime is known to
//! fail says so in its row and is then ignored. `HULL_TEST_SLOW=20` stretches every time limit (a machine in software
//! emulation).

mod bad_input;
mod bad_state;
mod binds;
mod bundle;
mod call;
#[path = "../case/mod.rs"]
mod case;
mod cgroup;
mod cli;
mod concurrency;
mod contract;
mod credentials;
mod delete;
mod descriptors;
mod device_rules;
mod devices;
mod events;
mod exec;
mod exec_bad_input;
mod exec_join;
mod exec_security;
mod executable;
mod fifo;
mod hooks;
#[path = "../case/kernel.rs"]
mod kernel;
mod killed;
mod lifecycle;
mod log;
mod mountinfo;
mod mounts;
mod namespaces;
mod need;
mod network;
mod paths;
#[path = "../case/patience.rs"]
mod patience;
mod pause;
mod process;
mod program;
mod ps;
mod regressions;
mod resources;
mod seccomp;
mod security;
mod sleeper;
mod syntax;
mod systemd;
mod terminal;
mod update;
mod user;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    let template = bundle::Template::new();
    let trials = case::trials(&[
        bad_input::TABLE,
        bad_state::TABLE,
        binds::TABLE,
        cgroup::TABLE,
        cli::TABLE,
        concurrency::TABLE,
        contract::TABLE,
        credentials::TABLE,
        delete::TABLE,
        descriptors::TABLE,
        device_rules::TABLE,
        devices::TABLE,
        events::TABLE,
        exec::TABLE,
        exec_bad_input::TABLE,
        exec_join::TABLE,
        exec_security::TABLE,
        executable::TABLE,
        hooks::TABLE,
        killed::TABLE,
        lifecycle::TABLE,
        log::TABLE,
        mounts::TABLE,
        namespaces::TABLE,
        network::TABLE,
        paths::TABLE,
        pause::TABLE,
        process::TABLE,
        program::TABLE,
        ps::TABLE,
        regressions::TABLE,
        resources::TABLE,
        seccomp::TABLE,
        security::TABLE,
        syntax::TABLE,
        systemd::TABLE,
        terminal::TABLE,
        update::TABLE,
        user::TABLE,
    ]);
    let conclusion = libtest_mimic::run(&arguments, trials);
    template.remove();
    conclusion.exit();
}
