//! The life of leases, over the calendar that keeps their room.
//!
//! ```text
//!             sell            bind            start           end             end of grace
//! (offer) ─► Offered ─► Sold ─────► Bound ─────► Active ─────► Grace ─────────► ended
//!               │         │           └──────────── end early ─────────────────────┤
//!               │         │                          ▲           │                 │
//!               │         │                          └─ renew ───┘                 │
//!               └─────────┴── not sold in time; sold, never bound, slot over ──────┘
//! ```
//!
//! - An offer takes its room when it is made, so that what is offered can be delivered, and gives it back when nobody
//!   bought in time.
//! - What is sold can be handed over and split until it is bound to vifs, and never after.
//! - A lease that is bound after its start is active at once. One that is never bound has no grace.
//! - Whoever ends a lease early gives up its room from that instant on: no grace, no first refusal.

use crate::calendar::{Booking, Calendar, Refusal};
use crate::terms::{Ask, LeaseId, PortSide, PortTerms, RATE_MIN, Slot, Time};
use dataplane_api::TenantId;
use ledger::{Amount, UnitId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// All leases of a box that have not ended.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    calendar: Calendar,
    leases: BTreeMap<LeaseId, Lease>,
    /// When something happens to a lease by itself: exactly one entry for each.
    due: BTreeSet<(Time, LeaseId)>,
    /// By vswitch and vif: the leases bound to it.
    bound: BTreeMap<String, BTreeMap<u16, BTreeSet<LeaseId>>>,
}

/// A lease, beside its booking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// How far it is.
    pub state: State,
    /// Whose it is, once sold.
    pub owner: Option<TenantId>,
    /// What it is for, once bound.
    pub binding: Option<Binding>,
    /// What its owner paid for all of its slot; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid: Option<Paid>,
}

/// What was paid for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    /// In which unit.
    pub unit: UnitId,
    /// Smallest units.
    pub amount: Amount,
}

impl Paid {
    /// What is given back of it when a lease of this slot ends at a time: `refund_ppm` parts of a million of what the
    /// time that is left cost, rounded down.
    #[must_use]
    pub fn refund(self, slot: Slot, at: Time, refund_ppm: u32) -> Amount {
        let left = Slot { start: at.max(slot.start), end: slot.end }.length_ms();
        let unused = part(self.amount, left, slot.length_ms());
        part(unused, refund_ppm.min(1_000_000).into(), 1_000_000)
    }
}

/// `amount · of / whole`, rounded down, `of` at most `whole`; nothing of nothing.
fn part(amount: Amount, of: u64, whole: u64) -> Amount {
    let (of, whole) = (u128::from(of.min(whole)), u128::from(whole));
    if whole == 0 {
        return Amount::ZERO;
    }
    // In two steps, so that what fits in the end fits on the way: 2^64 times a remainder below 2^64.
    let (quotient, remainder) = (amount.0 / whole, amount.0 % whole);
    Amount(quotient * of + remainder * of / whole)
}

/// How far a lease is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// For sale.
    Offered {
        /// When the offer ends, unless sold before.
        until: Time,
    },
    /// Somebody's, to keep or to hand on.
    Sold,
    /// Given to vifs, not yet begun.
    Bound,
    /// Guaranteed.
    Active,
    /// Ended, the room still kept.
    Grace,
}

/// What a lease is for, and how it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Name of the vswitch.
    pub vswitch: String,
    /// Numbers of the vifs that share the lease. A vif has one lease of a direction at a time.
    pub vifs: BTreeSet<u16>,
    /// Weight in what guarantees leave over, bytes a second; `None`: the rate. 0: what is above the guarantee is free.
    #[serde(default)]
    pub weight: Option<u64>,
    /// Most that leaves at all, bytes of wire a second; 0 or `None`: no bound.
    #[serde(default)]
    pub ceiling: Option<u64>,
    /// Packets leave in the order they came, whatever they are to the lease.
    #[serde(default)]
    pub preserve_order: bool,
}

/// Something that happened by time alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When it was due; not after the `now` given.
    pub at: Time,
    /// To which lease.
    pub lease: LeaseId,
    /// What.
    pub what: Change,
}

