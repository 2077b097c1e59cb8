//! Network devices that are moved into the container: config-linux.md, "Network Devices".

use serde_json::json;

use crate::bundle::Bundle;
use crate::case::table;
use crate::namespaces::Holder;

table!(Root, Busybox, Program("ip"), Program("nsenter"), Hull("runc 1.1.5 knows no netDevices");
    a_device_is_moved_into_the_container,
    a_device_is_renamed,
    a_device_is_up_in_the_container,
    permanent_global_addresses_move_along,
    addresses_of_another_scope_do_not_move,
    attributes_of_the_device_stay,
    two_devices_are_moved,
    a_name_that_is_taken_is_refused,
    a_template_name_is_completed_by_the_kernel,
    a_missing_device_is_refused,
    an_invalid_name_is_refused,
    devices_without_a_network_namespace_are_refused,
    a_device_moves_into_a_joined_namespace,
    a_failed_create_moves_the_device_back_or_not_at_all,
    the_device_is_there_for_hooks,
);

/// A network namespace that is the runtime's, with devices of these names (each the end of a veth pair).
struct Network {
    holder: Holder,
}

impl Network {
    fn new(devices: &[&str]) -> Self {
        let network = Self { holder: Holder::new(&["--net"]) };
        for device in devices {
            network.ip(&[
                "link",
                "add",
                device,
                "type",
                "veth",
                "peer",
                "name",
                &format!("p-{device}"),
            ]);
        }
        network
    }

    fn option(&self) -> String {
        format!("--net={}", self.holder.path("net"))
    }

    fn ip(&self, words: &[&str]) -> String {
        crate::call::host(&[&["nsenter", &self.option(), "ip"], words].concat())
    }

    /// Whether the namespace has a device of this name.
    fn has(&self, device: &str) -> bool {
        let lines = self.ip(&["-brief", "link", "show"]);
        lines.lines().any(|line| line.split(['@', ' ']).next() == Some(device))
    }

    /// A bundle whose runtime is in this namespace.
    fn bundle(&self, devices: serde_json::Value) -> Bundle {
        Bundle::new().through(&["nsenter", &self.option()]).set("/linux/netDevices", devices)
    }
}

// "A set of network devices that MUST be made available in the container."
fn a_device_is_moved_into_the_container() {
    let network = Network::new(&["net7"]);
    let bundle = network.bundle(json!({"net7": {}})).args(&["ls", "/sys/class/net"]);
    let _ = bundle.run().ok().prints("lo\nnet7");
    // "The runtime MUST NOT attempt to move the interface out of the namespace before deletion."
    assert!(!network.has("net7"));
}

// name: "the name of the network device inside the container namespace."
fn a_device_is_renamed() {
    let network = Network::new(&["net7"]);
    let bundle = network.bundle(json!({"net7": {"name": "eth0"}})).args(&["ls", "/sys/class/net"]);
    let _ = bundle.run().ok().prints("eth0\nlo");
}

// "The runtime MUST set the network device state to "up" after moving it".
fn a_device_is_up_in_the_container() {
    let network = Network::new(&["net7"]);
    let bundle = network.bundle(json!({"net7": {}})).args(&["ip", "-o", "link", "show", "net7"]);
    let output = bundle.run().ok();
    assert!(output.stdout.contains(",UP"), "{output}");
}

// "all permanent IP addresses (IFA_F_PERMANENT flag) of any family with global scope (RT_SCOPE_UNIVERSE value)".
fn permanent_global_addresses_move_along() {
    let network = Network::new(&["net7"]);
    network.ip(&["addr", "add", "10.7.0.5/24", "dev", "net7"]);
    network.ip(&["addr", "add", "10.8.0.6/16", "dev", "net7"]);
    network.ip(&["-6", "addr", "add", "fd00:7::5/64", "dev", "net7", "nodad"]);
    let bundle =
        network.bundle(json!({"net7": {"name": "eth0"}})).args(&["ip", "addr", "show", "eth0"]);
    let output = bundle.run().ok();
    for address in ["inet 10.7.0.5/24", "inet 10.8.0.6/16", "inet6 fd00:7::5/64"] {
        assert!(output.stdout.contains(address), "{address}: {output}");
    }
}

fn addresses_of_another_scope_do_not_move() {
    let network = Network::new(&["net7"]);
    network.ip(&["addr", "add", "10.7.0.5/24", "dev", "net7", "scope", "link"]);
    network.ip(&["addr", "add", "10.8.0.6/16", "dev", "net7"]);
    let bundle = network.bundle(json!({"net7": {}})).args(&["ip", "addr", "show", "net7"]);
    let output = bundle.run().ok();
    assert!(output.stdout.contains("10.8.0.6") && !output.stdout.contains("10.7.0.5"), "{output}");
}

