//! Why a packet was dropped: a closed set, one name and one counter each.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a packet was dropped. The number is part of the counter layout.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $variant,)* }

        impl DropReason {
            /// All of them, in counter order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// Length of every counter array.
            pub const COUNT: usize = Self::ALL.len();

            /// As it is shown and filtered by.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    // classify
    /// The frame ends before its headers do.
    Runt = "runt",
    /// Neither ethertype 0xfc00 nor UDP for one of our addresses.
    NotOurs = "not_ours",
    /// ETHInterface version is not 0.
    EthVersion = "eth_version",
    /// ETHInterface length is below its header's or beyond the frame.
    EthLength = "eth_length",
    /// ETHInterface magic is not fc00.
    EthMagic = "eth_magic",
    /// A VLAN tag that this port cannot vouch for.
    VlanUntrusted = "vlan_untrusted",
    /// IPv4 or IPv6 header that does not parse.
    IpMalformed = "ip_malformed",
    /// A fragment; links are never fragmented.
    IpFragment = "ip_fragment",
    /// UDP length disagrees with the IP payload, or source port 0.
    UdpMalformed = "udp_malformed",
    /// UDP checksum wrong on a link that has no authentication of its own.
    UdpChecksum = "udp_checksum",
    /// No vswitch at this (port, VLAN, destination).
    UnknownVswitch = "unknown_vswitch",
    /// The vswitch has no link with this source address.
    UnknownLink = "unknown_link",
    /// A beacon where nobody enabled beacons.
    BeaconOff = "beacon_off",
    /// A session packet from a stranger that is no handshake, or comes where nobody may log in.
    Stranger = "stranger",
    // colour
    /// The worker is behind, and the frame has no claim.
    ShedFree = "shed_free",
    /// The worker is behind, and the frame is above what its ingress lease guarantees.
    ShedPriority = "shed_priority",
    /// The same, by the XDP program: the receive ring is long.
    ShedXdp = "shed_xdp",
    // hand-off
    /// The owner's hand-off ring is full (control frames and leased links).
    HandOffFull = "hand_off_full",
    /// The owner's hand-off ring for all else is full, or this link used up its share of it.
    HandOffFullFree = "hand_off_full_free",
    // open
    /// Too short for a session packet.
    SessionRunt = "session_runt",
    /// The link has no session yet.
    NoSession = "no_session",
    /// No key of the link opens it.
    Unauthentic = "unauthentic",
    /// Its number was seen before, or is too old to tell.
    Replayed = "replayed",
    // switch
    /// Shorter than a switch header.
    SwitchRunt = "switch_runt",
    /// The label was shifted by more than 63 bits.
    LabelShift = "label_shift",
    /// Self director whose low four bits are not 0001.
    SelfMalformed = "self_malformed",
    /// The ingress number needs a wider director than was consumed.
    DirectorNarrow = "director_narrow",
    /// A self director without room for the return path.
    ReturnPathInvalid = "return_path_invalid",
    /// The director names a vif that the vswitch does not have.
    UnknownVif = "unknown_vif",
    /// Passed more cables inside the box than allowed.
    CableLimit = "cable_limit",
    // admit
    /// The class matrix does not allow this pair of roles.
    Policy = "policy",
    /// Longer than the egress MTU.
    EgressMtu = "egress_mtu",
    /// The egress link has no session that may be sent with.
    LinkDown = "link_down",
    // queue, seal, encap
    /// The egress queue is full.
    QueueFull = "queue_full",
    /// The vswitch has used up its share of queued frames.
    QueueShare = "queue_share",
    /// Above the ceiling of its lease.
    Ceiling = "ceiling",
    /// The lease has as much waiting above its guarantee as it may.
    PriorityFull = "priority_full",
    /// The link was removed while the packet waited.
    LinkGone = "link_gone",
    /// No next hop for a UDP link yet.
    Unresolved = "unresolved",
    /// The port is down.
    PortDown = "port_down",
    /// The kernel refused the frame's descriptor.
    TxInvalid = "tx_invalid",
    // slow path
    /// The punt ring is full.
    PuntFull = "punt_full",
    /// This ingress link asked the slow path for more than its rate.
    PuntLimited = "punt_limited",
    /// For the vswitch itself, but not a control message.
    NotControl = "not_control",
    /// Control message shorter than its type needs, or longer than it allows.
    ControlLength = "control_length",
    /// Control checksum wrong.
    ControlChecksum = "control_checksum",
    /// Control type that is unknown, or never answered (ERROR, or a reply nobody asked for).
    ControlType = "control_type",
    /// Control magic wrong.
    ControlMagic = "control_magic",
    /// Protocol version below 20.
    ControlVersion = "control_version",
    /// The asker is not a neighbour one hop away (LLADDR).
    ControlOrigin = "control_origin",
    /// A handshake packet that does not fit the link: malformed, not authentic, unknown key or login.
    Handshake = "handshake",
    /// More handshakes than this source, this login or this vswitch may ask for.
    HandshakeLimited = "handshake_limited",
    // process
    /// No free frame for a reply.
    NoFrame = "no_frame",
    /// Still queued when the process stopped.
    Stopping = "stopping",
}

impl DropReason {
    /// The reason with this counter index.
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }

    /// The reason with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(DropReason::from_index(index), Some(*reason));
            assert_eq!(DropReason::from_name(reason.name()), Some(*reason), "{reason}");
        }
    }
}
