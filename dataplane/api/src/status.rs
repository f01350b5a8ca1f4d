//! The observed state, as one value.

use crate::counters::{DELAY_BUCKETS, DELAY_FIRST, LEASE_SLOTS, LeaseCounter};
use crate::{Direction, DropReason, Generation, PortId, VifId, VswitchId, WorkerId};
use serde::{Deserialize, Serialize};

/// What the process is and does; counters are read from shared memory instead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `CARGO_PKG_VERSION` of the process.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Nanoseconds since it started.
    pub uptime_ns: u64,
    /// Newest spec that was accepted.
    pub accepted: Generation,
    /// Lowest generation that any worker still uses.
    pub applied: Generation,
    /// Why the last refused spec was refused.
    pub refused: Option<(Generation, String)>,
    /// Path of the shared counters.
    pub counters: String,
    /// Ports, by id.
    pub ports: Vec<PortStatus>,
    /// Workers, by id.
    pub workers: Vec<WorkerStatus>,
    /// Vswitches in the spec.
    pub vswitches: Vec<VswitchStatus>,
    /// Vifs in the spec.
    pub vifs: Vec<VifStatus>,
    /// Slow path: what it answered and dropped.
    pub slow_path: SlowPathStatus,
    /// What the process wants people to know: fallbacks, warnings, alarms.
    pub notices: Vec<String>,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PortStatus {
    /// Id.
    pub id: PortId,
    /// Name of the network device.
    pub name: String,
    /// Back end and mode, e.g. `af_xdp native copy`.
    pub backend: String,
    /// Whether the link is up.
    pub up: bool,
    /// Device MTU, bytes.
    pub mtu: u32,
    /// Queues and the worker of each.
    pub queues: Vec<(u32, WorkerId)>,
    /// How frames reach the worker that owns their link, in words.
    pub steering: String,
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Id.
    pub id: WorkerId,
    /// Core it is pinned to.
    pub core: Option<u32>,
    /// Generation it uses.
    pub generation: Generation,
}

/// A vswitch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VswitchStatus {
    /// Dense id, for the counters.
    pub id: VswitchId,
    /// Name.
    pub name: String,
    /// Tenant.
    pub tenant: u32,
    /// Public key, `.k` form.
    pub public_key: String,
    /// fc00::/8 address.
    pub address: String,
    /// Scheme in words, e.g. `v358`.
    pub scheme: String,
    /// It has links with keys, or listens for them.
    pub needs_key: bool,
    /// Its private key is here.
    pub has_key: bool,
}

/// A vif.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VifStatus {
    /// Dense id, for the counters.
    pub id: VifId,
    /// Its vswitch.
    pub vswitch: VswitchId,
    /// Number in labels.
    pub number: u16,
    /// Role in words.
    pub role: String,
    /// One-hop label from its vswitch, 16 hex digits.
    pub label: String,
    /// The link, or the cable's other end, in words.
    pub link: String,
    /// Port of the link.
    pub port: Option<PortId>,
    /// Worker that owns the link.
    pub owner: Option<WorkerId>,
    /// Longest switch packet it sends, bytes.
    pub mtu: u32,
    /// Whether the next hop is known (always for Ethernet).
    pub resolved: bool,
    /// Whether its neighbour tells, and is told, what packets claim.
    pub told: bool,
}

/// A link with keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Its vif.
    pub vif: VifId,
    /// Key of the node behind it, `.k` form.
    pub key: String,
    /// Login by which it came, if it did.
    pub user: Option<String>,
    /// It came by itself.
    pub learned: bool,
    /// `crypto_auth` or `noise`.
    pub kind: String,
    /// As cjdroute names it: `SENT_HELLO`, `ESTABLISHED`, `UNRESPONSIVE` …
    pub state: String,
    /// Protocol version of the node; 0: not known yet.
    pub version: u32,
    /// Round trip of the last answered ping, nanoseconds.
    pub rtt_ns: Option<u64>,
    /// Nanoseconds since an authentic packet came.
    pub heard_ns: Option<u64>,
    /// Sessions that came up on it.
    pub sessions: u64,
}

