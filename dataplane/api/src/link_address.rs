//! Where a neighbour is.

use crate::{MacAddress, PortId};
use std::net::SocketAddr;

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
}
