//! The addresses of a network interface, asked of the kernel over rtnetlink (rtnetlink(7)): no C library is needed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// The kernel answers at once; this is for one that does not.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The kernel's parts of an answer are at most 32 KiB.
const PART_BYTES_MAX: usize = 64 << 10;
/// Parts of one answer: thousands of addresses.
const PARTS_MAX: usize = 1_000;

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH.
const REQUEST_DUMP: u16 = 0x301;
const HEADER_BYTES: usize = 16;
const ADDRESS_HEADER_BYTES: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// The addresses of an interface, in the kernel's order; none where there is no such interface.
///
/// # Errors
/// A kernel that does not answer.
pub fn interface_addresses(name: &str) -> io::Result<Vec<IpAddr>> {
    // Protocol 0, the default, is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WITHIN))?;
    let Ok(index) = rustix::net::netdevice::name_to_index(&socket, name) else { return Ok(Vec::new()) };
    send(&socket, &request(), SendFlags::empty())?;
    let mut part = vec![0; PART_BYTES_MAX];
    let mut found = Vec::new();
    for _ in 0..PARTS_MAX {
        let (length, _) = recv(&socket, &mut part, RecvFlags::empty())?;
        if read_part(&part[..length], index, &mut found)? {
            return Ok(found);
        }
    }
    Err(io::Error::other("the kernel's list of addresses has no end"))
}

fn request() -> Vec<u8> {
    let length = (HEADER_BYTES + ADDRESS_HEADER_BYTES) as u32;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend_from_slice(&RTM_GETADDR.to_ne_bytes());
    request.extend_from_slice(&REQUEST_DUMP.to_ne_bytes());
    request.resize(length as usize, 0);
    request
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Takes the addresses of interface `index` out of one part. Whether it was the last.
fn read_part(mut part: &[u8], index: u32, found: &mut Vec<IpAddr>) -> io::Result<bool> {
    while let (Some(length), Some(kind)) = (u32_at(part, 0), u16_at(part, 4)) {
        let message = part.get(HEADER_BYTES..length as usize).ok_or(io::ErrorKind::InvalidData)?;
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => return Err(io::Error::other("the kernel refused to list addresses")),
            RTM_NEWADDR if u32_at(message, 4) == Some(index) => found.extend(address_in(message)),
            _ => {}
        }
        part = part.get((length as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// The address of one message: on a point-to-point link the local end, which is an attribute of its own.
fn address_in(message: &[u8]) -> Option<IpAddr> {
    let (mut address, mut local) = (None, None);
    let mut rest = message.get(ADDRESS_HEADER_BYTES..)?;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let value = rest.get(4..usize::from(length))?;
        match kind {
            IFA_ADDRESS => address = ip(value),
            IFA_LOCAL => local = ip(value),
            _ => {}
        }
        rest = rest.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    local.or(address)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into())).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn finds_the_loopback_and_no_other() {
        assert!(interface_addresses("lo").unwrap().contains(&IpAddr::from([127, 0, 0, 1])));
        assert_eq!(interface_addresses("no-such-device").unwrap(), Vec::<IpAddr>::new());
        assert_eq!(interface_addresses("a name that is far too long\0").unwrap(), Vec::<IpAddr>::new());
    }

    #[test]
    fn torn_answers_are_no_panic() {
        let mut message = vec![0; 8];
        message[4..8].copy_from_slice(&7u32.to_ne_bytes());
        message.extend([8, 0, 1, 0, 10, 0, 0, 1, 8, 0, 2, 0, 10, 0, 0, 2]);
        let mut part = ((16 + message.len()) as u32).to_ne_bytes().to_vec();
        part.extend(RTM_NEWADDR.to_ne_bytes());
        part.resize(16, 0);
        part.extend(&message);
        for (index, expected) in [(7, vec![IpAddr::from([10, 0, 0, 2])]), (8, Vec::new())] {
            let mut found = Vec::new();
            assert!(!read_part(&part, index, &mut found).unwrap());
            assert_eq!(found, expected);
        }
        for end in 0..part.len() {
            let _ = read_part(&part[..end], 7, &mut Vec::new());
        }
        part[0] = 3;
        assert!(read_part(&part, 7, &mut Vec::new()).is_err());
    }
}
