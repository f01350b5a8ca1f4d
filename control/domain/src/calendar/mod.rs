//! The admission calendar: which shares are promised when, so that no instant is ever promised twice.
//!
//! At every instant, for every side of a port, the rates of all bookings sum to at most η × measured capacity and
//! their bursts to at most the buffer for guaranteed packets ([`PortTerms::limit`]). A booking takes its room for
//! its slot, for its grace, and, until its holder must have decided, for as much of the first refusal as was free:
//!
//! ```text
//! start                        lapses        end          end + grace             held_until
//!   ├──────────── slot ────────────┼───────────┤──── grace ────┤──── first refusal ────┤
//! ```
//!
//! Precedence. A renewal takes the held room, which nobody else could book, so it comes before every newcomer that
//! asks before `lapses`; beyond the held room it asks like a newcomer. Where capacity falls, who was sold first keeps
//! his room; renewals and splits do not change when that was.
//!
//! Cost: O(log n) for each operation on n bookings of a side; a refusal also walks what stands in the way.

mod steps;

use crate::terms::{
    Ask, Burst, LeaseId, PortSide, PortTerms, RATE_MIN, SHARE_MAX, Share, Slot, Time,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use steps::{Level, Steps};

/// Most bookings of one calendar.
pub const BOOKINGS_MAX: usize = 1 << 20;

/// All bookings of a box.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    sides: BTreeMap<PortSide, Side>,
    bookings: BTreeMap<LeaseId, Booking>,
    /// Seniority of the next booking.
    next: u64,
}

#[derive(Clone, Debug)]
struct Side {
    terms: PortTerms,
    booked: Steps,
}

/// Room that is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// Where.
    pub side: PortSide,
    /// When the lease runs.
    pub slot: Slot,
    /// How much.
    pub share: Share,
    /// End of the grace.
    pub grace_until: Time,
    /// End of the room that is taken; not before `grace_until`.
    pub held_until: Time,
    /// When the holder must have decided on what is held after the grace.
    pub lapses: Time,
    /// Who was sold first has the lower one.
    pub seniority: u64,
}

impl Booking {
    /// All the time for which room is taken.
    #[must_use]
    pub fn held(&self) -> Slot {
        Slot { start: self.slot.start, end: self.held_until }
    }
}

/// What there was too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Bytes a second.
    Rate,
    /// Bytes of the guaranteed buffer.
    Burst,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rate => "bytes/s",
            Self::Burst => "bytes of burst",
        })
    }
}

/// Why something was not booked. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no room.
    #[error("{asked} {quantity} asked: at {at} only {free} are free")]
    Full {
        /// What is short.
        quantity: Quantity,
        /// The first of the instants, of those asked for, with the least free.
        at: Time,
        /// So much was asked; where the burst may shrink, the least it may shrink to.
        asked: u64,
        /// So much is free there, and at all other instants asked for.
        free: u64,
        /// A new lease: the earliest slot of the same length, not before the one asked for, with room for rate and
        /// burst, if there ever is. A renewal: from the end so far to the latest end that fits.
        fits: Option<Slot>,
    },
    /// Nothing is for sale there.
    #[error("{0} is not for sale: there are no terms for it")]
    UnknownSide(PortSide),
    /// A slot must be longer than nothing and end, grace included, by [`Time::MAX`].
    #[error("slot from {} to {}: expected an end after the start and not later than {}", .0.start, .0.end, Time::MAX)]
    BadSlot(Slot),
    /// A rate is at least [`RATE_MIN`] and at most [`SHARE_MAX`].
    #[error("{0} bytes/s: expected {RATE_MIN} to {SHARE_MAX}")]
    BadRate(u64),
    /// A burst is at least two of the largest frames, and at most [`SHARE_MAX`].
    #[error("burst of {asked} bytes: expected {least} to {SHARE_MAX}")]
    BadBurst {
        /// So much was asked.
        asked: u64,
        /// [`PortTerms::burst_min`].
        least: u64,
    },
    /// The id has a booking.
    #[error("lease {0} is booked already")]
    Taken(LeaseId),
    /// The id has none.
    #[error("lease {0} has no booking")]
    Unknown(LeaseId),
    /// A renewal must end later than the lease does.
    #[error("renewal to {to}: the lease ends at {end}, expected a later time")]
    NotLater {
        /// So long was asked.
        to: Time,
        /// End so far.
        end: Time,
    },
    /// A split must leave something on both sides.
    #[error("split at {at}: expected a time within the lease, after {} and before {}", slot.start, slot.end)]
    SplitTime {
        /// Where it was asked.
        at: Time,
        /// The lease.
        slot: Slot,
    },
    /// A split must leave the least rate, and the least burst, on both sides.
    #[error(
        "split off {bytes_per_s} of {} bytes/s: expected {RATE_MIN} at least on both sides, and a burst ({} bytes) of \
         at least {burst_min}",
        share.bytes_per_s, share.burst_bytes
    )]
    SplitRate {
        /// So much was asked.
        bytes_per_s: u64,
        /// The lease's.
        share: Share,
        /// What both parts need together.
        burst_min: u64,
    },
    /// [`BOOKINGS_MAX`] are there.
    #[error("the calendar has {BOOKINGS_MAX} bookings and takes no more")]
    TooMany,
}

