//! linux.resources: of every property the value in the interface file as the container sees it, then the effects
//! themselves, and how it is said that something cannot be had. Most of it needs controllers in cgroup v2, which a
//! host of hybrid form does not have: `hack/vm` does.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bundle::{Bundle, shell};
use crate::call::{self, Output};
use crate::case::table;
use crate::cgroup::{directory_of, path_of, unified};
use crate::sleeper::Sleeper;

table!(Root, Busybox;
    memory_is_in_its_files[Controller("memory")],
    processors_are_in_their_files[Controller("cpu"), Controller("cpuset")],
    the_number_of_processes_is_in_its_file[Controller("pids")],
    limits_of_block_devices_are_in_their_files[Controller("io"), File("/dev/vda")],
    weights_of_block_devices_are_in_their_files[Controller("io"), Hull("runc skips a weight that has no file")],
    huge_pages_are_in_their_files[Controller("hugetlb"), File("/sys/kernel/mm/hugepages/hugepages-2048kB")],
    unified_files_are_written_as_they_are[Controller("memory"), Controller("pids")],
    unified_wins_over_what_was_converted[Controller("memory")],
    everything_is_counted_without_a_limit[Controller("memory"), Controller("pids"), Hull("the words of --cgroup-manager")],
    an_allocation_above_the_limit_is_killed[Controller("memory")],
    a_fork_above_the_limit_is_refused[Controller("pids")],
    with_a_limit_of_no_process_the_program_runs_alone[Controller("pids"), Hull("runc 1.1.5 takes 0 for no limit")],
    a_busy_loop_is_throttled[Controller("cpu")],
    a_program_stays_on_its_processors[Controller("cpuset")],
    a_write_is_slowed[Controller("io"), Program("losetup")],
    an_init_without_memory_says_so_with_the_limit[Controller("memory"), Hull("its words")],
    a_value_that_the_kernel_refuses_is_named_with_its_file[Controller("cpuset"), Hull("its words")],
    a_file_that_the_kernel_does_not_have_is_named[Controller("memory"), Hull("its words")],
    a_controller_that_no_kernel_has_is_named[Hull("its words")],
    a_controller_in_version_1_is_named_with_its_mount[NoController("memory"), File("/sys/fs/cgroup/memory"), Hull("runc uses v1")],
    no_limit_needs_no_controller[NoController("memory"), Hull("runc uses v1")],
    a_controller_that_is_not_delegated_is_named[Controller("memory"), Hull("its words")],
    a_parent_with_processes_gives_no_controllers[Controller("memory"), Hull("its words")],
    a_failed_limit_leaves_nothing[Controller("cpuset")],
    controllers_are_enabled_on_every_level[Controller("memory")],
    the_users_own_cgroup_namespace_is_his_to_divide[Hull("runc 1.1.5 does so for user namespaces alone")],
    a_read_only_cgroup_mount_is_not_given_away,
    below_a_threaded_cgroup_the_container_is_threaded[Hull("its words")],
    below_a_threaded_cgroup_memory_cannot_be_limited[Controller("memory"), Hull("its words")],
    where_clone3_does_not_know_cgroups_init_is_in_its_cgroup_all_the_same[Program("strace"), Hull("it injects into its calls")],
    a_thousandth_of_a_gigabyte_runs_a_program[Controller("memory")],
);

// ------------------------------------------------------------------ the bundles

/// A container that sees its cgroup, with these resources.
fn with(resources: Value) -> Bundle {
    let options = ["ro", "nosuid", "noexec", "nodev"];
    let bundle = Bundle::new().mount("cgroup", "cgroup", "/sys/fs/cgroup", &options);
    bundle.set("/linux/resources", resources)
}

/// What the container reads in its interface files.
fn files(resources: Value, files: &[&str]) -> Output {
    let script = files.iter().map(|file| format!("cat /sys/fs/cgroup/{file}"));
    with(resources).script(&script.collect::<Vec<_>>().join(" && ")).run().ok()
}

/// Each row: resources, a file, and what is to be in it.
fn are_in_their_files(rows: &[(Value, &str, &str)]) {
    for (resources, file, expected) in rows {
        let output = files(resources.clone(), &[file]);
        let found = output.stdout.trim_end();
        assert!(found == *expected, "{file} with {resources}: {found:?}, expected {expected:?}");
    }
}

// ------------------------------------------------------------ values in files

