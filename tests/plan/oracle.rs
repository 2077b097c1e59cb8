//! What hull reads is what oci-spec reads, an implementation of the same documents by others.

use std::collections::BTreeSet;
use std::fs;

use hull::plan::hooks::by_kind;
use hull::plan::mount_options::WORDS;
use hull::plan::namespaces::TYPES;
use hull::plan::process::{MODE_FLAGS, MODES};
use hull::plan::seccomp::architectures::ARCHITECTURES;
use hull::spec::config;
use hull::spec::config::Spec;
use oci_spec::runtime::{Features, LinuxNamespaceType};
use serde_json::{Map, Value, json};

use super::{folder, hull, is_wrong, names, read};

/// One of every property that hull knows, those that it refuses later among them. The flags of the
/// scheduler are two that oci-spec 0.10 spells as the specification does: it has
/// `SCHED_RESET_ON_FORK` and `SCHED_FLAG_D_L_OVERRUN` for two others.
const FULL: &str = r#"{
    "ociVersion": "1.3.0",
    "root": { "path": "/srv/rootfs", "readonly": true },
    "hostname": "web", "domainname": "example.org",
    "annotations": { "com.example.key": "value", "": "of an empty key" },
    "process": {
        "terminal": true, "consoleSize": { "height": 24, "width": 80 },
        "cwd": "/srv", "env": ["A=1", "B="], "args": ["sh", "-c", ""],
        "user": { "uid": 1000, "gid": 4294967294, "umask": 63, "additionalGids": [0, 4294967295] },
        "capabilities": {
            "bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_CHOWN"],
            "inheritable": ["CAP_BPF"], "permitted": ["CAP_CHECKPOINT_RESTORE"],
            "ambient": ["CAP_PERFMON"]
        },
        "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 1, "hard": 18446744073709551615 }],
        "noNewPrivileges": true, "oomScoreAdj": -1000,
        "scheduler": {
            "policy": "SCHED_DEADLINE", "nice": -20, "priority": 99,
            "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_KEEP_POLICY"],
            "runtime": 18446744073709551615, "deadline": 2, "period": 3
        },
        "ioPriority": { "class": "IOPRIO_CLASS_IDLE", "priority": 7 },
        "apparmorProfile": "docker-default", "selinuxLabel": "system_u:system_r:container_t:s0",
        "execCPUAffinity": { "initial": "0-3", "final": "4" }
    },
    "mounts": [
        { "destination": "/data", "type": "none", "source": "data", "options": ["bind", "idmap"],
          "uidMappings": [{ "containerID": 0, "hostID": 1000, "size": 1 }],
          "gidMappings": [{ "containerID": 0, "hostID": 1000, "size": 1 }] }
    ],
    "hooks": {
        "prestart": [{ "path": "/a", "args": ["a", "b"], "env": ["A=1"], "timeout": 1 }],
        "createRuntime": [{ "path": "/b" }, { "path": "/b2", "timeout": -1 }],
        "createContainer": [{ "path": "/c", "args": ["c"] }],
        "startContainer": [{ "path": "/d", "env": ["D="] }],
        "poststart": [{ "path": "/e" }],
        "poststop": [{ "path": "/f" }]
    },
    "linux": {
        "namespaces": [{ "type": "pid" }, { "type": "network", "path": "/run/netns/a" }],
        "uidMappings": [{ "containerID": 0, "hostID": 1000, "size": 65536 }],
        "gidMappings": [
            { "containerID": 0, "hostID": 1000, "size": 1 },
            { "containerID": 1, "hostID": 100000, "size": 65535 }
        ],
        "timeOffsets": { "monotonic": { "secs": -1, "nanosecs": 999999999 } },
        "devices": [
            { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438,
              "uid": 1, "gid": 2 }
        ],
        "netDevices": { "eth0": { "name": "net0" } },
        "cgroupsPath": "/a/b",
        "resources": {
            "devices": [{ "allow": false, "access": "rwm" },
                { "allow": true, "type": "b", "major": 8, "minor": 1, "access": "r" }],
            "memory": { "limit": 1048576, "reservation": 1024, "swap": -1, "kernel": 1,
                "kernelTCP": 2, "swappiness": 3, "disableOOMKiller": true, "useHierarchy": true,
                "checkBeforeUpdate": true },
            "cpu": { "shares": 1024, "quota": 1000, "burst": 10, "period": 2000,
                "realtimeRuntime": 1, "realtimePeriod": 2, "cpus": "0-1", "mems": "0", "idle": 1 },
            "pids": { "limit": 10 },
            "blockIO": { "weight": 10, "leafWeight": 11,
                "weightDevice": [{ "major": 8, "minor": 16, "weight": 500, "leafWeight": 300 }],
                "throttleReadBpsDevice": [{ "major": 8, "minor": 0, "rate": 600 }],
                "throttleWriteBpsDevice": [{ "major": 8, "minor": 1, "rate": 601 }],
                "throttleReadIOPSDevice": [{ "major": 8, "minor": 2, "rate": 602 }],
                "throttleWriteIOPSDevice": [{ "major": 8, "minor": 3, "rate": 603 }] },
            "hugepageLimits": [{ "pageSize": "2MB", "limit": 2097152 }],
            "network": { "classID": 1, "priorities": [{ "name": "eth0", "priority": 5 }] },
            "rdma": { "mlx5_1": { "hcaHandles": 3, "hcaObjects": 4 } },
            "unified": { "memory.high": "1" }
        },
        "intelRdt": { "closID": "a" },
        "memoryPolicy": {
            "mode": "MPOL_INTERLEAVE", "nodes": "0-1,3", "flags": ["MPOL_F_STATIC_NODES"]
        },
        "sysctl": { "net.core.somaxconn": "256" },
        "seccomp": { "defaultAction": "SCMP_ACT_ALLOW" },
        "rootfsPropagation": "rslave",
        "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
        "mountLabel": "system_u:object_r:container_file_t:s0",
        "personality": { "domain": "LINUX32", "flags": ["NONE_IS_DEFINED"] }
    }
}"#;

