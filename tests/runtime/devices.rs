//! Devices, default devices and the links of /dev: config-linux.md, "Devices"; runtime-linux.md, "Dev symbolic links".

use serde_json::json;

use crate::bundle::Bundle;
use crate::case::table;

table!(Root, Busybox;
    the_default_devices_are_there,
    the_default_devices_can_be_used,
    ptmx_is_that_of_the_containers_devpts,
    the_standard_links_are_there,
    no_other_device_of_the_host_is_there,
    a_character_device_is_made,
    a_block_device_is_made,
    a_fifo_is_made,
    an_unbuffered_character_device_is_made,
    mode_and_owner_are_those_of_the_config,
    the_mode_does_not_depend_on_the_umask,
    a_device_outside_of_dev_is_made,
    a_device_below_a_new_directory_is_made,
    a_file_that_is_not_the_device_is_an_error[Hull("runc 1.1.5 takes the file for the device")],
    the_same_device_that_is_already_there_is_accepted,
    a_default_device_may_be_listed_with_its_own_mode[Hull("runc 1.1.5 then denies it in the devices cgroup")],
    an_unknown_device_type_is_refused,
    a_device_without_numbers_is_refused[Hull("runc 1.1.5 takes 0")],
    a_relative_device_path_is_refused[Hull("runc 1.1.5 takes it as below the root")],
    dev_bound_from_the_host_is_left_as_it_is,
    a_missing_dev_mount_leaves_the_devices_in_the_rootfs,
);

fn device(path: &str, kind: &str, major: i64, minor: i64) -> serde_json::Value {
    json!({"path": path, "type": kind, "major": major, "minor": minor, "fileMode": 0o600, "uid": 0, "gid": 0})
}

fn with_device(device: serde_json::Value) -> Bundle {
    Bundle::new().set("/linux/devices", json!([device]))
}

// "In addition to any devices configured with this setting, the runtime MUST also supply: /dev/null, /dev/zero,
// /dev/full, /dev/random, /dev/urandom, /dev/tty".
fn the_default_devices_are_there() {
    let script = "cd /dev; for name in null zero full random urandom tty; do stat -c '%n %F %t:%T %a %u:%g' $name; done";
    let expected = "null character special file 1:3 666 0:0\nzero character special file 1:5 666 0:0\n\
                    full character special file 1:7 666 0:0\nrandom character special file 1:8 666 0:0\n\
                    urandom character special file 1:9 666 0:0\ntty character special file 5:0 666 0:0";
    let _ = Bundle::new().script(script).run().ok().prints(expected);
}

fn the_default_devices_can_be_used() {
    let script = "echo x > /dev/null && head -c 2 /dev/zero | od -An -tx1 && head -c 1 /dev/urandom | wc -c; echo > /dev/full";
    let output = Bundle::new().script(script).run().exits(1);
    assert_eq!(output.stdout.split_whitespace().collect::<Vec<_>>(), ["00", "00", "1"]);
}

// "/dev/ptmx. A bind-mount or symlink of the container's /dev/pts/ptmx."
fn ptmx_is_that_of_the_containers_devpts() {
    let script =
        "stat -L -c %t:%T /dev/ptmx; stat -L -c %d:%i /dev/ptmx; stat -c %d:%i /dev/pts/ptmx";
    let output = Bundle::new().script(script).run().ok();
    let lines = output.lines();
    assert_eq!(lines[0], "5:2");
    assert_eq!(lines[1], lines[2], "{output}");
}

// "runtimes MUST create the following symlinks if the source file exists after processing mounts"
fn the_standard_links_are_there() {
    let script = "cd /dev; for name in fd stdin stdout stderr; do readlink $name; done";
    let expected = "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2";
    let _ = Bundle::new().script(script).run().ok().prints(expected);
}

// "Containers MAY NOT access any device node that is not either explicitly referenced in the devices array or listed
// as being part of the default devices."
fn no_other_device_of_the_host_is_there() {
    let script = "find /dev -xdev ! -type d ! -type l | sort";
    let expected = "/dev/full\n/dev/null\n/dev/random\n/dev/tty\n/dev/urandom\n/dev/zero";
    let output = Bundle::new().script(script).run().ok();
    let lines: Vec<_> = output.lines().into_iter().filter(|line| *line != "/dev/ptmx").collect();
    assert_eq!(lines.join("\n"), expected);
}

fn a_character_device_is_made() {
    let bundle = with_device(device("/dev/fuse", "c", 10, 229)).args(&[
        "stat",
        "-c",
        "%F %t:%T",
        "/dev/fuse",
    ]);
    let _ = bundle.run().ok().prints("character special file a:e5");
}

fn a_block_device_is_made() {
    let bundle = with_device(device("/dev/disk", "b", 8, 300)).args(&[
        "stat",
        "-c",
        "%F %t:%T",
        "/dev/disk",
    ]);
    let _ = bundle.run().ok().prints("block special file 8:12c");
}

