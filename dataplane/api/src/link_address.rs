//! Where a neighbour is.

use crate::{MacAddress, PortId};
use std::net::{IpAddr, SocketAddr};

/// Port, VLAN and both addresses of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkAddress {
    /// ETHInterface frames.
    Ethernet {
        /// Port.
        port: PortId,
        /// 802.1Q tag.
        vlan: Option<u16>,
        /// Own address.
        own: MacAddress,
        /// The neighbour's.
        peer: MacAddress,
    },
    /// UDP datagrams.
    Udp {
        /// Port.
        port: PortId,
        /// 802.1Q tag.
        vlan: Option<u16>,
        /// Own address.
        own: SocketAddr,
        /// The neighbour's.
        peer: SocketAddr,
    },
}

impl LinkAddress {
    /// Its port.
    #[must_use]
    pub fn port(&self) -> PortId {
        match self {
            Self::Ethernet { port, .. } | Self::Udp { port, .. } => *port,
        }
    }

    /// Its 802.1Q tag.
    #[must_use]
    pub fn vlan(&self) -> Option<u16> {
        match self {
            Self::Ethernet { vlan, .. } | Self::Udp { vlan, .. } => *vlan,
        }
    }

    /// What one sender can hardly have many of: a MAC address, an IPv4 address, the /48 of an IPv6 one.
    #[must_use]
    pub fn source(&self) -> u64 {
        match self {
            Self::Ethernet { port, vlan, peer, .. } => {
                let [a, b, c, d, e, f] = peer.0;
                let at = u64::from(port.0) << 12 ^ u64::from(vlan.unwrap_or(0));
                u64::from_be_bytes([0, 0, a, b, c, d, e, f]) ^ at << 48
            }
            Self::Udp { peer: SocketAddr::V4(peer), .. } => peer.ip().to_bits().into(),
            Self::Udp { peer: SocketAddr::V6(peer), .. } => match peer.ip().to_canonical() {
                IpAddr::V4(ip) => ip.to_bits().into(),
                IpAddr::V6(ip) => {
                    let [a, b, c, ..] = ip.segments();
                    1 << 63 | u64::from(a) << 32 | u64::from(b) << 16 | u64::from(c)
                }
            },
        }
    }
}