/// Documents that read differently if an absent, a null and an empty value are not told apart.
const SMALL: [&str; 6] = [
    r#"{ "ociVersion": "1.0.0" }"#,
    r#"{ "ociVersion": "1.0.0", "root": { "path": "rootfs" },
        "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 } }, "future": { "a": [1] } }"#,
    // As Go writes what was never set.
    r#"{ "ociVersion": "1.0.2-dev", "root": null, "mounts": null, "process": null, "hooks": null,
        "annotations": null, "linux": null }"#,
    r#"{ "ociVersion": "1.0.2",
        "process": { "cwd": "/", "user": { "uid": 0, "gid": 0, "umask": null,
            "additionalGids": null }, "args": null, "env": null, "capabilities": null,
            "rlimits": null, "oomScoreAdj": null, "scheduler": null, "ioPriority": null },
        "mounts": [{ "destination": "/a", "options": null, "source": null, "type": null }],
        "linux": { "namespaces": null, "devices": null, "sysctl": null, "resources": null,
            "timeOffsets": null, "netDevices": null, "maskedPaths": null, "seccomp": null } }"#,
    r#"{ "ociVersion": "1.0.2", "mounts": [], "hooks": {}, "annotations": {},
        "process": { "cwd": "", "user": { "uid": 0, "gid": 0, "umask": 0 }, "oomScoreAdj": 0,
            "capabilities": {}, "scheduler": { "policy": "SCHED_OTHER", "nice": 0 },
            "ioPriority": { "class": "IOPRIO_CLASS_RT", "priority": 0 } },
        "linux": { "devices": [{ "path": "/p", "type": "p" }], "netDevices": { "eth0": {} },
            "timeOffsets": { "boottime": {} }, "resources": {}, "uidMappings": [],
            "personality": { "domain": "LINUX" }, "memoryPolicy": { "mode": "MPOL_LOCAL" } } }"#,
    r#"{ "ociVersion": "1.0.2", "hostname": "", "linux": { "rootfsPropagation": "",
        "cgroupsPath": "", "mountLabel": "", "namespaces": [{ "type": "pid", "path": "" }] } }"#,
];

