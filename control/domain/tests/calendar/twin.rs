//! The obvious calendar: a list of bookings, and every instant looked at.

use control_domain::{
    Ask, Booking, Burst, LeaseId, PortSide, PortTerms, Quantity, Refusal, Share, Slot, Time,
};
use std::collections::BTreeMap;

#[derive(Clone, Default)]
pub struct Twin {
    pub terms: BTreeMap<PortSide, PortTerms>,
    pub bookings: Vec<(LeaseId, Booking)>,
    next: u64,
}

impl Twin {
    /// What is booked at one instant.
    fn booked(&self, side: &PortSide, at: Time) -> (u64, u64) {
        let there = self
            .bookings
            .iter()
            .filter(|(_, b)| b.side == *side && b.slot.start <= at && at < b.held_until);
        there.fold((0, 0), |(rate, burst), (_, b)| {
            (rate + b.share.bytes_per_s, burst + b.share.burst_bytes)
        })
    }

    pub fn free_at(&self, side: &PortSide, at: Time) -> Share {
        let limit = self.terms[side].limit();
        let (rate, burst) = self.booked(side, at);
        Share {
            bytes_per_s: limit.bytes_per_s.saturating_sub(rate),
            burst_bytes: limit.burst_bytes.saturating_sub(burst),
        }
    }

    /// The first instant of a slot and all at which anything changes within it, in order.
    pub fn instants(&self, side: &PortSide, slot: Slot) -> Vec<Time> {
        let there = self.bookings.iter().filter(|(_, b)| b.side == *side);
        let mut instants: Vec<Time> = there
            .flat_map(|(_, b)| [b.slot.start, b.held_until])
            .filter(|at| slot.start < *at && *at < slot.end)
            .chain([slot.start])
            .collect();
        instants.sort();
        instants.dedup();
        instants
    }

    fn fits(&self, side: &PortSide, slot: Slot, share: Share) -> bool {
        self.free_until(side, slot, share) == slot.end
    }

    fn free_until(&self, side: &PortSide, slot: Slot, share: Share) -> Time {
        if slot.start >= slot.end {
            return slot.start;
        }
        let short = |at: &Time| {
            let free = self.free_at(side, *at);
            free.bytes_per_s < share.bytes_per_s || free.burst_bytes < share.burst_bytes
        };
        self.instants(side, slot).into_iter().find(short).unwrap_or(slot.end)
    }

    /// The least free of both quantities, each with the first instant that has it.
    fn least(&self, side: &PortSide, slot: Slot) -> ((u64, Time), (u64, Time)) {
        // Where more is booked than the limit, the most booked is the least free.
        let instants = self.instants(side, slot);
        let most = |of: fn((u64, u64)) -> u64| {
            let booked = |at: Time| of(self.booked(side, at));
            let most = instants.iter().map(|at| booked(*at)).max().unwrap();
            (most, *instants.iter().find(|at| booked(**at) == most).unwrap())
        };
        let limit = self.terms[side].limit();
        let (rate, burst) = (most(|b| b.0), most(|b| b.1));
        (
            (limit.bytes_per_s.saturating_sub(rate.0), rate.1),
            (limit.burst_bytes.saturating_sub(burst.0), burst.1),
        )
    }

