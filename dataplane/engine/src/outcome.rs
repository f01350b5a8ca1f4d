//! What a call leaves for the worker to do.

use crate::claim::Claim;
use crate::queue::What;
use crate::rules::NO_SLOT;
use crate::sessions::SessionNews;
use dataplane_api::limits::BURST_MAX;
use dataplane_api::{LinkAddress, MacAddress, PortId, VifId, VswitchId, WorkerId};

/// Frames that left the engine other than by a port. The worker empties it after each call.
#[derive(Debug)]
pub struct Outcome<F> {
    /// Dropped (and counted): back to the pool.
    pub free: Vec<F>,
    /// For the slow path.
    pub punts: Vec<Punt<F>>,
    /// For other workers.
    pub hand_offs: Vec<HandOff<F>>,
    /// For the slow path: from addresses that no link has.
    pub strangers: Vec<Stranger<F>>,
    /// For the slow path: what became of sessions.
    pub news: Vec<SessionNews>,
}

impl<F> Outcome<F> {
    /// Empty, with room for what one call can leave.
    #[must_use]
    pub fn new() -> Self {
        let room = 2 * BURST_MAX;
        Self {
            free: Vec::with_capacity(room),
            punts: Vec::with_capacity(room),
            hand_offs: Vec::with_capacity(room),
            strangers: Vec::with_capacity(room),
            news: Vec::with_capacity(room),
        }
    }

    /// Whether there is nothing in it but free frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.punts.is_empty()
            && self.hand_offs.is_empty()
            && self.strangers.is_empty()
            && self.news.is_empty()
    }

    /// Frames in it.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.free.len() + self.punts.len() + self.hand_offs.len() + self.strangers.len()
    }
}

impl<F> Default for Outcome<F> {
    fn default() -> Self {
        Self::new()
    }
}

/// A packet for the slow path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Punt<F> {
    /// Control, router: from the switch header on, as delivered to the vswitch. Error: the same, as it arrived.
    /// Handshake: the session packet.
    pub frame: F,
    /// Ingress vif.
    pub vif: VifId,
    /// Vswitch that was addressed, or refused to forward.
    pub vswitch: VswitchId,
    /// What to do with it.
    pub kind: PuntKind,
}

/// Why a packet goes to the slow path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PuntKind {
    /// A control message for the vswitch itself.
    Control,
    /// Anything else for the vswitch itself: of an end-to-end session.
    Router,
    /// A handshake of the link's session.
    Handshake,
    /// It was dropped (and counted), and its sender is to be told.
    Error {
        /// Switch error code.
        code: u32,
    },
}

/// A session packet from an address that no link has, where somebody listens; or a beacon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger<F> {
    /// The session packet, or the beacon's body.
    pub frame: F,
    /// Where it came from, and to which address.
    pub from: LinkAddress,
    /// Own and peer address of the Ethernet header that it came in: an answer goes back the way it came.
    pub stations: (MacAddress, MacAddress),
    /// Whose address that is; `None`: everybody's, it is a beacon.
    pub vswitch: Option<VswitchId>,
}

/// A frame for the worker that owns its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOff<F> {
    /// The owner.
    pub to: WorkerId,
    /// The link that is owned: ingress or egress.
    pub vif: VifId,
    /// Belongs into the ring of control frames and leased links.
    pub leased: bool,
    pub(crate) frame: F,
    pub(crate) vswitch: VswitchId,
    pub(crate) epoch: u8,
    pub(crate) slot: u32,
    pub(crate) at: HandOffAt,
}

impl<F> HandOff<F> {
    /// The frame, when there is nobody to hand it to.
    pub fn into_frame(self) -> F {
        self.frame
    }
}

/// Where the owner goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandOffAt {
    /// Classified: open it. Where the session packet lies in the frame.
    Open {
        /// Bytes before it.
        start: u16,
        /// Its length.
        len: u16,
    },
    /// Switched and admitted: queue it.
    Queue {
        /// Whose packet it is.
        origin: Origin,
        /// What is done before it leaves.
        what: What,
        /// What it claims there.
        claim: Claim,
    },
}

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The network.
    Transit,
    /// The box itself.
    Own,
    /// The same, a ping that the neighbour answers at once.
    Probe,
}

/// A packet that the slow path sends; its frame begins at the switch header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inject<F> {
    /// The packet, with head room.
    pub frame: F,
    /// Which way.
    pub via: Via,
}

/// How a packet of the slow path enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Through the vswitch, from its router's interface (number 1).
    Router(VswitchId),
    /// Straight out of a vif, without a switch step.
    Vif {
        /// The vif's vswitch: the packet goes nowhere else, even if the vif's id has been given to another meanwhile.
        vswitch: VswitchId,
        /// The vif.
        vif: VifId,
    },
    /// Like [`Self::Vif`], for a ping of the link: the answer tells how the neighbour reads.
    Probe {
        /// The vif's vswitch.
        vswitch: VswitchId,
        /// The vif.
        vif: VifId,
    },
    /// Out of a port that this worker sends on: a whole frame, of no link.
    Port {
        /// Whose it is.
        vswitch: VswitchId,
        /// The port.
        port: PortId,
    },
    /// Like [`Self::Vif`], for a session packet of a handshake, which is sent as it is.
    Handshake {
        /// The vif's vswitch.
        vswitch: VswitchId,
        /// The vif.
        vif: VifId,
    },
}

/// Where a received session packet lies in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Slot of the ingress link, or [`NO_SLOT`].
    pub(crate) slot: u32,
    pub(crate) start: u16,
    pub(crate) len: u16,
}

impl Arrival {
    pub(crate) const NONE: Self = Self { slot: NO_SLOT, start: 0, len: 0 };
}
