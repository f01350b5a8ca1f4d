//! A plain link as its neighbour sees it, and frames on it.

use crate::payload;
use dataplane_api::MacAddress;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use wire::checksum::Sum;
use wire::switch::{self, Header};
use wire::{eth_interface, ethernet, ip, udp};
use zerocopy::IntoBytes;

/// Headers of the frames that go one way over a plain link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Link {
    /// ETHInterface.
    Ethernet {
        /// Source.
        source: MacAddress,
        /// Destination.
        destination: MacAddress,
        /// 802.1Q tag.
        #[serde(default)]
        vlan: Option<u16>,
    },
    /// UDP; both addresses of one family.
    Udp {
        /// Source of the Ethernet frame.
        source_mac: MacAddress,
        /// Its destination, the next hop.
        destination_mac: MacAddress,
        /// 802.1Q tag.
        #[serde(default)]
        vlan: Option<u16>,
        /// Source.
        source: SocketAddr,
        /// Destination.
        destination: SocketAddr,
    },
}

impl Link {
    /// Bytes before the switch packet.
    #[must_use]
    pub const fn overhead(&self) -> usize {
        let (vlan, rest) = match self {
            Self::Ethernet { vlan, .. } => (vlan, eth_interface::HEADER_LEN),
            Self::Udp { vlan, source: SocketAddr::V4(_), .. } => {
                (vlan, ip::V4_HEADER_LEN + udp::HEADER_LEN)
            }
            Self::Udp { vlan, source: SocketAddr::V6(_), .. } => {
                (vlan, ip::V6_HEADER_LEN + udp::HEADER_LEN)
            }
        };
        ethernet::HEADER_LEN + if vlan.is_some() { ethernet::TAG_LEN } else { 0 } + rest
    }

    /// Shortest frame that carries a stamp.
    #[must_use]
    pub const fn frame_len_min(&self) -> usize {
        self.overhead() + switch::HEADER_LEN + payload::STAMP_LEN
    }

    /// 802.1Q tag.
    #[must_use]
    pub const fn vlan(&self) -> Option<u16> {
        match self {
            Self::Ethernet { vlan, .. } | Self::Udp { vlan, .. } => *vlan,
        }
    }

    /// The way back.
    #[must_use]
    pub const fn reversed(&self) -> Self {
        match *self {
            Self::Ethernet { source, destination, vlan } => {
                Self::Ethernet { source: destination, destination: source, vlan }
            }
            Self::Udp { source_mac, destination_mac, vlan, source, destination } => Self::Udp {
                source_mac: destination_mac,
                destination_mac: source_mac,
                vlan,
                source: destination,
                destination: source,
            },
        }
    }

