//! Which kernel parameters a container may have: config-linux.md, "Sysctl". Only those that the
//! kernel keeps apart in a namespace of the container's own: any other would change the host.

use std::collections::BTreeMap;

use super::namespaces::{IPC, NETWORK, Namespaces, UTS};
use super::{Problems, escape};

/// Those of the ipc namespace (ipc_namespaces(7)).
const OF_IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shm_rmid_forced",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
];

/// Plans the parameters: a path below /proc/sys, and the value.
pub fn plan(
    list: &BTreeMap<String, String>,
    namespaces: &Namespaces,
    problems: &mut Problems,
) -> Vec<(String, String)> {
    list.iter()
        .map(|(key, value)| {
            let path = path(key);
            if let Err(message) = check(&path, namespaces) {
                problems.add(format_args!("/linux/sysctl/{}", escape(key)), message);
            }
            (path, value.clone())
        })
        .collect()
}

/// As sysctl(8) reads a key: the first separator decides whether "." or "/" separates, and the
/// other one is part of a name then, such as the interface in `net.ipv4.conf.eno2/100.forwarding`.
fn path(key: &str) -> String {
    if key.find(['/', '.']).is_some_and(|at| key[at..].starts_with('/')) {
        return key.to_owned();
    }
    let swap = |character| match character {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    key.chars().map(swap).collect()
}

fn check(path: &str, namespaces: &Namespaces) -> Result<(), &'static str> {
    if path.split('/').any(|name| name.is_empty() || name == "." || name == "..")
        || path.contains('\0')
    {
        return Err("is no name of a kernel parameter");
    }
    let needs = |kind, message| if namespaces.is_own(kind) { Ok(()) } else { Err(message) };
    if OF_IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        return needs(IPC, "needs an ipc namespace in /linux/namespaces");
    }
    if path.starts_with("net/") {
        return needs(NETWORK, "needs a network namespace in /linux/namespaces");
    }
    match path {
        "kernel/domainname" => needs(UTS, "needs a uts namespace in /linux/namespaces"),
        "kernel/hostname" => Err("is set by /hostname"),
        _ => Err("is not kept apart in a namespace, so it would change the host"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_decides() {
        for (key, expected) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net.ipv4.conf.eno2/100.forwarding", "net/ipv4/conf/eno2.100/forwarding"),
            ("net/ipv4/conf/eno2.100/forwarding", "net/ipv4/conf/eno2.100/forwarding"),
            ("kernel", "kernel"),
        ] {
            assert_eq!(path(key), expected);
        }
    }

    #[test]
    fn only_what_is_the_containers_own_is_allowed() {
        let own = Namespaces { new: IPC | NETWORK | UTS, ..Namespaces::default() };
        let shared = Namespaces::default();
        for key in ["kernel/shmmax", "fs/mqueue/msg_max", "net/core/somaxconn", "kernel/domainname"]
        {
            assert_eq!(check(key, &own), Ok(()), "{key}");
            assert!(check(key, &shared).is_err(), "{key}");
        }
        for key in [
            "kernel/hostname",
            "kernel/core_pattern",
            "vm/swappiness",
            "net/../kernel/x",
            "",
            "net//x",
        ] {
            assert!(check(key, &own).is_err(), "{key}");
        }
    }
}
