//! The network devices to move into the container: config-linux.md, "Network Devices".
//! Whether they exist is seen when they are moved (container/network.rs).

use std::collections::{BTreeMap, BTreeSet};

use super::namespaces::{NETWORK, Namespaces};
use super::{Problems, escape};
use crate::spec::config;

/// A device of the runtime namespace and what it is called in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name in the runtime namespace.
    pub host: String,
    /// Its name in the container namespace; with `%d`, the kernel puts the first free number there.
    pub name: String,
}

impl NetDevice {
    /// The kernel makes a name that is free.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.name.contains('%')
    }
}

/// Plans the devices of /linux/netDevices, in the order of their names. Without a network namespace
/// of the container's own there is nowhere to move a device.
pub fn plan(
    devices: &BTreeMap<String, config::NetDevice>,
    namespaces: &Namespaces,
    problems: &mut Problems,
) -> Vec<NetDevice> {
    if !devices.is_empty() && !namespaces.is_own(NETWORK) {
        problems.add("/linux/netDevices", "needs a network namespace in /linux/namespaces");
    }
    let mut taken = BTreeSet::new();
    let mut planned = Vec::new();
    for (host, device) in devices {
        let pointer = format!("/linux/netDevices/{}", escape(host));
        if let Err(message) = check_name(host) {
            problems.add(pointer, message);
            continue;
        }
        // "" is what an engine written in Go means by "not specified".
        let name = device.name.as_deref().filter(|name| !name.is_empty());
        if let Err(message) = name.map_or(Ok(()), check_pattern) {
            problems.add(pointer + "/name", message);
            continue;
        }
        let device = NetDevice { host: host.clone(), name: name.unwrap_or(host).to_owned() };
        if !device.is_pattern() && !taken.insert(device.name.clone()) {
            let message = format!("{:?} is the name of two devices", device.name);
            problems.add(pointer + "/name", message);
        }
        planned.push(device);
    }
    planned
}

/// A name that a device can have: dev_valid_name and dev_prep_valid_name in net/core/dev.c.
fn check_name(name: &str) -> Result<(), String> {
    if name.contains('%') {
        return Err(format!("{name:?}: no device has a % in its name"));
    }
    check_bytes(name)
}

/// A name, or a pattern for one: `%d` once, and no other `%`.
fn check_pattern(name: &str) -> Result<(), String> {
    if name.contains('%') && (!name.contains("%d") || name.matches('%').count() > 1) {
        return Err(format!("{name:?}: % may stand once, followed by d"));
    }
    check_bytes(name)
}

fn check_bytes(name: &str) -> Result<(), String> {
    // IFNAMSIZ of the kernel counts the NUL byte at the end.
    if !(1..16).contains(&name.len()) {
        return Err(format!("{name:?}: a device name has 1 to 15 bytes"));
    }
    if name == "." || name == ".." {
        return Err(format!("{name:?} cannot be a device name"));
    }
    // 0xa0: the kernel looks at bytes and takes them for Latin-1, where this one is a space
    // (lib/ctype.c). It is also the second byte of "à".
    let forbidden = |byte: &u8| matches!(byte, b'/' | b':' | 0 | b'\t'..=b'\r' | b' ' | 0xa0);
    if name.bytes().any(|byte| forbidden(&byte)) {
        return Err(format!("{name:?}: a device name has no '/', no ':' and no space"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(entries: &[(&str, &str)], new: u64) -> (Vec<NetDevice>, Vec<String>) {
        let name = |name: &str| config::NetDevice { name: (name != "-").then(|| name.to_owned()) };
        let devices = entries.iter().map(|(host, it)| ((*host).to_owned(), name(it))).collect();
        let mut problems = Problems::default();
        let namespaces = Namespaces { new, ..Namespaces::default() };
        let planned = plan(&devices, &namespaces, &mut problems);
        (planned, problems.wrong().to_vec())
    }

    fn pointers(entries: &[(&str, &str)]) -> Vec<String> {
        let wrong = planned(entries, NETWORK).1;
        wrong.iter().map(|line| line.split_once(": ").unwrap().0.to_owned()).collect()
    }

    #[test]
    fn a_device_keeps_its_name_unless_it_is_given_one() {
        let entries = [("eth1", "net%d"), ("eth0", "-"), ("eth2", "")];
        let (planned, _) = planned(&entries, NETWORK);
        let names: Vec<_> = planned.iter().map(|it| (it.host.as_str(), it.name.as_str())).collect();
        assert_eq!(names, [("eth0", "eth0"), ("eth1", "net%d"), ("eth2", "eth2")]);
    }

    #[test]
    fn names_that_the_kernel_refuses_are_refused_before() {
        let both = [".", "..", "a/b", "a:b", "a b", "a\u{b}", "à", "0123456789abcdef", "%s"];
        for name in both.into_iter().chain(["", "e%d"]) {
            let pointer = format!("/linux/netDevices/{}", name.replace('/', "~1"));
            assert_eq!(pointers(&[(name, "-")]), [pointer]);
        }
        for name in both.into_iter().chain(["%", "%d%d", "%%d"]) {
            assert_eq!(pointers(&[("eth0", name)]), ["/linux/netDevices/eth0/name"]);
        }
        for name in ["e", "0123456789abcde", "é", "...", "%d", "a%db"] {
            assert_eq!(pointers(&[("eth0", name)]), [""; 0], "{name}");
        }
    }

    #[test]
    fn two_devices_cannot_have_one_name() {
        let wrong = pointers(&[("a", "c"), ("b", "c"), ("c", "-")]);
        assert_eq!(wrong, ["/linux/netDevices/b/name", "/linux/netDevices/c/name"]);
        assert_eq!(pointers(&[("a", "c%d"), ("b", "c%d")]), [""; 0]);
    }

    #[test]
    fn without_a_network_namespace_there_is_nowhere_to_move_a_device() {
        assert!(planned(&[("a", "-")], 0).1[0].starts_with("/linux/netDevices: "));
        assert_eq!(planned(&[], 0), (Vec::new(), Vec::new()));
    }
}