/// What time alone does to a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its slot began.
    Began,
    /// Its first refusal is gone: the room after its grace is for sale.
    Lapsed,
    /// Its slot is over, its room kept for a late renewal.
    Grace,
    /// It is over and forgotten; this is what it was.
    Ended(Box<(Lease, Booking)>),
}

/// Why a lease was not changed. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// The calendar refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such lease, or it has ended.
    #[error("lease {0}: there is none, or it has ended")]
    NoLease(LeaseId),
    /// What was asked is not for a lease in this state.
    #[error("lease {lease} is {state:?}: {what} it is for a lease that is {expected}")]
    State {
        /// Which.
        lease: LeaseId,
        /// How far it is.
        state: State,
        /// What was asked.
        what: &'static str,
        /// In which states that can be done.
        expected: &'static str,
    },
    /// An offer and its slot must end in the future.
    #[error("offer until {until} of a slot that ends at {end}: it is {now}, expected later times")]
    Past {
        /// End of the offer.
        until: Time,
        /// End of the slot.
        end: Time,
        /// When it was asked.
        now: Time,
    },
    /// A lease is for one vif at least.
    #[error("bind lease {0}: expected at least one vif")]
    NoVif(LeaseId),
    /// Beyond what the port has.
    #[error("weight or ceiling of {found} bytes/s: expected 0, or {RATE_MIN} to {most}")]
    Rate {
        /// As asked.
        found: u64,
        /// The port's capacity.
        most: u64,
    },
    /// A lease is paid for in one unit, and no more than can be told.
    #[error(
        "pay for lease {lease} in unit {unit}: expected the unit of what was paid so far, and a sum of 128 bits"
    )]
    Paid {
        /// Which.
        lease: LeaseId,
        /// In which unit.
        unit: UnitId,
    },
    /// Two at a time.
    #[error(
        "lease {lease}: lease {other} is bound to the same vif at the same time, in the same direction"
    )]
    Overlap {
        /// Which should be bound or renewed.
        lease: LeaseId,
        /// Which is there.
        other: LeaseId,
    },
}

const SOLD: &str = "sold and not bound";

impl Leases {
    /// The calendar, to look at and to ask for quotes.
    #[must_use]
    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// Sets what of a port's side is for sale; see [`Calendar::set_terms`].
    pub fn set_terms(&mut self, side: &PortSide, terms: PortTerms) -> Vec<LeaseId> {
        self.calendar.set_terms(side, terms)
    }

    /// Offers a lease for sale until a time, and books its room.
    ///
    /// # Errors
    /// [`LeaseError::Refused`], [`LeaseError::Past`].
    pub fn offer(
        &mut self,
        now: Time,
        id: LeaseId,
        ask: &Ask,
        until: Time,
    ) -> Result<&Booking, LeaseError> {
        if until <= now || ask.slot.end <= now {
            return Err(LeaseError::Past { until, end: ask.slot.end, now });
        }
        self.calendar.admit(id, ask)?;
        self.put(
            id,
            Lease { state: State::Offered { until }, owner: None, binding: None, paid: None },
        )
    }

    /// Puts back a lease from a store: it is what it was, until [`Self::advance`] brings it up to date.
    ///
    /// # Errors
    /// [`LeaseError::Refused`].
    pub fn restore(
        &mut self,
        id: LeaseId,
        lease: Lease,
        booking: Booking,
    ) -> Result<&Booking, LeaseError> {
        self.calendar.restore(id, booking)?;
        self.put(id, lease)
    }

    /// Sells what is offered.
    ///
    /// # Errors
    /// [`LeaseError::NoLease`], [`LeaseError::State`] unless the offer stands.
    pub fn sell(&mut self, now: Time, id: LeaseId, owner: TenantId) -> Result<(), LeaseError> {
        self.change(id, "to sell", "offered, before the offer ends", |lease, booking| {
            let stands =
                matches!(lease.state, State::Offered { until } if now < until.min(booking.slot.end));
            stands.then_some(Lease {
                state: State::Sold,
                owner: Some(owner),
                binding: None,
                paid: None,
            })
        })
    }

    /// Lets an offer stand until a later time: its payment is on its way.
    ///
    /// # Errors
    /// [`LeaseError::NoLease`], [`LeaseError::State`] unless the offer stands.
    pub fn extend_offer(&mut self, now: Time, id: LeaseId, until: Time) -> Result<(), LeaseError> {
        self.change(id, "to extend", "offered, before the offer ends", |lease, booking| {
            let State::Offered { until: before } = lease.state else { return None };
            let stands = now < before.min(booking.slot.end);
            let state = State::Offered { until: before.max(until) };
            stands.then(|| Lease { state, ..lease.clone() })
        })
    }