impl Calendar {
    /// Puts a side of a port up for sale, or changes its terms; leases that are booked keep what they were sold.
    ///
    /// Returns those that no longer fit, the least senior first: what remains, taken in order of seniority, fits.
    /// They stay booked, and newcomers are refused where they stand, until they are cut or removed.
    pub fn set_terms(&mut self, side: &PortSide, terms: PortTerms) -> Vec<LeaseId> {
        let entry = self.sides.entry(side.clone());
        let entry = entry.or_insert_with(|| Side { terms, booked: Steps::default() });
        entry.terms = terms;
        self.misfits(side, terms.limit())
    }

    /// The leases of a side that would not fit within a limit, as [`Self::set_terms`] names them. None, usually, and
    /// that costs nothing.
    #[must_use]
    pub fn misfits(&self, side: &PortSide, limit: Share) -> Vec<LeaseId> {
        let Some(here) = self.sides.get(side) else { return Vec::new() };
        let limit = Level::from(limit);
        let highest = here.booked.highest();
        if highest.rate <= limit.rate && highest.burst <= limit.burst {
            return Vec::new();
        }
        let mut bookings: Vec<_> =
            self.bookings.iter().filter(|(_, booking)| booking.side == *side).collect();
        bookings.sort_by_key(|(id, booking)| (booking.seniority, **id));
        let mut kept = Steps::default();
        let mut misfits = Vec::new();
        for (id, booking) in bookings {
            let free = limit_less(limit, booking.share);
            if kept.first_over(booking.held(), free).is_none() {
                kept.add(booking.held(), booking.share);
            } else {
                misfits.push(*id);
            }
        }
        misfits.reverse();
        misfits
    }

    /// The terms of a side.
    #[must_use]
    pub fn terms(&self, side: &PortSide) -> Option<&PortTerms> {
        self.sides.get(side).map(|side| &side.terms)
    }

    /// The sides that have terms.
    pub fn sides(&self) -> impl Iterator<Item = &PortSide> {
        self.sides.keys()
    }

    /// What would be booked, without booking it.
    ///
    /// # Errors
    /// [`Refusal`]; checked in this order: form, rate, burst.
    pub fn quote(&self, ask: &Ask) -> Result<Booking, Refusal> {
        let side =
            self.sides.get(&ask.side).ok_or_else(|| Refusal::UnknownSide(ask.side.clone()))?;
        let terms = &side.terms;
        if !(RATE_MIN..=SHARE_MAX).contains(&ask.bytes_per_s) {
            return Err(Refusal::BadRate(ask.bytes_per_s));
        }
        let (wanted, least) = bursts(ask, terms)?;
        let length_ms = ask.slot.length_ms();
        let kept_ms = terms.grace_ms.max(terms.first_refusal_ms.min(length_ms));
        let latest = Time::MAX.before(terms.grace_ms);
        if length_ms == 0 || ask.slot.end > latest || terms.grace_ms > Time::MAX.0 {
            return Err(Refusal::BadSlot(ask.slot));
        }
        let grace_until = ask.slot.end.after(terms.grace_ms);
        let needed = Slot { start: ask.slot.start, end: grace_until };
        let limit = terms.limit();
        let peak = side.booked.peak(needed);
        let full = |quantity, at, asked, free| {
            let share = Share { bytes_per_s: ask.bytes_per_s, burst_bytes: least };
            let room = limit_less(limit.into(), share);
            let start = side.booked.earliest(ask.slot.start, needed.length_ms(), room);
            let fits = start
                .filter(|_| room.rate >= 0 && room.burst >= 0)
                .map(|start| Slot { start, end: Time(start.0 + length_ms) })
                .filter(|slot| slot.end <= latest);
            Err(Refusal::Full { quantity, at, asked, free, fits })
        };
        let free_rate = free(limit.bytes_per_s, peak.rate.0);
        if ask.bytes_per_s > free_rate {
            return full(Quantity::Rate, peak.rate.1, ask.bytes_per_s, free_rate);
        }
        let free_burst = free(limit.burst_bytes, peak.burst.0);
        if least > free_burst {
            return full(Quantity::Burst, peak.burst.1, least, free_burst);
        }
        let share = Share { bytes_per_s: ask.bytes_per_s, burst_bytes: wanted.min(free_burst) };
        let wish = Slot { start: grace_until, end: ask.slot.end.after(kept_ms) };
        Ok(Booking {
            side: ask.side.clone(),
            slot: ask.slot,
            share,
            grace_until,
            held_until: side.free_until(wish, share),
            lapses: ask.slot.end.before(terms.notice_ms).max(ask.slot.start),
            seniority: self.next,
        })
    }

