//! The five capability sets: config.md, "Linux Process"; capabilities(7).

use serde_json::json;

use crate::bundle::Bundle;
use crate::case::table;

table!(Root, Busybox;
    each_capability_set_is_that_of_the_config,
    no_capabilities_leave_all_sets_empty,
    a_user_that_is_not_root_keeps_the_ambient_capabilities,
    a_user_that_is_not_root_has_none_without_ambient,
    the_bounding_set_limits_what_a_program_can_gain,
    an_unknown_capability_is_a_warning,
    a_capability_that_cannot_be_granted_is_a_warning[Hull("runc 1.1.5 fails")],
    an_ambient_capability_that_root_has_anyway_is_no_warning,
    a_capability_of_the_config_can_be_used,
);

const SETS: &str = "grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | tr -d '\\t'";

fn mask(numbers: &[u32]) -> String {
    format!("{:016x}", numbers.iter().fold(0_u64, |mask, number| mask | 1 << number))
}

// "effective", "bounding", "inheritable", "permitted", "ambient": arrays "of capabilities that are kept for the
// process."
fn each_capability_set_is_that_of_the_config() {
    let capabilities = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_RAW"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "effective": ["CAP_CHOWN", "CAP_KILL"],
        "inheritable": ["CAP_KILL", "CAP_CHOWN"],
        "ambient": ["CAP_KILL"]
    });
    // A user that is not root: execve keeps the sets as they are only for the ambient ones, so look from outside.
    let bundle = Bundle::new()
        .set("/process/capabilities", capabilities)
        .set("/process/user", json!({"uid": 1, "gid": 1}));
    let output = bundle.script(SETS).run().ok();
    let expected = [
        format!("CapInh:{}", mask(&[0, 5])),
        format!("CapPrm:{}", mask(&[5])),
        format!("CapEff:{}", mask(&[5])),
        format!("CapBnd:{}", mask(&[0, 5, 7, 13])),
        format!("CapAmb:{}", mask(&[5])),
    ];
    assert_eq!(output.lines(), expected);
}

fn no_capabilities_leave_all_sets_empty() {
    let bundle = Bundle::new().set("/process/capabilities", json!({})).script(SETS);
    for line in bundle.run().ok().lines() {
        assert!(line.ends_with(":0000000000000000"), "{line}");
    }
    let _ =
        Bundle::new().set("/process/capabilities", json!({})).args(&["chown", "1", "/tmp"]).run();
}

fn a_user_that_is_not_root_keeps_the_ambient_capabilities() {
    let set = json!(["CAP_NET_BIND_SERVICE"]);
    let capabilities = json!({"bounding": set, "permitted": set, "effective": set, "inheritable": set, "ambient": set});
    let bundle = Bundle::new()
        .set("/process/capabilities", capabilities)
        .set("/process/user", json!({"uid": 7, "gid": 7}));
    let output = bundle.script(SETS).run().ok();
    assert!(output.lines().iter().all(|line| line.ends_with(&mask(&[10]))), "{output}");
}

fn a_user_that_is_not_root_has_none_without_ambient() {
    let bundle = Bundle::new().set("/process/user", json!({"uid": 7, "gid": 7})).script(SETS);
    let output = bundle.run().ok();
    for line in output.lines().iter().filter(|line| !line.starts_with("CapBnd")) {
        assert!(line.ends_with(&mask(&[])), "{output}");
    }
}

fn the_bounding_set_limits_what_a_program_can_gain() {
    let set = json!(["CAP_CHOWN"]);
    let bundle = Bundle::new()
        .set("/process/capabilities", json!({"bounding": set, "permitted": set, "effective": set}));
    let output = bundle.set("/process/noNewPrivileges", false).script(SETS).run().ok();
    assert_eq!(output.lines()[1], format!("CapPrm:{}", mask(&[0])));
    assert_eq!(output.lines()[3], format!("CapBnd:{}", mask(&[0])));
}

// "Any value which cannot be mapped to a relevant kernel interface, or cannot be granted otherwise MUST be logged as a
// warning by the runtime."
fn an_unknown_capability_is_a_warning() {
    let set = json!(["CAP_CHOWN", "CAP_FLY"]);
    let bundle = Bundle::new()
        .set("/process/capabilities", json!({"bounding": set, "permitted": set, "effective": set}));
    let output = bundle.script(SETS).run().ok();
    assert_eq!(output.lines()[1], format!("CapPrm:{}", mask(&[0])));
    let _ = output.says("CAP_FLY");
}

fn a_capability_that_cannot_be_granted_is_a_warning() {
    // The runtime itself has lost CAP_SYS_TIME.
    let set = json!(["CAP_CHOWN", "CAP_SYS_TIME"]);
    let bundle = Bundle::new()
        .set("/process/capabilities", json!({"bounding": set, "permitted": set, "effective": set}));
    let bundle = bundle.through(&["setpriv", "--bounding-set", "-sys_time"]).script(SETS);
    let output = bundle.run().ok();
    assert_eq!(output.lines()[1], format!("CapPrm:{}", mask(&[0])));
    let _ = output.names("CAP_SYS_TIME");
}

// What buildah, podman and `runc spec` write: ambient, not inheritable. Its twin is another user.
fn an_ambient_capability_that_root_has_anyway_is_no_warning() {
    let set = json!(["CAP_CHOWN"]);
    let sets = json!({"bounding": set, "permitted": set, "effective": set, "ambient": set});
    let bundle = || Bundle::new().set("/process/capabilities", sets.clone()).script(SETS);
    let output = bundle().run().ok();
    assert_eq!(output.lines()[2], format!("CapEff:{}", mask(&[0])));
    assert_eq!(output.stderr, "");
    let output = bundle().set("/process/user/uid", 1000).run().ok();
    assert_eq!(output.lines()[2], format!("CapEff:{}", mask(&[])));
    let _ = output.names("/process/capabilities/ambient/0");
}

fn a_capability_of_the_config_can_be_used() {
    let _ = Bundle::new()
        .script("touch /file && chown 5 /file && stat -c %u /file")
        .run()
        .ok()
        .prints("5");
    let set = json!(["CAP_KILL"]);
    let bundle = Bundle::new()
        .set("/process/capabilities", json!({"bounding": set, "permitted": set, "effective": set}));
    let output = bundle.script("touch /file && chown 5 /file").run().exits(1);
    let _ = output.says("not permitted");
}