    /// Hands a lease over to another tenant.
    ///
    /// # Errors
    /// [`LeaseError::NoLease`], [`LeaseError::State`] unless it is sold and not bound.
    pub fn hand_over(&mut self, now: Time, id: LeaseId, to: TenantId) -> Result<(), LeaseError> {
        self.change(id, "to hand over", SOLD, |lease, booking| {
            is_sold(lease, booking, now).then(|| Lease { owner: Some(to), ..lease.clone() })
        })
    }

    /// Gives a lease to vifs, for good.
    ///
    /// # Errors
    /// [`LeaseError::NoLease`], [`LeaseError::State`] unless it is sold and not bound, [`LeaseError::NoVif`],
    /// [`LeaseError::Rate`], [`LeaseError::Overlap`].
    pub fn bind(&mut self, now: Time, id: LeaseId, binding: Binding) -> Result<(), LeaseError> {
        let (_, booking) = self.lease(id)?;
        if binding.vifs.is_empty() {
            return Err(LeaseError::NoVif(id));
        }
        let terms = self.calendar.terms(&booking.side);
        let most = terms.map_or(0, |terms| terms.capacity_bytes_per_s);
        let rates = [binding.weight, binding.ceiling].into_iter().flatten();
        if let Some(found) =
            rates.filter(|rate| *rate > 0).find(|rate| !(RATE_MIN..=most).contains(rate))
        {
            return Err(LeaseError::Rate { found, most });
        }
        self.alone(id, &binding, booking.slot)?;
        self.change(id, "to bind", SOLD, |lease, booking| {
            let state = if now < booking.slot.start { State::Bound } else { State::Active };
            let bound = Lease { state, binding: Some(binding), ..lease.clone() };
            is_sold(lease, booking, now).then_some(bound)
        })
    }