// "The runtime MUST preserve existing network interface attributes".
fn attributes_of_the_device_stay() {
    let network = Network::new(&["net7"]);
    network.ip(&["link", "set", "net7", "mtu", "1234", "address", "02:00:00:00:00:07"]);
    let bundle = network.bundle(json!({"net7": {}}));
    let bundle = bundle.script("cat /sys/class/net/net7/mtu /sys/class/net/net7/address");
    let _ = bundle.run().ok().prints("1234\n02:00:00:00:00:07");
}

fn two_devices_are_moved() {
    let network = Network::new(&["net7", "net8"]);
    let bundle = network.bundle(json!({"net7": {"name": "net8"}, "net8": {"name": "other"}}));
    let _ = bundle.args(&["ls", "/sys/class/net"]).run().ok().prints("lo\nnet8\nother");
}

// "If a network device with the specified name already exists in the container namespace, the runtime MUST generate an
// error".
fn a_name_that_is_taken_is_refused() {
    let network = Network::new(&["net7"]);
    let bundle = network.bundle(json!({"net7": {"name": "lo"}}));
    let _ = bundle.try_create().refused().names("net7");
    assert!(network.has("net7"));
    let target = Network::new(&["taken"]);
    let bundle = network
        .bundle(json!({"net7": {"name": "taken"}}))
        .join("network", &target.holder.path("net"));
    let _ = bundle.try_create().refused().names("net7");
    assert!(network.has("net7"));
    let network = Network::new(&["net7", "net8"]);
    let bundle = network.bundle(json!({"net7": {"name": "same"}, "net8": {"name": "same"}}));
    let _ = bundle.try_create().refused().names("/linux/netDevices");
}

// "unless the user has provided a template by appending %d to the new name. In that case [...] the kernel will
// generate a unique name".
fn a_template_name_is_completed_by_the_kernel() {
    let network = Network::new(&["net7", "net8"]);
    let target = Network::new(&["eth0"]);
    let bundle = network.bundle(json!({"net7": {"name": "eth%d"}, "net8": {"name": "eth%d"}}));
    let bundle = bundle.join("network", &target.holder.path("net")).args(&["ls", "/sys/class/net"]);
    let _ = bundle.run().ok().prints("eth0\neth1\neth2\nlo\np-eth0");
}

// "The runtime MUST check if moving the network interface to the container namespace is possible."
fn a_missing_device_is_refused() {
    let network = Network::new(&["net7"]);
    let bundle = network.bundle(json!({"none": {}}));
    let _ = bundle.try_create().refused().names("none");
    crate::lifecycle::assert_nothing_left(&bundle);
}

fn an_invalid_name_is_refused() {
    let network = Network::new(&["net7"]);
    for name in ["a/b", "..", "a name", "far-too-long-a-name-for-linux", "%s", "a%d%d", "x:y"] {
        let bundle = network.bundle(json!({"net7": {"name": name}}));
        let _ = bundle.try_create().refused().names("/linux/netDevices/net7");
    }
    let _ = network.bundle(json!({"a/b": {}})).try_create().refused().names("/linux/netDevices");
    assert!(network.has("net7"));
}

fn devices_without_a_network_namespace_are_refused() {
    let network = Network::new(&["net7"]);
    let bundle = network.bundle(json!({"net7": {}})).without_namespace("network");
    let _ = bundle.try_create().refused().names("/linux/netDevices");
}

fn a_device_moves_into_a_joined_namespace() {
    let (network, target) = (Network::new(&["net7"]), Network::new(&[]));
    let bundle = network.bundle(json!({"net7": {}})).join("network", &target.holder.path("net"));
    let _ = bundle.run().ok();
    assert!(target.has("net7"));
}

// "generating an error MUST leave the state of the environment as if the operation were never attempted".
fn a_failed_create_moves_the_device_back_or_not_at_all() {
    let network = Network::new(&["net7"]);
    network.ip(&["addr", "add", "10.7.0.5/24", "dev", "net7"]);
    let bundle = network.bundle(json!({"net7": {"name": "eth0"}})).args(&["no-such-program"]);
    let _ = bundle.try_create().refused();
    assert!(network.has("net7"));
    assert!(network.ip(&["addr", "show", "net7"]).contains("10.7.0.5/24"));
}

fn the_device_is_there_for_hooks() {
    let network = Network::new(&["net7"]);
    let bundle = network.bundle(json!({"net7": {}}));
    let script = format!(
        "ls /sys/class/net > {}/log; ip link show net7 >> {0}/log 2>&1",
        bundle.rootfs().display()
    );
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]});
    let bundle = bundle.set("/hooks/createContainer", json!([hook]));
    let _ = bundle.run().ok();
    assert!(bundle.read("log").contains("net7"), "{}", bundle.read("log"));
}
