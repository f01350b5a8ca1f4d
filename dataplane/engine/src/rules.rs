//! The compiled tables of one spec: immutable, shared by all workers.
//!
//! ```text
//!  frame ─► links: (port, VLAN, own MAC, peer MAC) ─► Record of the ingress vif      1 cache line
//!  label ─► schemes: director                                                         in L1
//!        ─► numbers[map start + number] ─► slot                                       1 line, shared by a vswitch
//!        ─► links[slot] ─► Record of the egress vif                                   1 line
//! ```

mod endpoints;
mod links;
mod neighbours;
pub(crate) mod numbers;
mod policy;
mod record;
mod schemes;

pub(crate) use endpoints::{Endpoints, UdpLinks};
pub(crate) use links::Links;
pub use neighbours::{Listener, NodeInfo, OwnAddress};
pub(crate) use policy::{Around, Policies, Policy, is_met};
pub use record::LinkKind;
pub(crate) use record::{LinkKey, MAP_ENTRIES_MAX, NO_SLOT, Record, RecordParts, UNTAGGED};
pub(crate) use schemes::{Director, Narrow, Return, SCHEMES_MAX, Schemes};

use crate::leases::{LeaseInfo, PortCapacity};
use dataplane_api::{
    Generation, LinkAddress, LoginSpec, MacAddress, PortId, Role, VifId, VifPolicy, VswitchId,
    WorkerId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv6Addr, SocketAddr};
use wire::key::PublicKey;
use wire::scheme::Scheme;

/// In [`Rules::paces`]: frames leave as they come. No link has the last of all ids while there is room for fewer.
pub(crate) const UNPACED: u16 = u16::MAX;

/// What the packet path must know of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortRules {
    /// All tags of its frames are seen.
    pub(crate) tags_visible: bool,
    /// UDP checksums may be left to hardware that does not exist (local stacks over veth).
    pub(crate) checksum_partial: bool,
}

/// A vswitch, for what is not on the packet path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VswitchInfo {
    /// Dense id.
    pub id: VswitchId,
    /// Name.
    pub name: String,
    /// Whose it is.
    pub tenant: u32,
    /// Permanent key.
    pub key: PublicKey,
    /// Address in fc00::/8.
    pub address: Ipv6Addr,
    /// How its labels name vifs.
    pub scheme: Scheme,
    /// The scheme in words.
    pub scheme_name: String,
    /// Who may log in.
    pub logins: Vec<LoginSpec>,
    /// Where they may call.
    pub listeners: Vec<Listener>,
    /// Keys of the route servers that it may use; `None`: any.
    pub route_servers: Option<Vec<PublicKey>>,
    /// It is a route server itself.
    pub is_route_server: bool,
    /// Sessions of nodes may end in it: it has neighbours with keys.
    pub is_node: bool,
}

/// A vif, for what is not on the packet path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VifInfo {
    /// Dense id.
    pub id: VifId,
    /// Its vswitch.
    pub vswitch: VswitchId,
    /// As labels number it.
    pub number: u16,
    /// For the class matrix.
    pub role: Role,
    /// Longest switch packet that leaves on it, bytes.
    pub mtu: u16,
    /// Worker that owns the link; cables have none.
    pub owner: Option<WorkerId>,
    /// Changes whenever something else is behind the vif.
    pub epoch: u8,
    /// One-hop label from the vswitch.
    pub label: u64,
    /// What is behind it.
    pub link: LinkInfo,
    /// The node behind an encrypted link.
    pub node: Option<NodeInfo>,
    /// What its packets may claim, and who sees them.
    pub policy: VifPolicy,
}

impl VifInfo {
    /// Port of the link; cables have none.
    #[must_use]
    pub fn port(&self) -> Option<PortId> {
        match self.link {
            LinkInfo::Ethernet { port, .. } | LinkInfo::Udp { port, .. } => Some(port),
            LinkInfo::Cable { .. } => None,
        }
    }
}

/// What is behind a vif.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkInfo {
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
    /// Another vswitch of this box.
    Cable {
        /// The other end.
        to: VifId,
    },
}

impl LinkInfo {
    /// Where the neighbour is; nowhere for a cable.
    #[must_use]
    pub fn address(&self) -> Option<LinkAddress> {
        match *self {
            Self::Ethernet { port, vlan, own, peer } => {
                Some(LinkAddress::Ethernet { port, vlan, own, peer })
            }
            Self::Udp { port, vlan, own, peer } => Some(LinkAddress::Udp { port, vlan, own, peer }),
            Self::Cable { .. } => None,
        }
    }
}

/// The tables of one generation.
#[derive(Debug)]
pub struct Rules {
    pub(crate) generation: Generation,
    pub(crate) edition: u64,
    pub(crate) links: Links,
    pub(crate) udp: UdpLinks,
    pub(crate) schemes: Schemes,
    /// Slots by (vswitch's map start + number).
    pub(crate) numbers: Box<[u32]>,
    /// Slots by vif id.
    pub(crate) slots: Box<[u32]>,
    pub(crate) policies: Policies,
    /// By vif id, of links that are paced: the lowest vif whose link leads to the same station, which they share a pace with.
    pub(crate) paces: Box<[u16]>,
    /// The router's interface of each vswitch: an ingress like any vif, number 1.
    pub(crate) routers: Box<[Record]>,
    pub(crate) ports: Box<[PortRules]>,
    pub(crate) own_macs: BTreeMap<(PortId, u16, MacAddress), VswitchId>,
    /// Own addresses at which strangers may call.
    pub(crate) listeners: BTreeMap<(PortId, u16, OwnAddress), VswitchId>,
    /// Where somebody accepts beacons.
    pub(crate) beacons: BTreeSet<(PortId, u16)>,
    pub(crate) vswitches: Vec<Option<VswitchInfo>>,
    pub(crate) vifs: Vec<Option<VifInfo>>,
    pub(crate) names: BTreeMap<String, VswitchId>,
    /// By port, where it is sold.
    pub(crate) capacities: Box<[Option<PortCapacity>]>,
    pub(crate) leases: Vec<LeaseInfo>,
    pub(crate) new_vswitches: Vec<VswitchId>,
    pub(crate) new_vifs: Vec<VifId>,
}

