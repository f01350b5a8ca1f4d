//! The filter of a packet socket: what of a device's traffic is ours, as a classic BPF program.
//!
//! The same choice as the XDP program's. The kernel takes an 802.1Q tag out of the frame before a packet socket sees
//! it, so that offsets are those of an untagged frame.

use crate::IoError;
use crate::xdp::PortFilter;
use libc::sock_filter;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use wire::ethernet::{ETHERTYPE_CJDNS, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use wire::ip::PROTOCOL_UDP;

/// Instructions of a program. Source: linux/bpf_common.h, `BPF_MAXINSNS`.
const INSTRUCTIONS_MAX: usize = 4096;

// Operation codes. Source: linux/bpf_common.h.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Where things are in an untagged frame.
mod at {
    pub(super) const MAC_HIGH: u32 = 0;
    pub(super) const MAC_LOW: u32 = 2;
    pub(super) const ETHERTYPE: u32 = 12;
    pub(super) const V4_VERSION: u32 = 14;
    pub(super) const V4_FRAGMENT: u32 = 20;
    pub(super) const V4_PROTOCOL: u32 = 23;
    pub(super) const V4_DESTINATION: u32 = 30;
    pub(super) const V4_PORT: u32 = 36;
    pub(super) const V6_PROTOCOL: u32 = 20;
    pub(super) const V6_DESTINATION: u32 = 38;
    pub(super) const V6_PORT: u32 = 56;
}

/// The management side of a port's packet sockets: says what is ours.
#[derive(Debug)]
pub struct PacketFilter {
    port: String,
    sockets: Vec<OwnedFd>,
    filter: PortFilter,
}

impl PacketFilter {
    /// Of one socket, which takes nothing yet.
    pub(super) fn new(port: &str, socket: OwnedFd) -> Self {
        Self { port: port.to_owned(), sockets: vec![socket], filter: PortFilter::default() }
    }

    /// Makes the sockets of `other`, a further queue of the same port, take what these take.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn join(&mut self, other: Self) -> Result<(), IoError> {
        let attempt = || attempt(&self.port);
        for socket in &other.sockets {
            install(socket.as_fd(), &self.filter)
                .map_err(|error| IoError::from_os(attempt(), error))?;
        }
        self.sockets.extend(other.sockets);
        Ok(())
    }

    /// What is ours now.
    #[must_use]
    pub fn filter(&self) -> &PortFilter {
        &self.filter
    }

    /// Adds what is new in `wanted`; nothing is taken away yet.
    ///
    /// # Errors
    /// [`IoError::System`] with the kernel's reason for refusing the program; then the old one stays.
    pub fn add(&mut self, wanted: &PortFilter) -> Result<(), IoError> {
        let mut both = self.filter.clone();
        both.macs.extend(&wanted.macs);
        both.endpoints.extend(&wanted.endpoints);
        self.set(both)
    }

    /// Takes away what is not in `wanted`.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn remove_others(&mut self, wanted: &PortFilter) -> Result<(), IoError> {
        let mut rest = self.filter.clone();
        rest.macs.retain(|mac| wanted.macs.contains(mac));
        rest.endpoints.retain(|endpoint| wanted.endpoints.contains(endpoint));
        self.set(rest)
    }

    fn set(&mut self, filter: PortFilter) -> Result<(), IoError> {
        if filter == self.filter {
            return Ok(());
        }
        for socket in &self.sockets {
            install(socket.as_fd(), &filter)
                .map_err(|error| IoError::from_os(attempt(&self.port), error))?;
        }
        self.filter = filter;
        Ok(())
    }
}

fn attempt(port: &str) -> String {
    format!("port {port}: set the packet socket's filter")
}

/// How much of a filter the program compares; what it lets through beyond is dropped and counted by the pipeline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Precision {
    Exact,
    /// Any destination MAC address.
    AnyMac,
    /// Any MAC address, and any UDP that is not a fragment.
    AnyMacAnyUdp,
}

