//! Which leases hold at one time, as workers use them.

use crate::rules::{LinkInfo, Rules, VifInfo};
use crate::schedule::{Capacity, PerByte, Terms};
use dataplane_api::{Direction, PortId, VifId, WorkerId};

/// Preamble, gap and check sequence.
const FRAMING: u8 = 24;
/// Ethernet header.
const ETHERNET: u8 = 14;
/// 802.1Q tag.
const TAG: u8 = 4;
/// ETHInterface header.
const ETH_INTERFACE: u8 = 6;
/// IPv4 or IPv6, and UDP.
const UDP4: u8 = 28;
const UDP6: u8 = 48;
/// What a session adds: Noise 24, CryptoAuth 20.
const SESSION: u8 = 24;

/// What the box's processor promises a link without an ingress lease, so that its neighbour's keep-alives and pings come
/// through however it is flooded: four packets of 100 bytes a second, ten at once. 65 536 such links are 0.3 million
/// packets a second, if all of them flood.
pub(crate) const RESERVE: Terms =
    Terms { rate: 400, burst: 1_024, weight: 0, ceiling: 0, preserve_order: false };

/// A lease, its names resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// As receipts and counters know it.
    pub id: u32,
    /// Which way.
    pub direction: Direction,
    /// On which port.
    pub port: PortId,
    /// Its vifs, ascending; those of neighbours that are not there now are missing.
    pub vifs: Vec<VifId>,
    /// What it gives.
    pub terms: Terms,
    /// Unix milliseconds from which on it holds.
    pub start: u64,
    /// Unix milliseconds from which on it does not.
    pub end: u64,
}

impl LeaseInfo {
    /// Whether it holds at a time, Unix milliseconds.
    #[must_use]
    pub fn holds(&self, at: u64) -> bool {
        self.start <= at && at < self.end
    }

    /// The vif at which it is metered.
    #[must_use]
    pub fn leader(&self) -> Option<VifId> {
        self.vifs.first().copied()
    }
}

/// What a vif has in one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// Its lease's, if it is metered here.
    pub(crate) terms: Option<Terms>,
    /// The vif at which it is metered, if that is another.
    pub(crate) leader: Option<u32>,
    /// Bytes that link and wire add to a packet.
    pub(crate) overhead: u8,
    port: PortId,
}

/// What a port is sold as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortCapacity {
    /// Bytes of wire a second.
    pub(crate) rate: u64,
    /// Bytes of wire of its longest frame.
    pub(crate) longest: u32,
}

/// The same, and who sends its guarantees.
#[derive(Clone, Debug)]
struct Sold {
    capacity: PortCapacity,
    /// By worker: guaranteed bytes a second.
    guaranteed: Vec<u64>,
}

/// The leases that hold, by vif.
#[derive(Debug, Default)]
pub struct Leases {
    edition: u64,
    out: Box<[Option<Held>]>,
    inward: Box<[Option<Held>]>,
    /// By port: whether a lease holds for what comes in by it.
    guards: Box<[bool]>,
    ports: Box<[Option<Sold>]>,
}

impl Leases {
    /// Those that hold at `at`, Unix milliseconds. `edition`: other than that of every table before, and not 0.
    #[must_use]
    pub fn at(rules: &Rules, at: u64, edition: u64) -> Self {
        let mut out: Box<[Option<Held>]> =
            rules.vifs.iter().map(|vif| held(vif.as_ref()?)).collect();
        let mut inward = out.clone();
        let mut guards: Box<[bool]> = vec![false; rules.capacities.len()].into();
        let mut ports: Box<[Option<Sold>]> = rules
            .capacities
            .iter()
            .map(|capacity| capacity.map(|capacity| Sold { capacity, guaranteed: Vec::new() }))
            .collect();
        for lease in rules.leases.iter().filter(|lease| lease.holds(at)) {
            let Some(leader) = lease.leader() else { continue };
            let vifs = match lease.direction {
                Direction::Out => &mut out,
                Direction::In => {
                    guards.iter_mut().skip(lease.port.index()).take(1).for_each(|on| *on = true);
                    &mut inward
                }
            };
            let owner = rules.vif(leader).and_then(|vif| vif.owner).map_or(0, WorkerId::index);
            if lease.direction == Direction::Out
                && let Some(sold) = ports.get_mut(lease.port.index()).and_then(Option::as_mut)
            {
                sold.guaranteed.resize(sold.guaranteed.len().max(owner + 1), 0);
                sold.guaranteed[owner] += lease.terms.rate;
            }
            for vif in &lease.vifs {
                let Some(held) = vifs.get_mut(vif.index()).and_then(Option::as_mut) else {
                    continue;
                };
                if *vif == leader {
                    held.terms = Some(lease.terms);
                } else {
                    held.leader = Some(leader.0);
                }
            }
        }
        Self { edition, out, inward, guards, ports }
    }

    /// Which table this is.
    #[must_use]
    pub fn edition(&self) -> u64 {
        self.edition
    }

    /// Whether any port is sold.
    pub(crate) fn is_sold(&self) -> bool {
        self.ports.iter().any(Option::is_some)
    }

    /// What a vif has for what leaves by it.
    pub(crate) fn out(&self, vif: usize) -> Option<&Held> {
        self.out.get(vif)?.as_ref()
    }

    /// What a vif has for what comes in by it.
    pub(crate) fn inward(&self, vif: usize) -> Option<&Held> {
        self.inward.get(vif)?.as_ref()
    }