fn memory_is_in_its_files() {
    let gigabyte: i64 = 1 << 30;
    let memory = |memory: Value| json!({"memory": memory});
    are_in_their_files(&[
        (memory(json!({"limit": gigabyte})), "memory.max", "1073741824"),
        (memory(json!({"limit": gigabyte})), "memory.swap.max", "max"),
        (memory(json!({"limit": -1})), "memory.max", "max"),
        (memory(json!({"limit": 0})), "memory.max", "max"),
        (memory(json!({"reservation": 4096})), "memory.low", "4096"),
        (memory(json!({"limit": gigabyte, "swap": gigabyte})), "memory.swap.max", "0"),
        (memory(json!({"limit": gigabyte, "swap": 3 * gigabyte})), "memory.swap.max", "2147483648"),
        (memory(json!({"limit": gigabyte, "swap": -1})), "memory.swap.max", "max"),
        (memory(json!({"limit": -1, "swap": gigabyte})), "memory.swap.max", "1073741824"),
    ]);
}

fn processors_are_in_their_files() {
    let cpu = |cpu: Value| json!({"cpu": cpu});
    are_in_their_files(&[
        (cpu(json!({"shares": 1024})), "cpu.weight", "100"),
        (cpu(json!({"shares": 2})), "cpu.weight", "1"),
        (cpu(json!({"shares": 262_144})), "cpu.weight", "10000"),
        (cpu(json!({"shares": 0})), "cpu.weight", "100"),
        (cpu(json!({"quota": 50_000})), "cpu.max", "50000 100000"),
        (cpu(json!({"quota": 50_000, "period": 200_000})), "cpu.max", "50000 200000"),
        (cpu(json!({"period": 200_000})), "cpu.max", "max 200000"),
        (cpu(json!({"quota": -1, "period": 0})), "cpu.max", "max 100000"),
        (cpu(json!({"quota": 50_000, "burst": 50_000})), "cpu.max.burst", "50000"),
        (cpu(json!({"idle": 1, "shares": 1024})), "cpu.idle", "1"),
        (cpu(json!({"idle": 0, "shares": 512})), "cpu.weight", "59"),
        (cpu(json!({"cpus": "0"})), "cpuset.cpus", "0"),
        (cpu(json!({"cpus": "0,1"})), "cpuset.cpus", "0-1"),
        (cpu(json!({"mems": "0"})), "cpuset.mems", "0"),
    ]);
}

fn the_number_of_processes_is_in_its_file() {
    are_in_their_files(&[
        (json!({"pids": {"limit": 100}}), "pids.max", "100"),
        (json!({"pids": {"limit": -1}}), "pids.max", "max"),
        (json!({"pids": {}}), "pids.max", "max"),
    ]);
}

/// The number of /dev/vda, the machine's disk.
fn disk() -> (u64, u64) {
    let text = fs::read_to_string("/sys/block/vda/dev").expect("the machine's disk");
    let (major, minor) = text.trim().split_once(':').expect("two numbers");
    (major.parse().expect("a number"), minor.parse().expect("a number"))
}

fn limits_of_block_devices_are_in_their_files() {
    let (major, minor) = disk();
    let rate = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let io = |name: &str, list: Value| json!({"blockIO": {name: list}});
    let line = |limits: &str| format!("{major}:{minor} {limits}");
    let all = json!({"blockIO": {
        "throttleReadBpsDevice": rate(1 << 20), "throttleWriteBpsDevice": rate(2 << 20),
        "throttleReadIOPSDevice": rate(10), "throttleWriteIOPSDevice": rate(20),
    }});
    let iops = line("rbps=max wbps=max riops=10 wiops=max");
    let all_of_it = line("rbps=1048576 wbps=2097152 riops=10 wiops=20");
    are_in_their_files(&[
        (io("throttleReadIOPSDevice", rate(10)), "io.max", &iops),
        (io("throttleReadIOPSDevice", rate(0)), "io.max", ""),
        (all, "io.max", &all_of_it),
    ]);
}

// Only with the scheduler BFQ, or with the cost model of blk-iocost, can a kernel do it.
fn weights_of_block_devices_are_in_their_files() {
    let script = "cd /sys/fs/cgroup; cat io.bfq.weight || cat io.weight";
    let bundle = with(json!({"blockIO": {"weight": 500}})).script(script);
    let output = bundle.run();
    if output.code == 0 {
        let first = output.lines()[0];
        assert!(["default 500", "500", "default 4950"].contains(&first), "{output}");
    } else {
        let _ =
            output.refused().says("this kernel has no such file").says("io.weight\", \"4950\")");
    }
}

fn huge_pages_are_in_their_files() {
    let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]});
    are_in_their_files(&[
        (limits.clone(), "hugetlb.2MB.max", "4194304"),
        (limits, "hugetlb.2MB.rsvd.max", "4194304"),
    ]);
}