    pub fn quote(&self, ask: &Ask) -> Result<Booking, Refusal> {
        let terms =
            self.terms.get(&ask.side).ok_or_else(|| Refusal::UnknownSide(ask.side.clone()))?;
        if ask.bytes_per_s < 64 || ask.bytes_per_s > 1 << 40 {
            return Err(Refusal::BadRate(ask.bytes_per_s));
        }
        let frame = u64::from(terms.mtu) + 14 + 4 + 24;
        let (wanted, least) = match ask.burst {
            Burst::Usual => {
                let five_ms = ask.bytes_per_s.div_ceil(200);
                (five_ms.max(6 * frame), 2 * frame)
            }
            Burst::UpTo(bytes) => (bytes, 2 * frame),
            Burst::Exactly(bytes) => (bytes, bytes),
        };
        if wanted < 2 * frame || wanted > 1 << 40 {
            return Err(Refusal::BadBurst { asked: wanted, least: 2 * frame });
        }
        let Slot { start, end } = ask.slot;
        if start >= end || end.0 + terms.grace_ms > Time::MAX.0 {
            return Err(Refusal::BadSlot(ask.slot));
        }
        let grace_until = Time(end.0 + terms.grace_ms);
        let (rate, burst) = self.least(&ask.side, Slot { start, end: grace_until });
        let full = |quantity, at, asked, free| {
            let share = Share { bytes_per_s: ask.bytes_per_s, burst_bytes: least };
            let whole = Slot { start, end: Time(u64::MAX) };
            let fits = self.instants(&ask.side, whole).into_iter().find(|from| {
                let until = Time(from.0 + (grace_until.0 - start.0));
                self.fits(&ask.side, Slot { start: *from, end: until }, share)
            });
            let fits = fits
                .map(|from| Slot { start: from, end: Time(from.0 + (end.0 - start.0)) })
                .filter(|slot| slot.end.0 + terms.grace_ms <= Time::MAX.0);
            Err(Refusal::Full { quantity, at, asked, free, fits })
        };
        if ask.bytes_per_s > rate.0 {
            return full(Quantity::Rate, rate.1, ask.bytes_per_s, rate.0);
        }
        if least > burst.0 {
            return full(Quantity::Burst, burst.1, least, burst.0);
        }
        let share = Share { bytes_per_s: ask.bytes_per_s, burst_bytes: wanted.min(burst.0) };
        let kept = terms.grace_ms.max(terms.first_refusal_ms.min(end.0 - start.0));
        let wish = Slot { start: grace_until, end: Time(end.0 + kept).min(Time::MAX) };
        Ok(Booking {
            side: ask.side.clone(),
            slot: ask.slot,
            share,
            grace_until,
            held_until: self.free_until(&ask.side, wish, share),
            lapses: Time(end.0.saturating_sub(terms.notice_ms).max(start.0)),
            seniority: self.next,
        })
    }

    pub fn admit(&mut self, id: LeaseId, ask: &Ask) -> Result<(), Refusal> {
        let booking = self.quote(ask)?;
        if self.find(id).is_some() {
            return Err(Refusal::Taken(id));
        }
        self.next += 1;
        self.bookings.push((id, booking));
        Ok(())
    }

    pub fn renew(&mut self, id: LeaseId, to: Time) -> Result<(), Refusal> {
        let mut booking = self.find(id).ok_or(Refusal::Unknown(id))?.clone();
        let end = booking.slot.end;
        if to <= end {
            return Err(Refusal::NotLater { to, end });
        }
        let grace = booking.grace_until.0 - end.0;
        if to.0 + grace > Time::MAX.0 {
            return Err(Refusal::BadSlot(Slot { start: booking.slot.start, end: to }));
        }
        let grace_until = Time(to.0 + grace);
        let (side, share) = (booking.side.clone(), booking.share);
        if booking.held_until < grace_until {
            let more = Slot { start: booking.held_until, end: grace_until };
            let until = self.free_until(&side, more, share);
            if until < grace_until {
                let (rate, burst) = self.least(&side, more);
                let fits = (until.0 > end.0 + grace)
                    .then(|| Slot { start: end, end: Time(until.0 - grace) });
                return Err(if share.bytes_per_s > rate.0 {
                    let (quantity, asked) = (Quantity::Rate, share.bytes_per_s);
                    Refusal::Full { quantity, at: rate.1, asked, free: rate.0, fits }
                } else {
                    let (quantity, asked) = (Quantity::Burst, share.burst_bytes);
                    Refusal::Full { quantity, at: burst.1, asked, free: burst.0, fits }
                });
            }
        }
        let terms = self.terms[&side];
        let refusal = terms.first_refusal_ms.min(to.0 - end.0);
        let held = booking.held_until.max(grace_until);
        let wish = Slot { start: held, end: Time(to.0 + refusal).min(Time::MAX) };
        booking.held_until = self.free_until(&side, wish, share);
        booking.slot.end = to;
        booking.grace_until = grace_until;
        booking.lapses = Time(to.0.saturating_sub(terms.notice_ms).max(booking.slot.start.0));
        *self.find_mut(id) = booking;
        Ok(())
    }

