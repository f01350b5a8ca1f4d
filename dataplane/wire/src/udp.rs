//! UDP headers. Source: RFC 768, RFC 8200 §8.1.

use crate::checksum::Sum;
use crate::ip::PROTOCOL_UDP;
use std::net::IpAddr;

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

/// A header that parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Port it was sent from, never 0.
    pub source: u16,
    /// Port it was sent to.
    pub destination: u16,
    /// Bytes after the header; what the IP payload has beyond is padding.
    pub payload_len: usize,
    /// As received; 0 is "none" (IPv4 only).
    pub checksum: u16,
}

/// Reads the header at the start of an IP payload. `None`: too short, a length that lies, or source port 0.
#[inline]
#[must_use]
pub fn parse(datagram: &[u8]) -> Option<Header> {
    let [s0, s1, d0, d1, l0, l1, c0, c1] = *datagram.first_chunk::<HEADER_LEN>()?;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let source = u16::from_be_bytes([s0, s1]);
    let payload_len =
        length.checked_sub(HEADER_LEN).filter(|_| length <= datagram.len() && source != 0)?;
    let (destination, checksum) = (u16::from_be_bytes([d0, d1]), u16::from_be_bytes([c0, c1]));
    Some(Header { source, destination, payload_len, checksum })
}

/// Whether the checksum of a datagram that [`parse`] took is right; none at all is right over IPv4 only.
#[must_use]
pub fn is_right(datagram: &[u8], source: IpAddr, destination: IpAddr) -> bool {
    let Some(header) = parse(datagram) else { return false };
    if header.checksum == 0 {
        return source.is_ipv4();
    }
    let length = HEADER_LEN + header.payload_len;
    sum(datagram.get(..length).unwrap_or_default(), source, destination) == 0
}

/// Writes the header, checksum included, to the front of `datagram`, whose payload stands already. `false`: shorter
/// than the header, longer than its length field can say, or a port 0.
#[must_use]
pub fn write(datagram: &mut [u8], source: (IpAddr, u16), destination: (IpAddr, u16)) -> bool {
    let Ok(length) = u16::try_from(datagram.len()) else { return false };
    let Some(header) = datagram.first_chunk_mut::<HEADER_LEN>() else { return false };
    if source.1 == 0 || destination.1 == 0 {
        return false;
    }
    header[..2].copy_from_slice(&source.1.to_be_bytes());
    header[2..4].copy_from_slice(&destination.1.to_be_bytes());
    header[4..6].copy_from_slice(&length.to_be_bytes());
    header[6..].fill(0);
    let checksum = match sum(datagram, source.0, destination.0) {
        // 0 means "none", and ones' complement has a second zero.
        0 => u16::MAX,
        checksum => checksum,
    };
    if let Some(field) = datagram.get_mut(6..8) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    true
}

fn sum(datagram: &[u8], source: IpAddr, destination: IpAddr) -> u16 {
    let length = u32::try_from(datagram.len()).unwrap_or(u32::MAX);
    Sum::default().pseudo_header(source, destination, PROTOCOL_UDP, length).bytes(datagram).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::UdpHeaderSlice;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn etherparse_agrees_on_the_checksum(
            source: [u8; 4], destination: [u8; 4], source6: [u8; 16], destination6: [u8; 16],
            ports in (1u16.., 1u16..), payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut datagram = vec![0; HEADER_LEN];
            datagram.extend(&payload);
            prop_assert!(write(&mut datagram, (source.into(), ports.0), (destination.into(), ports.1)));
            let theirs = UdpHeaderSlice::from_slice(&datagram).unwrap().to_header();
            prop_assert_eq!(theirs.checksum, theirs.calc_checksum_ipv4_raw(source, destination, &payload).unwrap());
            prop_assert!(is_right(&datagram, source.into(), destination.into()));
            prop_assert_eq!(parse(&datagram).unwrap().payload_len, payload.len());

            prop_assert!(write(&mut datagram, (source6.into(), ports.0), (destination6.into(), ports.1)));
            let theirs = UdpHeaderSlice::from_slice(&datagram).unwrap().to_header();
            prop_assert_eq!(theirs.checksum, theirs.calc_checksum_ipv6_raw(source6, destination6, &payload).unwrap());
            prop_assert!(is_right(&datagram, source6.into(), destination6.into()));
            datagram[HEADER_LEN - 1] ^= 0x10;
            prop_assert!(!is_right(&datagram, source6.into(), destination6.into()));
        }
    }

    #[test]
    fn lengths_that_lie_and_port_zero_are_refused() {
        let good = [0, 7, 0, 9, 0, 10, 0, 0, 1, 2, 3];
        assert_eq!(parse(&good).map(|header| header.payload_len), Some(2));
        assert_eq!(parse(&good[..9]), None);
        assert_eq!(parse(&[0, 0, 0, 9, 0, 8, 0, 0]), None);
        assert_eq!(parse(&[0, 7, 0, 9, 0, 7, 0, 0]), None);
    }
}