#[test]
fn a_config_says_the_same_to_hull_and_to_oci_spec() {
    let (mut known, mut compared) = (BTreeSet::new(), BTreeSet::new());
    for (name, text) in documents() {
        let spec = serde_json::from_str(&text).expect("hull reads it");
        let ours = as_hull_reads(spec);
        places(&ours, "", &mut known, &|_| true);
        let ours = simplified(ours, "");
        let theirs = simplified(as_oci_spec_reads(&text), "");
        assert_eq!(ours, theirs, "{name}");
        places(&ours, "", &mut compared, &|value| {
            ![json!(null), json!(false), json!(0), json!("")].contains(value)
        });
    }
    let is_compared = |place: &&String| {
        let below = format!("{place}/");
        compared.iter().any(|it| it == *place || it.starts_with(&below))
    };
    let never: Vec<&String> = known.iter().filter(|place| !is_compared(place)).collect();
    assert_eq!(never, [""; 0], "no document sets these");
}

#[test]
fn a_document_that_differs_is_seen_to_differ() {
    for (from, to) in [
        ("\"readonly\": true", "\"readonly\": false"),
        ("\"umask\": 63", "\"umask\": 62"),
        ("CAP_PERFMON", "CAP_KILL"),
        ("\"idmap\"", "\"ridmap\""),
        ("\"timeout\": -1", "\"timeout\": 2"),
        ("\"swap\": -1", "\"swap\": 1"),
        ("\"secs\": -1", "\"secs\": 1"),
    ] {
        let other = FULL.replacen(from, to, 1);
        let spec = serde_json::from_str(&other).expect("hull reads it");
        let theirs = simplified(as_oci_spec_reads(FULL), "");
        assert_ne!(simplified(as_hull_reads(spec), ""), theirs, "{to}");
    }
}

/// The examples above and the configs of the folder; the wrong ones hold words that oci-spec
/// refuses where hull reports them.
fn documents() -> Vec<(String, String)> {
    let mut documents = vec![("full".to_owned(), FULL.to_owned())];
    let small = SMALL.iter().enumerate();
    documents.extend(small.map(|(index, text)| (format!("small {index}"), (*text).to_owned())));
    for name in names().into_iter().filter(|name| !is_wrong(name)) {
        let path = folder().join(&name).with_extension("json");
        read(&path).expect("the runtime reads it");
        // oci-spec has no capability that the kernel may get one day.
        let text = fs::read_to_string(path).expect("a config of the folder can be read");
        documents.push((name, text.replace("CAP_FUTURE", "CAP_CHOWN")));
    }
    documents
}

/// No `..` in the patterns: a property that is added to hull must be added here.
fn as_hull_reads(spec: Spec) -> Value {
    let Spec {
        oci_version,
        root,
        mounts,
        process,
        hostname,
        domainname,
        hooks,
        annotations,
        linux,
    } = spec;
    let root =
        root.map(|config::Root { path, readonly }| json!({ "path": path, "readonly": readonly }));
    json!({
        "ociVersion": oci_version,
        "root": root,
        "mounts": mounts.into_iter().map(mount).collect::<Vec<_>>(),
        "process": process.map(process_value),
        "hostname": hostname,
        "domainname": domainname,
        "hooks": hooks,
        "annotations": annotations,
        "linux": linux_value(linux),
    })
}

fn mount(mount: config::Mount) -> Value {
    let config::Mount { destination, source, kind, options, uid_mappings, gid_mappings } = mount;
    json!({
        "destination": destination,
        "source": source,
        "type": kind,
        "options": options,
        "uidMappings": id_mappings(uid_mappings),
        "gidMappings": id_mappings(gid_mappings),
    })
}

fn id_mappings(list: Vec<config::IdMapping>) -> Vec<Value> {
    let one = |config::IdMapping { container, host, size }| json!({ "containerID": container, "hostID": host, "size": size });
    list.into_iter().map(one).collect()
}

