//! The messages of netlink(7) and rtnetlink(7): those that are sent are built, those that come are
//! taken apart. Pure.

use nix::errno::Errno;

use super::{Address, Link};

const MESSAGE_HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
const ALIGNMENT: usize = 4;
/// The two upper bits of an attribute's type are flags (NLA_TYPE_MASK in linux/netlink.h).
const ATTRIBUTE_KIND: u16 = 0x3fff;

// linux/if_addr.h; the libc crate does not have them for every target.
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_PROTO: u16 = 11;
/// A message that is being built: header, the struct of its kind, attributes.
pub struct Request(Vec<u8>);

impl Request {
    /// `flags` beside NLM_F_REQUEST and NLM_F_ACK.
    pub fn new(kind: u16, flags: u16) -> Self {
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
    pub fn link(&mut self, index: u32, flags: u32) {
        self.0.extend([0; 4]);
        self.0.extend(index.to_ne_bytes());
        self.0.extend(flags.to_ne_bytes());
        self.0.extend(flags.to_ne_bytes());
    }

    /// struct ifaddrmsg, all zero: every family, every device.
    pub fn every_address(&mut self) {
        self.0.extend([0; 8]);
    }

    /// struct ifaddrmsg, whose 8 bits of flags give way to IFA_FLAGS, and its attributes.
    pub fn address(&mut self, index: u32, address: &Address) {
        self.0.extend([address.family, address.prefix_length, 0, address.scope]);
        self.0.extend(index.to_ne_bytes());
        for (kind, value) in &address.attributes {
            self.attribute(*kind, value);
        }
        if let Some(label) = &address.label {
            self.attribute(libc::IFA_LABEL, label);
        }
        // The kernel drops the flags that it sets itself: permanent, tentative, secondary.
        self.attribute(IFA_FLAGS, &address.flags.to_ne_bytes());
    }

    /// An attribute with the NUL byte that the kernel wants.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat());
    }

    /// An attribute, padded.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len())
            .expect("names are at most 16 bytes, values the kernel's own");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
    }

    /// The whole message.
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("a few short attributes");
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// A message from the kernel.
pub struct Message {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub body: Vec<u8>,
}

impl Message {
    /// Takes one message off the front of a datagram. EBADMSG: it does not fit.
    pub fn parse(datagram: &mut &[u8]) -> nix::Result<Self> {
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
    pub fn device(&self) -> nix::Result<u32> {
        array(&self.body, 4).map(u32::from_ne_bytes)
    }

    /// What is used of a struct ifinfomsg.
    pub fn link(&self) -> nix::Result<Link> {
        let flags = array(&self.body, 8).map(i32::from_ne_bytes)?;
        Ok(Link { index: self.device()?, is_up: flags & libc::IFF_UP != 0 })
    }

    pub fn address(&self) -> nix::Result<Address> {
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
pub fn attribute<'a>(attributes: &mut &'a [u8]) -> nix::Result<(u16, &'a [u8])> {
    let length = usize::from(u16::from_ne_bytes(array(attributes, 0)?));
    let kind = u16::from_ne_bytes(array(attributes, 2)?) & ATTRIBUTE_KIND;
    let value = attributes.get(ATTRIBUTE_HEADER..length).ok_or(Errno::EBADMSG)?;
    let next = length.next_multiple_of(ALIGNMENT).min(attributes.len());
    *attributes = &attributes[next..];
    Ok((kind, value))
}

/// The `N` bytes at `offset`. EBADMSG: there are fewer.
pub fn array<const N: usize>(bytes: &[u8], offset: usize) -> nix::Result<[u8; N]> {
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
}
