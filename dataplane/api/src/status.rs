//! The observed state, as one value.

use crate::{DropReason, Generation, PortId, VifId, VswitchId, WorkerId};
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
