//! Where a UDP link's next frame goes. Ethernet links know it themselves.

use dataplane_api::{MacAddress, VifId};

/// MAC addresses of a frame to a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Of the gateway or the neighbour itself.
    pub dst: MacAddress,
    /// Of the port.
    pub src: MacAddress,
}

/// Next hops of UDP links, by vif; published whole by whoever follows routes and neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextHops {
    by_vif: Vec<Option<NextHop>>,
}

impl NextHops {
    /// Sets or forgets the next hop of a link.
    pub fn set(&mut self, vif: VifId, next_hop: Option<NextHop>) {
        if self.by_vif.len() <= vif.index() {
            self.by_vif.resize(vif.index() + 1, None);
        }
        self.by_vif[vif.index()] = next_hop;
    }

    /// The next hop of a link; `None` while it is not resolved.
    #[inline]
    #[must_use]
    pub fn next_hop(&self, vif: VifId) -> Option<NextHop> {
        self.by_vif.get(vif.index()).copied().flatten()
    }
}
