//! The few requests to the kernel's network configuration that a container needs:
//! rtnetlink(7) over netlink(7), and the one ioctl of netdevice(7) that brings `lo` up.
//! A request is sent, its answer read to the end, and only then the next one sent.
//! Which device goes where is decided elsewhere (container/network.rs).

mod message;

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvmsg, send, socket,
};

use crate::error::{Call, Result};
use message::{Message, Request, array};

/// The kernel fills at most 32 KiB of a dump into one datagram (netlink_recvmsg in af_netlink.c).
const DATAGRAM: usize = 32 * 1024;
/// How often a dump is asked for again because the list changed while it was read.
const ATTEMPTS: usize = 16;

// linux/if_link.h
const IFLA_NEW_IFINDEX: u16 = 49;

/// A device, as a request names it.
#[derive(Clone, Copy, Debug)]
pub enum Device<'a> {
    /// Its index, never 0.
    Index(u32),
    /// Its name or one of its alternative names.
    Name(&'a str),
}

/// An address of a device, complete enough to be given to another device.
#[derive(Clone, Debug)]
pub struct Address {
    /// The index of the device that has it.
    pub device: u32,
    /// `IFA_F_*`.
    pub flags: u32,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// IPv4 only, with its final NUL: the device's name, perhaps with `:` and a suffix.
    pub label: Option<Vec<u8>>,
    family: u8,
    prefix_length: u8,
    /// `IFA_*` and value: the address, the peer, the broadcast address, lifetimes, the metric.
    attributes: Vec<(u16, Vec<u8>)>,
}

/// A device that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Whether it is up.
    pub is_up: bool,
}

