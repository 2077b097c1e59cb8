//! Network devices move from the runtime namespace into the container's: config-linux.md,
//! "Network Devices". They are never moved back: the namespace owns them from then on.
//! Routes, neighbours and DNS are not configured here.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::{Call, Context, Error, Result};
use crate::plan::network::NetDevice;
use crate::sys::netlink::{Address, Device, Socket};
use crate::sys::process::setns;

const CLONE_NEWNET: u64 = libc::CLONE_NEWNET as u64;

/// Moves `devices` from the calling thread's network namespace into `netns`, and gives each its
/// name there, its permanent global addresses, and the state "up".
///
/// Nothing is moved unless every device exists and its name is free in `netns`. Needs
/// CAP_NET_ADMIN in both namespaces, and CAP_SYS_ADMIN to enter the second (setns(2)).
///
/// # Errors
/// A device that does not exist, cannot be moved, or whose name is taken.
pub fn move_devices(devices: &[NetDevice], netns: BorrowedFd) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let mut runtime = Socket::open()?;
    let mut container = open_in(netns)?;
    let mut indexes = Vec::new();
    for device in devices {
        indexes.push(check(device, &mut runtime, &mut container)?);
    }
    // Before the move: a device that leaves its namespace loses its addresses.
    let addresses = runtime.addresses()?;
    for (device, index) in devices.iter().zip(indexes) {
        let context = || format!("network device {:?}", device.host);
        let new_index = free_index(index, &mut container)?;
        runtime.move_device(index, netns, new_index, &device.name).context(context)?;
        for address in addresses.iter().filter(|it| it.device == index && is_kept(it)) {
            let mut address = address.clone();
            if device.name != device.host {
                // It begins with the old name; the kernel makes one from the new.
                address.label = None;
            }
            container.add_address(new_index, &address).context(context)?;
        }
        container.set_up(new_index).context(context)?;
    }
    Ok(())
}

/// A netlink socket that acts on `netns`. The calling thread is back in its own namespace
/// afterwards; the process must have no other thread that could look meanwhile.
fn open_in(netns: BorrowedFd) -> Result<Socket> {
    let path = "/proc/thread-self/ns/net";
    let own = File::open(path).call(|| format!("open({path:?}, O_RDONLY|O_CLOEXEC)"))?;
    setns(netns, CLONE_NEWNET)?;
    let socket = Socket::open();
    setns(own.as_fd(), CLONE_NEWNET)?;
    socket
}

/// The device's index, if it exists and its name is free in the container.
fn check(device: &NetDevice, runtime: &mut Socket, container: &mut Socket) -> Result<u32> {
    let NetDevice { host, name } = device;
    let Some(index) = runtime.find(Device::Name(host))? else {
        return Err(Error::new(format!("network device {host:?}: there is no such device")));
    };
    // The kernel would say so too, but after it has moved the device (do_setlink in rtnetlink.c).
    if !device.is_pattern() && container.find(Device::Name(name))?.is_some() {
        let what = format!("the container has a device {name:?} already");
        return Err(Error::new(format!("network device {host:?}: {what}")));
    }
    Ok(index)
}

/// The device keeps its index if it can, as the kernel does when it chooses.
fn free_index(index: u32, container: &mut Socket) -> Result<u32> {
    let mut free = index;
    while container.find(Device::Index(free))?.is_some() {
        free += 1;
    }
    Ok(free)
}