fn unified_files_are_written_as_they_are() {
    let unified = |file: &str, value: &str| json!({"unified": {file: value}});
    are_in_their_files(&[
        (unified("memory.high", "1073741824"), "memory.high", "1073741824"),
        (unified("memory.oom.group", "1\n"), "memory.oom.group", "1"),
        (unified("pids.max", "7"), "pids.max", "7"),
        (unified("cgroup.max.descendants", "3"), "cgroup.max.descendants", "3"),
    ]);
}

fn unified_wins_over_what_was_converted() {
    let both = json!({"memory": {"limit": 1 << 30}, "unified": {"memory.max": "536870912"}});
    are_in_their_files(&[(both, "memory.max", "536870912")]);
}

// Engines read what a container uses whether or not they have limited it.
fn everything_is_counted_without_a_limit() {
    let output = files(json!({}), &["memory.current", "pids.current"]);
    let numbers: Vec<u64> = output.lines().iter().filter_map(|line| line.parse().ok()).collect();
    assert!(numbers.len() == 2 && numbers.iter().all(|number| *number > 0), "{output}");
}

// ------------------------------------------------------------------ the effects

fn an_allocation_above_the_limit_is_killed() {
    let limit: i64 = 32 << 20;
    let run = |size: &str| {
        let memory = json!({"memory": {"limit": limit, "swap": limit}});
        let block = format!("bs={size}");
        with(memory).args(&["dd", "if=/dev/zero", "of=/dev/null", &block, "count=1"]).run()
    };
    let _ = run("128M").exits(137);
    let _ = run("4M").ok();
}

/// Three processes beside the shell, which ends them.
const THREE: &str = "for i in 1 2 3; do sleep 1000 & done; kill $! && echo all";

fn a_fork_above_the_limit_is_refused() {
    let run = |limit: i64| with(json!({"pids": {"limit": limit}})).script(THREE).run();
    let refused = run(3);
    assert!(refused.code != 0 && refused.stderr.contains("fork"), "{refused}");
    let _ = run(4).ok().prints("all");
    let _ = run(-1).ok().prints("all");
}

fn with_a_limit_of_no_process_the_program_runs_alone() {
    let bundle = || with(json!({"pids": {"limit": 0}}));
    let _ = bundle().script("cat < /dev/null; echo").run().exits(2).says("fork");
    let _ = bundle().args(&["cat", "/sys/fs/cgroup/pids.max"]).run().ok().prints("0");
}

/// Runs until it was throttled, or through a number of rounds that takes longer than that.
const SPIN: &str = "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); while read -r key value; do \
     [ $key != nr_throttled ] || [ $value = 0 ] || { echo throttled; exit; }; done < /sys/fs/cgroup/cpu.stat; done";

fn a_busy_loop_is_throttled() {
    let run = |cpu: Value, script: &str| with(json!({"cpu": cpu})).script(script).run();
    let _ = run(json!({"quota": 5_000, "period": 100_000}), SPIN).ok().prints("throttled");
    let short = SPIN.replace("20000", "100");
    let _ = run(json!({"shares": 1024}), &short).ok().prints("");
}

fn a_program_stays_on_its_processors() {
    let allowed = "grep Cpus_allowed_list /proc/self/status | cut -f 2";
    for cpus in ["0", "1"] {
        let _ = with(json!({"cpu": {"cpus": cpus}})).script(allowed).run().ok().prints(cpus);
    }
}

/// A block device over a file, for the time of a test.
struct Loop(String);

impl Loop {
    fn new(file: &std::path::Path) -> Self {
        let image = fs::File::create(file).expect("an image");
        image.set_len(16 << 20).expect("truncate");
        let file = file.to_str().expect("UTF-8");
        // Where it is built in there is nothing to load.
        Command::new("modprobe").arg("loop").status().ok();
        Self(call::host(&["losetup", "--find", "--show", file]).trim().to_owned())
    }

    fn minor(&self) -> u64 {
        self.0.trim_start_matches("/dev/loop").parse().expect("a number")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // A test that has failed already says why.
        Command::new("losetup").args(["--detach", &self.0]).status().ok();
    }
}