/// A NETLINK_ROUTE socket. It acts on the network namespace of the thread that opened it,
/// wherever that thread goes afterwards.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// A socket for the calling thread's network namespace.
    ///
    /// # Errors
    /// EPROTONOSUPPORT if the kernel has no networking.
    pub fn open() -> Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )
        .call(|| "socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE)")?;
        Ok(Self { fd, sequence: 0 })
    }

    /// A device, or nothing if there is no such device.
    ///
    /// # Errors
    /// ERANGE for a name of more than 15 bytes.
    pub fn find(&mut self, device: Device) -> Result<Option<Link>> {
        let mut request = Request::new(libc::RTM_GETLINK, 0);
        match device {
            Device::Index(index) => request.link(index, 0),
            Device::Name(name) => {
                request.link(0, 0);
                request.text(libc::IFLA_IFNAME, name);
            }
        }
        let answer = match self.answer(request) {
            Err(Errno::ENODEV) => return Ok(None),
            answer => answer,
        };
        answer
            .and_then(|messages| messages.first().ok_or(Errno::EBADMSG)?.link())
            .map(Some)
            .call(|| format!("RTM_GETLINK({device:?})"))
    }

    /// The addresses of all devices and families.
    ///
    /// # Errors
    /// EAGAIN if they never stood still while they were read.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        let dump = u16::try_from(libc::NLM_F_DUMP).expect("a flag of a 16 bit field");
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut request = Request::new(libc::RTM_GETADDR, dump);
            request.every_address();
            let answer = self
                .answer(request)
                .and_then(|messages| messages.iter().map(Message::address).collect());
            match answer {
                Err(Errno::EAGAIN) if attempt < ATTEMPTS => {}
                answer => return answer.call(|| "RTM_GETADDR()"),
            }
        }
    }

    /// Moves the device `index` of this socket's namespace to `netns`, where it is down, without
    /// addresses, and has `new_index` and `new_name` (which may be a pattern with one `%d`).
    ///
    /// # Errors
    /// EBUSY: `new_index` is taken there. EINVAL: the device cannot leave its namespace.
    /// EEXIST: the name is taken there; then the device may have moved nevertheless, because
    /// the kernel renames last (do_setlink in net/core/rtnetlink.c).
    pub fn move_device(
        &mut self,
        index: u32,
        netns: BorrowedFd,
        new_index: u32,
        new_name: &str,
    ) -> Result<()> {
        let mut request = Request::new(libc::RTM_SETLINK, 0);
        request.link(index, 0);
        request.attribute(libc::IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
        // Since Linux 5.13. Without it the index is the kernel's choice, and not told.
        request.attribute(IFLA_NEW_IFINDEX, &new_index.to_ne_bytes());
        request.text(libc::IFLA_IFNAME, new_name);
        self.answer(request).map(drop).call(|| {
            let netns = netns.as_raw_fd();
            format!("RTM_SETLINK({index}, netns {netns}, {new_index}, {new_name:?})")
        })
    }

    /// Gives `address` to the device `index`; `address.device` is not looked at.
    ///
    /// # Errors
    /// EEXIST: the device has it already.
    pub fn add_address(&mut self, index: u32, address: &Address) -> Result<()> {
        let flags =
            u16::try_from(libc::NLM_F_CREATE | libc::NLM_F_EXCL).expect("flags of a 16 bit field");
        let mut request = Request::new(libc::RTM_NEWADDR, flags);
        request.address(index, address);
        self.answer(request).map(drop).call(|| {
            let Address { family, prefix_length, .. } = address;
            format!("RTM_NEWADDR({index}, family {family}, prefix length {prefix_length})")
        })
    }

    /// Brings the device `index` up.
    ///
    /// # Errors
    /// What the device's driver says.
    pub fn set_up(&mut self, index: u32) -> Result<()> {
        let mut request = Request::new(libc::RTM_SETLINK, 0);
        request.link(index, UP);
        self.answer(request).map(drop).call(|| format!("RTM_SETLINK({index}, IFF_UP)"))
    }

    /// Sends a request and reads until the kernel says that it is done.
    /// EAGAIN: the list changed while it was dumped.
    fn answer(&mut self, request: Request) -> nix::Result<Vec<Message>> {
        self.sequence += 1;
        // Without an address, a datagram goes to the kernel (netlink(7)).
        send(self.fd.as_raw_fd(), &request.finish(self.sequence), MsgFlags::empty())?;
        let mut datagram = vec![0; DATAGRAM];
        let mut messages = Vec::new();
        let mut changed = false;
        loop {
            let length = self.receive(&mut datagram)?;
            let mut rest = &datagram[..length];
            while !rest.is_empty() {
                let message = Message::parse(&mut rest)?;
                if message.sequence != self.sequence {
                    continue;
                }
                changed |= i32::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
                match i32::from(message.kind) {
                    // Both begin with an int: 0, or a negative errno.
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        return match i32::from_ne_bytes(array(&message.body, 0)?) {
                            0 if changed => Err(Errno::EAGAIN),
                            0 => Ok(messages),
                            errno => Err(Errno::from_raw(errno.wrapping_neg())),
                        };
                    }
                    libc::NLMSG_NOOP => {}
                    _ => messages.push(message),
                }
            }
        }
    }

    /// The length of the next datagram that the kernel sent.
    fn receive(&self, datagram: &mut [u8]) -> nix::Result<usize> {
        loop {
            let mut buffers = [IoSliceMut::new(datagram)];
            let fd = self.fd.as_raw_fd();
            match recvmsg::<NetlinkAddr>(fd, &mut buffers, None, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(received) if received.flags.contains(MsgFlags::MSG_TRUNC) => {
                    return Err(Errno::EMSGSIZE);
                }
                // Whoever has CAP_NET_ADMIN may send to this socket; the kernel is port 0.
                Ok(received) if received.address.is_some_and(|from| from.pid() != 0) => {}
                Ok(received) => return Ok(received.bytes),
            }
        }
    }
}

const UP: u32 = libc::IFF_UP.cast_unsigned();

nix::ioctl_write_ptr_bad!(
    /// netdevice(7)
    siocsifflags,
    libc::SIOCSIFFLAGS,
    libc::ifreq
);

/// Brings `lo` up in the calling thread's network namespace, which must be a new one: the other
/// flags that can be set are cleared, not read first.
///
/// Three system calls, 18 µs on Linux 6.18; one rtnetlink request takes four and 21 µs.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN.
pub fn loopback_up() -> Result<()> {
    // Any family will do for the ioctls of a device (netdevice(7)); this one always exists.
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .call(|| "socket(AF_UNIX, SOCK_DGRAM|SOCK_CLOEXEC)")?;
    let flags = i16::try_from(libc::IFF_UP).expect("a flag of a 16 bit field");
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    // SAFETY: the kernel reads one struct ifreq, which lives until the call returns; its name
    // ends in a NUL, and ifru_flags is the member that this request reads.
    unsafe { siocsifflags(socket.as_raw_fd(), &raw const request) }
        .map(drop)
        .call(|| format!("ioctl({}, SIOCSIFFLAGS, \"lo\", IFF_UP)", socket.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_namespace_has_a_loopback_device() {
        let mut socket = Socket::open().unwrap();
        let link = socket.find(Device::Name("lo")).unwrap();
        assert_eq!(link.unwrap().index, 1);
        assert_eq!(socket.find(Device::Index(1)).unwrap(), link);
        assert_eq!(socket.find(Device::Name("no such one")).unwrap(), None);
        socket.addresses().unwrap();
    }
}
