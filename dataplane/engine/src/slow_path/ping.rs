//! Pings of our own.

use super::reply::{check_magic, head, request_header, split};
use super::{Answer, Outgoing};
use crate::outcome::Via;
use crate::rules::VswitchInfo;
use dataplane_api::{DropReason, Nanos, VswitchId};
use std::collections::BTreeMap;
use wire::control::{self, Ping, kind, magic};
use wire::label::Dotted;

/// Pings that may be under way at once.
const PINGS_MAX: usize = 4096;

/// A ping under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PingId(pub u32);

/// Why no ping was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PingError {
    /// No such vswitch.
    #[error("ping: there is no vswitch of id {0}")]
    NoVswitch(VswitchId),
    /// The path ends where it begins, or is none.
    #[error(
        "ping along {}: expected a path to another node; this label stays in the vswitch",
        Dotted(*.0)
    )]
    Label(u64),
    /// Too many at once.
    #[error("ping: {PINGS_MAX} are under way already")]
    TooMany,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    vswitch: VswitchId,
    sent: Nanos,
    deadline: Nanos,
}

#[derive(Debug)]
pub(super) struct Pings {
    seed: u64,
    next: u32,
    pending: BTreeMap<PingId, Pending>,
}

impl Pings {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, next: 0, pending: BTreeMap::new() }
    }

    pub(super) fn start(
        &mut self,
        vswitch: &VswitchInfo,
        now: Nanos,
        label: u64,
        timeout: Nanos,
    ) -> Result<(PingId, Outgoing), PingError> {
        if label == 0 || vswitch.scheme.is_self_route(label) {
            return Err(PingError::Label(label));
        }
        if self.pending.len() >= PINGS_MAX {
            return Err(PingError::TooMany);
        }
        let ping = PingId(self.next);
        self.next = self.next.wrapping_add(1);
        let deadline = now.saturating_add(timeout);
        self.pending.insert(ping, Pending { vswitch: vswitch.id, sent: now, deadline });
        let mut opaque = ping.0.to_be_bytes().to_vec();
        opaque.extend(self.cookie(ping).to_be_bytes());
        let bytes = control::packet(request_header(label), kind::PING, &head(magic::PING), &opaque);
        Ok((ping, Outgoing { bytes, via: Via::Router(vswitch.id) }))
    }

    /// What a pong's sender cannot know unless the ping reached it.
    fn cookie(&self, ping: PingId) -> u64 {
        let mut z = self.seed ^ u64::from(ping.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A pong of one of our pings, or the reason it is dropped.
    pub(super) fn pong(
        &mut self,
        now: Nanos,
        vswitch: VswitchId,
        body: &[u8],
    ) -> Result<Answer, DropReason> {
        let (pong, opaque) = split::<Ping>(body)?;
        check_magic(pong, magic::PONG)?;
        let (id, cookie) = opaque.split_first_chunk::<4>().ok_or(DropReason::ControlType)?;
        let ping = PingId(u32::from_be_bytes(*id));
        let asked = self.pending.get(&ping).filter(|pending| pending.vswitch == vswitch);
        if cookie != self.cookie(ping).to_be_bytes() {
            return Err(DropReason::ControlType);
        }
        let sent = asked.ok_or(DropReason::ControlType)?.sent;
        self.pending.remove(&ping);
        Ok(Answer::Pong { ping, nanos: now.saturating_sub(sent), version: pong.version.get() })
    }

    pub(super) fn expired(&mut self, now: Nanos) -> Vec<PingId> {
        let over: Vec<PingId> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.deadline <= now)
            .map(|(ping, _)| *ping)
            .collect();
        for ping in &over {
            self.pending.remove(ping);
        }
        over
    }
}