    /// Adds to what was paid for a lease.
    ///
    /// # Errors
    /// [`LeaseError::NoLease`], [`LeaseError::Paid`].
    pub fn pay(&mut self, id: LeaseId, paid: Paid) -> Result<(), LeaseError> {
        let (lease, _) = self.lease(id)?;
        let before = lease.paid.unwrap_or(Paid { amount: Amount::ZERO, ..paid });
        let sum = before.amount.plus(paid.amount).filter(|_| before.unit == paid.unit);
        let amount = sum.ok_or(LeaseError::Paid { lease: id, unit: paid.unit })?;
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.paid = Some(Paid { amount, ..paid });
        }
        Ok(())
    }

    /// Parts a lease in time; see [`Calendar::split_at`].
    ///
    /// # Errors
    /// [`LeaseError::NoLease`], [`LeaseError::Refused`], [`LeaseError::State`] unless it is sold and not bound.
    pub fn split_at(
        &mut self,
        now: Time,
        id: LeaseId,
        at: Time,
        second: LeaseId,
    ) -> Result<(), LeaseError> {
        self.split(
            now,
            id,
            second,
            |calendar| calendar.split_at(id, at, second),
            |booking, second| {
                (
                    second.slot.length_ms(),
                    booking.slot.length_ms().saturating_add(second.slot.length_ms()),
                )
            },
        )
    }

    /// Parts a lease in rate; see [`Calendar::split_rate`].
    ///
    /// # Errors
    /// [`LeaseError::NoLease`], [`LeaseError::Refused`], [`LeaseError::State`] unless it is sold and not bound.
    pub fn split_rate(
        &mut self,
        now: Time,
        id: LeaseId,
        bytes_per_s: u64,
        second: LeaseId,
    ) -> Result<(), LeaseError> {
        self.split(
            now,
            id,
            second,
            |calendar| calendar.split_rate(id, bytes_per_s, second),
            |first, second| {
                let (first, second) = (first.share.bytes_per_s, second.share.bytes_per_s);
                (second, first.saturating_add(second))
            },
        )
    }

    /// Renews a lease to a later end, until its grace is over; see [`Calendar::renew`].
    ///
    /// # Errors
    /// [`LeaseError::NoLease`], [`LeaseError::Refused`], [`LeaseError::Overlap`], [`LeaseError::State`] if it is not
    /// sold or its time is over.
    pub fn renew(&mut self, now: Time, id: LeaseId, end: Time) -> Result<(), LeaseError> {
        let (lease, booking) = self.lease(id)?;
        let runs = match lease.state {
            State::Offered { .. } => false,
            State::Sold => now < booking.slot.end,
            State::Bound | State::Active | State::Grace => now < booking.grace_until,
        };
        if !runs {
            let expected = "sold, and not over";
            return Err(LeaseError::State {
                lease: id,
                state: lease.state,
                what: "to renew",
                expected,
            });
        }
        if let Some(binding) = &lease.binding {
            self.alone(id, binding, Slot { start: booking.slot.start, end })?;
        }
        let mut renewed = lease.clone();
        if renewed.state == State::Grace && now < end {
            renewed.state = State::Active;
        }
        let due = self.next_change(id);
        self.calendar.renew(id, end)?;
        self.due.remove(&due);
        self.put(id, renewed)?;
        Ok(())
    }

    /// Ends a lease, or withdraws an offer, at a time before its own end or grace is over: its room is free from then
    /// on. If that is not after `now`, or the lease has not begun by then, it is over at once, and returned as it was.
    ///
    /// # Errors
    /// [`LeaseError::NoLease`].
    pub fn end(
        &mut self,
        now: Time,
        id: LeaseId,
        at: Time,
    ) -> Result<Option<(Lease, Booking)>, LeaseError> {
        let (lease, booking) = self.lease(id)?;
        if at <= now || at <= booking.slot.start {
            return Ok(self.take(id));
        }
        let (lease, due) = (lease.clone(), self.next_change(id));
        self.calendar.cut(id, at)?;
        self.due.remove(&due);
        self.put(id, lease)?;
        Ok(None)
    }

    /// Lets happen what is due by `now`, in the order in which it was due, and by id where that is equal.
    pub fn advance(&mut self, now: Time) -> Vec<Happened> {
        let mut happened = Vec::new();
        while let Some(&(at, id)) = self.due.first().filter(|(at, _)| *at <= now) {
            happened.extend(self.step(at, id));
        }
        happened
    }

    /// When something happens next by time alone.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A lease and its booking.
    ///
    /// # Errors
    /// [`LeaseError::NoLease`].
    pub fn lease(&self, id: LeaseId) -> Result<(&Lease, &Booking), LeaseError> {
        let lease = self.leases.get(&id).zip(self.calendar.booking(id));
        lease.ok_or(LeaseError::NoLease(id))
    }

    /// All leases, by id.
    pub fn iter(&self) -> impl Iterator<Item = (LeaseId, &Lease, &Booking)> {
        let all = self.leases.iter();
        all.filter_map(|(id, lease)| Some((*id, lease, self.calendar.booking(*id)?)))
    }

    fn step(&mut self, at: Time, id: LeaseId) -> Option<Happened> {
        let (lease, booking) = self.lease(id).ok()?;
        let mut lease = lease.clone();
        let what = if own_due(&lease, booking) > at {
            self.due.remove(&(at, id));
            self.calendar.lapse(id).ok()?;
            Change::Lapsed
        } else {
            match lease.state {
                State::Bound => lease.state = State::Active,
                State::Active if booking.grace_until > booking.slot.end => {
                    lease.state = State::Grace;
                }
                State::Offered { .. } | State::Sold | State::Active | State::Grace => {
                    let what = Change::Ended(Box::new(self.take(id)?));
                    return Some(Happened { at, lease: id, what });
                }
            }
            self.due.remove(&(at, id));
            if lease.state == State::Active { Change::Began } else { Change::Grace }
        };
        self.put(id, lease).ok()?;
        Some(Happened { at, lease: id, what })
    }

    fn change(
        &mut self,
        id: LeaseId,
        what: &'static str,
        expected: &'static str,
        change: impl FnOnce(&Lease, &Booking) -> Option<Lease>,
    ) -> Result<(), LeaseError> {
        let (lease, booking) = self.lease(id)?;
        let state = lease.state;
        let changed = change(lease, booking);
        let changed = changed.ok_or(LeaseError::State { lease: id, state, what, expected })?;
        self.due.remove(&self.next_change(id));
        self.put(id, changed)?;
        Ok(())
    }

    fn split(
        &mut self,
        now: Time,
        id: LeaseId,
        second: LeaseId,
        split: impl FnOnce(&mut Calendar) -> Result<(), Refusal>,
        share: impl FnOnce(&Booking, &Booking) -> (u64, u64),
    ) -> Result<(), LeaseError> {
        let (lease, booking) = self.lease(id)?;
        let (mut first, mut other) = (lease.clone(), lease.clone());
        if !is_sold(lease, booking, now) {
            let state = lease.state;
            return Err(LeaseError::State { lease: id, state, what: "to split", expected: SOLD });
        }
        let due = self.next_change(id);
        split(&mut self.calendar)?;
        self.due.remove(&due);
        let bookings = self.calendar.booking(id).zip(self.calendar.booking(second));
        let (of, whole) = bookings.map_or((0, 1), |(first, second)| share(first, second));
        if let (Some(first), Some(second)) = (&mut first.paid, &mut other.paid) {
            second.amount = part(first.amount, of, whole);
            first.amount = Amount(first.amount.0 - second.amount.0);
        }
        self.put(id, first)?;
        self.put(second, other)?;
        Ok(())
    }

    /// No other lease is bound to one of the vifs in the slot, in the same direction.
    fn alone(&self, id: LeaseId, binding: &Binding, slot: Slot) -> Result<(), LeaseError> {
        let (_, here) = self.lease(id)?;
        for other in self.bound_to(&binding.vswitch, &binding.vifs) {
            let (_, there) = self.lease(other)?;
            let is_same = there.side.direction == here.side.direction && other != id;
            if is_same && slot.start < there.slot.end && there.slot.start < slot.end {
                return Err(LeaseError::Overlap { lease: id, other });
            }
        }
        Ok(())
    }

    /// The leases that are bound to any of these vifs, by vif and id.
    pub(crate) fn bound_to(
        &self,
        vswitch: &str,
        vifs: &BTreeSet<u16>,
    ) -> impl Iterator<Item = LeaseId> {
        let there = self.bound.get(vswitch).into_iter();
        let of = vifs.iter();
        there.flat_map(move |there| of.clone().filter_map(|vif| there.get(vif))).flatten().copied()
    }

    /// Puts a lease beside its booking, its vifs, and when it changes next.
    fn put(&mut self, id: LeaseId, lease: Lease) -> Result<&Booking, LeaseError> {
        if let Some(binding) = &lease.binding {
            let there = self.bound.entry(binding.vswitch.clone()).or_default();
            for vif in &binding.vifs {
                there.entry(*vif).or_default().insert(id);
            }
        }
        self.leases.insert(id, lease);
        self.due.insert(self.next_change(id));
        self.calendar.booking(id).ok_or(LeaseError::NoLease(id))
    }

    fn take(&mut self, id: LeaseId) -> Option<(Lease, Booking)> {
        self.due.remove(&self.next_change(id));
        let booking = self.calendar.remove(id).ok()?;
        let lease = self.leases.remove(&id)?;
        if let Some(binding) = &lease.binding
            && let Some(there) = self.bound.get_mut(&binding.vswitch)
        {
            there.retain(|_, leases| {
                leases.remove(&id);
                !leases.is_empty()
            });
            if there.is_empty() {
                self.bound.remove(&binding.vswitch);
            }
        }
        Some((lease, booking))
    }

    /// The entry in `due` of a lease.
    fn next_change(&self, id: LeaseId) -> (Time, LeaseId) {
        let at = self.lease(id).map_or(Time::MAX, |(lease, booking)| {
            let holds = booking.held_until > booking.grace_until;
            let lapses = if holds { booking.lapses } else { Time::MAX };
            own_due(lease, booking).min(lapses)
        });
        (at, id)
    }
}

/// When a lease changes its state by time alone.
fn own_due(lease: &Lease, booking: &Booking) -> Time {
    match lease.state {
        State::Offered { until } => until.min(booking.slot.end),
        State::Sold | State::Active => booking.slot.end,
        State::Bound => booking.slot.start,
        State::Grace => booking.grace_until,
    }
}

fn is_sold(lease: &Lease, booking: &Booking, now: Time) -> bool {
    lease.state == State::Sold && now < booking.slot.end
}