/// A lease, and what it gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// Its id in the spec.
    pub id: u32,
    /// Which way.
    pub direction: Direction,
    /// On which port.
    pub port: PortId,
    /// Its vifs that are there.
    pub vifs: Vec<VifId>,
    /// Guaranteed, bytes of wire a second.
    pub rate: u64,
    /// At once, bytes.
    pub burst: u64,
    /// Weight above the guarantee, bytes a second.
    pub weight: u64,
    /// Most that leaves, bytes of wire a second; 0: no bound.
    pub ceiling: u64,
    /// Order goes before delay.
    pub preserve_order: bool,
    /// Unix milliseconds from which on it holds; `None`: always has.
    pub start: Option<u64>,
    /// Unix milliseconds from which on it does not; `None`: never.
    pub end: Option<u64>,
    /// It holds now.
    pub holds: bool,
    /// What became of its packets since its vifs are there.
    pub totals: LeaseTotals,
}

/// What became of the packets of a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTotals {
    /// What left in profile.
    pub guaranteed: Volume,
    /// What left above it.
    pub priority: Volume,
    /// What left without a claim.
    pub free: Volume,
    /// What was dropped above the ceiling.
    pub above_ceiling: Volume,
    /// What was dropped for want of room.
    pub no_room: Volume,
    /// Packets in profile and above it by how long they waited, as [`crate::counters::delay_bucket`] parts them.
    pub delays: [u64; DELAY_BUCKETS],
}

/// Packets, and their bytes of wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Volume {
    fn since(self, earlier: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(earlier.packets),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

impl LeaseTotals {
    /// Adds what one vif has in the counters, from [`LeaseCounter`]'s first on.
    pub fn add(&mut self, counters: &[u64; LEASE_SLOTS]) {
        let volumes = [
            (&mut self.guaranteed, LeaseCounter::GuaranteedPackets),
            (&mut self.priority, LeaseCounter::PriorityPackets),
            (&mut self.free, LeaseCounter::FreePackets),
            (&mut self.above_ceiling, LeaseCounter::AboveCeilingPackets),
            (&mut self.no_room, LeaseCounter::NoRoomPackets),
        ];
        for (volume, packets) in volumes {
            volume.packets += counters[packets as usize];
            volume.bytes += counters[packets as usize + 1];
        }
        let delays = &counters[LeaseCounter::Delays as usize..];
        self.delays.iter_mut().zip(delays).for_each(|(sum, count)| *sum += count);
    }

    /// What was added since `earlier`; nothing where counters began anew.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut delays = self.delays;
        delays
            .iter_mut()
            .zip(earlier.delays)
            .for_each(|(now, then)| *now = now.saturating_sub(then));
        Self {
            guaranteed: self.guaranteed.since(earlier.guaranteed),
            priority: self.priority.since(earlier.priority),
            free: self.free.since(earlier.free),
            above_ceiling: self.above_ceiling.since(earlier.above_ceiling),
            no_room: self.no_room.since(earlier.no_room),
            delays,
        }
    }

    /// Bytes of wire that left.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.guaranteed.bytes + self.priority.bytes + self.free.bytes
    }

    /// A bound that this share of the packets kept when they waited, ns; `None`: none waited, or it is not known.
    #[must_use]
    pub fn delay_within(&self, share: f64) -> Option<u64> {
        let all: u64 = self.delays.iter().sum();
        let mut sum = 0;
        #[expect(clippy::cast_precision_loss, reason = "a share of a count")]
        let bucket = self.delays.iter().position(|count| {
            sum += count;
            sum > 0 && sum as f64 >= share * all as f64
        })?;
        (bucket + 1 < DELAY_BUCKETS).then_some(DELAY_FIRST << (2 * bucket))
    }
}

/// What the router of a vswitch is up to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouterStatus {
    /// Its vswitch.
    pub vswitch: VswitchId,
    /// Key of its route server, `.k` form; `None`: it has not found one.
    pub route_server: Option<String>,
    /// Path to the route server from the vswitch, 16 hex digits.
    pub path: Option<String>,
    /// Links that the route server knows of.
    pub links_announced: u32,
    /// End-to-end sessions with other nodes.
    pub sessions: u32,
    /// Nodes that announce themselves to it, if it is a route server.
    pub nodes_served: u32,
    /// Packets that were of no session, or had no message in them.
    pub dropped: u64,
}

/// The slow path's own counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SlowPathStatus {
    /// Control messages answered, by type number of the query.
    pub answered: Vec<(u16, u64)>,
    /// Switch errors sent, by error code.
    pub errors: Vec<(u32, u64)>,
    /// Punted packets it dropped.
    pub drops: Vec<(DropReason, u64)>,
    /// Links with keys that are up, and all.
    pub links: (u32, u32),
}
