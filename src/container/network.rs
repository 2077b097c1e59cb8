//! Network devices move from the runtime namespace into the container's: config-linux.md,
//! "Network Devices". They are moved back only when a create fails: from then on the namespace owns
//! them.
//! Routes, neighbours and DNS are not configured here.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Call, Context, Error, Result};
use crate::plan::escape;
use crate::plan::network::NetDevice;
use crate::sys::netlink::{Address, Device, Link, Socket};
use crate::sys::process::setns;

const CLONE_NEWNET: u64 = libc::CLONE_NEWNET as u64;

/// Devices that were moved, and what they were before.
#[derive(Debug)]
pub struct Moved {
    netns: OwnedFd,
    devices: Vec<MovedDevice>,
}

#[derive(Debug)]
struct MovedDevice {
    host: String,
    before: Link,
    /// Its index in the container.
    index: u32,
    /// Its permanent global addresses.
    addresses: Vec<Address>,
}

/// Moves `devices` from the calling thread's network namespace into `netns`, and gives each its
/// name there, its permanent global addresses, and the state "up".
///
/// Nothing is moved unless every device exists and its name is free in `netns`; what was moved when
/// another one fails is put back. Needs CAP_NET_ADMIN in both namespaces, and CAP_SYS_ADMIN to
/// enter the second (setns(2)).
///
/// # Errors
/// A device that does not exist, cannot be moved, or whose name is taken.
pub fn move_devices(devices: &[NetDevice], netns: BorrowedFd) -> Result<Moved> {
    let netns = netns.try_clone_to_owned().call(|| "dup()")?;
    let mut moved = Moved { netns, devices: Vec::new() };
    match moved.take(devices) {
        Ok(()) => Ok(moved),
        Err(error) => {
            // The error that began it is the one to report.
            moved.put_back().ok();
            Err(error)
        }
    }
}

impl Moved {
    fn take(&mut self, devices: &[NetDevice]) -> Result<()> {
        let mut runtime = Socket::open()?;
        let mut container = open_in(self.netns.as_fd())?;
        let mut links = Vec::new();
        for device in devices {
            links.push(check(device, &mut runtime, &mut container)?);
        }
        // Before the move: a device that leaves its namespace loses its addresses.
        let all = runtime.addresses()?;
        for (device, before) in devices.iter().zip(links) {
            let context = || place(&device.host);
            let index = free_index(before.index, &mut container)?;
            let is_kept = |it: &&Address| it.device == before.index && is_kept(it);
            let addresses: Vec<Address> = all.iter().filter(is_kept).cloned().collect();
            runtime
                .move_device(before.index, self.netns.as_fd(), index, &device.name)
                .context(context)?;
            // From here on it can be put back.
            let host = device.host.clone();
            self.devices.push(MovedDevice { host, before, index, addresses });
            let moved = self.devices.last().expect("it was just put there");
            for address in &moved.addresses {
                let mut address = address.clone();
                if device.name != device.host {
                    // It begins with the old name; the kernel makes one from the new.
                    address.label = None;
                }
                container.add_address(index, &address).context(context)?;
            }
            container.set_up(index).context(context)?;
        }
        Ok(())
    }

    /// Undoes it, while the container's namespace still exists: a virtual device would end with it.
    ///
    /// # Errors
    /// The first device that could not be put back; the others are.
    pub fn put_back(self) -> Result<()> {
        let own = File::open(OWN_NAMESPACE).call(|| format!("open({OWN_NAMESPACE:?})"))?;
        let mut container = open_in(self.netns.as_fd())?;
        let mut runtime = Socket::open()?;
        let mut put_one = |device: &MovedDevice| -> Result<()> {
            let MovedDevice { host, before, index, addresses } = device;
            let free = free_index(before.index, &mut runtime)?;
            container.move_device(*index, own.as_fd(), free, host)?;
            for address in addresses {
                runtime.add_address(free, address)?;
            }
            if before.is_up { runtime.set_up(free) } else { Ok(()) }
        };
        let results: Vec<Result<()>> = self.devices.iter().map(&mut put_one).collect();
        results.into_iter().collect()
    }
}

/// The network namespace of the calling thread.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// A netlink socket that acts on `netns`. The calling thread is back in its own namespace
/// afterwards; the process must have no other thread that could look meanwhile.
fn open_in(netns: BorrowedFd) -> Result<Socket> {
    let own = File::open(OWN_NAMESPACE).call(|| format!("open({OWN_NAMESPACE:?})"))?;
    setns(netns, CLONE_NEWNET)?;
    let socket = Socket::open();
    setns(own.as_fd(), CLONE_NEWNET)?;
    socket
}

/// Where the config speaks of a device.
fn place(host: &str) -> String {
    format!("config.json: /linux/netDevices/{}", escape(host))
}

/// The device, if it exists and its name is free in the container.
fn check(device: &NetDevice, runtime: &mut Socket, container: &mut Socket) -> Result<Link> {
    let NetDevice { host, name } = device;
    let Some(link) = runtime.find(Device::Name(host))? else {
        return Err(Error::new(format!("{}: there is no such device", place(host))));
    };
    // The kernel would say so too, but after it has moved the device (do_setlink in rtnetlink.c).
    if !device.is_pattern() && container.find(Device::Name(name))?.is_some() {
        let what = format!("the container has a device {name:?} already");
        return Err(Error::new(format!("{}: {what}", place(host))));
    }
    Ok(link)
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
            assert!(error.to_string().contains("/linux/netDevices/none: there is no such device"));
            let error = move_devices(&[device("lo", "lo1")], container.0.as_fd()).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("/linux/netDevices/lo") && text.contains("RTM_SETLINK"),
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
