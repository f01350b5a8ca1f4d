//! What the box answers, and asks, itself: control messages and switch errors. Pure; a thread of the process runs it.

mod ping;
mod reply;
mod told;

pub use ping::{PingError, PingId};

use crate::outcome::{PuntKind, Via};
use crate::rules::{Rules, VswitchInfo};
use crate::switch::{self, Judgement};
use dataplane_api::status::SlowPathStatus;
use dataplane_api::{DropReason, Nanos, VifId, VswitchId};
use ping::Pings;
use std::collections::BTreeMap;
use wire::control::{self, kind};
use wire::key::PublicKey;
use wire::switch::Header;

/// A packet to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// From the switch header on.
    pub bytes: Vec<u8>,
    /// Which way.
    pub via: Via,
}

/// What a punted packet leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send this.
    Send(Outgoing),
    /// A ping of ours came back.
    Pong {
        /// Which.
        ping: PingId,
        /// Round trip.
        nanos: u64,
        /// Protocol version of whoever answered.
        version: u32,
    },
    /// Nothing: it was an answer to something of ours.
    Done,
    /// Nothing; count this for the vswitch, unless it was a switch error, whose drop is counted already.
    Drop(DropReason),
}

/// A packet from the packet path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Punted<'a> {
    /// Vswitch that was addressed, or refused to forward.
    pub vswitch: VswitchId,
    /// Ingress vif.
    pub vif: VifId,
    /// What to do with it.
    pub kind: PuntKind,
    /// From the switch header on.
    pub bytes: &'a [u8],
}

/// Makes of a switch packet that came from a vif what its vswitch's router gets, in place: the label as delivered.
/// `false`: it is for somebody else, or malformed.
///
/// For packets that came inside a handshake; all others take this step on the packet path.
pub fn deliver(rules: &Rules, vif: VifId, packet: &mut [u8]) -> bool {
    let Some((_, from)) = rules.slot_of(vif) else { return false };
    let is_for_self = packet.first_chunk().is_some_and(|label| {
        let director = switch::first_director(rules, from, u64::from_be_bytes(*label));
        director.is_some_and(|(number, _)| number == 1)
    });
    is_for_self && switch::judge(rules, from, packet) == Judgement::Delivered
}

/// The route server that a vswitch uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supernode {
    /// Its key.
    pub key: PublicKey,
    /// Its protocol version.
    pub version: u32,
    /// From the vswitch's router; [`wire::label::SELF`] where the vswitch is it.
    pub path: u64,
}

/// Answers for all vswitches.
#[derive(Debug)]
pub struct Responder {
    pings: Pings,
    told: told::Told,
    supernodes: BTreeMap<VswitchId, Supernode>,
    answered: BTreeMap<u16, u64>,
    errors: BTreeMap<u32, u64>,
    drops: BTreeMap<DropReason, u64>,
}

