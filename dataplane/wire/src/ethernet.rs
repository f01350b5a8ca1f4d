//! Ethernet II, with at most one 802.1Q tag.

/// Bytes of a header without a tag.
pub const HEADER_LEN: usize = 14;
/// Bytes that a tag adds.
pub const TAG_LEN: usize = 4;
/// A frame shorter than this is padded on the wire (without FCS).
pub const FRAME_LEN_MIN: usize = 60;

/// cjdns.
pub const ETHERTYPE_CJDNS: u16 = 0xfc00;
/// IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// 802.1Q tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;

/// Everyone.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// What a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Destination.
    pub destination: [u8; 6],
    /// Source.
    pub source: [u8; 6],
    /// VLAN id, `0..=4095`, if there is a tag. Priority bits are not kept.
    pub vlan: Option<u16>,
    /// Type of the payload, after the tag.
    pub ethertype: u16,
}

impl Header {
    /// Reads the header of `frame`. `None`: too short.
    #[inline]
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (header, rest) = frame.split_first_chunk::<HEADER_LEN>()?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
        let (destination, source) = ([d0, d1, d2, d3, d4, d5], [s0, s1, s2, s3, s4, s5]);
        let ethertype = u16::from_be_bytes([t0, t1]);
        if ethertype != ETHERTYPE_VLAN {
            return Some(Self { destination, source, vlan: None, ethertype });
        }
        let [v0, v1, t0, t1] = *rest.first_chunk::<TAG_LEN>()?;
        let vlan = Some(u16::from_be_bytes([v0, v1]) & 0x0fff);
        Some(Self { destination, source, vlan, ethertype: u16::from_be_bytes([t0, t1]) })
    }

    /// Bytes of this header.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        if self.vlan.is_some() { HEADER_LEN + TAG_LEN } else { HEADER_LEN }
    }

    /// Never.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the header to the front of `frame`. `false` (and nothing written): too short.
    #[inline]
    #[must_use]
    pub fn write(&self, frame: &mut [u8]) -> bool {
        let Some(out) = frame.get_mut(..self.len()) else { return false };
        let (addresses, mut types) = out.split_at_mut(12);
        addresses[..6].copy_from_slice(&self.destination);
        addresses[6..].copy_from_slice(&self.source);
        if let Some(vlan) = self.vlan {
            types[..2].copy_from_slice(&ETHERTYPE_VLAN.to_be_bytes());
            types[2..4].copy_from_slice(&(vlan & 0x0fff).to_be_bytes());
            types = &mut types[4..];
        }
        types.copy_from_slice(&self.ethertype.to_be_bytes());
        true
    }
}

/// Whether the address names a group (multicast or broadcast).
#[inline]
#[must_use]
pub const fn is_group(address: [u8; 6]) -> bool {
    address[0] & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{SlicedPacket, VlanSlice};
    use proptest::prelude::*;

    proptest! {
        /// Somebody else's parser reads what we write.
        #[test]
        fn etherparse_reads_what_is_written(
            destination: [u8; 6], source: [u8; 6], vlan in proptest::option::of(0u16..4096),
        ) {
            let header = Header { destination, source, vlan, ethertype: ETHERTYPE_CJDNS };
            let mut frame = vec![0; header.len() + 8];
            prop_assert!(header.write(&mut frame));
            prop_assert_eq!(Header::parse(&frame), Some(header));
            let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(etherparse::LinkSlice::Ethernet2(ethernet)) = sliced.link.clone() else { panic!("no link") };
            prop_assert_eq!(ethernet.destination(), destination);
            prop_assert_eq!(ethernet.source(), source);
            let tag = sliced.vlan().map(|tag| match tag {
                VlanSlice::SingleVlan(tag) => (tag.vlan_identifier().value(), tag.ether_type().0),
                VlanSlice::DoubleVlan(_) => panic!("two tags"),
            });
            prop_assert_eq!(tag, vlan.map(|vlan| (vlan, ETHERTYPE_CJDNS)));
        }

        /// Any bytes are a header or too short.
        #[test]
        fn parsing_never_reads_beyond(frame in proptest::collection::vec(any::<u8>(), 0..24)) {
            match Header::parse(&frame) {
                Some(header) => prop_assert!(header.len() <= frame.len()),
                None => prop_assert!(frame.len() < HEADER_LEN + TAG_LEN),
            }
        }
    }
}