fn process_value(process: config::Process) -> Value {
    let config::Process {
        terminal,
        console_size,
        cwd,
        env,
        args,
        user,
        capabilities,
        rlimits,
        no_new_privileges,
        oom_score_adj,
        scheduler,
        io_priority,
        apparmor_profile,
        selinux_label,
        exec_cpu_affinity,
    } = process;
    let config::User { uid, gid, umask, additional_gids } = user;
    let console_size = console_size
        .map(|config::ConsoleSize { height, width }| json!({ "height": height, "width": width }));
    let capabilities = capabilities.map(|sets| {
        let config::Capabilities { bounding, effective, inheritable, permitted, ambient } = sets;
        json!({
            "bounding": bounding, "effective": effective, "inheritable": inheritable,
            "permitted": permitted, "ambient": ambient,
        })
    });
    let rlimit =
        |config::Rlimit { kind, soft, hard }| json!({ "type": kind, "soft": soft, "hard": hard });
    let io_priority = io_priority.map(
        |config::IoPriority { class, priority }| json!({ "class": class, "priority": priority }),
    );
    json!({
        "terminal": terminal,
        "consoleSize": console_size,
        "cwd": cwd,
        "env": env,
        "args": args,
        "user": { "uid": uid, "gid": gid, "umask": umask, "additionalGids": additional_gids },
        "capabilities": capabilities,
        "rlimits": rlimits.into_iter().map(rlimit).collect::<Vec<_>>(),
        "noNewPrivileges": no_new_privileges,
        "oomScoreAdj": oom_score_adj,
        "scheduler": scheduler.map(scheduler_value),
        "ioPriority": io_priority,
        "apparmorProfile": apparmor_profile,
        "selinuxLabel": selinux_label,
        "execCPUAffinity": exec_cpu_affinity.map(|_| "set"),
    })
}

fn scheduler_value(scheduler: config::Scheduler) -> Value {
    let config::Scheduler { policy, nice, priority, flags, runtime, deadline, period } = scheduler;
    json!({
        "policy": policy, "nice": nice, "priority": priority, "flags": flags,
        "runtime": runtime, "deadline": deadline, "period": period,
    })
}

fn linux_value(linux: config::Linux) -> Value {
    let config::Linux {
        namespaces,
        uid_mappings,
        gid_mappings,
        time_offsets,
        devices,
        net_devices,
        cgroups_path,
        resources,
        intel_rdt,
        memory_policy,
        sysctl,
        seccomp,
        rootfs_propagation,
        masked_paths,
        readonly_paths,
        mount_label,
        personality,
    } = linux;
    let namespace = |config::Namespace { kind, path }| json!({ "type": kind, "path": path });
    let offset = |(clock, config::TimeOffset { secs, nanosecs })| {
        (clock, json!({ "secs": secs, "nanosecs": nanosecs }))
    };
    let net_device = |(host, config::NetDevice { name })| (host, json!({ "name": name }));
    let memory_policy = memory_policy.map(|config::MemoryPolicy { mode, nodes, flags }| {
        json!({ "mode": mode, "nodes": nodes, "flags": flags })
    });
    let personality = personality
        .map(|config::Personality { domain, flags }| json!({ "domain": domain, "flags": flags }));
    json!({
        "namespaces": namespaces.into_iter().map(namespace).collect::<Vec<_>>(),
        "uidMappings": id_mappings(uid_mappings),
        "gidMappings": id_mappings(gid_mappings),
        "timeOffsets": time_offsets.into_iter().map(offset).collect::<Map<_, _>>(),
        "devices": devices.into_iter().map(device).collect::<Vec<_>>(),
        "netDevices": net_devices.into_iter().map(net_device).collect::<Map<_, _>>(),
        "cgroupsPath": cgroups_path,
        "resources": resources,
        "intelRdt": intel_rdt.map(|_| "set"),
        "memoryPolicy": memory_policy,
        "sysctl": sysctl,
        "seccomp": seccomp.map(|_| "set"),
        "rootfsPropagation": rootfs_propagation,
        "maskedPaths": masked_paths,
        "readonlyPaths": readonly_paths,
        "mountLabel": mount_label,
        "personality": personality,
    })
}