impl Responder {
    /// `seed`: unpredictable to the network; pongs that nobody asked for are known by it.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (answered, errors, drops) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let told = told::Told::new(seed);
        Self { pings: Pings::new(seed), told, supernodes: BTreeMap::new(), answered, errors, drops }
    }

    /// What a vswitch says from now on when it is asked for its route server. `None`: that it has none.
    pub fn set_supernode(&mut self, vswitch: VswitchId, supernode: Option<Supernode>) {
        match supernode {
            Some(supernode) => self.supernodes.insert(vswitch, supernode),
            None => self.supernodes.remove(&vswitch),
        };
    }

    /// The answer to a punted packet.
    pub fn answer(&mut self, rules: &Rules, now: Nanos, punted: Punted<'_>) -> Answer {
        let answer = match punted.kind {
            PuntKind::Error { code } => Self::error(punted, code),
            PuntKind::Control => self.control(rules, now, punted),
            // Others answer these.
            PuntKind::Router | PuntKind::Handshake => Answer::Drop(DropReason::NotControl),
        };
        match (&answer, punted.kind) {
            (Answer::Drop(reason), _) => *self.drops.entry(*reason).or_default() += 1,
            (Answer::Send(_), PuntKind::Error { code }) => {
                *self.errors.entry(code).or_default() += 1
            }
            (Answer::Send(_), PuntKind::Control) => {
                let query = control::parse(
                    punted.bytes.get(wire::switch::HEADER_LEN..).unwrap_or_default(),
                );
                *self.answered.entry(query.map_or(0, |query| query.kind)).or_default() += 1;
            }
            (Answer::Pong { .. } | Answer::Done, _)
            | (Answer::Send(_), PuntKind::Router | PuntKind::Handshake) => {}
        }
        answer
    }

    /// Offers to tell claims whose time has come, on links that are up. To be called every round.
    pub fn offers(
        &mut self,
        rules: &Rules,
        now: Nanos,
        is_up: impl Fn(VifId) -> bool,
    ) -> Vec<Outgoing> {
        self.told.offers(rules, now, is_up)
    }

    /// Links whose neighbours tell claims and are told, each with its epoch, if they are others than when it was asked last.
    pub fn told_changed(&mut self, now: Nanos) -> Option<Vec<(VifId, u8)>> {
        self.told.changed(now)
    }

    /// A ping along `label`, a path that begins with the vswitch's own director.
    ///
    /// # Errors
    /// [`PingError`].
    pub fn ping(
        &mut self,
        rules: &Rules,
        now: Nanos,
        vswitch: VswitchId,
        label: u64,
        timeout: Nanos,
    ) -> Result<(PingId, Outgoing), PingError> {
        let info = rules.vswitch(vswitch).ok_or(PingError::NoVswitch(vswitch))?;
        self.pings.start(info, now, label, timeout)
    }

    /// Pings whose time is over.
    pub fn expired(&mut self, now: Nanos) -> Vec<PingId> {
        self.pings.expired(now)
    }

    /// What it did so far.
    #[must_use]
    pub fn status(&self) -> SlowPathStatus {
        SlowPathStatus {
            answered: self.answered.iter().map(|(kind, n)| (*kind, *n)).collect(),
            errors: self.errors.iter().map(|(code, n)| (*code, *n)).collect(),
            drops: self.drops.iter().map(|(reason, n)| (*reason, *n)).collect(),
            links: (0, 0),
        }
    }

    //= WIRE §3.3: errors go back out of the interface the packet came from, without being switched
    fn error(punted: Punted<'_>, code: u32) -> Answer {
        match control::error_about(punted.bytes, code) {
            Some(bytes) => {
                let via = Via::Vif { vswitch: punted.vswitch, vif: punted.vif };
                Answer::Send(Outgoing { bytes, via })
            }
            // The packet path asks for none about such a packet.
            None => Answer::Drop(DropReason::SwitchRunt),
        }
    }

    fn control(&mut self, rules: &Rules, now: Nanos, punted: Punted<'_>) -> Answer {
        let Some(vswitch) = rules.vswitch(punted.vswitch) else {
            return Answer::Drop(DropReason::LinkGone);
        };
        match self.read(rules, now, vswitch, punted) {
            Ok(answer) => answer,
            Err(reason) => Answer::Drop(reason),
        }
    }

    fn read(
        &mut self,
        rules: &Rules,
        now: Nanos,
        vswitch: &VswitchInfo,
        punted: Punted<'_>,
    ) -> Result<Answer, DropReason> {
        let (header, payload) = Header::split(punted.bytes).ok_or(DropReason::NotControl)?;
        let message = control::parse(payload).map_err(|bad| match bad {
            control::Bad::Mark => DropReason::NotControl,
            control::Bad::Length => DropReason::ControlLength,
            control::Bad::Checksum => DropReason::ControlChecksum,
        })?;
        let path_back = wire::label::reverse(header.label());
        if message.kind == kind::PONG {
            return self.pings.pong(now, vswitch.id, message.body);
        }
        if matches!(message.kind, kind::CLASS_OFFER | kind::CLASS_ACCEPT) {
            return self.told.answer(rules, now, punted.vif, message.kind, message.body);
        }
        let supernode = self.supernodes.get(&vswitch.id);
        let bytes = reply::reply(rules, vswitch, supernode, path_back, message)?;
        Ok(Answer::Send(Outgoing { bytes, via: Via::Router(vswitch.id) }))
    }
}