    /// Whether a frame that was parsed as `other` belongs to this link: who sent it to whom under which tag. The
    /// Ethernet addresses of a UDP link are its next hop's, and may differ.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Udp { vlan, source, destination, .. },
                Self::Udp { vlan: vlan2, source: source2, destination: destination2, .. },
            ) => (vlan, source, destination) == (vlan2, source2, destination2),
            _ => self == other,
        }
    }

    /// `packet`, from its switch header on, as a frame. `None`: too long for its length fields, or addresses of two
    /// families, or a port 0.
    #[must_use]
    pub fn frame(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut frame = match self {
            Self::Ethernet { source, destination, vlan } => {
                let mut frame =
                    ethernet_header(*source, *destination, *vlan, ethernet::ETHERTYPE_CJDNS)?;
                frame.extend(eth_interface::header(packet.len())?);
                frame
            }
            Self::Udp { source_mac, destination_mac, vlan, source, destination } => {
                let len = udp::HEADER_LEN + packet.len();
                let (ethertype, header) = match (source.ip(), destination.ip()) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        (ethernet::ETHERTYPE_IPV4, ip::header_v4(from, to, len)?.to_vec())
                    }
                    (IpAddr::V6(from), IpAddr::V6(to)) => {
                        (ethernet::ETHERTYPE_IPV6, ip::header_v6(from, to, len)?.to_vec())
                    }
                    (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
                };
                let mut frame = ethernet_header(*source_mac, *destination_mac, *vlan, ethertype)?;
                frame.extend(header);
                frame.extend([0; udp::HEADER_LEN]);
                frame
            }
        };
        frame.extend(packet);
        if let Self::Udp { source, destination, .. } = self {
            let datagram = frame.get_mut(self.overhead() - udp::HEADER_LEN..)?;
            let ends = ((source.ip(), source.port()), (destination.ip(), destination.port()));
            udp::write(datagram, ends.0, ends.1).then_some(())?;
        }
        Some(frame)
    }

    /// The link of a received frame, and the switch packet in it. `None`: no frame of a plain link.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<(Self, &[u8])> {
        let header = ethernet::Header::parse(frame)?;
        let rest = frame.get(header.len()..)?;
        let (source_mac, destination_mac) =
            (MacAddress(header.source), MacAddress(header.destination));
        let vlan = header.vlan;
        if header.ethertype == ethernet::ETHERTYPE_CJDNS {
            let len = eth_interface::parse(rest).ok()?;
            let packet = rest.get(eth_interface::HEADER_LEN..)?.get(..len)?;
            return Some((
                Self::Ethernet { source: source_mac, destination: destination_mac, vlan },
                packet,
            ));
        }
        let ip = match header.ethertype {
            ethernet::ETHERTYPE_IPV4 => ip::parse_v4(rest).ok()?,
            ethernet::ETHERTYPE_IPV6 => ip::parse_v6(rest).ok()?,
            _ => return None,
        };
        let datagram = rest.get(ip.header_len..)?.get(..ip.payload_len)?;
        if ip.protocol != ip::PROTOCOL_UDP || !udp::is_right(datagram, ip.source, ip.destination) {
            return None;
        }
        let udp = udp::parse(datagram)?;
        let packet = datagram.get(udp::HEADER_LEN..)?.get(..udp.payload_len)?;
        let source = SocketAddr::new(ip.source, udp.source);
        let destination = SocketAddr::new(ip.destination, udp.destination);
        Some((Self::Udp { source_mac, destination_mac, vlan, source, destination }, packet))
    }
}

fn ethernet_header(
    source: MacAddress,
    destination: MacAddress,
    vlan: Option<u16>,
    ethertype: u16,
) -> Option<Vec<u8>> {
    let header = ethernet::Header { destination: destination.0, source: source.0, vlan, ethertype };
    let mut bytes = vec![0; header.len()];
    header.write(&mut bytes).then_some(bytes)
}

/// A frame of one stream and size, ready but for its stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    frame: Vec<u8>,
    stamp_at: usize,
    check: u32,
    udp: Option<UdpSum>,
}

/// Where the UDP checksum is, and the sum of all but it and the stamp's variable part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct UdpSum {
    at: usize,
    rest: Sum,
}

impl Template {
    /// A frame of `len` bytes (without FCS), or of the shortest length that holds a stamp. `None`: [`Link::frame`]'s
    /// reasons.
    #[must_use]
    pub fn new(link: &Link, header: Header, stream: u32, len: usize) -> Option<Self> {
        let len = len.max(link.frame_len_min());
        let mut packet = vec![0; len - link.overhead()];
        let (head, payload) = packet.split_at_mut_checked(switch::HEADER_LEN)?;
        head.copy_from_slice(header.as_bytes());
        let check = payload::prepare(payload, stream)?;
        let mut frame = link.frame(&packet)?;
        let udp = match link {
            Link::Ethernet { .. } => None,
            Link::Udp { source, destination, .. } => {
                let start = link.overhead() - udp::HEADER_LEN;
                let at = start + 6;
                frame.get_mut(at..at + 2)?.fill(0);
                let datagram = frame.get(start..)?;
                let length = u32::try_from(datagram.len()).ok()?;
                let (from, to) = (source.ip(), destination.ip());
                let rest = Sum::default()
                    .pseudo_header(from, to, ip::PROTOCOL_UDP, length)
                    .bytes(datagram);
                Some(UdpSum { at, rest })
            }
        };
        Some(Self { frame, stamp_at: link.overhead() + switch::HEADER_LEN, check, udp })
    }

