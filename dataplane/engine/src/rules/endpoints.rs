//! UDP links by what a datagram says.

use super::record::NO_SLOT;
use dataplane_api::PortId;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Where a datagram of a link comes in and from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Endpoints {
    pub(crate) port: PortId,
    pub(crate) vlan: u16,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

/// All UDP links: an open-addressed table of indices, keyed by a secret seed, at most half full.
#[derive(Debug, Default)]
pub(crate) struct UdpLinks {
    links: Vec<(Endpoints, u32)>,
    table: Box<[u32]>,
    mask: u64,
    seed: u64,
    /// Own addresses, to name the drop of a datagram that no link wants.
    own: BTreeMap<(PortId, u16, SocketAddr), ()>,
}

impl UdpLinks {
    /// `links` with their slots; `listening`: own addresses besides those of links.
    pub(crate) fn build(
        links: Vec<(Endpoints, u32)>,
        listening: impl Iterator<Item = (PortId, u16, SocketAddr)>,
        seed: u64,
    ) -> Self {
        let size = (links.len() * 2).max(2).next_power_of_two();
        let linked = links.iter().map(|(at, _)| (at.port, at.vlan, at.local));
        let own = linked.chain(listening).map(|own| (own, ())).collect();
        let mask = size as u64 - 1;
        let mut this =
            Self { links, table: vec![NO_SLOT; size].into_boxed_slice(), mask, seed, own };
        for number in 0..this.links.len() {
            let mut at = this.hash(&this.links[number].0) & this.mask;
            while this.table[super::numbers::index(at)] != NO_SLOT {
                at = (at + 1) & this.mask;
            }
            this.table[super::numbers::index(at)] = u32::try_from(number).unwrap_or(NO_SLOT);
        }
        this
    }

    #[inline]
    fn hash(&self, at: &Endpoints) -> u64 {
        let mut state = self.seed ^ u64::from(at.port.0) << 16 ^ u64::from(at.vlan);
        let ports = u64::from(at.local.port()) << 16 | u64::from(at.peer.port());
        state = fold(state ^ ports, self.seed | 1);
        for ip in [at.local.ip(), at.peer.ip()] {
            let bits = match ip {
                IpAddr::V4(ip) => u128::from(ip.to_bits()),
                IpAddr::V6(ip) => ip.to_bits(),
            };
            state = fold(state ^ low(bits), low(bits >> 64) ^ self.seed.rotate_left(32) | 1);
        }
        fold(state, self.seed | 1)
    }

    /// Slot of the link.
    ///
    /// Cost: a hash over 40 bytes, two cache lines.
    #[inline]
    pub(crate) fn find(&self, at: &Endpoints) -> u32 {
        let mut place = self.hash(at) & self.mask;
        // At most half full, so an empty place ends every search.
        loop {
            let entry = self.table.get(super::numbers::index(place)).copied().unwrap_or(NO_SLOT);
            let Some((known, slot)) = self.links.get(entry as usize) else { return NO_SLOT };
            if known == at {
                return *slot;
            }
            place = (place + 1) & self.mask;
        }
    }

    /// Whether some link has this local address.
    pub(crate) fn is_ours(&self, port: PortId, vlan: u16, local: SocketAddr) -> bool {
        self.own.contains_key(&(port, vlan, local))
    }

    /// Own addresses of a port, of all VLANs.
    pub(crate) fn own(&self, port: PortId) -> impl Iterator<Item = SocketAddr> {
        self.own.keys().filter(move |(at, ..)| *at == port).map(|(.., own)| *own)
    }

    /// Endpoints by the index that a record holds.
    #[inline]
    pub(crate) fn endpoints(&self, link: u32) -> Option<&Endpoints> {
        self.links.get(link as usize).map(|(at, _)| at)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
fn low(bits: u128) -> u64 {
    bits as u64
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    low(product) ^ low(product >> 64)
}