fn device(device: config::Device) -> Value {
    let config::Device { kind, path, major, minor, file_mode, uid, gid } = device;
    json!({
        "type": kind, "path": path, "fileMode": file_mode, "uid": uid, "gid": gid,
        // oci-spec does not tell 0 from absent.
        "major": major.unwrap_or_default(), "minor": minor.unwrap_or_default(),
    })
}

/// With the defaults of the specification where oci-spec keeps that nothing was said, and without
/// the inside of what hull only sees to be there.
fn as_oci_spec_reads(text: &str) -> Value {
    let spec: oci_spec::runtime::Spec = serde_json::from_str(text).expect("oci-spec reads it");
    let mut spec = serde_json::to_value(spec).expect("what was read can be written");
    default(spec.pointer_mut("/root"), &[("readonly", json!(false))]);
    let flags = [("terminal", json!(false)), ("noNewPrivileges", json!(false))];
    default(spec.pointer_mut("/process"), &flags);
    for device in list(spec.pointer_mut("/linux/devices")) {
        default(Some(device), &[("uid", json!(0)), ("gid", json!(0))]);
    }
    let offsets = spec.pointer_mut("/linux/timeOffsets").and_then(Value::as_object_mut);
    for offset in offsets.into_iter().flat_map(Map::values_mut) {
        default(Some(offset), &[("secs", json!(0)), ("nanosecs", json!(0))]);
    }
    default(spec.pointer_mut("/linux"), &[("uidMappings", json!([])), ("gidMappings", json!([]))]);
    for mount in list(spec.pointer_mut("/mounts")) {
        default(Some(mount), &[("uidMappings", json!([])), ("gidMappings", json!([]))]);
    }
    for pointer in ["/process/execCPUAffinity", "/linux/intelRdt", "/linux/seccomp"] {
        replace(spec.pointer_mut(pointer), |_| json!("set"));
    }
    spec
}

fn list(value: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    value.and_then(Value::as_array_mut).into_iter().flatten()
}

fn default(object: Option<&mut Value>, properties: &[(&str, Value)]) {
    let Some(object) = object.and_then(Value::as_object_mut) else { return };
    for (name, value) in properties {
        object.entry(*name).or_insert_with(|| value.clone());
    }
}

fn replace(place: Option<&mut Value>, by: fn(&Value) -> Value) {
    if let Some(place) = place {
        *place = by(place);
    }
}

/// Properties that are an empty object when they are absent.
const EMPTY: [&str; 6] = ["hooks", "annotations", "linux", "sysctl", "timeOffsets", "netDevices"];
/// oci-spec keeps these as sets.
const SETS: [&str; 5] = ["bounding", "effective", "inheritable", "permitted", "ambient"];

/// Absent, null and an empty list are one value, and sets have one order.
fn simplified(value: Value, name: &str) -> Value {
    match value {
        Value::Array(list) => {
            let mut list: Vec<Value> = list.into_iter().map(|it| simplified(it, "")).collect();
            if SETS.contains(&name) {
                list.sort_by_key(Value::to_string);
            }
            if list.is_empty() { Value::Null } else { list.into() }
        }
        Value::Object(map) => {
            let properties = map.into_iter().map(|(name, it)| (simplified(it, &name), name));
            let map: Map<String, Value> =
                properties.filter(|(it, _)| !it.is_null()).map(|(it, name)| (name, it)).collect();
            if map.is_empty() && EMPTY.contains(&name) { Value::Null } else { map.into() }
        }
        other => other,
    }
}

