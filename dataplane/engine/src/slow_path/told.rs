//! Which neighbours tell, and are told, what packets claim: those that answer an offer, as long as they go on answering.
//!
//! ```text
//!  offer, every 2 s ─► neighbour ── stock: drops it
//!                         └─ a box whose vif offers too ─► accept ─► told for 10 s
//! ```

use super::reply::{check_magic, head, split};
use super::{Answer, Outgoing};
use crate::outcome::Via;
use crate::rules::{LinkInfo, Rules, VifInfo};
use dataplane_api::{DropReason, Nanos, VifId};
use std::collections::BTreeMap;
use wire::control::{self, Ping, kind, magic};
use wire::switch::Header;

/// Between two offers on a link.
const AGAIN: Nanos = 2_000_000_000;
/// How long an answer counts: four offers may be lost.
const HOLDS: Nanos = 10_000_000_000;
/// Offers made at once: those of many links do not leave together.
const AT_ONCE: usize = 64;
/// Bytes of an offer's tail: when it was sent, and what its answerer cannot make up.
const OPAQUE_LEN: usize = 16;

/// A link whose neighbour is asked.
#[derive(Clone, Copy, Debug)]
struct Link {
    epoch: u8,
    /// When it is asked again.
    due: Nanos,
    /// Until when it is told.
    until: Nanos,
}

#[derive(Debug)]
pub(super) struct Told {
    seed: u64,
    /// Of the rules that `links` are of.
    edition: u64,
    links: BTreeMap<VifId, Link>,
    /// As it was said last.
    said: Vec<(VifId, u8)>,
}

impl Told {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, edition: 0, links: BTreeMap::new(), said: Vec::new() }
    }

    /// Offers whose time has come, on links that are up.
    pub(super) fn offers(
        &mut self,
        rules: &Rules,
        now: Nanos,
        is_up: impl Fn(VifId) -> bool,
    ) -> Vec<Outgoing> {
        self.follow(rules, now);
        let seed = self.seed;
        let due = self.links.iter_mut().filter(|(_, link)| link.due <= now).take(AT_ONCE);
        let offer = |(vif, link): (&VifId, &mut Link)| {
            link.due = now + AGAIN;
            let info = rules.vif(*vif).filter(|_| is_up(*vif))?;
            let mut opaque = [0; OPAQUE_LEN];
            opaque[..8].copy_from_slice(&now.to_be_bytes());
            opaque[8..].copy_from_slice(&cookie(seed, now, *vif, link.epoch).to_be_bytes());
            Some(down(info, kind::CLASS_OFFER, magic::CLASS_OFFER, &opaque))
        };
        due.filter_map(offer).collect()
    }

    fn follow(&mut self, rules: &Rules, now: Nanos) {
        if self.edition == rules.edition() {
            return;
        }
        self.edition = rules.edition();
        let before = std::mem::take(&mut self.links);
        let new = |vif: &VifInfo| Link { epoch: vif.epoch, due: now, until: 0 };
        let asked = rules.vifs().filter(|vif| is_asked(vif)).map(|vif| {
            let same = before.get(&vif.id).copied().filter(|link| link.epoch == vif.epoch);
            (vif.id, same.unwrap_or_else(|| new(vif)))
        });
        self.links = asked.collect();
    }

    /// The answer to an offer or to an acceptance that came in by a vif.
    pub(super) fn answer(
        &mut self,
        rules: &Rules,
        now: Nanos,
        vif: VifId,
        kind: u16,
        body: &[u8],
    ) -> Result<Answer, DropReason> {
        let info = rules.vif(vif).filter(|vif| is_asked(vif)).ok_or(DropReason::ControlType)?;
        let (message, opaque) = split::<Ping>(body)?;
        let opaque: &[u8; OPAQUE_LEN] = opaque.try_into().ok().ok_or(DropReason::ControlLength)?;
        if kind == kind::CLASS_OFFER {
            check_magic(message, magic::CLASS_OFFER)?;
            let accept = down(info, kind::CLASS_ACCEPT, magic::CLASS_ACCEPT, opaque);
            return Ok(Answer::Send(accept));
        }
        check_magic(message, magic::CLASS_ACCEPT)?;
        let link = self.links.get_mut(&vif).ok_or(DropReason::ControlType)?;
        let (sent, mark) = opaque.split_first_chunk::<8>().ok_or(DropReason::ControlLength)?;
        let sent = Nanos::from_be_bytes(*sent);
        let is_ours = mark == cookie(self.seed, sent, vif, link.epoch).to_be_bytes();
        if !is_ours || now.saturating_sub(sent) > HOLDS {
            return Err(DropReason::ControlType);
        }
        link.until = link.until.max(sent + HOLDS);
        Ok(Answer::Done)
    }

    /// Links that are told from now on, with their epochs, if they are others than when it was asked last.
    pub(super) fn changed(&mut self, now: Nanos) -> Option<Vec<(VifId, u8)>> {
        let told = self.links.iter().filter(|(_, link)| link.until > now);
        let told: Vec<_> = told.map(|(vif, link)| (*vif, link.epoch)).collect();
        let is_other = told != self.said;
        if is_other {
            self.said.clone_from(&told);
        }
        is_other.then_some(told)
    }
}

fn is_asked(vif: &VifInfo) -> bool {
    vif.policy.traffic_class && !matches!(vif.link, LinkInfo::Cable { .. })
}

/// A message straight down a vif's link: from whom it comes is the link's to prove, and it goes no further.
//= WIRE §3.4: a node that puts a packet on a link takes its own switch's step itself
fn down(vif: &VifInfo, kind: u16, magic: u32, opaque: &[u8]) -> Outgoing {
    let width = u8::try_from(63 - (vif.label | 1).leading_zeros()).unwrap_or(0);
    let mut header = Header::new(vif.label >> width | 1 << 63, 0);
    header.set_shift(width);
    let bytes = control::packet(header, kind, &head(magic), opaque);
    Outgoing { bytes, via: Via::Vif { vswitch: vif.vswitch, vif: vif.id } }
}

/// What the sender of an acceptance cannot know unless the offer reached it.
fn cookie(seed: u64, sent: Nanos, vif: VifId, epoch: u8) -> u64 {
    let mut z = seed ^ sent.rotate_left(17) ^ u64::from(vif.0) << 40 ^ u64::from(epoch) << 56;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