/// "all permanent IP addresses (IFA_F_PERMANENT flag) of any family with global scope
/// (RT_SCOPE_UNIVERSE value)"
fn is_kept(address: &Address) -> bool {
    address.flags & libc::IFA_F_PERMANENT != 0 && address.scope == libc::RT_SCOPE_UNIVERSE
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::process::Command;

    use super::*;
    use crate::sys::netlink::loopback_up;
    use crate::sys::process::unshare;

    /// A thread of its own in a new network namespace, with a second one to move devices to.
    /// Nothing is left when it ends: a namespace lives as long as its users.
    fn in_two_namespaces(test: impl FnOnce(&Namespace) + Send + 'static) {
        let run = || match Namespace::new() {
            Ok(container) => {
                unshare(CLONE_NEWNET).unwrap();
                test(&container);
            }
            Err(error) => eprintln!("skipped: {error}"),
        };
        if let Err(panic) = std::thread::spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    }

    struct Namespace(OwnedFd);

    impl Namespace {
        fn new() -> Result<Self> {
            unshare(CLONE_NEWNET)?;
            Ok(Self(File::open("/proc/thread-self/ns/net").unwrap().into()))
        }

        /// What a command prints inside.
        fn sees(&self, command: &str) -> String {
            let own = File::open("/proc/thread-self/ns/net").unwrap();
            setns(self.0.as_fd(), CLONE_NEWNET).unwrap();
            let output = sees(command);
            setns(own.as_fd(), CLONE_NEWNET).unwrap();
            output
        }
    }

    fn sees(command: &str) -> String {
        let output = Command::new("sh").args(["-ec", command]).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn device(host: &str, name: &str) -> NetDevice {
        NetDevice { host: host.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_device_moves_with_its_permanent_global_addresses_and_is_up() {
        in_two_namespaces(|container| {
            sees(
                "ip link add v0 type veth peer name v1
                ip link set v0 address 02:00:00:00:00:07 mtu 1400
                ip addr add 192.0.2.1/24 broadcast 192.0.2.255 dev v0
                ip addr add 192.0.2.2/24 label v0:b dev v0
                ip addr add 198.51.100.1 peer 198.51.100.2/32 metric 77 dev v0
                ip addr add 203.0.113.1/24 scope link dev v0
                ip addr add 203.0.114.2/24 valid_lft 900 preferred_lft 900 dev v0
                ip addr add 2001:db8::1/64 nodad dev v0
                ip addr add 2001:db8::2/64 valid_lft 900 preferred_lft 900 dev v0
                ip addr add 192.0.2.9/24 dev v1
                ip link set v0 up",
            );
            let before = sees("ip -o addr show dev v0 | grep -v -e 203 -e db8::2 -e fe80");

            move_devices(&[device("v0", "v0")], container.0.as_fd()).unwrap();

            assert_eq!(sees("ip -o link | grep -c v0: || :"), "0\n");
            let index = |line: &str| line.split_once(':').unwrap().0.to_owned();
            let after = container.sees("ip -o addr show dev v0 | grep -v fe80");
            assert_eq!(after, before, "{} {}", index(&after), index(&before));
            let link = container.sees("ip -o link show dev v0");
            assert!(link.contains("UP") && link.contains("mtu 1400"), "{link}");
            assert!(link.contains("02:00:00:00:00:07"), "{link}");
        });
    }

    #[test]
    fn a_device_is_renamed_even_if_its_old_name_and_its_index_are_taken() {
        in_two_namespaces(|container| {
            container.sees("ip link add v0 index 7 type veth peer name w index 8");
            sees("ip link add v0 index 7 type veth peer name v1; ip addr add 192.0.2.1/24 dev v0");

            move_devices(&[device("v0", "renamed")], container.0.as_fd()).unwrap();

            let link = container.sees("ip -o link show dev renamed");
            assert!(link.starts_with("9:") && link.contains("UP"), "{link}");
            // The label follows the name.
            let address = container.sees("ip -o addr show dev renamed");
            assert!(address.contains("192.0.2.1/24 scope global renamed"), "{address}");
        });
    }

    #[test]
    fn a_name_that_the_container_has_is_refused_and_nothing_moves() {
        in_two_namespaces(|container| {
            container.sees("ip link add taken type veth peer name other");
            sees("ip link add v0 type veth peer name v1");

            for (host, name) in [("v1", "taken"), ("v1", "lo"), ("lo", "lo")] {
                let devices = [device("v0", "v0"), device(host, name)];
                let error = move_devices(&devices, container.0.as_fd()).unwrap_err();
                let text = error.to_string();
                assert!(text.contains(&format!("has a device {name:?} already")), "{text}");
            }

            assert_eq!(sees("ip -o link | grep -c v[01]@"), "2\n");
            assert_eq!(container.sees("ip -o link | wc -l"), "3\n");
        });
    }

    #[test]
    fn the_kernel_finds_a_free_name_for_a_pattern() {
        in_two_namespaces(|container| {
            container.sees("ip link add net0 type veth peer name v0");
            sees("ip link add v0 type veth peer name v1; ip addr add 192.0.2.1/24 dev v0");

            let devices = [device("v0", "net%d"), device("v1", "net%d")];
            move_devices(&devices, container.0.as_fd()).unwrap();

            let names = container.sees("ls /sys/class/net || :; ip -o link");
            assert_eq!(names.matches(": net").count(), 3, "{names}");
            let address = container.sees("ip -o addr | grep 192.0.2.1");
            assert!(address.contains("global net"), "{address}");
        });
    }

    #[test]
    fn a_device_that_does_not_exist_or_cannot_move_is_named() {
        in_two_namespaces(|container| {
            let error = move_devices(&[device("none", "none")], container.0.as_fd()).unwrap_err();
            assert!(error.to_string().contains("network device \"none\": there is no such device"));
            let error = move_devices(&[device("lo", "lo1")], container.0.as_fd()).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("network device \"lo\"") && text.contains("RTM_SETLINK"),
                "{text}"
            );
        });
    }

    #[test]
    fn a_thousand_addresses_arrive_in_more_than_one_datagram() {
        in_two_namespaces(|container| {
            sees(
                "ip link add v0 type veth peer name v1
                seq 0 999 | while read n
                do echo addr add 10.0.$((n / 250)).$((n % 250 + 1))/32 dev v0; done | ip -batch -",
            );
            move_devices(&[device("v0", "v0")], container.0.as_fd()).unwrap();
            assert_eq!(container.sees("ip -o -4 addr show dev v0 | wc -l"), "1000\n");
        });
    }

    #[test]
    fn the_calling_thread_stays_in_its_namespace() {
        in_two_namespaces(|container| {
            let before = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
            open_in(container.0.as_fd()).unwrap();
            assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").unwrap(), before);
        });
    }

    #[test]
    fn the_loopback_device_of_a_new_namespace_comes_up() {
        in_two_namespaces(|_| {
            let up = "ip -o link show dev lo | grep -c LOOPBACK,UP || :";
            assert_eq!(sees(up), "0\n");
            loopback_up().unwrap();
            assert_eq!(sees(up), "1\n");
            assert!(sees("ip -o addr show dev lo").contains("127.0.0.1/8"));
        });
    }
}
