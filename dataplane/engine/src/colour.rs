//! Colour: what each frame is to the ingress lease of its link, asked only while the worker is behind.

use crate::leases::{Leases, RESERVE};
use crate::schedule::{Mark, Meter, ticks};
use dataplane_api::{DropReason, Nanos, VifId};

/// What a worker that is behind sheds, before it opens anything. Guaranteed frames never are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shed {
    /// It is not behind. Costs one comparison a burst.
    #[default]
    Nothing,
    /// What has no claim.
    Free,
    /// That, and what is above a guarantee.
    Priority,
}

/// Preamble, gap and check sequence.
const FRAMING: usize = 24;
/// Shortest frame, with them.
const WIRE_MIN: usize = 84;
/// Vifs whose terms are taken over in one round: some microseconds.
const ADOPTED_AT_ONCE: usize = 256;

/// The meters of ingress links, by vif.
///
/// They count only while something is shed. So what they let through as guaranteed is, over any time t, at most burst +
/// rate · t, and nothing that is in profile by all its frames is ever out of it here.
#[derive(Debug)]
pub(crate) struct Colours {
    meters: Box<[Meter]>,
    /// Of the table that is in force here, or is taken over from `next` on.
    edition: u64,
    next: usize,
}

impl Colours {
    /// For vifs `0..vifs`, each with the reserve of a link without a lease.
    pub(crate) fn new(vifs: usize) -> Self {
        Self { meters: vec![Meter::new(Some(&RESERVE), 0); vifs].into(), edition: 0, next: vifs }
    }

    /// Takes over other leases, some vifs at a time. To be called every round.
    #[inline]
    pub(crate) fn adopt(&mut self, leases: &Leases, now: Nanos) {
        if leases.edition() != self.edition {
            (self.edition, self.next) = (leases.edition(), 0);
        }
        if self.is_adopting() {
            self.take_over(leases, now);
        }
    }

    /// Whether some vifs have the terms of older leases yet.
    pub(crate) fn is_adopting(&self) -> bool {
        self.next < self.meters.len()
    }

    fn take_over(&mut self, leases: &Leases, now: Nanos) {
        let end = self.meters.len().min(self.next + ADOPTED_AT_ONCE);
        for (vif, meter) in self.meters.iter_mut().enumerate().take(end).skip(self.next) {
            let id = VifId(u32::try_from(vif).unwrap_or(u32::MAX));
            let (leader, terms) = leases.allowance(id).unwrap_or((id, RESERVE));
            if meter.leader().is_some() {
                *meter = Meter::new(None, ticks(now));
            }
            if leader == id {
                meter.change(Some(&terms));
                meter.forgive(ticks(now));
            } else {
                meter.follow(leader.0);
            }
        }
        self.next = end;
    }

    /// Why a frame of `len` bytes that came in by a vif, up to `late` ago, is shed; `None`: it is not.
    #[inline]
    pub(crate) fn judge(
        &mut self,
        (shed, late): (Shed, Nanos),
        vif: VifId,
        now: Nanos,
        len: usize,
    ) -> Option<DropReason> {
        let at = match self.meters.get(vif.index())?.leader() {
            Some(leader) => leader as usize,
            None => vif.index(),
        };
        let meter = self.meters.get_mut(at)?;
        let wire = (len + FRAMING).max(WIRE_MIN) as u64;
        match (meter.mark_late(ticks(now), ticks(late), wire), shed) {
            (Mark::Free, Shed::Free | Shed::Priority) => Some(DropReason::ShedFree),
            (Mark::Priority, Shed::Priority) => Some(DropReason::ShedPriority),
            (Mark::Guaranteed { .. } | Mark::Priority | Mark::Free, _) => None,
        }
    }
}