    pub fn lapse(&mut self, id: LeaseId) -> Result<(), Refusal> {
        self.find(id).ok_or(Refusal::Unknown(id))?;
        let booking = self.find_mut(id);
        booking.held_until = booking.grace_until;
        Ok(())
    }

    pub fn cut(&mut self, id: LeaseId, at: Time) -> Result<(), Refusal> {
        let start = self.find(id).ok_or(Refusal::Unknown(id))?.slot.start;
        if at <= start {
            return self.remove(id);
        }
        let booking = self.find_mut(id);
        let times = [
            &mut booking.slot.end,
            &mut booking.grace_until,
            &mut booking.held_until,
            &mut booking.lapses,
        ];
        times.into_iter().for_each(|time| *time = at.min(*time));
        Ok(())
    }

    pub fn remove(&mut self, id: LeaseId) -> Result<(), Refusal> {
        self.find(id).ok_or(Refusal::Unknown(id))?;
        self.bookings.retain(|(other, _)| *other != id);
        Ok(())
    }

    pub fn split_at(&mut self, id: LeaseId, at: Time, second: LeaseId) -> Result<(), Refusal> {
        if self.find(second).is_some() {
            return Err(Refusal::Taken(second));
        }
        let whole = self.find(id).ok_or(Refusal::Unknown(id))?.clone();
        if at <= whole.slot.start || whole.slot.end <= at {
            return Err(Refusal::SplitTime { at, slot: whole.slot });
        }
        let slot = Slot { start: at, end: whole.slot.end };
        self.cut(id, at)?;
        self.bookings.push((second, Booking { slot, lapses: whole.lapses.max(at), ..whole }));
        Ok(())
    }

    pub fn split_rate(&mut self, id: LeaseId, rate: u64, second: LeaseId) -> Result<(), Refusal> {
        if self.find(second).is_some() {
            return Err(Refusal::Taken(second));
        }
        let whole = self.find(id).ok_or(Refusal::Unknown(id))?.clone();
        let least = 2 * (u64::from(self.terms[&whole.side].mtu) + 42);
        let share = whole.share;
        if rate < 64 || rate + 64 > share.bytes_per_s || share.burst_bytes < 2 * least {
            let (bytes_per_s, burst_min) = (rate, 2 * least);
            return Err(Refusal::SplitRate { bytes_per_s, share, burst_min });
        }
        let burst = (share.burst_bytes * rate / share.bytes_per_s)
            .max(least)
            .min(share.burst_bytes - least);
        let part = Share { bytes_per_s: rate, burst_bytes: burst };
        self.find_mut(id).share =
            Share { bytes_per_s: share.bytes_per_s - rate, burst_bytes: share.burst_bytes - burst };
        self.bookings.push((second, Booking { share: part, ..whole }));
        Ok(())
    }

    /// Those that do not fit, taken from the most senior on; the least senior first.
    pub fn misfits(&self, side: &PortSide) -> Vec<LeaseId> {
        let mut there: Vec<_> =
            self.bookings.iter().filter(|(_, b)| b.side == *side).cloned().collect();
        there.sort_by_key(|(id, b)| (b.seniority, *id));
        let mut kept = Self { terms: self.terms.clone(), ..Self::default() };
        let mut misfits = Vec::new();
        for (id, booking) in there {
            if kept.fits(side, booking.held(), booking.share) {
                kept.bookings.push((id, booking));
            } else {
                misfits.insert(0, id);
            }
        }
        misfits
    }

    pub fn find(&self, id: LeaseId) -> Option<&Booking> {
        self.bookings.iter().find(|(other, _)| *other == id).map(|(_, booking)| booking)
    }

    fn find_mut(&mut self, id: LeaseId) -> &mut Booking {
        self.bookings.iter_mut().find(|(other, _)| *other == id).map(|(_, b)| b).unwrap()
    }
}