impl Rules {
    /// Of the spec they were compiled from.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Grows with every compilation, of whatever spec.
    #[must_use]
    pub fn edition(&self) -> u64 {
        self.edition
    }

    /// Whether broadcast frames of a port may be beacons for somebody.
    #[must_use]
    pub fn has_beacons(&self, port: PortId) -> bool {
        self.beacons.range((port, 0)..=(port, u16::MAX)).next().is_some()
    }

    /// All vswitches, by id.
    pub fn vswitches(&self) -> impl Iterator<Item = &VswitchInfo> {
        self.vswitches.iter().flatten()
    }

    /// All vifs, by id.
    pub fn vifs(&self) -> impl Iterator<Item = &VifInfo> {
        self.vifs.iter().flatten()
    }

    /// The vswitch with this id.
    #[must_use]
    pub fn vswitch(&self, id: VswitchId) -> Option<&VswitchInfo> {
        self.vswitches.get(id.index())?.as_ref()
    }

    /// The vswitch with this name.
    #[must_use]
    pub fn vswitch_named(&self, name: &str) -> Option<&VswitchInfo> {
        self.vswitch(*self.names.get(name)?)
    }

    /// The vif with this id.
    #[must_use]
    pub fn vif(&self, id: VifId) -> Option<&VifInfo> {
        self.vifs.get(id.index())?.as_ref()
    }

    /// The vif that a vswitch's labels call `number`.
    #[must_use]
    pub fn vif_numbered(&self, vswitch: VswitchId, number: u16) -> Option<&VifInfo> {
        let router = self.router(vswitch)?;
        let record = self.links.get(self.slot_of_number(router, number))?;
        self.vif(record.vif())
    }

    /// Ids that were given in this compilation: nobody used them before, their counters start from 0.
    #[must_use]
    pub fn new_ids(&self) -> (&[VswitchId], &[VifId]) {
        (&self.new_vswitches, &self.new_vifs)
    }

    /// Own MAC addresses of a port: what its filter lets through.
    pub fn own_macs(&self, port: PortId) -> impl Iterator<Item = MacAddress> {
        let from = (port, 0, MacAddress([0; 6]));
        let to = (port, u16::MAX, MacAddress([0xff; 6]));
        self.own_macs.range(from..=to).map(|((_, _, mac), _)| *mac)
    }

    /// Own UDP addresses of a port: what its filter lets through.
    pub fn own_udp(&self, port: PortId) -> impl Iterator<Item = SocketAddr> {
        self.udp.own(port)
    }

    /// Place of a vif's record, for the switch step alone ([`crate::switch::switch`]); [`crate::switch::NOWHERE`] if
    /// there is none.
    #[must_use]
    pub fn slot(&self, vif: VifId) -> u32 {
        self.slots.get(vif.index()).copied().unwrap_or(NO_SLOT)
    }

    /// Bytes of the tables that packets touch.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.links.bytes() + size_of_val(&*self.numbers) + self.schemes.bytes()
    }

    /// Slot of a vswitch's vif by its number; `of` is any record of the vswitch.
    #[inline]
    pub(crate) fn slot_of_number(&self, of: &Record, number: u16) -> u32 {
        if number >= of.map_len() {
            return NO_SLOT;
        }
        self.numbers.get(of.map_start() + usize::from(number)).copied().unwrap_or(NO_SLOT)
    }

    /// Slot and record of a vif, if it is in its epoch still.
    #[inline]
    pub(crate) fn current(&self, slot: u32, vif: VifId, epoch: u8) -> Option<(u32, &Record)> {
        let same = |record: &&Record| record.vif() == vif && record.epoch() == epoch;
        // The slot is a hint: rules may have been compiled anew since.
        if let Some(record) = self.links.get(slot).filter(same) {
            return Some((slot, record));
        }
        let slot = *self.slots.get(vif.index())?;
        self.links.get(slot).filter(same).map(|record| (slot, record))
    }

    /// The vif by whose pace frames leave on this one's link: of one neighbour's links it is the same. `None`: at none.
    #[inline]
    pub(crate) fn pace_of(&self, vif: VifId) -> Option<VifId> {
        let station = self.paces.get(vif.index()).copied().filter(|station| *station != UNPACED);
        station.map(|station| VifId(u32::from(station)))
    }

    pub(crate) fn slot_of(&self, vif: VifId) -> Option<(u32, &Record)> {
        let slot = *self.slots.get(vif.index())?;
        self.links.get(slot).map(|record| (slot, record))
    }

    /// The router's interface of a vswitch.
    pub(crate) fn router(&self, vswitch: VswitchId) -> Option<&Record> {
        self.vswitch(vswitch)?;
        self.routers.get(vswitch.index())
    }

    /// Whether nodes may have sessions with a vswitch.
    pub(crate) fn is_node(&self, vswitch: VswitchId) -> bool {
        self.vswitch(vswitch).is_some_and(|vswitch| vswitch.is_node)
    }

    pub(crate) fn port(&self, port: PortId) -> PortRules {
        self.ports.get(port.index()).copied().unwrap_or_default()
    }
}