fn a_write_is_slowed() {
    let bundle = || Bundle::new();
    let scratch = bundle();
    let disk = Loop::new(&scratch.beside("image"));
    let minor = disk.minor();
    let time = |rate: Option<u64>| {
        let mut resources = json!({"devices": [
            {"allow": true, "type": "b", "major": 7, "minor": minor, "access": "rw"}]});
        if let Some(rate) = rate {
            let limit = json!([{"major": 7, "minor": minor, "rate": rate}]);
            resources["blockIO"] = json!({"throttleWriteBpsDevice": limit});
        }
        let device = json!([{"path": "/dev/disk", "type": "b", "major": 7, "minor": minor}]);
        let bundle = with(resources).set("/linux/devices", device);
        let write = "dd if=/dev/zero of=/dev/disk bs=64k count=96 oflag=direct 2> /dev/null";
        let start = Instant::now();
        let _ = bundle.script(write).run().ok();
        start.elapsed()
    };
    // 6 MiB in 6 s at least, and in four times as long as without a limit, however slow this machine is.
    let free = time(None);
    let expected = (4 * free).max(Duration::from_secs(6));
    let slow = time(Some((6 << 20) / expected.as_secs()));
    assert!(slow > expected * 2 / 3, "{free:?}, limited {slow:?}");
}

// ------------------------------------------------------------------ the words

fn an_init_without_memory_says_so_with_the_limit() {
    let limit: i64 = 64 << 10;
    let output = with(json!({"memory": {"limit": limit, "swap": limit}})).run();
    let _ = output.exits(1).says("OOM killer").says("65536").says("/linux/resources/memory/limit");
}

fn a_value_that_the_kernel_refuses_is_named_with_its_file() {
    let output = with(json!({"cpu": {"cpus": "1000"}})).try_create().refused();
    let _ = output.names("/linux/resources/cpu/cpus").says("cpuset.cpus\", \"1000\")");
}

fn a_file_that_the_kernel_does_not_have_is_named() {
    let output = with(json!({"unified": {"memory.no.such": "1"}})).try_create().refused();
    let _ = output
        .names("/linux/resources/unified/memory.no.such")
        .says("this kernel has no such file");
}

// "The runtime MUST generate an error when the configuration refers to a cgroup controller that is not present or that
// cannot be enabled."
fn a_controller_that_no_kernel_has_is_named() {
    let output = with(json!({"unified": {"nonsense.max": "1"}})).try_create().refused();
    let _ = output.names("/linux/resources/unified/nonsense.max").says("does not have it");
}

fn a_controller_in_version_1_is_named_with_its_mount() {
    for (resources, pointer, controller, mount) in [
        (json!({"memory": {"limit": 1 << 30}}), "memory/limit", "memory", "/sys/fs/cgroup/memory"),
        (json!({"pids": {"limit": 10}}), "pids/limit", "pids", "/sys/fs/cgroup/pids"),
        (json!({"blockIO": {"weight": 100}}), "blockIO/weight", "io", "/sys/fs/cgroup/blkio"),
    ] {
        let output = with(resources).try_create().refused();
        let output = output.names(&format!("/linux/resources/{pointer}"));
        let output = output.says(&format!("needs the controller \"{controller}\""));
        let _ = output.says(&format!("mounted as cgroup v1 at {mount}"));
    }
}

fn no_limit_needs_no_controller() {
    let memory = json!({"limit": -1, "swap": -1, "reservation": 0});
    let resources = json!({"memory": memory, "pids": {"limit": -1},
        "cpu": {"quota": -1, "shares": 1024}, "blockIO": {"weight": 0}});
    let _ = with(resources).run().ok();
}

/// A directory of the hierarchy, removed with all below it.
struct Level(PathBuf);