    /// Books what was asked for, or all of it is refused.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn admit(&mut self, id: LeaseId, ask: &Ask) -> Result<&Booking, Refusal> {
        let booking = self.quote(ask)?;
        self.restore(id, booking)
    }

    /// Books what was booked before, as it stands in a store: fitting or not, [`Self::misfits`] tells.
    ///
    /// # Errors
    /// [`Refusal::Taken`], [`Refusal::TooMany`], [`Refusal::UnknownSide`], [`Refusal::BadSlot`],
    /// [`Refusal::BadRate`], [`Refusal::BadBurst`].
    pub fn restore(&mut self, id: LeaseId, booking: Booking) -> Result<&Booking, Refusal> {
        let Share { bytes_per_s, burst_bytes } = booking.share;
        let held = booking.held();
        if self.bookings.contains_key(&id) {
            return Err(Refusal::Taken(id));
        }
        if self.bookings.len() >= BOOKINGS_MAX {
            return Err(Refusal::TooMany);
        }
        if !(RATE_MIN..=SHARE_MAX).contains(&bytes_per_s) {
            return Err(Refusal::BadRate(bytes_per_s));
        }
        if burst_bytes > SHARE_MAX {
            return Err(Refusal::BadBurst { asked: burst_bytes, least: 0 });
        }
        let ordered = booking.slot.start < booking.slot.end
            && booking.slot.end <= booking.grace_until
            && booking.grace_until <= held.end
            && held.end <= Time::MAX;
        if !ordered {
            return Err(Refusal::BadSlot(booking.slot));
        }
        let side = self.sides.get_mut(&booking.side);
        let side = side.ok_or_else(|| Refusal::UnknownSide(booking.side.clone()))?;
        side.booked.add(held, booking.share);
        self.next = self.next.max(booking.seniority.saturating_add(1));
        Ok(self.bookings.entry(id).or_insert(booking))
    }

    /// Moves the end of a lease to a later time, without a gap, at the same rate and burst. What it holds is taken
    /// first; what it needs beyond is asked for as by a newcomer. Its right of first refusal starts again, for as
    /// long as the renewal lasts and there is room.
    ///
    /// # Errors
    /// [`Refusal::Full`], [`Refusal::Unknown`], [`Refusal::NotLater`], [`Refusal::BadSlot`].
    pub fn renew(&mut self, id: LeaseId, end: Time) -> Result<&Booking, Refusal> {
        let (booking, side) = self.booked(id)?;
        let slot = Slot { start: booking.slot.start, end };
        if end <= booking.slot.end {
            return Err(Refusal::NotLater { to: end, end: booking.slot.end });
        }
        let grace_ms = booking.grace_until.0 - booking.slot.end.0;
        if end > Time::MAX.before(grace_ms) {
            return Err(Refusal::BadSlot(slot));
        }
        let grace_until = end.after(grace_ms);
        let more = Slot { start: booking.held_until, end: grace_until };
        let fits_until = side.free_until(more, booking.share);
        if fits_until < grace_until {
            let peak = side.booked.peak(more);
            let limit = side.terms.limit();
            let free_rate = free(limit.bytes_per_s, peak.rate.0);
            let latest = fits_until.before(grace_ms);
            let fits = (latest > booking.slot.end)
                .then_some(Slot { start: booking.slot.end, end: latest });
            return Err(if booking.share.bytes_per_s > free_rate {
                let (asked, at) = (booking.share.bytes_per_s, peak.rate.1);
                Refusal::Full { quantity: Quantity::Rate, at, asked, free: free_rate, fits }
            } else {
                let (asked, at) = (booking.share.burst_bytes, peak.burst.1);
                let free = free(limit.burst_bytes, peak.burst.0);
                Refusal::Full { quantity: Quantity::Burst, at, asked, free, fits }
            });
        }
        let refusal_ms = side.terms.first_refusal_ms.min(end.0 - booking.slot.end.0);
        let start = booking.held_until.max(grace_until);
        let wish = Slot { start, end: end.after(refusal_ms) };
        let held_until = side.free_until(wish, booking.share);
        let lapses = end.before(side.terms.notice_ms).max(slot.start);
        self.rebook(id, |booking| {
            *booking = Booking { slot, grace_until, held_until, lapses, ..booking.clone() };
        })
    }

    /// Gives up the first refusal: after its grace a lease holds nothing any more.
    ///
    /// # Errors
    /// [`Refusal::Unknown`].
    pub fn lapse(&mut self, id: LeaseId) -> Result<&Booking, Refusal> {
        self.rebook(id, |booking| booking.held_until = booking.grace_until)
    }

    /// Ends a lease early, or its grace: from `at` on its room is free, without grace or first refusal. Nothing is
    /// left of a lease that would end before it starts: it is removed, and returned as it was.
    ///
    /// # Errors
    /// [`Refusal::Unknown`].
    pub fn cut(&mut self, id: LeaseId, at: Time) -> Result<Booking, Refusal> {
        if at <= self.booked(id)?.0.slot.start {
            return self.remove(id);
        }
        let cut = self.rebook(id, |booking| {
            booking.slot.end = booking.slot.end.min(at);
            booking.grace_until = booking.grace_until.min(at);
            booking.held_until = booking.held_until.min(at);
            booking.lapses = booking.lapses.min(at);
        });
        cut.cloned()
    }

    /// Forgets a booking and frees all its room.
    ///
    /// # Errors
    /// [`Refusal::Unknown`].
    pub fn remove(&mut self, id: LeaseId) -> Result<Booking, Refusal> {
        let booking = self.bookings.remove(&id).ok_or(Refusal::Unknown(id))?;
        if let Some(side) = self.sides.get_mut(&booking.side) {
            side.booked.subtract(booking.held(), booking.share);
        }
        Ok(booking)
    }

    /// Makes two leases of one, the second from `at` on. Together they take the room that the one took; grace and
    /// first refusal go with the second.
    ///
    /// # Errors
    /// [`Refusal::Unknown`], [`Refusal::Taken`], [`Refusal::TooMany`], [`Refusal::SplitTime`].
    pub fn split_at(&mut self, id: LeaseId, at: Time, second: LeaseId) -> Result<(), Refusal> {
        self.vacant(second)?;
        let (booking, _) = self.booked(id)?;
        let slot = booking.slot;
        if at <= slot.start || at >= slot.end {
            return Err(Refusal::SplitTime { at, slot });
        }
        let mut later = booking.clone();
        later.slot.start = at;
        later.lapses = later.lapses.max(at);
        self.cut(id, at)?;
        self.restore(second, later)?;
        Ok(())
    }

    /// Makes two leases of one, the second with so much of the rate. The burst is parted in proportion (the second's
    /// rounded down), but so that both have the least.
    ///
    /// # Errors
    /// [`Refusal::Unknown`], [`Refusal::Taken`], [`Refusal::TooMany`], [`Refusal::SplitRate`].
    pub fn split_rate(
        &mut self,
        id: LeaseId,
        bytes_per_s: u64,
        second: LeaseId,
    ) -> Result<(), Refusal> {
        self.vacant(second)?;
        let (booking, side) = self.booked(id)?;
        let share = booking.share;
        let least = side.terms.burst_min();
        let rest = share.bytes_per_s.saturating_sub(bytes_per_s);
        if bytes_per_s.min(rest) < RATE_MIN || share.burst_bytes < 2 * least {
            return Err(Refusal::SplitRate { bytes_per_s, share, burst_min: 2 * least });
        }
        let part =
            u128::from(share.burst_bytes) * u128::from(bytes_per_s) / u128::from(share.bytes_per_s);
        let burst_bytes = u64::try_from(part).unwrap_or(u64::MAX);
        let burst_bytes = burst_bytes.clamp(least, share.burst_bytes - least);
        let part = Share { bytes_per_s, burst_bytes };
        let other = Booking { share: part, ..booking.clone() };
        self.rebook(id, |booking| {
            booking.share.bytes_per_s -= part.bytes_per_s;
            booking.share.burst_bytes -= part.burst_bytes;
        })?;
        self.restore(second, other)?;
        Ok(())
    }

    /// The booking of a lease.
    #[must_use]
    pub fn booking(&self, id: LeaseId) -> Option<&Booking> {
        self.bookings.get(&id)
    }

    /// All bookings, by id.
    pub fn bookings(&self) -> impl Iterator<Item = (LeaseId, &Booking)> {
        self.bookings.iter().map(|(id, booking)| (*id, booking))
    }

    /// What is free over all of a slot: the least of each quantity; nothing where nothing is for sale.
    #[must_use]
    pub fn free(&self, side: &PortSide, slot: Slot) -> Share {
        let Some(side) = self.sides.get(side) else { return Share::default() };
        let (limit, peak) = (side.terms.limit(), side.booked.peak(slot));
        Share {
            bytes_per_s: free(limit.bytes_per_s, peak.rate.0),
            burst_bytes: free(limit.burst_bytes, peak.burst.0),
        }
    }

    /// What is free at the start of a slot and from each change on until its end, in order of time.
    #[must_use]
    pub fn free_steps(&self, side: &PortSide, slot: Slot) -> Vec<(Time, Share)> {
        let Some(side) = self.sides.get(side) else { return Vec::new() };
        let limit = side.terms.limit();
        let first = (slot.start, side.booked.level(slot.start));
        let levels = std::iter::once(first).chain(side.booked.changes(slot));
        let left = |level: Level| Share {
            bytes_per_s: free(limit.bytes_per_s, level.rate),
            burst_bytes: free(limit.burst_bytes, level.burst),
        };
        levels.map(|(at, level)| (at, left(level))).collect()
    }

    fn booked(&self, id: LeaseId) -> Result<(&Booking, &Side), Refusal> {
        let booking = self.bookings.get(&id).ok_or(Refusal::Unknown(id))?;
        let side = self.sides.get(&booking.side);
        Ok((booking, side.ok_or_else(|| Refusal::UnknownSide(booking.side.clone()))?))
    }

    fn vacant(&self, id: LeaseId) -> Result<(), Refusal> {
        if self.bookings.contains_key(&id) {
            Err(Refusal::Taken(id))
        } else if self.bookings.len() >= BOOKINGS_MAX {
            Err(Refusal::TooMany)
        } else {
            Ok(())
        }
    }

    /// Changes a booking, and the steps with it.
    fn rebook(
        &mut self,
        id: LeaseId,
        change: impl FnOnce(&mut Booking),
    ) -> Result<&Booking, Refusal> {
        let booking = self.bookings.get_mut(&id).ok_or(Refusal::Unknown(id))?;
        let (held, share) = (booking.held(), booking.share);
        change(booking);
        if let Some(side) = self.sides.get_mut(&booking.side) {
            side.booked.subtract(held, share);
            side.booked.add(booking.held(), booking.share);
        }
        Ok(booking)
    }
}

impl Side {
    /// How far into a slot there is room for a share, from its start on; its start if it is empty.
    fn free_until(&self, slot: Slot, share: Share) -> Time {
        let room = limit_less(self.terms.limit().into(), share);
        self.booked.first_over(slot, room).unwrap_or_else(|| slot.end.max(slot.start))
    }
}

/// The wanted burst, and the least that will do.
fn bursts(ask: &Ask, terms: &PortTerms) -> Result<(u64, u64), Refusal> {
    let least = terms.burst_min();
    let (asked, may_shrink) = match ask.burst {
        Burst::Usual => (terms.burst_usual(ask.bytes_per_s), true),
        Burst::UpTo(bytes) => (bytes, true),
        Burst::Exactly(bytes) => (bytes, false),
    };
    if asked < least || asked > SHARE_MAX {
        return Err(Refusal::BadBurst { asked, least });
    }
    Ok((asked, if may_shrink { least } else { asked }))
}

fn limit_less(limit: Level, share: Share) -> Level {
    let share = Level::from(share);
    Level { rate: limit.rate - share.rate, burst: limit.burst - share.burst }
}

fn free(limit: u64, booked: i64) -> u64 {
    limit.saturating_sub(u64::try_from(booked).unwrap_or(0))
}