/// Replaces a socket's program at once, by the most exact one that the kernel has room for.
pub(super) fn install(socket: BorrowedFd<'_>, filter: &PortFilter) -> io::Result<()> {
    let mut refused = io::Error::from_raw_os_error(libc::ENOMEM);
    for precision in [Precision::Exact, Precision::AnyMac, Precision::AnyMacAnyUdp] {
        let mut program = program(filter, precision);
        if program.len() > INSTRUCTIONS_MAX {
            continue;
        }
        match attach(socket, &mut program) {
            Ok(()) => return Ok(()),
            // Larger than net.core.optmem_max allows.
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

fn attach(socket: BorrowedFd<'_>, program: &mut [sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).unwrap_or(u16::MAX);
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    let size = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or(0);
    // SAFETY: the option's value is a sock_fprog, whose pointer leads to `len` instructions; the kernel copies them
    // before it returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn program(filter: &PortFilter, precision: Precision) -> Vec<sock_filter> {
    let macs = of_macs(filter, precision);
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for endpoint in &filter.endpoints {
        match endpoint.ip().to_canonical() {
            IpAddr::V4(address) => v4.push((address, endpoint.port())),
            IpAddr::V6(address) => v6.push((address, endpoint.port())),
        }
    }
    let (v4, v6) = (of_v4(&v4, precision), of_v6(&v6, precision));
    // Seven instructions choose; a conditional jump reaches 255 only, so each choice is followed by a long one.
    let kinds = [(ETHERTYPE_CJDNS, &macs), (ETHERTYPE_IPV4, &v4), (ETHERTYPE_IPV6, &v6)];
    let mut program = vec![step(LOAD_HALF, at::ETHERTYPE)];
    // From behind the long jump to its block: what is left of the choices, the refusal, the blocks before.
    let mut distance = 2 * kinds.len() - 1;
    for (ethertype, block) in kinds {
        program.push(branch(JUMP_EQUAL, u32::from(ethertype), 0, 1));
        program.push(step(JUMP, u32::try_from(distance).unwrap_or(u32::MAX)));
        distance = distance + block.len() - 2;
    }
    program.push(refuse());
    for (_, block) in kinds {
        program.extend_from_slice(block);
    }
    program
}

/// 0xfc00: compares the destination MAC address.
fn of_macs(filter: &PortFilter, precision: Precision) -> Vec<sock_filter> {
    if filter.macs.is_empty() {
        return vec![refuse()];
    }
    if precision != Precision::Exact {
        return vec![accept()];
    }
    let mut block = vec![step(LOAD_WORD, at::MAC_LOW)];
    for [a, b, c, d, e, f] in &filter.macs {
        block.extend([
            branch(JUMP_EQUAL, u32::from_be_bytes([*c, *d, *e, *f]), 0, 4),
            step(LOAD_HALF, at::MAC_HIGH),
            branch(JUMP_EQUAL, u32::from(u16::from_be_bytes([*a, *b])), 0, 1),
            accept(),
            step(LOAD_WORD, at::MAC_LOW),
        ]);
    }
    block.push(refuse());
    block
}

/// IPv4 without options, not a fragment, UDP: compares destination address and port.
fn of_v4(endpoints: &[(Ipv4Addr, u16)], precision: Precision) -> Vec<sock_filter> {
    if endpoints.is_empty() {
        return vec![refuse()];
    }
    let mut block = vec![
        step(LOAD_BYTE, at::V4_VERSION),
        branch(JUMP_EQUAL, 0x45, 1, 0),
        refuse(),
        step(LOAD_BYTE, at::V4_PROTOCOL),
        branch(JUMP_EQUAL, u32::from(PROTOCOL_UDP), 1, 0),
        refuse(),
        step(LOAD_HALF, at::V4_FRAGMENT),
        // All but the "don't fragment" bit.
        branch(JUMP_ANY_BIT, 0xbfff, 0, 1),
        refuse(),
    ];
    if precision == Precision::AnyMacAnyUdp {
        block.push(accept());
        return block;
    }
    for (address, port) in endpoints {
        block.extend([
            step(LOAD_WORD, at::V4_DESTINATION),
            branch(JUMP_EQUAL, address.to_bits(), 0, 3),
            step(LOAD_HALF, at::V4_PORT),
            branch(JUMP_EQUAL, u32::from(*port), 0, 1),
            accept(),
        ]);
    }
    block.push(refuse());
    block
}

/// IPv6 without extension headers, UDP: compares destination address and port.
fn of_v6(endpoints: &[(Ipv6Addr, u16)], precision: Precision) -> Vec<sock_filter> {
    if endpoints.is_empty() {
        return vec![refuse()];
    }
    let mut block = vec![
        step(LOAD_BYTE, at::V6_PROTOCOL),
        branch(JUMP_EQUAL, u32::from(PROTOCOL_UDP), 1, 0),
        refuse(),
    ];
    if precision == Precision::AnyMacAnyUdp {
        block.push(accept());
        return block;
    }
    for (address, port) in endpoints {
        let octets = address.octets();
        let (words, _) = octets.as_chunks::<4>();
        // A word that differs jumps over the rest of the words, the port and the acceptance.
        for (offset, skip, word) in
            [(0, 9), (4, 7), (8, 5), (12, 3)].iter().zip(words).map(|((o, s), w)| (*o, *s, w))
        {
            block.push(step(LOAD_WORD, at::V6_DESTINATION + offset));
            block.push(branch(JUMP_EQUAL, u32::from_be_bytes(*word), 0, skip));
        }
        block.push(step(LOAD_HALF, at::V6_PORT));
        block.push(branch(JUMP_EQUAL, u32::from(*port), 0, 1));
        block.push(accept());
    }
    block.push(refuse());
    block
}

const fn step(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

const fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The whole frame.
const fn accept() -> sock_filter {
    step(RETURN, u32::MAX)
}

const fn refuse() -> sock_filter {
    step(RETURN, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
    use std::net::SocketAddr;
    use wire::ethernet::Header;
    use wire::{ip, udp};

    /// Runs the installed program in the kernel: a filter looks at whatever a socket receives.
    fn lets_through(filter: &PortFilter, precision: Option<Precision>, frame: &[u8]) -> bool {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (left, right) =
            socketpair(AddressFamily::Unix, SockType::Datagram, None, flags).unwrap();
        match precision {
            Some(precision) => attach(right.as_fd(), &mut program(filter, precision)).unwrap(),
            None => install(right.as_fd(), filter).unwrap(),
        }
        // Sending what the other end's filter refuses is an error with some kernels, a silent drop with others.
        let sent = send(left.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT);
        let mut buffer = [0; 2048];
        let received = recv(right.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT);
        sent.is_ok() && received.is_ok_and(|len| buffer[..len] == *frame)
    }

    fn cjdns(destination: [u8; 6]) -> Vec<u8> {
        let mut frame = vec![0; 60];
        let header = Header { destination, source: [2; 6], vlan: None, ethertype: ETHERTYPE_CJDNS };
        assert!(header.write(&mut frame));
        frame
    }

    fn datagram(destination: SocketAddr) -> Vec<u8> {
        let mut payload = vec![0; udp::HEADER_LEN + 20];
        let (source, ethertype) = match destination {
            SocketAddr::V4(_) => (IpAddr::from([10, 0, 0, 9]), ETHERTYPE_IPV4),
            SocketAddr::V6(_) => (IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 9]), ETHERTYPE_IPV6),
        };
        assert!(udp::write(&mut payload, (source, 7), (destination.ip(), destination.port())));
        let mut frame = cjdns([2; 6]);
        frame.truncate(14);
        frame[12..].copy_from_slice(&ethertype.to_be_bytes());
        match (source, destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend(ip::header_v4(from, to, payload.len()).unwrap());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend(ip::header_v6(from, to, payload.len()).unwrap());
            }
            _ => unreachable!(),
        }
        frame.extend(payload);
        frame
    }

    fn mac(n: u16) -> [u8; 6] {
        let [a, b] = n.to_be_bytes();
        [2, a, 0, 0, 0, b]
    }

    #[test]
    fn takes_our_frames_and_no_others() {
        let four: SocketAddr = "10.0.0.1:4000".parse().unwrap();
        let six: SocketAddr = "[fd00::1:2:3:4]:4001".parse().unwrap();
        let filter = PortFilter {
            macs: (0..100).map(mac).collect(),
            endpoints: [four, six, "10.0.0.2:4002".parse().unwrap()].into(),
        };
        let takes = |frame: &[u8]| lets_through(&filter, None, frame);
        for n in 0..100 {
            assert!(takes(&cjdns(mac(n))), "{n}");
        }
        assert!(!takes(&cjdns(mac(100))) && !takes(&cjdns([3, 0, 0, 0, 0, 1])));
        assert!(takes(&datagram(four)) && takes(&datagram(six)));
        for other in ["10.0.0.1:4001", "10.0.0.3:4000", "10.0.0.2:4000", "[fd00::1:2:3:5]:4001"] {
            assert!(!takes(&datagram(other.parse().unwrap())), "{other}");
        }
        for other in ["[fd00::1:2:3:4]:4000", "[fd01::1:2:3:4]:4001", "[fd00::1:2:4:4]:4001"] {
            assert!(!takes(&datagram(other.parse().unwrap())), "{other}");
        }
        let changed = |index: usize, value: u8| {
            let mut frame = datagram(four);
            frame[index] = value;
            frame
        };
        // More fragments, an offset, options, TCP; "don't fragment" is no fragment.
        assert!(!takes(&changed(20, 0x20)) && !takes(&changed(21, 1)));
        assert!(!takes(&changed(14, 0x46)) && !takes(&changed(23, 6)));
        assert!(takes(&changed(20, 0x40)));
        assert!(!takes(&cjdns(mac(0))[..10]), "a runt");
        assert!(!lets_through(&PortFilter::default(), None, &cjdns(mac(0))));
    }

    #[test]
    fn a_filter_too_large_to_compare_loses_no_frame_of_ours() {
        let endpoint = |n: u16| SocketAddr::from(([10, 0, 0, 1], n));
        let filter = PortFilter {
            macs: (0..4096).map(mac).collect(),
            endpoints: (1..2000).map(endpoint).collect(),
        };
        assert!(program(&filter, Precision::AnyMac).len() > INSTRUCTIONS_MAX);
        for n in [0, 1, 255, 4095] {
            assert!(lets_through(&filter, None, &cjdns(mac(n))));
        }
        assert!(lets_through(&filter, None, &datagram(endpoint(1999))));
        let coarse = Some(Precision::AnyMacAnyUdp);
        assert!(!lets_through(&PortFilter::default(), coarse, &datagram(endpoint(1))));
    }
}
