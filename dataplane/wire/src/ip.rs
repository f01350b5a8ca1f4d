//! IPv4 and IPv6 headers, as far as UDP links need them. Source: RFC 791, RFC 8200.

use crate::checksum::{Sum, is_right};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of an IPv4 header without options, as written.
pub const V4_HEADER_LEN: usize = 20;
/// Bytes of an IPv6 header.
pub const V6_HEADER_LEN: usize = 40;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// Hop limit of what the box originates.
pub const HOP_LIMIT: u8 = 64;

/// A header that parsed, and where its payload lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Bytes before the payload.
    pub header_len: usize,
    /// Bytes of the payload; what the frame has beyond is padding.
    pub payload_len: usize,
}

/// Why a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// Fewer bytes than the header has.
    #[error("IP header cut short")]
    Runt,
    /// Version, lengths or checksum wrong.
    #[error("IP header malformed")]
    Malformed,
    /// Part of a packet.
    #[error("IP fragment")]
    Fragment,
}

/// Reads an IPv4 header; options are passed over.
///
/// # Errors
/// [`Bad`].
pub fn parse_v4(packet: &[u8]) -> Result<Header, Bad> {
    let Some(fixed) = packet.first_chunk::<V4_HEADER_LEN>() else { return Err(Bad::Runt) };
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if fixed[0] >> 4 != 4 || header_len < V4_HEADER_LEN {
        return Err(Bad::Malformed);
    }
    let header = packet.get(..header_len).ok_or(Bad::Runt)?;
    let payload_len = total_len.checked_sub(header_len).ok_or(Bad::Malformed)?;
    if total_len > packet.len() || !is_right(header) {
        return Err(Bad::Malformed);
    }
    // More fragments, or not the first: all but the "don't fragment" bit.
    if u16::from_be_bytes([fixed[6], fixed[7]]) & 0xbfff != 0 {
        return Err(Bad::Fragment);
    }
    let source = Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]).into();
    let destination = Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]).into();
    Ok(Header { source, destination, protocol: fixed[9], header_len, payload_len })
}

/// Reads an IPv6 header. Extension headers are not followed: the protocol is then theirs.
///
/// # Errors
/// [`Bad`]; a fragment header right behind is [`Bad::Fragment`].
pub fn parse_v6(packet: &[u8]) -> Result<Header, Bad> {
    const FRAGMENT: u8 = 44;
    let Some(fixed) = packet.first_chunk::<V6_HEADER_LEN>() else { return Err(Bad::Runt) };
    let payload_len = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    if fixed[0] >> 4 != 6 || packet.len() < V6_HEADER_LEN + payload_len {
        return Err(Bad::Malformed);
    }
    if fixed[6] == FRAGMENT {
        return Err(Bad::Fragment);
    }
    let address = |from: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&fixed[from..from + 16]);
        IpAddr::from(Ipv6Addr::from(octets))
    };
    let (source, destination) = (address(8), address(24));
    Ok(Header { source, destination, protocol: fixed[6], header_len: V6_HEADER_LEN, payload_len })
}

/// Writes an IPv4 header without options, "don't fragment" set, checksum right. `payload_len`: bytes that follow.
/// `None`: longer than the length field can say.
#[must_use]
pub fn header_v4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    payload_len: usize,
) -> Option<[u8; V4_HEADER_LEN]> {
    let [l0, l1] = u16::try_from(V4_HEADER_LEN + payload_len).ok()?.to_be_bytes();
    let mut header = [0; V4_HEADER_LEN];
    header[..10].copy_from_slice(&[0x45, 0, l0, l1, 0, 0, 0x40, 0, HOP_LIMIT, PROTOCOL_UDP]);
    header[12..16].copy_from_slice(&source.octets());
    header[16..].copy_from_slice(&destination.octets());
    let checksum = Sum::default().bytes(&header).finish();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    Some(header)
}

/// Writes an IPv6 header. `payload_len`: bytes that follow. `None`: longer than the length field can say.
#[must_use]
pub fn header_v6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    payload_len: usize,
) -> Option<[u8; V6_HEADER_LEN]> {
    let [l0, l1] = u16::try_from(payload_len).ok()?.to_be_bytes();
    let mut header = [0; V6_HEADER_LEN];
    header[..8].copy_from_slice(&[0x60, 0, 0, 0, l0, l1, PROTOCOL_UDP, HOP_LIMIT]);
    header[8..24].copy_from_slice(&source.octets());
    header[24..].copy_from_slice(&destination.octets());
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn etherparse_reads_the_ipv4_header(source: [u8; 4], destination: [u8; 4], len in 0usize..1400) {
            let mut packet = header_v4(source.into(), destination.into(), len).unwrap().to_vec();
            let theirs = Ipv4HeaderSlice::from_slice(&packet).unwrap();
            prop_assert_eq!(theirs.source(), source);
            prop_assert_eq!(theirs.destination(), destination);
            prop_assert_eq!(usize::from(theirs.payload_len().unwrap()), len);
            prop_assert_eq!(theirs.to_header().calc_header_checksum(), theirs.header_checksum());
            prop_assert!(theirs.dont_fragment());
            packet.resize(V4_HEADER_LEN + len + 7, 0);
            let ours = parse_v4(&packet).unwrap();
            prop_assert_eq!((ours.source, ours.payload_len), (IpAddr::from(source), len));
        }

        #[test]
        fn etherparse_reads_the_ipv6_header(source: [u8; 16], destination: [u8; 16], len in 0usize..1400) {
            let mut packet = header_v6(source.into(), destination.into(), len).unwrap().to_vec();
            let theirs = Ipv6HeaderSlice::from_slice(&packet).unwrap();
            prop_assert_eq!(theirs.source(), source);
            prop_assert_eq!(theirs.destination(), destination);
            prop_assert_eq!(usize::from(theirs.payload_length()), len);
            packet.resize(V6_HEADER_LEN + len + 7, 0);
            let ours = parse_v6(&packet).unwrap();
            prop_assert_eq!((ours.destination, ours.payload_len), (IpAddr::from(destination), len));
        }

        /// Any bytes parse or are refused, and what parses lies within.
        #[test]
        fn payloads_lie_within_the_packet(packet in proptest::collection::vec(any::<u8>(), 0..64)) {
            for parsed in [parse_v4(&packet), parse_v6(&packet)].into_iter().flatten() {
                prop_assert!(parsed.header_len + parsed.payload_len <= packet.len());
            }
        }
    }

    #[test]
    fn fragments_and_broken_headers_are_told_apart() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let whole = header_v4(a, b, 0).unwrap();
        assert!(parse_v4(&whole).is_ok());
        assert_eq!(parse_v4(&whole[..19]), Err(Bad::Runt));
        let mut wrong = whole;
        wrong[8] ^= 1;
        assert_eq!(parse_v4(&wrong), Err(Bad::Malformed), "checksum");
        let mut fragment = whole;
        fragment[6] |= 0x20;
        let sum = crate::checksum::update(
            u16::from_be_bytes([fragment[10], fragment[11]]),
            0x4000,
            0x6000,
        );
        fragment[10..12].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(parse_v4(&fragment), Err(Bad::Fragment));
        let mut six = header_v6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, 0).unwrap();
        six[6] = 44;
        assert_eq!(parse_v6(&six), Err(Bad::Fragment));
    }
}