impl Level {
    fn new(path: &str) -> Self {
        let directory = unified().join(&path[1..]);
        fs::create_dir_all(&directory).expect("mkdir");
        Self(directory)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

fn a_controller_that_is_not_delegated_is_named() {
    let bundle = with(json!({"memory": {"limit": 1 << 30}})).without("/linux/cgroupsPath");
    let level = Level::new(&format!("/{}/alone", bundle.id()));
    let mount = unified();
    let enter = format!(
        "echo 0 > {}/cgroup.procs && exec unshare --cgroup --mount sh -c \
         'umount -l {mount} && mount -t cgroup2 cgroup2 {mount} && exec \"$@\"' sh \"$@\"",
        level.0.display(),
        mount = mount.display(),
    );
    let bundle = bundle.through(&["sh", "-c", &enter, "sh"]);
    let output = bundle.try_create().refused();
    let _ = output.names("/linux/resources/memory/limit").says("not delegated");
}

fn a_parent_with_processes_gives_no_controllers() {
    let bundle = with(json!({"memory": {"limit": 1 << 30}}));
    let level = Level::new(&format!("/{}/full", bundle.id()));
    let sleeper = Sleeper::new();
    level.write("cgroup.procs", &sleeper.pid().to_string());
    let path = format!("/{}/full/container", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", path.as_str());
    let output = bundle.try_create().refused();
    let _ = output.says("a cgroup with processes of its own").says("+memory");
    // Without a limit it is not counted, and works.
    let _ = bundle.set("/linux/resources", json!({})).run().ok();
}

fn a_failed_limit_leaves_nothing() {
    let bundle = with(json!({"cpu": {"cpus": "1000"}}));
    let _ = bundle.try_create().refused();
    crate::lifecycle::assert_nothing_left(&bundle);
}

fn controllers_are_enabled_on_every_level() {
    let bundle = with(json!({"memory": {"limit": 1 << 30}}));
    let path = format!("/{}/a/b/c", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", path.as_str());
    let _ = bundle.args(&["cat", "/sys/fs/cgroup/memory.max"]).run().ok().prints("1073741824");
}

// ------------------------------------------------------------------ delegation

/// A container of user 1000 who divides his cgroup.
fn of_a_user(option: &str) -> Bundle {
    let options = [option, "nosuid", "noexec", "nodev"];
    Bundle::new()
        .mount("cgroup", "cgroup", "/sys/fs/cgroup", &options)
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
}

// "A runtime should change the ownership of the container's cgroup ... when ..."
fn the_users_own_cgroup_namespace_is_his_to_divide() {
    let divide = "mkdir /sys/fs/cgroup/below && echo 0 > /sys/fs/cgroup/below/cgroup.procs && cat /proc/self/cgroup";
    let output = of_a_user("rw").script(divide).run().ok();
    assert!(output.lines().contains(&"0::/below"), "{output}");
    // "The runtime SHOULD NOT change the ownership of any other files."
    let owners = "stat -c '%u %n' /sys/fs/cgroup/* | grep -c '^0 .*/cgroup.max.depth'";
    let _ = of_a_user("rw").script(owners).run().ok().prints("1");
}

fn a_read_only_cgroup_mount_is_not_given_away() {
    let owner = ["stat", "-c", "%u", "/sys/fs/cgroup/cgroup.procs"];
    let _ = of_a_user("ro").args(&owner).run().ok().prints("0");
    let without = of_a_user("rw").without_namespace("cgroup").script("true");
    let container = without.create();
    let directory = directory_of(container.pid);
    let owner = shell(&format!("stat -c %u {}/cgroup.procs", directory.display()));
    assert_eq!(owner.trim(), "0");
}

// ------------------------------------------------------- threaded, and older kernels

/// A bundle whose cgroup is below a threaded one, and that one.
fn below_a_threaded_cgroup(resources: Value) -> (Bundle, Level) {
    let bundle = with(resources);
    let level = Level::new(&format!("/{}/threaded", bundle.id()));
    level.write("cgroup.type", "threaded");
    let path = format!("/{}/threaded/container", bundle.id());
    (bundle.set("/linux/cgroupsPath", path.as_str()), level)
}

fn below_a_threaded_cgroup_the_container_is_threaded() {
    let (bundle, _level) = below_a_threaded_cgroup(json!({}));
    let _ = bundle.args(&["cat", "/sys/fs/cgroup/cgroup.type"]).run().ok().prints("threaded");
}

fn below_a_threaded_cgroup_memory_cannot_be_limited() {
    let (bundle, _level) = below_a_threaded_cgroup(json!({"memory": {"limit": 1 << 30}}));
    let _ = bundle.try_create().refused().says("threaded");
}

fn where_clone3_does_not_know_cgroups_init_is_in_its_cgroup_all_the_same() {
    let bundle = with(json!({})).args(&["cat", "/proc/self/cgroup"]);
    let trace = bundle.beside("trace");
    let inject = "--inject=clone3:error=EINVAL:when=1";
    let output = ["-o", trace.to_str().expect("UTF-8"), inject, "--trace=clone3"];
    let bundle = bundle.through(&[&["strace"], &output[..]].concat());
    let path = path_of(std::process::id().cast_signed());
    let text = bundle.run().ok();
    assert!(text.lines().contains(&"0::/"), "{text}");
    let calls = fs::read_to_string(trace).expect("the trace");
    assert!(calls.contains("(INJECTED)"), "{calls}");
    assert_eq!(path_of(std::process::id().cast_signed()), path);
}

// crun says of itself that it needs 512 KiB for this.
fn a_thousandth_of_a_gigabyte_runs_a_program() {
    let limit: i64 = 1 << 20;
    let _ = with(json!({"memory": {"limit": limit, "swap": limit}})).args(&["true"]).run().ok();
}