    /// Whether some lease holds for what comes in by a port.
    #[must_use]
    pub fn guards(&self, port: PortId) -> bool {
        self.guards.get(port.index()).copied().unwrap_or(false)
    }

    /// Whether some lease holds for what comes in by any.
    #[must_use]
    pub fn guard_any(&self) -> bool {
        self.guards.contains(&true)
    }

    /// By which vif's allowance what comes in by a vif is shed, and which one that is. `None`: no link is there.
    #[must_use]
    pub fn allowance(&self, vif: VifId) -> Option<(VifId, Terms)> {
        let held = self.inward(vif.index())?;
        let leader = held.leader.map_or(vif, VifId);
        let terms = self.inward(leader.index())?.terms;
        Some((leader, terms.unwrap_or(RESERVE)))
    }

    /// Longest frame on a vif's port, bytes of wire.
    pub(crate) fn longest(&self, vif: usize) -> u64 {
        let port = self.out(vif).and_then(|held| self.ports.get(held.port.index())?.as_ref());
        port.map_or(0, |sold| sold.capacity.longest.into())
    }

    /// What a port is to one worker's schedule.
    pub(crate) fn capacity(&self, port: usize, worker: usize) -> Option<Capacity> {
        let sold = self.ports.get(port)?.as_ref()?;
        let own = sold.guaranteed.get(worker).copied().unwrap_or(0);
        let all = sold.guaranteed.iter().sum();
        let PortCapacity { rate, longest } = sold.capacity;
        Some(Capacity { rate, longest, guaranteed: (own, all) })
    }
}

impl Rules {
    /// All leases, those to come and those that ended too.
    pub fn leases(&self) -> impl Iterator<Item = &LeaseInfo> {
        self.leases.iter()
    }

    /// The lease that a vif has in one direction at `at`, Unix milliseconds.
    #[must_use]
    pub fn lease_of(&self, vif: VifId, direction: Direction, at: u64) -> Option<&LeaseInfo> {
        let mut leases = self.leases.iter();
        leases.find(|lease| {
            lease.direction == direction && lease.holds(at) && lease.vifs.contains(&vif)
        })
    }

    /// The first moment after `at` at which other leases hold, Unix milliseconds.
    #[must_use]
    pub fn leases_change_after(&self, at: u64) -> Option<u64> {
        let moments = self.leases.iter().flat_map(|lease| [lease.start, lease.end]);
        moments.filter(|moment| *moment > at && *moment < u64::MAX).min()
    }

    /// Most that leases guarantee at once on a port to what one worker sends there, and the longest frame, bytes of wire;
    /// `None` where the port is not sold.
    #[must_use]
    pub fn bursts(&self, port: PortId) -> Option<(u64, u64)> {
        let capacity = self.capacities.get(port.index()).copied().flatten()?;
        let mut changes = Vec::new();
        for lease in &self.leases {
            let leader = lease.leader().and_then(|vif| self.vif(vif));
            if lease.port == port && lease.direction == Direction::Out {
                let owner = leader.and_then(|vif| vif.owner);
                // Ends before starts.
                changes.push((owner, lease.start, 1, lease.terms.burst));
                changes.push((owner, lease.end, 0, lease.terms.burst));
            }
        }
        changes.sort_unstable();
        let (mut most, mut sum) = (0_u64, 0_u64);
        for (_, _, starts, burst) in changes {
            sum = if starts == 1 { sum.saturating_add(burst) } else { sum.saturating_sub(burst) };
            most = most.max(sum);
        }
        Some((most, capacity.longest.into()))
    }

    /// What a port is sold as, bytes of wire a second.
    #[must_use]
    pub fn capacity(&self, port: PortId) -> Option<u64> {
        self.capacities.get(port.index()).copied().flatten().map(|capacity| capacity.rate)
    }
}

/// What packets of a link lie in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FrameKind {
    /// ETHInterface.
    Ethernet,
    /// Datagrams over IPv4.
    Udp4,
    /// And over IPv6.
    Udp6,
}

impl FrameKind {
    /// Bytes that link and wire add to a packet.
    pub(crate) fn overhead(self, is_tagged: bool, is_sealed: bool) -> u8 {
        let link = match self {
            Self::Ethernet => ETH_INTERFACE,
            Self::Udp4 => UDP4,
            Self::Udp6 => UDP6,
        };
        let tag = if is_tagged { TAG } else { 0 };
        FRAMING + ETHERNET + link + tag + if is_sealed { SESSION } else { 0 }
    }
}

/// A vif without a lease; nothing for a cable.
fn held(vif: &VifInfo) -> Option<Held> {
    let (port, vlan, kind) = match vif.link {
        LinkInfo::Ethernet { port, vlan, .. } => (port, vlan, FrameKind::Ethernet),
        LinkInfo::Udp { port, vlan, own, .. } if own.is_ipv4() => (port, vlan, FrameKind::Udp4),
        LinkInfo::Udp { port, vlan, .. } => (port, vlan, FrameKind::Udp6),
        LinkInfo::Cable { .. } => return None,
    };
    let overhead = kind.overhead(vlan.is_some(), vif.node.is_some());
    Some(Held { terms: None, leader: None, overhead, port })
}

/// Lowest rate that can be leased or sold, bytes a second.
pub(crate) const RATE_MIN: u64 = PerByte::RATE_MIN;