// "major, minor numbers: REQUIRED unless type is p"
fn a_fifo_is_made() {
    let bundle = with_device(json!({"path": "/dev/fifo", "type": "p", "fileMode": 0o640}));
    let _ = bundle.args(&["stat", "-c", "%F %a", "/dev/fifo"]).run().ok().prints("fifo 640");
}

fn an_unbuffered_character_device_is_made() {
    let bundle =
        with_device(device("/dev/raw", "u", 10, 229)).args(&["stat", "-c", "%F %t:%T", "/dev/raw"]);
    let _ = bundle.run().ok().prints("character special file a:e5");
}

// fileMode "is a decimal (not an octal) number"; uid and gid: "in the container namespace".
fn mode_and_owner_are_those_of_the_config() {
    let device = json!({"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 5, "gid": 6});
    let _ = with_device(device)
        .args(&["stat", "-c", "%a %u:%g", "/dev/fuse"])
        .run()
        .ok()
        .prints("666 5:6");
}

fn the_mode_does_not_depend_on_the_umask() {
    let device =
        json!({"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438});
    let bundle = with_device(device).through(&["sh", "-c", "umask 077; exec \"$@\"", "sh"]);
    let bundle = bundle.args(&["stat", "-c", "%a", "/dev/fuse", "/dev/null", "/dev/tty"]);
    let _ = bundle.run().ok().prints("666\n666\n666");
}

// "The path MAY be anywhere in the container filesystem, notably outside of /dev."
fn a_device_outside_of_dev_is_made() {
    // Not opened: the directory of the tests may be on a mount with nodev.
    let bundle = with_device(device("/zero", "c", 1, 5)).args(&["stat", "-c", "%F %t:%T", "/zero"]);
    let _ = bundle.run().ok().prints("character special file 1:5");
}

fn a_device_below_a_new_directory_is_made() {
    let bundle = with_device(device("/dev/net/tun", "c", 10, 200)).args(&[
        "stat",
        "-c",
        "%t:%T",
        "/dev/net/tun",
    ]);
    let _ = bundle.run().ok().prints("a:c8");
}

// "If a file already exists at path that does not match the requested device, the runtime MUST generate an error."
fn a_file_that_is_not_the_device_is_an_error() {
    let bundle = with_device(device("/device", "c", 1, 5));
    bundle.write("device", "a file");
    let _ = bundle.try_create().refused().names("/device");
    assert_eq!(bundle.read("device"), "a file");
    let bundle = with_device(device("/dev/zero2", "c", 1, 5));
    let bundle = bundle.mount("bind", "/dev/null", "/dev/zero2", &["bind"]);
    let _ = bundle.try_create().refused().names("/dev/zero2");
}

fn the_same_device_that_is_already_there_is_accepted() {
    let bundle =
        with_device(device("/device", "c", 1, 5)).args(&["stat", "-c", "%t:%T", "/device"]);
    for _ in 0..2 {
        let _ = bundle.run().ok().prints("1:5");
    }
}

fn a_default_device_may_be_listed_with_its_own_mode() {
    let device = json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o620, "uid": 0, "gid": 5});
    let _ = with_device(device)
        .args(&["stat", "-c", "%t:%T %a %g", "/dev/null"])
        .run()
        .ok()
        .prints("1:3 620 5");
}

fn an_unknown_device_type_is_refused() {
    let _ =
        with_device(device("/dev/x", "x", 1, 3)).try_create().refused().names("/linux/devices/0");
}

fn a_device_without_numbers_is_refused() {
    let _ = with_device(json!({"path": "/dev/x", "type": "c"}))
        .try_create()
        .refused()
        .names("/linux/devices/0");
}

// "full path to device inside container"
fn a_relative_device_path_is_refused() {
    let _ = with_device(device("dev/x", "c", 1, 3))
        .try_create()
        .refused()
        .names("/linux/devices/0/path");
}

fn dev_bound_from_the_host_is_left_as_it_is() {
    let before = crate::bundle::shell("ls -l /dev/null /dev/zero; ls /dev");
    let bundle = Bundle::new();
    let mounts = json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind", "rprivate"]}
    ]);
    let _ =
        bundle.set("/mounts", mounts).script("echo x > /dev/null; test -c /dev/zero").run().ok();
    assert_eq!(crate::bundle::shell("ls -l /dev/null /dev/zero; ls /dev"), before);
}

fn a_missing_dev_mount_leaves_the_devices_in_the_rootfs() {
    let bundle = Bundle::new()
        .set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
    let bundle = bundle.args(&["stat", "-c", "%t:%T", "/dev/null", "/dev/zero"]);
    let _ = bundle.run().ok().prints("1:3\n1:5");
}