    /// Bytes of the frame.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.frame.len()
    }

    /// Never.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.frame.is_empty()
    }

    /// The frame, not stamped.
    #[must_use]
    pub fn into_frame(self) -> Vec<u8> {
        self.frame
    }

    /// Where the stamp begins in the frame.
    #[must_use]
    pub const fn stamp_at(&self) -> usize {
        self.stamp_at
    }

    /// The constant part of its check, for whoever stamps elsewhere.
    #[must_use]
    pub const fn check(&self) -> u32 {
        self.check
    }

    /// The frame with this stamp.
    #[inline]
    pub fn stamp(&mut self, sequence: u64, sent_ns: u64) -> &[u8] {
        let variable = payload::variable(self.check, sequence, sent_ns);
        let at = self.stamp_at + payload::VARIABLE_AT;
        if let Some(place) = self.frame.get_mut(at..at + variable.len()) {
            place.copy_from_slice(&variable);
        }
        if let Some(UdpSum { at, rest }) = self.udp {
            // The variable part lies at an even distance from the datagram's start, so it sums up on its own.
            let checksum = match rest.bytes(&variable).finish() {
                0 => u16::MAX,
                checksum => checksum,
            };
            if let Some(field) = self.frame.get_mut(at..at + 2) {
                field.copy_from_slice(&checksum.to_be_bytes());
            }
        }
        &self.frame
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::payload::{Reading, Stamp};
    use etherparse::{SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    pub(crate) fn any_link() -> impl Strategy<Value = Link> {
        let macs = (any::<[u8; 6]>(), any::<[u8; 6]>(), proptest::option::of(0u16..4096));
        let ports = (1u16.., 1u16..);
        prop_oneof![
            macs.clone().prop_map(|(source, destination, vlan)| Link::Ethernet {
                source: MacAddress(source),
                destination: MacAddress(destination),
                vlan,
            }),
            (macs.clone(), any::<[[u8; 4]; 2]>(), ports.clone()).prop_map(
                |((a, b, vlan), ips, ports)| Link::Udp {
                    source_mac: MacAddress(a),
                    destination_mac: MacAddress(b),
                    vlan,
                    source: (ips[0], ports.0).into(),
                    destination: (ips[1], ports.1).into(),
                }
            ),
            (macs, any::<[[u8; 16]; 2]>(), ports).prop_map(|((a, b, vlan), ips, ports)| {
                Link::Udp {
                    source_mac: MacAddress(a),
                    destination_mac: MacAddress(b),
                    vlan,
                    source: (ips[0], ports.0).into(),
                    destination: (ips[1], ports.1).into(),
                }
            }),
        ]
    }

    proptest! {
        /// A stamped template is a frame of its link with the stamp in it, whatever was stamped before.
        #[test]
        fn a_stamped_frame_parses(
            link in any_link(), label: u64, stream: u32, len in 0usize..1600,
            stamps in proptest::collection::vec((0..payload::SEQUENCE_END, any::<u64>()), 1..4),
        ) {
            let mut template = Template::new(&link, Header::new(label, 0), stream, len).unwrap();
            prop_assert_eq!(template.len(), len.max(link.frame_len_min()));
            for (sequence, sent_ns) in stamps {
                let frame = template.stamp(sequence, sent_ns);
                let (parsed, packet) = Link::parse(frame).unwrap();
                prop_assert_eq!(parsed, link);
                let (header, rest) = Header::split(packet).unwrap();
                prop_assert_eq!(header.label(), label);
                prop_assert_eq!(payload::read(rest), Reading::Whole(Stamp { stream, sequence, sent_ns }));
                // Somebody else's parser agrees on where the datagram is and on its checksum.
                let sliced = SlicedPacket::from_ethernet(frame).unwrap();
                if let (Link::Udp { source, destination, .. }, Some(TransportSlice::Udp(udp))) = (link, sliced.transport) {
                    prop_assert_eq!(udp.payload(), packet);
                    let header = udp.to_header();
                    let right = match (source.ip(), destination.ip()) {
                        (IpAddr::V4(a), IpAddr::V4(b)) => header.calc_checksum_ipv4_raw(a.octets(), b.octets(), packet),
                        (IpAddr::V6(a), IpAddr::V6(b)) => header.calc_checksum_ipv6_raw(a.octets(), b.octets(), packet),
                        _ => panic!("two families"),
                    };
                    prop_assert_eq!(header.checksum, right.unwrap());
                }
            }
        }

        /// Padding is not part of the packet.
        #[test]
        fn padding_is_cut(link in any_link(), packet in proptest::collection::vec(any::<u8>(), 12..60), padding in 0usize..40) {
            let mut frame = link.frame(&packet).unwrap();
            frame.extend(vec![0; padding]);
            prop_assert_eq!(Link::parse(&frame), Some((link, &packet[..])));
        }

        #[test]
        fn any_bytes_parse_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Some((_, packet)) = Link::parse(&bytes) {
                prop_assert!(packet.len() <= bytes.len());
            }
        }
    }
}