/// The places of all values that are wanted, whatever their index.
fn places(
    value: &Value,
    place: &str,
    found: &mut BTreeSet<String>,
    is_wanted: &impl Fn(&Value) -> bool,
) {
    match value {
        Value::Array(list) if !list.is_empty() => {
            list.iter().for_each(|value| places(value, &format!("{place}/*"), found, is_wanted));
        }
        Value::Object(map) if !map.is_empty() => {
            // The properties of these have names that are not the specification's.
            let free = ["/netDevices", "/timeOffsets", "/resources/rdma", "/resources/unified"];
            let is_free = place.strip_prefix("/linux").is_some_and(|place| free.contains(&place));
            for (name, value) in map {
                let name = if is_free { "*" } else { name };
                places(value, &format!("{place}/{name}"), found, is_wanted);
            }
        }
        leaf if is_wanted(leaf) => _ = found.insert(place.to_owned()),
        _ => {}
    }
}

// ------------------------------------------------------------------ features

/// As oci-spec reads them, without the architectures that it does not know: they came later.
fn features() -> Features {
    const LATER: [&str; 4] =
        ["SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB"];
    let mut features: Value = serde_json::from_str(&hull(&["features"])).expect("JSON");
    let architectures = features.pointer_mut("/linux/seccomp/archs").and_then(Value::as_array_mut);
    let architectures = architectures.expect("a list of architectures");
    architectures.retain(|name| !LATER.iter().any(|later| name == later));
    assert_eq!(architectures.len() + LATER.len(), ARCHITECTURES.len());
    serde_json::from_value(features).expect("oci-spec reads it")
}

#[test]
fn features_are_what_the_plan_can_do() {
    let features = features();
    assert_eq!(features.oci_version_min(), "1.0.0");
    assert_eq!(features.oci_version_max(), hull::spec::VERSION);

    let nothing = config::Hooks::default();
    let hooks = by_kind(&nothing).map(|(kind, _)| kind.to_owned());
    assert_eq!(features.hooks().as_deref(), Some(&hooks[..]));

    let words: Vec<String> = WORDS.iter().map(|(word, _)| (*word).to_owned()).collect();
    assert_eq!(features.mount_options().as_ref(), Some(&words));

    let linux = features.linux().as_ref().expect("this runtime is for Linux");
    let types = TYPES.map(|(word, _)| LinuxNamespaceType::try_from(word).expect("a known word"));
    assert_eq!(linux.namespaces().as_deref(), Some(&types[..]));
    // The kernel's numbers are right too.
    let numbers: Vec<u64> = types.iter().map(|kind| *kind as u64).collect();
    assert_eq!(numbers, TYPES.map(|(_, number)| number));

    let mut capabilities: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    capabilities.sort();
    assert_eq!(linux.capabilities().as_ref(), Some(&capabilities));
    let cgroup = linux.cgroup().as_ref().expect("there are cgroups");
    assert_eq!((*cgroup.v1(), *cgroup.v2(), *cgroup.rdma()), (Some(false), Some(true), Some(true)));
    let policy = linux.memory_policy().as_ref().expect("a memory policy can be set");
    let modes = MODES.map(|(word, _)| word.to_owned());
    let flags = MODE_FLAGS.map(|(word, _)| word.to_owned());
    assert_eq!(policy.modes().as_deref(), Some(&modes[..]));
    assert_eq!(policy.flags().as_deref(), Some(&flags[..]));
}

/// What is called disabled is refused by the plan (wrong.txt), and the other way round.
#[test]
fn features_do_not_promise_what_is_refused() {
    let features = features();
    let linux = features.linux().as_ref().expect("this runtime is for Linux");
    let refused = fs::read_to_string(folder().join("wrong.txt")).expect("wrong.json has a text");
    let is_refused = |pointer: &str| refused.contains(&format!("{pointer}: not supported yet\n"));
    for (pointer, enabled) in [
        ("/linux/seccomp", linux.seccomp().as_ref().and_then(|it| *it.enabled())),
        ("/linux/intelRdt", linux.intel_rdt().as_ref().and_then(|it| *it.enabled())),
        ("/linux/netDevices", linux.net_devices().as_ref().and_then(|it| *it.enabled())),
    ] {
        assert_eq!(enabled, Some(!is_refused(pointer)), "{pointer}");
    }
}
