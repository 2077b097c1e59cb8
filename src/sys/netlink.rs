//! The few requests to the kernel's network configuration that a container needs:
//! rtnetlink(7) over netlink(7), and the one ioctl of netdevice(7) that brings `lo` up.
//! A request is sent, its answer read to the end, and only then the next one sent.
//! Which device goes where is decided elsewhere (container/network.rs).

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvmsg, send, socket,
};

use crate::error::{Call, Result};

/// The kernel fills at most 32 KiB of a dump into one datagram (netlink_recvmsg in af_netlink.c).
const DATAGRAM: usize = 32 * 1024;
/// How often a dump is asked for again because the list changed while it was read.
const ATTEMPTS: usize = 16;

const MESSAGE_HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
const ALIGNMENT: usize = 4;
/// The two upper bits of an attribute's type are flags (NLA_TYPE_MASK in linux/netlink.h).
const ATTRIBUTE_KIND: u16 = 0x3fff;

// linux/if_addr.h; the libc crate does not have them for every target.
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_PROTO: u16 = 11;
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
            // struct ifaddrmsg, all zero: every family, every device.
            request.0.extend([0; 8]);
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
        // struct ifaddrmsg; its 8 bits of flags give way to IFA_FLAGS.
        request.0.extend([address.family, address.prefix_length, 0, address.scope]);
        request.0.extend(index.to_ne_bytes());
        for (kind, value) in &address.attributes {
            request.attribute(*kind, value);
        }
        if let Some(label) = &address.label {
            request.attribute(libc::IFA_LABEL, label);
        }
        // The kernel drops the flags that it sets itself: permanent, tentative, secondary.
        request.attribute(IFA_FLAGS, &address.flags.to_ne_bytes());
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

/// A message that is being built: header, the struct of its kind, attributes.
struct Request(Vec<u8>);

impl Request {
    /// `flags` beside NLM_F_REQUEST and NLM_F_ACK.
    fn new(kind: u16, flags: u16) -> Self {
        let always =
            u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK).expect("flags of a 16 bit field");
        let mut bytes = Vec::with_capacity(128);
        // struct nlmsghdr: length and sequence number are known at the end, the port is the kernel's.
        bytes.extend([0; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | always).to_ne_bytes());
        bytes.extend([0; 8]);
        Self(bytes)
    }

    /// struct ifinfomsg: of the flags, only those in `flags` are changed, to be set.
    fn link(&mut self, index: u32, flags: u32) {
        self.0.extend([0; 4]);
        self.0.extend(index.to_ne_bytes());
        self.0.extend(flags.to_ne_bytes());
        self.0.extend(flags.to_ne_bytes());
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len())
            .expect("names are at most 16 bytes, values the kernel's own");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("a few short attributes");
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// A message from the kernel.
struct Message {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: Vec<u8>,
}

impl Message {
    /// Takes one message off the front of a datagram. EBADMSG: it does not fit.
    fn parse(datagram: &mut &[u8]) -> nix::Result<Self> {
        let length = u32::from_ne_bytes(array(datagram, 0)?);
        let length = usize::try_from(length).map_err(|_| Errno::EBADMSG)?;
        let message = datagram.get(..length).ok_or(Errno::EBADMSG)?;
        let parsed = Self {
            kind: u16::from_ne_bytes(array(message, 4)?),
            flags: u16::from_ne_bytes(array(message, 6)?),
            sequence: u32::from_ne_bytes(array(message, 8)?),
            body: message.get(MESSAGE_HEADER..).ok_or(Errno::EBADMSG)?.to_vec(),
        };
        // The last message of a datagram need not be padded.
        let next = length.next_multiple_of(ALIGNMENT).min(datagram.len());
        *datagram = &datagram[next..];
        Ok(parsed)
    }

    /// The index in a struct ifinfomsg or a struct ifaddrmsg.
    fn device(&self) -> nix::Result<u32> {
        array(&self.body, 4).map(u32::from_ne_bytes)
    }

    /// What is used of a struct ifinfomsg.
    fn link(&self) -> nix::Result<Link> {
        let flags = array(&self.body, 8).map(i32::from_ne_bytes)?;
        Ok(Link { index: self.device()?, is_up: flags & libc::IFF_UP != 0 })
    }

    fn address(&self) -> nix::Result<Address> {
        let [family, prefix_length, flags, scope] = array(&self.body, 0)?;
        let mut address = Address {
            device: self.device()?,
            flags: flags.into(),
            scope,
            label: None,
            family,
            prefix_length,
            attributes: Vec::new(),
        };
        let mut rest = self.body.get(8..).ok_or(Errno::EBADMSG)?;
        while !rest.is_empty() {
            let (kind, value) = attribute(&mut rest)?;
            match kind {
                IFA_FLAGS => address.flags = u32::from_ne_bytes(array(value, 0)?),
                libc::IFA_LABEL => address.label = Some(value.to_vec()),
                libc::IFA_ADDRESS
                | libc::IFA_LOCAL
                | libc::IFA_BROADCAST
                | libc::IFA_CACHEINFO
                | IFA_RT_PRIORITY
                | IFA_PROTO => address.attributes.push((kind, value.to_vec())),
                _ => {}
            }
        }
        Ok(address)
    }
}

/// Takes one attribute off the front. EBADMSG: it does not fit.
fn attribute<'a>(attributes: &mut &'a [u8]) -> nix::Result<(u16, &'a [u8])> {
    let length = usize::from(u16::from_ne_bytes(array(attributes, 0)?));
    let kind = u16::from_ne_bytes(array(attributes, 2)?) & ATTRIBUTE_KIND;
    let value = attributes.get(ATTRIBUTE_HEADER..length).ok_or(Errno::EBADMSG)?;
    let next = length.next_multiple_of(ALIGNMENT).min(attributes.len());
    *attributes = &attributes[next..];
    Ok((kind, value))
}

/// The `N` bytes at `offset`. EBADMSG: there are fewer.
fn array<const N: usize>(bytes: &[u8], offset: usize) -> nix::Result<[u8; N]> {
    let field = bytes.get(offset..offset + N).ok_or(Errno::EBADMSG)?;
    Ok(field.try_into().expect("its length is N"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_to_four_bytes_and_their_length_is_not() {
        let mut request = Request::new(libc::RTM_GETLINK, 0);
        request.text(libc::IFLA_IFNAME, "eth0");
        let bytes = request.finish(7);
        assert_eq!(bytes[..4], 28_u32.to_ne_bytes());
        assert_eq!(bytes[8..12], 7_u32.to_ne_bytes());
        assert_eq!(bytes[16..18], 9_u16.to_ne_bytes());
        assert_eq!(bytes[20..], *b"eth0\0\0\0\0");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let whole = Request::new(libc::RTM_NEWLINK, 0).finish(1);
        assert!(Message::parse(&mut whole.as_slice()).is_ok());
        let mut long = whole.clone();
        long[0] += 1;
        let mut short = whole.clone();
        short[0] = 15;
        let mut empty = whole.clone();
        empty[0] = 0;
        for bad in [&whole[..3], &whole[..15], &long, &short, &empty] {
            assert_eq!(Message::parse(&mut &*bad).err(), Some(Errno::EBADMSG), "{bad:?}");
        }
        for bad in [&[][..], &[3, 0, 0, 0], &[0, 0, 0, 0], &[9, 0, 3, 0, 1]] {
            assert_eq!(attribute(&mut &*bad).err(), Some(Errno::EBADMSG), "{bad:?}");
        }
    }

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
